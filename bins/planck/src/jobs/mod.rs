//! Who runs jobs: one thread that finds what is due, a few that each make one call at a time,
//! and one that minds the timetable, where there is one.
//!
//! ```text
//! mod.rs   finding and handing out   call.rs   one attempt
//! cron.rs  the timetable's thread    config/times.rs   when its entries come
//! ```
//!
//! What must stay true:
//! * a job at work is noted here alone: whatever ends the process, it is due at the next start;
//! * no job is at work twice, and no more at once than `jobs.max_running`;
//! * they are begun in the order of their time, as a look at the store finds them, which is
//!   made anew when those found are handed out;
//! * while nothing is due nothing is done: the threads sleep until the first is, or a commit
//!   has brought one.

mod call;
mod cron;

pub use call::Run;

use crate::config::Service;
use crate::guests::Guests;
use crate::service::Stop;
use engine::{Engine, Job, JobOptions, Refusal, Retry};
use platform::Clock;
use platform::real::RealClock;
use proto::Key;
use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Jobs that one look finds.
const FOUND: usize = 64;
/// A sleep at most, while something will be due: the wall clock may be set.
const NAP: Duration = Duration::from_secs(60);
/// Before what failed is tried again.
const AFTER_FAILURE: Duration = Duration::from_secs(1);
/// How often it is looked whether threads have ended.
const LOOK: Duration = Duration::from_millis(5);

/// Jobs that can be scheduled, and are not run yet.
pub struct Desk {
    bell: Arc<Bell>,
    max_running: usize,
    table: Vec<cron::Entry>,
}

/// Rung by commits that may have brought a job.
#[derive(Default)]
struct Bell {
    state: Mutex<State>,
    /// Something has come, or a place is free, or the end.
    moved: Condvar,
    /// A job was handed out, or the end.
    handed: Condvar,
    /// The end, for who sleeps until then.
    ending: Condvar,
}

#[derive(Default)]
struct State {
    /// A commit has written to the store since the last look.
    rung: bool,
    stopping: bool,
    at_work: BTreeSet<Key>,
    handed: VecDeque<Job>,
}

impl Bell {
    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing is left half-done in it if a holder panicked.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ring(&self) {
        self.state().rung = true;
        self.moved.notify_one();
    }

    /// Sleeps, until the end at the longest. `false`: that has come.
    fn sleep(&self, time: Duration) -> bool {
        let until = Instant::now() + time;
        let mut state = self.state();
        while !state.stopping {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return true;
            }
            let waited = self.ending.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        false
    }
}

/// What the threads share.
pub struct Shared {
    engine: Arc<Engine>,
    guests: Arc<Guests>,
    bell: Arc<Bell>,
    max_running: usize,
    clock: RealClock,
}

/// The threads, until they are stopped.
pub struct Runner {
    bell: Arc<Bell>,
    threads: Vec<JoinHandle<()>>,
}

impl Desk {
    /// Takes jobs from now on: guests schedule some while they start.
    ///
    /// # Errors
    /// The stores cannot be made, or the timetable is none.
    pub fn open(engine: &Engine, service: &Service) -> Result<Desk, Stop> {
        let (jobs, bell) = (&service.jobs, Arc::new(Bell::default()));
        let size = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
        let options = JobOptions {
            upstreams: service.upstreams.iter().map(|upstream| upstream.name.0.clone()).collect(),
            max_waiting: jobs.max_waiting.get(),
            max_per_call: size(jobs.max_per_call.get()),
            max_payload: size(jobs.max_payload.get()),
            retry: Retry {
                max_attempts: u32::try_from(jobs.max_attempts.get()).unwrap_or(u32::MAX),
                base_millis: jobs.retry_base_ms.get(),
                most_millis: jobs.retry_max_ms.get(),
            },
        };
        let rung = Arc::clone(&bell);
        engine
            .begin_jobs(options, move || rung.ring())
            .map_err(|refusal| Stop::io(format!("the stores of jobs: {refusal}")))?;
        let table = cron::entries(engine, service)?;
        Ok(Desk { bell, max_running: size(jobs.max_running.get()), table })
    }

    /// Runs them.
    ///
    /// # Errors
    /// A thread cannot be started.
    pub fn run(self, engine: &Arc<Engine>, guests: &Arc<Guests>) -> Result<Runner, Stop> {
        let Desk { bell, max_running, table } = self;
        let shared = Arc::new(Shared {
            engine: Arc::clone(engine),
            guests: Arc::clone(guests),
            bell: Arc::clone(&bell),
            max_running,
            clock: RealClock::new(),
        });
        let mut runner = Runner { bell, threads: Vec::new() };
        let mut spawn = |name: String, body: fn(&Shared)| {
            let shared = Arc::clone(&shared);
            runner.spawn(name, move || body(&shared))
        };
        spawn("planck-jobs".to_owned(), hand_out)?;
        for index in 0..max_running {
            spawn(format!("planck-job-{index}"), work)?;
        }
        if !table.is_empty() {
            let shared = Arc::clone(&shared);
            runner.spawn("planck-cron".to_owned(), move || cron::mind(&shared, table))?;
        }
        Ok(runner)
    }
}

impl Runner {
    fn spawn(&mut self, name: String, body: impl FnOnce() + Send + 'static) -> Result<(), Stop> {
        let thread = std::thread::Builder::new().name(name).spawn(body).map_err(|e| {
            Stop::io(format!("a thread of jobs cannot be started: {e}; lower jobs.max_running"))
        })?;
        self.threads.push(thread);
        Ok(())
    }

