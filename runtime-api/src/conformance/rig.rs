//! What the cases run on: a host that records, a clock that steps, a runtime.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use parking_lot::Mutex;
use platform::Clock;
use proto::Status;
use proto::http::HeadersBuf;
use proto::service::{write_error, write_head};

use super::Make;
use crate::{
    CallKind, CompileError, Host, Instance, Limits, LogLevel, Module, Outlet, Runtime, ServiceBody,
    Trap, Unwritten, Verdict,
};

/// A clock that moves by a fixed step at every reading and never by itself, so
/// that a deadline strikes after the same number of looks on every machine.
#[derive(Debug)]
pub struct StepClock {
    now: AtomicU64,
    step: u64,
}

impl StepClock {
    /// Moves `step` nanoseconds a reading.
    pub fn new(step: u64) -> Arc<Self> {
        Arc::new(Self { now: AtomicU64::new(0), step })
    }

    /// Moves it by hand.
    pub fn advance(&self, nanos: u64) {
        self.now.fetch_add(nanos, Ordering::SeqCst);
    }
}

impl Clock for StepClock {
    fn wall_micros(&self) -> u64 {
        self.now.load(Ordering::SeqCst) / 1_000
    }

    fn monotonic_nanos(&self) -> u64 {
        self.now.fetch_add(self.step, Ordering::SeqCst)
    }
}

/// What a host was asked to conclude: call, attempt, whether it called an upstream, response.
pub type Concluded = (u64, u32, bool, Vec<u8>);

/// A host whose replies are a function of the packet, and that counts and records.
///
/// A packet of four little-endian bytes `n` gets `n` bytes, byte `i` being
/// `(7 i + n) mod 251`; any other packet is echoed. Its upstream `stock` answers 203 with a
/// header `a: b` and those bytes as its body; with four bytes more in the packet, `m`, the
/// body breaks off after `m`.
#[derive(Debug, Default)]
pub struct TestHost {
    requests: AtomicU32,
    /// The call of each request, and a zero where a call ended.
    calls: Mutex<Vec<u64>>,
    /// As which attempt each call began.
    attempts: Mutex<Vec<u32>>,
    logged: Mutex<Vec<(LogLevel, String)>>,
    random: AtomicU32,
    /// The patience of each call of an upstream.
    patience: Mutex<Vec<u64>>,
    /// Bodies that are not dropped yet.
    bodies: Arc<AtomicU32>,
    /// What each call was for.
    kinds: Mutex<Vec<CallKind>>,
    /// Why nothing of a call may leave, if that is so.
    unsettled: Mutex<Option<(Status, String)>>,
    /// What it says of the next calls that answer; of others that they stand.
    verdicts: Mutex<VecDeque<Verdict>>,
    /// What it was asked to conclude: call, attempt, whether it called an upstream, response.
    concluded: Mutex<Vec<Concluded>>,
}

/// A body of the upstream `stock`.
struct Stock {
    rest: VecDeque<u8>,
    /// Bytes until it breaks off.
    until: usize,
    open: Arc<AtomicU32>,
}

impl ServiceBody for Stock {
    fn read(&mut self, out: &mut [u8]) -> Result<usize, Status> {
        let len = out.len().min(self.rest.len());
        if len > self.until {
            self.until = 0;
            return Err(Status::UpstreamBroken);
        }
        self.until -= len;
        for (to, from) in out.iter_mut().zip(self.rest.drain(..len)) {
            *to = from;
        }
        Ok(len)
    }
}

impl Drop for Stock {
    fn drop(&mut self) {
        self.open.fetch_sub(1, Ordering::SeqCst);
    }
}

/// The bytes a [`TestHost`] answers to `n`.
pub(super) fn reply_bytes(n: u32) -> Vec<u8> {
    (0..n).map(|i| ((7 * u64::from(i) + u64::from(n)) % 251) as u8).collect()
}

impl TestHost {
    /// Requests it has run.
    pub fn requests(&self) -> u32 {
        self.requests.load(Ordering::SeqCst)
    }

    /// The call of each request, in order, and a zero where a call ended.
    pub fn calls(&self) -> Vec<u64> {
        self.calls.lock().clone()
    }

    /// As which attempt each call began that made requests.
    pub fn attempts(&self) -> Vec<u32> {
        self.attempts.lock().clone()
    }

