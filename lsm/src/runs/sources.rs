//! A set and some runs as one sorted sequence of cells.
//!
//! What must stay true: sources stand newest first; each key comes once, with the
//! newest cell of it; every cell that is passed over is told, since nothing will name
//! its record any more.

use std::ops::Bound;

use btree::{Cursor, Direction, View};

use super::Run;
use crate::Error;
use crate::segments::Changes;
use crate::small::Small;
use crate::tree::Cell;

/// A key and its cell.
pub(super) type Entry = (Small, Small);

struct Source {
    tree: u32,
    cursor: Cursor,
    /// Which keys it gave, by their place among all, if that is asked for.
    given: Vec<u32>,
}

/// See the module.
pub(super) struct Sources<I> {
    set: I,
    head: Option<Entry>,
    runs: Vec<Source>,
    /// What each run gives is kept.
    keep: bool,
    /// Keys given so far.
    keys: u32,
}

impl<I: Iterator<Item = Entry>> Sources<I> {
    /// A set, and runs that are older, newest first; of the runs what is behind `from`.
    /// `keep`: it shall be known what each run gave.
    pub(super) fn new(
        mut set: I,
        view: &View,
        runs: &[Run],
        from: Bound<&[u8]>,
        keep: bool,
    ) -> Self {
        let head = set.next();
        let source = |run: &Run| Source {
            tree: run.tree,
            cursor: view.range(run.tree, from, Bound::Unbounded, Direction::Forward),
            given: Vec::new(),
        };
        Sources { set, head, runs: runs.iter().map(source).collect(), keep, keys: 0 }
    }

    /// The next key and its cell, in this run's terms: a tombstone is one.
    pub(super) fn next(&mut self, changes: &mut Changes) -> Result<Option<Entry>, Error> {
        let mut first = self.head.as_ref().map(|(key, _)| key.as_ref());
        for source in &mut self.runs {
            source.cursor.settle()?;
            if let Some(key) = source.cursor.peek()
                && first.is_none_or(|first| key < first)
            {
                first = Some(key);
            }
        }
        let Some(key) = first.map(Small::from) else { return Ok(None) };
        let mut newest = None;
        if self.head.as_ref().is_some_and(|(head, _)| head.as_ref() == key.as_ref()) {
            newest = self.head.take().map(|(_, cell)| cell);
            self.head = self.set.next();
        }
        for source in &mut self.runs {
            if source.cursor.peek() != Some(key.as_ref()) {
                continue;
            }
            let Some((_, cell)) = source.cursor.next()? else { continue };
            // Damage is told here, and not handed on.
            let decoded = Cell::decode_in(source.tree, cell)?;
            match (&newest, decoded) {
                (None, _) => newest = Some(Small::from(cell)),
                (Some(_), Cell::Pointer(at)) => changes.dead(at),
                (Some(_), _) => {}
            }
            if self.keep {
                source.given.push(self.keys);
            }
        }
        self.keys += 1;
        Ok(newest.map(|cell| (key, cell)))
    }

    /// The tree of each run, and which of the keys it gave.
    pub(super) fn given(self) -> impl Iterator<Item = (u32, Vec<u32>)> {
        self.runs.into_iter().map(|source| (source.tree, source.given))
    }
}
