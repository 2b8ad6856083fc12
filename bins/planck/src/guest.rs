//! The guest: its module compiled, its pool of instances, its host.
//!
//! Invariant: a guest's requests enter the engine by the very function the wire's
//! do, as the service's own principal; there is no other way in. Each call is a session
//! of its own, and cursors that it opened end with it. It reaches other services only by
//! name, and only those of `upstreams`.

use crate::config::{Config, Service, service};
use crate::outside;
use crate::service::Stop;
use crate::trace::{Trace, Value};
use engine::{Engine, Principal};
use net::upstream::Upstreams;
use platform::real::{RealClock, RealDisk, RealEntropy};
use platform::{Clock, Entropy};
use proto::{Header, Request, Status};
use runtime_api::pool::{Pool, PoolOptions};
use runtime_api::{Host, Limits, LogLevel, Runtime, ServiceBody};
use runtime_wasmer::WasmerRuntime;
use runtime_wasmi::WasmiRuntime;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// The pool and the threads that work for it.
pub struct Guests {
    pool: Arc<Pool>,
    upstreams: Arc<Upstreams>,
    threads: Vec<JoinHandle<()>>,
    drain_nanos: u64,
}

impl Guests {
    /// Compiles the module and starts the instances. Within an async runtime of several
    /// threads, which carries calls of upstreams.
    ///
    /// # Errors
    /// The module cannot be read or is none for this ABI; an upstream is set wrongly.
    ///
    /// `threads` is how many network threads there are: each may have an instance for
    /// requests that are brief.
    pub fn start(
        config: &Config,
        service: &Service,
        engine: &Arc<Engine>,
        threads: usize,
    ) -> Result<Guests, Stop> {
        let path = config.module(service);
        let module = std::fs::read(&path).map_err(|e| {
            Stop::config(format!(
                "{}: the guest's module cannot be read: {e}; put it there, set wasm.module, or set \
                 wasm.enabled: false for a service without one",
                path.display()
            ))
        })?;
        let begun = Instant::now();
        let module = runtime(config, service)?
            .compile(&module)
            .map_err(|e| Stop::config(format!("{}: {e}", path.display())))?;
        tracing::info!(module = %path.display(), took = ?begun.elapsed(), "the guest is compiled");
        let upstreams = Arc::new(outside::open(config, service)?);
        let host = GuestHost {
            upstreams: Arc::clone(&upstreams),
            engine: Arc::clone(engine),
            principal: Principal::service(service.name.0.clone()),
            clock: RealClock::new(),
        };
        let options = options(engine, service, threads);
        let max = options.max;
        let host: Arc<dyn Host> = Arc::new(host);
        // One for trial: a module that cannot start must not look ready. It may call
        // upstreams already, and so block.
        let trial = || module.instantiate(Arc::clone(&host), &options.limits).map(drop);
        if let Err(trap) = tokio::task::block_in_place(trial) {
            return Err(Stop::config(format!(
                "{}: the guest cannot start: {trap}",
                path.display()
            )));
        }
        let pool = Pool::new(module, host, Arc::new(RealClock::new()), options)
            .map_err(|message| Stop::config(format!("service.yaml: wasm: {message}")))?;
        let mut threads = Vec::with_capacity(max + 1);
        for index in 0..max {
            let pool = Arc::clone(&pool);
            threads.push(spawn(format!("planck-guest-{index}"), move || pool.worker(index))?);
        }
        let keeper = Arc::clone(&pool);
        threads.push(spawn("planck-keeper".to_owned(), move || keeper.keeper())?);
        Ok(Guests {
            pool,
            upstreams,
            threads,
            drain_nanos: millis(service.http.drain_timeout_ms.get()),
        })
    }

    /// The pool.
    pub fn pool(&self) -> Arc<Pool> {
        Arc::clone(&self.pool)
    }

    /// Lets what runs end, within the drain timeout and a call's deadline.
    pub async fn stop(self) {
        self.pool.close(self.drain_nanos);
        let join = move || {
            for thread in self.threads {
                if thread.join().is_err() {
                    tracing::error!("a guest's thread failed");
                }
            }
        };
        // Joining blocks, so it is no work for an async thread.
        if tokio::task::spawn_blocking(join).await.is_err() {
            tracing::error!("the guest's threads could not be joined");
        }
        outside::tell(&self.upstreams.stats());
    }
}

fn millis(millis: u64) -> u64 {
    millis.saturating_mul(1_000_000)
}

