//! The figures of an engine, typed: what `Stats` answers and what is measured from outside
//! are both made of them, and so never differ.

use platform::Distribution;
use proto::doc::DocBuf;
use proto::{Opcode, Status};

use crate::{Engine, JobFigures, Refusal, ReplicationFigures};

/// A picture of an engine; the figures are read one after the other.
#[derive(Clone, Debug)]
pub struct Figures {
    /// The storage's.
    pub storage: lsm::Stats,
    /// Stores that there are.
    pub stores: usize,
    /// Users that there are.
    pub users: usize,
    /// Each operation's.
    pub operations: Vec<OperationFigures>,
    /// Requests answered with an error, by status; those alone that there were.
    pub refusals: Vec<(Status, u64)>,
    /// The queries'.
    pub queries: QueryFigures,
    /// The transactions'.
    pub transactions: TransactionFigures,
    /// The change streams'.
    pub watches: WatchFigures,
    /// Those of jobs.
    pub jobs: JobFigures,
    /// The audit log's, if one is written.
    pub audit: Option<AuditFigures>,
    /// Those of replication.
    pub replication: ReplicationFigures,
}

/// Requests of one operation since the engine was opened.
#[derive(Clone, Debug)]
pub struct OperationFigures {
    /// Which.
    pub opcode: Opcode,
    /// Requests that were understood.
    pub requests: u64,
    /// Nanoseconds that those of the wire took.
    pub wire: Distribution,
    /// Nanoseconds that those of guests took.
    pub guest: Distribution,
}

/// Queries, and the cursors that wait for their next page to be fetched.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueryFigures {
    /// Running now.
    pub running: usize,
    /// That were slow, so far.
    pub slow: u64,
    /// Runs of rows that did not fit memory and went to disk, so far.
    pub spilled_runs: u64,
    /// Cursors that there are.
    pub open_cursors: usize,
    /// Cursors that expired, so far.
    pub expired_cursors: u64,
    /// Bytes of memory that cursors hold.
    pub cursor_memory: u64,
    /// Bytes on disk that cursors hold.
    pub cursor_spill: u64,
}

/// Transactions: those of the wire, over several requests, and those of guests' calls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TransactionFigures {
    /// Of the wire, open now.
    pub open: usize,
    /// Bytes of memory that their writes and reads take.
    pub memory: u64,
    /// Let go of since nobody used them, or they lasted too long, so far.
    pub expired: u64,
    /// Committed so far, with something written.
    pub committed: u64,
    /// Refused since another commit had changed what they rest on, so far.
    pub conflicts: u64,
    /// Calls of guests that were run again for that, so far.
    pub again: u64,
}

/// Change streams.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WatchFigures {
    /// Pages given, those without an event too, so far.
    pub pages: u64,
    /// Events given so far.
    pub events: u64,
    /// Bytes of the pages with events, so far.
    pub bytes: u64,
    /// Watchers told that the log does not reach back to where they were, so far.
    pub gaps: u64,
    /// How many commits the one furthest behind was behind, of those of the last seconds.
    pub behind: u64,
    /// Bytes of memory that hold the newest commits for all of them.
    pub memory: usize,
}

/// The audit log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditFigures {
    /// The number of its last line.
    pub lines: u64,
    /// Files that there are.
    pub files: u64,
    /// Lines that could not be written, ever.
    pub lost: u64,
    /// Why the last could not be, if so.
    pub error: Option<String>,
}

/// Figures of what stands beside the engine in its process: they are told with its own.
pub trait Beside: Send + Sync {
    /// Appends them. Must be brief.
    fn stats(&self, doc: &mut DocBuf);
}

impl Engine {
    /// All figures at one moment.
    ///
    /// # Errors
    /// The table of the value log's dead bytes cannot be read.
    pub fn figures(&self) -> Result<Figures, Refusal> {
        let storage = self.lsm.stats()?;
        let (stores, users) = {
            let catalog = self.catalogs.read();
            (catalog.stores.len(), catalog.users.len())
        };
        let (running, cursors) = self.queries.figures();
        let operations = Opcode::ALL.iter().map(|&opcode| {
            let (wire, guest) = self.counters.took(opcode);
            OperationFigures { opcode, requests: self.counters.requests(opcode), wire, guest }
        });
        Ok(Figures {
            storage,
            stores,
            users,
            operations: operations.collect(),
            refusals: self.counters.refusals().filter(|(_, count)| *count > 0).collect(),
            queries: QueryFigures {
                running,
                slow: self.queries.slow_count(),
                spilled_runs: self.queries.spilled_runs(),
                open_cursors: cursors.open,
                expired_cursors: cursors.expired,
                cursor_memory: cursors.held.memory,
                cursor_spill: cursors.held.disk,
            },
            transactions: self.transactions.figures(),
            watches: self.watches.figures(),
            jobs: self.job_figures(),
            audit: self.audit_figures(),
            replication: self.replication(),
        })
    }

    /// Has `Stats` tell admins the figures of what stands beside this engine too. Once: a
    /// second call changes nothing.
    pub fn stand_beside(&self, beside: std::sync::Arc<dyn Beside>) {
        // The first one stays.
        drop(self.beside.set(beside));
    }
}

/// Appends how often, and how long in microseconds, under a name; nothing if never.
pub fn push_latency(doc: &mut DocBuf, name: &str, took: &Distribution) {
    let figure = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
    if took.count() == 0 {
        return;
    }
    doc.doc(name, |doc| {
        doc.push("count", figure(took.count()));
        for (name, per_mille) in [("p50_us", 500), ("p99_us", 990), ("p999_us", 999)] {
            doc.push(name, figure(took.quantile(per_mille).div_ceil(1000)));
        }
    });
}
