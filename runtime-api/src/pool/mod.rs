//! The pool: a bounded queue of requests in front of a bounded number of instances.
//!
//! What must stay true:
//! * Every job is answered exactly once: with its response, its trap, or the
//!   reason it was not run (a ticket answers even when it is dropped).
//! * A failed call costs one instance and never a slot: the worker that ran it
//!   makes the next instance and goes on. An instance that cannot be made leaves
//!   its worker cold; the next job wakes it to try again, and gets the failure.
//! * Nothing grows: jobs waiting are bounded by count and by time, instances by `max`.
//!
//! **Threads.** The pool has none of its own. Its owner spawns `max` threads, each
//! running [`Pool::worker`] with an index from 0, and one running [`Pool::keeper`];
//! all return after [`Pool::close`]. An instance lives and dies on its worker's thread.
//!
//! A thread that has a request may run it itself ([`Pool::here`]): a brief call costs no
//! hand-over then.
//!
//! **How many instances.** Workers below `min` make theirs at once. A worker above
//! makes one when a job waits and no instance is idle, with autoscale or without.
//! With `autoscale` such an instance is dropped again after `idle_nanos` without a
//! job; without, it stays.
//!
//! ```text
//! submit ─▶ [ queue: at most `queue` jobs, at most `queue_wait_nanos` old ]
//!              │ warm worker idle? it takes the job, else
//!              └ a cold worker makes an instance and takes it
//! ```

mod decide;
mod handover;
mod here;
mod job;
mod stats;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex, MutexGuard};
use platform::{Clock, Histogram};

pub use here::{Errand, tidy, vacate};
pub use job::{Answer, Failure, Follows};
pub use stats::PoolStats;

use crate::{CallReport, Host, Instance, Limits, Module, Outlet, Trap, TrapKind};
use job::Ticket;

/// Shape and bounds of a pool.
#[derive(Clone, Debug)]
pub struct PoolOptions {
    /// Instances made at start and kept, at least 1.
    pub min: usize,
    /// Instances of workers at most, which is also the number of worker threads.
    pub max: usize,
    /// Instances at most, besides, on threads that have requests: see [`Pool::here`].
    pub seats: usize,
    /// Whether instances above `min` are dropped when idle.
    pub autoscale: bool,
    /// How long an instance above `min` may idle before autoscale drops it.
    pub idle_nanos: u64,
    /// Jobs that may wait. One more is refused with [`Failure::Busy`].
    pub queue: usize,
    /// How long a job may wait before it is refused with [`Failure::Busy`].
    pub queue_wait_nanos: u64,
    /// After a call an instance holding more memory than this is replaced, so that
    /// one large request does not keep its memory for ever.
    pub recycle_bytes: u64,
    /// What each call may use.
    pub limits: Limits,
}

impl Default for PoolOptions {
    fn default() -> Self {
        Self {
            min: 2,
            max: 8,
            seats: 0,
            autoscale: false,
            idle_nanos: 30_000_000_000,
            queue: 1_024,
            queue_wait_nanos: 5_000_000_000,
            recycle_bytes: 32 << 20,
            limits: Limits::default(),
        }
    }
}

impl PoolOptions {
    /// Refuses shapes that cannot work.
    ///
    /// # Errors
    /// A sentence naming the setting, its value and what is allowed.
    pub fn check(&self) -> Result<(), String> {
        if self.min == 0 || self.min > self.max {
            return Err(format!(
                "{} to {} instances is no range: choose min_instances of at least 1 and max_instances of at least that",
                self.min, self.max
            ));
        }
        if self.max > 1_024 {
            return Err(format!(
                "{} instances are too many: choose max_instances up to 1024",
                self.max
            ));
        }
        if self.queue == 0 || self.queue_wait_nanos == 0 {
            return Err(
                "a queue of 0 jobs or 0 time admits no request: choose at least 1".to_owned()
            );
        }
        self.limits.check()
    }
}

/// Instances of one module and the requests waiting for them.
pub struct Pool {
    module: Arc<dyn Module>,
    host: Arc<dyn Host>,
    clock: Arc<dyn Clock>,
    options: PoolOptions,
    shared: Mutex<Shared>,
    waits: Histogram,
    took: Histogram,
    /// Wakes a worker that holds an idle instance.
    warm: Condvar,
    /// Wakes a worker without one.
    cold: Condvar,
    /// Wakes the keeper.
    keeper: Condvar,
    /// Wakes who waits for its beginning or its end.
    moved: Condvar,
    seats: Arc<here::Seats>,
    pace: here::Pace,
}

