//! A cursor over one keyspace of one snapshot: memtables, runs and tree merged.
//!
//! What must stay true: what is merged (`merge.rs`) lies behind a lock of the
//! cursor's own, held while a block of entries (`block.rs`) is read ahead, and what is
//! lent is the block's copy: so the memtables and pages it holds can be taken away
//! when the snapshot expires, whether or not it is ever moved again (`lease.rs`).
//! From then on each move fails, though a block be at hand.
//!
//! Blocks begin small and grow, so that who wants one entry pays for two at most. An
//! error is told when the cursor comes to where it happened, not before.

use std::ops::Bound;
use std::sync::Arc;

use btree::Direction;
use parking_lot::Mutex;

use crate::block::{Block, MOST, Place};
use crate::lease::{self, Listed, Reader};
use crate::merge::Merge;
use crate::transaction::Trail;
use crate::value::Value;
use crate::version::Snapshot;
use crate::{Error, KeyspaceId};

/// Entries of the first block.
const FIRST: usize = 2;
/// By how much the next is larger.
const GROWTH: usize = 4;

/// A key and its value, lent.
pub type Entry<'a> = (&'a [u8], &'a [u8]);

/// See [`Snapshot::range`]. Lends keys and values until it is moved; keeps its
/// snapshot alive.
pub struct Cursor {
    snapshot: Snapshot,
    keyspace: KeyspaceId,
    cell: Arc<CursorCell>,
    _listed: Listed,
    block: Block,
    /// The entry of the block stood on; none before the first and past the last entry.
    on: Option<usize>,
    /// The entry of the block to come.
    next: usize,
    /// Entries of the next block.
    want: usize,
    /// Values were asked for since the last block: read those of the next one with it.
    wants_values: bool,
    /// What the reading of the block ended with.
    failed: Option<Error>,
    /// The value of the entry stood on, if the block has it not.
    value: Option<Value>,
    /// Of a transaction: what it has come past.
    trail: Option<Box<Trail>>,
}

/// What a cursor holds of its version; `None`: it was taken away.
pub(crate) struct CursorCell(Mutex<Option<Merge>>);

impl Reader for CursorCell {
    fn empty(&self) {
        let taken = self.0.lock().take();
        drop(taken);
    }
}

impl Cursor {
    pub(crate) fn open(
        snapshot: Snapshot,
        keyspace: KeyspaceId,
        lo: Bound<&[u8]>,
        hi: Bound<&[u8]>,
        direction: Direction,
    ) -> Result<Self, Error> {
        let merge = Merge::open(&snapshot, keyspace, lo, hi, direction)?;
        let cell = Arc::new(CursorCell(Mutex::new(Some(merge))));
        let listed = snapshot.lease().list(&cell);
        let listed = listed.ok_or_else(|| lease::expired(snapshot.lsn()))?;
        let own = snapshot.own();
        let trail = own.map(|own| Box::new(Trail::new(own, keyspace, lo, hi, direction)));
        Ok(Cursor {
            snapshot,
            keyspace,
            cell,
            _listed: listed,
            block: Block::default(),
            on: None,
            next: 0,
            want: FIRST,
            wants_values: false,
            failed: None,
            value: None,
            trail,
        })
    }

    /// About so many entries will be asked for: as many are read at first, as far as a
    /// block goes.
    pub fn expect(&mut self, entries: u64) {
        self.want = usize::try_from(entries).unwrap_or(MOST).clamp(FIRST, MOST);
    }

    /// What it gives is only a guess of its reader's: of a transaction it does not count
    /// as a read.
    pub fn guesses(&mut self) {
        if let Some(trail) = &mut self.trail {
            trail.guesses();
        }
    }

    /// The snapshot it reads.
    pub fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    /// Moves to the next entry; `false` at the end, where it stays.
    ///
    /// # Errors
    /// A page that cannot be read or fails its checksum; then
    /// [`Error::Cursor`] until a seek succeeds. [`Error::SnapshotExpired`].
    pub fn advance(&mut self) -> Result<bool, Error> {
        let moved = self.step();
        if let Some(trail) = &mut self.trail {
            trail.moved(matches!(moved, Ok(true)));
        }
        moved
    }

