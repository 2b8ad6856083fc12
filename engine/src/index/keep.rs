//! What one write of one document changes in the indexes of its store.
//!
//! What must stay true:
//! * only the difference of the old and the new entries is written. Of a ready index it
//!   is known what is there; of one being built it is looked at, since the build may
//!   not have come to the document yet;
//! * whether a unique value is free is decided when the whole change is known, in the
//!   state it is written to, under the commit lock: against the other documents of the
//!   change, which may take over each other's values, and against all others.

use std::collections::{BTreeMap, BTreeSet};

use lsm::{Batch, Direction, Snapshot};
use proto::doc::Doc;
use proto::{Key, Status};

use super::{Entries, Index, MAX_ENTRIES, Phase, TooMany};
use crate::Refusal;
use crate::catalog::Store;
use crate::error::shown;

/// What a change has done to unique indexes so far.
#[derive(Default)]
pub(crate) struct Kept {
    /// Who has a value after the change: by index, of the documents written.
    held: BTreeMap<(u32, Vec<u8>), Key>,
    /// What documents of the change have that they had not before.
    claims: Vec<Claimed>,
    /// The documents written or removed.
    touched: BTreeSet<Key>,
}

/// Place of the index in the store's list; the fields as in an entry; whole; who.
struct Claimed {
    index: usize,
    fields: Vec<u8>,
    full: Vec<u8>,
    key: Key,
}

impl Kept {
    /// Writes to `batch` what becomes of the entries of the document under `key`.
    ///
    /// # Errors
    /// Too many entries; two documents of this change with one unique value.
    pub(crate) fn write(
        &mut self,
        store: &Store,
        latest: &Snapshot,
        batch: &mut Batch,
        key: Key,
        old: Option<&[u8]>,
        new: Option<&[u8]>,
    ) -> Result<(), Refusal> {
        let mut unique = false;
        for (at, index) in store.indexes.iter().enumerate() {
            if !index.is_kept() {
                continue;
            }
            // Whatever an old document was let in with, it can be removed.
            let before = old.map(|doc| index.definition.entries(key, Doc::trusted(doc)));
            let before = before.and_then(Result::ok).unwrap_or_default();
            let after = new.map(|doc| index.definition.entries(key, Doc::trusted(doc)));
            let after = after.transpose().map_err(|many| too_many(index, key, many))?;
            let after = after.unwrap_or_default();
            difference(index, latest, batch, key, &before, &after)?;
            if index.definition.unique {
                unique = true;
                self.claim(at, index, new, key, &before, after)?;
            }
        }
        if unique {
            self.touched.insert(key);
        }
        Ok(())
    }

    fn claim(
        &mut self,
        at: usize,
        index: &Index,
        new: Option<&[u8]>,
        key: Key,
        before: &Entries,
        after: Entries,
    ) -> Result<(), Refusal> {
        for claim in after.claims {
            let other = self.held.insert((index.keyspace.0, claim.full.clone()), key);
            if let Some(other) = other.filter(|other| *other != key) {
                return Err(not_unique(index, new, key, other));
            }
            if before.claims.binary_search(&claim).is_err() {
                let (fields, full) = (claim.fields, claim.full);
                self.claims.push(Claimed { index: at, fields, full, key });
            }
        }
        Ok(())
    }

    /// Looks whether every unique value is free: the last thing before the commit.
    ///
    /// # Errors
    /// The index, the value, and who has it.
    pub(crate) fn check(self, store: &Store, latest: &Snapshot) -> Result<(), Refusal> {
        for claimed in &self.claims {
            let index = &store.indexes[claimed.index];
            let taken = holder(index, store, latest, &claimed.fields, &claimed.full, |other| {
                other == claimed.key || self.touched.contains(&other)
            })?;
            if let Some(other) = taken {
                return Err(conflict(index, store, latest, claimed.key, other));
            }
        }
        Ok(())
    }
}

/// Which document of the store has the value `full` in a unique index, but for those to
/// be passed over.
pub(super) fn holder(
    index: &Index,
    store: &Store,
    latest: &Snapshot,
    fields: &[u8],
    full: &[u8],
    pass: impl Fn(Key) -> bool,
) -> Result<Option<Key>, Refusal> {
    let mut cursor = latest.prefix(index.keyspace, fields, Direction::Forward)?;
    while cursor.advance()? {
        let other = super::read::document_of(index, cursor.key())?;
        if pass(other) {
            continue;
        }
        if fields.len() == full.len() {
            return Ok(Some(other));
        }
        // Cut: many long values begin like this one.
        let document = latest.get(store.keyspace, &other.to_bytes())?;
        let entries = document.map(|doc| index.definition.entries(other, Doc::trusted(&doc)));
        let same = entries
            .and_then(Result::ok)
            .is_some_and(|all| all.claims.iter().any(|claim| claim.full == full));
        if same {
            return Ok(Some(other));
        }
    }
    Ok(None)
}

