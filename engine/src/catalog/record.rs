//! How the catalog lies in keyspace 0.
//!
//! ```text
//! key                     document
//! 00                      { format: 1, next_keyspace: int64 }
//! 01 | name of a store    { keyspace: int64, created_at: datetime }
//! 02 | name of a user     { role: string, key_hash: string (PHC), created_at: datetime }
//! ```
//!
//! Invariant: a record that cannot be read is an error naming it, never left out.

use lsm::KeyspaceId;
use proto::doc::{Doc, DocBuf, Value};

use super::{FIRST_STORE, Store, User};
use crate::auth::Role;

/// The format this program writes, and the newest it reads.
pub(crate) const FORMAT: i64 = 1;

const HEAD: u8 = 0;
const STORE: u8 = 1;
const USER: u8 = 2;

/// What a key of the catalog names.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Name<'a> {
    Head,
    Store(&'a str),
    User(&'a str),
}

/// The key of the head.
pub(crate) fn head_key() -> Vec<u8> {
    vec![HEAD]
}

/// The key of a store's record.
pub(crate) fn store_key(name: &str) -> Vec<u8> {
    keyed(STORE, name)
}

/// The key of a user's record.
pub(crate) fn user_key(name: &str) -> Vec<u8> {
    keyed(USER, name)
}

fn keyed(kind: u8, name: &str) -> Vec<u8> {
    let mut key = Vec::with_capacity(1 + name.len());
    key.push(kind);
    key.extend_from_slice(name.as_bytes());
    key
}

/// What a key names; `None` if this program knows no such record.
pub(crate) fn name_of(key: &[u8]) -> Option<Name<'_>> {
    let (&kind, name) = key.split_first()?;
    let name = std::str::from_utf8(name).ok()?;
    match (kind, name) {
        (HEAD, "") => Some(Name::Head),
        (STORE, name) => Some(Name::Store(name)),
        (USER, name) => Some(Name::User(name)),
        _ => None,
    }
}

fn finish(doc: DocBuf) -> Vec<u8> {
    doc.finish().expect("field names are constants without NUL, each given once")
}

pub(crate) fn encode_head(next_keyspace: u32) -> Vec<u8> {
    let mut doc = DocBuf::new();
    doc.push("format", FORMAT).push("next_keyspace", i64::from(next_keyspace));
    finish(doc)
}

pub(crate) fn encode_store(store: &Store) -> Vec<u8> {
    let mut doc = DocBuf::new();
    doc.push("keyspace", i64::from(store.keyspace.0));
    doc.push("created_at", Value::DateTime(store.created_at));
    finish(doc)
}

pub(crate) fn encode_user(user: &User) -> Vec<u8> {
    let mut doc = DocBuf::new();
    doc.push("role", user.role.name()).push("key_hash", &user.key_hash);
    doc.push("created_at", Value::DateTime(user.created_at));
    finish(doc)
}

/// Format and next keyspace.
pub(crate) fn decode_head(bytes: &[u8]) -> Option<(i64, u32)> {
    let doc = Doc::parse(bytes).ok()?;
    let format = doc.get("format")?.as_i64()?;
    // Of a newer format nothing but its number is asked.
    let next = doc.get("next_keyspace").and_then(|v| v.as_i64()).unwrap_or_default();
    Some((format, u32::try_from(next).ok()?))
}

pub(crate) fn decode_store(bytes: &[u8]) -> Option<Store> {
    let doc = Doc::parse(bytes).ok()?;
    let keyspace = u32::try_from(doc.get("keyspace")?.as_i64()?).ok()?;
    (keyspace >= FIRST_STORE).then_some(())?;
    Some(Store { keyspace: KeyspaceId(keyspace), created_at: datetime(doc)? })
}

pub(crate) fn decode_user(bytes: &[u8]) -> Option<User> {
    let doc = Doc::parse(bytes).ok()?;
    Some(User {
        role: Role::from_name(doc.get("role")?.as_str()?)?,
        key_hash: doc.get("key_hash")?.as_str()?.to_owned(),
        created_at: datetime(doc)?,
    })
}

fn datetime(doc: Doc<'_>) -> Option<i64> {
    match doc.get("created_at")? {
        Value::DateTime(millis) => Some(millis),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_these_bytes() {
        assert_eq!(store_key("ab"), [1, b'a', b'b']);
        assert_eq!(user_key("ab"), [2, b'a', b'b']);
        let store = Store { keyspace: KeyspaceId(0x11), created_at: 0x0102_0304_0506 };
        let golden = b"\x2b\0\0\0\
            \x12keyspace\0\x11\0\0\0\0\0\0\0\
            \x09created_at\0\x06\x05\x04\x03\x02\x01\0\0\
            \0";
        assert_eq!(encode_store(&store), golden);
        assert_eq!(decode_store(golden), Some(store));
        let golden = b"\x2c\0\0\0\
            \x12format\0\x01\0\0\0\0\0\0\0\
            \x12next_keyspace\0\x12\0\0\0\0\0\0\0\
            \0";
        assert_eq!(encode_head(0x12), golden);
        assert_eq!(decode_head(golden), Some((1, 0x12)));
        let user = User { role: Role::ReadOnly, key_hash: "h".to_owned(), created_at: 1 };
        let golden = b"\x3d\0\0\0\
            \x02role\0\x0a\0\0\0read_only\0\
            \x02key_hash\0\x02\0\0\0h\0\
            \x09created_at\0\x01\0\0\0\0\0\0\0\
            \0";
        assert_eq!(encode_user(&user), golden);
        assert_eq!(decode_user(golden), Some(user));
    }

    #[test]
    fn what_is_no_record_is_not_read_as_one() {
        assert_eq!(name_of(&[]), None);
        assert_eq!(name_of(&[3, b'a']), None);
        assert_eq!(name_of(&[0, b'a']), None);
        assert_eq!(name_of(&[1, 0xff]), None);
        assert_eq!(name_of(&store_key("ab")), Some(Name::Store("ab")));
        assert_eq!(decode_store(&encode_head(16)), None);
        let reserved = Store { keyspace: KeyspaceId(15), created_at: 0 };
        assert_eq!(decode_store(&encode_store(&reserved)), None);
    }
}
