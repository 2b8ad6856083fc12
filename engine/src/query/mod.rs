//! Carrying out a query: scan, test, order, cut, shape.
//!
//! What must stay true:
//! * A query sees one snapshot, memtables and tree alike.
//! * What it may hold in memory, to sort or group, is bounded; passing the bound
//!   is an error by name and changes nothing. With a `limit`, sorting keeps only
//!   the rows that can still be among the first.
//! * Rows that compare equal come in key order.

pub mod bind;
mod group;
pub mod predicate;
mod range;
mod rows;
#[cfg(test)]
mod tests;

pub use bind::{Outcome, Plan, SelectPlan, bind};
pub use rows::{matching, select};

use crate::pql::ast::Path;
use lsm::{KeyspaceId, Snapshot};
use proto::doc::{Doc, DocError, Value};
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

    fn document(key: Key, error: &DocError) -> QueryError {
        QueryError::Refused(Status::BadDocument, format!("document {key}: {error}"))
    }
}

impl From<lsm::Error> for QueryError {
    fn from(error: lsm::Error) -> Self {
        QueryError::Storage(error)
    }
}

/// Where a query looks.
#[derive(Clone, Copy)]
pub struct Scope<'a> {
    /// The commits it sees.
    pub snapshot: &'a Snapshot,
    /// The store's documents.
    pub keyspace: KeyspaceId,
    /// What it may use.
    pub limits: Limits,
}

/// What one query may use.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes to sort or group in.
    pub memory: usize,
    /// Bytes of the reply packet.
    pub reply: usize,
}

/// Memory a query holds, counted against its limit.
pub(crate) struct Budget {
    used: usize,
    limit: usize,
}

impl Budget {
    fn new(limit: usize) -> Self {
        Budget { used: 0, limit }
    }

    fn take(&mut self, bytes: usize, to: &str) -> Result<(), QueryError> {
        self.used = self.used.saturating_add(bytes);
        if self.used <= self.limit {
            return Ok(());
        }
        let advice = match to {
            "group" => "group by fields of fewer values, or filter first",
            _ => "add a limit(n), pluck fewer documents with filter(..), or order by nothing",
        };
        let message = format!(
            "to {to}, this query needs more than the {} bytes it may use: {advice}",
            self.limit
        );
        Err(QueryError::Refused(Status::QueryMemory, message))
    }

    fn fits(&self, bytes: usize) -> bool {
        self.used.saturating_add(bytes) <= self.limit
    }

    fn give_back(&mut self, bytes: usize) {
        self.used = self.used.saturating_sub(bytes);
    }
}

/// The value a path names, the primary key included; `key` is its text.
fn field<'a>(path: &Path, key: &'a str, doc: Doc<'a>) -> Option<Value<'a>> {
    if path.is_key() {
        return Some(Value::String(key));
    }
    if path.0.contains('.') { doc.path(&path.0) } else { doc.get(&path.0) }
}
