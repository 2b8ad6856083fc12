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
//!    segment table, or written as runs beside them (`runs/`); these are synced, then one meta page is written with the
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
//! The types hold the order: step 3 takes [`Values`] with a tail and [`Logged`],
//! which only steps 1 and 2 make, step 4 takes [`Switched`], and step 5 reads what
//! step 4 has published. After an error in any step the version in memory is the
//! old one and still right. Steps may be tried again: what step 1 has made durable
//! is kept and not appended twice, and the logs and the page file refuse by
//! themselves whatever cannot safely be repeated after a failed write or sync.
//!
//! Step 1 goes in pieces, each synced: [`Lsm::step`] returns between them, and the
//! disk is not given one long sync that a commit's would wait behind. Other
//! commits of the page file may come in between (`gc/`): their tail takes in what
//! a flush has written so far, as dead; the flush's own commit names it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use btree::{Op, View, Write};
use vlog::{Pointer, Tail};

use crate::gc::{self, Collector};
use crate::memtable::Walk;
use crate::meta::Meta;
use crate::pace::Done;
use crate::runs::{self, Building, Draft, Merging, Runs, Way};
use crate::segments::Changes;
use crate::set::{MemSet, Table};
use crate::small::Small;
use crate::tree::Cell;
use crate::version::{Frozen, Version};
use crate::{Error, Lsm, Lsn, PAGES, Step};

/// Bounds of the bytes of values that one piece of a flush appends and syncs.
const PIECE: std::ops::RangeInclusive<usize> = 4 << 10..=4 << 20;

/// State of the one flush at a time, and of all else that commits to the page file.
pub(crate) struct Flusher {
    /// The values of a set whose flush is not done.
    values: Option<Values>,
    /// The log was trimmed up to here.
    trimmed: Lsn,
    pub(crate) gc: Collector,
    /// A pass of runs into a tree.
    pub(crate) merging: Option<Merging>,
    /// Merging comes before flushing this time.
    pub(crate) merge_turn: bool,
    /// A filter for a run that has none yet.
    pub(crate) building: Option<Building>,
    /// Filters come before flushing this time.
    pub(crate) filter_turn: bool,
    /// Runs, by tree and order, that cannot be read whole to make one.
    pub(crate) no_filter: BTreeSet<(u32, u64)>,
}

impl Flusher {
    pub(crate) fn new(gc: Collector) -> Self {
        Flusher {
            values: None,
            trimmed: 0,
            gc,
            merging: None,
            merge_turn: false,
            building: None,
            filter_turn: false,
            no_filter: BTreeSet::new(),
        }
    }

    /// Segments from this one on hold records that only a flush or a collection in
    /// progress knows.
    pub(crate) fn bound(&self) -> u32 {
        let first = self.values.as_ref().and_then(|values| values.pointers.first());
        first.map_or(u32::MAX, |at| at.segment).min(self.gc.bound())
    }
}

/// The values of a set on their way; with a tail, proof of step 1.
struct Values {
    set: Arc<MemSet>,
    /// When it was begun, in monotonic nanoseconds.
    begun: u64,
    /// Places of the values that are durable, in the order of keyspaces and keys.
    pointers: Vec<Pointer>,
    /// Bytes of them.
    bytes: u64,
    /// The table, by its place, and the key to go on with.
    next: (usize, Option<Vec<u8>>),
    /// All are durable; the value log's tail behind them.
    tail: Option<Tail>,
}

impl Values {
    /// How much of a flush this is, in bytes of the set's memory: writing the
    /// values is about the half of it.
    fn paid(&self, frozen: &Frozen) -> u64 {
        (self.bytes / 2).min(frozen.set.bytes() as u64 / 2)
    }
}

/// How far a flush got.
enum Flushed {
    /// There is more of this set.
    Piece {
        bytes: u64,
    },
    Whole(Lsn),
}

/// Proof of step 2: the WAL is durable up to here.
struct Logged(Lsn);

/// Proof of step 3: the page file's durable version holds all commits up to here.
struct Switched(View, Runs, Lsn);

