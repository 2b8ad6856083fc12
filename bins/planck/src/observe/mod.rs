//! What can be seen of a running service from outside: figures, health, readiness.
//!
//! What must stay true: every figure is counted in one place, where it comes to pass, and
//! only looked at here: `Stats` and `/metrics` are two ways to tell the same. Nothing
//! here keeps the engine or the pool alive. No figure and no reason holds what a client
//! has sent: names of routes excepted, which are bounded.

mod admin;
mod edge;
mod process;
mod replication;
mod routes;
mod storage;
mod text;
mod upstreams;

pub use admin::Admin;
pub use routes::HttpFigures;

use crate::guests::{Guests, ModuleFigures};
use crate::log::Log;
use crate::trace::TraceFigures;
use crate::watchers::Watchers;
use engine::{Beside, Engine, Figures, State, push_latency};
use net::Traffic;
use net::tls::Certificates;
use net::upstream::UpstreamStats;
use process::Process;
use proto::doc::DocBuf;
use runtime_api::TrapKind;
use runtime_api::pool::PoolStats;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::Instant;
use text::Page;

/// How far the service is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The data is opened: its log is replayed.
    Opening,
    /// The guest is compiled, and the listeners are set up.
    Starting,
    /// Requests are served.
    Serving,
    /// No more are taken, those in flight end.
    Draining,
}

/// What is counted of the wire.
#[derive(Debug, Default)]
pub struct WireFigures {
    /// Sessions that began, and ended.
    pub begun: AtomicU64,
    /// Of them, those that ended.
    pub ended: AtomicU64,
    /// Attempts to authenticate that failed.
    pub auth_failures: AtomicU64,
    /// Addresses that were locked out, and accounts that are guarded.
    pub lockouts: AtomicU64,
    /// Requests that are at work.
    pub at_work: AtomicU64,
    /// Bytes of requests.
    pub received: AtomicU64,
    /// Bytes of replies.
    pub sent: AtomicU64,
}

