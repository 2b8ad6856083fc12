//! Calls on the thread that has the request, for guests that are brief.
//!
//! What must stay true:
//! * Instances of workers and of such threads are at most `max` together: a thread
//!   takes one of `seats` places for its instance, and a pool with seats has as many
//!   workers less.
//! * Nobody waits behind a guest that is not brief: the thread's own work goes on
//!   elsewhere as soon as that shows ([`platform::sharing`]), and what was not brief of
//!   late goes to the workers while one of them is free ([`Pace`]).
//! * An instance lives and dies on one thread: it stays in that thread's own variable,
//!   until the pool closes, the thread ends or calls [`vacate`], or its call was not brief
//!   (the thread is then not one of those that have requests any more). Of a pool that
//!   was retired it goes when the thread has its next request, or calls [`tidy`].
//!
//! Why: a hand-over to another thread and back takes longer than most handlers do.

use std::cell::RefCell;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Weak};

use super::{Follows, Pool, Shared, call, guarded};
use crate::{CallReport, Instance, Outlet, Trap};

/// A call of so many nanoseconds was slow: because of its guest, or because the machine
/// had other work for its thread meanwhile.
const SLOW: u64 = 200_000;
/// From so many points on a route is not brief.
const LONG: u8 = 32;
/// Points of a route whose call had to be told of: 32 brief calls make it brief again.
const TOLD: u8 = LONG + 31;
/// Points for each slow call; a brief one takes back one. One call in a dozen may be slow.
const STRIKE: u8 = 12;

/// The places of a pool for instances on threads of others.
#[derive(Debug)]
pub(super) struct Seats {
    limit: usize,
    taken: AtomicUsize,
    closed: AtomicBool,
}

impl Seats {
    pub(super) fn new(limit: usize) -> Arc<Seats> {
        Arc::new(Seats { limit, taken: AtomicUsize::new(0), closed: AtomicBool::new(false) })
    }

    pub(super) fn close(&self) {
        self.closed.store(true, Relaxed);
    }

    fn take(self: &Arc<Seats>) -> Option<Place> {
        let up = |taken| (taken < self.limit).then_some(taken + 1);
        self.taken.fetch_update(Relaxed, Relaxed, up).ok().map(|_| Place(self.clone()))
    }
}

/// A place that is taken; dropped, it is free.
struct Place(Arc<Seats>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.taken.fetch_sub(1, Relaxed);
    }
}

/// A thread's instance, and its place.
struct Seat {
    instance: Option<Box<dyn Instance>>,
    pool: Weak<Pool>,
    place: Place,
}

impl Drop for Seat {
    fn drop(&mut self) {
        if let Some(pool) = self.pool.upgrade() {
            pool.unmake(&mut self.instance);
        }
    }
}

thread_local! {
    static SEAT: RefCell<Option<Seat>> = const { RefCell::new(None) };
}

/// Drops this thread's instance: for threads that end, or whose pool has closed.
pub fn vacate() {
    drop(SEAT.take());
}

/// Drops this thread's instance if its pool takes no more requests. Cheap: for threads
/// that are about to sleep.
pub fn tidy() {
    let closed = |seat: &Seat| seat.place.0.closed.load(Relaxed);
    if SEAT.with_borrow(|seat| seat.as_ref().is_some_and(closed)) {
        vacate();
    }
}

/// Which routes were brief of late, by a hash of their names: a collision costs a
/// hand-over, no more.
#[derive(Debug)]
pub(super) struct Pace([AtomicU8; 256]);

impl Pace {
    pub(super) fn new() -> Pace {
        Pace([const { AtomicU8::new(0) }; 256])
    }

    fn of(&self, route: u64) -> &AtomicU8 {
        &self.0[(route % 256) as usize]
    }

    fn is_brief(&self, route: u64) -> bool {
        self.of(route).load(Relaxed) < LONG
    }

    /// Counts may be lost between threads: it is a habit, no account.
    fn learn(&self, route: u64, told: bool, nanos: u64) {
        let points = self.of(route);
        let now = points.load(Relaxed);
        match now {
            _ if told => points.store(TOLD, Relaxed),
            _ if nanos >= SLOW => points.store((now + STRIKE).min(TOLD), Relaxed),
            0 => {}
            _ => points.store(now - 1, Relaxed),
        }
    }
}

/// On the way to the workers, one of which was free: until it has come there, or is given
/// up, nobody else is sent to that one, or two would wait for it while there are seats.
#[derive(Debug, Default)]
#[must_use = "a request that was not run is to be submitted with it"]
pub struct Errand(Option<Arc<Pool>>);

impl Errand {
    /// It has come to the queue of its pool, whose lock is held.
    pub(super) fn ends_at(mut self, pool: &Pool, shared: &mut Shared) {
        if let Some(own) = self.0.take() {
            debug_assert!(std::ptr::eq(Arc::as_ptr(&own), pool), "an errand of another pool");
            shared.errands -= 1;
        }
    }
}

