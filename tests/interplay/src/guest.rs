//! The guest, and its host.
//!
//! The guest carries out what its request's body says, and answers with what it was told:
//!
//! ```text
//! body      script  bytes of the script:u32
//! script    status:u16  count x step
//! step      kind:u8  length:u32  0: a packet for host_request (length bytes)
//!                                1: so many turns of a loop   2: a trap
//! answer    status, no headers; body: count x (length:u32 reply packet)
//! ```
//!
//! Invariant: the host is the engine's part of the real one ([`Calls`]) and no more: what it
//! notes down changes nothing.

use std::cell::RefCell;
use std::sync::Arc;

use engine::{Calls, Claim, Committed, Concluded, Engine, JobEnded};
use platform::Clock;
use platform::Entropy;
use platform::sim::{SimClock, SimEntropy};
use proto::http::{HeadersBuf, write_request, write_response};
use runtime_api::{CallKind, Host, LogLevel, Verdict};

use crate::baton;
use crate::oracle::Known;

/// See the module.
pub const GUEST: &str = r#"(module
  (import "planck" "host_request" (func $request (param i32 i32 i32 i32) (result i64)))
  (memory (export "memory") 40)
  (global $top (mut i32) (i32.const 1048576))
  (func (export "planck_abi") (result i32) i32.const 1)
  (func (export "alloc") (param $len i32) (result i32)
    (local $at i32)
    (local.set $at (global.get $top))
    (global.set $top (i32.add (local.get $at) (local.get $len)))
    (if (i32.gt_u (global.get $top) (i32.const 2621440)) (then (return (i32.const 0))))
    (local.get $at))
  (func (export "process") (param $ptr i32) (param $len i32) (result i64)
    (local $at i32) (local $end i32) (local $out i32) (local $kind i32) (local $n i32)
    (local $reply i64)
    ;; The script ends four bytes before the request does, and those say how long it is.
    (local.set $end (i32.sub (i32.add (local.get $ptr) (local.get $len)) (i32.const 4)))
    (local.set $at (i32.sub (local.get $end) (i32.load (local.get $end))))
    ;; The answer's head: version, status, no headers.
    (i32.store8 (i32.const 0) (i32.const 1))
    (i32.store16 (i32.const 1) (i32.load16_u (local.get $at)))
    (i32.store16 (i32.const 3) (i32.const 0))
    (local.set $out (i32.const 5))
    (local.set $at (i32.add (local.get $at) (i32.const 2)))
    (block $done
      (loop $steps
        (br_if $done (i32.ge_u (local.get $at) (local.get $end)))
        (local.set $kind (i32.load8_u (local.get $at)))
        (local.set $n (i32.load offset=1 (local.get $at)))
        (local.set $at (i32.add (local.get $at) (i32.const 5)))
        (if (i32.eqz (local.get $kind))
          (then
            (local.set $reply
              (call $request (local.get $at) (local.get $n)
                (i32.add (local.get $out) (i32.const 4))
                (i32.sub (i32.const 1048570) (local.get $out))))
            (if (i64.gt_u (local.get $reply)
                  (i64.extend_i32_u (i32.sub (i32.const 1048570) (local.get $out))))
              (then unreachable))
            (i32.store (local.get $out) (i32.wrap_i64 (local.get $reply)))
            (local.set $out (i32.add (i32.add (local.get $out) (i32.const 4))
              (i32.wrap_i64 (local.get $reply))))
            (local.set $at (i32.add (local.get $at) (local.get $n))))
          (else
            (if (i32.eq (local.get $kind) (i32.const 2)) (then unreachable))
            (loop $spin
              (local.set $n (i32.sub (local.get $n) (i32.const 1)))
              (br_if $spin (i32.gt_s (local.get $n) (i32.const 0))))))
        (br $steps)))
    (i64.extend_i32_u (local.get $out))))
"#;

/// What a guest's script says is done next.
pub enum Order<'a> {
    /// A packet for the engine.
    Ask(&'a [u8]),
    /// So many turns of a loop.
    Spin(u32),
    /// The end of the instance.
    Trap,
}

