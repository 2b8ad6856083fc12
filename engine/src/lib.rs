//! Catalog, documents, PQL and the one dispatch path.
//!
//! What must stay true:
//! * every caller (wire, guests, tools) enters at [`Engine::dispatch_packet`],
//!   where authorisation, limits and counts live once (`dispatch.rs`);
//! * an operation that is refused changed nothing (`error.rs`), but for one case: a
//!   write whose sync failed may be found after a restart;
//! * what is read, decided and written together happens under one commit lock
//!   (`ops/mod.rs`);
//! * a document is written with what it changes in the indexes of its store, in one
//!   batch (`ops/change.rs`, `index/mod.rs`);
//! * a job is there once what asked for it is, and goes with what it did (`jobs/mod.rs`);
//! * what belongs together by a transaction takes effect at one place in the order of
//!   commits, or not at all (`transaction/mod.rs`);
//! * nothing stored fails to fit a reply (`options.rs`).

mod audit;
mod auth;
mod backup;
mod catalog;
mod counters;
mod dispatch;
mod document;
mod error;
mod figures;
mod index;
mod jobs;
mod keys;
mod module;
mod ops;
mod options;
mod patience;
pub mod pql;
pub mod query;
mod replica;
#[cfg(test)]
mod tests;
mod transaction;
mod watch;

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};

use lsm::Lsm;
use platform::{Clock, Disk, Entropy};

pub use audit::{AuditBegin, AuditCut, AuditOptions, AuditReport, verify_audit};
pub use auth::{Action, Principal, Role, allows};
pub use backup::{BackupTarget, TakenBackup};
pub use error::{OpenError, Refusal};
pub use figures::{
    AuditFigures, Beside, Figures, OperationFigures, QueryFigures, TransactionFigures,
    WatchFigures, push_latency,
};
pub use jobs::{
    CRON, Claim, CronEntry, DEAD, Due, JOBS, Job, JobEnd, JobFigures, JobOptions, Later, NewJob,
    Retry,
};
pub use lsm::{
    ArchiveStepper, BackupInfo, Committed, Lsn, Options as StorageOptions, State, Step, Stepper,
    SyncMode,
};
pub use module::{Modules, Reloaded};
pub use ops::{IndexReport, Waits};
pub use options::{Limits, Options};
pub use patience::Call;
pub use replica::{
    Bootstrap, FollowerFigures, LinkFigures, Offered, Place, ReplicaOptions, ReplicaRole,
    ReplicationFigures, Took, place,
};
pub use transaction::{CallTransaction, Calls, Concluded, JobEnded};

/// A document database. All methods take `&self`, may be called from any
/// thread, and block: on the disk, and a write on other writes.
pub struct Engine {
    /// Before the storage, and so dropped before it: cursors hold snapshots.
    queries: query::Desk,
    /// So do transactions.
    transactions: transaction::Desk,
    /// And who watches the log.
    watches: watch::Desk,
    lsm: Lsm,
    catalogs: catalog::Catalogs,
    keys: keys::KeyMaker,
    slots: auth::Slots,
    pace: auth::Pace,
    audit: Option<audit::Audit>,
    counters: counters::Counters,
    /// What else `Stats` tells of.
    beside: OnceLock<Arc<dyn Beside>>,
    jobs: jobs::Jobs,
    replica: replica::Desk,
    /// Who changes the guest's module.
    modules: OnceLock<Arc<dyn Modules>>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    limits: Limits,
    backups: backup::Desk,
    sessions: AtomicU64,
    /// One piece of the engine's own background work at a time.
    tending: parking_lot::Mutex<ops::Tended>,
}

impl Engine {
    /// Opens the database in `disk`'s root, making it if there is none.
    ///
    /// # Errors
    /// A limit out of bounds, storage that cannot be opened, a damaged catalog,
    /// one of a newer version. Nothing was changed then.
    pub fn open(
        disk: Arc<dyn Disk>,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
        options: Options,
    ) -> Result<Engine, OpenError> {
        options.limits.check()?;
        options.audit.as_ref().map_or(Ok(()), AuditOptions::check)?;
        let storage = lsm::Options { wal_salt: entropy.next_u64(), ..options.storage };
        let lsm = Lsm::open(Arc::clone(&disk), Arc::clone(&clock), storage)?;
        let log = Arc::clone(&disk);
        // Before anything that commits: a replica makes no commits.
        let replica = replica::Desk::open(&lsm, Arc::clone(&disk), &clock, options.replica)?;
        // Under the lock that the storage holds: nobody else spills here.
        let space = query::SpillSpace::open(disk).map_err(|source| {
            let file = "spill".to_owned();
            OpenError::Storage(lsm::Error::Io { doing: "empty", file, source })
        })?;
        let (slow, cursors) = (options.limits.slow_query_micros, options.limits.of_cursors());
        let queries = query::Desk::new(Arc::clone(&clock), space, slow, cursors);
        let transactions =
            transaction::Desk::new(Arc::clone(&clock), options.limits.of_transactions());
        let watches = watch::Desk::new(Arc::clone(&clock), replica.set());
        let catalogs = catalog::Catalogs::load(&lsm)?;
        // Last: what cannot be opened has not started.
        let audit = match options.audit {
            Some(audit) => {
                let opened = audit::Audit::open(log, Arc::clone(&clock), audit);
                Some(opened.map_err(OpenError::Audit)?)
            }
            None => None,
        };
        let keys = keys::KeyMaker::new(Arc::clone(&clock), Arc::clone(&entropy));
        Ok(Engine {
            queries,
            transactions,
            watches,
            lsm,
            catalogs,
            keys,
            slots: auth::Slots::new(),
            pace: auth::Pace::default(),
            audit,
            counters: counters::Counters::default(),
            beside: OnceLock::new(),
            jobs: jobs::Jobs::default(),
            replica,
            modules: OnceLock::new(),
            clock,
            entropy,
            limits: options.limits,
            backups: backup::Desk::new(options.backup),
            sessions: AtomicU64::new(1),
            tending: parking_lot::Mutex::default(),
        })
    }

