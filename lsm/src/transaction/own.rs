//! What a snapshot of a transaction has beside its version: the transaction's own writes,
//! and where its reads are noted.
//!
//! What must stay true: own writes are a memtable set of their own, newer than all of the
//! version, in which the number of a statement stands in the place of an LSN: a cursor
//! goes on seeing what was written before it was opened. A read that own writes decide is
//! none of the database. Whatever else decides an answer is noted; what is only a guess
//! (`count_range`, `count`) is not.

use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use btree::Direction;

use super::reads::Reads;
use crate::batch::Ops;
use crate::memtable::Walk;
use crate::set::{MemSet, Table};
use crate::value::Value;
use crate::{KeyspaceId, Lsn};

/// Own writes. Most transactions make none, so there is no set before the first.
#[derive(Clone, Default)]
pub(crate) struct Layer(Option<Arc<MemSet>>);

impl Layer {
    /// Calls `f` with the keyspace's table, if it was written.
    pub(crate) fn with<R>(&self, keyspace: u32, f: impl FnOnce(&Table) -> R) -> Option<R> {
        self.0.as_ref()?.with(keyspace, f)
    }

    /// Bytes of memory held.
    pub(super) fn bytes(&self) -> usize {
        self.0.as_ref().map_or(0, |set| set.bytes())
    }

    /// Writes one statement. Who has the layer from before the first does not see it.
    pub(super) fn apply(&mut self, statement: Lsn, ops: Ops<'_>) {
        self.0.get_or_insert_with(|| Arc::new(MemSet::new())).apply(statement, 0, ops);
    }
}

/// See the module.
#[derive(Clone)]
pub(crate) struct Own {
    pub(crate) layer: Layer,
    /// The last statement that is seen.
    pub(crate) at: Lsn,
    pub(crate) reads: Arc<Reads>,
}

impl Own {
    /// What own writes say of a key; if nothing, the key is noted as read.
    pub(crate) fn get(&self, keyspace: KeyspaceId, key: &[u8]) -> Option<Option<Value>> {
        let decided = self.look(keyspace, key);
        if decided.is_none() {
            self.reads.point(keyspace, key);
        }
        decided
    }

    /// As [`Own::get`], without a note.
    pub(crate) fn look(&self, keyspace: KeyspaceId, key: &[u8]) -> Option<Option<Value>> {
        let found = self.layer.with(keyspace.0, |table| table.entries.read(key, self.at));
        found.flatten().map(|(_, value)| value)
    }

    /// Whether own writes have a value under a key; `None`: they say nothing of it.
    pub(crate) fn has(&self, keyspace: KeyspaceId, key: &[u8]) -> Option<bool> {
        let found = |table: &Table| Some(table.entries.get(key, self.at)?.value().is_some());
        self.layer.with(keyspace.0, found).flatten()
    }

    /// Own writes to a keyspace, to be merged with what is older.
    pub(crate) fn walk(&self, keyspace: KeyspaceId) -> Option<Walk> {
        let walk = |table: &Table| Walk::new(Arc::clone(&table.entries), self.at, 0);
        self.layer.with(keyspace.0, walk)
    }

    /// By how much own writes have moved the number of keys. Of the statements made since
    /// too, which is only of interest to who counts while they are made: nobody.
    pub(crate) fn moved(&self, keyspace: KeyspaceId) -> i64 {
        self.layer.with(keyspace.0, |table| table.moved.load(Relaxed)).unwrap_or(0)
    }
}

/// What a cursor of a transaction has come past.
pub(crate) struct Trail {
    reads: Arc<Reads>,
    number: u64,
    keyspace: KeyspaceId,
    low: Bound<Box<[u8]>>,
    high: Bound<Box<[u8]>>,
    direction: Direction,
    /// Where it began, or was placed by a seek.
    start: Option<Box<[u8]>>,
    /// It came to its end, or failed: it may have seen all.
    whole: bool,
    /// What it sees is a guess.
    guess: bool,
}

impl Trail {
    pub(crate) fn new(
        own: &Own,
        keyspace: KeyspaceId,
        low: Bound<&[u8]>,
        high: Bound<&[u8]>,
        direction: Direction,
    ) -> Trail {
        let number = own.reads.open(keyspace, low, high);
        let (low, high) = (low.map(Box::from), high.map(Box::from));
        let reads = Arc::clone(&own.reads);
        let (start, whole, guess) = (None, false, false);
        Trail { reads, number, keyspace, low, high, direction, start, whole, guess }
    }

    /// The cursor moved, `false`: past the last entry, or who knows where.
    pub(crate) fn moved(&mut self, to_an_entry: bool) {
        self.whole |= !to_an_entry;
    }

    /// What the cursor gives is no answer.
    pub(crate) fn guesses(&mut self) {
        self.guess = true;
        self.reads.close(self.number);
    }

    /// Notes what lies behind the cursor, which stands on `on`; it begins anew at `to`.
    pub(crate) fn leave(&mut self, on: Option<&[u8]>, to: Option<&[u8]>) {
        let start = std::mem::replace(&mut self.start, to.map(Box::from));
        let whole = std::mem::take(&mut self.whole);
        if self.guess || (on.is_none() && !whole) {
            return;
        }
        let (low, high) = (borrowed(&self.low), borrowed(&self.high));
        let on = on.filter(|_| !whole).map(Bound::Included);
        // A seek to before the bounds begins at them.
        let from = start.as_deref().map(Bound::Included);
        let (low, high) = match self.direction {
            Direction::Forward => (from.map_or(low, |from| upper(low, from)), on.unwrap_or(high)),
            Direction::Reverse => (on.unwrap_or(low), from.map_or(high, |from| lower(high, from))),
        };
        self.reads.range(self.keyspace, low, high);
    }

    /// The cursor is let go of. After [`Trail::leave`].
    pub(crate) fn close(&self) {
        self.reads.close(self.number);
    }
}

fn borrowed(bound: &Bound<Box<[u8]>>) -> Bound<&[u8]> {
    bound.as_ref().map(|key| &**key)
}

/// The inner one of a low bound and an included key.
fn upper<'k>(low: Bound<&'k [u8]>, key: Bound<&'k [u8]>) -> Bound<&'k [u8]> {
    match (low, key) {
        (Bound::Included(low) | Bound::Excluded(low), Bound::Included(at)) if at > low => key,
        (Bound::Unbounded, _) => key,
        _ => low,
    }
}

/// The inner one of a high bound and an included key.
fn lower<'k>(high: Bound<&'k [u8]>, key: Bound<&'k [u8]>) -> Bound<&'k [u8]> {
    match (high, key) {
        (Bound::Included(high) | Bound::Excluded(high), Bound::Included(at)) if at < high => key,
        (Bound::Unbounded, _) => key,
        _ => high,
    }
}
