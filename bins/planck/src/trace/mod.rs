//! Traces: what one HTTP request did, from its head through each host call to the commit.
//!
//! What must stay true:
//! * a request that is not sampled costs one draw of a number, and one look for each host
//!   call; with no endpoint not even that;
//! * nothing waits for the collector: finished traces wait in a bounded queue, and beyond
//!   it they are dropped and counted, as are spans beyond [`SPANS`] of one trace;
//! * no span holds what a client has sent but method, path (without its query) and the
//!   names of stores.
//!
//! ```text
//! HTTP request                          Pages::handle
//!   guest call                          the pool's worker
//!     host request (operation, store)   GuestHost::request
//!       commit (LSN)                    lsm, told by `Engine::watched`
//!         wait for sync
//! ```

mod export;
mod otlp;
mod parent;

pub use parent::Parent;

use crate::config::Config;
use engine::Committed;
use platform::Entropy;
use platform::real::RealEntropy;
use runtime_api::pool::Follows;
use std::cell::RefCell;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};
use tokio::sync::mpsc;

/// Spans of one trace at most.
const SPANS: usize = 512;
/// Finished traces that wait to be sent, at most.
const QUEUE: usize = 1024;

/// A value of an attribute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// Words.
    Text(String),
    /// A number.
    Number(u64),
}

/// What a span is in the eyes of others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// A step within the service.
    Internal = 1,
    /// The service's part of somebody's request.
    Server = 2,
}

/// One step.
#[derive(Clone, Debug)]
pub struct Span {
    id: u64,
    parent: Option<u64>,
    name: &'static str,
    role: Role,
    /// In nanoseconds since 1970.
    begun: u64,
    ended: u64,
    attributes: Vec<(&'static str, Value)>,
    failed: bool,
}

/// A trace that is finished.
#[derive(Debug)]
struct Finished {
    id: u128,
    spans: Vec<Span>,
}

/// What is counted of traces.
#[derive(Debug, Default)]
pub struct TraceFigures {
    /// Spans sent, and taken by the collector.
    pub sent: AtomicU64,
    /// Spans dropped: the queue or the trace was full, or the collector did not take them.
    pub dropped: AtomicU64,
}

/// Begins traces.
pub struct Tracer {
    queue: mpsc::Sender<Finished>,
    per_mille: u64,
    trusts: bool,
    figures: Arc<TraceFigures>,
}

impl Tracer {
    /// Of the settings; `None`: they name no endpoint. What it finishes is sent by a task of
    /// this runtime, which ends with it.
    pub fn start(
        config: &Config,
        service: &str,
        figures: Arc<TraceFigures>,
    ) -> Option<(Tracer, tokio::task::JoinHandle<()>)> {
        let settings = &config.db.tracing;
        let endpoint = settings.otlp_endpoint.clone()?;
        let (queue, finished) = mpsc::channel(QUEUE);
        let exporter = export::Exporter::new(endpoint, service, Arc::clone(&figures));
        let sending = tokio::spawn(exporter.run(finished));
        let (per_mille, trusts) = (settings.sample_per_mille.get(), settings.trust_parent);
        Some((Tracer { queue, per_mille, trusts, figures }, sending))
    }

    /// A trace of a request, if it is to be traced.
    pub fn begin(&self, parent: Option<Parent>) -> Option<Arc<Trace>> {
        let drawn = || RealEntropy.next_u64() % 1000 < self.per_mille;
        let sampled = match parent {
            Some(parent) if self.trusts => parent.sampled,
            _ => drawn(),
        };
        sampled.then(|| Arc::new(Trace::new(parent)))
    }

