//! Online garbage collection of the value log.
//!
//! The durability argument. The trees name records by place; a segment of which
//! much is dead is emptied by naming its living records elsewhere:
//!
//! 1. the victim's records are read, a bounded piece per step, and those whose
//!    key's cell in the tree or a run is this very place are kept in memory, up to a bound;
//! 2. these are appended to the value log in the order of keyspaces and keys, and
//!    synced. A crash leaves bytes beyond the tail the meta page names: cut. Steps 1
//!    and 2 are done again and again until much was written anew;
//! 3. then one commit of the page file puts the new places where the old ones stand,
//!    counts the old ones dead, and moves the tail. A crash before it leaves the
//!    old places and the victim whole, after it the new ones, durable since 2;
//! 4. the version in memory is swapped. Readers of older versions go on reading
//!    the victim, which is still there;
//! 5. when the table counts no living byte in a sealed segment, no view older than
//!    the commit that made it so is left, and another commit was made since (the
//!    meta page before it names the segment, and is what is left if the newer one
//!    rots), its file is removed. After a crash the table says so again: no scan is
//!    needed, and no reader is left;
//! 6. its row goes with the next commit. Until then a row of which all is dead
//!    has no file, which is what `directory.rs` allows.
//!
//! Nothing is swapped that was written meanwhile: every step runs under the
//! flusher lock, under which alone trees change; a record whose key was flushed
//! between step 1 and 3 no longer stands in the tree of step 3, where each is
//! looked up again, and step 3 asserts that what it replaces is the old place.
//! What is newer and still in memory is not the trees' concern: it goes over the
//! new place as it would have gone over the old one. If step 3 fails for
//! want of room, or of a disk that works, it is tried again; what it gives up on is dead,
//! and the next commit of anything counts it so.
//!
//! A crash in the middle resumes: `Row::cleared` is moved by the commits of step
//! 3; what was moved is dead, and dead records stay dead.
//!
//! A record that does not check, or a page of a tree that does not: nobody knows
//! what lives behind it. The segment is left alone until the store is opened
//! again, named and counted in the stats; nothing of it is dropped.

mod collect;
mod graves;
mod moves;
mod pending;
mod unlink;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::AtomicU64;

use btree::View;
use parking_lot::Mutex;
use vlog::{Pointer, SegmentUse, Tail};

use crate::Lsn;
use crate::segments::Row;
use collect::Job;
pub(crate) use graves::bury;
use moves::Moves;
use pending::Pending;

/// While the store is at rest, collecting goes on to this share of dead bytes, in
/// percent, of a segment and of all: each byte freed costs up to twenty written.
pub(crate) const IDLE_RATIO: u32 = 5;

/// Segments, and what is written anew before the trees name it, are such a part of the
/// store.
const SHARE: u64 = 16;

/// The smallest segment it is worth to end one for.
const LEAST_SEGMENT: u64 = 4 << 20;

/// What is known of garbage, under the flusher lock.
pub(crate) struct Collector {
    /// The segment table as last committed, without the segments unlinked.
    rows: BTreeMap<u32, Row>,
    /// The tail as last committed: segments before it are sealed.
    tail: Tail,
    /// Sealed segments without anything alive, and the first version without them.
    retired: BTreeMap<u32, u64>,
    /// Unlinked segments whose rows are still in the table.
    pub(crate) gone: BTreeSet<u32>,
    /// The segment that could last not be removed; 0: all could.
    stuck: u32,
    /// Segments left alone.
    skipped: BTreeSet<u32>,
    /// Trees of dropped keyspaces left alone.
    sealed_graves: BTreeSet<u32>,
    job: Option<Job>,
    moves: Moves,
    /// What the rows count dead and somebody is about to name.
    pub(crate) pending: Pending,
    /// Victims that go one by one: a tree is damaged where some of them live, and it must
    /// show which.
    suspects: BTreeSet<u32>,
    /// A piece of what was moved was named since a flush had its turn.
    pub(crate) named_last: bool,
    /// Bytes flushed for which as many are to be freed before the next flush, as
    /// long as there is something to free: garbage does not outgrow the ratio
    /// however fast is written.
    debt: u64,
    /// The last commit when nothing was left to do, and since when that is so, in
    /// nanoseconds of the monotonic clock.
    pub(crate) idle: Option<(Lsn, u64)>,
}

