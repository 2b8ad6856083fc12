//! The table of runs, a tree of its own, and what a commit makes of it.
//!
//! What must stay true: a run's tree is in [`RUN_TREES`], has keys and one row; a row's
//! tree is there.
//!
//! ```text
//!  key                              value
//! +------------------+---------+   +-----------+---------+------------+
//! | keyspace, u32 BE | order,  |   | tree, u32 | zero    | moved, i64 |   little-endian
//! |                  | u64 BE  |   |           | u32     |            |
//! +------------------+---------+   +-----------+---------+------------+
//!   order: the boundary of the newest set in it. moved: see `count.rs`.
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::{Arc, OnceLock};

use btree::{Direction, Op, View, Write};
use zerocopy::byteorder::little_endian::{I64, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::filter::Filter;
use super::{Run, Runs};
use crate::tree::{RUN_TREES, RUNS, SEGMENTS};
use crate::{Error, Lsn, PAGES};

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Raw {
    tree: U32,
    zero: U32,
    moved: I64,
}
const _: () = assert!(size_of::<Raw>() == 16);

fn key(keyspace: u32, order: Lsn) -> [u8; 12] {
    let mut key = [0; 12];
    key[..4].copy_from_slice(&keyspace.to_be_bytes());
    key[4..].copy_from_slice(&order.to_be_bytes());
    key
}

fn encode(run: &Run) -> [u8; 16] {
    let raw = Raw { tree: U32::new(run.tree), zero: U32::ZERO, moved: I64::new(run.moved) };
    zerocopy::transmute!(raw)
}

fn decode(key: &[u8], value: &[u8]) -> Option<(u32, Run)> {
    let (keyspace, order) = key.split_first_chunk()?;
    let keyspace = u32::from_be_bytes(*keyspace);
    let raw = Raw::ref_from_bytes(value).ok()?;
    let run = Run {
        tree: raw.tree.get(),
        order: Lsn::from_be_bytes(order.try_into().ok()?),
        moved: raw.moved.get(),
        filter: Arc::default(),
    };
    let makes_sense = keyspace < SEGMENTS && RUN_TREES.contains(&run.tree) && raw.zero.get() == 0;
    makes_sense.then_some((keyspace, run))
}

/// The runs as of `view`, without filters; `count`: how many its meta page says.
///
/// # Errors
/// The table cannot be read, or does not agree with that or the trees there are.
pub(crate) fn load(view: &View, count: u32) -> Result<Runs, Error> {
    let corrupt = |what: String| Error::Corrupt { file: PAGES.into(), what };
    let mut runs: BTreeMap<u32, Vec<Run>> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    let mut cursor = view.range(RUNS, Bound::Unbounded, Bound::Unbounded, Direction::Forward);
    while let Some((key, value)) = cursor.next()? {
        let Some((keyspace, run)) = decode(key, value) else {
            return Err(corrupt("a row of the table of runs makes no sense".into()));
        };
        if view.is_empty(run.tree) || !seen.insert(run.tree) {
            let what = format!(
                "its table of runs names tree {} for keyspace {keyspace}, which is not there or \
                 named twice",
                run.tree
            );
            return Err(corrupt(what));
        }
        // Newest first.
        runs.entry(keyspace).or_default().insert(0, run);
    }
    let mut trees = view.trees().map(|info| info.tree).filter(|tree| RUN_TREES.contains(tree));
    if let Some(tree) = trees.find(|tree| !seen.contains(tree)) {
        return Err(corrupt(format!("tree {tree} is a run that its table of runs does not name")));
    }
    if seen.len() as u64 != u64::from(count) {
        let found = seen.len();
        return Err(corrupt(format!("its table of runs has {found}, the meta page says {count}")));
    }
    Ok(Runs(Arc::new(runs)))
}

/// The runs as a commit will have them.
pub(crate) struct Draft {
    before: Runs,
    now: BTreeMap<u32, Vec<Run>>,
}

impl Draft {
    pub(crate) fn new(runs: &Runs) -> Self {
        Draft { before: runs.clone(), now: BTreeMap::clone(&runs.0) }
    }

    /// Of one keyspace, newest first.
    pub(crate) fn of(&self, keyspace: u32) -> &[Run] {
        self.now.get(&keyspace).map_or(&[], Vec::as_slice)
    }

    /// Takes the keyspace's `n` newest runs out; they are the caller's to get rid of.
    pub(super) fn take(&mut self, keyspace: u32, n: usize) -> Vec<Run> {
        let Some(runs) = self.now.get_mut(&keyspace) else { return Vec::new() };
        runs.drain(..n.min(runs.len())).collect()
    }

    /// Takes all of them out.
    pub(crate) fn take_all(&mut self, keyspace: u32) -> Vec<Run> {
        self.now.remove(&keyspace).unwrap_or_default()
    }

    /// Adds the newest.
    pub(super) fn push(&mut self, keyspace: u32, run: Run) {
        self.now.entry(keyspace).or_default().insert(0, run);
    }

    /// After a piece of a merge that added so many keys to the tree: what is empty in
    /// `write` goes, what it moved is the others'.
    pub(super) fn merged(&mut self, keyspace: u32, added: i64, write: &Write<'_>) {
        let Some(runs) = self.now.get_mut(&keyspace) else { return };
        let mut moved = -added;
        runs.retain(|run| {
            let stays = !write.is_empty(run.tree);
            moved = moved.saturating_add(if stays { 0 } else { run.moved });
            stays
        });
        if let Some(oldest) = runs.last_mut() {
            oldest.moved = oldest.moved.saturating_add(moved);
        }
    }

    /// A number for a new run's tree, if there is one left.
    pub(super) fn free_tree(&self, write: &Write<'_>) -> Option<u32> {
        let taken: BTreeSet<u32> = self.now.values().flatten().map(|run| run.tree).collect();
        RUN_TREES.into_iter().find(|tree| !taken.contains(tree) && write.is_empty(*tree))
    }

    /// Brings the table to it.
    pub(crate) fn write(mut self, write: &mut Write<'_>) -> Result<Runs, Error> {
        self.now.retain(|_, runs| !runs.is_empty());
        let mut ops: BTreeMap<[u8; 12], Op<[u8; 16]>> = BTreeMap::new();
        for (keyspace, runs) in self.before.keyspaces() {
            ops.extend(runs.iter().map(|run| (key(keyspace, run.order), Op::Delete)));
        }
        for (keyspace, runs) in &self.now {
            ops.extend(runs.iter().map(|run| (key(*keyspace, run.order), Op::Put(encode(run)))));
        }
        write.apply(RUNS, ops, &mut |_, _| {})?;
        Ok(Runs(Arc::new(self.now)))
    }
}

impl Run {
    /// A run just written.
    pub(super) fn new(tree: u32, order: Lsn, moved: i64, filter: Filter) -> Run {
        Run { tree, order, moved, filter: Arc::new(OnceLock::from(filter)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden() {
        let run = Run::new(RUN_TREES.start + 1, 0x0203, -2, Filter::new(1));
        let (key, value) = (key(0x0105, run.order), encode(&run));
        assert_eq!(key, [0, 0, 1, 5, 0, 0, 0, 0, 0, 0, 2, 3]);
        let mut want = [0xFF; 16];
        want[..8].copy_from_slice(&[3, 0, 0xFF, 0xFF, 0, 0, 0, 0]);
        want[8] = 0xFE;
        assert_eq!(value, want);
        let (keyspace, found) = decode(&key, &value).unwrap();
        assert_eq!(
            (keyspace, found.tree, found.order, found.moved),
            (0x0105, run.tree, 0x0203, -2)
        );
    }

    #[test]
    fn other_bytes_are_no_rows() {
        let good = encode(&Run::new(RUN_TREES.start, 1, 0, Filter::new(1)));
        assert!(decode(&key(1, 1), &good).is_some());
        assert!(decode(&key(1, 1)[..11], &good).is_none());
        assert!(decode(&key(SEGMENTS, 1), &good).is_none());
        assert!(decode(&key(1, 1), &good[..15]).is_none());
        for tree in [0, SEGMENTS, RUNS, RUN_TREES.end] {
            let bad = encode(&Run::new(tree, 1, 0, Filter::new(1)));
            assert!(decode(&key(1, 1), &bad).is_none(), "{tree}");
        }
        let mut bad = good;
        bad[4] = 1;
        assert!(decode(&key(1, 1), &bad).is_none());
    }
}
