//! From one pool to the next: how requests come to another module without a gap.
//!
//! What must stay true:
//! * What comes to a pool that was retired, and what waited there, is the next one's:
//!   nothing is refused because of the change, and nothing is run twice.
//! * What runs ends where it runs, by itself or by its limits; then nothing of the old
//!   pool is left but the instances of threads that have had no request since
//!   ([`super::here`]).
//! * Locks are taken from the older pool to the newer, never the other way.

use std::collections::VecDeque;
use std::mem::take;
use std::sync::Arc;

use super::{Pool, Shared, Ticket};

impl Pool {
    /// Waits until the instances that are kept are there: for who has just spawned the
    /// workers and gives it no request yet.
    ///
    /// # Errors
    /// Why one of them could not be made.
    pub fn await_ready(&self) -> Result<(), String> {
        let mut shared = self.shared.lock();
        loop {
            if let Some(why) = &shared.stats.last_failed_start {
                return Err(why.clone());
            }
            if shared.stats.made >= self.options.min as u64 {
                return Ok(());
            }
            self.moved.wait(&mut shared);
        }
    }

    /// Gives all that waits here, and all that comes from now on, to `next`: a pool of the
    /// same shape that has had no request yet. Calls that run go on. Its workers end.
    pub fn retire(&self, next: &Arc<Pool>) {
        let mut shared = self.shared.lock();
        self.seats.close();
        shared.next = Some(Arc::clone(next));
        shared.closing.get_or_insert(u64::MAX);
        shared.stats.waiting = 0;
        next.take_over(take(&mut shared.queue));
        self.wake_all();
    }

    /// Waits until no call runs any more: for a pool that was retired or closed, once its
    /// workers have ended.
    pub fn await_end(&self) {
        let mut shared = self.shared.lock();
        while shared.stats.busy > 0 {
            self.moved.wait(&mut shared);
        }
    }

    fn take_over(&self, waiting: VecDeque<Ticket>) {
        let mut shared = self.shared.lock();
        shared.queue.extend(waiting);
        shared.stats.waiting = shared.queue.len();
        self.wake_all();
    }

    pub(super) fn wake_all(&self) {
        self.warm.notify_all();
        self.cold.notify_all();
        self.keeper.notify_all();
    }

    /// A job has ended, or did not begin after all.
    pub(super) fn rest(&self, shared: &mut Shared) {
        shared.stats.busy -= 1;
        if shared.closing.is_some() {
            self.moved.notify_all();
        }
    }
}