fn spawn(name: String, body: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, Stop> {
    std::thread::Builder::new().name(name).spawn(body).map_err(|e| {
        Stop::io(format!("a guest's thread cannot be started: {e}; lower wasm.max_instances"))
    })
}

fn runtime(config: &Config, service: &Service) -> Result<Box<dyn Runtime>, Stop> {
    let clock = Arc::new(RealClock::new());
    Ok(match service.wasm.runtime {
        service::Runtime::Wasmi => Box::new(WasmiRuntime::new(clock)),
        service::Runtime::Wasmer => {
            let cache = config.path("cache");
            let disk = RealDisk::new(&cache).map_err(|e| {
                Stop::io(format!("{}: cannot be made or used: {e}", cache.display()))
            })?;
            Box::new(WasmerRuntime::new(clock).with_cache(Arc::new(disk), "modules"))
        }
    })
}

fn options(engine: &Engine, service: &Service, threads: usize) -> PoolOptions {
    let wasm = &service.wasm;
    let count = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
    let message = u32::try_from(engine.limits().max_message_size).unwrap_or(u32::MAX);
    let memory = wasm.memory.get();
    let (min, max) = (count(wasm.min_instances.get()), count(wasm.max_instances.get()));
    // What is kept ready is ready for whatever comes: only instances beyond are for the
    // network's threads. Where guests call upstreams every instance
    // is a worker's: one of them must be free for who calls back.
    let seats = if service.upstreams.is_empty() { threads.min(max - min) } else { 0 };
    PoolOptions {
        min,
        max: max - seats,
        seats,
        autoscale: wasm.autoscale,
        queue: count(wasm.max_queue.get()),
        queue_wait_nanos: millis(wasm.max_wait_in_ms.get()),
        recycle_bytes: memory / 2,
        limits: Limits {
            fuel: wasm.fuel.get(),
            deadline_nanos: millis(wasm.deadline_in_ms.get()),
            memory_bytes: memory,
            request_bytes: message.max(
                u32::try_from(service.http.max_body_size.get())
                    .unwrap_or(u32::MAX)
                    .saturating_add(1 << 20),
            ),
            response_bytes: message,
            ..Limits::default()
        },
        ..PoolOptions::default()
    }
}

/// The other side of a guest's imports.
struct GuestHost {
    upstreams: Arc<Upstreams>,
    engine: Arc<Engine>,
    principal: Principal,
    clock: RealClock,
}

impl Host for GuestHost {
    fn begin_call(&self) -> u64 {
        self.engine.begin_session()
    }

    fn end_call(&self, call: u64) {
        self.engine.end_session(&self.principal.in_session(call));
    }

    fn request(&self, call: u64, packet: &[u8], reply: &mut Vec<u8>) {
        let who = self.principal.in_session(call);
        let Some(trace) = Trace::current() else {
            return self.engine.dispatch_packet(&who, packet, reply);
        };
        let (begun, before) = (Instant::now(), reply.len());
        let call = engine::Call::default();
        let (committed, now) = self.engine.dispatch_watched(&who, packet, &call, reply);
        let mut attributes = Vec::new();
        if let Ok((_, request)) = Request::decode(packet) {
            let operation = request.opcode().name().to_owned();
            attributes.push(("planck.operation", Value::Text(operation)));
            let store = request.store().map(|store| store.to_owned());
            attributes.extend(store.map(|store| ("planck.store", Value::Text(store))));
        }
        let code = Header::parse(&reply[before..]).map_or(0, |header| header.code);
        let failed = Status::from_number(code).filter(|status| *status != Status::Ok);
        attributes.extend(failed.map(|status| ("planck.code", Value::Text(status.to_string()))));
        trace.host_request(begun, attributes, failed.is_some(), &committed, now);
    }

    fn call_service(
        &self,
        name: &str,
        packet: &[u8],
        patience_nanos: u64,
        reply: &mut Vec<u8>,
    ) -> Option<Box<dyn ServiceBody>> {
        let patience = Duration::from_nanos(patience_nanos);
        let body = self.upstreams.call(name, packet, patience, reply)?;
        Some(Box::new(outside::Body(body)))
    }

    fn log(&self, level: LogLevel, line: &str) {
        // One call, one line: a guest cannot write lines that look like ours.
        let mut clean = String::with_capacity(line.len());
        for c in line.chars() {
            if c.is_control() { clean.extend(c.escape_default()) } else { clean.push(c) }
        }
        let line = clean;
        match level {
            LogLevel::Error => tracing::error!(target: "guest", "{line}"),
            LogLevel::Warn => tracing::warn!(target: "guest", "{line}"),
            LogLevel::Info => tracing::info!(target: "guest", "{line}"),
            LogLevel::Debug => tracing::debug!(target: "guest", "{line}"),
            LogLevel::Trace => tracing::trace!(target: "guest", "{line}"),
        }
    }

    fn now_micros(&self) -> u64 {
        self.clock.wall_micros()
    }

    fn random(&self, out: &mut [u8]) {
        RealEntropy.fill(out);
    }
}
