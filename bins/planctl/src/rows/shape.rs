//! From what a row says to the document and the key it is stored under.
//!
//! What must stay true: the key of a row follows from the row, or from its number,
//! and from nothing else, so that a row sent twice is the same document twice.

use super::manifest::Manifest;
use super::{BadRow, Format, Id, KeySpec, Next, Row};
use crate::failure::Failure;
use proto::Key;
use proto::doc::{Change, Doc, Value};

/// The field that holds the primary key, as `planctl export` writes it.
pub(super) const KEY: &str = "key";
/// The field MongoDB keeps its primary key in.
const ID: &str = "_id";

/// What is to be done with every row.
#[derive(Clone, Debug, Default)]
pub(crate) struct Shape {
    /// Fields the key is made of.
    pub(crate) key: Option<KeySpec>,
    /// What becomes of a field `_id`.
    pub(crate) id: Id,
    /// Keys for rows that bring none.
    pub(crate) made: Option<Made>,
    /// CSV: texts that mean that there is no value.
    pub(crate) nulls: Vec<String>,
    /// CSV: columns that stay text.
    pub(crate) text: Vec<String>,
    /// What the fields are declared to be.
    pub(crate) manifest: Option<Manifest>,
}

/// Keys made of a row's number: 48 bits of the time the import began, in the layout
/// of the server's own keys, then the number, then what tells imports apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Made {
    /// Milliseconds since 1970.
    pub(crate) millis: u64,
    /// Random; the low 26 bits count.
    pub(crate) salt: u64,
}

impl Made {
    /// The key of the row with this number; 2^48 rows are told apart.
    pub(crate) fn key(self, number: u64) -> Key {
        let sequence = ((number >> 36) & 0xfff) as u16;
        let low = ((number & ((1 << 36) - 1)) << 26) | (self.salt & ((1 << 26) - 1));
        // The layout keeps the upper 62 bits of what it is given as random.
        Key::time_ordered(self.millis, sequence, low << 2)
    }
}

impl Shape {
    /// Options that say something of CSV are for CSV.
    pub(crate) fn check(&self, formats: &[Format]) -> Result<(), Failure> {
        for (given, name) in [(!self.nulls.is_empty(), "--null"), (!self.text.is_empty(), "--text")]
        {
            if given && !formats.contains(&Format::Csv) {
                return Err(Failure::usage(format!(
                    "{name} is for CSV, and no file here is: the other formats say null and \
                     text by themselves"
                )));
            }
        }
        if self.key.is_some() && self.id != Id::Field {
            return Err(Failure::usage(
                "--key and --id both say what the key is; give one of them",
            ));
        }
        Ok(())
    }

    /// A document as its file has it: fields as declared, and its key.
    pub(super) fn row(&self, document: Vec<u8>, line: u64) -> Next {
        let document = match &self.manifest {
            Some(manifest) => manifest
                .document(Doc::trusted(&document))
                .map_err(|what| BadRow::new(line, what))?,
            None => document,
        };
        let (key, document) = self.keyed(document).map_err(|what| BadRow::new(line, what))?;
        Ok(Row { key, document, line })
    }

    /// The key a document asks for, and the document without it.
    fn keyed(&self, document: Vec<u8>) -> Result<(Option<Key>, Vec<u8>), String> {
        let doc = Doc::trusted(&document);
        let own = doc.get(KEY);
        if own.is_some() && (self.key.is_some() || self.id != Id::Field) {
            return Err("it has a field `key`, the name of the primary key, and --key or --id \
                        makes another; leave that option out, or rename the field"
                .to_owned());
        }
        if let Some(value) = own {
            let key = own_key(value)?;
            let rest = doc.with(&[Change::Unset(KEY)]).map_err(|e| e.to_string())?;
            return Ok((Some(key), rest));
        }
        Ok((self.made_of(doc)?, document))
    }

    /// The key made of a document's fields, if one is.
    pub(super) fn made_of(&self, doc: Doc<'_>) -> Result<Option<Key>, String> {
        match (&self.key, self.id) {
            (Some(spec), _) => spec.key(doc).map(Some),
            (None, Id::Field) => Ok(None),
            (None, id) => {
                let value = doc.get(ID).ok_or("it has no `_id`, which --id makes the key of")?;
                id.key(value).map(Some)
            }
        }
    }
}

/// A row's own key.
pub(super) fn own_key(value: Value<'_>) -> Result<Key, String> {
    let text = value.as_str().ok_or_else(|| {
        format!(
            "the field `key` is the primary key, 32 hexadecimal digits as text, not {}; rename \
             the field (a manifest can) if it means something else",
            value.type_name()
        )
    })?;
    text.parse().map_err(|e| {
        format!(
            "the field `key` is the primary key: {e}; rename it (a manifest can) if it means \
             something else"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn made_keys_rise_with_the_rows_and_with_the_time() {
        let made = Made { millis: 1_700_000_000_000, salt: u64::MAX };
        let numbers = [0, 1, 2, 1 << 20, (1 << 36) - 1, 1 << 36, (1 << 48) - 1];
        let keys: Vec<Key> = numbers.iter().map(|n| made.key(*n)).collect();
        assert!(keys.windows(2).all(|pair| pair[0] < pair[1]), "{keys:?}");
        let later = Made { millis: made.millis + 1, salt: 0 };
        assert!(later.key(0) > keys[6]);
        assert_ne!(Made { salt: 1, ..made }.key(5), Made { salt: 2, ..made }.key(5));
        assert_eq!(keys[0].to_string(), "018bcfe568007000800000000".to_owned() + "3ffffff");
    }
}