/// The request that has a guest carry out orders and answer with a status. `get`: it looks
/// like one that changes nothing.
pub fn request_of(get: bool, status: u16, orders: &[Order<'_>]) -> Vec<u8> {
    let mut out = Vec::new();
    let method = if get { "GET" } else { "POST" };
    write_request(&mut out, method, "/", "", &HeadersBuf::new(), &script_of(status, orders));
    out
}

/// The body of such a request.
pub fn script_of(status: u16, orders: &[Order<'_>]) -> Vec<u8> {
    let mut script = status.to_le_bytes().to_vec();
    for order in orders {
        let (kind, number, bytes) = match order {
            Order::Ask(packet) => (0, packet.len() as u32, *packet),
            Order::Spin(turns) => (1, *turns, &[][..]),
            Order::Trap => (2, 0, &[][..]),
        };
        script.push(kind);
        script.extend_from_slice(&number.to_le_bytes());
        script.extend_from_slice(bytes);
    }
    let len = script.len() as u32;
    script.extend_from_slice(&len.to_le_bytes());
    script
}

/// A reply, and what the world was like around it.
#[derive(Clone, Debug)]
pub struct Heard {
    /// The reply packet.
    pub reply: Vec<u8>,
    /// What had been told to anybody before the request.
    pub before: Known,
    /// What the request committed by itself.
    pub committed: Vec<Committed>,
}

/// What a call was told, in its last attempt.
#[derive(Clone, Debug, Default)]
pub struct Record {
    /// How often it was begun.
    pub attempts: u32,
    /// The reply to each request, in order.
    pub heard: Vec<Heard>,
    /// How it was concluded, if it was, and what that committed.
    pub concluded: Option<(Concluded, Vec<Committed>)>,
    /// How it ended its job, if that was told.
    pub ended: Option<JobEnded>,
}

thread_local! {
    static RECORD: RefCell<Record> = RefCell::default();
    /// The job whose attempt this actor's call is.
    static JOB: RefCell<Option<Claim>> = const { RefCell::new(None) };
}

/// Begins to note down what the calls of this actor are told; `job`: whose attempt they are.
pub fn begin_record(job: Option<Claim>) {
    RECORD.set(Record::default());
    JOB.set(job);
}

/// What was noted down since then.
pub fn take_record() -> Record {
    JOB.set(None);
    RECORD.take()
}

/// The host of the guests of one opening of the engine.
pub struct SimHost {
    engine: Arc<Engine>,
    calls: Calls,
    known: Arc<dyn Fn() -> Known + Send + Sync>,
    clock: Arc<SimClock>,
    entropy: SimEntropy,
}

impl SimHost {
    /// `known`: what has been told to anybody.
    pub fn new(
        engine: &Arc<Engine>,
        calls: Calls,
        known: Arc<dyn Fn() -> Known + Send + Sync>,
        clock: Arc<SimClock>,
        seed: u64,
    ) -> SimHost {
        let entropy = SimEntropy::new(seed);
        SimHost { engine: Arc::clone(engine), calls, known, clock, entropy }
    }
}

impl Host for SimHost {
    fn begin_call(&self, kind: CallKind, attempt: u32) -> u64 {
        RECORD.with_borrow_mut(|record| {
            *record = Record { attempts: attempt, ..Record::default() };
        });
        let is_job = JOB.with_borrow(Option::is_some);
        match kind {
            CallKind::Start => self.calls.begin_plain(),
            CallKind::Read => self.calls.begin_read(is_job),
            CallKind::Write => self.calls.begin_write(attempt, is_job),
        }
    }

    fn request(&self, call: u64, packet: &[u8], reply: &mut Vec<u8>) {
        baton::between_requests();
        let before = (self.known)();
        let (committed, _) = self.engine.watched(|| self.calls.request(call, packet, reply));
        let heard = Heard { reply: reply.clone(), before, committed };
        RECORD.with_borrow_mut(|record| record.heard.push(heard));
        baton::between_requests();
    }

    fn conclude_call(&self, call: u64, attempt: u32, outbound: bool, response: &[u8]) -> Verdict {
        let job = JOB.with_borrow(|job| *job);
        let mut done = None;
        let conclude =
            || done = Some(self.calls.conclude(call, (attempt, outbound), response, job));
        let (committed, _) = self.engine.watched(conclude);
        let (concluded, ended) = done.expect("it was called");
        RECORD.with_borrow_mut(|record| {
            record.concluded = Some((concluded.clone(), committed));
            record.ended = ended.or(record.ended.take());
        });
        match concluded {
            Concluded::Stands => Verdict::Stands,
            Concluded::Again(pause) => {
                self.clock.advance(pause);
                baton::between_requests();
                Verdict::Again
            }
            Concluded::Refused(_) => {
                let mut instead = Vec::new();
                write_response(&mut instead, 503, &HeadersBuf::new(), b"");
                Verdict::Instead(instead)
            }
        }
    }

    fn call_leaves(&self, call: u64) -> Result<(), (proto::Status, String)> {
        self.calls.leaves(call).map_err(|refusal| (refusal.status, refusal.message))
    }

    fn end_call(&self, call: u64) {
        self.calls.end(call);
    }

    fn log(&self, _level: LogLevel, _line: &str) {}

    fn now_micros(&self) -> u64 {
        self.clock.wall_micros()
    }

    fn random(&self, out: &mut [u8]) {
        self.entropy.fill(out);
    }
}

/// The clock of the interpreter: it is asked between two instructions, and that is where
/// others go on.
pub struct BetweenInstructions(pub Arc<SimClock>);

impl Clock for BetweenInstructions {
    fn wall_micros(&self) -> u64 {
        self.0.wall_micros()
    }

    fn monotonic_nanos(&self) -> u64 {
        if baton::between_instructions() { u64::MAX } else { self.0.monotonic_nanos() }
    }
}