/// Which share of dead bytes, in percent, makes a victim.
#[derive(Clone, Copy)]
pub(crate) struct Bar {
    /// Of a segment.
    pub(crate) segment: u32,
    /// Of all: below it nothing is collected.
    pub(crate) all: u32,
}

impl Bar {
    /// While there is other work. A little garbage is left to ripen: what is
    /// collected later has less alive in it.
    pub(crate) fn busy(ratio: u32) -> Bar {
        Bar { segment: ratio, all: ratio * 4 / 5 }
    }

    /// At rest.
    pub(crate) fn idle(ratio: u32) -> Bar {
        let ratio = ratio.min(IDLE_RATIO);
        Bar { segment: ratio, all: ratio }
    }
}

impl Collector {
    /// For a store just opened at the version of this epoch.
    pub(crate) fn new(
        rows: BTreeMap<u32, Row>,
        tail: Tail,
        there: &[vlog::SegmentInfo],
        epoch: u64,
    ) -> Self {
        let is_there = |id: &u32| there.iter().any(|info| info.id == *id);
        let (rows, gone): (BTreeMap<_, _>, BTreeMap<_, _>) =
            rows.into_iter().partition(|(id, _)| is_there(id));
        let mut collector = Collector {
            rows,
            tail,
            retired: BTreeMap::new(),
            gone: gone.into_keys().collect(),
            stuck: 0,
            skipped: BTreeSet::new(),
            sealed_graves: BTreeSet::new(),
            job: None,
            moves: Moves::default(),
            pending: Pending::default(),
            suspects: BTreeSet::new(),
            named_last: false,
            debt: 0,
            idle: None,
        };
        collector.note_retired(epoch);
        collector
    }

    /// After a commit that changed these rows, deleted those `gone`, and named so many
    /// bytes of segments.
    pub(crate) fn committed(
        &mut self,
        view: &View,
        rows: Vec<(u32, Row)>,
        named: BTreeMap<u32, u64>,
        tail: Tail,
    ) {
        self.rows.extend(rows);
        self.gone.clear();
        if self.tail != tail {
            self.pending.taken_in();
        }
        named.into_iter().for_each(|(segment, bytes)| self.pending.named(segment, bytes));
        self.tail = tail;
        self.note_retired(view.epoch());
    }

    /// Nobody will name these records, as of the version of this epoch.
    fn give_up(&mut self, places: impl IntoIterator<Item = Pointer>, epoch: u64) {
        places.into_iter().for_each(|at| self.pending.given_up(at, self.tail));
        self.note_retired(epoch);
    }

    fn note_retired(&mut self, epoch: u64) {
        let (rows, pending, retired) = (&self.rows, &self.pending, &mut self.retired);
        let is_dead = |id: &u32, row: &Row| pending.without(*id, *row).is_dead();
        retired.retain(|id, _| rows.get(id).is_some_and(|row| is_dead(id, row)));
        for (id, row) in rows.range(..self.tail.segment) {
            if is_dead(id, row) {
                retired.entry(*id).or_insert(epoch);
            }
        }
    }

