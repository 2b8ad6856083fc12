//! Reading: values of a document become serde's calls.

use super::Error;
use super::key::KeyReader;
use super::types::{DATE_TIME, DECIMAL128, OBJECT_ID, TIMESTAMP};
use crate::doc::{Array, Doc, Elements, MAX_DEPTH, Value};
use crate::json::date_time_to_text;
use serde::de::{
    self, Deserialize, DeserializeSeed, EnumAccess, MapAccess, SeqAccess, VariantAccess, Visitor,
};
use serde::{Deserializer, forward_to_deserialize_any};

pub(super) fn document<'de, T: Deserialize<'de>>(doc: Doc<'de>) -> Result<T, Error> {
    T::deserialize(Reader { value: Value::Doc(doc), depth: 1 })
}

/// Reads one value.
#[derive(Clone, Copy)]
struct Reader<'de> {
    value: Value<'de>,
    /// How deep it lies: bounds the recursion on trusted bytes that never were
    /// checked.
    depth: usize,
}

fn damaged() -> Error {
    Error::new("the document is damaged")
}

impl<'de> Reader<'de> {
    fn fields(self, doc: Doc<'de>) -> Result<Fields<'de>, Error> {
        self.check_depth()?;
        Ok(Fields { rest: Elements::of(doc.as_bytes()), value: None, depth: self.depth + 1 })
    }

    fn items(self, array: Array<'de>) -> Result<Items<'de>, Error> {
        self.check_depth()?;
        Ok(Items { rest: Elements::of(array.as_bytes()), index: 0, depth: self.depth + 1 })
    }

    fn check_depth(self) -> Result<(), Error> {
        if self.depth > MAX_DEPTH { Err(damaged()) } else { Ok(()) }
    }

    /// The integer it is exactly, if it is one.
    fn integer(self) -> Option<i128> {
        match self.value {
            Value::Decimal128(d) => d.to_i128(),
            value => value.as_i64().map(i128::from),
        }
    }

    /// The text of a value that is none but has one form everyone writes.
    fn text(self) -> Option<String> {
        match self.value {
            Value::DateTime(millis) => date_time_to_text(millis),
            Value::ObjectId(id) => Some(id.to_string()),
            Value::Decimal128(d) => Some(d.to_string()),
            _ => None,
        }
    }

    fn mismatch(self, expected: &str) -> Error {
        Error::new(format!("expected {expected}, found a value of type {}", self.value.type_name()))
    }
}

macro_rules! integers {
    ($($method:ident)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            match self.value {
                // Nearly all there are, and 128 bits cost wasm32 dear.
                Value::Int32(n) => visitor.visit_i32(n),
                Value::Int64(n) => visitor.visit_i64(n),
                _ => match self.integer() {
                    Some(n) => visit_integer(n, visitor),
                    None => self.deserialize_any(visitor),
                },
            }
        }
    )*};
}

fn visit_integer<'de, V: Visitor<'de>>(n: i128, visitor: V) -> Result<V::Value, Error> {
    match (i64::try_from(n), u64::try_from(n)) {
        (Ok(n), _) => visitor.visit_i64(n),
        (_, Ok(n)) => visitor.visit_u64(n),
        _ => visitor.visit_i128(n),
    }
}

