//! Merging a keyspace's runs into its tree, a range of keys at a time.
//!
//! What must stay true: a piece takes the cells of a range out of *all* runs and puts
//! the newest of each key into the tree, in one commit; so what is left in runs is
//! newer than the tree wherever the piece ended. Runs that come meanwhile keep what is
//! in front of the pieces to come. A pass goes through the tree once; where it stands
//! is not kept on the disk: what is in front of it is gone from the runs it began with.

use std::ops::Bound;
use std::sync::atomic::Ordering::Relaxed;

use btree::Op;

use super::plan::bound;
use super::sources::Sources;
use super::{Draft, Runs};
use crate::flush::Flusher;
use crate::meta::Meta;
use crate::segments::Changes;
use crate::tree::Cell;
use crate::version::Version;
use crate::{Error, Lsm, PAGES, Step};

/// Bytes of pages that a cell costs in a merge, about: what bounds a piece.
const CELL_BYTES: usize = 128;

/// Pieces that a flush is followed by where nobody steps.
const PAID: usize = 8;

/// A pass on its way.
pub(crate) struct Merging {
    keyspace: u32,
    /// The last key that was merged.
    from: Option<Vec<u8>>,
}

impl Lsm {
    /// A keyspace whose runs are more than `times` what they may come to.
    fn due(&self, version: &Version, times: u64) -> Option<u32> {
        let over = |keyspace, runs: &[super::Run]| {
            let cells: u64 = runs.iter().map(|run| version.view.len(run.tree)).sum();
            cells > bound(&self.options, version.view.len(keyspace)).saturating_mul(times)
        };
        version.runs.keyspaces().find(|(k, runs)| over(*k, runs)).map(|(keyspace, _)| keyspace)
    }

    /// Whether merging is so far behind that it comes before flushing, or has its turn.
    /// Where commits wait for room they take turns however far it is behind.
    pub(crate) fn merges_first(&self, flusher: &mut Flusher) -> bool {
        flusher.merge_turn = !flusher.merge_turn;
        let version = self.version.load();
        let room = version.frozen.len() < self.options.max_frozen;
        flusher.merge_turn || (room && self.due(&version, 2).is_some())
    }

    /// One piece, if runs are large enough or a pass has begun.
    pub(crate) fn merge_piece(&self, flusher: &mut Flusher) -> Result<Option<Step>, Error> {
        let merged = self.try_merge(flusher);
        if merged.is_err() {
            flusher.merging = None;
        }
        self.health.look_for_damage(merged)
    }

    /// A few pieces, more than one set brings: for who flushes and is not followed by
    /// [`Lsm::step`]. Never a whole pass: others wait for the flusher's lock.
    pub(crate) fn pay_merges(&self, flusher: &mut Flusher) {
        if self.pace.attended() {
            return;
        }
        for _ in 0..PAID {
            // An error shows again in the next step, which is where it is told.
            if !matches!(self.merge_piece(flusher), Ok(Some(_))) {
                return;
            }
        }
    }

    fn try_merge(&self, flusher: &mut Flusher) -> Result<Option<Step>, Error> {
        let most = (self.options.gc_step_bytes / CELL_BYTES).max(2);
        let version = self.version.load_full();
        let view = &version.view;
        loop {
            let left = |merging: &Merging| !version.runs.of(merging.keyspace).is_empty();
            let merging = match flusher.merging.take().filter(left) {
                Some(merging) => merging,
                None => match self.due(&version, 1) {
                    Some(keyspace) => Merging { keyspace, from: None },
                    None => return Ok(None),
                },
            };
            let keyspace = merging.keyspace;
            let from = merging.from.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
            let runs = version.runs.of(keyspace);
            let mut changes = Changes::default();
            let mut sources = Sources::new(std::iter::empty(), view, runs, from, true);
            let mut cells = Vec::new();
            while cells.len() < most
                && let Some(entry) = sources.next(&mut changes)?
            {
                cells.push(entry);
            }
            let Some((last, _)) = cells.last() else {
                continue; // It ended where the piece before did.
            };
            let ended = cells.len() < most;
            let next = Merging { keyspace, from: Some(last.as_ref().to_vec()) };
            let ops = cells.iter().map(|(key, cell)| match Cell::is_tomb(cell.as_ref()) {
                true => (key, Op::Delete),
                false => (key, Op::Put(cell)),
            });

            let mut write = self.pages.begin();
            let applied = write.apply(keyspace, ops, &mut |_, old| changes.cell(keyspace, old))?;
            let mut taken = 0;
            for (tree, keys) in sources.given() {
                let given = keys.len() as u64;
                let key = |at: u32| &cells[at as usize].0;
                let keys = keys.into_iter().map(|at| (key(at), Op::<[u8; 0]>::Delete));
                let gone = write.apply(tree, keys, &mut |_, _| {})?;
                if gone.deleted != given {
                    let what = format!("run {tree} of keyspace {keyspace} changed under a merge");
                    return Err(Error::Corrupt { file: PAGES.into(), what });
                }
                taken += given;
            }
            let mut draft = Draft::new(&version.runs);
            let added =
                applied.inserted.cast_signed().saturating_sub(applied.deleted.cast_signed());
            draft.merged(keyspace, added, &write);
            let runs: Runs = draft.write(&mut write)?;
            // The tail stays: what a flush in progress has written is behind it.
            let meta = Meta { runs: runs.count(), ..Meta::decode(view.user(), PAGES)? };
            let view = self.switch(flusher, view, write, changes, meta)?;
            self.publish_trees(view, runs);
            flusher.merging = (!ended).then_some(next);
            self.runs.pieces.fetch_add(1, Relaxed);
            self.runs.merged.fetch_add(taken, Relaxed);
            return Ok(Some(Step::Merged { entries: taken }));
        }
    }
}
