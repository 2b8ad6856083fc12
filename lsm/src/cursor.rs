//! A cursor over one keyspace of one snapshot: memtables and tree merged.
//!
//! What must stay true: sources stand newest first, and where several have a
//! key the newest decides (a delete there hides the key); each source has moved
//! past every key already given; keys are strictly monotonic.

use std::cmp::Ordering;
use std::ops::Bound;
use std::sync::Arc;

use crate::memtable::Walk;
use crate::version::Snapshot;
use crate::{Error, KeyspaceId};

/// Which way a cursor goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Keys ascend.
    Forward,
    /// Keys descend.
    Reverse,
}

/// A key and its value, lent.
pub type Entry<'a> = (&'a [u8], &'a [u8]);

/// See [`Snapshot::range`]. Lends keys and values until it is moved; keeps its
/// snapshot alive.
pub struct Cursor {
    snapshot: Snapshot,
    lo: Bound<Box<[u8]>>,
    hi: Bound<Box<[u8]>>,
    direction: Direction,
    sources: Vec<Walk>,
    /// The source whose entry is being lent.
    at: Option<usize>,
    /// Past the last entry within the bounds.
    ended: bool,
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
        let lsn = snapshot.lsn();
        let mut sources = Vec::new();
        for set in snapshot.version().sets() {
            let table = set.with(keyspace.0, |t| (Arc::clone(&t.entries), t.floor(lsn)));
            if let Some((entries, floor)) = table {
                sources.push(Walk::new(entries, lsn, floor));
                if floor > 0 {
                    // Dropped here: older sets and the tree do not count.
                    break;
                }
            }
        }
        let (lo, hi) = (lo.map(Box::from), hi.map(Box::from));
        let mut cursor = Cursor { snapshot, lo, hi, direction, sources, at: None, ended: false };
        cursor.rewind();
        Ok(cursor)
    }

    /// The snapshot it reads.
    pub fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    /// Moves to the next entry; `false` at the end, where it stays.
    ///
    /// # Errors
    /// A page that cannot be read or fails its checksum.
    pub fn advance(&mut self) -> Result<bool, Error> {
        if let Some(at) = self.at.take() {
            self.pass(at);
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
            if self.sources[at].value().is_some() {
                self.at = Some(at);
                return Ok(true);
            }
            self.pass(at);
        }
        self.ended = true;
        Ok(false)
    }

    /// The key stood on; empty before the first and past the last entry.
    pub fn key(&self) -> &[u8] {
        self.at.and_then(|at| self.sources[at].key()).unwrap_or_default()
    }

    /// The value stood on; empty before the first and past the last entry. Read
    /// only now if it lies in the value log: who needs keys only does not ask.
    ///
    /// # Errors
    /// A value that cannot be read or fails its checksum.
    pub fn value(&mut self) -> Result<&[u8], Error> {
        Ok(self.at.and_then(|at| self.sources[at].value()).unwrap_or_default())
    }

    /// Moves to the next entry and lends it.
    ///
    /// # Errors
    /// As [`Cursor::advance`] and [`Cursor::value`].
    #[allow(clippy::should_implement_trait)] // It lends: no iterator can.
    pub fn next(&mut self) -> Result<Option<Entry<'_>>, Error> {
        if !self.advance()? {
            return Ok(None);
        }
        let Some(at) = self.at else { return Ok(None) };
        let source = &self.sources[at];
        Ok(Some((source.key().unwrap_or_default(), source.value().unwrap_or_default())))
    }

    /// Places the cursor before the first entry at or beyond `key` in its
    /// direction, within its bounds. It may go back.
    ///
    /// # Errors
    /// As [`Cursor::advance`].
    pub fn seek(&mut self, key: &[u8]) -> Result<(), Error> {
        let inside_start = match self.direction {
            Direction::Forward => within(key, borrowed(&self.lo), Ordering::Greater),
            Direction::Reverse => within(key, borrowed(&self.hi), Ordering::Less),
        };
        (self.at, self.ended) = (None, false);
        if inside_start {
            for source in &mut self.sources {
                match self.direction {
                    Direction::Forward => source.seek_from(key, true),
                    Direction::Reverse => source.seek_until(key, true),
                }
            }
        } else {
            self.rewind();
        }
        Ok(())
    }

    fn rewind(&mut self) {
        for source in &mut self.sources {
            match (self.direction, &self.lo, &self.hi) {
                (Direction::Forward, Bound::Unbounded, _) => source.first(),
                (Direction::Forward, Bound::Included(key), _) => source.seek_from(key, true),
                (Direction::Forward, Bound::Excluded(key), _) => source.seek_from(key, false),
                (Direction::Reverse, _, Bound::Unbounded) => source.last(),
                (Direction::Reverse, _, Bound::Included(key)) => source.seek_until(key, true),
                (Direction::Reverse, _, Bound::Excluded(key)) => source.seek_until(key, false),
            }
        }
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
    fn pass(&mut self, at: usize) {
        for older in at + 1..self.sources.len() {
            if self.sources[older].key() == self.sources[at].key() {
                self.step(older);
            }
        }
        self.step(at);
    }

    fn step(&mut self, source: usize) {
        match self.direction {
            Direction::Forward => self.sources[source].forward(),
            Direction::Reverse => self.sources[source].back(),
        }
    }
}
