//! A cursor over one keyspace of one snapshot: memtables and tree merged.
//!
//! What must stay true: sources stand newest first, and where several have a
//! key the newest decides (a delete there hides the key); each source has moved
//! past every key already given; keys are strictly monotonic.
//!
//! What is merged lies behind a lock of the cursor's own, held for one step, and
//! what is lent is a copy: so the memtables and pages it holds can be taken away
//! when the snapshot expires, whether or not it is ever moved again (`lease.rs`).

use std::cmp::Ordering;
use std::ops::Bound;
use std::sync::Arc;

use btree::Direction;
use parking_lot::{MappedMutexGuard, Mutex, MutexGuard};
use vlog::Vlog;

use crate::lease::{self, Listed};
use crate::memtable::Walk;
use crate::tree::TreeWalk;
use crate::version::Snapshot;
use crate::{Error, KeyspaceId};

/// A key and its value, lent.
pub type Entry<'a> = (&'a [u8], &'a [u8]);

/// See [`Snapshot::range`]. Lends keys and values until it is moved; keeps its
/// snapshot alive.
pub struct Cursor {
    snapshot: Snapshot,
    cell: Arc<CursorCell>,
    _listed: Listed,
    /// The key stood on; empty before the first and past the last entry.
    key: Vec<u8>,
    /// Its value, once it was asked for.
    value: Vec<u8>,
    loaded: bool,
}

/// What a cursor holds of its version; `None`: it was taken away.
pub(crate) struct CursorCell(Mutex<Option<Merge>>);

impl CursorCell {
    pub(crate) fn empty(&self) {
        let taken = self.0.lock().take();
        drop(taken);
    }
}

/// The sources of a cursor, and where they stand.
struct Merge {
    values: Arc<Vlog>,
    lo: Bound<Box<[u8]>>,
    hi: Bound<Box<[u8]>>,
    direction: Direction,
    sources: Vec<Source>,
    /// The source whose entry is being lent.
    at: Option<usize>,
    /// Past the last entry within the bounds.
    ended: bool,
    /// A step failed: the sources stand who knows where.
    broken: bool,
}

/// What is merged: a memtable or the tree.
enum Source {
    Memory(Walk),
    Tree(Box<TreeWalk>),
}

impl Source {
    fn key(&self) -> Option<&[u8]> {
        match self {
            Source::Memory(walk) => walk.key(),
            Source::Tree(walk) => walk.key(),
        }
    }

    /// Whether the entry stood on says that the key was deleted.
    fn is_delete(&self) -> bool {
        matches!(self, Source::Memory(walk) if walk.value().is_none())
    }

    fn step(&mut self, direction: Direction) -> Result<(), Error> {
        match (self, direction) {
            (Source::Memory(walk), Direction::Forward) => walk.forward(),
            (Source::Memory(walk), Direction::Reverse) => walk.back(),
            (Source::Tree(walk), _) => walk.step()?,
        }
        Ok(())
    }

    fn seek(&mut self, key: &[u8], direction: Direction) -> Result<(), Error> {
        match (self, direction) {
            (Source::Memory(walk), Direction::Forward) => walk.seek_from(key, true),
            (Source::Memory(walk), Direction::Reverse) => walk.seek_until(key, true),
            (Source::Tree(walk), _) => walk.seek(key)?,
        }
        Ok(())
    }
}

/// Whether `key` is on the inner side of a bound whose inner side is `inside`.
fn within(key: &[u8], bound: Bound<&[u8]>, inside: Ordering) -> bool {
    match bound {
        Bound::Unbounded => true,
        Bound::Included(end) => key.cmp(end) != inside.reverse(),
        Bound::Excluded(end) => key.cmp(end) == inside,
    }
}

