//! Turns: calls that were disturbed again and again go one after the other, from begin to
//! commit, so that they do not disturb each other; and other calls, whose commit would
//! disturb the one that has the turn, let it commit first.
//!
//! What must stay true:
//! * one has the turn at a time; who waits for it is let on in the order in which they came;
//! * nobody waits longer than they said, and who has waited in vain goes on without: a turn
//!   is a courtesy, and nothing rests on it. So one that is held for long, by a guest that
//!   spins, costs others a bounded time and nothing else;
//! * who lets another one go first has read what that one writes, or writes what it has
//!   read: what it does not disturb never waits for it;
//! * it is given on when it is dropped. No lock of the storage is held meanwhile.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use lsm::Footprint;
use parking_lot::{Condvar, Mutex, MutexGuard};
use platform::{Clock, sharing};

#[derive(Default)]
struct Queue {
    /// The numbers of those who wait, in their order.
    waiting: VecDeque<u64>,
    next: u64,
    /// The number of who has it.
    holder: Option<u64>,
    /// What that one has read so far.
    read: Option<Footprint>,
}

/// See the module.
#[derive(Default)]
pub(crate) struct Turns {
    queue: Mutex<Queue>,
    changed: Condvar,
}

/// The turn, until it is dropped.
pub(crate) struct Turn(Arc<Turns>);

impl Turns {
    /// The turn, once it is had; `None`: not within so many nanoseconds.
    pub(crate) fn take(self: &Arc<Self>, clock: &dyn Clock, most: u64) -> Option<Turn> {
        let mut queue = self.queue.lock();
        let number = queue.next;
        queue.next += 1;
        queue.waiting.push_back(number);
        let first =
            |queue: &Queue| queue.holder.is_none() && queue.waiting.front() == Some(&number);
        if !self.wait(&mut queue, clock, most, first) {
            queue.waiting.retain(|waiting| *waiting != number);
            // Who comes behind may be the first now.
            self.changed.notify_all();
            return None;
        }
        queue.waiting.pop_front();
        queue.holder = Some(number);
        Some(Turn(Arc::clone(self)))
    }

    /// Before a commit of who has not the turn: if it would disturb the one that has it, that
    /// one goes first, unless that takes longer than so many nanoseconds.
    pub(crate) fn yields(
        &self,
        clock: &dyn Clock,
        most: u64,
        would_disturb: impl FnOnce(&Footprint) -> bool,
    ) {
        let mut queue = self.queue.lock();
        let holder = queue.holder;
        if queue.read.as_ref().is_some_and(would_disturb) {
            self.wait(&mut queue, clock, most, |queue| queue.holder != holder);
        }
    }

    /// Waits until something is so, and no longer than so many nanoseconds; whether it is.
    fn wait(
        &self,
        queue: &mut MutexGuard<'_, Queue>,
        clock: &dyn Clock,
        most: u64,
        is_so: impl Fn(&Queue) -> bool,
    ) -> bool {
        if is_so(queue) {
            return true;
        }
        sharing::long_ahead();
        let until = clock.monotonic_nanos().saturating_add(most);
        loop {
            let left = until.saturating_sub(clock.monotonic_nanos());
            if left == 0 {
                return false;
            }
            if sharing::takes_turns() {
                MutexGuard::unlocked(queue, sharing::others_go_on);
            } else {
                self.changed.wait_for(queue, Duration::from_nanos(left));
            }
            if is_so(queue) {
                return true;
            }
        }
    }

    /// How many wait for it.
    #[cfg(test)]
    pub(crate) fn waiting(&self) -> usize {
        self.queue.lock().waiting.len()
    }
}

impl Turn {
    /// What the transaction reads that begins in this turn.
    pub(crate) fn reads(&self, footprint: Option<Footprint>) {
        self.0.queue.lock().read = footprint;
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut queue = self.0.queue.lock();
        (queue.holder, queue.read) = (None, None);
        self.0.changed.notify_all();
    }
}
