//! Backpressure: who writes faster than flushes go waits, first a little, then
//! wholly, for the thread that takes the background steps.
//!
//! The debt is what memory holds and the trees do not. Its bound is that of all
//! memtable sets. Up to half of the bound nobody waits. Beyond it each commit owes a
//! part of its bytes, none at the half, all at the bound, and the next commit
//! waits until flushes have made that much progress: so writers are slowed to what
//! flushes take, by waits that are short and many, not long and few. At the bound
//! itself (the active set full, no set more may be frozen) a commit waits for room.
//!
//! What must stay true:
//! * a commit waits for background work only while somebody has said that he does
//!   it ([`Stepper`]); else, and when flushing fails, it flushes by itself: a store
//!   nobody steps goes on, and who waits is never left waiting;
//! * nobody holds the commit lock while he waits here;
//! * whatever may end a wait (progress, a step's end however it ended, the last
//!   stepper gone) comes through this lock before it wakes, so no wake is lost;
//! * no time is read to decide anything; the clock only measures.

use std::sync::Arc;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicU64, AtomicUsize};
use std::time::Duration;

use parking_lot::{Condvar, Mutex, MutexGuard};

use crate::Lsm;
use crate::version::Version;

/// The part of the bound that may be paid in advance.
const CREDIT: u64 = 8;

/// Progress is told by pieces of so many bytes.
const PIECE: u64 = 64 << 10;

/// See the module.
#[derive(Default)]
pub(crate) struct Pace {
    /// Stepper handles alive.
    steppers: AtomicUsize,
    /// What commits owe. Written under the lock of `state`.
    owed: AtomicU64,
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
    /// What flushes have paid of what is owed.
    paid: u64,
    /// What may be paid in advance: progress comes in pieces.
    credit: u64,
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

impl Load {
    /// The part of its bytes that a commit owes: 0 up to half of the bound, all at it.
    fn share(self, bytes: u64) -> u64 {
        let over = (2 * self.debt).saturating_sub(self.bound).min(self.bound);
        (u128::from(bytes) * u128::from(over) / u128::from(self.bound.max(1))) as u64
    }

    fn is_light(self) -> bool {
        2 * self.debt <= self.bound
    }
}

impl Pace {
    pub(crate) fn stepping(&self) -> Stepping<'_> {
        Stepping(self)
    }

    fn attended(&self) -> bool {
        self.steppers.load(Acquire) > 0
    }

    /// A flush got on by so many bytes of memory of the set it is at.
    pub(crate) fn progress(&self, bytes: u64) {
        self.flushed.fetch_add(bytes, Relaxed);
        self.pay(bytes);
    }

    /// A set of so many bytes has left the memory part of the version.
    pub(crate) fn flushed(&self, set: u64) {
        let before = self.flushed.swap(0, Relaxed);
        self.pay(set.saturating_sub(before));
    }

    fn pay(&self, bytes: u64) {
        if self.owed.load(Relaxed) == 0 {
            return;
        }
        let mut state = self.state.lock();
        // What is paid beyond that is lost: an hour of little debt must not let
        // writers run at full speed into a great one.
        let most = self.owed.load(Relaxed).saturating_add(state.credit);
        state.paid = state.paid.saturating_add(bytes).min(most);
        self.moved.notify_all();
    }

    /// Nobody owes anything any more.
    fn forgive(&self, state: &mut State) {
        state.paid = 0;
        self.owed.store(0, Relaxed);
        self.moved.notify_all();
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

    /// Before a commit takes its lock: waits until flushes have paid what the
    /// commits before it owe.
    pub(crate) fn keep_pace(&self) {
        let pace = &*self.pace;
        let owed = pace.owed.load(Relaxed);
        if owed == 0 {
            return;
        }
        let mut state = pace.state.lock();
        let mut waiting = None;
        // Not more than is still owed: what was forgiven meanwhile is nobody's debt.
        while state.paid < owed.min(pace.owed.load(Relaxed))
            && pace.attended()
            && !self.flush_fails()
        {
            let version = self.version.load();
            if version.frozen.is_empty() || self.load(&version).is_light() {
                pace.forgive(&mut state);
                break;
            }
            if waiting.is_none() {
                waiting = Some(Waiting::new(self, &pace.delayed));
                pace.call_locked(&mut state);
            }
            pace.moved.wait(&mut state);
        }
    }

    /// Under the commit lock: a commit has added so many bytes.
    pub(crate) fn owe(&self, version: &Version, bytes: u64) {
        let pace = &*self.pace;
        if version.frozen.is_empty() || !pace.attended() {
            if pace.owed.load(Relaxed) > 0 {
                pace.forgive(&mut pace.state.lock());
            }
            return;
        }
        let load = self.load(version);
        let share = load.share(bytes);
        if share > 0 {
            let mut state = pace.state.lock();
            if pace.owed.load(Relaxed) == 0 {
                state.credit = load.bound / CREDIT;
                state.paid = state.credit;
            }
            pace.owed.fetch_add(share, Relaxed);
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Batch, KeyspaceId, Options};
    use platform::sim::{SimClock, SimDisk};

    #[test]
    fn who_waits_for_a_debt_that_was_forgiven_waits_for_what_is_owed_now() {
        // Given a commit that waits for flushes,
        let options = Options { memtable_bytes: 32 << 10, max_frozen: 2, ..Options::default() };
        let clock = Arc::new(SimClock::new(0));
        let lsm = Lsm::open(SimDisk::new(1), clock, options).unwrap();
        let put = |n: u64| {
            let mut batch = Batch::new();
            batch.put(KeyspaceId(1), &n.to_be_bytes(), &[7; 200]);
            lsm.commit(&batch).unwrap();
        };
        std::thread::scope(|scope| {
            let _stepper = lsm.stepper();
            let waits = scope.spawn(|| (0..).take_while(|_| lsm.pace.attended()).for_each(put));
            let waiting = || lsm.pace.waiting.load(Relaxed) == 1;
            while !(waiting() && lsm.pace.delayed.load(Relaxed) > 0) {
                std::thread::yield_now();
            }
            let before = lsm.last_lsn();
            // when its debt is forgiven, and a small one made and paid before it wakes,
            {
                let mut state = lsm.pace.state.lock();
                lsm.pace.forgive(&mut state);
                lsm.pace.owed.store(1, Relaxed);
                state.paid = 1;
            }
            // then it goes on, without a flush.
            let went_on = (0..1_000_000).any(|_| {
                std::thread::yield_now();
                lsm.last_lsn() > before
            });
            assert!(went_on && lsm.flushed_lsn() == 0 && !waits.is_finished());
        });
    }
}
