//! Memtables, runs and tree merged, a block at a time; of a transaction its own writes
//! above them.
//!
//! What must stay true: sources stand newest first, and where several have a key the
//! newest decides (a delete there hides the key); each source has moved past every
//! key already given; keys are strictly monotonic.
//!
//! The source with the nearest key is followed alone until it comes to the nearest
//! key of the others: mostly that is for a whole leaf.

use std::cmp::Ordering;
use std::ops::Bound;
use std::sync::Arc;

use btree::Direction;
use vlog::Vlog;

use crate::block::{AHEAD, Block, Found};
use crate::memtable::Walk;
use crate::tree::{Cell, TreeWalk};
use crate::version::Snapshot;
use crate::{Error, KeyspaceId};

/// The sources of a cursor, and where they stand.
pub(crate) struct Merge {
    values: Arc<Vlog>,
    keyspace: KeyspaceId,
    sources: Sources,
    /// A step failed: the sources stand who knows where.
    broken: bool,
}

struct Sources {
    list: Vec<Source>,
    lo: Bound<Box<[u8]>>,
    hi: Bound<Box<[u8]>>,
    direction: Direction,
    /// Past the last entry within the bounds.
    ended: bool,
    /// Scratch: the nearest key of the sources that are not followed.
    limit: Vec<u8>,
}

/// What is merged: a memtable, or a run or the tree.
enum Source {
    Memory(Walk),
    Tree(Box<TreeWalk>),
}

impl Source {
    /// The key that comes next.
    #[inline]
    fn key(&self) -> Option<&[u8]> {
        match self {
            Source::Memory(walk) => walk.key(),
            Source::Tree(walk) => walk.key(),
        }
    }

    /// Has what comes next at hand.
    #[inline]
    fn settle(&mut self) -> Result<(), Error> {
        match self {
            Source::Memory(_) => Ok(()),
            Source::Tree(walk) => walk.settle(),
        }
    }

    /// Past the entry that comes next.
    fn skip(&mut self, direction: Direction) {
        match self {
            Source::Memory(walk) => go(walk, direction),
            Source::Tree(walk) => walk.skip(),
        }
    }

    fn seek(&mut self, key: &[u8], direction: Direction) {
        match (self, direction) {
            (Source::Memory(walk), Direction::Forward) => walk.seek_from(key, true),
            (Source::Memory(walk), Direction::Reverse) => walk.seek_until(key, true),
            (Source::Tree(walk), _) => walk.seek(key),
        }
    }
}

#[inline]
fn go(walk: &mut Walk, direction: Direction) {
    match direction {
        Direction::Forward => walk.forward(),
        Direction::Reverse => walk.back(),
    }
}

/// Whether `key` is on the inner side of a bound whose inner side is `inside`.
#[inline]
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

/// How a key in two parts compares with another.
#[inline]
fn compare(key: [&[u8]; 2], other: &[u8]) -> Ordering {
    let (head, tail) = other.split_at(key[0].len().min(other.len()));
    key[0].cmp(head).then_with(|| key[1].cmp(tail))
}

impl Merge {
    pub(crate) fn open(
        snapshot: &Snapshot,
        keyspace: KeyspaceId,
        lo: Bound<&[u8]>,
        hi: Bound<&[u8]>,
        direction: Direction,
    ) -> Result<Self, Error> {
        let (lsn, version) = (snapshot.lsn(), snapshot.version()?);
        let mut list = Vec::new();
        list.extend(snapshot.own().and_then(|own| own.walk(keyspace)).map(Source::Memory));
        let mut dropped = false;
        for set in version.sets() {
            let table = set.with(keyspace.0, |t| (Arc::clone(&t.entries), t.floor(lsn)));
            if let Some((entries, floor)) = table {
                list.push(Source::Memory(Walk::new(entries, lsn, floor)));
                // Dropped here: older sets and the tree do not count.
                dropped = floor > 0;
            }
            if dropped {
                break;
            }
        }
        if !dropped {
            let runs = version.runs.of(keyspace.0).iter().map(|run| run.tree);
            for tree in runs.chain([keyspace.0]) {
                let walk = TreeWalk::new(&version.view, tree, lo, hi, direction);
                list.push(Source::Tree(Box::new(walk)));
            }
        }
        let (lo, hi) = (lo.map(Box::from), hi.map(Box::from));
        let values = Arc::clone(&version.values);
        let limit = Vec::new();
        let mut sources = Sources { list, lo, hi, direction, ended: false, limit };
        sources.rewind();
        Ok(Merge { values, keyspace, sources, broken: false })
    }