fn borrowed(bound: &Bound<Box<[u8]>>) -> Bound<&[u8]> {
    bound.as_ref().map(AsRef::as_ref)
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
        // Taken away before it was listed? Then nobody will empty it.
        drop(snapshot.version()?);
        let (key, value) = (Vec::new(), Vec::new());
        Ok(Cursor { snapshot, cell, _listed: listed, key, value, loaded: false })
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
        self.step(false)
    }

    /// The key stood on; empty before the first and past the last entry.
    pub fn key(&self) -> &[u8] {
        &self.key
    }

    /// The value stood on; empty before the first and past the last entry. Read
    /// only now if it lies in the value log: who needs keys only does not ask.
    ///
    /// # Errors
    /// A value that cannot be read or fails its checksum.
    pub fn value(&mut self) -> Result<&[u8], Error> {
        if !self.loaded {
            let loaded = merge(&self.cell, &self.snapshot)?.load(&mut self.value);
            self.snapshot.health().look(loaded)?;
            self.loaded = true;
        }
        Ok(&self.value)
    }

    /// Moves to the next entry and lends it.
    ///
    /// # Errors
    /// As [`Cursor::advance`] and [`Cursor::value`].
    #[allow(clippy::should_implement_trait)] // It lends: no iterator can.
    pub fn next(&mut self) -> Result<Option<Entry<'_>>, Error> {
        Ok(self.step(true)?.then_some((&self.key, &self.value)))
    }

    fn step(&mut self, load: bool) -> Result<bool, Error> {
        self.leave();
        let mut merge = merge(&self.cell, &self.snapshot)?;
        let health = self.snapshot.health();
        if !health.look(merge.advance())? {
            return Ok(false);
        }
        self.key.extend_from_slice(merge.key());
        if load {
            health.look(merge.load(&mut self.value))?;
            self.loaded = true;
        }
        Ok(true)
    }

    /// Places the cursor before the first entry at or beyond `key` in its
    /// direction, within its bounds. It may go back.
    ///
    /// # Errors
    /// As [`Cursor::advance`].
    pub fn seek(&mut self, key: &[u8]) -> Result<(), Error> {
        self.leave();
        let sought = merge(&self.cell, &self.snapshot)?.seek(key);
        self.snapshot.health().look(sought)
    }

    fn leave(&mut self) {
        self.key.clear();
        self.value.clear();
        self.loaded = false;
    }
}

/// What the cursor reads, for one step.
fn merge<'a>(
    cell: &'a CursorCell,
    snapshot: &Snapshot,
) -> Result<MappedMutexGuard<'a, Merge>, Error> {
    MutexGuard::try_map(cell.0.lock(), Option::as_mut).map_err(|_| lease::expired(snapshot.lsn()))
}

impl Merge {
    fn open(
        snapshot: &Snapshot,
        keyspace: KeyspaceId,
        lo: Bound<&[u8]>,
        hi: Bound<&[u8]>,
        direction: Direction,
    ) -> Result<Self, Error> {
        let (lsn, version) = (snapshot.lsn(), snapshot.version()?);
        let mut sources = Vec::new();
        let mut dropped = false;
        for set in version.sets() {
            let table = set.with(keyspace.0, |t| (Arc::clone(&t.entries), t.floor(lsn)));
            if let Some((entries, floor)) = table {
                sources.push(Source::Memory(Walk::new(entries, lsn, floor)));
                // Dropped here: older sets and the tree do not count.
                dropped = floor > 0;
            }
            if dropped {
                break;
            }
        }
        if !dropped {
            let walk = TreeWalk::new(&version.view, keyspace, lo, hi, direction);
            sources.push(Source::Tree(Box::new(walk)));
        }
        let (lo, hi) = (lo.map(Box::from), hi.map(Box::from));
        let values = Arc::clone(&version.values);
        let (at, ended, broken) = (None, false, false);
        let mut merge = Merge { values, lo, hi, direction, sources, at, ended, broken };
        merge.rewind()?;
        Ok(merge)
    }

    fn advance(&mut self) -> Result<bool, Error> {
        if self.broken {
            return Err(Error::Cursor);
        }
        self.broken = true;
        let moved = self.try_advance()?;
        self.broken = false;
        Ok(moved)
    }

    /// The key stood on.
    fn key(&self) -> &[u8] {
        self.at.and_then(|at| self.sources[at].key()).unwrap_or_default()
    }

