//! Documents: BSON, read in place.
//!
//! What must stay true:
//!
//! * [`Doc::parse`] is the one gate: what it accepts is well formed to the last
//!   byte, at most [`MAX_DEPTH`] documents deep, and names no field twice in one
//!   document. It never panics, whatever the bytes.
//! * [`Doc::trusted`] skips the gate for bytes that passed it before. On bytes
//!   that did not, every accessor still ends without a panic: a field is not
//!   found, an iteration stops early.
//! * Reading one field walks element headers and looks at nothing else.
//! * What [`DocBuf::finish`] and [`Doc::with`] return, `Doc::parse` accepts.
//!
//! ```text
//! document   | i32 length of the whole | element* | 00 |
//! element    | type u8 | name, 00 | body |
//!
//! type       body                                   Value
//! 01         f64                                    Double
//! 02         i32 n | n-1 bytes UTF-8 | 00           String
//! 03         document                               Doc
//! 04         document named "0", "1", ...           Array
//! 05         i32 n | subtype u8 | n bytes           Binary
//! 07         12 bytes                               ObjectId
//! 08         00 or 01                               Bool
//! 09         i64 milliseconds since 1970, UTC       DateTime
//! 0A         nothing                                Null
//! 0B         pattern, 00 | options, 00              Regex
//! 10         i32                                    Int32
//! 11         u64: seconds << 32 | counter           Timestamp
//! 12         i64                                    Int64
//! 13         16 bytes, IEEE 754 decimal, BID        Decimal128
//! FF, 7F     nothing                                MinKey, MaxKey
//! ```
//!
//! All integers are little-endian. The other types of BSON (undefined, DBPointer,
//! symbol, JavaScript code, binary subtype 2) are refused by name.

mod build;
mod check;
mod decimal;
mod edit;
mod error;
mod names;
mod path;
mod read;
mod value;

pub use build::DocBuf;
pub use decimal::{Decimal128, DecimalParts, ParseDecimalError};
pub use edit::Change;
pub use error::DocError;
pub use path::{Arrays, checked_path};
pub use read::{Array, Doc, Fields, Items};
pub use value::{Binary, ObjectId, Regex, Value, ValueBuf};

pub(crate) use decimal::nearest_f64;
pub(crate) use read::Elements;
pub(crate) use value::tag;

/// How many documents and arrays deep a document may be, itself included.
pub const MAX_DEPTH: usize = 64;

/// The bytes of the empty document.
pub const EMPTY: [u8; 5] = [5, 0, 0, 0, 0];
