//! The proof that an index holds exactly the entries its documents demand.
//!
//! What must stay true: everything is compared in one snapshot; memory is bounded: one
//! document's entries, and as many differences as are to be named. If every entry
//! demanded is there, with its value, and there are as many as were demanded, the sets
//! are equal; only if there are more is each looked at.

use std::fmt;
use std::ops::Bound;

use lsm::{Direction, KeyspaceId, Snapshot};
use proto::Key;
use proto::doc::Doc;

use super::Index;
use crate::Refusal;
use crate::catalog::Store;
use crate::error::shown;
use crate::query::Work;

/// Something an index, or the figures, and the documents disagree about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Difference {
    /// The index; none if it is about the documents.
    pub(crate) index: Option<String>,
    /// The document it is about, if it is about one.
    pub(crate) document: Option<Key>,
    pub(crate) what: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.index {
            Some(index) => write!(f, "index {}: ", shown(index))?,
            None => f.write_str("the documents: ")?,
        }
        match self.document {
            Some(key) => write!(f, "document {key}: {}", self.what),
            None => f.write_str(&self.what),
        }
    }
}

/// Differences found: all counted, the first ones kept.
#[derive(Default)]
pub(crate) struct Found {
    pub(crate) kept: Vec<Difference>,
    pub(crate) all: u64,
}

/// Differences named at most.
const NAMED: usize = 100;

impl Found {
    fn add(&mut self, index: Option<&Index>, document: Option<Key>, what: String) {
        self.all += 1;
        if self.kept.len() < NAMED {
            let index = index.map(|index| index.name.clone());
            self.kept.push(Difference { index, document, what });
        }
    }
}

/// Compares the documents of a store with the ready index `index`, and the figures with
/// what is there. `still`: nobody writes, so that figures must be exact.
///
/// # Errors
/// Pages and records that cannot be read; the snapshot expired; the time of `work` has
/// passed.
pub(crate) fn check(
    store: &Store,
    index: &Index,
    snapshot: &Snapshot,
    still: impl Fn() -> bool,
    work: &Work,
    found: &mut Found,
) -> Result<(), Refusal> {
    let (mut demanded, mut arrays, mut documents) = (0u64, 0u64, 0u64);
    let all = Bound::Unbounded;
    let mut cursor = snapshot.range(store.keyspace, all, all, Direction::Forward)?;
    while let Some((key, document)) = cursor.next()? {
        documents += 1;
        work.examined(document.len())?;
        let Ok(key) = key.try_into().map(Key::from_bytes) else {
            found.add(None, None, format!("a key has {} bytes, not 16", key.len()));
            continue;
        };
        let Ok(wanted) = index.definition.entries(key, Doc::trusted(document)) else {
            found.add(Some(index), Some(key), "it demands more entries than are allowed".into());
            continue;
        };
        for entry in &wanted.entries {
            demanded += 1;
            work.work_on(entry.key.len())?;
            let what = match snapshot.get(index.keyspace, &entry.key)? {
                Some(value) if *value == *entry.value => continue,
                Some(_) => "its entry has another value than it should",
                None => "it has no entry",
            };
            found.add(Some(index), Some(key), format!("{what} {}", entry.key.escape_ascii()));
        }
        for claim in &wanted.claims {
            let other =
                super::keep::holder(index, store, snapshot, &claim.fields, &claim.full, |other| {
                    other == key
                })?;
            if let Some(other) = other {
                found.add(Some(index), Some(key), format!("document {other} has the same values"));
            }
        }
        if wanted.arrays {
            arrays += 1;
            if !snapshot.contains(index.arrays(), &key.to_bytes())? {
                found.add(Some(index), Some(key), "it is not marked to have arrays".to_owned());
            }
        }
    }
    let entries = size(snapshot, index.keyspace, work)?;
    if entries > demanded {
        extra(store, index, snapshot, work, found)?;
    }
    let marked = size(snapshot, index.arrays(), work)?;
    if marked > arrays {
        let what = format!("{marked} documents are marked to have arrays, {arrays} have");
        found.add(Some(index), None, what);
    }
    if still() {
        for (keyspace, is, what) in [
            (index.keyspace, entries, "entries"),
            (index.arrays(), marked, "marks of arrays"),
            (store.keyspace, documents, "documents"),
        ] {
            let says = snapshot.count(keyspace)?;
            if says != is {
                found.add(Some(index), None, format!("{is} {what} are there, {says} are counted"));
            }
        }
    }
    Ok(())
}

fn size(snapshot: &Snapshot, keyspace: KeyspaceId, work: &Work) -> Result<u64, Refusal> {
    let all = Bound::Unbounded;
    let mut cursor = snapshot.range(keyspace, all, all, Direction::Forward)?;
    let mut size = 0;
    while cursor.advance()? {
        work.work_on(0)?;
        size += 1;
    }
    Ok(size)
}

/// Names the entries that no document demands.
fn extra(
    store: &Store,
    index: &Index,
    snapshot: &Snapshot,
    work: &Work,
    found: &mut Found,
) -> Result<(), Refusal> {
    let all = Bound::Unbounded;
    let mut cursor = snapshot.range(index.keyspace, all, all, Direction::Forward)?;
    while cursor.advance()? {
        work.work_on(0)?;
        let Ok(key) = super::read::document_of(index, cursor.key()) else {
            found.add(Some(index), None, format!("no entry: {}", cursor.key().escape_ascii()));
            continue;
        };
        let document = snapshot.get(store.keyspace, &key.to_bytes())?;
        let wanted = document.map(|doc| index.definition.entries(key, Doc::trusted(&doc)));
        let what = match wanted {
            None => "it has an entry and is not there:",
            Some(Ok(all)) if all.entries.iter().any(|entry| entry.key == cursor.key()) => continue,
            Some(_) => "it has an entry it does not demand:",
        };
        found.add(Some(index), Some(key), format!("{what} {}", cursor.key().escape_ascii()));
    }
    Ok(())
}