    /// The patience of each call of an upstream.
    pub fn patience(&self) -> Vec<u64> {
        self.patience.lock().clone()
    }

    /// Bodies that are not dropped yet.
    pub fn bodies(&self) -> u32 {
        self.bodies.load(Ordering::SeqCst)
    }

    /// What each call was for that made requests.
    pub fn kinds(&self) -> Vec<CallKind> {
        self.kinds.lock().clone()
    }

    /// Nothing of a call may leave from now on.
    pub fn unsettle(&self, status: Status, why: &str) {
        *self.unsettled.lock() = Some((status, why.to_owned()));
    }

    /// Says this of the next calls that answer, in turn.
    pub fn judge(&self, verdicts: impl IntoIterator<Item = Verdict>) {
        self.verdicts.lock().extend(verdicts);
    }

    /// What it was asked to conclude since the last time it was asked here: call, attempt,
    /// whether an upstream was called, response.
    pub fn concluded(&self) -> Vec<Concluded> {
        std::mem::take(&mut self.concluded.lock())
    }

    /// Lines it was given.
    pub fn logged(&self) -> Vec<(LogLevel, String)> {
        self.logged.lock().clone()
    }
}

impl Host for TestHost {
    fn begin_call(&self, kind: CallKind, attempt: u32) -> u64 {
        self.kinds.lock().push(kind);
        self.attempts.lock().push(attempt);
        let calls = self.calls.lock();
        calls.iter().filter(|call| **call == 0).count() as u64 + 1
    }

    fn conclude_call(&self, call: u64, attempt: u32, outbound: bool, response: &[u8]) -> Verdict {
        self.concluded.lock().push((call, attempt, outbound, response.to_vec()));
        self.verdicts.lock().pop_front().unwrap_or(Verdict::Stands)
    }

    fn call_leaves(&self, _call: u64) -> Result<(), (Status, String)> {
        self.unsettled.lock().clone().map_or(Ok(()), Err)
    }

    fn end_call(&self, _call: u64) {
        self.calls.lock().push(0);
    }

    fn request(&self, call: u64, packet: &[u8], reply: &mut Vec<u8>) {
        self.calls.lock().push(call);
        self.requests.fetch_add(1, Ordering::SeqCst);
        match packet.try_into() {
            Ok(n) => reply.extend_from_slice(&reply_bytes(u32::from_le_bytes(n))),
            Err(_) => reply.extend_from_slice(packet),
        }
    }

    fn call_service(
        &self,
        name: &str,
        packet: &[u8],
        patience_nanos: u64,
        reply: &mut Vec<u8>,
    ) -> Option<Box<dyn ServiceBody>> {
        self.patience.lock().push(patience_nanos);
        let number = |at: usize| packet.get(at..at + 4)?.try_into().map(u32::from_le_bytes).ok();
        let Some(n) = number(0).filter(|_| name == "stock") else {
            let text = format!("the service '{name}' is not on the allowlist");
            write_error(reply, Status::NoSuchUpstream, &text);
            return None;
        };
        let mut headers = HeadersBuf::new();
        assert!(headers.push("a", b"b"));
        write_head(reply, 203, &headers);
        let until = number(4).map_or(usize::MAX, |m| m as usize);
        self.bodies.fetch_add(1, Ordering::SeqCst);
        let open = Arc::clone(&self.bodies);
        Some(Box::new(Stock { rest: reply_bytes(n).into(), until, open }))
    }

    fn log(&self, level: LogLevel, line: &str) {
        self.logged.lock().push((level, line.to_owned()));
    }

    fn now_micros(&self) -> u64 {
        1_700_000_000_123_456
    }

    fn random(&self, out: &mut [u8]) {
        for byte in out {
            *byte = self.random.fetch_add(1, Ordering::SeqCst) as u8;
        }
    }
}

/// Takes what is written, and keeps it.
#[derive(Debug, Default)]
pub struct TestOutlet {
    pieces: Mutex<Vec<(Vec<u8>, bool)>>,
    patience: Mutex<Vec<u64>>,
    /// Why the pieces from that one on are not taken.
    refuses: Option<(usize, Unwritten)>,
}

