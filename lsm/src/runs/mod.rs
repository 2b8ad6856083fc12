//! Delta runs: sorted pieces of a keyspace beside its tree, newer than it.
//!
//! A flush that would write most leaves of a large tree anew for a few keys in each
//! writes its cells as a *run* instead: a small tree of its own, in full pages. Runs
//! are merged with each other, and once they are large beside the tree, into it.
//!
//! The argument of crash safety. A run is a tree of the page file like any other; that
//! it is a run, of which keyspace and how new, says the table of runs (`table.rs`), a
//! tree too. Whatever moves cells does so in one commit of the page file:
//!
//! * a flush writes a run and its row in step 3 of `flush.rs`, where it would have
//!   written the tree: the version before has neither, the one after has both, and the
//!   log is cut up to there only then;
//! * runs merged with a set (`write.rs`): the commit that makes the new run drops the
//!   old ones. Of a key only the newest cell stays;
//! * runs merged into the tree (`merge.rs`) go in pieces: one commit puts the newest
//!   cells of a range of keys into the tree *and* deletes that range from each run. So
//!   every version has each cell once, wherever the last piece ended: a crash leaves
//!   runs with a hole, which is what they are anyway;
//! * a drop buries the keyspace's runs with its tree, in the commit of its flush.
//!
//! What must stay true:
//! * runs of a keyspace are ordered by `order`, the boundary of the newest set in
//!   them; a newer run's cell hides older ones and the tree's, a tombstone hides the
//!   key. Nothing is put into the tree beside its runs but by a merge: a set is newer
//!   than all runs;
//! * a record of the value log is named by one cell at most, of a tree or a run. It
//!   counts as alive until that cell goes, though a newer run may hide it: it is
//!   counted dead by the merge that meets both, once. So collecting moves it while it
//!   is named, and swaps the place in whichever tree names it;
//! * a keyspace's keys are those its tree has and what its runs have moved: each piece
//!   of a merge takes from `moved` what it adds to the tree (`count.rs`);
//! * a filter has each key of its run. It may have more: a merge takes keys from the
//!   run only. Without one (after an opening, until [`Lsm::step`](crate::Lsm::step) has
//!   built it) the run itself is looked into.

mod filter;
mod merge;
mod plan;
mod sources;
mod table;
mod write;

use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, OnceLock};

use btree::View;
use vlog::Pointer;

use crate::tree::Cell;
use crate::version::Version;
use crate::{Error, KeyspaceId, Lsn};

pub(crate) use filter::{Building, hash};
pub(crate) use merge::Merging;
pub(crate) use plan::{Way, choose};
pub(crate) use table::{Draft, load};
pub(crate) use write::Set;

use filter::Filter;

/// Runs of a keyspace at a time.
pub(crate) const SLOTS: usize = 4;

/// A run of a keyspace.
#[derive(Clone, Debug)]
pub(crate) struct Run {
    /// Its tree.
    pub(crate) tree: u32,
    /// All commits of the keyspace up to here are in it, older runs and the tree.
    pub(crate) order: Lsn,
    /// By how much its commits moved the keyspace's number of keys.
    pub(crate) moved: i64,
    filter: Arc<OnceLock<Filter>>,
}

impl Run {
    /// Whether it may have a key of this hash.
    #[inline]
    pub(crate) fn may_have(&self, hash: u64) -> bool {
        self.filter.get().is_none_or(|filter| filter.may_have(hash))
    }

    fn has_filter(&self) -> bool {
        self.filter.get().is_some()
    }
}

/// The runs of all keyspaces, as of one version.
#[derive(Clone, Debug, Default)]
pub(crate) struct Runs(Arc<BTreeMap<u32, Vec<Run>>>);

impl Runs {
    /// Of one keyspace, newest first.
    #[inline]
    pub(crate) fn of(&self, keyspace: u32) -> &[Run] {
        if self.0.is_empty() {
            return &[];
        }
        self.0.get(&keyspace).map_or(&[], Vec::as_slice)
    }

    /// Keyspaces that have some, and theirs, newest first.
    pub(crate) fn keyspaces(&self) -> impl Iterator<Item = (u32, &[Run])> {
        self.0.iter().map(|(keyspace, runs)| (*keyspace, runs.as_slice()))
    }

    fn all(&self) -> impl Iterator<Item = &Run> {
        self.0.values().flatten()
    }

    /// How many there are.
    pub(crate) fn count(&self) -> u32 {
        u32::try_from(self.all().count()).unwrap_or(u32::MAX)
    }

    /// The keyspace of each tree that is a run.
    pub(crate) fn trees(&self) -> BTreeMap<u32, u32> {
        let each = |(keyspace, runs): (u32, &[Run])| {
            runs.iter().map(|run| (run.tree, keyspace)).collect::<Vec<_>>()
        };
        self.keyspaces().flat_map(each).collect()
    }

    /// How many there are, and the entries in them.
    pub(crate) fn totals(&self, view: &View) -> (usize, u64) {
        self.all().fold((0, 0), |(runs, entries), run| (runs + 1, entries + view.len(run.tree)))
    }
}

/// Figures since the store was opened.
#[derive(Default)]
pub(crate) struct Figures {
    /// Runs written.
    pub(crate) written: AtomicU64,
    /// Of them, those that took older ones in.
    pub(crate) joined: AtomicU64,
    /// Pieces of merges into trees.
    pub(crate) pieces: AtomicU64,
    /// Entries taken out of runs by them.
    pub(crate) merged: AtomicU64,
}

impl Version {
    /// The newest cell of a key among runs and tree; tombstones are none.
    #[inline]
    pub(crate) fn cell(
        &self,
        keyspace: KeyspaceId,
        key: &[u8],
    ) -> Result<Option<btree::Value>, Error> {
        let runs = self.runs.of(keyspace.0);
        if !runs.is_empty() {
            let hash = hash(key);
            for run in runs.iter().filter(|run| run.may_have(hash)) {
                if let Some(cell) = self.view.get(run.tree, key)? {
                    return Ok((!Cell::is_tomb(&cell)).then_some(cell));
                }
            }
        }
        Ok(self.view.get(keyspace.0, key)?)
    }

    /// The tree that names a record: the keyspace's own or one of its runs.
    pub(crate) fn names(
        &self,
        at: Pointer,
        keyspace: u32,
        key: &[u8],
    ) -> Result<Option<u32>, Error> {
        let is = |tree| -> Result<bool, Error> {
            let Some(cell) = self.view.get(tree, key)? else { return Ok(false) };
            Ok(Cell::decode_in(tree, &cell)? == Cell::Pointer(at))
        };
        let runs = self.runs.of(keyspace);
        if !runs.is_empty() {
            let hash = hash(key);
            for run in runs.iter().filter(|run| run.may_have(hash)) {
                if is(run.tree)? {
                    return Ok(Some(run.tree));
                }
            }
        }
        Ok(is(keyspace)?.then_some(keyspace))
    }
}
