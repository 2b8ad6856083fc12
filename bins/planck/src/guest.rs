//! The guest: what runs it, what it may use, its host.
//!
//! Invariant: a guest's requests enter the engine by the very function the wire's
//! do, as the service's own principal; there is no other way in. Each call is a session
//! of its own, and cursors that it opened end with it. What it does with documents is one
//! transaction, unless the service is set otherwise: it takes effect before the answer is
//! given to anybody. It reaches other services only by
//! name, and only those of `upstreams`.

use crate::config::{Config, Service, service};
use crate::outside;
use crate::service::Stop;
use crate::trace::{Trace, Value};
use engine::{CallTransaction, Engine, Principal, Refusal};
use net::http::GuestResponse;
use net::upstream::Upstreams;
use platform::real::{RealClock, RealDisk, RealEntropy};
use platform::{Clock, Entropy};
use proto::http::HttpResponse;
use proto::{Header, Request, Status};
use runtime_api::pool::PoolOptions;
use runtime_api::{CallKind, Host, Limits, LogLevel, Runtime, ServiceBody, Verdict};
use runtime_wasmer::WasmerRuntime;
use runtime_wasmi::WasmiRuntime;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
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
    Arc::new(GuestHost {
        upstreams: Arc::clone(upstreams),
        engine: Arc::clone(engine),
        principal: Principal::service(service.name.0.clone()),
        clock: RealClock::new(),
        turn_nanos: millis(service.wasm.deadline_in_ms.get()) / 2,
        calls: match service.wasm.transactions {
            service::Transactions::PerCall => Some(Calls::default()),
            service::Transactions::PerOperation => None,
        },
    })
}

/// The other side of a guest's imports.
struct GuestHost {
    upstreams: Arc<Upstreams>,
    engine: Arc<Engine>,
    principal: Principal,
    clock: RealClock,
    /// How long a call waits for its turn: half of the time that it has for all it does.
    turn_nanos: u64,
    /// What the calls that run have done; `None`: each operation is by itself.
    calls: Option<Calls>,
}

/// By the number of the call.
type Calls = Mutex<BTreeMap<u64, CallTransaction>>;

/// Attempts of a call that others disturb.
const ATTEMPTS: u32 = 5;
/// From this one on those that are disturbed go one after the other.
const IN_TURN: u32 = 3;

impl GuestHost {
    /// Carries out one request of a call, as part of its transaction if it has one.
    fn carry_out(&self, who: &Principal, call: u64, packet: &[u8], reply: &mut Vec<u8>) {
        // Requests of a call come one after the other: nobody else looks for it meanwhile.
        let Some(mut transaction) = self.taken(call) else {
            return self.engine.dispatch_packet(who, packet, reply);
        };
        self.engine.dispatch_in_call(who, &mut transaction, packet, reply);
        self.put(call, transaction);
    }

    fn put(&self, call: u64, transaction: CallTransaction) {
        if let Some(calls) = &self.calls {
            let mut calls = calls.lock().unwrap_or_else(PoisonError::into_inner);
            calls.insert(call, transaction);
        }
    }

    /// What a call has done, which is nobody's any more.
    fn taken(&self, call: u64) -> Option<CallTransaction> {
        let calls = self.calls.as_ref()?;
        // Nothing is left half-done in it if a holder panicked.
        calls.lock().unwrap_or_else(PoisonError::into_inner).remove(&call)
    }

    /// What becomes of a call that has answered, and of what it has done.
    fn concluded(
        &self,
        call: u64,
        transaction: CallTransaction,
        (attempt, outbound): (u32, bool),
        response: &[u8],
    ) -> Verdict {
        // An answer that is none, or says that the service failed: nothing of it is done.
        let failed = HttpResponse::decode(response).map_or(true, |response| response.status >= 500);
        if failed || !transaction.is_open() {
            return match self.engine.settle_call(&transaction) {
                Ok(()) => Verdict::Stands,
                Err(refusal) => Verdict::Instead(refused(&refusal)),
            };
        }
        let may_run_again = attempt < ATTEMPTS && !outbound && transaction.may_run_again();
        let who = self.principal.in_session(call);
        match self.commit(&who, transaction) {
            Ok(()) => Verdict::Stands,
            Err(refusal) if refusal.status == Status::TransactionConflict && may_run_again => {
                self.engine.runs_again();
                // What disturbed it is there to be seen: at first it need not wait.
                if attempt > 1 {
                    platform::sharing::long_ahead();
                    std::thread::sleep(pause(attempt - 1));
                }
                Verdict::Again
            }
            Err(refusal) => {
                self.engine.settle();
                Verdict::Instead(refused(&refusal))
            }
        }
    }

    /// Makes what a call has done take effect.
    fn commit(&self, who: &Principal, transaction: CallTransaction) -> Result<(), Refusal> {
        let Some(trace) = Trace::current() else {
            return self.engine.commit_call(who, transaction);
        };
        let (begun, mut done) = (Instant::now(), Ok(()));
        let commit = || done = self.engine.commit_call(who, transaction);
        let (committed, now) = self.engine.watched(commit);
        let mut attributes = vec![("planck.operation", Value::Text("Commit".to_owned()))];
        let code = done.as_ref().err().map(|refusal| refusal.status.to_string());
        attributes.extend(code.map(|code| ("planck.code", Value::Text(code))));
        trace.host_request(begun, attributes, done.is_err(), &committed, now);
        done
    }
}

/// Before a call is run again for the second time, and later: longer each time, and not the
/// same for all.
fn pause(attempt: u32) -> Duration {
    let most = 100 * 2u64.saturating_pow(attempt);
    Duration::from_micros(most / 2 + RealEntropy.next_u64() % (most / 2))
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
        let call = self.engine.begin_session();
        match kind {
            CallKind::Start => {}
            // It waits for nobody's commit.
            CallKind::Read => self.put(call, CallTransaction::default()),
            CallKind::Write if attempt < IN_TURN => self.put(call, CallTransaction::latest()),
            CallKind::Write => {
                self.put(call, CallTransaction::latest().in_turn(self.turn_nanos));
            }
        }
        call
    }

    fn call_leaves(&self, call: u64) -> Result<(), (Status, String)> {
        let Some(transaction) = self.taken(call) else { return Ok(()) };
        let settled = self.engine.settle_call(&transaction);
        self.put(call, transaction);
        settled.map_err(|refusal| (refusal.status, refusal.message))
    }

    fn conclude_call(&self, call: u64, attempt: u32, outbound: bool, response: &[u8]) -> Verdict {
        let Some(transaction) = self.taken(call) else { return Verdict::Stands };
        let verdict = self.concluded(call, transaction, (attempt, outbound), response);
        // It may go on, behind the head of its response.
        let stands = verdict == Verdict::Stands;
        self.put(call, if stands { CallTransaction::default() } else { CallTransaction::void() });
        verdict
    }

    fn end_call(&self, call: u64) {
        drop(self.taken(call));
        self.engine.end_session(&self.principal.in_session(call));
    }

    fn request(&self, call: u64, packet: &[u8], reply: &mut Vec<u8>) {
        let who = self.principal.in_session(call);
        let Some(trace) = Trace::current() else {
            return self.carry_out(&who, call, packet, reply);
        };
        let (begun, before) = (Instant::now(), reply.len());
        let (committed, now) = self.engine.watched(|| self.carry_out(&who, call, packet, reply));
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
