//! A value of a document, borrowed from its bytes.

use super::{Array, Decimal128, Doc, DocBuf, DocError, Elements};

/// The type bytes of BSON that are stored.
pub(crate) mod tag {
    pub(crate) const DOUBLE: u8 = 0x01;
    pub(crate) const STRING: u8 = 0x02;
    pub(crate) const DOC: u8 = 0x03;
    pub(crate) const ARRAY: u8 = 0x04;
    pub(crate) const BINARY: u8 = 0x05;
    pub(crate) const OBJECT_ID: u8 = 0x07;
    pub(crate) const BOOL: u8 = 0x08;
    pub(crate) const DATE_TIME: u8 = 0x09;
    pub(crate) const NULL: u8 = 0x0A;
    pub(crate) const REGEX: u8 = 0x0B;
    pub(crate) const INT32: u8 = 0x10;
    pub(crate) const TIMESTAMP: u8 = 0x11;
    pub(crate) const INT64: u8 = 0x12;
    pub(crate) const DECIMAL128: u8 = 0x13;
    pub(crate) const MIN_KEY: u8 = 0xFF;
    pub(crate) const MAX_KEY: u8 = 0x7F;
}

/// One value, 24 bytes, borrowing strings and nested documents.
///
/// `==` compares representations: `Int32(1) != Int64(1)` and NaN is not itself.
/// What a query means by equal is [`crate::order::equal`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value<'a> {
    /// Lowest of all values that are there.
    MinKey,
    /// There, but nothing: distinct from a missing field.
    Null,
    /// A 32-bit integer.
    Int32(i32),
    /// A 64-bit integer.
    Int64(i64),
    /// A 64-bit float.
    Double(f64),
    /// A 34-digit decimal.
    Decimal128(Decimal128),
    /// UTF-8 text, NUL allowed.
    String(&'a str),
    /// A document.
    Doc(Doc<'a>),
    /// An array.
    Array(Array<'a>),
    /// Bytes and what they are.
    Binary(Binary<'a>),
    /// A 12-byte identifier.
    ObjectId(ObjectId),
    /// True or false.
    Bool(bool),
    /// Milliseconds since 1970-01-01T00:00:00Z.
    DateTime(i64),
    /// A counter within a second: `seconds << 32 | counter`.
    Timestamp(u64),
    /// A regular expression, stored and never run.
    Regex(Regex<'a>),
    /// Highest of all values.
    MaxKey,
}

/// Bytes with BSON's subtype (0 for plain bytes, 4 for a UUID).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Binary<'a> {
    /// BSON's subtype; 2 is refused.
    pub subtype: u8,
    /// The bytes.
    pub bytes: &'a [u8],
}

/// A regular expression as BSON holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Regex<'a> {
    /// The pattern, without NUL.
    pub pattern: &'a str,
    /// The options, letters in alphabetical order by convention.
    pub options: &'a str,
}

/// A 12-byte identifier made elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectId(pub [u8; 12]);

impl std::fmt::Display for ObjectId {
    /// 24 hex digits.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl<'a> Value<'a> {
    /// The value's type as a word of messages, such as `"int32"` or `"document"`.
    pub fn type_name(&self) -> &'static str {
        match self {
            Value::MinKey => "minKey",
            Value::Null => "null",
            Value::Int32(_) => "int32",
            Value::Int64(_) => "int64",
            Value::Double(_) => "double",
            Value::Decimal128(_) => "decimal128",
            Value::String(_) => "string",
            Value::Doc(_) => "document",
            Value::Array(_) => "array",
            Value::Binary(_) => "binary",
            Value::ObjectId(_) => "objectId",
            Value::Bool(_) => "bool",
            Value::DateTime(_) => "dateTime",
            Value::Timestamp(_) => "timestamp",
            Value::Regex(_) => "regex",
            Value::MaxKey => "maxKey",
        }
    }

    /// The string, if it is one.
    pub fn as_str(&self) -> Option<&'a str> {
        match *self {
            Value::String(s) => Some(s),
            _ => None,
        }
    }

    /// The bool, if it is one.
    pub fn as_bool(&self) -> Option<bool> {
        match *self {
            Value::Bool(b) => Some(b),
            _ => None,
        }
    }

    /// The document, if it is one.
    pub fn as_doc(&self) -> Option<Doc<'a>> {
        match *self {
            Value::Doc(d) => Some(d),
            _ => None,
        }
    }

    /// The array, if it is one.
    pub fn as_array(&self) -> Option<Array<'a>> {
        match *self {
            Value::Array(a) => Some(a),
            _ => None,
        }
    }

    /// A number of any type that is exactly this integer.
    pub fn as_i64(&self) -> Option<i64> {
        match *self {
            Value::Int32(n) => Some(i64::from(n)),
            Value::Int64(n) => Some(n),
            // 2^63 itself is a double but no i64.
            Value::Double(d)
                if d.trunc() == d
                    && (-9_223_372_036_854_775_808.0..9_223_372_036_854_775_808.0).contains(&d) =>
            {
                Some(d as i64)
            }
            Value::Decimal128(d) => d.to_i128().and_then(|n| i64::try_from(n).ok()),
            _ => None,
        }
    }

    /// A number of any type as the nearest double.
    pub fn as_f64(&self) -> Option<f64> {
        match *self {
            Value::Int32(n) => Some(f64::from(n)),
            Value::Int64(n) => Some(n as f64),
            Value::Double(d) => Some(d),
            Value::Decimal128(d) => Some(d.to_f64()),
            _ => None,
        }
    }

    /// Whether it is a number of any type, NaN included.
    pub fn is_number(&self) -> bool {
        matches!(self, Value::Int32(_) | Value::Int64(_) | Value::Double(_) | Value::Decimal128(_))
    }

    /// Whether it is a document or an array.
    pub fn is_nested(&self) -> bool {
        matches!(self, Value::Doc(_) | Value::Array(_))
    }

    /// BSON's type byte.
    pub(crate) fn tag(&self) -> u8 {
        match self {
            Value::MinKey => tag::MIN_KEY,
            Value::Null => tag::NULL,
            Value::Int32(_) => tag::INT32,
            Value::Int64(_) => tag::INT64,
            Value::Double(_) => tag::DOUBLE,
            Value::Decimal128(_) => tag::DECIMAL128,
            Value::String(_) => tag::STRING,
            Value::Doc(_) => tag::DOC,
            Value::Array(_) => tag::ARRAY,
            Value::Binary(_) => tag::BINARY,
            Value::ObjectId(_) => tag::OBJECT_ID,
            Value::Bool(_) => tag::BOOL,
            Value::DateTime(_) => tag::DATE_TIME,
            Value::Timestamp(_) => tag::TIMESTAMP,
            Value::Regex(_) => tag::REGEX,
            Value::MaxKey => tag::MAX_KEY,
        }
    }
}