impl Lsm {
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
        if version.frozen.is_empty() {
            self.pace.begins(self.clock.monotonic_nanos());
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
    /// another thread does. Then frees as much garbage as it has made room for.
    pub(crate) fn flush_oldest(&self, waiting: usize) -> Result<Option<Lsn>, Error> {
        let mut flusher = self.flusher.lock();
        loop {
            match self.flush_piece(&mut flusher, waiting)? {
                None => return Ok(None),
                Some(Step::Flushed(lsn)) => {
                    self.pay_merges(&mut flusher);
                    self.pay_garbage(&mut flusher);
                    return Ok(Some(lsn));
                }
                Some(_) => {}
            }
        }
    }

    /// One piece of the flush of the oldest frozen set, if at least so many wait.
    pub(crate) fn flush_piece(
        &self,
        flusher: &mut Flusher,
        waiting: usize,
    ) -> Result<Option<Step>, Error> {
        let version = self.version.load_full();
        let oldest = match version.frozen.last() {
            Some(oldest) if version.frozen.len() >= waiting => oldest,
            _ => return Ok(None),
        };
        let outcome = self.flush_set(flusher, &version, oldest);
        let outcome = self.health.look_for_damage(outcome);
        *self.flush_error.lock() = outcome.as_ref().err().map(ToString::to_string);
        outcome.map(|flushed| {
            Some(match flushed {
                Flushed::Piece { bytes } => Step::Flushing { to: oldest.last, bytes },
                Flushed::Whole(lsn) => Step::Flushed(lsn),
            })
        })
    }

    /// One piece of step 1, or steps 2 to 4. A set that is one piece goes whole.
    fn flush_set(
        &self,
        flusher: &mut Flusher,
        version: &Version,
        frozen: &Arc<Frozen>,
    ) -> Result<Flushed, Error> {
        let same = |values: &Values| Arc::ptr_eq(&values.set, &frozen.set);
        if !flusher.values.as_ref().is_some_and(same) {
            self.end_large_segment(flusher)?;
            flusher.values = Some(Values {
                set: Arc::clone(&frozen.set),
                begun: self.clock.monotonic_nanos(),
                pointers: Vec::new(),
                bytes: 0,
                next: (0, None),
                tail: None,
            });
        }
        let values = flusher.values.as_mut().expect("it was just put there");
        if values.tail.is_none() {
            let begun = values.bytes > 0;
            let (before, there) = (values.paid(frozen), values.pointers.len());
            let bytes = self.write_values(frozen, values)?;
            values.pointers[there..].iter().for_each(|at| flusher.gc.pending.wrote(*at));
            self.flushed_bytes.store(values.bytes, Relaxed);
            self.pace.progress(values.paid(frozen) - before);
            if begun || values.tail.is_none() {
                return Ok(Flushed::Piece { bytes });
            }
        }
        let logged = self.sync_log(frozen)?;
        let switched = self.write_trees(flusher, version, frozen, &logged)?;
        // Only now is dead what this set has replaced: the best time to collect.
        let (written, begun) =
            flusher.values.take().map_or((0, 0), |values| (values.bytes, values.begun));
        flusher.gc.owe(written);
        self.publish(frozen, switched);
        self.timings.flushes.record(self.clock.monotonic_nanos().saturating_sub(begun));
        self.flushed_bytes.store(0, Relaxed);
        Ok(Flushed::Whole(frozen.last))
    }

    /// A piece of step 1: what it appends counts once it is synced, or not at all.
    /// Returns the bytes it made durable.
    fn write_values(&self, frozen: &Frozen, values: &mut Values) -> Result<u64, Error> {
        let most = self.options.vlog_buffer_bytes.clamp(*PIECE.start(), *PIECE.end()) as u64;
        let tables = frozen.set.tables();
        let (first, mut key) = values.next.clone();
        let (mut pointers, mut bytes, mut next) = (Vec::new(), 0, None);
        'tables: for (i, table) in tables.iter().enumerate().skip(first) {
            let mut walk = newest(table, frozen.last);
            if let Some(key) = key.take() {
                walk.seek_from(&key, true);
            }
            while let (Some(key), Some(stored)) = (walk.key(), walk.stored()) {
                if bytes >= most {
                    next = Some((i, Some(key.to_vec())));
                    break 'tables;
                }
                if let Some(value) = stored.value()
                    && value.len() > self.options.inline_max
                {
                    let at = self.values.append(table.keyspace, key, walk.lsn(), value)?;
                    pointers.push(at);
                    bytes += u64::from(at.len);
                }
                walk.forward();
            }
        }
        let tail = self.values.sync()?;
        values.pointers.append(&mut pointers);
        values.bytes += bytes;
        match next {
            Some(next) => values.next = next,
            None => values.tail = Some(tail),
        }
        Ok(bytes)
    }

    /// Goes on in a new segment of the value log if the one being written is
    /// large beside the store.
    pub(crate) fn end_large_segment(&self, flusher: &Flusher) -> Result<(), Error> {
        let limit = flusher.gc.segment_limit(self.options.vlog_segment_bytes);
        if self.values.segments().last().is_some_and(|tail| tail.bytes >= limit) {
            self.values.roll()?;
        }
        Ok(())
    }