    /// Fills the empty `block` with up to `want` of the next entries, none at the end;
    /// `load`: with their values. What was read before an error is in the block.
    pub(crate) fn fill(&mut self, want: usize, load: bool, block: &mut Block) -> Result<(), Error> {
        if self.broken {
            return Err(Error::Cursor);
        }
        if !load {
            let gathered = self.sources.gather(want, false, block);
            self.broken = gathered.is_err();
            return gathered;
        }
        let mut reader = self.values.reader();
        let gathered = self.sources.gather(want, true, block);
        self.broken = gathered.is_err();
        let ahead = self.sources.tree().into_iter().flat_map(|tree| tree.ahead(AHEAD));
        block.load(self.keyspace, &mut reader, ahead);
        gathered
    }

    /// Before the first entry at or beyond `key`, within the bounds.
    pub(crate) fn seek(&mut self, key: &[u8]) {
        self.broken = false;
        self.sources.seek(key);
    }
}

impl Sources {
    fn gather(&mut self, want: usize, load: bool, block: &mut Block) -> Result<(), Error> {
        while !self.ended && block.has_room(want) {
            for source in &mut self.list {
                source.settle()?;
            }
            let Some(at) = self.nearest() else {
                self.ended = true;
                break;
            };
            let (newer, rest) = self.list.split_at_mut(at);
            let Some((followed, older)) = rest.split_first_mut() else { break };
            // Those before it stand on other keys: it is the newest with its key.
            for source in older.iter_mut() {
                if source.key() == followed.key() {
                    source.skip(self.direction);
                    source.settle()?;
                }
            }
            let ahead = match self.direction {
                Direction::Forward => Ordering::Less,
                Direction::Reverse => Ordering::Greater,
            };
            let others = newer.iter().chain(older.iter()).filter_map(Source::key);
            let limit = others.reduce(|a, b| if a.cmp(b) == ahead { a } else { b });
            self.limit.clear();
            self.limit.extend_from_slice(limit.unwrap_or_default());
            let limit = limit.is_some().then_some(&self.limit[..]);
            let before = |key: [&[u8]; 2]| limit.is_none_or(|limit| compare(key, limit) == ahead);
            match followed {
                Source::Memory(walk) => {
                    let end = match self.direction {
                        Direction::Forward => borrowed(&self.hi),
                        Direction::Reverse => borrowed(&self.lo),
                    };
                    while let Some(entry) = walk.stored() {
                        let key = [entry.key(), &[]];
                        if !block.has_room(want) || !before(key) {
                            break;
                        }
                        if !within(key[0], end, ahead) {
                            self.ended = true;
                            break;
                        }
                        if let Some(value) = entry.value() {
                            block.push(key, Found::Bytes(value), load);
                        }
                        go(walk, self.direction);
                    }
                }
                // It has its bounds.
                Source::Tree(walk) => {
                    let tree = walk.tree();
                    walk.run(|prefix, suffix, cell| {
                        let key = [prefix, suffix];
                        if !block.has_room(want) || !before(key) {
                            return false;
                        }
                        let value = match Cell::decode_in(tree, cell) {
                            Ok(Cell::Tomb) => return true,
                            Ok(Cell::Inline(value, _)) => Found::Bytes(value),
                            Ok(Cell::Pointer(at)) => Found::Log(at),
                            Err(_) => Found::Bad,
                        };
                        block.push(key, value, load);
                        true
                    });
                }
            }
        }
        Ok(())
    }

    fn seek(&mut self, key: &[u8]) {
        let inside_start = match self.direction {
            Direction::Forward => within(key, borrowed(&self.lo), Ordering::Greater),
            Direction::Reverse => within(key, borrowed(&self.hi), Ordering::Less),
        };
        if !inside_start {
            return self.rewind();
        }
        self.ended = false;
        for source in &mut self.list {
            source.seek(key, self.direction);
        }
    }

    fn rewind(&mut self) {
        self.ended = false;
        let start = match self.direction {
            Direction::Forward => borrowed(&self.lo),
            Direction::Reverse => borrowed(&self.hi),
        };
        for source in &mut self.list {
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
                (Source::Tree(walk), _, _) => walk.rewind(),
            }
        }
    }

    /// The tree, if it counts.
    fn tree(&self) -> Option<&TreeWalk> {
        self.list.last().and_then(|source| match source {
            Source::Tree(walk) => Some(&**walk),
            Source::Memory(_) => None,
        })
    }

    /// The source with the nearest key in our direction, the newest of several.
    fn nearest(&self) -> Option<usize> {
        let mut best: Option<(usize, &[u8])> = None;
        for (i, source) in self.list.iter().enumerate() {
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
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_in_two_parts_compares_as_one() {
        let all = [&b""[..], b"a", b"ab", b"abc", b"b", b"ba", b"\xff\xff"];
        for key in all {
            for cut in 0..=key.len() {
                for other in all {
                    let parts = [&key[..cut], &key[cut..]];
                    assert_eq!(compare(parts, other), key.cmp(other), "{parts:?} {other:?}");
                }
            }
        }
    }
}
