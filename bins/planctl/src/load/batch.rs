//! Rows on their way: what is sent at once, and what it leaves behind.
//!
//! What must stay true: a batch knows where the row after its last one starts, so
//! that what is acknowledged and where to go on are one thing.

use super::Options;
use crate::rows::{Place, Row};
use proto::request::BatchBuf;
use std::collections::HashSet;
use std::ops::Range;

/// Where an import is: everything before is dealt with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Mark {
    /// Which of the files, from 0.
    pub(crate) file: usize,
    /// Where in it the next row starts.
    pub(crate) place: Place,
    /// Rows before it, good and bad, in all files.
    pub(crate) rows: u64,
}

/// Where a row stands, for messages.
#[derive(Clone, Copy, Debug)]
pub(super) struct At {
    pub(super) file: usize,
    pub(super) line: u64,
}

/// A row that cannot be used, passed over.
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) at: At,
    pub(super) what: String,
    /// Where in [`Batch::raw`] it is as it was written.
    pub(super) raw: Range<usize>,
}

/// Rows that are sent together.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    pub(super) rows: BatchBuf,
    /// Where each row stands.
    pub(super) places: Vec<At>,
    /// The keys, where they decide what may overtake what.
    pub(super) keys: HashSet<u128>,
    /// Rows among them that cannot be sent.
    pub(super) faults: Vec<Fault>,
    /// Rows as they were written, where they may have to be put aside.
    pub(super) raw: Vec<u8>,
    pub(super) raws: Vec<Range<usize>>,
    /// Where the next batch begins.
    pub(super) end: Mark,
}

impl Batch {
    /// Whether nothing is in it.
    pub(super) fn is_empty(&self) -> bool {
        self.places.is_empty() && self.faults.is_empty()
    }

    /// Whether another batch must not be sent before this one is answered.
    pub(super) fn must_wait(&self, other: &Batch) -> bool {
        !self.keys.is_disjoint(&other.keys)
    }

    /// A row of it as it was written; empty if that was not asked for.
    pub(super) fn raw(&self, row: usize) -> &[u8] {
        self.raws.get(row).and_then(|range| self.raw.get(range.clone())).unwrap_or_default()
    }
}

/// Puts rows together.
#[derive(Debug)]
pub(crate) struct Batcher {
    options: Options,
    filling: Batch,
}

impl Batcher {
    /// `at` is where the first row starts.
    pub(crate) fn new(options: Options, at: Mark) -> Batcher {
        Batcher { options, filling: Batch { end: at, ..Batch::default() } }
    }

    /// Adds a row; gives the batch before it, if the row does not fit there. `raw`
    /// writes the row as it was.
    pub(crate) fn push(
        &mut self,
        row: &Row,
        end: Mark,
        raw: impl FnOnce(&mut Vec<u8>),
    ) -> Option<Batch> {
        // A row costs its key (17 bytes) and its document.
        let bytes = row.document.len() + 17;
        let passes = self.filling.rows.bytes() + bytes > self.options.batch_bytes;
        let full = self.full(passes);
        let batch = &mut self.filling;
        batch.rows.push(row.key, &row.document);
        batch.places.push(At { file: end.file, line: row.line });
        if self.options.keys_matter() {
            batch.keys.extend(row.key.map(|key| key.0));
        }
        if self.options.quarantine {
            let start = batch.raw.len();
            raw(&mut batch.raw);
            batch.raws.push(start..batch.raw.len());
        }
        batch.end = end;
        full
    }

    /// Adds a row that cannot be used and is passed over.
    pub(crate) fn fault(
        &mut self,
        line: u64,
        what: String,
        end: Mark,
        raw: impl FnOnce(&mut Vec<u8>),
    ) -> Option<Batch> {
        let full = self.full(self.filling.raw.len() > self.options.batch_bytes);
        let batch = &mut self.filling;
        let start = batch.raw.len();
        if self.options.quarantine {
            raw(&mut batch.raw);
        }
        let raw = start..batch.raw.len();
        batch.faults.push(Fault { at: At { file: end.file, line }, what, raw });
        batch.end = end;
        full
    }

    /// What has gathered, if anything has.
    pub(crate) fn rest(&mut self) -> Option<Batch> {
        (!self.filling.is_empty()).then(|| self.take())
    }

    fn full(&mut self, passes: bool) -> Option<Batch> {
        let rows = self.filling.places.len() + self.filling.faults.len();
        let full = rows >= self.options.batch_rows || passes;
        (full && rows > 0).then(|| self.take())
    }

    fn take(&mut self) -> Batch {
        let next = Batch { end: self.filling.end, ..Batch::default() };
        std::mem::replace(&mut self.filling, next)
    }
}