struct Shared {
    queue: VecDeque<Ticket>,
    idle_warm: usize,
    idle_cold: usize,
    /// Workers that are idle and have a request on the way to them.
    errands: usize,
    /// The monotonic time after which queued jobs are refused; set by `close`.
    closing: Option<u64>,
    /// Whose requests are, since this pool was retired.
    next: Option<Arc<Pool>>,
    stats: PoolStats,
}

impl Pool {
    /// A pool over a compiled module. Runs nothing: see [`Pool::worker`].
    ///
    /// # Errors
    /// The options contradict each other: see [`PoolOptions::check`].
    pub fn new(
        module: Arc<dyn Module>,
        host: Arc<dyn Host>,
        clock: Arc<dyn Clock>,
        options: PoolOptions,
    ) -> Result<Arc<Self>, String> {
        options.check()?;
        let seats = here::Seats::new(options.seats);
        Ok(Arc::new(Self {
            seats,
            pace: here::Pace::new(),
            module,
            host,
            clock,
            options,
            shared: Mutex::new(Shared {
                queue: VecDeque::new(),
                idle_warm: 0,
                idle_cold: 0,
                errands: 0,
                closing: None,
                next: None,
                stats: PoolStats::default(),
            }),
            waits: Histogram::new(),
            took: Histogram::new(),
            warm: Condvar::new(),
            cold: Condvar::new(),
            keeper: Condvar::new(),
            moved: Condvar::new(),
        }))
    }

    /// Its options.
    pub fn options(&self) -> &PoolOptions {
        &self.options
    }

    /// Queues a request. `reply` is called exactly once, on a worker's thread, or
    /// on this one if the job is refused at once; it should only hand the answer on.
    pub fn submit(
        &self,
        request: Vec<u8>,
        reply: impl FnOnce(Result<Answer, Failure>) + Send + 'static,
    ) {
        self.submit_followed(request, None, None, Errand::default(), reply);
    }

    /// Whether its module gives responses in pieces: then its calls need an outlet, and the
    /// thread that takes the pieces must not be the one that runs them.
    pub fn writes(&self) -> bool {
        self.module.writes()
    }

    /// As [`Pool::submit`], with somebody who is told when it is run, and a place for what
    /// the guest writes while it runs.
    pub fn submit_followed(
        &self,
        request: Vec<u8>,
        follower: Option<Arc<dyn Follows>>,
        outlet: Option<Arc<dyn Outlet>>,
        errand: Errand,
        reply: impl FnOnce(Result<Answer, Failure>) + Send + 'static,
    ) {
        let now = self.clock.monotonic_nanos();
        self.enqueue(Ticket::new(request, now, Box::new(reply), follower, outlet), errand);
    }

    fn enqueue(&self, ticket: Ticket, errand: Errand) {
        let refused = {
            let mut shared = self.shared.lock();
            if let Some(next) = shared.next.clone() {
                drop(shared);
                // It ends before the next pool's lock is taken: see `handover`.
                drop(errand);
                return next.enqueue(ticket, Errand::default());
            }
            errand.ends_at(self, &mut shared);
            if shared.closing.is_some() {
                shared.stats.refused += 1;
                Some((ticket, Failure::Closed))
            } else if shared.queue.len() >= self.options.queue {
                shared.stats.refused += 1;
                Some((ticket, self.busy(&shared)))
            } else {
                shared.queue.push_back(ticket);
                shared.stats.waiting = shared.queue.len();
                match decide::wake(shared.queue.len(), shared.idle_warm, shared.idle_cold) {
                    decide::Wake::Warm => drop(self.warm.notify_one()),
                    decide::Wake::Cold => drop(self.cold.notify_one()),
                    decide::Wake::None => {}
                }
                if shared.queue.len() == 1 {
                    self.keeper.notify_one();
                }
                None
            }
        };
        if let Some((ticket, why)) = refused {
            ticket.answer(Err(why));
        }
    }

    /// What the pool is doing and has done.
    pub fn stats(&self) -> PoolStats {
        let counted = self.shared.lock().stats.clone();
        PoolStats { waits: self.waits.read(), took: self.took.read(), ..counted }
    }