    /// The request is answered.
    pub fn finish(&self, trace: &Trace, attributes: Vec<(&'static str, Value)>, failed: bool) {
        let root = Span {
            id: trace.root,
            parent: trace.parent,
            name: "HTTP request",
            role: Role::Server,
            begun: trace.wall(trace.begun),
            ended: trace.wall(Instant::now()),
            attributes,
            failed,
        };
        let mut steps = trace.steps();
        let (mut spans, lost) = (std::mem::take(&mut steps.spans), steps.lost);
        drop(steps);
        spans.push(root);
        let count = spans.len() as u64;
        let is_full = self.queue.try_send(Finished { id: trace.id, spans }).is_err();
        let dropped = lost + if is_full { count } else { 0 };
        self.figures.dropped.fetch_add(dropped, Relaxed);
    }
}

/// A trace of a request that is at work.
pub struct Trace {
    id: u128,
    root: u64,
    parent: Option<u64>,
    begun: Instant,
    /// Nanoseconds since 1970 when it began.
    begun_wall: u64,
    steps: Mutex<Steps>,
}

#[derive(Default)]
struct Steps {
    spans: Vec<Span>,
    lost: u64,
    /// The guest's call that runs: its span, and when it began.
    call: Option<(u64, Instant)>,
}

thread_local! {
    /// The trace whose guest this thread runs.
    static CURRENT: RefCell<Option<Arc<Trace>>> = const { RefCell::new(None) };
}

impl Trace {
    fn new(parent: Option<Parent>) -> Trace {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let id = || (u128::from(RealEntropy.next_u64()) << 64) | u128::from(fresh());
        Trace {
            id: parent.map_or_else(id, |parent| parent.trace),
            root: fresh(),
            parent: parent.map(|parent| parent.span),
            begun: Instant::now(),
            begun_wall: u64::try_from(wall.as_nanos()).unwrap_or(u64::MAX),
            steps: Mutex::default(),
        }
    }

    /// The trace whose guest this thread runs, if there is one.
    pub fn current() -> Option<Arc<Trace>> {
        CURRENT.with_borrow(Clone::clone)
    }

    /// A host call that has ended: what it was, whether it failed, and what it committed, by
    /// a clock that showed `now` when it ended.
    pub fn host_request(
        &self,
        begun: Instant,
        attributes: Vec<(&'static str, Value)>,
        failed: bool,
        committed: &[Committed],
        now: u64,
    ) {
        let ended = self.wall(Instant::now());
        let (id, name) = (fresh(), "host request");
        let parent = Some(self.steps().call.map_or(self.root, |(call, _)| call));
        let begun = self.wall(begun);
        let role = Role::Internal;
        self.add(Span { id, parent, name, role, begun, ended, attributes, failed });
        for commit in committed {
            let at = |moment: u64| ended.saturating_sub(now.saturating_sub(moment));
            let commit_id = fresh();
            self.add(Span {
                id: commit_id,
                parent: Some(id),
                name: "commit",
                role,
                begun: at(commit.begun),
                ended: at(commit.ended),
                attributes: vec![("planck.lsn", Value::Number(commit.lsn))],
                failed: false,
            });
            self.add(Span {
                id: fresh(),
                parent: Some(commit_id),
                name: "wait for sync",
                role,
                begun: at(commit.logged),
                ended: at(commit.ended),
                attributes: Vec::new(),
                failed: false,
            });
        }
    }

    fn add(&self, span: Span) {
        let mut steps = self.steps();
        if steps.spans.len() < SPANS {
            steps.spans.push(span);
        } else {
            steps.lost += 1;
        }
    }

    fn steps(&self) -> std::sync::MutexGuard<'_, Steps> {
        // A span too few is the worst that a holder that panicked leaves.
        self.steps.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A moment in nanoseconds since 1970.
    fn wall(&self, moment: Instant) -> u64 {
        let since = moment.saturating_duration_since(self.begun).as_nanos();
        self.begun_wall.saturating_add(u64::try_from(since).unwrap_or(u64::MAX))
    }
}

/// A request's trace, as the pool is given it.
pub struct Following(pub Arc<Trace>);

impl Follows for Following {
    fn begins(&self) {
        self.0.steps().call = Some((fresh(), Instant::now()));
        CURRENT.set(Some(Arc::clone(&self.0)));
    }

    fn ends(&self, failed: bool) {
        CURRENT.set(None);
        let call = self.0.steps().call.take();
        let Some((id, begun)) = call else { return };
        let (begun, ended) = (self.0.wall(begun), self.0.wall(Instant::now()));
        let (parent, name) = (Some(self.0.root), "guest call");
        let (role, attributes) = (Role::Internal, Vec::new());
        self.0.add(Span { id, parent, name, role, begun, ended, attributes, failed });
    }
}

/// A number for a span; never 0, which means none.
fn fresh() -> u64 {
    RealEntropy.next_u64().max(1)
}

#[cfg(test)]
mod tests;
