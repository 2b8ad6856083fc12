//! How the catalog lies in keyspace 0.
//!
//! ```text
//! key                     document
//! 00                      { format: 3, next_keyspace: int64 }
//! 01 | name of a store    { keyspace: int64, created_at: datetime,
//!                           schema?: string (JSON), ttl?: { field: string, seconds: int64 },
//!                           before_images?: true }
//! 02 | name of a user     { role: string, created_at: datetime,
//!                           grants?: { keyspace of a store, in decimal: string (role) },
//!                           keys: [{ name: string, hash: string (PHC), created_at: datetime,
//!                           id?: string, expires?: datetime }] }
//! 03 | keyspace of its    { keyspace: int64, created_at: datetime, state: "building" |
//!    store, u32 BE          "ready" | "failed", reason?: string, fields: ["a.b", "-c"],
//!                          or { path: "-d", descending: bool } where the path begins with -,
//!    | name of an index     unique: bool, sparse: bool, filter?: string }
//! 04 | name of a sequence { id: int64, created_at: datetime }
//! ```
//!
//! A store's new name touches its own record only: its indexes are kept by the number of
//! its keyspace. Keyspaces below 16: 0 is this, 1 has the counters of sequences (key: id,
//! u32 BE; `lsm`: `counter.rs`), 2 the progress of builds (`index/build.rs`).
//!
//! Invariant: a record that cannot be read is an error naming it, never left out.

use std::sync::Arc;

use lsm::KeyspaceId;
use proto::doc::{Doc, DocBuf, Value};

use super::{FIRST_STORE, Schema, Sequence, Store, Ttl, User, UserKey};
use crate::auth::{Grants, Role};
use crate::index::{Definition, Index, Phase};

/// The format this program writes, and the only one it reads.
pub(crate) const FORMAT: i64 = 3;

const HEAD: u8 = 0;
const STORE: u8 = 1;
const USER: u8 = 2;
const INDEX: u8 = 3;
const SEQUENCE: u8 = 4;

