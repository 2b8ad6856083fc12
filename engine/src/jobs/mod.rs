//! Jobs: calls of the guest's routes and of services outside, to be made once what asked for
//! them has taken effect.
//!
//! ```text
//! mod.rs    the stores, their rules, figures     new.rs   a job, from what was asked for
//! kept.rs   a job as it is kept                  end.rs   what becomes of one that was tried
//! due.rs    which are due                        cron.rs  firings of a timetable
//! retry.rs  when one that failed is tried again
//! ops/jobs.rs   Schedule, RetryJob
//! ```
//!
//! A job is a document of the store [`JOBS`]; one that was given up, of [`DEAD`]. Nothing
//! else says that it is there: not who runs it, nor that it runs.
//!
//! What must stay true:
//! * a job is there from the commit on that asked for it, and not before: it is a write of
//!   that transaction like any other;
//! * it goes, or goes to the other store, by one commit, which looks whether it is there
//!   still as it was when it was taken. What its handler did in its call is that commit's
//!   too (`transaction/call.rs`), so its effects on documents are there once;
//! * the stores are the system's: nobody drops or renames them, and what is written to them
//!   needs a right of its own ([`Action::Schedule`]).

mod cron;
mod due;
mod end;
mod kept;
mod new;
mod retry;

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};

use proto::Status;

use crate::audit::Deed;
use crate::auth::Action;
use crate::catalog::Store;
use crate::transaction::{Begins, Within};
use crate::{Engine, Refusal};

pub use cron::CronEntry;
pub use due::Due;
pub use end::{Claim, JobEnd, Later};
pub use kept::Job;
pub use new::NewJob;
pub use retry::Retry;

/// The jobs that wait.
pub const JOBS: &str = "_jobs";
/// Those that were given up.
pub const DEAD: &str = "_dead_jobs";
/// What of a timetable has fired last.
pub const CRON: &str = "_cron";
/// The index of [`JOBS`] by which they are found when they are due.
pub(crate) const DUE_INDEX: &str = "due";
/// The field it is of.
const DUE_FIELD: &str = "due";

/// What jobs may be and use.
#[derive(Clone, Debug)]
pub struct JobOptions {
    /// The services outside that may be called.
    pub upstreams: Vec<String>,
    /// Jobs that may wait at once.
    pub max_waiting: u64,
    /// Jobs that one transaction may schedule.
    pub max_per_call: usize,
    /// Bytes of a payload.
    pub max_payload: usize,
    /// When one is tried again, and how often.
    pub retry: Retry,
}

impl Default for JobOptions {
    fn default() -> Self {
        JobOptions {
            upstreams: Vec::new(),
            max_waiting: 1_000_000,
            max_per_call: 1000,
            max_payload: 256 << 10,
            retry: Retry::default(),
        }
    }
}

/// What is told of jobs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct JobFigures {
    /// That wait, due or not; those at work too.
    pub waiting: u64,
    /// Of them, those whose time has come; at most about right while many come and go.
    pub due: u64,
    /// At work now.
    pub running: u64,
    /// In the store of those that were given up.
    pub dead: u64,
    /// Done since the start.
    pub done: u64,
    /// Attempts that failed since the start.
    pub failed: u64,
    /// Given up since the start.
    pub given_up: u64,
    /// Put off since the start, without an attempt.
    pub postponed: u64,
    /// How long the oldest that is due has been, in milliseconds.
    pub oldest_due_millis: u64,
}

/// Who runs jobs is told that some may have come.
type Notice = Box<dyn Fn() + Send + Sync>;

/// The engine's part of it.
#[derive(Default)]
pub(crate) struct Jobs {
    set_up: OnceLock<(JobOptions, Notice)>,
    running: AtomicU64,
    done: AtomicU64,
    failed: AtomicU64,
    given_up: AtomicU64,
    postponed: AtomicU64,
}

impl Jobs {
    /// The rules; refuses where nobody runs jobs.
    pub(crate) fn options(&self) -> Result<&JobOptions, Refusal> {
        self.set_up.get().map(|(options, _)| options).ok_or_else(|| {
            let message = "nobody runs jobs here: they are run where the service has a guest; set \
                           wasm.enabled in service.yaml and start it again";
            Refusal::new(Status::NotSetUp, message)
        })
    }

