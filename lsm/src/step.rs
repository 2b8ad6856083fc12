//! The one door for background work: a bounded piece per call.
//!
//! What must stay true:
//! * what frees space and writes nothing comes first: on a full disk it is the way out;
//! * garbage is collected as fast as values are flushed, as long as it is over the
//!   ratio: neither starves the other; the part of it that commits to the trees again and
//!   again, naming what was moved, takes turns with a flush that is due;
//! * nothing here is needed for a commit to be right or durable.

use std::sync::atomic::Ordering::{Acquire, Relaxed};

use crate::flush::Flusher;
use crate::gc::Bar;
use crate::{Error, Lsm, Lsn};

/// What [`Lsm::step`] has done. There will be more kinds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Step {
    /// Nothing was waiting.
    Idle,
    /// So many bytes of values of the set up to this commit were written; more
    /// of it is left.
    Flushing {
        /// The last commit of the set.
        to: Lsn,
        /// Bytes of records written by this step.
        bytes: u64,
    },
    /// A memtable set was flushed, up to this commit.
    Flushed(Lsn),
    /// Garbage in the value log: a piece of a segment was looked through, or a
    /// segment was removed.
    Collected {
        /// The segment.
        segment: u32,
        /// Bytes of living records that were written again.
        moved_bytes: u64,
        /// Bytes of records that went with the segment.
        freed_bytes: u64,
    },
    /// A piece of a dropped keyspace was freed.
    Cleared {
        /// Keys of it.
        entries: u64,
        /// Pages of the page file that are free now.
        pages: u64,
    },
    /// A piece of a keyspace's runs went into its tree.
    Merged {
        /// Entries taken out of runs.
        entries: u64,
    },
    /// A piece of the filter of a run that was there when the store was opened.
    Filtered {
        /// Entries of the run gone through.
        entries: u64,
    },
    /// So many files of the WAL were removed, or are kept to be used again.
    Trimmed(u64),
    /// So many bytes of the page file were given back; 0: that was prepared.
    Shrunk(u64),
    /// A piece of the log was copied to the archive.
    Archiving,
    /// All commits up to here are in the archive.
    Archived {
        /// The last of them.
        to: Lsn,
    },
    /// A copy to the archive failed; [`ArchiveStats`](crate::ArchiveStats) have the
    /// reason. It is tried again later.
    ArchiveFailed,
    /// The archive's oldest file was removed for its age.
    ArchivePruned {
        /// The last commit in it.
        to: Lsn,
    },
}

/// How much waits for its flush: what backpressure goes by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Debt {
    /// Bytes of memory of the active set.
    pub active_bytes: usize,
    /// Frozen sets.
    pub frozen: usize,
    /// Bytes of memory of them.
    pub frozen_bytes: usize,
    /// Bytes of values of the oldest of them that are already written.
    pub flushed_bytes: u64,
}

impl Lsm {
    /// One bounded piece of background work: removes a segment that is all
    /// garbage, removes WAL segments no longer needed, flushes a piece of a frozen
    /// set, merges a piece of runs into a tree, frees a piece of a dropped keyspace,
    /// collects a piece of garbage, gives the end of the page file back. In turns with
    /// all that a piece of the log's archive, unless an
    /// [`ArchiveStepper`](crate::ArchiveStepper) lives.
    ///
    /// # Errors
    /// The store is as it was and goes on; the error of a flush stays in
    /// [`Stats::flush_error`](crate::Stats) until one succeeds. Other errors are told
    /// when there is nothing else to do, so that none keeps the rest from its turn.
    pub fn step(&self) -> Result<Step, Error> {
        let _wakes = self.pace.stepping();
        if self.archiving.has_turn()
            && let Some(step) = self.archive_in_step()
        {
            return Ok(step);
        }
        match self.store_step()? {
            Step::Idle => Ok(self.archive_in_step().unwrap_or(Step::Idle)),
            step => Ok(step),
        }
    }

