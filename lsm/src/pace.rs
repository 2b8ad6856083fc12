//! Backpressure: who writes faster than flushes go waits, first a little, then
//! wholly, for the thread that takes the background steps.
//!
//! While another set may be frozen nobody waits. Once as many wait for their flush
//! as may, commits are spread over the time that the flush of the oldest will still
//! take, as far as the sets before it tell: a commit that takes a hundredth of the
//! room left in the active set is followed by a pause of a hundredth of that time.
//! So writers are slowed to what flushes (and the collecting and trimming between
//! them) take, by waits that are short and many, not long and few; if the guess was
//! too good the room shrinks faster than the work, and the pauses grow. At the bound
//! itself (the active set full, no set more may be frozen) a commit waits for room.
//!
//! What must stay true:
//! * a commit waits for background work only while somebody has said that he does
//!   it ([`Stepper`]); else, and when flushing fails, it flushes by itself: a store
//!   nobody steps goes on, and who waits is never left waiting;
//! * nobody holds the commit lock while he waits here;
//! * whatever may end a wait (a set flushed, a step's end however it ended, the last
//!   stepper gone) comes through this lock before it wakes, so no wake is lost;
//! * the clock decides how long a pause is and nothing else: never whether a commit
//!   is made, and what bounds memory is the number of sets.

use std::sync::Arc;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicU64, AtomicUsize};
use std::time::Duration;

use parking_lot::{Condvar, Mutex, MutexGuard};

use crate::Lsm;
use crate::version::Version;

/// Who is early by less goes on at once: the kernel wakes no finer. Nanoseconds.
const SLACK: u64 = 200_000;

/// So much of a pause slept too long is made up for, in nanoseconds.
const CREDIT: u64 = 2_000_000;

/// The longest pause after one commit, beside the time its own bytes take to flush,
/// in nanoseconds.
const PAUSE: u64 = 1_000_000;

/// Progress is told by pieces of so many bytes.
const PIECE: u64 = 64 << 10;

const MIB: u64 = 1 << 20;

/// See the module.
#[derive(Default)]
pub(crate) struct Pace {
    /// Stepper handles alive.
    steppers: AtomicUsize,
    /// When the next commit is due, on the monotonic clock; 0: at any time. Written
    /// under the commit lock.
    due: AtomicU64,
    /// When the flush of the oldest frozen set could begin. Written under that lock too.
    since: AtomicU64,
    /// Nanoseconds that flushes took for a MiB of memory lately; 0: nobody knows.
    cost: AtomicU64,
    state: Mutex<State>,
    /// Who waits for flushes.
    moved: Condvar,
    /// Steppers that rest.
    work: Condvar,
    /// Of the oldest frozen set: bytes of memory whose flush is done.
    flushed: AtomicU64,
    waiting: AtomicUsize,
    delayed: AtomicU64,
    stalls: AtomicU64,
    nanos: AtomicU64,
    own_flushes: AtomicU64,
}

#[derive(Default)]
struct State {
    /// There is work that no stepper has taken notice of.
    work: bool,
}

/// What waits for its flush, and what it may come to, in bytes of memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Load {
    pub(crate) debt: u64,
    pub(crate) bound: u64,
}

/// Figures for the stats.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Waits {
    pub(crate) now: usize,
    pub(crate) delayed: u64,
    pub(crate) stalls: u64,
    pub(crate) micros: u64,
    pub(crate) own_flushes: u64,
}

/// Says that a thread takes the background steps: while one of these lives, commits
/// that find no room wait for [`Lsm::step`] instead of flushing themselves. Who
/// holds it must step, and not commit between his steps.
#[must_use = "commits wait for a stepper only as long as this lives"]
pub struct Stepper(Arc<Pace>);

impl Stepper {
    /// Rests until there is something to flush, at most so long. Returns whether
    /// there is.
    pub fn rest(&self, most: Duration) -> bool {
        let mut state = self.0.state.lock();
        if !state.work {
            self.0.work.wait_for(&mut state, most);
        }
        std::mem::take(&mut state.work)
    }
}

impl Drop for Stepper {
    fn drop(&mut self) {
        let _state = self.0.state.lock();
        self.0.steppers.fetch_sub(1, Release);
        self.0.moved.notify_all();
    }
}

/// A step of [`Lsm::step`]; its end wakes who waits.
pub(crate) struct Stepping<'a>(&'a Pace);

impl Drop for Stepping<'_> {
    fn drop(&mut self) {
        self.0.wake();
    }
}

/// Tells of the progress of one flush as it goes through the entries of its set.
pub(crate) struct Done<'a> {
    pace: &'a Pace,
    bytes: u64,
}

impl<'a> Done<'a> {
    /// After the values, which were so much of the progress. An earlier try of the
    /// rest does not count any more.
    pub(crate) fn new(pace: &'a Pace, before: u64) -> Self {
        pace.flushed.store(before, Relaxed);
        Done { pace, bytes: 0 }
    }

    /// An entry with so many bytes of key and value has gone to the trees.
    pub(crate) fn entry(&mut self, bytes: usize) {
        // The other half of the work was its value.
        self.bytes += bytes as u64 / 2;
        if self.bytes >= PIECE {
            self.pace.progress(std::mem::take(&mut self.bytes));
        }
    }
}

/// A commit that waits.
struct Waiting<'a>(&'a Lsm, u64);

impl<'a> Waiting<'a> {
    fn new(lsm: &'a Lsm, count: &AtomicU64) -> Self {
        lsm.pace.waiting.fetch_add(1, Relaxed);
        count.fetch_add(1, Relaxed);
        Waiting(lsm, lsm.clock.monotonic_nanos())
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let Waiting(lsm, since) = self;
        lsm.pace.waiting.fetch_sub(1, Relaxed);
        let nanos = lsm.clock.monotonic_nanos().saturating_sub(*since);
        lsm.pace.nanos.fetch_add(nanos, Relaxed);
    }
}

