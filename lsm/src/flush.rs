//! Flush: the oldest frozen set moves into the trees.
//!
//! The durability argument. At every moment the disk holds one version whole:
//! the trees of the last meta page, the value log up to the tail it names, and
//! the WAL from its `flushed_lsn` on. A flush of the commits up to a boundary
//! goes from that version to the next in this order:
//!
//! 1. values are appended to the value log, in key order, and synced. A crash
//!    leaves bytes beyond the tail the meta page names: the next open cuts them;
//! 2. the WAL is synced up to the boundary. The meta page will say that the log
//!    may start behind the boundary, so the log must reach it: else a power cut
//!    could leave a log that ends before `flushed_lsn`, and LSNs given twice;
//! 3. sorted batches are applied to copies of the pages, all trees and the
//!    segment table; these are synced, then one meta page is written with the
//!    roots, the tail, `flushed_lsn`, and synced. A crash before the meta page is
//!    whole leaves the old version, after it the new one. Both have all commits:
//!    the old one in the WAL, which was not touched;
//! 4. the version in memory is swapped: readers find in the trees what left the
//!    memtables in the same instant;
//! 5. WAL segments whose every frame is at or below the `flushed_lsn` of the
//!    *older* meta page are removed, if nobody else needs them (`retain.rs`). A
//!    crash in between leaves too many: replay starts behind `flushed_lsn`. And
//!    should the newer meta page rot, the older one's version is whole as well:
//!    its pages are not written over, its log is there.
//!
//! The types hold the order: step 3 takes [`Values`] and [`Logged`], which only
//! steps 1 and 2 make, step 4 takes [`Switched`], and step 5 reads what step 4
//! has published. After an error in any step the version in memory is the old
//! one and still right. Steps may be tried again: what step 1 has made durable is
//! kept and not appended twice, and the logs and the page file refuse by
//! themselves whatever cannot safely be repeated after a failed write or sync.

use std::sync::Arc;
use std::sync::atomic::Ordering::{Acquire, Release};

use btree::{Op, View};
use vlog::{Pointer, Tail};

use crate::memtable::Walk;
use crate::meta::Meta;
use crate::segments::Dead;
use crate::set::{MemSet, Table};
use crate::tree::Cell;
use crate::version::{Frozen, Version};
use crate::{Error, KeyspaceId, Lsm, Lsn};

/// What [`Lsm::step`] has done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Step {
    /// Nothing was waiting.
    Idle,
    /// A memtable set was flushed, up to this commit.
    Flushed(Lsn),
    /// So many WAL segments were removed.
    Trimmed(u64),
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

/// State of the one flush at a time.
#[derive(Default)]
pub(crate) struct Flusher {
    /// Values of a set whose flush failed later on.
    values: Option<Values>,
    /// The log was trimmed up to here.
    trimmed: Lsn,
}

/// Proof of step 1: the values of `set` are durable, here are their places, in
/// the order of keyspaces and keys, and the value log's tail behind them.
struct Values {
    set: Arc<MemSet>,
    pointers: Vec<Pointer>,
    tail: Tail,
}

/// Proof of step 2: the WAL is durable up to here.
struct Logged(Lsn);

/// Proof of step 3: the page file's durable version holds all commits up to here.
struct Switched(View, Lsn);

impl Lsm {
    /// One bounded piece of background work: flushes one frozen set, or removes
    /// WAL segments no longer needed.
    ///
    /// # Errors
    /// The store is as it was and goes on; the error stays in
    /// [`Stats::flush_error`](crate::Stats) until a flush succeeds.
    pub fn step(&self) -> Result<Step, Error> {
        let _wakes = self.pace.stepping();
        if self.archiving.has_turn()
            && let Some(step) = self.archive_step()
        {
            return Ok(step);
        }
        match self.store_step()? {
            Step::Idle => Ok(self.archive_step().unwrap_or(Step::Idle)),
            step => Ok(step),
        }
    }