fn difference(
    index: &Index,
    latest: &Snapshot,
    batch: &mut Batch,
    key: Key,
    before: &Entries,
    after: &Entries,
) -> Result<(), Refusal> {
    let building = index.phase == Phase::Building;
    let there = |keyspace, key: &[u8]| match building {
        true => latest.contains(keyspace, key).map(Some),
        false => Ok(None),
    };
    let (mut old, mut new) = (before.entries.iter().peekable(), after.entries.iter().peekable());
    loop {
        let order = match (old.peek(), new.peek()) {
            (None, None) => break,
            (Some(_), None) => std::cmp::Ordering::Less,
            (None, Some(_)) => std::cmp::Ordering::Greater,
            (Some(old), Some(new)) => old.key.cmp(&new.key),
        };
        let gone = if order.is_le() { old.next() } else { None };
        let come = if order.is_ge() { new.next() } else { None };
        match (gone, come) {
            (Some(gone), None) => {
                if there(index.keyspace, &gone.key)?.unwrap_or(true) {
                    batch.delete_present(index.keyspace, &gone.key);
                }
            }
            (None, Some(come)) => match there(index.keyspace, &come.key)? {
                Some(true) => batch.put(index.keyspace, &come.key, &come.value),
                _ => batch.put_new(index.keyspace, &come.key, &come.value),
            },
            // The build has it, or will find it.
            (Some(gone), Some(come)) if gone.value == come.value && !building => {}
            (Some(_), Some(come)) => match there(index.keyspace, &come.key)? {
                Some(false) => batch.put_new(index.keyspace, &come.key, &come.value),
                _ => batch.put(index.keyspace, &come.key, &come.value),
            },
            (None, None) => {}
        }
    }
    if before.arrays != after.arrays || (building && after.arrays) {
        let bytes = key.to_bytes();
        match (there(index.arrays(), &bytes)?, after.arrays) {
            (Some(true), true) | (Some(false), false) => {}
            (_, true) => batch.put_new(index.arrays(), &bytes, &[]),
            (_, false) => batch.delete_present(index.arrays(), &bytes),
        }
    }
    Ok(())
}

pub(super) fn too_many(index: &Index, key: Key, TooMany(many): TooMany) -> Refusal {
    let message = format!(
        "document {key} would have {many} or more entries in index {}, and {MAX_ENTRIES} are \
         allowed: shorten its arrays, or drop the index",
        shown(&index.name)
    );
    Refusal::new(Status::TooManyEntries, message)
}

fn not_unique(index: &Index, new: Option<&[u8]>, key: Key, other: Key) -> Refusal {
    let values = new.map(|doc| shown_values(index, Doc::trusted(doc))).unwrap_or_default();
    refusal(index, &values, key, other)
}

/// Why `key` cannot have what `other`, which is stored, has.
pub(super) fn conflict(
    index: &Index,
    store: &Store,
    latest: &Snapshot,
    key: Key,
    other: Key,
) -> Refusal {
    let document = latest.get(store.keyspace, &other.to_bytes());
    let values = match &document {
        Ok(Some(doc)) => shown_values(index, Doc::trusted(doc)),
        // Whatever ails it, the conflict stands.
        Ok(None) | Err(_) => "a value".to_owned(),
    };
    refusal(index, &values, key, other)
}

fn refusal(index: &Index, values: &str, key: Key, other: Key) -> Refusal {
    let message = format!(
        "document {key} has {values}, which document {other} has already, and index {} is unique: \
         give it another value, or change the other document first",
        shown(&index.name)
    );
    Refusal::new(Status::NotUnique, message)
}

/// The indexed fields of a document, for people.
pub(crate) fn shown_values(index: &Index, doc: Doc<'_>) -> String {
    let mut text = String::new();
    for field in &index.definition.fields {
        if !text.is_empty() {
            text.push_str(", ");
        }
        text.push_str(&field.path);
        text.push_str(" = ");
        match doc.path(&field.path) {
            Some(value) => {
                let mut json = String::new();
                proto::json::write_value(value, &mut json);
                text.extend(json.chars().take(80));
            }
            None => text.push_str("(missing)"),
        }
    }
    text
}