    /// [`Lsm::step`] but for the archive.
    fn store_step(&self) -> Result<Step, Error> {
        let mut flusher = self.flusher.lock();
        let flusher = &mut *flusher;
        // What fails here must not keep flushes from commits that wait for them, nor
        // one kind of work from another: it is told once nothing else is to do.
        let mut failed = None;
        match self.unlink(flusher) {
            Ok(Some(step)) => return Ok(step),
            Ok(None) => {}
            Err(error) => failed = Some(error),
        }
        // However much waits for its flush: the log must not outgrow that.
        match self.trim(flusher) {
            Ok(0) => {}
            Ok(segments) => return Ok(Step::Trimmed(segments)),
            Err(error) => drop(failed.get_or_insert(error)),
        }
        let bar = Bar::busy(self.options.gc_dead_ratio);
        let now = self.applied.load(Acquire);
        // Nothing was committed since there was first nothing to do, long enough ago.
        let since = flusher.gc.idle.filter(|(lsn, _)| *lsn == now).map(|(_, since)| since);
        let rested = |since| self.clock.monotonic_nanos().saturating_sub(since);
        let rest_after = self.options.rest_after.as_nanos();
        let idle = since.is_some_and(|since| u128::from(rested(since)) >= rest_after);
        let mut reclaims = true;
        if self.owes_garbage(flusher) && !self.flush_has_turn(flusher) {
            match self.reclaim(flusher, bar, idle) {
                Ok(None) => {}
                Ok(Some(step)) => return Ok(step),
                Err(error) => {
                    flusher.gc.forgive();
                    reclaims = false;
                    failed.get_or_insert(error);
                }
            }
        }
        // In turns with all that follows: flushes must not wait for it.
        flusher.filter_turn = !flusher.filter_turn;
        if flusher.filter_turn {
            match self.filter_piece(flusher) {
                Ok(None) => {}
                Ok(Some(step)) => return Ok(step),
                Err(error) => drop(failed.get_or_insert(error)),
            }
        }
        let mut merges = true;
        if self.merges_first(flusher) {
            match self.merge_piece(flusher) {
                Ok(None) => {}
                Ok(Some(step)) => return Ok(step),
                Err(error) => {
                    merges = false;
                    failed.get_or_insert(error);
                }
            }
        }
        flusher.gc.named_last = false;
        match self.flush_piece(flusher, 1) {
            Ok(None) => {}
            Ok(Some(step)) => return Ok(step),
            Err(error) => {
                // Less room may be enough to free some.
                if error.shortage().is_some() {
                    if reclaims && let Ok(Some(step)) = self.reclaim(flusher, bar, idle) {
                        return Ok(step);
                    }
                    if let Ok(Some(step)) = self.pass_retired(flusher) {
                        return Ok(step);
                    }
                }
                return Err(error);
            }
        }
        if merges {
            match self.merge_piece(flusher) {
                Ok(None) => {}
                Ok(Some(step)) => return Ok(step),
                Err(error) => drop(failed.get_or_insert(error)),
            }
        }
        if !flusher.filter_turn {
            match self.filter_piece(flusher) {
                Ok(None) => {}
                Ok(Some(step)) => return Ok(step),
                Err(error) => drop(failed.get_or_insert(error)),
            }
        }
        if reclaims {
            match self.reclaim(flusher, bar, idle) {
                Ok(None) => {}
                Ok(Some(step)) => return Ok(step),
                Err(error) => drop(failed.get_or_insert(error)),
            }
        }
        if idle {
            match self.spare_time(flusher) {
                Ok(None) => {}
                Ok(Some(step)) => return Ok(step),
                Err(error) => drop(failed.get_or_insert(error)),
            }
        }
        if since.is_none() {
            flusher.gc.idle = Some((now, self.clock.monotonic_nanos()));
        }
        failed.map_or(Ok(Step::Idle), Err)
    }

    /// What is done only at rest.
    fn spare_time(&self, flusher: &mut Flusher) -> Result<Option<Step>, Error> {
        if let Some(step) = self.tidy(flusher)? {
            return Ok(Some(step));
        }
        if let Some(shrunk) = self.pages.shrink()? {
            if shrunk.view.epoch() != self.version.load().view.epoch() {
                self.publish_view(shrunk.view);
            }
            return Ok(Some(Step::Shrunk(shrunk.bytes)));
        }
        self.rest_log(flusher)
    }

    /// How much waits for its flush. Takes no lock.
    pub fn debt(&self) -> Debt {
        let version = self.version.load();
        Debt {
            active_bytes: version.active.bytes(),
            frozen: version.frozen.len(),
            frozen_bytes: version.frozen.iter().map(|frozen| frozen.set.bytes()).sum(),
            flushed_bytes: self.flushed_bytes.load(Relaxed),
        }
    }
}
