//! The entries of a document in an index.
//!
//! ```text
//! entry     | field 1 | .. | field n | key of the document, 16 bytes |
//! field     the order key of a value (`proto::order`; inverted where the field sorts
//!           downwards), cut to its first MOST(n) bytes: n = 1 to 4: 240, to 8: 125
//!
//! value     nothing                    one field, to be read off the entry
//!           | part 1 | .. | part n |   else
//! part      | kind u8 | len u8 of the field's bytes, not in the last | body |
//!   kind 00 the value can be read off the entry; no body
//!        10 12 an int32 or int64, read off the entry; no body
//!        01 a double, 8 bytes      13 a decimal, 16 bytes
//!        FE not here: look into the document (cut, nested, or of an array)
//! ```
//!
//! What must stay true:
//! * the entries of a document depend on the document, its key and the definition, and
//!   on nothing else: so what is to be removed is computed from the old document;
//! * a document meets a test of one field exactly if one of its entries has a value
//!   there that meets it, or that was cut: `query::predicate` walks arrays the same way;
//! * entries sort as their values do. No order key is the beginning of another, and so
//!   none of the cut ones is: the bytes of two documents' entries compare field by field;
//! * null, NaN, regular expressions, nested documents: whatever a document holds has
//!   entries. Only too many of them is an error.

use std::ops::ControlFlow;

use proto::doc::{Arrays, Doc, Value};
use proto::{Key, order};

use super::def::{Definition, Field};

/// Entries of one document in one index at most.
pub(crate) const MAX_ENTRIES: usize = 1000;

pub(super) mod kind {
    pub(crate) const PLAIN: u8 = 0x00;
    pub(crate) const DOUBLE: u8 = 0x01;
    pub(crate) const INT32: u8 = 0x10;
    pub(crate) const INT64: u8 = 0x12;
    pub(crate) const DECIMAL: u8 = 0x13;
    pub(crate) const LOOK: u8 = 0xFE;
}

/// Bytes of a field of an entry at most, in an index of so many.
pub(crate) const fn most(fields: usize) -> usize {
    if fields <= 4 { 240 } else { 125 }
}

const _: () = {
    assert!(4 * most(4) + 16 <= lsm::MAX_KEY);
    assert!(super::def::MAX_FIELDS * most(super::def::MAX_FIELDS) + 16 <= lsm::MAX_KEY);
    assert!(most(1) <= u8::MAX as usize);
};

/// One entry.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Entry {
    pub(crate) key: Vec<u8>,
    pub(crate) value: Vec<u8>,
}

/// What no other document may have: the values of an entry none of which is missing.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Claim {
    /// The fields, uncut.
    pub(crate) full: Vec<u8>,
    /// The fields as in the entry.
    pub(crate) fields: Vec<u8>,
}

/// All entries of a document in one index.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Entries {
    /// Sorted, each key once.
    pub(crate) entries: Vec<Entry>,
    /// Of a unique index: sorted, each once.
    pub(crate) claims: Vec<Claim>,
    /// An array stands at, or on the way to, one of the fields.
    pub(crate) arrays: bool,
}

/// A document has more than [`MAX_ENTRIES`]: so many, or more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooMany(pub(crate) usize);

/// One value of one field.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Part {
    /// Its order key, whole, in the field's direction.
    full: Vec<u8>,
    kind: u8,
    body: Vec<u8>,
    missing: bool,
}

impl Definition {
    /// The entries of the document `doc` under `key`.
    ///
    /// # Errors
    /// [`TooMany`].
    pub(crate) fn entries(&self, key: Key, doc: Doc<'_>) -> Result<Entries, TooMany> {
        if self.filter.as_ref().is_some_and(|filter| !filter.predicate.holds(key, doc)) {
            return Ok(Entries::default());
        }
        let most = most(self.fields.len());
        let mut arrays = false;
        let mut fields = Vec::with_capacity(self.fields.len());
        let mut product = 1usize;
        for field in &self.fields {
            let (parts, through) = parts(field, doc, most);
            arrays |= through;
            product = product.saturating_mul(parts.len());
            if product > MAX_ENTRIES {
                return Err(TooMany(product));
            }
            fields.push(parts);
        }
        if self.sparse && fields.iter().all(|parts| parts.iter().all(|part| part.missing)) {
            return Ok(Entries::default());
        }
        let mut all = Entries { entries: Vec::with_capacity(product), claims: vec![], arrays };
        for number in 0..product {
            let (entry, claim) = self.entry(&fields, number, key, most);
            all.entries.push(entry);
            all.claims.extend(claim);
        }
        if product > 1 {
            all.entries.sort_unstable();
            // Long values may be the same once they are cut; their values say so alike.
            all.entries.dedup_by(|later, first| later.key == first.key);
            all.claims.sort_unstable();
            all.claims.dedup();
        }
        Ok(all)
    }