impl Drop for Errand {
    fn drop(&mut self) {
        if let Some(pool) = self.0.take() {
            pool.shared.lock().errands -= 1;
        }
    }
}

impl Pool {
    /// Runs a request on this thread, if it is to and there is an instance for it; else it
    /// is for the workers, by [`Pool::submit_followed`] with the errand. `route` tells requests apart that take about as long
    /// as each other; what the guest writes goes to `outlet`; `tell` is called when the call
    /// turns out to take long, and again while it does: see [`platform::sharing::sharing`].
    ///
    /// # Errors
    /// It was not run; within, the trap that ended the call.
    pub fn here(
        self: &Arc<Self>,
        route: u64,
        request: &[u8],
        response: &mut Vec<u8>,
        follower: Option<&dyn Follows>,
        outlet: Option<Arc<dyn Outlet>>,
        tell: fn(),
    ) -> Result<Result<CallReport, Trap>, Errand> {
        if self.options.seats == 0 || self.seats.closed.load(Relaxed) {
            return Err(Errand::default());
        }
        let brief = self.pace.is_brief(route);
        {
            let mut shared = self.shared.lock();
            let idle = shared.idle_warm + shared.idle_cold;
            if shared.closing.is_some() {
                return Err(Errand::default());
            }
            if !brief && idle > shared.queue.len() + shared.errands {
                shared.errands += 1;
                return Err(Errand(Some(Arc::clone(self))));
            }
            shared.stats.busy += 1;
        }
        let Some(mut seat) = self.seat() else {
            self.rest(&mut self.shared.lock());
            return Err(Errand::default());
        };
        let started = self.clock.monotonic_nanos();
        self.waits.record(0);
        follower.iter().for_each(|follower| follower.begins());
        let (outcome, told) = platform::sharing::sharing(tell, || {
            if !brief {
                platform::sharing::long_ahead();
            }
            let live = seat.instance.as_mut().expect("a seat has its instance until it is dropped");
            guarded(|| call(live.as_mut(), request, response, outlet))
        });
        let spent = self.clock.monotonic_nanos().saturating_sub(started);
        follower.iter().for_each(|follower| follower.ends(outcome.is_err()));
        self.took.record(spent);
        // What has to be told was not brief, however soon it ended. What was known to be
        // long is told before it begins, and may turn out to be brief again.
        self.pace.learn(route, told && brief, spent);
        let lost = match &outcome {
            Err(trap) => trap.kind().kills(),
            Ok(report) => report.memory_bytes > self.options.recycle_bytes,
        };
        {
            let mut shared = self.shared.lock();
            self.rest(&mut shared);
            shared.stats.here += 1;
            shared.stats.recycled += u64::from(lost && outcome.is_ok());
            shared.stats.count(outcome.as_ref().map(|_| ()).map_err(Trap::kind), spent);
        }
        // After a long call this thread is nobody's any more; another has its work.
        if !lost && !told && !self.seats.closed.load(Relaxed) {
            SEAT.set(Some(seat));
        }
        Ok(outcome)
    }

    /// What a call by the workers took: they see what is brief again.
    pub fn learn(&self, route: u64, report: &CallReport) {
        self.pace.learn(route, false, report.nanos);
    }

    fn seat(self: &Arc<Self>) -> Option<Seat> {
        match SEAT.take() {
            Some(seat) if std::ptr::eq(seat.pool.as_ptr(), Arc::as_ptr(self)) => return Some(seat),
            // Of a pool that was before this one.
            other => drop(other),
        }
        let place = self.seats.take()?;
        // Why it cannot be made is told by the workers, which fail alike.
        let instance = Some(self.make().ok()?);
        Some(Seat { instance, pool: Arc::downgrade(self), place })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn learn(pace: &Pace, told: bool, nanos: u64, times: u8) {
        for _ in 0..times {
            pace.learn(7, told, nanos);
        }
    }

    #[test]
    fn a_route_is_long_once_a_call_was_told_of_until_enough_were_brief() {
        let pace = Pace::new();
        assert!(pace.is_brief(7));
        learn(&pace, true, 1, 1);
        assert!(!pace.is_brief(7) && pace.is_brief(8));
        learn(&pace, false, 1, TOLD - LONG);
        assert!(!pace.is_brief(7));
        learn(&pace, false, 1, 1);
        assert!(pace.is_brief(7));
    }

    #[test]
    fn a_slow_call_now_and_then_is_the_machine_s_and_many_are_the_route_s() {
        let pace = Pace::new();
        for _ in 0..100 {
            learn(&pace, false, SLOW, 1);
            learn(&pace, false, SLOW - 1, STRIKE);
            assert!(pace.is_brief(7));
        }
        learn(&pace, false, SLOW, 3);
        assert!(!pace.is_brief(7));
        learn(&pace, false, SLOW, 200);
        learn(&pace, false, 1, TOLD - LONG + 1);
        assert!(pace.is_brief(7));
    }
}