    #[inline]
    fn step(&mut self) -> Result<bool, Error> {
        (self.on, self.value) = (None, None);
        if self.snapshot.lease().is_taken() {
            return Err(lease::expired(self.snapshot.lsn()));
        }
        if self.next >= self.block.len() && !self.refill()? {
            return Ok(false);
        }
        self.on = Some(self.next);
        self.next += 1;
        Ok(true)
    }

    /// The key stood on; empty before the first and past the last entry.
    pub fn key(&self) -> &[u8] {
        self.on.map_or(&[], |on| self.block.key(on))
    }

    /// The value stood on; empty before the first and past the last entry. Who needs
    /// keys only does not ask: values are read if those before were asked for, or now.
    ///
    /// # Errors
    /// A value that cannot be read or fails its checksum.
    pub fn value(&mut self) -> Result<&[u8], Error> {
        self.wants_values = true;
        let Some(on) = self.on else { return Ok(&[]) };
        if let Place::Here(at) = self.block.place(on) {
            // An expired snapshot is not read, whatever of it is at hand.
            if self.snapshot.lease().is_taken() {
                return Err(lease::expired(self.snapshot.lsn()));
            }
            return Ok(self.block.value(at));
        }
        if self.value.is_none() {
            let loaded = self.load(on);
            self.value = self.snapshot.health().look(loaded)?;
        }
        Ok(self.value.as_deref().unwrap_or_default())
    }

    /// Moves to the next entry and lends it.
    ///
    /// # Errors
    /// As [`Cursor::advance`] and [`Cursor::value`].
    #[allow(clippy::should_implement_trait)] // It lends: no iterator can.
    pub fn next(&mut self) -> Result<Option<Entry<'_>>, Error> {
        self.wants_values = true;
        if !self.advance()? {
            return Ok(None);
        }
        self.value()?;
        let Some(on) = self.on else { return Ok(None) };
        let value = match self.block.place(on) {
            Place::Here(at) => self.block.value(at),
            _ => self.value.as_deref().unwrap_or_default(),
        };
        Ok(Some((self.block.key(on), value)))
    }

    /// Places the cursor before the first entry at or beyond `key` in its
    /// direction, within its bounds. It may go back.
    ///
    /// # Errors
    /// [`Error::SnapshotExpired`].
    pub fn seek(&mut self, key: &[u8]) -> Result<(), Error> {
        if let Some(trail) = &mut self.trail {
            trail.leave(self.on.map(|on| self.block.key(on)), Some(key));
        }
        // Who takes one entry a seek is not given two.
        self.want = self.next.clamp(1, FIRST);
        (self.on, self.value, self.next, self.failed) = (None, None, 0, None);
        self.block.clear();
        let mut cell = self.cell.0.lock();
        let merge = cell.as_mut().ok_or_else(|| lease::expired(self.snapshot.lsn()))?;
        merge.seek(key);
        Ok(())
    }

    /// Reads the next block; `false` at the end.
    fn refill(&mut self) -> Result<bool, Error> {
        self.next = 0;
        self.block.clear();
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        let mut cell = self.cell.0.lock();
        let merge = cell.as_mut().ok_or_else(|| lease::expired(self.snapshot.lsn()))?;
        let load = std::mem::replace(&mut self.wants_values, false);
        self.block.reserve(self.want);
        let filled = merge.fill(self.want, load, &mut self.block);
        drop(cell);
        self.want = (self.want * GROWTH).min(MOST);
        if let Err(error) = self.snapshot.health().look(filled) {
            if self.block.len() == 0 {
                return Err(error);
            }
            self.failed = Some(error);
        }
        Ok(self.block.len() > 0)
    }

    /// A value that the block has not.
    fn load(&self, on: usize) -> Result<Option<Value>, Error> {
        let (key, version) = (self.block.key(on), self.snapshot.version()?);
        if let Place::Log(at) = self.block.place(on) {
            let mut record = Vec::new();
            let len = version.values.reader().append_of(*at, self.keyspace.0, key, &mut record)?;
            return Ok(Some(Value::from_record(record, len)));
        }
        self.snapshot.get_again(self.keyspace, key)
    }
}

impl Drop for Cursor {
    fn drop(&mut self) {
        if let Some(trail) = &mut self.trail {
            trail.leave(self.on.map(|on| self.block.key(on)), None);
            trail.close();
        }
    }
}
