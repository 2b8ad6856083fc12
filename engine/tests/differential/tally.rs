//! What was run, and why a run failed.

use proto::Status;

use crate::marks::Marks;

/// What was run.
#[derive(Debug, Default)]
pub struct Tally {
    pub asked: u64,
    pub different: u64,
    pub changes: u64,
    pub rows: u64,
    pub refused: u64,
    pub out_of_memory: u64,
    pub of_sqlite: u64,
    pub clashes: u64,
    pub made_keys: u64,
    pub explained: u64,
    pub collections: u64,
    /// Collections that freed something.
    pub collected: u64,
    pub marks: Marks,
}

/// Why a run failed.
#[derive(Debug)]
pub struct Failure {
    pub at: usize,
    /// The store it was seen in.
    pub store: usize,
    pub kind: Kind,
    pub told: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Differs,
    Refused(Status),
    Explained,
    Index,
    Sqlite,
    Panic,
}
