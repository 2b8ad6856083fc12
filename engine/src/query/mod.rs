//! Carrying out a query: operators that pull rows from one another.
//!
//! ```text
//! scan, fetch or walk -> filter -> lookup* -> filter -> groups -> filter (having) -> sort -> cut -> pluck
//! ```
//! A walk that proves the dearer way is given up for another one, with all behind it
//! (`turn.rs`).
//!
//! What must stay true:
//! * A query sees one snapshot, memtables and tree alike, and the indexes of that one
//!   (`access/`).
//! * What it may hold in memory, to sort, group or join, is bounded (`work.rs`). A
//!   sort and a grouping go on with sorted runs on disk (`spill.rs`), bounded too;
//!   passing that bound is an error by name and changes nothing. With a `limit`,
//!   sorting keeps only the rows that can still be among the first.
//! * Rows that compare equal come in key order.
//! * A deadline and a cancellation are met after a bounded piece of work.
//! * No result is bounded by a message: what does not fit a reply waits, operators
//!   and snapshot and all, until it is fetched (`stream.rs`, `table.rs`).

mod access;
pub mod bind;
mod desk;
pub mod edit;
mod explain;
mod foreign;
mod group;
mod lookup;
mod normal;
mod number;
mod owned;
mod pattern;
pub mod predicate;
mod range;
mod rows;
mod run;
mod sort;
mod spill;
mod stream;
mod table;
#[cfg(test)]
mod tests;
mod turn;
mod work;

#[cfg(test)]
pub(crate) use access::whim;
pub use bind::{Change, Outcome, Plan, SelectPlan, bind};
pub(crate) use desk::{Desk, Running};
pub use desk::{RunningQuery, SlowQuery};
pub(crate) use explain::{explain, explain_get, explain_insert};
pub use foreign::Foreign;
pub use run::{Scope, Selected, key_of_filter, matched, matching, select};
pub use spill::SpillSpace;
pub use stream::{Page, PageSize, Stream};
pub(crate) use table::CursorLimits;
pub use work::{Figures, Held, Limits, Work};

/// Some fields of a document, as `pluck` gives them.
///
/// # Errors
/// A field is named twice.
pub(crate) fn plucked(paths: &[Path], key: Key, doc: Doc<'_>) -> Result<Vec<u8>, QueryError> {
    rows::pluck(paths, false, key, doc, Vec::new())
}

use crate::pql::ast::Path;
use proto::doc::{Array, Doc, DocError, Value};
use proto::{Key, Status};

/// Why a query was not carried out.
#[derive(Debug)]
pub enum QueryError {
    /// The caller's fault, or a limit: a status and what to do.
    Refused(Status, String),
    /// The storage's.
    Storage(lsm::Error),
}

impl QueryError {
    fn bad(message: String) -> QueryError {
        QueryError::Refused(Status::BadQuery, message)
    }

    fn cancelled() -> QueryError {
        let message = "the query was cancelled; nothing changed".to_owned();
        QueryError::Refused(Status::Cancelled, message)
    }

    fn from_refusal(refusal: crate::Refusal) -> QueryError {
        QueryError::Refused(refusal.status, refusal.message)
    }

    fn document(key: Key, error: &DocError) -> QueryError {
        QueryError::Refused(Status::BadDocument, format!("document {key}: {error}"))
    }
}

impl From<lsm::Error> for QueryError {
    fn from(error: lsm::Error) -> Self {
        QueryError::Storage(error)
    }
}

/// The value a path names, the primary key included; `key` is its text.
fn field<'a>(path: &Path, key: &'a str, doc: Doc<'a>) -> Option<Value<'a>> {
    if path.is_key() {
        return Some(Value::String(key));
    }
    if path.0.contains('.') { doc.path(&path.0) } else { doc.get(&path.0) }
}

/// The value a path names in the row of a group, whose fields have dotted names.
fn group_field<'a>(Path(path): &Path, row: Doc<'a>) -> Option<Value<'a>> {
    row.get(path).or_else(|| match predicate::within_group(row, path)? {
        (Value::Doc(doc), rest) => doc.path(rest),
        // An array is laid out as a document named by numbers.
        (Value::Array(items), rest) => item(items, rest),
        _ => None,
    })
}

fn item<'a>(items: Array<'a>, path: &str) -> Option<Value<'a>> {
    let (number, rest) = path.split_once('.').map_or((path, None), |(n, rest)| (n, Some(rest)));
    let digits = number.bytes().all(|b| b.is_ascii_digit());
    if !digits || (number.starts_with('0') && number != "0") {
        return None;
    }
    let value = items.get(number.parse().ok()?)?;
    match (rest, value) {
        (None, value) => Some(value),
        (Some(rest), Value::Doc(doc)) => doc.path(rest),
        (Some(rest), Value::Array(items)) => item(items, rest),
        _ => None,
    }
}
