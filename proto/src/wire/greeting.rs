//! What the server says of a session to who has authenticated: the reply to Auth.
//!
//! ```text
//! {server: string, protocol: int64, session: int64, user: string, role: string,
//!  max_message_size: int64, max_in_flight: int64, idle_timeout_ms: int64}
//! ```
//!
//! What must stay true: fields may be added, and are passed over by who does not know
//! them; none goes away.

use crate::codec::DecodeError;
use crate::doc::{Doc, DocBuf, Value};
use crate::packet::VERSION;

/// See the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Greeting<'a> {
    /// Program and version, for people: `planck 0.1.0`.
    pub server: &'a str,
    /// The session's number.
    pub session: u64,
    /// Whose session it is.
    pub user: &'a str,
    /// What that user may do, as of now.
    pub role: &'a str,
    /// Bytes of the largest packet, either way.
    pub max_message_size: u64,
    /// Requests that may be sent and not answered.
    pub max_in_flight: u64,
    /// Milliseconds without a request after which the session is closed.
    pub idle_timeout_ms: u64,
}

impl<'a> Greeting<'a> {
    /// The document.
    pub fn encode(&self) -> Vec<u8> {
        let number = |n: u64| Value::Int64(i64::try_from(n).unwrap_or(i64::MAX));
        let mut doc = DocBuf::new();
        doc.push("server", self.server).push("protocol", i64::from(VERSION));
        doc.push("session", number(self.session));
        doc.push("user", self.user).push("role", self.role);
        doc.push("max_message_size", number(self.max_message_size));
        doc.push("max_in_flight", number(self.max_in_flight));
        doc.push("idle_timeout_ms", number(self.idle_timeout_ms));
        doc.finish().expect("field names are constants, each given once")
    }

    /// Reads the document.
    ///
    /// # Errors
    /// A field is missing, or of another type.
    pub fn decode(document: &'a [u8]) -> Result<Greeting<'a>, DecodeError> {
        const WHAT: &str = "greeting of the server";
        let doc = Doc::parse(document).map_err(|_| DecodeError::new(WHAT, "is not valid BSON"))?;
        let text = |name| {
            let text = doc.get(name).and_then(|value| value.as_str());
            text.ok_or(DecodeError::new(WHAT, "lacks a text: server, user or role"))
        };
        let number = |name| {
            let number = doc.get(name).and_then(|value| value.as_i64());
            number.and_then(|n| u64::try_from(n).ok()).ok_or(DecodeError::new(
                WHAT,
                "lacks a number: session, max_message_size, max_in_flight or idle_timeout_ms",
            ))
        };
        Ok(Greeting {
            server: text("server")?,
            session: number("session")?,
            user: text("user")?,
            role: text("role")?,
            max_message_size: number("max_message_size")?,
            max_in_flight: number("max_in_flight")?,
            idle_timeout_ms: number("idle_timeout_ms")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doc::Change;

    #[test]
    fn it_reads_back_with_more_fields_and_not_with_less() {
        let greeting = Greeting {
            server: "planck 9",
            session: u64::MAX >> 1,
            user: "ann",
            role: "admin",
            max_message_size: 1 << 24,
            max_in_flight: 64,
            idle_timeout_ms: 1,
        };
        let encoded = greeting.encode();
        assert_eq!(Greeting::decode(&encoded), Ok(greeting));
        let doc = Doc::parse(&encoded).unwrap();
        let more = doc.with(&[Change::Set("lucky", Value::Int32(7))]).unwrap();
        assert_eq!(Greeting::decode(&more), Ok(greeting));
        for (name, _) in doc.iter().filter(|(name, _)| *name != "protocol") {
            let less = doc.with(&[Change::Unset(name)]).unwrap();
            assert!(Greeting::decode(&less).is_err(), "without {name}");
        }
        assert!(Greeting::decode(&encoded[1..]).is_err());
    }
}