impl<'de> Deserializer<'de> for Reader<'de> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.value {
            Value::Null => visitor.visit_unit(),
            Value::Bool(b) => visitor.visit_bool(b),
            Value::Int32(n) => visitor.visit_i32(n),
            Value::Int64(n) | Value::DateTime(n) => visitor.visit_i64(n),
            Value::Timestamp(n) => visitor.visit_u64(n),
            Value::Double(d) => visitor.visit_f64(d),
            Value::String(text) => visitor.visit_borrowed_str(text),
            Value::Doc(doc) => visitor.visit_map(self.fields(doc)?),
            Value::Array(array) => visitor.visit_seq(self.items(array)?),
            Value::Binary(binary) => visitor.visit_borrowed_bytes(binary.bytes),
            Value::ObjectId(id) => visitor.visit_string(id.to_string()),
            Value::Decimal128(d) => visitor.visit_string(d.to_string()),
            Value::Regex(regex) => visitor.visit_borrowed_str(regex.pattern),
            Value::MinKey | Value::MaxKey => Err(self.mismatch("a value Rust has a type for")),
        }
    }

    integers! {
        deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_i128
        deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64 deserialize_u128
    }

    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_f64(visitor)
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.value.as_f64() {
            Some(d) => visitor.visit_f64(d),
            None => self.deserialize_any(visitor),
        }
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.text() {
            Some(text) => visitor.visit_string(text),
            None => self.deserialize_any(visitor),
        }
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_str(visitor)
    }

    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.value {
            Value::ObjectId(id) => visitor.visit_bytes(&id.0),
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_bytes(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.value {
            Value::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        match (name, self.value) {
            (DATE_TIME, Value::DateTime(millis)) => visitor.visit_i64(millis),
            (TIMESTAMP, Value::Timestamp(stamp)) => visitor.visit_u64(stamp),
            (OBJECT_ID, Value::ObjectId(id)) => visitor.visit_bytes(&id.0),
            (DECIMAL128, Value::Decimal128(d)) => visitor.visit_bytes(&d.to_bytes()),
            (DATE_TIME, _) => Err(self.mismatch("a date-time")),
            (TIMESTAMP, _) => Err(self.mismatch("a timestamp")),
            (OBJECT_ID, _) => Err(self.mismatch("an object id")),
            (DECIMAL128, _) => Err(self.mismatch("a decimal128")),
            _ => visitor.visit_newtype_struct(self),
        }
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.value {
            Value::Binary(binary) => {
                let bytes = binary.bytes.iter().copied();
                visitor.visit_seq(de::value::SeqDeserializer::new(bytes))
            }
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_tuple<V: Visitor<'de>>(
        self,
        _len: usize,
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _len: usize,
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        match self.value {
            Value::String(name) => visitor.visit_enum(KeyReader(name)),
            Value::Doc(doc) => {
                let mut fields = doc.iter();
                match (fields.next(), fields.next()) {
                    (Some((name, value)), None) => {
                        let held = Reader { value, depth: self.depth + 1 };
                        visitor.visit_enum(Variant { name, held }).map_err(|e| e.within(name))
                    }
                    _ => Err(Error::new("an enum is a document of one field: its variant")),
                }
            }
            _ => Err(self.mismatch("a variant: a string, or a document of one field")),
        }
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        // The value was framed already; nothing in it need be looked at.
        visitor.visit_unit()
    }

    forward_to_deserialize_any! { bool char unit unit_struct map struct identifier }
}

/// The fields of a document, one by one.
struct Fields<'de> {
    rest: Elements<'de>,
    /// The value of the name given last, with that name.
    value: Option<(&'de str, Value<'de>)>,
    depth: usize,
}

impl<'de> MapAccess<'de> for Fields<'de> {
    type Error = Error;

    fn next_key_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, Error> {
        let Some(element) = self.rest.next() else {
            return if self.rest.complete() { Ok(None) } else { Err(damaged()) };
        };
        let name = std::str::from_utf8(element.name).map_err(|_| damaged())?;
        self.value = Some((name, element.value().ok_or_else(damaged)?));
        seed.deserialize(KeyReader(name)).map(Some).map_err(|error| error.within(name))
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Error> {
        let (name, value) =
            self.value.take().ok_or_else(|| Error::new("a value was asked for before its key"))?;
        let reader = Reader { value, depth: self.depth };
        seed.deserialize(reader).map_err(|error| error.within(name))
    }
}

/// The items of an array, one by one.
struct Items<'de> {
    rest: Elements<'de>,
    index: usize,
    depth: usize,
}

impl<'de> SeqAccess<'de> for Items<'de> {
    type Error = Error;

    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, Error> {
        let Some(element) = self.rest.next() else {
            return if self.rest.complete() { Ok(None) } else { Err(damaged()) };
        };
        let value = element.value().ok_or_else(damaged)?;
        let item = seed
            .deserialize(Reader { value, depth: self.depth })
            .map_err(|error| error.within(&self.index.to_string()))?;
        self.index += 1;
        Ok(Some(item))
    }
}

/// An enum's variant and what it holds.
struct Variant<'de> {
    name: &'de str,
    held: Reader<'de>,
}

impl<'de> EnumAccess<'de> for Variant<'de> {
    type Error = Error;
    type Variant = Reader<'de>;

    fn variant_seed<S: DeserializeSeed<'de>>(
        self,
        seed: S,
    ) -> Result<(S::Value, Reader<'de>), Error> {
        Ok((seed.deserialize(KeyReader(self.name))?, self.held))
    }
}

impl<'de> VariantAccess<'de> for Reader<'de> {
    type Error = Error;

    fn unit_variant(self) -> Result<(), Error> {
        match self.value {
            Value::Null => Ok(()),
            _ => Err(self.mismatch("null, since the variant holds nothing")),
        }
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, Error> {
        seed.deserialize(self)
    }

    fn tuple_variant<V: Visitor<'de>>(self, _len: usize, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_seq(visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        match self.value {
            Value::Doc(doc) => visitor.visit_map(self.fields(doc)?),
            _ => Err(self.mismatch("a document")),
        }
    }
}
