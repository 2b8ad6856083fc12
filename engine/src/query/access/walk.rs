//! The rows of the entries of one index, one by one.
//!
//! What must stay true: each document has one entry between the bounds, so each row
//! comes once. A row made of an entry has, of the fields asked for, exactly what the
//! document has; where the entry does not say it, the document is read. No document is
//! read ahead that nobody can ask for: none behind a limit, if all rows are given.

use std::sync::Arc;

use lsm::{KeyspaceId, Snapshot};
use proto::Key;
use proto::doc::{Change, Doc, DocBuf, EMPTY, ValueBuf};

use super::super::QueryError;
use super::super::range::KeyRange;
use super::super::rows::Rows;
use super::super::run::Scope;
use super::super::work::Work;
use super::cost::Reads;
use super::fetch::{Ahead, CHUNK};
use super::ties::{Entries, lost};
use crate::index::{Covered, Index};

/// A walk that is watched rests after so many entries passed over.
const REST: u64 = 64;

/// How many rows of a walk will be asked for.
#[derive(Clone, Copy)]
pub(super) enum Asked {
    /// Mostly all.
    All,
    /// No more than these.
    Most(u64),
    /// As many as it takes until so many have met a filter.
    Tested(u64),
}

/// See the module.
pub(in super::super) struct Walk {
    snapshot: Snapshot,
    keyspace: KeyspaceId,
    index: Arc<Index>,
    entries: Entries,
    reads: Reads,
    /// Of the index's fields, those that rows need.
    wanted: Vec<bool>,
    range: KeyRange,
    ahead: Ahead,
    /// Documents to read ahead the next time, and how many more may be asked for.
    many: usize,
    left: u64,
    /// Entries passed over since it was asked, and how many it may before it rests.
    passed: u64,
    rest: u64,
    key: Key,
    document: Option<lsm::Value>,
    row: Vec<u8>,
    /// Scratch: a field that sorts downwards, turned.
    turned: Vec<u8>,
}

impl Walk {
    pub(super) fn new(
        scope: Scope<'_>,
        index: &Arc<Index>,
        entries: Entries,
        reads: Reads,
        wanted: Vec<bool>,
        range: KeyRange,
        asked: Asked,
    ) -> Walk {
        let (first, left) = match asked {
            Asked::All => (u64::MAX, u64::MAX),
            Asked::Most(rows) => (rows, rows),
            // All but a few are read for nothing if the first ones meet the filter.
            Asked::Tested(rows) => (rows, u64::MAX),
        };
        Walk {
            snapshot: scope.snapshot.clone(),
            keyspace: scope.keyspace,
            index: Arc::clone(index),
            entries,
            reads,
            wanted,
            range,
            ahead: Ahead::default(),
            many: usize::try_from(first).unwrap_or(CHUNK).clamp(1, CHUNK),
            left,
            passed: 0,
            rest: u64::MAX,
            key: Key::MIN,
            document: None,
            row: EMPTY.to_vec(),
            turned: Vec::new(),
        }
    }

    /// It gives no row, now and then, where it passes over many entries: who watches it
    /// asks [`Walk::passed`], and goes on.
    pub(super) fn resting(self) -> Walk {
        Walk { rest: REST, ..self }
    }

    /// How many entries it has passed over since this was asked last, and whether it has
    /// rested since.
    pub(super) fn passed(&mut self) -> (u64, bool) {
        let passed = std::mem::take(&mut self.passed);
        (passed, passed >= self.rest)
    }

    /// Moves to the next entry of a document within the range of keys.
    fn next_entry(&mut self, work: &Work) -> Result<bool, QueryError> {
        while self.passed < self.rest && self.entries.advance(work)? {
            self.key = self.entries.document()?;
            if self.range.low <= self.key && self.key <= self.range.high {
                return Ok(true);
            }
            self.passed += 1;
        }
        Ok(false)
    }

    fn next_document(&mut self, work: &Work) -> Result<bool, QueryError> {
        if self.ahead.is_spent() {
            let left = usize::try_from(self.left).unwrap_or(usize::MAX).max(1);
            for _ in self.ahead.waiting()..self.many.min(left) {
                if !self.next_entry(work)? {
                    break;
                }
                self.ahead.push(self.key);
            }
            self.many = (self.many * 2).min(CHUNK);
            self.ahead.read(&self.snapshot, self.keyspace)?;
        }
        let Some((key, bytes)) = self.ahead.advance(false)? else { return Ok(false) };
        self.left = self.left.saturating_sub(1);
        self.key = key;
        work.examined(bytes)?;
        Ok(true)
    }

    /// Makes a row of the entry stood on, or reads its document.
    fn make_row(&mut self, work: &Work) -> Result<(), QueryError> {
        self.document = None;
        let mut look = false;
        let room = std::mem::take(&mut self.row);
        let mut row = DocBuf::within(room);
        let mut nested: Vec<(usize, ValueBuf)> = Vec::new();
        let (entry, value) = self.entries.entry();
        let fields = &self.index.definition.fields;
        let turned = &mut self.turned;
        let seen = self.index.covered(entry, value, turned, &mut |at, covered| match covered {
            _ if !self.wanted[at] => {}
            Covered::Document => look = true,
            Covered::Value(None) => {}
            Covered::Value(Some(value)) if fields[at].path.contains('.') => {
                match ValueBuf::new(value) {
                    Ok(value) => nested.push((at, value)),
                    Err(_) => look = true,
                }
            }
            Covered::Value(Some(value)) => {
                row.push(&fields[at].path, value);
            }
        });
        seen.map_err(QueryError::from_refusal)?;
        // The fields of an index have different names, and no entry has a nested value.
        let row = row.finish_flat();
        if !look && let Ok(row) = row {
            if nested.is_empty() {
                self.row = row;
                return Ok(());
            }
            let sets: Vec<Change<'_>> = nested
                .iter()
                .map(|(at, value)| Change::Set(&fields[*at].path, value.get()))
                .collect();
            if let Ok(row) = Doc::trusted(&row).with(&sets) {
                self.row = row;
                return Ok(());
            }
        }
        let Some(document) = self.snapshot.get(self.keyspace, &self.key.to_bytes())? else {
            return Err(lost(self.key));
        };
        work.examined(document.len())?;
        self.document = Some(document);
        Ok(())
    }
}

impl Rows for Walk {
    fn advance(&mut self, work: &Work) -> Result<bool, QueryError> {
        match self.reads {
            Reads::Documents => self.next_document(work),
            Reads::Nothing => self.next_entry(work),
            Reads::Entries => {
                let found = self.next_entry(work)?;
                if found {
                    self.make_row(work)?;
                }
                Ok(found)
            }
        }
    }

    fn count(&mut self, most: u64, work: &Work) -> Result<u64, QueryError> {
        if self.reads == Reads::Nothing && self.range == KeyRange::ALL {
            return self.entries.count(most, work);
        }
        let mut counted = 0;
        while counted < most && self.advance(work)? {
            counted += 1;
        }
        Ok(counted)
    }

    fn row(&mut self) -> Result<(Key, Doc<'_>), QueryError> {
        let document = match (&self.document, self.reads) {
            (_, Reads::Documents) => self.ahead.document(),
            (Some(document), _) => Doc::trusted(document),
            (None, Reads::Entries) => Doc::trusted(&self.row),
            (None, Reads::Nothing) => Doc::empty(),
        };
        Ok((self.key, document))
    }
}