    /// What a request may be and use.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// One bounded piece of background work: for a thread that calls it until it
    /// is [`Step::Idle`], then waits a little.
    ///
    /// # Errors
    /// The storage's; it goes on, and [`Engine::stats`] keeps the reason.
    pub fn maintenance(&self) -> Result<Step, Refusal> {
        Ok(self.lsm.step()?)
    }

    /// Says that this thread calls [`Engine::maintenance`]: while it lives, writes
    /// that find no room wait for that instead of flushing themselves.
    pub fn stepper(&self) -> Stepper {
        self.lsm.stepper()
    }

    /// Whether the storage takes writes, and why not. Cheap.
    pub fn state(&self) -> State {
        self.lsm.state()
    }

    /// Says that a thread calls [`Engine::archive`]: while it lives,
    /// [`Engine::maintenance`] leaves the log's archive alone, so that no write waits
    /// for its disk. `None`: the log is not archived.
    pub fn archive_stepper(&self) -> Option<ArchiveStepper> {
        self.lsm.archive_stepper()
    }

    /// One bounded piece of archiving the log, as long as the archive's disk takes:
    /// for a thread that calls it until it is [`Step::Idle`], then waits a little.
    ///
    /// # Errors
    /// The archive's; calls go on, it is tried again after a pause, and
    /// [`Engine::stats`] keeps the reason. The log is not cut meanwhile.
    pub fn archive(&self) -> Result<Step, Refusal> {
        Ok(self.lsm.step_archive()?)
    }

    /// The timer's part: makes every acknowledged write durable; returns how far.
    ///
    /// # Errors
    /// The disk failed: writes are refused until the engine is opened again.
    pub fn sync(&self) -> Result<Lsn, Refusal> {
        Ok(self.lsm.sync()?)
    }

    /// Moves what is in memory to the trees and the value log.
    ///
    /// # Errors
    /// As [`Engine::maintenance`].
    pub fn flush(&self) -> Result<Lsn, Refusal> {
        Ok(self.lsm.flush()?)
    }

    /// Why the storage must be opened again before it takes writes for long, if it
    /// must: the log, the page file or the value log failed. Reads go on. Waits for a
    /// flush that runs.
    pub fn poisoned(&self) -> Option<String> {
        self.lsm.poisoned().or_else(|| self.lsm.flush_poisoned())
    }

    /// Syncs and closes.
    ///
    /// # Errors
    /// As [`Engine::sync`].
    pub fn close(self) -> Result<(), Refusal> {
        self.audit_stop();
        drop((self.queries, self.transactions, self.watches));
        Ok(self.lsm.close()?)
    }

    /// A number for a session: see [`Principal::in_session`].
    pub fn begin_session(&self) -> u64 {
        self.sessions.fetch_add(1, Relaxed)
    }

    /// The session of that caller has ended: its cursors and transactions are let go of.
    /// Cheap if it has none.
    pub fn end_session(&self, who: &Principal) {
        self.transactions.end_session(who);
        self.queries.end_session(who);
    }

    /// The queries that run, or wait for their next page to be fetched, oldest first.
    pub fn running_queries(&self) -> Vec<query::RunningQuery> {
        self.queries.list(None)
    }

    /// Ends a query: one that runs after a bounded piece of work, and its caller is
    /// told, and nothing changed; one that waits at once. `false` if there is none of
    /// that number.
    pub fn cancel_query(&self, id: u64) -> bool {
        self.queries.cancel(id, None)
    }

    /// The last queries that took `limits.slow_query_micros` or longer, oldest first,
    /// whoever asked them.
    pub fn slow_queries(&self) -> Vec<query::SlowQuery> {
        self.queries.slow(0, None)
    }

    /// As [`Engine::slow_queries`], those with a number beyond `number` alone: for who
    /// asks again and again. Cheap if there is none.
    pub fn slow_queries_after(&self, number: u64) -> Vec<query::SlowQuery> {
        self.queries.slow(number, None)
    }

    fn now_millis(&self) -> i64 {
        millis(self.clock.wall_micros())
    }
}

/// Wall time as documents have it.
pub(crate) fn millis(micros: u64) -> i64 {
    i64::try_from(micros / 1000).unwrap_or(i64::MAX)
}
