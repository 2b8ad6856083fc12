//! Rows of a file: documents with their keys and the lines they stand in.
//!
//! What must stay true: a file is read once, front to back, and at most one row
//! and one buffer of it are in memory. A fault names the line. One that concerns a
//! single row leaves the next one readable; one after which nothing can be found
//! again ends the reading.

mod csv;
mod infer;
mod input;
mod json;
mod keyspec;

pub(crate) use input::{Format, Input};
pub(crate) use keyspec::KeySpec;

use crate::failure::Failure;
use proto::Key;
use proto::doc::{Change, Doc, Value};

/// The longest text of one row, in bytes: a guard, far over what a server takes.
const MAX_ROW_TEXT: usize = 64 << 20;

/// A document to be inserted.
#[derive(Debug, PartialEq)]
pub(crate) struct Row {
    /// Its key; without one the server makes one.
    pub(crate) key: Option<Key>,
    /// BSON.
    pub(crate) document: Vec<u8>,
    /// The line it starts in, from 1.
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

/// Reads rows.
pub(crate) trait Rows {
    /// The next row, good or bad; `None` at the end. An error: nothing after it can
    /// be read.
    fn next(&mut self) -> Result<Option<Next>, Stop>;
}

/// Why reading ended early.
#[derive(Debug)]
pub(crate) enum Stop {
    /// The text is broken in a way that hides where the next row starts.
    Broken(BadRow),
    /// The file cannot be read.
    Io(std::io::Error),
}

/// What is to be done with every row.
#[derive(Clone, Debug, Default)]
pub(crate) struct Shape {
    /// Fields the key is made of.
    pub(crate) key: Option<KeySpec>,
    /// CSV: texts that mean that there is no value.
    pub(crate) nulls: Vec<String>,
    /// CSV: columns that stay text.
    pub(crate) text: Vec<String>,
}

impl Shape {
    /// Options that say something of CSV are for CSV.
    pub(crate) fn check(&self, any_csv: bool) -> Result<(), Failure> {
        for (given, name) in [(!self.nulls.is_empty(), "--null"), (!self.text.is_empty(), "--text")]
        {
            if given && !any_csv {
                return Err(Failure::usage(format!(
                    "{name} is for CSV, and no file here is: JSON says null and text by itself"
                )));
            }
        }
        Ok(())
    }

    /// The key a JSON document asks for, and the document without it.
    fn of_json(&self, document: Vec<u8>, line: u64) -> Next {
        let doc = Doc::trusted(&document);
        let own = doc.get("key");
        let (key, document) = match (&self.key, own) {
            (Some(_), Some(_)) => {
                let what = "it has a field `key`, the name of the primary key, and --key makes \
                            another; leave --key out, or rename the field";
                return Err(BadRow::new(line, what));
            }
            (Some(spec), None) => {
                let key = spec.key(doc).map_err(|what| BadRow::new(line, what))?;
                (Some(key), document)
            }
            (None, None) => (None, document),
            (None, Some(value)) => {
                let key = own_key(value).map_err(|what| BadRow::new(line, what))?;
                let rest = doc.with(&[Change::Unset("key")]);
                (Some(key), rest.map_err(|e| BadRow::new(line, e.to_string()))?)
            }
        };
        Ok(Row { key, document, line })
    }
}

/// A row's own key.
fn own_key(value: Value<'_>) -> Result<Key, String> {
    let text = value.as_str().ok_or_else(|| {
        format!(
            "the field `key` is the primary key, 32 hexadecimal digits as text, not {}; rename \
             the field if it means something else",
            value.type_name()
        )
    })?;
    text.parse().map_err(|e| {
        format!("the field `key` is the primary key: {e}; rename it if it means something else")
    })
}
