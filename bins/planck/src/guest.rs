//! The guest: what runs it, what it may use, its host.
//!
//! Invariant: a guest's requests enter the engine by the very function the wire's
//! do, as the service's own principal; there is no other way in. Each call is a session
//! of its own, and cursors that it opened end with it. What it does with documents is one
//! transaction, unless the service is set otherwise: it takes effect before the answer is
//! given to anybody, and a job whose call it is ends with it. It reaches other services only by
//! name, and only those of `upstreams`.

use crate::config::{Config, Service, service};
use crate::jobs::Run;
use crate::outside;
use crate::service::Stop;
use crate::trace::{Trace, Value};
use engine::{Calls, Claim, Concluded, Engine, JobEnded, Principal, Refusal};
use net::http::GuestResponse;
use net::upstream::Upstreams;
use platform::real::{RealClock, RealDisk, RealEntropy};
use platform::{Clock, Entropy};
use proto::{Header, Request, Status};
use runtime_api::pool::PoolOptions;
use runtime_api::{CallKind, Host, Limits, LogLevel, Runtime, ServiceBody, Verdict};
use runtime_wasmer::WasmerRuntime;
use runtime_wasmi::WasmiRuntime;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Milliseconds of a setting, in nanoseconds.
pub fn millis(millis: u64) -> u64 {
    millis.saturating_mul(1_000_000)
}

/// What compiles modules, and runs them.
///
/// # Errors
/// The folder for compiled modules cannot be made.
pub fn runtime(config: &Config, service: &Service) -> Result<Box<dyn Runtime>, Stop> {
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

/// The shape of the pool, and what each call may use. `threads` is how many network
/// threads there are: each may have an instance for requests that are brief.
pub fn options(engine: &Engine, service: &Service, threads: usize) -> PoolOptions {
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

/// The host of the guests of a service.
pub fn host(service: &Service, engine: &Arc<Engine>, upstreams: &Arc<Upstreams>) -> Arc<dyn Host> {
    let principal = Principal::service(service.name.0.clone());
    let turn_nanos = millis(service.wasm.deadline_in_ms.get()) / 2;
    let whole = matches!(service.wasm.transactions, service::Transactions::PerCall);
    Arc::new(GuestHost {
        upstreams: Arc::clone(upstreams),
        engine: Arc::clone(engine),
        clock: RealClock::new(),
        calls: Calls::new(Arc::clone(engine), principal, turn_nanos, whole),
    })
}

/// The other side of a guest's imports.
struct GuestHost {
    upstreams: Arc<Upstreams>,
    engine: Arc<Engine>,
    clock: RealClock,
    calls: Calls,
}

impl GuestHost {
    /// As [`Calls::conclude`], told to whoever traces the call, if it has something to commit.
    fn concluded(
        &self,
        call: u64,
        how: (u32, bool),
        response: &[u8],
        job: Option<Claim>,
    ) -> (Concluded, Option<JobEnded>) {
        let trace =
            Trace::current().filter(|_| job.is_none() && self.calls.has_to_commit(call, response));
        let Some(trace) = trace else {
            return self.calls.conclude(call, how, response, job);
        };
        let (begun, mut done) = (Instant::now(), (Concluded::Stands, None));
        let conclude = || done = self.calls.conclude(call, how, response, job);
        let (committed, now) = self.engine.watched(conclude);
        let mut attributes = vec![("planck.operation", Value::Text("Commit".to_owned()))];
        let code = match &done.0 {
            Concluded::Stands => None,
            Concluded::Again(_) => Some(Status::TransactionConflict),
            Concluded::Refused(refusal) => Some(refusal.status),
        };
        attributes.extend(code.map(|code| ("planck.code", Value::Text(code.to_string()))));
        trace.host_request(begun, attributes, code.is_some(), &committed, now);
        done
    }
}

/// What is answered in the place of a call that was not committed.
fn refused(refusal: &Refusal) -> Vec<u8> {
    let mut response = GuestResponse::problem(refusal.status, &refusal.message);
    if refusal.status == Status::TransactionConflict {
        response = response.with_header("retry-after", "1");
    }
    response.encode()
}

impl Host for GuestHost {
    fn begin_call(&self, kind: CallKind, attempt: u32) -> u64 {
        let is_job = Run::current().is_some();
        match kind {
            CallKind::Start => self.calls.begin_plain(),
            CallKind::Read => self.calls.begin_read(is_job),
            CallKind::Write => self.calls.begin_write(attempt, is_job),
        }
    }

    fn call_leaves(&self, call: u64) -> Result<(), (Status, String)> {
        self.calls.leaves(call).map_err(|refusal| (refusal.status, refusal.message))
    }

    fn conclude_call(&self, call: u64, attempt: u32, outbound: bool, response: &[u8]) -> Verdict {
        let run = Run::current();
        let job = run.as_ref().map(|run| run.claim());
        let (concluded, ended) = self.concluded(call, (attempt, outbound), response, job);
        if let (Some(run), Some(ended)) = (run, ended) {
            run.end(ended);
        }
        match concluded {
            Concluded::Stands => Verdict::Stands,
            Concluded::Again(pause) => {
                if !pause.is_zero() {
                    platform::sharing::long_ahead();
                    std::thread::sleep(pause);
                }
                Verdict::Again
            }
            Concluded::Refused(refusal) => Verdict::Instead(refused(&refusal)),
        }
    }

    fn end_call(&self, call: u64) {
        self.calls.end(call);
    }

    fn request(&self, call: u64, packet: &[u8], reply: &mut Vec<u8>) {
        let Some(trace) = Trace::current() else {
            return self.calls.request(call, packet, reply);
        };
        let (begun, before) = (Instant::now(), reply.len());
        let (committed, now) = self.engine.watched(|| self.calls.request(call, packet, reply));
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