    /// Refuses new requests from now on. Jobs that wait are still run until
    /// `drain_nanos` from now, then refused; calls that run end by their own
    /// deadline. Returns at once: join the worker threads to wait for the end.
    pub fn close(&self, drain_nanos: u64) {
        let until = self.clock.monotonic_nanos().saturating_add(drain_nanos);
        let mut shared = self.shared.lock();
        self.seats.close();
        // A second call may shorten the drain, never lengthen it.
        shared.closing = Some(shared.closing.map_or(until, |before| before.min(until)));
        self.wake_all();
    }

    /// Refuses the jobs that have waited too long. Returns after how many
    /// nanoseconds the next one will have, if one waits.
    pub fn expire(&self) -> Option<u64> {
        let (late, next) = {
            let mut shared = self.shared.lock();
            let now = self.clock.monotonic_nanos();
            let mut late = Vec::new();
            while let Some(ticket) = shared.queue.front() {
                let Some(why) = self.overdue(&shared, ticket, now) else { break };
                late.extend(shared.queue.pop_front().map(|ticket| (ticket, why)));
            }
            shared.stats.refused += late.len() as u64;
            shared.stats.waiting = shared.queue.len();
            let drain_left = shared.closing.map(|until| until.saturating_sub(now));
            let next = shared.queue.front().map(|ticket| {
                let left =
                    self.options.queue_wait_nanos.saturating_sub(now.saturating_sub(ticket.queued));
                left.min(drain_left.unwrap_or(u64::MAX))
            });
            (late, next)
        };
        for (ticket, why) in late {
            ticket.answer(Err(why));
        }
        next
    }

    /// Refuses overdue jobs while every worker is busy. Runs on a thread of its
    /// own until the pool is closed and empty.
    pub fn keeper(&self) {
        loop {
            let next = self.expire();
            let mut shared = self.shared.lock();
            match next {
                // At least a millisecond: the wait is a nap, `expire` decides.
                Some(nanos) => drop(
                    self.keeper.wait_for(&mut shared, Duration::from_nanos(nanos.max(1_000_000))),
                ),
                None if shared.closing.is_some() => return,
                // A job may have come between `expire` and the lock.
                None if shared.queue.is_empty() => self.keeper.wait(&mut shared),
                None => {}
            }
        }
    }

    /// Runs jobs until the pool is closed and its queue empty. Worker `index`, from
    /// 0 to `max - 1`, each on a thread of its own.
    pub fn worker(&self, index: usize) {
        let keep = index < self.options.min;
        // Below `min` an instance is made at once; a failure shows in the stats and
        // to the next job.
        let mut instance = if keep { self.make().ok() } else { None };
        loop {
            let Some(next) = self.next(instance.is_some(), keep) else { break };
            match next {
                Next::Drop => self.unmake(&mut instance),
                Next::Job(ticket) => self.run(&mut instance, ticket),
            }
        }
        self.unmake(&mut instance);
    }

    /// Waits for work. `None` when the pool is closed and drained.
    fn next(&self, warm: bool, keep: bool) -> Option<Next> {
        let mut shared = self.shared.lock();
        loop {
            let now = self.clock.monotonic_nanos();
            if let Some(ticket) = shared.queue.front() {
                let overdue = self.overdue(&shared, ticket, now);
                // A cold worker leaves a job to an instance that is idle already.
                if overdue.is_some() || warm || shared.queue.len() > shared.idle_warm {
                    let Some(ticket) = shared.queue.pop_front() else { continue };
                    shared.stats.waiting = shared.queue.len();
                    match overdue {
                        Some(why) => {
                            shared.stats.refused += 1;
                            MutexGuard::unlocked(&mut shared, || ticket.answer(Err(why)));
                            continue;
                        }
                        None => {
                            shared.stats.busy += 1;
                            return Some(Next::Job(ticket));
                        }
                    }
                }
            } else if shared.closing.is_some() {
                return None;
            }
            if !warm {
                shared.idle_cold += 1;
                self.cold.wait(&mut shared);
                shared.idle_cold -= 1;
                continue;
            }
            shared.idle_warm += 1;
            let mut idled = false;
            if self.options.autoscale && !keep {
                let nap = Duration::from_nanos(self.options.idle_nanos);
                idled = self.warm.wait_for(&mut shared, nap).timed_out();
            } else {
                self.warm.wait(&mut shared);
            }
            shared.idle_warm -= 1;
            if idled && shared.queue.is_empty() && shared.closing.is_none() {
                return Some(Next::Drop);
            }
        }
    }

