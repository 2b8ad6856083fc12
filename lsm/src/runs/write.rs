//! Writing a run, in the commit of a flush.
//!
//! What must stay true: the new run is the newest, and has the newest cell of each key
//! that the set and the runs it takes in have; these are gone with the same commit.

use std::ops::Bound;
use std::sync::atomic::Ordering::Relaxed;

use btree::{Op, View, Write};

use super::filter::{Filter, hash};
use super::sources::{Entry, Sources};
use super::{Draft, Run};
use crate::segments::Changes;
use crate::small::Small;
use crate::tree::Cell;
use crate::{Error, Lsm, Lsn};

/// A set of a keyspace that becomes a run.
pub(crate) struct Set<I> {
    pub(crate) keyspace: u32,
    /// Its boundary.
    pub(crate) order: Lsn,
    /// See [`Run::moved`].
    pub(crate) moved: i64,
    /// How many there are.
    pub(crate) cells: u64,
    pub(crate) ops: I,
}

impl Lsm {
    /// Writes the set as a run, with the newest `with` runs in it.
    pub(crate) fn write_run<I>(
        &self,
        (view, write): (&View, &mut Write<'_>),
        changes: &mut Changes,
        draft: &mut Draft,
        set: Set<I>,
        with: usize,
    ) -> Result<(), Error>
    where
        I: Iterator<Item = (Small, Op<Small>)>,
    {
        let old = draft.take(set.keyspace, with);
        // Not one of the old: they are still read, and dropped below.
        let tree = draft.free_tree(write).filter(|tree| old.iter().all(|run| run.tree != *tree));
        let tree = tree.ok_or_else(|| Error::Corrupt {
            file: crate::PAGES.into(),
            what: "all numbers of runs are taken".into(),
        })?;
        let cells = old.iter().fold(set.cells, |cells, run| cells + view.len(run.tree));
        let mut filter = Filter::new(cells);
        let entries = set.ops.map(|(key, op)| match op {
            Op::Put(cell) => (key, cell),
            Op::Delete => (key, Small::from(&Cell::TOMB[..])),
        });
        let mut sources = Sources::new(entries, view, &old, Bound::Unbounded, false);
        let mut failed = None;
        let ops = std::iter::from_fn(|| match sources.next(changes) {
            Ok(entry) => entry.map(|(key, cell): Entry| {
                filter.add(hash(key.as_ref()));
                (key, Op::Put(cell))
            }),
            Err(error) => {
                failed = Some(error);
                None
            }
        });
        write.apply(tree, ops, &mut |_, _| {})?;
        if let Some(error) = failed {
            return Err(error);
        }
        for run in &old {
            write.drop_tree(run.tree)?;
        }
        let moved = old.iter().fold(set.moved, |moved, run| moved.saturating_add(run.moved));
        draft.push(set.keyspace, Run::new(tree, set.order, moved, filter));
        self.runs.written.fetch_add(1, Relaxed);
        self.runs.joined.fetch_add(u64::from(with > 0), Relaxed);
        Ok(())
    }
}