macro_rules! from {
    ($($source:ty => |$v:ident| $value:expr;)*) => {$(
        impl<'a> From<$source> for Value<'a> {
            fn from($v: $source) -> Value<'a> { $value }
        }
    )*};
}

from! {
    bool => |v| Value::Bool(v);
    i32 => |v| Value::Int32(v);
    u32 => |v| Value::Int64(i64::from(v));
    i64 => |v| Value::Int64(v);
    f64 => |v| Value::Double(v);
    &'a str => |v| Value::String(v);
    &'a String => |v| Value::String(v);
    Doc<'a> => |v| Value::Doc(v);
    Array<'a> => |v| Value::Array(v);
    Binary<'a> => |v| Value::Binary(v);
    Regex<'a> => |v| Value::Regex(v);
    ObjectId => |v| Value::ObjectId(v);
    Decimal128 => |v| Value::Decimal128(v);
    &'a ValueBuf => |v| v.get();
}

impl<'a, T: Into<Value<'a>>> From<Option<T>> for Value<'a> {
    /// `None` is null.
    fn from(value: Option<T>) -> Value<'a> {
        value.map_or(Value::Null, Into::into)
    }
}

/// A value that owns its bytes: literals of a query, keys of a group.
#[derive(Clone, PartialEq, Eq)]
pub struct ValueBuf {
    /// A document of one field named "".
    doc: Vec<u8>,
}

impl ValueBuf {
    /// Copies a value. Errors: a NUL in a regular expression, or a nested document
    /// that is malformed or too deep.
    pub fn new<'v>(value: impl Into<Value<'v>>) -> Result<ValueBuf, DocError> {
        let mut doc = DocBuf::new();
        doc.push("", value);
        Ok(ValueBuf { doc: doc.finish()? })
    }

    /// Takes over a checked document of one field.
    pub(crate) fn from_only_field(doc: Vec<u8>) -> ValueBuf {
        ValueBuf { doc }
    }

    /// The value.
    pub fn get(&self) -> Value<'_> {
        Elements::of(&self.doc).next().and_then(|e| e.value()).unwrap_or(Value::Null)
    }

    /// How many bytes it holds on to.
    pub fn size(&self) -> usize {
        self.doc.len()
    }
}

impl std::fmt::Debug for ValueBuf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.get().fmt(f)
    }
}