impl Pace {
    pub(crate) fn stepping(&self) -> Stepping<'_> {
        Stepping(self)
    }

    /// Whether somebody takes the background steps.
    pub(crate) fn attended(&self) -> bool {
        self.steppers.load(Acquire) > 0
    }

    /// A flush got on by so many bytes of memory of the set it is at.
    pub(crate) fn progress(&self, bytes: u64) {
        self.flushed.fetch_add(bytes, Relaxed);
    }

    /// Under the commit lock, at `now`: a set was frozen, the only one.
    pub(crate) fn begins(&self, now: u64) {
        self.since.store(now, Relaxed);
    }

    /// Under the commit lock, at `now`: a set of so many bytes has left the memory
    /// part of the version.
    pub(crate) fn flushed(&self, set: u64, now: u64) {
        self.flushed.store(0, Relaxed);
        self.due.store(0, Relaxed);
        let took = now.saturating_sub(self.since.swap(now, Relaxed));
        let cost = u128::from(took) * u128::from(MIB) / u128::from(set.max(1));
        let cost = u64::try_from(cost).unwrap_or(u64::MAX);
        // The mean of this one and of all before. What took far longer did not work all
        // the time: a disk was full, or hung.
        let mean = self.cost.load(Relaxed);
        self.cost.store(
            if mean == 0 { cost } else { mean / 2 + cost.min(mean.saturating_mul(4)) / 2 },
            Relaxed,
        );
    }

    fn wake(&self) {
        let _state = self.state.lock();
        self.moved.notify_all();
    }

    /// There is something to flush.
    pub(crate) fn call(&self) {
        if self.attended() {
            self.call_locked(&mut self.state.lock());
        }
    }

    fn call_locked(&self, state: &mut MutexGuard<'_, State>) {
        state.work = true;
        self.work.notify_one();
    }

    pub(crate) fn waits(&self) -> Waits {
        Waits {
            now: self.waiting.load(Relaxed),
            delayed: self.delayed.load(Relaxed),
            stalls: self.stalls.load(Relaxed),
            micros: self.nanos.load(Relaxed) / 1000,
            own_flushes: self.own_flushes.load(Relaxed),
        }
    }
}

impl Lsm {
    /// Says that this thread takes the background steps; see [`Stepper`].
    pub fn stepper(&self) -> Stepper {
        self.pace.steppers.fetch_add(1, Release);
        Stepper(Arc::clone(&self.pace))
    }

    /// What waits for its flush.
    pub(crate) fn load(&self, version: &Version) -> Load {
        let sets: u64 = version.sets().map(|set| set.bytes() as u64).sum();
        let done = match version.frozen.last() {
            Some(oldest) => self.pace.flushed.load(Relaxed).min(oldest.set.bytes() as u64),
            None => 0,
        };
        let bound = self.options.memtable_bytes as u64 * (self.options.max_frozen as u64 + 1);
        Load { debt: sets - done, bound }
    }

    /// Before a commit takes its lock: waits until it is due.
    pub(crate) fn keep_pace(&self) {
        let pace = &*self.pace;
        if pace.due.load(Relaxed) == 0 {
            return;
        }
        // As it stands now: commits of others must not put this one off further.
        let due = pace.due.load(Relaxed);
        let mut now = self.clock.monotonic_nanos();
        if due <= now.saturating_add(SLACK) {
            return;
        }
        platform::sharing::long_ahead();
        let mut state = pace.state.lock();
        let _waiting = Waiting::new(self, &pace.delayed);
        while now < due && pace.due.load(Relaxed) > 0 && pace.attended() && !self.flush_fails() {
            pace.moved.wait_for(&mut state, Duration::from_nanos(due - now));
            now = self.clock.monotonic_nanos();
        }
    }

    /// Under the commit lock: a commit has added so many bytes.
    pub(crate) fn owe(&self, version: &Version, bytes: u64) {
        let pace = &*self.pace;
        let Some(oldest) = version.frozen.last() else { return };
        if version.frozen.len() < self.options.max_frozen || !pace.attended() {
            return;
        }
        let cost = pace.cost.load(Relaxed);
        if cost == 0 {
            return;
        }
        let time = |bytes: u64| u128::from(bytes) * u128::from(cost) / u128::from(MIB);
        let left = (oldest.set.bytes() as u64).saturating_sub(pace.flushed.load(Relaxed));
        let room = self.options.memtable_bytes.saturating_sub(version.active.bytes()).max(1);
        let pause = u128::from(bytes) * time(left) / room as u128;
        let pause = pause.min(time(bytes) + u128::from(PAUSE));
        let pause = u64::try_from(pause).unwrap_or(u64::MAX);
        let from = pace.due.load(Relaxed).max(self.clock.monotonic_nanos().saturating_sub(CREDIT));
        pace.due.store(from.saturating_add(pause).max(1), Relaxed);
    }

    /// Makes room for another frozen set: waits for it if somebody flushes, else
    /// says that the caller has to.
    pub(crate) fn await_room(&self) -> bool {
        let pace = &*self.pace;
        let mut state = pace.state.lock();
        let mut waiting = None;
        while pace.attended() && !self.flush_fails() {
            if self.version.load().frozen.len() < self.options.max_frozen {
                return true;
            }
            if waiting.is_none() {
                waiting = Some(Waiting::new(self, &pace.stalls));
                pace.call_locked(&mut state);
            }
            pace.moved.wait(&mut state);
        }
        pace.own_flushes.fetch_add(1, Relaxed);
        false
    }

    fn flush_fails(&self) -> bool {
        self.flush_error.lock().is_some()
    }
}