    /// Step 2.
    fn sync_log(&self, frozen: &Frozen) -> Result<Logged, Error> {
        self.wait_durable(frozen.last)?;
        Ok(Logged(self.wal.durable_lsn()))
    }

    /// Step 3.
    fn write_trees(
        &self,
        flusher: &mut Flusher,
        version: &Version,
        frozen: &Frozen,
        logged: &Logged,
    ) -> Result<Switched, Error> {
        let boundary = frozen.last;
        assert!(logged.0 >= boundary, "the log is synced before the trees rest on it");
        assert!(version.flushed < boundary, "sets are flushed in their order");
        let values = flusher.values.as_ref().expect("step 1 comes before step 3");
        assert!(values.tail.is_some(), "the values are durable before the trees name them");
        let view = &version.view;
        let mut write = self.pages.begin();
        let mut changes = Changes::default();
        let mut draft = Draft::new(&version.runs);
        let mut done = Done::new(&self.pace, values.paid(frozen));
        let mut pointers = values.pointers.iter();
        for table in frozen.set.tables().iter() {
            let keyspace = table.keyspace;
            if table.floor(boundary) > 0 {
                let runs = draft.take_all(keyspace);
                for tree in runs.iter().map(|run| run.tree).chain([keyspace]) {
                    gc::bury(view, &mut write, &mut changes, tree)?;
                }
            }
            let (runs, keys) = (draft.of(keyspace), write.len(keyspace));
            let walk = newest(table, boundary);
            let way = runs::choose(&self.options, view, keyspace, keys, runs, walk)?;
            let ops = Ops {
                walk: newest(table, boundary),
                started: false,
                pointers: &mut pointers,
                done: &mut done,
                inline_max: self.options.inline_max,
                versioned: table.versioned.load(Relaxed),
                cell: Vec::new(),
            };
            match way {
                Way::Tree => {
                    write.apply(keyspace, ops, &mut |_, old| changes.cell(keyspace, old))?;
                }
                Way::Run { with, cells } => {
                    let moved = table.moved.load(Relaxed);
                    let set = runs::Set { keyspace, order: boundary, moved, cells, ops };
                    let trees = (view, &mut write);
                    self.write_run(trees, &mut changes, &mut draft, set, with)?;
                }
            }
        }
        assert!(pointers.next().is_none(), "each value's pointer is in a tree");
        values.pointers.iter().for_each(|at| changes.named(*at));
        // Not the tail of step 1: a collection may have appended since.
        let tail = self.values.sync()?;
        let wal_epoch = self.wal.epoch();
        let runs = draft.write(&mut write)?;
        let wall = Meta::decode(view.user(), PAGES)?.wall.max(frozen.set.wall());
        let (store, runs_there) = (self.store, runs.count());
        let meta = Meta { flushed: boundary, tail, runs: runs_there, wal_epoch, store, wall };
        Ok(Switched(self.switch(flusher, view, write, changes, meta)?, runs, boundary))
    }

    /// The commit of the page file that moves everything: trees, table of
    /// segments and meta page, from `view` on, which must be the version of now.
    pub(crate) fn switch(
        &self,
        flusher: &mut Flusher,
        view: &View,
        mut write: Write<'_>,
        changes: Changes,
        meta: Meta,
    ) -> Result<View, Error> {
        let tails = (Meta::decode(view.user(), PAGES)?.tail, meta.tail);
        let named = changes.named_bytes().clone();
        let rows = changes.write(view, &mut write, &self.values, tails, &flusher.gc.gone)?;
        write.set_user(meta.encode());
        let before = view.epoch();
        let view = write.commit()?;
        if view.epoch() > before {
            self.retain.committed(meta.flushed);
        }
        flusher.gc.committed(&view, rows, named, meta.tail);
        self.gc.count(&flusher.gc);
        Ok(view)
    }

    /// Step 4.
    fn publish(&self, frozen: &Arc<Frozen>, switched: Switched) {
        let Switched(view, runs, boundary) = switched;
        let lock = self.commit.lock();
        // New snapshots see at least what the trees hold: `version.rs` rests on
        // it. In sync mode too: the boundary is durable.
        self.visible.fetch_max(boundary, Release);
        let now = self.version.load_full();
        let mut left = now.frozen.clone();
        let done = left.pop().expect("only a flush takes sets away, and it is the only one");
        assert!(Arc::ptr_eq(&done, frozen), "the oldest set is the one that was flushed");
        let next = Version { frozen: left, view, runs, flushed: boundary, ..Version::clone(&now) };
        drop((self.version.swap(Arc::new(next)), done));
        self.pace.flushed(frozen.set.bytes() as u64, self.clock.monotonic_nanos());
        drop(lock);
        self.bound_pins();
        // `now`, and with it perhaps the set, is freed here, outside the lock.
    }

