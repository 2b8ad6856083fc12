//! The guests that serve: their module, their pool, and how another module takes over.
//!
//! What must stay true: a module serves only once it was read, compiled and tried, and all
//! instances that are kept ready are there; whatever of that fails, the one before serves
//! on. One change at a time, until the last call of the old module has ended: no more than
//! two pools have instances. Counts go on over a change. Nothing here runs on a thread that
//! others need.

use crate::compile::{Ahead, Compiled, Source};
use crate::config::{Config, Service};
use crate::service::Stop;
use crate::{guest, outside};
use arc_swap::ArcSwap;
use engine::{Engine, Modules, Refusal, Reloaded};
use net::upstream::{UpstreamStats, Upstreams};
use platform::real::RealClock;
use proto::Status;
use proto::http::{HeadersBuf, HttpResponse, write_request};
use runtime_api::pool::{Pool, PoolOptions, PoolStats};
use runtime_api::{Host, Instance, Module};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::signal::unix::Signal;

/// How long a change waits for the one before it.
const TURN: Duration = Duration::from_secs(10);

/// The guests of a service.
pub struct Guests {
    recipe: Recipe,
    /// Whose requests are.
    current: ArcSwap<Pool>,
    state: Mutex<State>,
    /// A change has ended, or the service stops.
    moved: Condvar,
    changes: AtomicU64,
    failures: AtomicU64,
    upstreams: Arc<Upstreams>,
    drain_nanos: u64,
}

/// What changes with the module; `current` is changed under its lock.
struct State {
    /// Of the module that serves.
    hash: String,
    threads: Vec<JoinHandle<()>>,
    /// The pool before, while its last calls run.
    retired: Option<Arc<Pool>>,
    /// Who waits for that.
    waiter: Option<JoinHandle<()>>,
    /// What pools have counted that are no more.
    past: PoolStats,
    changing: bool,
    stopped: bool,
}

/// What is told of the module.
#[derive(Clone, Debug)]
pub struct ModuleFigures {
    /// SHA-256 of the one that serves.
    pub hash: String,
    /// Changes to another one since the start.
    pub changes: u64,
    /// Changes that failed.
    pub failures: u64,
}

impl Guests {
    /// Starts the instances. Within an async runtime of several threads, which carries calls
    /// of upstreams.
    ///
    /// # Errors
    /// The module cannot be used; an upstream is set wrongly.
    ///
    /// `threads` is how many network threads there are: each may have an instance for
    /// requests that are brief.
    pub fn start(
        config: &Config,
        service: &Service,
        engine: &Arc<Engine>,
        threads: usize,
        ahead: Ahead,
    ) -> Result<Arc<Guests>, Stop> {
        let upstreams = Arc::new(outside::open(config, service)?);
        let Compiled { source, module, hash } = ahead.join()?;
        let recipe = Recipe {
            source,
            host: guest::host(service, engine, &upstreams),
            clock: Arc::new(RealClock::new()),
            options: guest::options(engine, service, threads),
            health: service.wasm.health_path.as_ref().map(|path| health_check(&path.0)),
        };
        // A guest may call upstreams already, and so block.
        let crew = tokio::task::block_in_place(|| recipe.start(module))?;
        Ok(Arc::new(Guests {
            recipe,
            current: ArcSwap::new(crew.pool),
            state: Mutex::new(State {
                hash,
                threads: crew.threads,
                retired: None,
                waiter: None,
                past: PoolStats::default(),
                changing: false,
                stopped: false,
            }),
            moved: Condvar::new(),
            changes: AtomicU64::new(0),
            failures: AtomicU64::new(0),
            upstreams,
            drain_nanos: guest::millis(service.http.drain_timeout_ms.get()),
        }))
    }

    /// The pool that serves. One that is retired a moment later hands requests on.
    pub fn pool(&self) -> Arc<Pool> {
        self.current.load_full()
    }

    /// What all pools have counted since the start.
    pub fn stats(&self) -> PoolStats {
        let state = self.state();
        let mut all = state.past.clone();
        if let Some(retired) = &state.retired {
            all = retired.stats().after(&all);
        }
        self.pool().stats().after(&all)
    }

    /// What is told of the module.
    pub fn module(&self) -> ModuleFigures {
        ModuleFigures {
            hash: self.state().hash.clone(),
            changes: self.changes.load(Relaxed),
            failures: self.failures.load(Relaxed),
        }
    }

    /// What calls of other services have come to.
    pub fn upstreams(&self) -> Vec<UpstreamStats> {
        self.upstreams.stats()
    }

    /// The services outside.
    pub fn outside(&self) -> &Upstreams {
        &self.upstreams
    }

    /// For admins who ask for another module by the wire; keeps nothing alive.
    pub fn asked(self: &Arc<Self>) -> Arc<dyn Modules> {
        Arc::new(Asked(Arc::downgrade(self)))
    }

