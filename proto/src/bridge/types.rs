//! Types of documents that serde has no word for. Each goes through serde as a
//! newtype struct of a name no Rust type can have, which this bridge knows; other
//! formats see what is inside.

use crate::Key;
use crate::doc::{Decimal128, ObjectId};
use serde::de::{Deserialize, Deserializer, Error, Unexpected, Visitor};
use serde::ser::{Serialize, Serializer};
use std::fmt;

pub(super) const DATE_TIME: &str = "$date";
pub(super) const OBJECT_ID: &str = "$oid";
pub(super) const DECIMAL128: &str = "$numberDecimal";
pub(super) const TIMESTAMP: &str = "$timestamp";

/// Milliseconds since 1970-01-01T00:00:00Z: a date-time in a document.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DateTime(pub i64);

/// `seconds << 32 | counter`: a timestamp in a document.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub u64);

struct Bytes<'a>(&'a [u8]);

impl Serialize for Bytes<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.0)
    }
}

impl Serialize for DateTime {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_newtype_struct(DATE_TIME, &self.0)
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_newtype_struct(TIMESTAMP, &self.0)
    }
}

impl Serialize for ObjectId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_newtype_struct(OBJECT_ID, &Bytes(&self.0))
    }
}

impl Serialize for Decimal128 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_newtype_struct(DECIMAL128, &Bytes(&self.to_bytes()))
    }
}

impl Serialize for Key {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// An integer inside a newtype struct.
struct Integer;

impl<'de> Visitor<'de> for Integer {
    type Value = i128;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a date-time or a timestamp")
    }
    fn visit_i64<E: Error>(self, n: i64) -> Result<i128, E> {
        Ok(n.into())
    }
    fn visit_u64<E: Error>(self, n: u64) -> Result<i128, E> {
        Ok(n.into())
    }
    fn visit_newtype_struct<D: Deserializer<'de>>(self, inner: D) -> Result<i128, D::Error> {
        inner.deserialize_any(self)
    }
}

/// Bytes of a fixed length inside a newtype struct.
struct Fixed<const N: usize>(&'static str);

impl<'de, const N: usize> Visitor<'de> for Fixed<N> {
    type Value = [u8; N];
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
    fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<[u8; N], E> {
        bytes.try_into().map_err(|_| E::invalid_length(bytes.len(), &self))
    }
    fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut seq: A) -> Result<[u8; N], A::Error> {
        let mut bytes = [0; N];
        for (at, byte) in bytes.iter_mut().enumerate() {
            *byte = seq.next_element()?.ok_or_else(|| A::Error::invalid_length(at, &self))?;
        }
        Ok(bytes)
    }
    fn visit_newtype_struct<D: Deserializer<'de>>(self, inner: D) -> Result<[u8; N], D::Error> {
        inner.deserialize_bytes(self)
    }
}

impl<'de> Deserialize<'de> for DateTime {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<DateTime, D::Error> {
        let n = deserializer.deserialize_newtype_struct(DATE_TIME, Integer)?;
        let millis = i64::try_from(n).map_err(|_| D::Error::custom("beyond a date-time"))?;
        Ok(DateTime(millis))
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
        let n = deserializer.deserialize_newtype_struct(TIMESTAMP, Integer)?;
        let stamp = u64::try_from(n).map_err(|_| D::Error::custom("beyond a timestamp"))?;
        Ok(Timestamp(stamp))
    }
}

impl<'de> Deserialize<'de> for ObjectId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<ObjectId, D::Error> {
        deserializer.deserialize_newtype_struct(OBJECT_ID, Fixed("an object id")).map(ObjectId)
    }
}

impl<'de> Deserialize<'de> for Decimal128 {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Decimal128, D::Error> {
        deserializer
            .deserialize_newtype_struct(DECIMAL128, Fixed("a decimal128"))
            .map(Decimal128::from_bytes)
    }
}

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Key, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = Key;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a key of 32 hex digits")
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<Key, E> {
                text.parse().map_err(|_| E::invalid_value(Unexpected::Str(text), &self))
            }
        }
        deserializer.deserialize_str(Text)
    }
}