/// What there is to be looked at; it comes bit by bit while the service starts.
pub struct Observed {
    begun: Instant,
    phase: Mutex<Phase>,
    engine: OnceLock<Weak<Engine>>,
    guests: OnceLock<Weak<Guests>>,
    /// What HTTP counts.
    pub http: HttpFigures,
    /// What the wire counts.
    pub wire: WireFigures,
    watchers: OnceLock<Weak<Watchers>>,
    /// Connections, by listener.
    traffic: Mutex<Vec<(&'static str, Arc<Traffic>)>>,
    certificates: Mutex<Vec<(&'static str, Arc<Certificates>)>>,
    log: Arc<Log>,
    /// What traces count.
    pub traces: Arc<TraceFigures>,
}

/// Everything at one moment.
#[derive(Default)]
struct Picture {
    figures: Option<Figures>,
    pool: Option<PoolStats>,
    module: Option<ModuleFigures>,
    upstreams: Vec<UpstreamStats>,
    process: Process,
    seconds_up: f64,
    is_ready: bool,
}

impl Observed {
    /// Of a process that begins.
    pub fn new(log: Arc<Log>) -> Observed {
        Observed {
            begun: Instant::now(),
            phase: Mutex::new(Phase::Opening),
            engine: OnceLock::new(),
            guests: OnceLock::new(),
            http: HttpFigures::default(),
            wire: WireFigures::default(),
            watchers: OnceLock::new(),
            traffic: Mutex::default(),
            certificates: Mutex::default(),
            log,
            traces: Arc::default(),
        }
    }

    /// The data is open.
    pub fn opened(&self, engine: &Arc<Engine>) {
        self.engine.get_or_init(|| Arc::downgrade(engine));
        self.enter(Phase::Starting);
    }

    /// The guest's instances are there.
    pub fn guests(&self, guests: &Arc<Guests>) {
        self.guests.get_or_init(|| Arc::downgrade(guests));
    }

    /// Who waits for commits is counted there.
    pub fn watched(&self, watchers: &Arc<Watchers>) {
        self.watchers.get_or_init(|| Arc::downgrade(watchers));
    }

    /// A listener is there.
    pub fn listens(&self, name: &'static str, traffic: Arc<Traffic>) {
        unpoisoned(&self.traffic).push((name, traffic));
    }

    /// A listener serves these.
    pub fn serves(&self, name: &'static str, certificates: &Arc<Certificates>) {
        unpoisoned(&self.certificates).push((name, Arc::clone(certificates)));
    }

    /// The service is so far now.
    pub fn enter(&self, phase: Phase) {
        *unpoisoned(&self.phase) = phase;
    }

    fn engine(&self) -> Option<Arc<Engine>> {
        self.engine.get().and_then(Weak::upgrade)
    }

    fn serving(&self) -> Option<Arc<Guests>> {
        self.guests.get().and_then(Weak::upgrade)
    }

    /// Why requests should go elsewhere; empty: they need not. Cheap.
    fn reasons(&self) -> Vec<(&'static str, String)> {
        let mut reasons = Vec::new();
        let mut add = |code, why: &str| reasons.push((code, why.to_owned()));
        match *unpoisoned(&self.phase) {
            Phase::Opening => add("opening", "the data is opened and its log replayed"),
            Phase::Starting => add("starting", "the guest and the listeners are started"),
            Phase::Draining => add("draining", "the service stops"),
            Phase::Serving => {}
        }
        match self.engine().map(|engine| engine.state()) {
            Some(State::ReadOnly { why, .. }) => add("read_only", &why),
            Some(State::Poisoned { why }) => add("poisoned", &why),
            Some(State::Healthy) | None => {}
        }
        if let Some(pool) = self.serving().map(|guests| guests.pool().stats())
            && pool.instances == 0
            && let Some(why) = &pool.last_failed_start
        {
            add("no_guest", why);
        }
        reasons
    }

    /// Looks at everything. Takes locks: for a thread that may block.
    fn look(&self) -> Picture {
        Picture {
            // What cannot be read is left out, as what is not there yet.
            figures: self.engine().and_then(|engine| engine.figures().ok()),
            pool: self.serving().map(|guests| guests.stats()),
            module: self.serving().map(|guests| guests.module()),
            upstreams: self.serving().map(|guests| guests.upstreams()).unwrap_or_default(),
            process: Process::look(),
            seconds_up: self.begun.elapsed().as_secs_f64(),
            is_ready: self.reasons().is_empty(),
        }
    }

    /// The page of `/metrics`. As [`Observed::look`].
    fn page(&self) -> Page {
        let (mut page, picture) = (Page::default(), self.look());
        edge::process(&mut page, self, &picture);
        edge::wire(&mut page, self);
        edge::http(&mut page, self);
        edge::pool(&mut page, picture.pool.as_ref());
        edge::module(&mut page, picture.module.as_ref());
        upstreams::page(&mut page, &picture.upstreams);
        storage::operations(&mut page, picture.figures.as_ref());
        storage::log(&mut page, picture.figures.as_ref());
        storage::memory(&mut page, picture.figures.as_ref());
        storage::disk(&mut page, picture.figures.as_ref());
        storage::queries(&mut page, picture.figures.as_ref());
        let waiting = self.watchers.get().and_then(Weak::upgrade);
        let waiting = waiting.map(|watchers| watchers.waiting() as u64);
        storage::watches(&mut page, picture.figures.as_ref(), waiting);
        let figures = picture.figures.as_ref().map(|figures| &figures.replication);
        replication::page(&mut page, figures);
        page
    }
}

impl Beside for Observed {
    fn stats(&self, doc: &mut DocBuf) {
        let figure = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        doc.push("uptime_s", figure(self.begun.elapsed().as_secs()));
        let wire = &self.wire;
        doc.doc("wire", |doc| {
            for (name, count) in [
                ("sessions", live(&wire.begun, &wire.ended)),
                ("auth_failures", wire.auth_failures.load(Relaxed)),
                ("lockouts", wire.lockouts.load(Relaxed)),
                ("received_bytes", wire.received.load(Relaxed)),
                ("sent_bytes", wire.sent.load(Relaxed)),
            ] {
                doc.push(name, figure(count));
            }
        });
        doc.doc("connections", |doc| {
            for (name, traffic) in unpoisoned(&self.traffic).iter() {
                doc.doc(name, |doc| {
                    doc.push("open", figure(traffic.open()));
                    doc.push("accepted", figure(traffic.accepted()));
                    doc.push("refused", figure(traffic.refused()));
                });
            }
        });
        let routes = self.http.routes();
        if !routes.is_empty() {
            doc.doc("http", |doc| {
                routes.iter().for_each(|(route, seen)| push_latency(doc, route, seen));
            });
        }
        if let Some(guests) = self.serving() {
            doc.doc("pool", |doc| pool_stats(doc, &guests.stats()));
            let module = guests.module();
            doc.doc("module", |doc| {
                doc.push("hash", module.hash.as_str());
                doc.push("changes", figure(module.changes));
                doc.push("failures", figure(module.failures));
            });
            let called = guests.upstreams();
            if !called.is_empty() {
                doc.doc("upstreams", |doc| upstreams::document(doc, &called));
            }
        }
    }
}

fn pool_stats(doc: &mut DocBuf, pool: &PoolStats) {
    let figure = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
    for (name, count) in [
        ("instances", pool.instances as u64),
        ("busy", pool.busy as u64),
        ("waiting", pool.waiting as u64),
        ("refused", pool.refused),
        ("recycled", pool.recycled),
        ("timeouts", pool.trapped(TrapKind::Deadline)),
        ("traps", pool.traps.iter().sum()),
    ] {
        doc.push(name, figure(count));
    }
    push_latency(doc, "wait", &pool.waits);
    push_latency(doc, "call", &pool.took);
}

/// How many there are, of those that began and ended.
fn live(begun: &AtomicU64, ended: &AtomicU64) -> u64 {
    // One that ends in between must not make it less than none.
    let ended = ended.load(Relaxed);
    begun.load(Relaxed).saturating_sub(ended)
}

fn unpoisoned<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // Nothing is left half-done behind these if a holder panicked.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The reference of all metrics, as Markdown.
pub fn reference() -> String {
    let page = Observed::new(Log::silent()).page();
    let mut text = "# Metrics\n\nWhat `/metrics` of the admin address tells Prometheus, in the \
                    order of its page. Printed by `planck --metrics`. Histograms have a bucket for \
                    each power of two, from a microsecond to 137 s, or from 1 to 65,536.\n\n\
                    | metric | kind | labels | meaning |\n|---|---|---|---|\n"
        .to_owned();
    for row in page.rows() {
        let labels: Vec<String> = row.labels.iter().map(|label| format!("`{label}`")).collect();
        let kind = format!("{:?}", row.kind).to_lowercase();
        text += &format!("| `{}` | {kind} | {} | {} |\n", row.name, labels.join(", "), row.help);
    }
    text
}

#[cfg(test)]
mod tests;
