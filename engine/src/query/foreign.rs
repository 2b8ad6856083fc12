//! The other store of a lookup: how its documents are found, and all of it in memory.
//!
//! What must stay true: by whichever way, what is found for values is what
//! `filter(foreign = value)` finds. An index serves if it has every document that has
//! the field, so no partial one; of a value that is longer than an entry keeps, its
//! entries may be those of others too: then documents are tested.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::sync::Arc;

use lsm::{Direction, KeyspaceId, Snapshot};
use proto::Key;
use proto::doc::{Arrays, Doc, DocBuf, Value};
use proto::order;

use super::QueryError;
use super::range::KeyRange;
use super::rows::{Rows, Scan};
use super::work::Work;
use crate::index::Index;
use crate::pql::ast::{self, Path};

/// Bytes an entry of the table takes beside what it holds.
pub(super) const OVERHEAD: usize = 64;

/// A store that a query looks into.
#[derive(Clone)]
pub struct Foreign {
    /// Its documents.
    pub keyspace: KeyspaceId,
    /// Its indexes, as the snapshot has them.
    pub(crate) indexes: Vec<Arc<Index>>,
}

/// How documents of it are found.
#[derive(Clone)]
pub(super) enum Way {
    /// Each is read under its key.
    Key,
    /// By the entries of an index.
    Index(Arc<Index>),
    /// In a table of all of it.
    Hash,
}

impl Foreign {
    /// One without indexes.
    pub const fn new(keyspace: KeyspaceId) -> Foreign {
        Foreign { keyspace, indexes: Vec::new() }
    }

    /// The way of a lookup.
    pub(super) fn way(&self, lookup: &ast::Lookup) -> Way {
        if lookup.foreign.is_key() {
            return Way::Key;
        }
        let serves = |index: &&Arc<Index>| {
            let definition = &index.definition;
            let first = definition.fields.first();
            let of_field = first.is_some_and(|field| field.path == lookup.foreign.0);
            index.is_ready() && definition.filter.is_none() && of_field
        };
        // The shorter its entries, the fewer pages.
        let fewest = |index: &&Arc<Index>| index.definition.fields.len();
        match self.indexes.iter().filter(serves).min_by_key(fewest) {
            Some(index) => Way::Index(Arc::clone(index)),
            None => Way::Hash,
        }
    }
}

/// A store, by the values of one field.
#[derive(Default)]
pub(super) struct Table {
    /// As shown: with their keys in a field `key`. In key order.
    documents: Vec<Vec<u8>>,
    /// Numbers of documents, rising, by the order key of a value.
    by_value: BTreeMap<Vec<u8>, Vec<u32>>,
    /// Bytes of the budget that it has taken.
    pub(super) taken: usize,
}

impl Table {
    /// Reads the whole store; `None`, and nothing is held, if it does not fit the memory
    /// of the query.
    pub(super) fn read(
        snapshot: &Snapshot,
        keyspace: KeyspaceId,
        field: &Path,
        work: &Work,
    ) -> Result<Option<Table>, QueryError> {
        let mut scan = Scan::open(snapshot, keyspace, KeyRange::ALL, Direction::Forward, false)?;
        let mut table = Table::default();
        while scan.advance(work)? {
            let (key, doc) = scan.row()?;
            let values = values(doc, field);
            if values.is_empty() {
                continue;
            }
            let document = shown(key, doc)?;
            let bytes = values.iter().map(|value| OVERHEAD + value.len()).sum::<usize>();
            let bytes = OVERHEAD + document.len() + bytes;
            let number = u32::try_from(table.documents.len());
            let (Ok(number), true) = (number, work.try_take(bytes)) else {
                work.give_back(table.taken);
                return Ok(None);
            };
            table.taken += bytes;
            table.documents.push(document);
            for value in values {
                table.by_value.entry(value).or_default().push(number);
            }
        }
        Ok(Some(table))
    }

    /// Hands on the documents for any of these values, in key order; with `one` the first.
    pub(super) fn find(
        &self,
        values: &[Value<'_>],
        one: bool,
        push: &mut dyn FnMut(&[u8]) -> Result<(), QueryError>,
    ) -> Result<(), QueryError> {
        let mut numbers: BTreeSet<u32> = BTreeSet::new();
        let mut order_key = Vec::new();
        for value in values {
            order_key.clear();
            order::order_key(Some(*value), &mut order_key);
            let found = self.by_value.get(&order_key).map_or(&[][..], Vec::as_slice);
            let wanted = if one { found.len().min(1) } else { found.len() };
            numbers.extend(&found[..wanted]);
        }
        let most = if one { 1 } else { usize::MAX };
        numbers.iter().take(most).try_for_each(|number| push(&self.documents[*number as usize]))
    }
}

/// The order keys of all values of a field, its items too.
pub(super) fn values(doc: Doc<'_>, field: &Path) -> BTreeSet<Vec<u8>> {
    let mut values = BTreeSet::new();
    let all = doc.visit(&field.0, Arrays::Both, &mut |value| {
        let mut order_key = Vec::new();
        order::order_key(Some(value), &mut order_key);
        values.insert(order_key);
        ControlFlow::Continue(())
    });
    debug_assert!(all.is_continue(), "every value is seen");
    values
}

/// A document with its key in front, as rows are shown.
pub(super) fn shown(key: Key, doc: Doc<'_>) -> Result<Vec<u8>, QueryError> {
    let mut row = DocBuf::with_capacity(doc.as_bytes().len() + 48);
    row.push("key", key.to_string().as_str());
    for (name, value) in doc.iter() {
        row.push(name, value);
    }
    row.finish().map_err(|e| QueryError::document(key, &e))
}