    /// Reads the module again and has it serve if it is another one. Blocks, for as long as
    /// a start takes and another change before it.
    ///
    /// # Errors
    /// It cannot be used, and the one before serves on; other changes took too long.
    pub fn reload(self: &Arc<Self>) -> Result<Reloaded, Refusal> {
        let begun = Instant::now();
        let turn = self.turn()?;
        let (before, module) = self.change(turn).map_err(|stop| {
            self.failures.fetch_add(1, Relaxed);
            tracing::error!("the guest's module served until now serves on: {}", stop.message);
            // What is no fault of the module is a thread that cannot be had.
            let status = if stop.code == 78 { Status::BadModule } else { Status::Busy };
            Refusal { status, message: format!("{}; the module before serves on", stop.message) }
        })?;
        let took_micros = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX);
        if module == before {
            tracing::info!(sha256 = %module, "the guest's module is as it was");
        } else {
            self.changes.fetch_add(1, Relaxed);
            tracing::info!(%before, now = %module, took_micros, "another module serves");
        }
        Ok(Reloaded { module, before, took_micros })
    }

    /// Gives the hashes of the module before and the one that serves.
    fn change(self: &Arc<Self>, turn: Turn) -> Result<(String, String), Stop> {
        let (module, hash) = self.recipe.source.read()?;
        let before = self.state().hash.clone();
        if hash == before {
            return Ok((before, hash));
        }
        let crew = self.recipe.start(self.recipe.source.compile(&module)?)?;
        let (hand, handed) = mpsc::channel();
        let waiter = spawn("planck-retired".to_owned(), move || turn.wait(&handed));
        let waiter = match waiter {
            Ok(waiter) => waiter,
            Err(stop) => {
                crew.end();
                return Err(stop);
            }
        };
        let mut state = self.state();
        if state.stopped {
            drop((state, hand));
            crew.end();
            return Err(Stop::io("the service stops"));
        }
        let old = self.pool();
        old.retire(&crew.pool);
        self.current.store(crew.pool);
        state.hash.clone_from(&hash);
        state.retired = Some(Arc::clone(&old));
        state.waiter = Some(waiter);
        let threads = std::mem::replace(&mut state.threads, crew.threads);
        drop(hand.send(Crew { pool: old, threads }));
        Ok((before, hash))
    }

    fn turn(self: &Arc<Self>) -> Result<Turn, Refusal> {
        let busy = |message: &str| Refusal { status: Status::Busy, message: message.to_owned() };
        let until = Instant::now() + TURN;
        let mut state = self.state();
        while state.changing && !state.stopped {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(busy(
                    "another change of the module is under way, or calls of the one before still \
                     run: try again when they have ended",
                ));
            }
            let waited = self.moved.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        if state.stopped {
            return Err(busy("the service stops"));
        }
        state.changing = true;
        Ok(Turn(Arc::clone(self)))
    }

    /// Lets what runs end, within the drain timeout and a call's deadline.
    pub async fn stop(self: Arc<Self>) {
        let upstreams = Arc::clone(&self.upstreams);
        // Joining blocks, so it is no work for an async thread.
        if tokio::task::spawn_blocking(move || self.end()).await.is_err() {
            tracing::error!("the guest's threads could not be joined");
        }
        outside::tell(&upstreams.stats());
    }

    fn end(&self) {
        let mut state = self.state();
        state.stopped = true;
        self.moved.notify_all();
        state.retired.iter().for_each(|pool| pool.close(self.drain_nanos));
        self.pool().close(self.drain_nanos);
        let mut threads = std::mem::take(&mut state.threads);
        threads.extend(state.waiter.take());
        drop(state);
        join(threads);
        // One that was begun sees that the service stops, and ends.
        let mut state = self.state();
        while state.changing {
            state = self.moved.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing is left half-done in it if a holder panicked.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The right to change the module.
struct Turn(Arc<Guests>);

impl Turn {
    /// Until the last call of the crew that comes has ended.
    fn wait(self, handed: &mpsc::Receiver<Crew>) {
        let Ok(Crew { pool, threads }) = handed.recv() else { return };
        join(threads);
        pool.await_end();
        let mut state = self.0.state();
        state.past = pool.stats().ended().after(&state.past);
        state.retired = None;
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.state().changing = false;
        self.0.moved.notify_all();
    }
}

/// See [`Guests::asked`].
struct Asked(Weak<Guests>);

impl Modules for Asked {
    fn reload(&self) -> Result<Reloaded, Refusal> {
        let message = "the service stops".to_owned();
        let gone = || Refusal { status: Status::Busy, message };
        self.0.upgrade().ok_or_else(gone)?.reload()
    }
}

/// What pools are made of, whatever the module.
struct Recipe {
    source: Source,
    host: Arc<dyn Host>,
    /// Of all pools: what waits is handed from one to the next, with its time.
    clock: Arc<RealClock>,
    options: PoolOptions,
    /// The request of `wasm.health_path`.
    health: Option<Vec<u8>>,
}

impl Recipe {
    /// Tries a module, and starts a pool of it.
    fn start(&self, compiled: Arc<dyn Module>) -> Result<Crew, Stop> {
        self.try_out(&*compiled)?;
        let (host, clock) = (Arc::clone(&self.host), Arc::clone(&self.clock));
        let pool = Pool::new(compiled, host, clock, self.options.clone())
            .map_err(|message| Stop::config(format!("service.yaml: wasm: {message}")))?;
        Crew::begin(pool, |why| self.source.fault(format!("the guest cannot start: {why}")))
    }

    /// One instance for trial: a module that cannot start, or is not well, must not look
    /// ready.
    fn try_out(&self, module: &dyn Module) -> Result<(), Stop> {
        let made = module.instantiate(Arc::clone(&self.host), &self.options.limits);
        let mut instance =
            made.map_err(|trap| self.source.fault(format!("the guest cannot start: {trap}")))?;
        let Some(request) = &self.health else { return Ok(()) };
        ask_health(&mut *instance, request).map_err(|why| {
            self.source.fault(format!("the guest is not well, by its wasm.health_path: {why}"))
        })
    }
}

/// The request by which a guest is asked whether it is well.
fn health_check(path: &str) -> Vec<u8> {
    let mut headers = HeadersBuf::new();
    for (name, value) in [("host", "localhost"), ("x-request-id", "health")] {
        assert!(headers.push(name, value.as_bytes()), "two short headers fit");
    }
    let mut request = Vec::new();
    write_request(&mut request, "GET", path, "127.0.0.1:0", &headers, b"");
    request
}

fn ask_health(instance: &mut dyn Instance, request: &[u8]) -> Result<(), String> {
    let mut response = Vec::new();
    instance.process(request, &mut response).map_err(|trap| trap.to_string())?;
    match HttpResponse::decode(&response).map(|response| response.status) {
        Ok(200..=299) => Ok(()),
        Ok(status) => Err(format!("it answered {status}, and should have answered 200 to 299")),
        Err(error) => Err(format!("its answer is none: {error}")),
    }
}

/// A pool and the threads that work for it.
struct Crew {
    pool: Arc<Pool>,
    threads: Vec<JoinHandle<()>>,
}

impl Crew {
    /// Spawns the threads, and waits until the instances that are kept are there.
    fn begin(pool: Arc<Pool>, fault: impl FnOnce(String) -> Stop) -> Result<Crew, Stop> {
        let max = pool.options().max;
        let mut crew = Crew { pool, threads: Vec::with_capacity(max + 1) };
        match crew.spawn_all(max).and_then(|()| crew.pool.await_ready().map_err(fault)) {
            Ok(()) => Ok(crew),
            Err(stop) => {
                crew.end();
                Err(stop)
            }
        }
    }

    fn spawn_all(&mut self, max: usize) -> Result<(), Stop> {
        for index in 0..max {
            let pool = Arc::clone(&self.pool);
            let name = format!("planck-guest-{index}");
            self.threads.push(spawn(name, move || pool.worker(index))?);
        }
        let pool = Arc::clone(&self.pool);
        self.threads.push(spawn("planck-keeper".to_owned(), move || pool.keeper())?);
        Ok(())
    }

    /// Ends one that has had no request.
    fn end(self) {
        self.pool.close(0);
        join(self.threads);
    }
}

fn spawn(name: String, body: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, Stop> {
    std::thread::Builder::new().name(name).spawn(body).map_err(|e| {
        Stop::io(format!("a guest's thread cannot be started: {e}; lower wasm.max_instances"))
    })
}

fn join(threads: Vec<JoinHandle<()>>) {
    for thread in threads {
        if thread.join().is_err() {
            tracing::error!("a guest's thread failed");
        }
    }
}

/// Reads the module again on SIGHUP, for as long as it is polled.
pub async fn watch(guests: Option<Arc<Guests>>, mut hangup: Signal) {
    let Some(guests) = guests else { return std::future::pending().await };
    while hangup.recv().await.is_some() {
        let guests = Arc::clone(&guests);
        // What comes of it stands in the log, whoever asked.
        match tokio::task::spawn_blocking(move || guests.reload()).await {
            Ok(Ok(_)) => {}
            Ok(Err(refusal)) if refusal.status == Status::Busy => {
                tracing::error!("SIGHUP: the guest's module was not looked at: {refusal}");
            }
            Ok(Err(_)) => {}
            Err(error) => tracing::error!(%error, "SIGHUP: looking at the guest's module failed"),
        }
    }
}