    /// A commit has written to a store of that name.
    pub(crate) fn touched(&self, store: &str) {
        if store == JOBS
            && let Some((_, notice)) = self.set_up.get()
        {
            notice();
        }
    }
}

/// Whether a store is the system's own: nobody else can make one of such a name.
pub(crate) fn is_own(store: &str) -> bool {
    store.starts_with('_')
}

/// What an operation needs that does this in a store: writing to the system's own needs a
/// right of its own.
pub(crate) fn action_in(store: &str, action: Action) -> Action {
    if action == Action::Write && is_own(store) { Action::Schedule } else { action }
}

impl Engine {
    /// Begins to take jobs, and makes the stores they are kept in. Once: a second call
    /// changes nothing. `notice` is called, briefly, after each commit that may have brought
    /// one.
    ///
    /// # Errors
    /// The stores cannot be made.
    pub fn begin_jobs(
        &self,
        options: JobOptions,
        notice: impl Fn() + Send + Sync + 'static,
    ) -> Result<(), Refusal> {
        // A replica has those of its primary, and jobs are run there.
        if self.leads() {
            self.make_job_stores()?;
        }
        // The first one stays.
        drop(self.jobs.set_up.set((options, Box::new(notice))));
        Ok(())
    }

    fn make_job_stores(&self) -> Result<(), Refusal> {
        let now = self.now_millis();
        // What the system makes for itself is nobody's deed.
        self.catalogs.change(&self.lsm, &Deed::unseen(), |draft| {
            draft.create_own_store(JOBS, Some((DUE_INDEX, DUE_FIELD)), now)?;
            draft.create_own_store(DEAD, None, now)?;
            draft.create_own_store(CRON, None, now)
        })
    }

    /// This server was promoted: jobs are run here from now on.
    ///
    /// # Errors
    /// As of [`Engine::begin_jobs`].
    pub(crate) fn take_over_jobs(&self) -> Result<(), Refusal> {
        if self.jobs.set_up.get().is_some() {
            self.make_job_stores()?;
            self.jobs.touched(JOBS);
        }
        Ok(())
    }

    /// How many jobs are at work, for the figures.
    pub fn jobs_at_work(&self, running: usize) {
        self.jobs.running.store(running as u64, Relaxed);
    }

    /// The store of that name as it is now; `None`: no jobs were ever taken here.
    fn own_store(&self, name: &str) -> Option<Arc<Store>> {
        self.catalogs.read().stores.get(name).cloned()
    }

    /// What is told of jobs.
    pub(crate) fn job_figures(&self) -> JobFigures {
        let of = |name| self.own_store(name).map_or(0, |store| store.documents_now(self));
        let (due, oldest) = self.due_figures().unwrap_or_default();
        let jobs = &self.jobs;
        JobFigures {
            waiting: of(JOBS),
            due,
            running: jobs.running.load(Relaxed),
            dead: of(DEAD),
            done: jobs.done.load(Relaxed),
            failed: jobs.failed.load(Relaxed),
            given_up: jobs.given_up.load(Relaxed),
            postponed: jobs.postponed.load(Relaxed),
            oldest_due_millis: oldest,
        }
    }

    /// Does something by a transaction of the engine's own, again if it is disturbed.
    fn by_itself<T>(&self, f: impl Fn(&Within) -> Result<T, Refusal>) -> Result<T, Refusal> {
        /// Who disturbs it are other jobs and people: it is brief, so it comes through.
        const ATTEMPTS: usize = 16;
        let mut attempt = 1;
        loop {
            let within = self.within(Begins::ToWrite)?;
            let done = f(&within)?;
            match self.commit_own(within) {
                Err(refusal)
                    if refusal.status == Status::TransactionConflict && attempt < ATTEMPTS =>
                {
                    attempt += 1;
                }
                Err(refusal) => return Err(refusal),
                Ok(_) => return Ok(done),
            }
        }
    }
}