/// What a key of the catalog names.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Name<'a> {
    Head,
    Store(&'a str),
    User(&'a str),
    /// The keyspace of its store, and its name.
    Index(u32, &'a str),
    Sequence(&'a str),
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

/// The key of a sequence's record.
pub(crate) fn sequence_key(name: &str) -> Vec<u8> {
    keyed(SEQUENCE, name)
}

/// What the keys of the records of a store's indexes begin with.
pub(crate) fn indexes_of(store: KeyspaceId) -> Vec<u8> {
    let mut key = vec![INDEX];
    key.extend_from_slice(&store.0.to_be_bytes());
    key
}

/// The key of an index's record.
pub(crate) fn index_key(store: KeyspaceId, name: &str) -> Vec<u8> {
    let mut key = indexes_of(store);
    key.extend_from_slice(name.as_bytes());
    key
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
    if kind == INDEX {
        let (store, name) = name.split_first_chunk()?;
        return Some(Name::Index(u32::from_be_bytes(*store), std::str::from_utf8(name).ok()?));
    }
    let name = std::str::from_utf8(name).ok()?;
    match (kind, name) {
        (HEAD, "") => Some(Name::Head),
        (STORE, name) => Some(Name::Store(name)),
        (USER, name) => Some(Name::User(name)),
        (SEQUENCE, name) => Some(Name::Sequence(name)),
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
    if let Some(schema) = &store.schema {
        doc.push("schema", &schema.text);
    }
    if let Some(Ttl { field, seconds }) = &store.ttl {
        doc.doc("ttl", |ttl| {
            ttl.push("field", field).push("seconds", *seconds);
        });
    }
    if store.before_images {
        doc.push("before_images", true);
    }
    finish(doc)
}

pub(crate) fn encode_index(index: &Index) -> Vec<u8> {
    let mut doc = DocBuf::new();
    doc.push("keyspace", i64::from(index.keyspace.0));
    doc.push("created_at", Value::DateTime(index.created_at));
    doc.push("state", index.phase.name());
    if let Phase::Failed(reason) = &index.phase {
        doc.push("reason", reason);
    }
    index.definition.describe(&mut doc);
    finish(doc)
}

pub(crate) fn encode_sequence(sequence: &Sequence) -> Vec<u8> {
    let mut doc = DocBuf::new();
    doc.push("id", i64::from(sequence.id));
    doc.push("created_at", Value::DateTime(sequence.created_at));
    finish(doc)
}

pub(crate) fn encode_user(user: &User) -> Vec<u8> {
    let mut doc = DocBuf::new();
    doc.push("role", user.role.name());
    doc.push("created_at", Value::DateTime(user.created_at));
    if let Some(grants) = &user.grants {
        doc.doc("grants", |doc| {
            for (store, role) in grants.iter() {
                doc.push(&store.0.to_string(), role.name());
            }
        });
    }
    doc.array("keys", |list| {
        for key in &user.keys {
            list.item_doc(|doc| {
                doc.push("name", &key.name).push("hash", &key.hash);
                doc.push("created_at", Value::DateTime(key.created_at));
                doc.extend(key.id.as_deref().map(|id| ("id", Value::String(id))));
                doc.extend(key.expires.map(|end| ("expires", Value::DateTime(end))));
            });
        }
    });
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
    let ttl = match doc.get("ttl") {
        None => None,
        Some(Value::Doc(ttl)) => Some(Ttl {
            field: ttl.get("field")?.as_str()?.to_owned(),
            seconds: ttl.get("seconds")?.as_i64()?,
        }),
        Some(_) => return None,
    };
    let before_images = match doc.get("before_images") {
        None => false,
        Some(Value::Bool(true)) => true,
        Some(_) => return None,
    };
    let (schema, indexes, keyspace) = (None, Vec::new(), KeyspaceId(keyspace));
    Some(Store { keyspace, created_at: datetime(doc)?, schema, ttl, before_images, indexes })
}

/// The schema in a store's record, compiled, if it has one.
pub(crate) fn decode_schema(bytes: &[u8]) -> Result<Option<Arc<Schema>>, String> {
    let schema = Doc::parse(bytes).ok().and_then(|doc| doc.get("schema"));
    let Some(schema) = schema else { return Ok(None) };
    let text = schema.as_str().ok_or("the schema in a store's record")?;
    let schema = Schema::parse(text).map_err(|refusal| refusal.message)?;
    Ok(Some(Arc::new(schema)))
}

/// An index, or what is wrong with its record.
pub(crate) fn decode_index(name: &str, bytes: &[u8]) -> Result<Index, String> {
    let damaged = || format!("the record of index {name:?}");
    let doc = Doc::parse(bytes).map_err(|_| damaged())?;
    let keyspace = doc.get("keyspace").and_then(|v| u32::try_from(v.as_i64()?).ok());
    let keyspace = keyspace.filter(|k| *k >= FIRST_STORE && *k < lsm::MAX_KEYSPACE);
    let text = |field| doc.get(field).and_then(|v| v.as_str());
    let phase = match (text("state"), text("reason")) {
        (Some("building"), None) => Phase::Building,
        (Some("ready"), None) => Phase::Ready,
        (Some("failed"), Some(reason)) => Phase::Failed(reason.to_owned()),
        _ => return Err(damaged()),
    };
    let beside = ["keyspace", "created_at", "state", "reason"];
    let definition = Definition::parse(doc, &beside)
        .map_err(|refusal| format!("{}: {}", damaged(), refusal.message))?;
    Ok(Index {
        name: name.to_owned(),
        keyspace: KeyspaceId(keyspace.ok_or_else(damaged)?),
        created_at: datetime(doc).ok_or_else(damaged)?,
        definition,
        phase,
    })
}

pub(crate) fn decode_sequence(bytes: &[u8]) -> Option<Sequence> {
    let doc = Doc::parse(bytes).ok()?;
    let id = u32::try_from(doc.get("id")?.as_i64()?).ok().filter(|id| *id >= FIRST_STORE)?;
    Some(Sequence { id, created_at: datetime(doc)? })
}

pub(crate) fn decode_user(bytes: &[u8]) -> Option<User> {
    let doc = Doc::parse(bytes).ok()?;
    let grants = match doc.get("grants") {
        None => None,
        Some(Value::Doc(granted)) => {
            let mut grants = Grants::default();
            for (store, role) in granted {
                let role = Role::from_name(role.as_str()?).filter(|role| *role != Role::Admin)?;
                grants.set(KeyspaceId(store.parse().ok()?), Some(role));
            }
            Some(Arc::new(grants)).filter(|grants| !grants.is_empty())
        }
        Some(_) => return None,
    };
    let Some(Value::Array(list)) = doc.get("keys") else { return None };
    let mut keys = Vec::new();
    for key in list.iter() {
        let Value::Doc(key) = key else { return None };
        let text = |field| key.get(field).and_then(|v| v.as_str()).map(str::to_owned);
        keys.push(UserKey {
            name: text("name")?,
            id: text("id"),
            hash: text("hash")?,
            created_at: datetime(key)?,
            expires: match key.get("expires") {
                None => None,
                Some(Value::DateTime(millis)) => Some(millis),
                Some(_) => return None,
            },
            since: 0,
            by: None,
        });
    }
    let role = Role::from_name(doc.get("role")?.as_str()?)?;
    Some(User { role, grants, keys, created_at: datetime(doc)?, born: 0 })
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
        let store = |keyspace, created_at| Store {
            keyspace: KeyspaceId(keyspace),
            created_at,
            schema: None,
            ttl: None,
            before_images: false,
            indexes: vec![],
        };
        let store = store(0x11, 0x0102_0304_0506);
        let golden = b"\x2b\0\0\0\
            \x12keyspace\0\x11\0\0\0\0\0\0\0\
            \x09created_at\0\x06\x05\x04\x03\x02\x01\0\0\
            \0";
        assert_eq!(encode_store(&store), golden);
        let read = decode_store(golden).unwrap();
        assert_eq!((read.keyspace, read.created_at), (store.keyspace, store.created_at));
        assert_eq!((read.ttl, read.indexes.len()), (None, 0));
        let golden = b"\x3b\0\0\0\
            \x12keyspace\0\x11\0\0\0\0\0\0\0\
            \x09created_at\0\x06\x05\x04\x03\x02\x01\0\0\
            \x08before_images\0\x01\
            \0";
        assert!(!read.before_images && decode_store(golden).unwrap().before_images);
        assert_eq!(encode_store(&Store { before_images: true, ..store }), golden);
        let golden = b"\x2c\0\0\0\
            \x12format\0\x03\0\0\0\0\0\0\0\
            \x12next_keyspace\0\x12\0\0\0\0\0\0\0\
            \0";
        assert_eq!(encode_head(0x12), golden);
        assert_eq!(decode_head(golden), Some((3, 0x12)));
        let key = |name: &str, id: Option<&str>, expires| UserKey {
            name: name.to_owned(),
            id: id.map(str::to_owned),
            hash: "h".to_owned(),
            created_at: 1,
            expires,
            since: 0,
            by: None,
        };
        let mut grants = Grants::default();
        grants.set(KeyspaceId(0x11), Some(Role::None));
        let mut user = User {
            role: Role::ReadOnly,
            grants: Some(Arc::new(grants)),
            keys: vec![key("a", Some("i"), Some(2)), key("b", None, None)],
            created_at: 1,
            born: 0,
        };
        let golden = b"\xd5\0\0\0\
            \x02role\0\x0a\0\0\0read_only\0\
            \x09created_at\0\x01\0\0\0\0\0\0\0\
            \x03grants\0\x12\0\0\0\x0217\0\x05\0\0\0none\0\0\
            \x04keys\0\x88\0\0\0\
                \x030\0\x4c\0\0\0\
                    \x02name\0\x02\0\0\0a\0\
                    \x02hash\0\x02\0\0\0h\0\
                    \x09created_at\0\x01\0\0\0\0\0\0\0\
                    \x02id\0\x02\0\0\0i\0\
                    \x09expires\0\x02\0\0\0\0\0\0\0\0\
                \x031\0\x31\0\0\0\
                    \x02name\0\x02\0\0\0b\0\
                    \x02hash\0\x02\0\0\0h\0\
                    \x09created_at\0\x01\0\0\0\0\0\0\0\0\
                \0\
            \0";
        assert_eq!(encode_user(&user), golden);
        assert_eq!(decode_user(golden).as_ref(), Some(&user));
        user.grants = None;
        assert_eq!(decode_user(&encode_user(&user)), Some(user));
        let golden = b"\x82\0\0\0\
            \x12keyspace\0\x12\0\0\0\0\0\0\0\
            \x09created_at\0\x01\0\0\0\0\0\0\0\
            \x02state\0\x06\0\0\0ready\0\
            \x04fields\0\x1a\0\0\0\
                \x020\0\x04\0\0\0a.b\0\
                \x021\0\x03\0\0\0-c\0\0\
            \x08unique\0\x01\x08sparse\0\0\
            \x02filter\0\x06\0\0\0a = 1\0\
            \0";
        let index = decode_index("i", golden).unwrap();
        assert_eq!(index.keyspace, KeyspaceId(0x12));
        let fields = index.definition.fields.iter().map(|f| (f.path.as_str(), f.descending));
        assert!(fields.eq([("a.b", false), ("c", true)]));
        assert_eq!(encode_index(&index), golden);
        assert_eq!(index_key(KeyspaceId(0x1122), "i"), [3, 0, 0, 0x11, 0x22, b'i']);
        assert_eq!(name_of(&[3, 0, 0, 0x11, 0x22, b'i']), Some(Name::Index(0x1122, "i")));
    }

    #[test]
    fn what_is_no_record_is_not_read_as_one() {
        assert_eq!(name_of(&[]), None);
        assert_eq!(name_of(&[3, b'a']), None);
        assert_eq!(name_of(&[5, b'a']), None);
        assert_eq!(name_of(&[0, b'a']), None);
        assert_eq!(name_of(&[1, 0xff]), None);
        assert_eq!(name_of(&store_key("ab")), Some(Name::Store("ab")));
        assert!(decode_store(&encode_head(16)).is_none());
        let reserved = Store {
            keyspace: KeyspaceId(15),
            created_at: 0,
            schema: None,
            ttl: None,
            before_images: false,
            indexes: vec![],
        };
        assert!(decode_store(&encode_store(&reserved)).is_none());
    }
}
