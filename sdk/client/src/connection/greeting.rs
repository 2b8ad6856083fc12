//! What a server says of itself once a session has authenticated.
//!
//! What must stay true: fields a client does not know are passed over, and those a
//! server does not send are 0 or empty, so that releases can be mixed.

use crate::{Error, Result};
use proto::Reply;
use proto::bridge::from_doc;
use proto::doc::Doc;
use serde::Deserialize;

/// The answer to Auth. What the server did not say is 0 or empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Greeting {
    /// Its name and release.
    pub server: String,
    /// The version of the protocol spoken.
    pub protocol: u32,
    /// The number of this session.
    pub session: u64,
    /// Who it is taken for.
    pub user: String,
    /// What that user may do.
    pub role: String,
    /// Bytes of one message, either way.
    pub max_message_size: u64,
    /// Requests it receives before it has answered the first of them.
    pub max_in_flight: u32,
    /// A session that is silent for so long is closed.
    pub idle_timeout_ms: u64,
}

impl Greeting {
    /// Of the reply to Auth, which may be empty.
    pub(super) fn read(reply: &Reply<'_>) -> Result<Greeting> {
        let Reply::Document(bytes) = reply else { return Ok(Greeting::default()) };
        let bad = |why: String| Error::BadReply(format!("the answer to Auth: {why}"));
        let document = Doc::parse(bytes).map_err(|error| bad(error.to_string()))?;
        from_doc(document).map_err(|error| bad(error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::doc::DocBuf;

    #[test]
    fn what_is_unknown_is_passed_over_and_what_is_missing_is_nothing() {
        let mut document = DocBuf::new();
        document.push("server", "planck 9").push("max_message_size", 4096i64);
        document.push("new_in_9", true);
        let document = document.finish().unwrap();
        let greeting = Greeting::read(&Reply::Document(&document)).unwrap();
        let expected = Greeting {
            server: "planck 9".to_owned(),
            max_message_size: 4096,
            ..Greeting::default()
        };
        assert_eq!(greeting, expected);
        assert_eq!(Greeting::read(&Reply::Empty).unwrap(), Greeting::default());
    }

    #[test]
    fn a_field_of_another_kind_is_no_greeting() {
        let mut document = DocBuf::new();
        document.push("session", "seven");
        let document = document.finish().unwrap();
        let error = Greeting::read(&Reply::Document(&document)).unwrap_err();
        assert!(error.to_string().contains("\"session\""), "{error}");
    }
}
