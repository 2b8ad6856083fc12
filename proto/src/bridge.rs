//! Rust values to documents and back, through serde.
//!
//! What must stay true: [`from_doc`] of [`to_doc`] gives the value back, for every
//! type whose own `Serialize` and `Deserialize` agree; no digit of a number is
//! lost; an error says which field, as a dotted path.
//!
//! ```text
//! bool, str, char            bool, string, string
//! i8 i16 i32 u8 u16          int32
//! i64 u32 u64                int64; a u64 beyond i64: decimal128
//! i128 u128                  int64, else decimal128, else (over 34 digits) an error
//! f32 f64                    double
//! bytes                      binary, subtype 0 (a Vec<u8> is an array, as serde sees it)
//! Option                     null or the value; a missing field reads as None
//! (), unit struct            null
//! newtype struct             what it holds
//! seq, tuple, tuple struct   array
//! map, struct                document; keys are strings, integers, bools, chars
//! enum                       "Name", or a document {"Name": what it holds}
//! DateTime, ObjectId,        the value of that type
//! Decimal128, Timestamp
//! Key                        string of 32 hex digits
//! ```
//!
//! Reading is kinder than writing: an integer may come from any number that is
//! exactly one, a float from any number, bytes from an array of them, and a string
//! from a date-time, object id or decimal.

mod de;
mod key;
mod ser;
mod types;

pub use types::{DateTime, Timestamp};

use crate::doc::Doc;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Writes a struct or a map as a document's BSON.
pub fn to_doc<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>, Error> {
    ser::document(value)
}

/// Reads a struct or a map from a document; strings and bytes may be borrowed from
/// it.
pub fn from_doc<'de, T: Deserialize<'de>>(doc: Doc<'de>) -> Result<T, Error> {
    de::document(doc)
}

/// A value that does not fit a document, or the other way round.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// The dotted path to where it went wrong; empty for the document itself.
    path: String,
    what: String,
}

impl Error {
    pub(crate) fn new(what: impl Into<String>) -> Error {
        Error { path: String::new(), what: what.into() }
    }

    /// The same error, seen from what holds it under `name`.
    pub(crate) fn within(mut self, name: &str) -> Error {
        self.path =
            if self.path.is_empty() { name.to_owned() } else { format!("{name}.{}", self.path) };
        self
    }

    /// The dotted path to where it went wrong; empty for the document itself.
    pub fn path(&self) -> &str {
        &self.path
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.path.is_empty() {
            f.write_str(&self.what)
        } else {
            write!(f, "field {:?}: {}", self.path, self.what)
        }
    }
}

impl std::error::Error for Error {}

impl serde::ser::Error for Error {
    fn custom<T: fmt::Display>(what: T) -> Error {
        Error::new(what.to_string())
    }
}

impl serde::de::Error for Error {
    fn custom<T: fmt::Display>(what: T) -> Error {
        Error::new(what.to_string())
    }
}

impl From<crate::doc::DocError> for Error {
    fn from(error: crate::doc::DocError) -> Error {
        Error::new(error.to_string())
    }
}