    /// As step 4, for a commit that has moved what is in the trees elsewhere.
    pub(crate) fn publish_view(&self, view: View) {
        let runs = self.version.load().runs.clone();
        self.publish_trees(view, runs);
    }

    /// As [`Lsm::publish_view`], with other runs.
    pub(crate) fn publish_trees(&self, view: View, runs: Runs) {
        let lock = self.commit.lock();
        let now = self.version.load_full();
        drop(self.version.swap(Arc::new(Version { view, runs, ..Version::clone(&now) })));
        drop(lock);
        self.bound_pins();
    }

    /// Step 5.
    pub(crate) fn trim_log(&self) -> Result<u64, Error> {
        self.trim(&mut self.flusher.lock())
    }

    pub(crate) fn trim(&self, flusher: &mut Flusher) -> Result<u64, Error> {
        let limit = self.trim_limit();
        if flusher.trimmed == limit {
            return Ok(0);
        }
        let outcome = self.wal.truncate_below(limit + 1);
        *self.trim_error.lock() = outcome.as_ref().err().map(ToString::to_string);
        let removed = outcome?;
        // What is not yet durable, or whose successor is not, stays for now: then there
        // is something left to do at this limit.
        if self.wal.segments().get(1).is_none_or(|second| second.first_lsn > limit + 1) {
            flusher.trimmed = limit;
        }
        Ok(removed)
    }

    /// A commit without a change: now the older meta page too has what the newer has.
    pub(crate) fn commit_again(&self, flusher: &mut Flusher) -> Result<(), Error> {
        let view = self.version.load().view.clone();
        let meta = Meta::decode(view.user(), PAGES)?;
        let mut write = self.pages.begin();
        write.anyway();
        let view = self.switch(flusher, &view, write, Changes::default(), meta)?;
        self.publish_view(view);
        Ok(())
    }

    /// At rest: a commit for the log's segments that only the older meta page needs, no
    /// files kept to be used again, and a new segment for one that nobody needs.
    pub(crate) fn rest_log(&self, flusher: &mut Flusher) -> Result<Option<Step>, Error> {
        if self.retain.older_holds(&self.wal.segments()) && self.pages.poisoned().is_none() {
            self.commit_again(flusher)?;
            return Ok(Some(Step::Trimmed(self.trim(flusher)?)));
        }
        let gone = self.wal.keep_spares(0)? as u64;
        let flushed = self.flushed_lsn() == self.applied.load(Acquire);
        let sound = self.wal.poisoned().is_none();
        // For who is behind and needs the one there is, it would stay, and count against him.
        let needed = self.retain.needs(self.applied.load(Acquire));
        if gone == 0 && flushed && sound && !needed && self.wal.segments().len() == 1 {
            // Its file may have been used before, and be as long as a segment ever is.
            match self.wal.rotate_now().map_err(Error::from) {
                // It goes now, or once the older meta page does not need it.
                Ok(true) => return Ok(Some(Step::Trimmed(self.trim(flusher)?))),
                Ok(false) => {}
                Err(error) if error.shortage().is_some() => {}
                Err(error) => return Err(error),
            }
        }
        Ok((gone > 0).then_some(Step::Trimmed(gone)))
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
    done: &'a mut Done<'p>,
    inline_max: usize,
    /// Short values keep their LSN.
    versioned: bool,
    /// Scratch.
    cell: Vec<u8>,
}

impl Iterator for Ops<'_, '_> {
    type Item = (Small, Op<Small>);

    fn next(&mut self) -> Option<Self::Item> {
        if std::mem::replace(&mut self.started, true) {
            self.walk.forward();
        }
        let key = Small::from(self.walk.key()?);
        let Some(value) = self.walk.stored()?.value() else {
            self.done.entry(key.as_ref().len());
            return Some((key, Op::Delete));
        };
        self.done.entry(key.as_ref().len() + value.len());
        let cell = if value.len() <= self.inline_max {
            Cell::Inline(value, if self.versioned { self.walk.lsn() } else { 0 })
        } else {
            Cell::Pointer(*self.pointers.next().expect("step 1 walked the same entries"))
        };
        cell.encode_into(&mut self.cell);
        Some((key, Op::Put(Small::from(&self.cell[..]))))
    }
}