    /// The rows, without what only waits to be named.
    fn rows(&self) -> impl Iterator<Item = (u32, Row)> + '_ {
        self.rows.iter().map(|(id, row)| (*id, self.pending.without(*id, *row)))
    }

    /// The best segment to collect below `bound`, if it is worth it.
    fn victim(&self, bar: Bar, bound: u32) -> Option<u32> {
        let (bytes, dead) = self.totals();
        if u128::from(dead) * 100 < u128::from(bytes) * u128::from(bar.all) {
            return None;
        }
        let uses: Vec<SegmentUse> = self.alive().map(|(id, row)| self.of(id, row, bound)).collect();
        let chosen = vlog::choose_garbage(&uses, bar.segment);
        let suspect = chosen.iter().find(|id| self.suspects.contains(id));
        suspect.or(chosen.first()).copied()
    }

    /// Whether the segment being written would be a victim if it were sealed.
    fn would_choose_tail(&self, bar: Bar) -> bool {
        let Some(row) = self.rows.get(&self.tail.segment) else { return false };
        let (bytes, dead) = self.totals();
        let over = |dead: u64, bytes: u64, ratio: u32| {
            dead > 0 && u128::from(dead) * 100 >= u128::from(bytes) * u128::from(ratio)
        };
        over(dead, bytes, bar.all) && over(row.dead, row.bytes, bar.segment) || row.is_dead()
    }

    fn of(&self, id: u32, row: Row, bound: u32) -> SegmentUse {
        let sealed = id < self.tail.segment.min(bound);
        SegmentUse { id, bytes: row.bytes, dead: row.dead, sealed }
    }

    /// Segments with something alive that may be looked at.
    fn alive(&self) -> impl Iterator<Item = (u32, Row)> + '_ {
        let usable = move |(id, row): &(u32, Row)| {
            !row.is_dead() && !self.skipped.contains(id) && !self.moves.has_ended(*id)
        };
        self.rows().filter(usable)
    }

    /// Bytes in them, and the dead ones.
    fn totals(&self) -> (u64, u64) {
        self.alive().fold((0, 0), |(bytes, dead), (_, row)| (bytes + row.bytes, dead + row.dead))
    }

    /// After a flush of so many bytes of values.
    pub(crate) fn owe(&mut self, bytes: u64) {
        self.debt = self.debt.saturating_add(bytes);
    }

    /// Nothing is owed any more.
    pub(crate) fn forgive(&mut self) {
        self.debt = 0;
    }

    /// Where a segment should end: small beside the store, so that the one being
    /// written, which cannot be collected, holds little of the garbage.
    pub(crate) fn segment_limit(&self, largest: u64) -> u64 {
        (self.totals().0 / SHARE).max(LEAST_SEGMENT).min(largest)
    }
}

impl Figures {
    pub(crate) fn new(collector: &Collector) -> Figures {
        let figures = Figures::default();
        figures.count(collector);
        figures
    }

    /// After the table changed, or a segment was removed.
    pub(crate) fn count(&self, collector: &Collector) {
        let rows = collector.rows();
        *self.usage.lock() =
            rows.fold((0, 0), |(bytes, dead), (_, row)| (bytes + row.bytes, dead + row.dead));
        let mut retired = BTreeMap::new();
        for (id, since) in &collector.retired {
            let bytes = collector.rows.get(id).map_or(0, |row| row.bytes);
            *retired.entry(since.saturating_sub(1)).or_default() += bytes;
        }
        *self.retired.lock() = retired;
    }
}

/// Figures for the stats, readable without the flusher lock.
#[derive(Default)]
pub(crate) struct Figures {
    /// Bytes of records in the segments there are, and the dead ones among them.
    pub(crate) usage: Mutex<(u64, u64)>,
    /// Bytes of segments without anything alive that are still there, by the
    /// epoch of the last version that names something in them.
    pub(crate) retired: Mutex<BTreeMap<u64, u64>>,
    /// Segments removed.
    pub(crate) segments: AtomicU64,
    /// Bytes of living records written again.
    pub(crate) moved: AtomicU64,
    /// Bytes of records written again that no tree names yet.
    pub(crate) waiting: AtomicU64,
    /// Bytes of records in segments removed.
    pub(crate) freed: AtomicU64,
    /// Segments left alone, and why.
    pub(crate) skipped: Mutex<BTreeMap<u32, String>>,
}