    /// No job is begun from now on; those at work have so long to end. What does not is due at
    /// the next start. Can be called again.
    pub fn stop(&mut self, time: Duration) {
        {
            let mut state = self.bell.state();
            state.stopping = true;
            for job in std::mem::take(&mut state.handed) {
                state.at_work.remove(&job.key);
            }
        }
        self.bell.moved.notify_all();
        self.bell.handed.notify_all();
        self.bell.ending.notify_all();
        let until = Instant::now() + time;
        while !self.threads.is_empty() {
            for thread in self.threads.extract_if(.., |thread| thread.is_finished()) {
                if thread.join().is_err() {
                    tracing::error!("a thread of jobs failed");
                }
            }
            if self.threads.is_empty() || Instant::now() >= until {
                break;
            }
            std::thread::sleep(LOOK);
        }
    }
}

impl Drop for Runner {
    fn drop(&mut self) {
        if !self.threads.is_empty() {
            tracing::warn!("jobs did not end in time: they are run again at the next start");
        }
    }
}

/// The thread that finds what is due.
fn hand_out(shared: &Shared) {
    let (mut found, mut next, mut told) = (VecDeque::new(), None, String::new());
    loop {
        let mut state = shared.bell.state();
        while !state.stopping && state.at_work.len() >= shared.max_running {
            state = shared.bell.moved.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if state.stopping {
            return;
        }
        let taken = state.at_work.clone();
        let looks = found.is_empty();
        if looks {
            // What comes from here on rings again.
            state.rung = false;
        }
        drop(state);
        let step = if looks { look(shared, &taken, &mut found, &mut next) } else { Ok(()) };
        let step = step.and_then(|()| match found.pop_front() {
            Some(key) if taken.contains(&key) => Ok(true),
            Some(key) => begin(shared, key).map(|()| true),
            None => Ok(false),
        });
        match step {
            Ok(true) => told.clear(),
            Ok(false) => await_more(shared, next),
            Err(refusal) => {
                if told != refusal.message {
                    tracing::error!("jobs cannot be looked for: {refusal}");
                    told = refusal.message;
                }
                if !shared.bell.sleep(AFTER_FAILURE) {
                    return;
                }
            }
        }
    }
}

fn look(
    shared: &Shared,
    taken: &BTreeSet<Key>,
    found: &mut VecDeque<Key>,
    next: &mut Option<i64>,
) -> Result<(), Refusal> {
    let due = shared.engine.due_jobs(FOUND, |key| taken.contains(&key))?;
    *found = due.now.into();
    *next = due.next;
    Ok(())
}

/// Hands out a job, if it is there and due still.
fn begin(shared: &Shared, key: Key) -> Result<(), Refusal> {
    let Some(job) = shared.engine.take_job(key)? else { return Ok(()) };
    let mut state = shared.bell.state();
    if !state.stopping {
        state.at_work.insert(key);
        state.handed.push_back(job);
        shared.engine.jobs_at_work(state.at_work.len());
        shared.bell.handed.notify_one();
    }
    Ok(())
}

/// Sleeps until something may be due.
fn await_more(shared: &Shared, next: Option<i64>) {
    let time = next.map(|next| {
        let left = next.saturating_sub(now_millis(&shared.clock));
        Duration::from_millis(u64::try_from(left).unwrap_or(0)).min(NAP)
    });
    let mut state = shared.bell.state();
    if state.rung || state.stopping {
        return;
    }
    match time {
        None => {
            while !state.rung && !state.stopping {
                state = shared.bell.moved.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
        }
        // Woken for nothing, it looks for nothing once.
        Some(time) => drop(shared.bell.moved.wait_timeout(state, time)),
    }
}

fn now_millis(clock: &impl Clock) -> i64 {
    i64::try_from(clock.wall_micros() / 1000).unwrap_or(i64::MAX)
}

/// A thread that makes one call at a time.
fn work(shared: &Shared) {
    loop {
        let mut state = shared.bell.state();
        let job = loop {
            if let Some(job) = state.handed.pop_front() {
                break job;
            }
            if state.stopping {
                return;
            }
            state = shared.bell.handed.wait(state).unwrap_or_else(PoisonError::into_inner);
        };
        drop(state);
        run(shared, &job);
        let mut state = shared.bell.state();
        state.at_work.remove(&job.key);
        shared.engine.jobs_at_work(state.at_work.len());
        // It may be due again: a look since its end was written has passed it over.
        state.rung = true;
        shared.bell.moved.notify_one();
    }
}

fn run(shared: &Shared, job: &Job) {
    let Some(end) = call::attempt(shared, job) else { return };
    let (key, attempt) = (job.key.to_string(), job.attempts + 1);
    match &end {
        engine::JobEnd::Done => tracing::debug!(job = key, attempt, "a job is done"),
        engine::JobEnd::Refused(why) => {
            tracing::warn!(job = key, attempt, path = job.path, "a job was refused: {why}");
        }
        engine::JobEnd::Failed(later) => {
            tracing::warn!(job = key, attempt, path = job.path, "a job failed: {}", later.why);
        }
        engine::JobEnd::Postponed(later) => {
            tracing::info!(job = key, path = job.path, "a job was put off: {}", later.why);
        }
    }
    if let Err(refusal) = shared.engine.end_job(job.claim(), &end) {
        tracing::error!(job = key, "what became of a job cannot be written: {refusal}");
        // It is due still: not at once.
        shared.bell.sleep(AFTER_FAILURE);
    }
}