impl TestOutlet {
    /// One that takes all.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// One that takes so many pieces, and then none.
    pub fn refusing(after: usize, why: Unwritten) -> Arc<Self> {
        Arc::new(Self { refuses: Some((after, why)), ..Self::default() })
    }

    /// Each piece, and whether one call of `host_write` ended with it.
    pub fn pieces(&self) -> Vec<(Vec<u8>, bool)> {
        self.pieces.lock().clone()
    }

    /// The patience of each piece, those that were not taken too.
    pub fn patience(&self) -> Vec<u64> {
        self.patience.lock().clone()
    }
}

impl Outlet for TestOutlet {
    fn write(&self, piece: Vec<u8>, is_end: bool, patience: u64) -> Result<(), Unwritten> {
        self.patience.lock().push(patience);
        let mut pieces = self.pieces.lock();
        match &self.refuses {
            Some((after, why)) if pieces.len() >= *after => Err(why.clone()),
            _ => {
                pieces.push((piece, is_end));
                Ok(())
            }
        }
    }
}

/// A runtime with its host.
pub struct Rig {
    /// The backend.
    pub runtime: Box<dyn Runtime>,
    /// The host its instances call.
    pub host: Arc<TestHost>,
    /// Limits for the next instance.
    pub limits: Limits,
}

impl Rig {
    /// A rig whose deadlines never strike: its clock stands still.
    pub fn new(make: Make<'_>) -> Self {
        Self::stepping(make, 0)
    }

    /// A rig whose clock moves `step` nanoseconds whenever it is read.
    pub fn stepping(make: Make<'_>, step: u64) -> Self {
        let limits = Limits {
            fuel: 100_000_000,
            deadline_nanos: 1_000_000_000,
            memory_bytes: 4 << 20,
            ..Limits::default()
        };
        Self { runtime: make(StepClock::new(step)), host: Arc::default(), limits }
    }

    /// The same rig with other limits.
    #[must_use]
    pub fn with(mut self, change: impl FnOnce(&mut Limits)) -> Self {
        change(&mut self.limits);
        self
    }

    /// Compiles text.
    ///
    /// # Errors
    /// The runtime's.
    pub fn compile(&self, wat: &str) -> Result<Arc<dyn Module>, CompileError> {
        self.runtime.compile(&binary(wat))
    }

    /// Why text does not compile.
    pub fn refusal(&self, wat: &str) -> CompileError {
        match self.compile(wat) {
            Ok(_) => panic!("this must be refused:\n{wat}"),
            Err(error) => error,
        }
    }

    /// Compiles text that must compile and starts it.
    ///
    /// # Errors
    /// The trap of starting it.
    pub fn try_start(&self, wat: &str) -> Result<Box<dyn Instance>, Trap> {
        let module = self.compile(wat).unwrap_or_else(|error| panic!("{error}\n{wat}"));
        module.instantiate(Arc::clone(&self.host) as Arc<dyn Host>, &self.limits)
    }

    /// Compiles and starts text that must start.
    pub fn start(&self, wat: &str) -> Box<dyn Instance> {
        self.try_start(wat).unwrap_or_else(|trap| panic!("{trap}\n{wat}"))
    }

    /// One call on a fresh instance.
    ///
    /// # Errors
    /// The trap of starting or calling it.
    pub fn once(&self, wat: &str, request: &[u8]) -> Result<Vec<u8>, Trap> {
        let mut response = Vec::new();
        self.try_start(wat)?.process(request, &mut response)?;
        Ok(response)
    }

    /// The trap of one call on a fresh instance.
    pub fn trap(&self, wat: &str, request: &[u8]) -> Trap {
        match self.once(wat, request) {
            Ok(response) => panic!("this must trap, it answered {response:?}\n{wat}"),
            Err(trap) => trap,
        }
    }
}

/// Text to binary.
pub(super) fn binary(wat: &str) -> Vec<u8> {
    wat::parse_str(wat).unwrap_or_else(|error| panic!("{error}\n{wat}"))
}

/// One call that must succeed.
pub(super) fn ask(instance: &mut dyn Instance, request: &[u8]) -> Vec<u8> {
    // Stale bytes: a response must replace them.
    let mut response = b"stale".to_vec();
    instance.process(request, &mut response).unwrap_or_else(|trap| panic!("{trap}"));
    response
}
