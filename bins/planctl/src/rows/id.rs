//! `--id`: what becomes of MongoDB's `_id`.
//!
//! What must stay true: the field stays in the document whatever is chosen, so that
//! nothing of it is lost; keys of ObjectIds and of UUIDs sort as those do.

use proto::Key;
use proto::doc::{DocBuf, Value};
use sha2::{Digest, Sha256};

/// What becomes of a field `_id`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Id {
    /// A field like any other
    #[default]
    Field,
    /// The key too: ObjectId, UUID, whole numbers from 0, text of up to 16 bytes
    Key,
    /// The key is a hash of it, whatever it is
    Hash,
}

impl Id {
    /// The key a value of `_id` makes.
    ///
    /// ```text
    /// ObjectId          its 12 bytes, 4 zeros
    /// binary, 16 bytes  they
    /// whole number      8 bytes, big-endian, 8 zeros
    /// text              32 hex digits: that key; else its bytes, then zeros
    /// ```
    pub(super) fn key(self, value: Value<'_>) -> Result<Key, String> {
        if self == Id::Hash {
            return hash(value);
        }
        let mut bytes = [0; 16];
        match value {
            Value::ObjectId(id) => bytes[..12].copy_from_slice(&id.0),
            Value::Binary(binary) if binary.bytes.len() == 16 => {
                bytes.copy_from_slice(binary.bytes);
            }
            Value::String(text) => {
                if let Ok(key) = text.parse() {
                    return Ok(key);
                }
                if text.len() > 16 || text.contains('\0') {
                    return Err(unfit(&format!("text of {} bytes", text.len())));
                }
                bytes[..text.len()].copy_from_slice(text.as_bytes());
            }
            other => match other.as_i64().and_then(|n| u64::try_from(n).ok()) {
                Some(n) => bytes[..8].copy_from_slice(&n.to_be_bytes()),
                None => return Err(unfit(other.type_name())),
            },
        }
        Ok(Key::from_bytes(bytes))
    }
}

fn unfit(what: &str) -> String {
    format!(
        "its `_id` is {what}, which --id key makes no key of (it takes ObjectIds, UUIDs, whole \
         numbers from 0 and text of up to 16 bytes); --id hash takes all"
    )
}

/// The first 16 bytes of SHA-256 over the value as BSON holds it, type included.
fn hash(value: Value<'_>) -> Result<Key, String> {
    let mut doc = DocBuf::new();
    doc.push("", value);
    let bytes = doc.finish().map_err(|e| e.to_string())?;
    let digest: [u8; 32] = Sha256::digest(&bytes).into();
    let mut key = [0; 16];
    key.copy_from_slice(&digest[..16]);
    Ok(Key::from_bytes(key))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::doc::{Binary, ObjectId};

    #[test]
    fn keys_of_ids() {
        let uuid: Vec<u8> = (1..=16).collect();
        let hex = "000102030405060708090a0b0c0d0e0f";
        for (value, key) in [
            (Value::ObjectId(ObjectId([0xab; 12])), "abababababababababababab00000000"),
            (
                Value::Binary(Binary { subtype: 4, bytes: &uuid }),
                "0102030405060708090a0b0c0d0e0f10",
            ),
            (Value::Int32(258), "00000000000001020000000000000000"),
            (Value::Double(258.0), "00000000000001020000000000000000"),
            (Value::String("AB"), "41420000000000000000000000000000"),
            (Value::String(hex), hex),
        ] {
            assert_eq!(Id::Key.key(value).unwrap().to_string(), key, "{value:?}");
        }
        for value in [Value::Int32(-1), Value::Null, Value::String("more than 16 bytes")] {
            assert!(Id::Key.key(value).unwrap_err().contains("--id hash"), "{value:?}");
            assert_eq!(Id::Hash.key(value), Id::Hash.key(value));
        }
        assert_ne!(Id::Hash.key(Value::Int32(1)), Id::Hash.key(Value::Int64(1)));
    }
}