    /// The entry of that number in the product of all fields' values.
    fn entry(
        &self,
        fields: &[Vec<Part>],
        mut number: usize,
        key: Key,
        most: usize,
    ) -> (Entry, Option<Claim>) {
        let (mut bytes, mut value, mut full) = (Vec::with_capacity(48), Vec::new(), Vec::new());
        let mut missing = false;
        for (at, parts) in fields.iter().enumerate() {
            let part = &parts[number % parts.len()];
            number /= parts.len();
            let cut = part.full.len().min(most);
            bytes.extend_from_slice(&part.full[..cut]);
            value.push(part.kind);
            if at + 1 < fields.len() {
                value.push(cut as u8);
            }
            value.extend_from_slice(&part.body);
            missing |= part.missing;
            if self.unique {
                full.extend_from_slice(&part.full);
            }
        }
        if value == [kind::PLAIN] {
            value.clear();
        }
        let claim = (self.unique && !missing).then(|| Claim { full, fields: bytes.clone() });
        bytes.extend_from_slice(&key.to_bytes());
        (Entry { key: bytes, value }, claim)
    }
}

/// The values of a field, each once, at least one; and whether there is an array.
fn parts(field: &Field, doc: Doc<'_>, most: usize) -> (Vec<Part>, bool) {
    match plainly(doc, &field.path) {
        Some(value) => (vec![part(field, value, false, most)], false),
        None => {
            let mut parts = Vec::new();
            let end = doc.visit(&field.path, Arrays::Both, &mut |value| {
                parts.push(part(field, Some(value), true, most));
                // More than are allowed, even if half of them are the same, is enough.
                if parts.len() > 16 * MAX_ENTRIES {
                    parts.sort_unstable();
                    parts.dedup();
                    if parts.len() > MAX_ENTRIES {
                        return ControlFlow::Break(());
                    }
                }
                ControlFlow::Continue(())
            });
            if end.is_continue() {
                parts.sort_unstable();
                parts.dedup();
            }
            if parts.is_empty() {
                parts.push(part(field, None, true, most));
            }
            (parts, true)
        }
    }
}

/// What a path leads to through documents alone: a value, or none. `None`: there is an
/// array on the way, or at its end.
fn plainly<'a>(doc: Doc<'a>, path: &str) -> Option<Option<Value<'a>>> {
    let mut components = path.split('.');
    let mut found = components.next().and_then(|name| doc.get(name));
    for name in components {
        found = match found {
            Some(Value::Doc(inner)) => inner.get(name),
            Some(Value::Array(_)) => return None,
            _ => return Some(None),
        };
    }
    match found {
        Some(Value::Array(_)) => None,
        found => Some(found),
    }
}

fn part(field: &Field, value: Option<Value<'_>>, of_array: bool, most: usize) -> Part {
    let mut full = Vec::with_capacity(16);
    match field.descending {
        true => order::order_key_desc(value, &mut full),
        false => order::order_key(value, &mut full),
    }
    let (kind, body) = match value {
        _ if of_array || full.len() > most => (kind::LOOK, Vec::new()),
        Some(Value::Doc(_) | Value::Array(_)) => (kind::LOOK, Vec::new()),
        Some(Value::Int32(_)) => (kind::INT32, Vec::new()),
        Some(Value::Int64(_)) => (kind::INT64, Vec::new()),
        Some(Value::Double(d)) => (kind::DOUBLE, d.to_le_bytes().to_vec()),
        Some(Value::Decimal128(d)) => (kind::DECIMAL, d.to_bytes().to_vec()),
        _ => (kind::PLAIN, Vec::new()),
    };
    Part { full, kind, body, missing: value.is_none() }
}
