//! The rows of the entries of one index, one by one.
//!
//! What must stay true: each document has one entry between the bounds, so each row
//! comes once. A row made of an entry has, of the fields asked for, exactly what the
//! document has; where the entry does not say it, the document is read.

use std::collections::VecDeque;
use std::sync::Arc;

use lsm::{KeyspaceId, Snapshot};
use proto::Key;
use proto::doc::{Change, Doc, DocBuf, EMPTY, ValueBuf};

use super::super::QueryError;
use super::super::range::KeyRange;
use super::super::rows::Rows;
use super::super::work::Work;
use super::cost::Reads;
use super::fetch::{CHUNK, documents};
use super::ties::Entries;
use crate::index::{Covered, Index};

/// Documents read at first; then twice as many.
const FIRST: usize = 2;

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
    /// Documents read ahead, and how many the next time.
    ready: VecDeque<(Key, lsm::Value)>,
    many: usize,
    key: Key,
    document: Option<lsm::Value>,
    row: Vec<u8>,
}

impl Walk {
    pub(super) fn new(
        snapshot: &Snapshot,
        keyspace: KeyspaceId,
        index: &Arc<Index>,
        entries: Entries,
        reads: Reads,
        wanted: Vec<bool>,
        range: KeyRange,
    ) -> Walk {
        Walk {
            snapshot: snapshot.clone(),
            keyspace,
            index: Arc::clone(index),
            entries,
            reads,
            wanted,
            range,
            ready: VecDeque::new(),
            many: FIRST,
            key: Key::MIN,
            document: None,
            row: EMPTY.to_vec(),
        }
    }

    /// Moves to the next entry of a document within the range of keys.
    fn next_entry(&mut self, work: &Work) -> Result<bool, QueryError> {
        while self.entries.advance(work)? {
            self.key = self.entries.document()?;
            if self.range.low <= self.key && self.key <= self.range.high {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn next_document(&mut self, work: &Work) -> Result<bool, QueryError> {
        if self.ready.is_empty() {
            let mut keys = Vec::with_capacity(self.many);
            while keys.len() < self.many && self.next_entry(work)? {
                keys.push(self.key);
            }
            self.many = (self.many * 2).min(CHUNK);
            self.ready = documents(&self.snapshot, self.keyspace, &keys, false)?.into();
        }
        let Some((key, document)) = self.ready.pop_front() else {
            self.document = None;
            return Ok(false);
        };
        work.examined(document.len())?;
        (self.key, self.document) = (key, Some(document));
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
        let seen = self.index.covered(entry, value, &mut |at, covered| match covered {
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
        let row = row.finish();
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
        let found = documents(&self.snapshot, self.keyspace, &[self.key], false)?;
        self.document = found.into_iter().next().map(|(_, document)| document);
        work.examined(self.document.as_ref().map_or(0, |document| document.len()))
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
        Ok(match (&self.document, self.reads) {
            (Some(document), _) => (self.key, Doc::trusted(document)),
            (None, Reads::Entries) => (self.key, Doc::trusted(&self.row)),
            (None, _) => (self.key, Doc::empty()),
        })
    }
}