    /// [`Lsm::step`] but for the archive.
    fn store_step(&self) -> Result<Step, Error> {
        if let Some(lsn) = self.flush_oldest(1)? {
            return Ok(Step::Flushed(lsn));
        }
        match self.trim_log()? {
            0 => Ok(Step::Idle),
            segments => Ok(Step::Trimmed(segments)),
        }
    }

    /// Moves everything committed so far into the trees, on this thread. Returns
    /// the LSN up to which it has.
    ///
    /// # Errors
    /// As [`Lsm::step`].
    pub fn flush(&self) -> Result<Lsn, Error> {
        let target = {
            // Within the bound of frozen sets, as a commit keeps it: when flushing
            // fails, asking again and again must not pile them up.
            let most = self.options.max_frozen;
            let _lock = loop {
                let lock = self.commit.lock();
                if self.version.load().frozen.len() < most {
                    break lock;
                }
                drop(lock);
                self.flush_oldest(most)?;
            };
            self.freeze();
            self.applied.load(Acquire)
        };
        while self.flushed_lsn() < target {
            if self.flush_oldest(1)?.is_none() {
                break;
            }
        }
        self.trim_log()?;
        Ok(self.flushed_lsn())
    }

    /// Under the commit lock: closes the active set, if it holds anything.
    pub(crate) fn freeze(&self) {
        let version = self.version.load_full();
        if version.active.is_empty() {
            return;
        }
        let last = self.applied.load(Acquire);
        let mut frozen = vec![Arc::new(Frozen { set: Arc::clone(&version.active), last })];
        frozen.extend(version.frozen.iter().cloned());
        self.version.store(Arc::new(Version {
            active: Arc::new(MemSet::new()),
            frozen,
            ..Version::clone(&version)
        }));
    }

    /// Flushes the oldest frozen set if at least so many wait; waits while
    /// another thread does.
    pub(crate) fn flush_oldest(&self, waiting: usize) -> Result<Option<Lsn>, Error> {
        let mut flusher = self.flusher.lock();
        let version = self.version.load_full();
        let oldest = match version.frozen.last() {
            Some(oldest) if version.frozen.len() >= waiting => oldest,
            _ => return Ok(None),
        };
        let outcome = self.flush_set(&mut flusher, &version, oldest);
        let outcome = self.health.look_for_damage(outcome);
        *self.flush_error.lock() = outcome.as_ref().err().map(ToString::to_string);
        outcome.map(|()| Some(oldest.last))
    }

    fn flush_set(
        &self,
        flusher: &mut Flusher,
        version: &Version,
        frozen: &Arc<Frozen>,
    ) -> Result<(), Error> {
        let values = match flusher.values.take() {
            Some(values) if Arc::ptr_eq(&values.set, &frozen.set) => values,
            _ => self.write_values(frozen)?,
        };
        let values = flusher.values.insert(values);
        let logged = self.sync_log(frozen)?;
        let switched = self.write_trees(version, frozen, values, &logged)?;
        flusher.values = None;
        self.publish(frozen, switched);
        Ok(())
    }

    /// Step 1.
    fn write_values(&self, frozen: &Frozen) -> Result<Values, Error> {
        let mut pointers = Vec::new();
        for table in frozen.set.tables().iter() {
            let mut walk = newest(table, frozen.last);
            while let (Some(key), Some(stored)) = (walk.key(), walk.stored()) {
                if let Some(value) = stored.value()
                    && value.len() > self.options.inline_max
                {
                    let at = self.values.append(table.keyspace, key, walk.lsn(), value)?;
                    pointers.push(at);
                }
                walk.forward();
            }
        }
        let tail = self.values.sync()?;
        Ok(Values { set: Arc::clone(&frozen.set), pointers, tail })
    }

    /// Step 2.
    fn sync_log(&self, frozen: &Frozen) -> Result<Logged, Error> {
        self.wait_durable(frozen.last)?;
        Ok(Logged(self.wal.durable_lsn()))
    }

