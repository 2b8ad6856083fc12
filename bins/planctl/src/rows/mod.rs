//! Rows of a file: documents with their keys and the places they stand at.
//!
//! What must stay true: a file is read once, front to back, and at most one row
//! and one buffer of it are in memory. A fault names the line. One that concerns a
//! single row leaves the next one readable; one after which nothing can be found
//! again ends the reading. Between any two rows, [`Rows::place`] is enough to go on
//! reading there another time.

mod bson;
mod compressed;
mod csv;
mod id;
mod infer;
mod input;
mod json;
mod keyspec;
mod manifest;
#[cfg(feature = "parquet")]
mod parquet;
mod shape;
#[cfg(test)]
mod tests;

pub(crate) use compressed::Compression;
pub(crate) use id::Id;
pub(crate) use input::{Format, Input, NO_PARQUET};
pub(crate) use keyspec::KeySpec;
#[cfg(feature = "parquet")]
pub(crate) use manifest::Kind;
pub(crate) use manifest::{Declared, Manifest, bare};
pub(crate) use shape::{Made, Shape};

use proto::Key;

/// The longest text of one row, in bytes: a guard, far over what a server takes.
const MAX_ROW_TEXT: usize = 64 << 20;
/// What a quarantine file begins with. After it, lines that begin with # say why
/// the row below was refused.
pub(crate) const QUARANTINE: &str = "# planctl quarantine";

/// A document to be inserted.
#[derive(Debug, PartialEq)]
pub(crate) struct Row {
    /// Its key; without one the server makes one.
    pub(crate) key: Option<Key>,
    /// BSON.
    pub(crate) document: Vec<u8>,
    /// The line it starts in, from 1; or its number, where there are no lines.
    pub(crate) line: u64,
}

/// A row that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BadRow {
    /// The line, from 1.
    pub(crate) line: u64,
    /// What is wrong, and what to do.
    pub(crate) what: String,
}

impl BadRow {
    fn new(line: u64, what: impl Into<String>) -> BadRow {
        BadRow { line, what: what.into() }
    }
}

/// What a file holds next.
pub(crate) type Next = Result<Row, BadRow>;

/// Where a row starts in a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Place {
    /// Bytes before it, counted after decompression. Parquet: rows before it.
    pub(crate) offset: u64,
    /// Lines before it; rows, where there are no lines.
    pub(crate) lines: u64,
    /// JSON: characters before it in its line.
    pub(crate) columns: u64,
    /// JSON: whether it is an item of an array.
    pub(crate) in_array: bool,
}

/// Reads rows.
pub(crate) trait Rows {
    /// The next row, good or bad; `None` at the end. An error: nothing after it can
    /// be read.
    fn next(&mut self) -> Result<Option<Next>, Stop>;

    /// Where reading can go on, so that the row that comes next comes first.
    fn place(&self) -> Place;

    /// Appends the row given last as it was written, so that, below
    /// [`Rows::head`], it can be read again.
    fn raw(&self, out: &mut Vec<u8>);

    /// What a file of such rows begins with.
    fn head(&self) -> Vec<u8> {
        Vec::new()
    }
}

/// Why reading ended early.
#[derive(Debug)]
pub(crate) enum Stop {
    /// The text is broken in a way that hides where the next row starts.
    Broken(BadRow),
    /// The file cannot be read.
    Io(std::io::Error),
}
