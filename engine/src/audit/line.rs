//! One line of the audit log: JSON, chained to the line before.
//!
//! ```text
//! {"seq":12,"prev":"HASH","time":"2026-11-28T21:42:29.123Z","what":"AlterUser","who":"admin",
//!  "session":3,"address":"10.0.0.7:50122","object":"ann","outcome":"begun","role":"none",
//!  "hash":"HASH"}                                            (one line, ended by a line feed)
//!
//! seq      1, 2, 3, ..: none is left out                                      always
//! prev     the hash of the line before; of line 1: 64 times 0                 always
//! time     wall time                                                          always
//! what     an operation, or Start, Stop, LogIn, LockedOut, Lost, Unsaid       always
//! who      a user; "service": true beside it if it is a guest's; none:        if known
//!          planck itself, or with "unknown_user": true a name that is no
//!          user's, which may be a key
//! session  its number                                                         if there is one
//! address  where they called from                                             if known
//! object   the store, index (store.index), sequence or user it is about       if there is one
//! outcome  begun: it follows, and a line of its end after it; besides: more   always
//!          of what follows, that did not fit its first line; done; or the
//!          status it was refused with, such as PLK-1503
//! of       the line in which it had begun                                     in its other lines
//! ..       what is told of the single event: see where it is made
//! hash     BLAKE3 of the line up to this field, without the comma before it   always
//! ```
//!
//! HASH: 64 hexadecimal digits. What must stay true: no key, no hash of one and no
//! document is in a line; a line is at most [`MAX_LINE`] bytes, whatever strangers call
//! themselves.

use blake3::Hash;
use serde_json::{Map, Value};

use crate::Principal;

/// Bytes of a line at most, with its line feed.
pub(crate) const MAX_LINE: usize = 8 << 10;
/// Characters of a stranger's text in a line.
const MAX_TEXT: usize = 128;
/// Bytes of `,"hash":"..."}`.
const TAIL: usize = 9 + 64 + 2;
/// What comes before line 1.
pub(crate) const NOTHING: Hash = Hash::from_bytes([0; 32]);

/// What happened.
#[derive(Clone, Copy)]
pub(crate) struct Event<'e> {
    pub(crate) what: &'e str,
    pub(crate) who: Who<'e>,
    pub(crate) object: Option<&'e str>,
    pub(crate) outcome: &'e str,
    pub(crate) of: Option<u64>,
    pub(crate) more: &'e [(&'static str, Value)],
}

/// By whom.
#[derive(Clone, Copy)]
pub(crate) enum Who<'e> {
    /// planck itself.
    Own,
    /// Who called.
    Caller(&'e Principal),
    /// Who wanted to come in as that user.
    Stranger { user: Option<&'e str>, address: Option<&'e str> },
}

/// What of a line makes the chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) seq: u64,
    pub(super) prev: Hash,
    pub(super) hash: Hash,
}

/// A line without its line feed, and its hash.
pub(super) fn write(seq: u64, prev: Hash, millis: i64, event: &Event<'_>) -> (String, Hash) {
    let mut text = body(seq, prev, millis, event, event.more);
    if text.len() + TAIL >= MAX_LINE {
        text = body(seq, prev, millis, event, &[("left_out", Value::from("more than fits"))]);
    }
    let hash = blake3::hash(text.as_bytes());
    text.push_str(",\"hash\":\"");
    text.push_str(&hash.to_hex());
    text.push_str("\"}");
    (text, hash)
}