    /// Step 3.
    fn write_trees(
        &self,
        version: &Version,
        frozen: &Frozen,
        values: &Values,
        logged: &Logged,
    ) -> Result<Switched, Error> {
        let boundary = frozen.last;
        assert!(logged.0 >= boundary, "the log is synced before the trees rest on it");
        assert!(version.flushed < boundary, "sets are flushed in their order");
        let view = &version.view;
        let mut write = self.pages.begin();
        let mut dead = Dead::default();
        let mut pointers = values.pointers.iter();
        for table in frozen.set.tables().iter() {
            let keyspace = table.keyspace;
            if table.floor(boundary) > 0 {
                dead.tree(view, KeyspaceId(keyspace))?;
                write.drop_tree(keyspace)?;
            }
            let ops = Ops {
                walk: newest(table, boundary),
                started: false,
                pointers: &mut pointers,
                inline_max: self.options.inline_max,
            };
            write.apply(keyspace, ops, &mut |_, old| dead.cell(keyspace, old))?;
        }
        assert!(pointers.next().is_none(), "each value's pointer is in a tree");
        dead.write(view, &mut write)?;
        let meta = Meta {
            flushed: boundary,
            tail: values.tail,
            wal_epoch: self.wal.epoch(),
            store: self.store,
        };
        write.set_user(meta.encode());
        Ok(Switched(write.commit()?, boundary))
    }

    /// Step 4.
    fn publish(&self, frozen: &Arc<Frozen>, Switched(view, boundary): Switched) {
        let lock = self.commit.lock();
        // New snapshots see at least what the trees hold: `version.rs` rests on
        // it. In sync mode too: the boundary is durable.
        self.visible.fetch_max(boundary, Release);
        let now = self.version.load_full();
        let mut left = now.frozen.clone();
        let done = left.pop().expect("only a flush takes sets away, and it is the only one");
        assert!(Arc::ptr_eq(&done, frozen), "the oldest set is the one that was flushed");
        let next = Version { frozen: left, view, flushed: boundary, ..Version::clone(&now) };
        drop((self.version.swap(Arc::new(next)), done));
        drop(lock);
        self.pace.flushed(frozen.set.bytes() as u64);
        self.bound_pins();
        // `now`, and with it perhaps the set, is freed here, outside the lock.
    }

    /// Step 5.
    pub(crate) fn trim_log(&self) -> Result<u64, Error> {
        let mut flusher = self.flusher.lock();
        let limit = self.trim_limit(self.flushed_lsn());
        if flusher.trimmed == limit {
            return Ok(0);
        }
        let outcome = self.wal.truncate_below(limit + 1);
        *self.trim_error.lock() = outcome.as_ref().err().map(ToString::to_string);
        let removed = outcome?;
        flusher.trimmed = limit;
        Ok(removed)
    }
}

/// The newest version of each key of a table, deletes included.
fn newest(table: &Table, boundary: Lsn) -> Walk {
    let mut walk = Walk::new(Arc::clone(&table.entries), boundary, table.floor(boundary));
    walk.first();
    walk
}

/// A table as operations on its tree.
struct Ops<'a, 'p> {
    walk: Walk,
    started: bool,
    pointers: &'a mut std::slice::Iter<'p, Pointer>,
    inline_max: usize,
}

impl Iterator for Ops<'_, '_> {
    type Item = (Vec<u8>, Op<Vec<u8>>);

    fn next(&mut self) -> Option<Self::Item> {
        if std::mem::replace(&mut self.started, true) {
            self.walk.forward();
        }
        let key = self.walk.key()?.to_vec();
        let Some(value) = self.walk.stored()?.value() else { return Some((key, Op::Delete)) };
        let cell = if value.len() <= self.inline_max {
            Cell::Inline(value)
        } else {
            Cell::Pointer(*self.pointers.next().expect("step 1 walked the same entries"))
        };
        let mut bytes = Vec::new();
        cell.encode_into(&mut bytes);
        Some((key, Op::Put(bytes)))
    }
}
