//! JSON to documents and back, without a tree in between.
//!
//! What must stay true:
//!
//! * [`write_json`] then [`parse_json`] gives a document that
//!   [`crate::order::equal`]s the one before, for every document with no field
//!   name that starts with `$`.
//! * Integers stay integers and lose no digit: one of 32 bits becomes an int32, of
//!   64 bits an int64, a longer one a decimal128 or, past 34 digits, an error.
//! * A number with a point or an exponent is a double, and a double is written
//!   with one.
//! * An error says line and column, both from 1, the column in characters.
//!
//! Types JSON lacks are objects of one field, as in MongoDB's relaxed extended
//! JSON. An object inside a document that starts with one of these names is such a
//! value, or an error; other names with `$` are ordinary.
//!
//! ```text
//! {"$date": "2013-01-01T05:00:00Z"}       also {"$numberLong": "..."} and integers:
//!                                         milliseconds; years 0000 to 9999 as text
//! {"$oid": "24 hex digits"}
//! {"$binary": {"base64": "...", "subType": "00"}}
//! {"$uuid": "8-4-4-4-12 hex digits"}      read only: binary subtype 4
//! {"$numberDecimal": "1.50"}
//! {"$numberDouble": "NaN"}                also Infinity and -Infinity
//! {"$numberInt": "1"}  {"$numberLong": "1"}  read only
//! {"$timestamp": {"t": 1, "i": 2}}
//! {"$regularExpression": {"pattern": "^a", "options": "i"}}
//! {"$minKey": 1}  {"$maxKey": 1}
//! ```

mod base64;
mod error;
mod extended;
mod many;
mod read;
mod time;
mod write;

pub use error::JsonError;
pub use many::{Documents, parse_documents};
pub use read::{Limits, parse_json, parse_json_value, parse_json_with};
pub use time::{date_time_from_text, date_time_to_text};
pub use write::{
    Sink, to_json, to_json_pretty, write_json, write_json_pretty, write_row, write_value,
};