/// The line up to its hash.
fn body(
    seq: u64,
    prev: Hash,
    millis: i64,
    event: &Event<'_>,
    more: &[(&'static str, Value)],
) -> String {
    let mut map = Map::new();
    let mut put = |name: &str, value: Value| map.insert(name.to_owned(), value);
    put("seq", seq.into());
    put("prev", prev.to_hex().as_str().into());
    let time = proto::json::date_time_to_text(millis);
    put("time", time.unwrap_or_else(|| millis.to_string()).into());
    put("what", event.what.into());
    let (who, address) = match event.who {
        Who::Own => (None, None),
        Who::Caller(who) => (Some(who.name()), who.address()),
        Who::Stranger { user, address } => (user, address),
    };
    if let Some(who) = who {
        put("who", clipped(who));
    }
    if let Who::Caller(who) = event.who {
        if who.is_service() {
            put("service", true.into());
        }
        if who.session() != 0 {
            put("session", who.session().into());
        }
    }
    if let Some(address) = address {
        put("address", clipped(address));
    }
    if let Some(object) = event.object {
        put("object", clipped(object));
    }
    put("outcome", event.outcome.into());
    if let Some(of) = event.of {
        put("of", of.into());
    }
    for (name, value) in more {
        put(name, value.clone());
    }
    let mut text = Value::Object(map).to_string();
    text.pop();
    text
}

/// Text of a stranger, short enough for a line.
pub(super) fn clipped(text: &str) -> Value {
    let mut short: String = text.chars().take(MAX_TEXT).collect();
    if short.len() < text.len() {
        short.push_str("..");
    }
    short.into()
}

/// The link in a line without its line feed, if it is one that was not changed since.
pub(super) fn read(line: &[u8]) -> Option<Link> {
    let (text, tail) = line.split_at_checked(line.len().checked_sub(TAIL)?)?;
    let hash = tail.strip_prefix(b",\"hash\":\"")?.strip_suffix(b"\"}")?;
    let hash = Hash::from_hex(hash).ok()?;
    if blake3::hash(text) != hash {
        return None;
    }
    let rest = std::str::from_utf8(text).ok()?.strip_prefix("{\"seq\":")?;
    let (seq, rest) = rest.split_once(",\"prev\":\"")?;
    let prev = Hash::from_hex(rest.get(..64)?).ok()?;
    Some(Link { seq: seq.parse().ok()?, prev, hash })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Role;

    fn event<'e>(who: Who<'e>, more: &'e [(&'static str, Value)]) -> Event<'e> {
        Event { what: "AlterUser", who, object: Some("ann"), outcome: "begun", of: None, more }
    }

    #[test]
    fn a_line_is_these_bytes() {
        let who = Principal::new("root", Role::Admin).in_session(3);
        let more = [("role", Value::from("none"))];
        let at = 1_700_000_000_123;
        let (line, hash) = write(1, NOTHING, at, &event(Who::Caller(&who), &more));
        let zeros = "0".repeat(64);
        let text = format!(
            "{{\"seq\":1,\"prev\":\"{zeros}\",\"time\":\"2023-11-14T22:13:20.123Z\",\
             \"what\":\"AlterUser\",\"who\":\"root\",\"session\":3,\"object\":\"ann\",\
             \"outcome\":\"begun\",\"role\":\"none\""
        );
        assert_eq!(hash, blake3::hash(text.as_bytes()));
        assert_eq!(line, format!("{text},\"hash\":\"{hash}\"}}"));
        assert_eq!(read(line.as_bytes()), Some(Link { seq: 1, prev: NOTHING, hash }));
        let end = Event { outcome: "done", of: Some(1), object: None, ..event(Who::Own, &[]) };
        let (line, _) = write(2, hash, at, &end);
        let text = format!(
            "{{\"seq\":2,\"prev\":\"{hash}\",\"time\":\"2023-11-14T22:13:20.123Z\",\
             \"what\":\"AlterUser\",\"outcome\":\"done\",\"of\":1,\"hash\":\""
        );
        assert!(line.starts_with(&text), "{line}");
        let stranger = Who::Stranger { user: Some("a\"\n"), address: Some("::1") };
        let (line, _) = write(3, hash, at, &event(stranger, &[]));
        assert!(line.contains(r#""who":"a\"\n","address":"::1","#) && !line.contains('\n'));
        let (line, _) = write(3, hash, at, &event(Who::Caller(&Principal::service("shop")), &[]));
        assert!(line.contains(r#""who":"shop","service":true,"object""#), "{line}");
    }

    #[test]
    fn a_line_with_any_byte_changed_is_none() {
        let (line, _) = write(7, NOTHING, 0, &event(Who::Own, &[]));
        for at in 0..line.len() {
            let mut bytes = line.clone().into_bytes();
            bytes[at] ^= 1;
            assert_eq!(read(&bytes), None, "byte {at}");
            assert_eq!(read(&line.as_bytes()[..at]), None, "cut at {at}");
        }
    }

    #[test]
    fn a_line_is_bounded_whatever_strangers_say() {
        let long = "\u{1}".repeat(70_000);
        let stranger = Who::Stranger { user: Some(&long), address: Some(&long) };
        let more = [("grants", Value::from(long.as_str()))];
        let event = Event { object: Some(&long), ..event(stranger, &more) };
        let (line, _) = write(u64::MAX, NOTHING, i64::MAX, &event);
        assert!(line.len() < MAX_LINE, "{}", line.len());
        assert!(line.contains("left_out") && read(line.as_bytes()).is_some());
    }
}