    /// Copies the value stood on.
    fn load(&mut self, out: &mut Vec<u8>) -> Result<(), Error> {
        out.clear();
        let Some(at) = self.at else { return Ok(()) };
        match &mut self.sources[at] {
            Source::Memory(walk) => out.extend_from_slice(walk.value().unwrap_or_default()),
            Source::Tree(walk) => {
                walk.load(&self.values)?;
                out.extend_from_slice(walk.value());
            }
        }
        Ok(())
    }

    fn try_advance(&mut self) -> Result<bool, Error> {
        if let Some(at) = self.at.take() {
            self.pass(at)?;
        }
        while !self.ended {
            let Some(at) = self.nearest() else { break };
            let key = self.sources[at].key().unwrap_or_default();
            let inside = match self.direction {
                Direction::Forward => within(key, borrowed(&self.hi), Ordering::Less),
                Direction::Reverse => within(key, borrowed(&self.lo), Ordering::Greater),
            };
            if !inside {
                break;
            }
            if !self.sources[at].is_delete() {
                self.at = Some(at);
                return Ok(true);
            }
            self.pass(at)?;
        }
        self.ended = true;
        Ok(false)
    }

    fn seek(&mut self, key: &[u8]) -> Result<(), Error> {
        let inside_start = match self.direction {
            Direction::Forward => within(key, borrowed(&self.lo), Ordering::Greater),
            Direction::Reverse => within(key, borrowed(&self.hi), Ordering::Less),
        };
        (self.at, self.ended, self.broken) = (None, false, true);
        if inside_start {
            for source in &mut self.sources {
                source.seek(key, self.direction)?;
            }
        } else {
            self.rewind()?;
        }
        self.broken = false;
        Ok(())
    }

    fn rewind(&mut self) -> Result<(), Error> {
        let start = match self.direction {
            Direction::Forward => borrowed(&self.lo),
            Direction::Reverse => borrowed(&self.hi),
        };
        for source in &mut self.sources {
            match (source, start, self.direction) {
                (Source::Memory(walk), Bound::Unbounded, Direction::Forward) => walk.first(),
                (Source::Memory(walk), Bound::Unbounded, Direction::Reverse) => walk.last(),
                (Source::Memory(walk), Bound::Included(key), Direction::Forward) => {
                    walk.seek_from(key, true);
                }
                (Source::Memory(walk), Bound::Included(key), Direction::Reverse) => {
                    walk.seek_until(key, true);
                }
                (Source::Memory(walk), Bound::Excluded(key), Direction::Forward) => {
                    walk.seek_from(key, false);
                }
                (Source::Memory(walk), Bound::Excluded(key), Direction::Reverse) => {
                    walk.seek_until(key, false);
                }
                // It has its bounds; without one it starts at the end by itself.
                (Source::Tree(walk), Bound::Unbounded, _) => walk.step()?,
                (Source::Tree(walk), Bound::Included(key) | Bound::Excluded(key), _) => {
                    walk.seek(key)?;
                }
            }
        }
        Ok(())
    }

    /// The source with the nearest key in our direction, the newest of several.
    fn nearest(&self) -> Option<usize> {
        let mut best: Option<(usize, &[u8])> = None;
        for (i, source) in self.sources.iter().enumerate() {
            let Some(key) = source.key() else { continue };
            let nearer = best.is_none_or(|(_, best)| match self.direction {
                Direction::Forward => key < best,
                Direction::Reverse => key > best,
            });
            if nearer {
                best = Some((i, key));
            }
        }
        best.map(|(i, _)| i)
    }

    /// Moves every source that stands on the key of source `at`. Those before
    /// `at` stand on other keys: it was the newest with its key.
    fn pass(&mut self, at: usize) -> Result<(), Error> {
        for older in at + 1..self.sources.len() {
            if self.sources[older].key() == self.sources[at].key() {
                self.sources[older].step(self.direction)?;
            }
        }
        self.sources[at].step(self.direction)
    }
}