    /// One job on this worker's instance, making one first if there is none.
    fn run(&self, instance: &mut Option<Box<dyn Instance>>, mut ticket: Ticket) {
        let started = self.clock.monotonic_nanos();
        self.waits.record(started.saturating_sub(ticket.queued));
        let made = match instance {
            Some(_) => Ok(()),
            None => self.make().map(|new| *instance = Some(new)),
        };
        let mut response = Vec::new();
        let (follower, outlet) = (ticket.follower.take(), ticket.outlet.take());
        follower.iter().for_each(|follower| follower.begins());
        let outcome = made.and_then(|()| {
            let live = instance.as_mut().expect("made just above");
            guarded(|| call(live.as_mut(), ticket.request(), &mut response, outlet))
        });
        follower.iter().for_each(|follower| follower.ends(outcome.is_err()));
        let lost = match (&outcome, instance.as_ref()) {
            (Err(trap), Some(_)) => trap.kind().kills(),
            (Ok(report), Some(_)) if report.memory_bytes > self.options.recycle_bytes => {
                self.shared.lock().stats.recycled += 1;
                true
            }
            _ => false,
        };
        // Counted before the answer leaves: who has an answer sees it in the stats.
        {
            let mut shared = self.shared.lock();
            self.rest(&mut shared);
            let spent = self.clock.monotonic_nanos().saturating_sub(started);
            self.took.record(spent);
            shared.stats.count(outcome.as_ref().map(|_| ()).map_err(Trap::kind), spent);
        }
        ticket.answer(match outcome {
            Ok(report) => Ok(Answer { body: response, report }),
            Err(trap) => Err(Failure::Trap(trap)),
        });
        if lost {
            // Rebuilt at once, off the request's path. If that fails the worker is
            // cold, and the next job makes it try again.
            self.unmake(instance);
            *instance = self.make().ok();
        }
    }

    fn make(&self) -> Result<Box<dyn Instance>, Trap> {
        let host = Arc::clone(&self.host);
        let made = guarded(|| self.module.instantiate(host, &self.options.limits));
        let stats = &mut self.shared.lock().stats;
        match &made {
            Ok(_) => {
                stats.instances += 1;
                stats.made += 1;
            }
            Err(trap) => {
                stats.failed_starts += 1;
                stats.last_failed_start = Some(trap.to_string());
            }
        }
        self.moved.notify_all();
        made
    }

    fn unmake(&self, instance: &mut Option<Box<dyn Instance>>) {
        if let Some(old) = instance.take() {
            self.shared.lock().stats.instances -= 1;
            // A panic in a backend's drop must not end the worker either.
            let _dropped = catch_unwind(AssertUnwindSafe(|| drop(old)));
        }
    }

    /// Why a queued job must not be run any more, if so.
    fn overdue(&self, shared: &Shared, ticket: &Ticket, now: u64) -> Option<Failure> {
        if shared.closing.is_some_and(|until| now >= until) {
            return Some(Failure::Closed);
        }
        (now.saturating_sub(ticket.queued) >= self.options.queue_wait_nanos)
            .then(|| self.busy(shared))
    }

    fn busy(&self, shared: &Shared) -> Failure {
        let mean = shared.stats.mean_call_nanos;
        Failure::Busy {
            retry_after_nanos: decide::retry_after(shared.queue.len(), mean, self.options.max),
        }
    }
}

enum Next {
    Job(Ticket),
    /// Idle for too long: drop the instance.
    Drop,
}

/// One call, with a place for pieces if there is one.
fn call(
    live: &mut dyn Instance,
    request: &[u8],
    response: &mut Vec<u8>,
    outlet: Option<Arc<dyn Outlet>>,
) -> Result<CallReport, Trap> {
    match outlet {
        Some(outlet) => live.process_to(request, response, outlet),
        None => live.process(request, response),
    }
}

/// Turns a panic of the host or a backend into a trap, so that it costs an
/// instance and not a thread.
fn guarded<T>(body: impl FnOnce() -> Result<T, Trap>) -> Result<T, Trap> {
    catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|panic| {
        let said = panic
            .downcast_ref::<&str>()
            .copied()
            .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
            .unwrap_or("no message");
        Err(Trap::new(
            TrapKind::Host,
            format!("the host failed during a guest's call: {said}; please report this"),
        ))
    })
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pool").field("options", &self.options).finish_non_exhaustive()
    }
}

/// What `report` of an [`Answer`] is when nothing ran; for hosts that answer themselves.
impl Answer {
    /// An answer of `body` that cost nothing.
    pub fn of(body: Vec<u8>) -> Self {
        Self { body, report: CallReport::default() }
    }
}
