//! One instance's host side: its budget, its pending reply, its imports.
//!
//! What must stay true:
//! * A range is checked before anything happens: an operation with a bad reply
//!   buffer is never run, so a write cannot commit and then be reported as failed.
//! * An operation runs once. A reply that did not fit waits here for
//!   `host_read`; asking again is the guest's own new operation.
//! * The body of an upstream's answer is handed out once, forwards, and no more of it is
//!   here than one read asks for.
//! * Pieces of a response leave in the order they were written, while `process` runs and at
//!   no other time; a wait for their client ends with the call's time.
//! * Nothing of one call is here in the next: [`HostState::begin`] clears all, and the
//!   host is told of the end of each call that made requests, an unwinding one too.
//!
//! Fuel is a ledger. A backend is granted slices of it ([`HostState::grant`]) and
//! gives back what it did not use ([`HostState::settle`]); each grant looks at the
//! clock. So a call ends by fuel exactly and by deadline within one slice.

use std::sync::Arc;

use platform::{Clock, sharing};
use proto::Status;
use proto::http::{HeadersBuf, HttpRequest, HttpResponse, write_response};
use proto::service::BODY_AT;

use crate::memory::{Region, region};
use crate::outlet::{Outlet, PIECE_BYTES};
use crate::wasi::WasiState;
use crate::{
    CallKind, CallReport, GuestMemory, Host, Limits, LogLevel, ServiceBody, Trap, TrapKind,
    Verdict, abi,
};

/// Capacity of a scratch buffer that is kept from call to call.
const KEEP_BYTES: usize = 1 << 20;

/// What a backend's store carries for an instance.
pub struct HostState {
    host: Arc<dyn Host>,
    clock: Arc<dyn Clock>,
    limits: Limits,
    /// The host's number for the call, once it has made a request.
    call: Option<u64>,
    fuel_left: u64,
    started: u64,
    host_calls: u32,
    log_left: u32,
    /// The guest asked for memory past its limit; an abort that follows is put down to it.
    memory_denied: bool,
    /// It has called an upstream.
    outbound: bool,
    /// How often the call was begun, from 1.
    attempt: u32,
    /// The head of its response has left, with that status: what it had done by then took
    /// effect before.
    left: Option<u16>,
    /// What it had done could not take effect when the head was to leave; nothing left.
    disturbed: Option<Verdict>,
    /// What the call is for.
    pub(crate) kind: CallKind,
    pub(crate) wasi: WasiState,
    /// Scratch for what the guest sends.
    pub(crate) packet: Vec<u8>,
    name: Vec<u8>,
    /// The reply that did not fit and waits for `host_read`, else empty.
    pending: Vec<u8>,
    /// The body of the last answer of an upstream, and how much of it was read.
    body: Option<(Box<dyn ServiceBody>, u64)>,
    /// Where pieces of the response go, while `process` runs.
    pub(crate) outlet: Option<Arc<dyn Outlet>>,
    /// Without an outlet, while `process` runs: the pieces so far.
    pub(crate) gathered: Option<Vec<u8>>,
}

impl HostState {
    /// The state of a new instance. Call [`HostState::begin`] before any call.
    pub fn new(host: Arc<dyn Host>, clock: Arc<dyn Clock>, limits: Limits) -> Self {
        Self {
            host,
            clock,
            limits,
            call: None,
            fuel_left: 0,
            started: 0,
            host_calls: 0,
            log_left: 0,
            memory_denied: false,
            outbound: false,
            attempt: 1,
            left: None,
            disturbed: None,
            kind: CallKind::Write,
            wasi: WasiState::default(),
            packet: Vec::new(),
            name: Vec::new(),
            pending: Vec::new(),
            body: None,
            outlet: None,
            gathered: None,
        }
    }

    /// Its limits.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Starts the budget of a call.
    pub fn begin(&mut self) {
        self.fuel_left = self.limits.fuel;
        self.started = self.clock.monotonic_nanos();
        self.host_calls = 0;
        self.log_left = self.limits.log_bytes;
        self.memory_denied = false;
        self.outbound = false;
        (self.left, self.disturbed) = (None, None);
        self.clear();
    }

    /// What the call has used; `memory_bytes` is the backend's to know.
    pub fn report(&self, memory_bytes: u64) -> CallReport {
        CallReport {
            fuel: self.limits.fuel.saturating_sub(self.fuel_left),
            nanos: self.spent(),
            host_calls: self.host_calls,
            memory_bytes,
        }
    }

    /// Ends the call, and forgets its bytes; keeps capacity up to a bound.
    pub fn clear(&mut self) {
        self.end_wasi();
        self.end_call();
        self.body = None;
        (self.outlet, self.gathered) = (None, None);
        for buffer in [&mut self.packet, &mut self.name, &mut self.pending] {
            buffer.clear();
            buffer.shrink_to(KEEP_BYTES);
        }
    }

    /// `process` is called; without an `outlet` what it writes is put together here.
    pub(crate) fn process_begins(
        &mut self,
        request: &[u8],
        outlet: Option<Arc<dyn Outlet>>,
        attempt: u32,
    ) {
        self.gathered = outlet.is_none().then(Vec::new);
        (self.outlet, self.attempt) = (outlet, attempt);
        let reads = attempt == 1 && HttpRequest::is_safe(request);
        self.kind = if reads { CallKind::Read } else { CallKind::Write };
    }

    /// `process` has returned: what was put together.
    pub(crate) fn process_ends(&mut self) -> Vec<u8> {
        self.outlet = None;
        self.gathered.take().unwrap_or_default()
    }

    /// The guest has answered: the host makes what it did take effect. `true`: nothing was
    /// done, and the call is to be run again.
    ///
    /// # Errors
    /// What was done behind a head that has left cannot take effect: the response breaks off.
    pub(crate) fn conclude(&mut self, response: &mut Vec<u8>) -> Result<bool, Trap> {
        let (verdict, has_left) = match (self.disturbed.take(), self.call, self.left) {
            (Some(verdict), ..) => (verdict, false),
            (None, None, _) => return Ok(false),
            (None, Some(call), None) => (self.concluded(call, self.outbound, response), false),
            (None, Some(call), Some(status)) => {
                let mut head = Vec::new();
                write_response(&mut head, status, &HeadersBuf::new(), &[]);
                (self.concluded(call, true, &head), true)
            }
        };
        match verdict {
            Verdict::Stands => Ok(false),
            _ if has_left => Err(Trap::new(
                TrapKind::Aborted,
                "what the guest wrote after its response had begun to leave could not take effect; write before the first host_write",
            )),
            Verdict::Again => Ok(true),
            Verdict::Instead(other) => {
                *response = other;
                Ok(false)
            }
        }
    }

    /// A response begins to leave, with `head`: what the call has done is to take effect
    /// before that. `false`: it did not, and nothing is to leave.
    pub(crate) fn may_leave(&mut self, head: &[u8]) -> bool {
        if self.left.is_some() {
            return true;
        }
        if self.disturbed.is_none()
            && let Some(call) = self.call
        {
            let verdict = self.concluded(call, self.outbound, head);
            self.disturbed = (verdict != Verdict::Stands).then_some(verdict);
        }
        if self.disturbed.is_none() {
            self.left = Some(HttpResponse::decode(head).map_or(200, |head| head.status));
        }
        self.disturbed.is_none()
    }

    /// Whether the head could not leave.
    pub(crate) fn is_disturbed(&self) -> bool {
        self.disturbed.is_some()
    }

    fn concluded(&self, call: u64, outbound: bool, response: &[u8]) -> Verdict {
        self.host.conclude_call(call, self.attempt, outbound, response)
    }

    fn end_call(&mut self) {
        if let Some(call) = self.call.take() {
            self.host.end_call(call);
        }
    }

    /// A slice of fuel for the backend: `slice` units, at least `needed`, at most
    /// what is left.
    ///
    /// # Errors
    /// The deadline has passed, or less than `needed` (or nothing) is left.
    pub fn grant(&mut self, needed: u64, slice: u64) -> Result<u64, Trap> {
        self.check_deadline()?;
        if self.fuel_left < needed.max(1) {
            return Err(Trap::new(
                TrapKind::OutOfFuel,
                format!(
                    "the guest used up its {} units of work for one call; look for an endless loop, do less per request, or raise wasm.fuel",
                    self.limits.fuel
                ),
            ));
        }
        // On a shared thread a call has one slice, however often the guest is entered in it;
        // what needs more is not brief.
        let used = self.limits.fuel - self.fuel_left;
        let slice = match slice.saturating_sub(used) {
            _ if !sharing::is_shared() => slice,
            0 => {
                sharing::long_ahead();
                slice
            }
            left => left,
        };
        let granted = slice.max(needed).min(self.fuel_left);
        self.fuel_left -= granted;
        Ok(granted)
    }

    /// Takes back fuel that was granted and not used.
    pub fn settle(&mut self, unused: u64) {
        self.fuel_left = self.fuel_left.saturating_add(unused).min(self.limits.fuel);
    }

    /// Whether linear memory may have `bytes` bytes. A refusal is remembered:
    /// see [`HostState::explain`].
    pub fn allow_memory(&mut self, bytes: u64) -> bool {
        let allowed = bytes <= self.limits.memory_bytes;
        self.memory_denied |= !allowed;
        allowed
    }

    /// Gives a trap its true cause: a guest that panics after its allocator was
    /// refused memory ran out of memory.
    pub fn explain(&self, trap: Trap) -> Trap {
        if self.memory_denied && trap.kind() == TrapKind::Unreachable {
            return self.out_of_memory();
        }
        trap
    }

    /// The trap for a guest that needs more memory than it may have.
    pub fn out_of_memory(&self) -> Trap {
        Trap::new(
            TrapKind::Memory,
            format!(
                "the guest needs more than its {} bytes of memory; hold less at once or raise wasm.memory",
                self.limits.memory_bytes
            ),
        )
    }

    fn check_deadline(&self) -> Result<(), Trap> {
        let spent = self.spent();
        if spent < self.limits.deadline_nanos {
            return Ok(());
        }
        Err(Trap::new(
            TrapKind::Deadline,
            format!(
                "the guest ran {} ms, its deadline is {} ms; do less per request or raise wasm.deadline_in_ms",
                spent / 1_000_000,
                self.limits.deadline_nanos / 1_000_000
            ),
        ))
    }

    /// Nanoseconds since the call began.
    fn spent(&self) -> u64 {
        self.clock.monotonic_nanos().saturating_sub(self.started)
    }

    /// Nanoseconds that the call has left.
    pub(crate) fn patience(&self) -> u64 {
        self.limits.deadline_nanos.saturating_sub(self.spent())
    }

    /// Counts a host call.
    pub(crate) fn enter(&mut self) -> Result<(), Trap> {
        self.check_deadline()?;
        if self.host_calls >= self.limits.host_calls {
            return Err(Trap::new(
                TrapKind::HostCalls,
                format!(
                    "the guest called the host more than {} times in one call; batch its operations",
                    self.limits.host_calls
                ),
            ));
        }
        self.host_calls += 1;
        Ok(())
    }

    fn check_packet(&self, who: &str, packet: Region) -> Result<(), Trap> {
        if packet.len() <= self.limits.request_bytes {
            return Ok(());
        }
        Err(Trap::new(
            TrapKind::RequestTooLarge,
            format!(
                "{who}: a packet of {} bytes is over the limit of {}; split it",
                packet.len(),
                self.limits.request_bytes
            ),
        ))
    }

    /// Hands the reply over: into the guest's buffer if it fits, else it waits.
    fn deliver<M: GuestMemory + ?Sized>(
        &mut self,
        memory: &mut M,
        out: Region,
    ) -> Result<i64, Trap> {
        let total = self.pending.len();
        if total <= out.len() as usize {
            out.write(memory, &self.pending)?;
            self.pending.clear();
        }
        i64::try_from(total)
            .map_err(|_| Trap::new(TrapKind::Host, "the host's reply is larger than any memory"))
    }

    /// The import `host_request`: one operation on the engine.
    ///
    /// # Errors
    /// A bad range, a packet over the limit, too many calls, the deadline.
    pub fn host_request<M: GuestMemory + ?Sized>(
        &mut self,
        memory: &mut M,
        (ptr, len): (i32, i32),
        (out, cap): (i32, i32),
    ) -> Result<i64, Trap> {
        self.enter()?;
        let packet = region(memory, "host_request", "the request", ptr, len)?;
        let out = region(memory, "host_request", "the reply buffer", out, cap)?;
        self.check_packet("host_request", packet)?;
        packet.read_into(memory, &mut self.packet)?;
        self.pending.clear();
        let call = *self.call.get_or_insert_with(|| self.host.begin_call(self.kind, self.attempt));
        self.host.request(call, &self.packet, &mut self.pending);
        self.deliver(memory, out)
    }

    /// The import `host_call_service`: one call of an upstream.
    ///
    /// # Errors
    /// As for [`HostState::host_request`].
    pub fn host_call_service<M: GuestMemory + ?Sized>(
        &mut self,
        memory: &mut M,
        (name_ptr, name_len): (i32, i32),
        (ptr, len): (i32, i32),
        (out, cap): (i32, i32),
    ) -> Result<i64, Trap> {
        const WHO: &str = "host_call_service";
        self.enter()?;
        let name = region(memory, WHO, "the service's name", name_ptr, name_len)?;
        let packet = region(memory, WHO, "the request", ptr, len)?;
        let out = region(memory, WHO, "the reply buffer", out, cap)?;
        self.check_packet(WHO, name)?;
        self.check_packet(WHO, packet)?;
        name.read_into(memory, &mut self.name)?;
        packet.read_into(memory, &mut self.packet)?;
        self.pending.clear();
        self.body = None;
        // A name that is not UTF-8 is a name nobody has: the host says so.
        let name = String::from_utf8_lossy(&self.name);
        sharing::long_ahead();
        if let Some(call) = self.call
            && let Err((status, why)) = self.host.call_leaves(call)
        {
            proto::service::write_error(&mut self.pending, status, &why);
            return self.deliver(memory, out);
        }
        let patience = self.patience();
        self.outbound = true;
        self.body = self
            .host
            .call_service(&name, &self.packet, patience, &mut self.pending)
            .map(|body| (body, 0));
        self.deliver(memory, out)
    }

    /// The import `host_read`: a part of the reply that did not fit, or the next part of
    /// an upstream's body.
    ///
    /// # Errors
    /// A bad range, too many calls, the deadline.
    pub fn host_read<M: GuestMemory + ?Sized>(
        &mut self,
        memory: &mut M,
        offset: i32,
        (ptr, len): (i32, i32),
    ) -> Result<i64, Trap> {
        self.enter()?;
        let out = region(memory, "host_read", "the buffer", ptr, len)?;
        if let Some(at) = offset.cast_unsigned().checked_sub(BODY_AT) {
            return self.read_body(memory, u64::from(at), out);
        }
        let from = (offset.cast_unsigned() as usize).min(self.pending.len());
        let rest = &self.pending[from..];
        let part = &rest[..rest.len().min(out.len() as usize)];
        out.write(memory, part)?;
        Ok(i64::try_from(part.len()).expect("a part is no longer than its 32-bit region"))
    }

    /// Fills `out` with the bytes of the body from `at` on, which must be the next.
    fn read_body<M: GuestMemory + ?Sized>(
        &mut self,
        memory: &mut M,
        at: u64,
        mut out: Region,
    ) -> Result<i64, Trap> {
        let Some((body, next)) = &mut self.body else { return Ok(0) };
        if at != *next {
            return Ok(refusal(Status::BadUpstreamCall));
        }
        let wanted = out.len();
        let mut filled = 0;
        while filled < wanted {
            self.packet.resize((wanted - filled).min(PIECE_BYTES) as usize, 0);
            let read = match body.read(&mut self.packet) {
                Ok(read) => read.min(self.packet.len()),
                Err(status) => return Ok(refusal(status)),
            };
            out.write(memory, &self.packet[..read])?;
            let read = u32::try_from(read).expect("a piece is no longer than its bound");
            out = out.skip(read);
            filled += read;
            if read < PIECE_BYTES {
                break;
            }
        }
        *next += u64::from(filled);
        Ok(i64::from(filled))
    }

    /// The import `host_log`: one line.
    ///
    /// # Errors
    /// A bad range, too many calls, the deadline.
    pub fn host_log<M: GuestMemory + ?Sized>(
        &mut self,
        memory: &M,
        level: i32,
        (ptr, len): (i32, i32),
    ) -> Result<(), Trap> {
        self.enter()?;
        let line = region(memory, "host_log", "the line", ptr, len)?;
        if self.log_left == 0 {
            return Ok(());
        }
        let cut = line.len().min(abi::MAX_LOG_LINE_BYTES).min(self.log_left);
        // Read no more than is kept: the region's head.
        let head = region(memory, "host_log", "the line", ptr, cut.cast_signed())?;
        head.read_into(memory, &mut self.packet)?;
        let line = std::mem::take(&mut self.packet);
        self.write_line(LogLevel::from_guest(level), &line);
        self.packet = line;
        Ok(())
    }

    /// Logs a line, or what the allowance of the call leaves of it.
    pub(crate) fn write_line(&mut self, level: LogLevel, line: &[u8]) {
        if self.log_left == 0 {
            return;
        }
        let cut = abi::MAX_LOG_LINE_BYTES.min(self.log_left);
        let line = &line[..line.len().min(cut as usize)];
        let text = String::from_utf8_lossy(line);
        self.host.log(level, text.trim_end_matches(['\n', '\r']));
        // An empty line costs a byte too, so that the count of lines is bounded as well.
        // A line was cut to 32 bits above.
        self.log_left -= (line.len() as u32).max(1);
        if self.log_left == 0 {
            self.host.log(
                LogLevel::Warn,
                "the guest's log is full for this call; the rest of its lines is dropped",
            );
        }
    }

    /// The host's wall time in microseconds.
    pub(crate) fn wall_micros(&self) -> u64 {
        self.host.now_micros()
    }

    /// The import `host_now`: wall time in microseconds.
    ///
    /// # Errors
    /// Too many calls, the deadline.
    pub fn host_now(&mut self) -> Result<i64, Trap> {
        self.enter()?;
        Ok(self.host.now_micros().cast_signed())
    }

    /// The import `host_random`: fills a buffer.
    ///
    /// # Errors
    /// A bad range or one over [`abi::MAX_RANDOM_BYTES`], too many calls, the deadline.
    pub fn host_random<M: GuestMemory + ?Sized>(
        &mut self,
        memory: &mut M,
        (ptr, len): (i32, i32),
    ) -> Result<(), Trap> {
        self.enter()?;
        self.fill_random(memory, "host_random", (ptr, len))
    }

    /// Random bytes for a range of the guest, at the call of `who`.
    pub(crate) fn fill_random<M: GuestMemory + ?Sized>(
        &mut self,
        memory: &mut M,
        who: &str,
        (ptr, len): (i32, i32),
    ) -> Result<(), Trap> {
        let mut rest = region(memory, who, "the buffer", ptr, len)?;
        if rest.len() > abi::MAX_RANDOM_BYTES {
            return Err(Trap::new(
                TrapKind::RequestTooLarge,
                format!(
                    "{who} gives at most {} bytes at once, {} were asked for; seed a generator with a few",
                    abi::MAX_RANDOM_BYTES,
                    rest.len()
                ),
            ));
        }
        let mut bytes = [0; 256];
        while rest.len() > 0 {
            let n = rest.len().min(256);
            let part = &mut bytes[..n as usize];
            self.host.random(part);
            rest.write(memory, part)?;
            rest = rest.skip(n);
        }
        Ok(())
    }
}

/// A status as what an import returns.
pub(crate) fn refusal(status: Status) -> i64 {
    -i64::from(status as u16)
}

impl Drop for HostState {
    fn drop(&mut self) {
        self.end_call();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conformance::{StepClock, TestHost};
    use std::cell::Cell;

    thread_local! {
        static TOLD: Cell<u32> = const { Cell::new(0) };
    }

    #[test]
    fn a_shared_thread_is_told_by_what_a_call_used_and_not_by_how_often_it_was_entered() {
        let limits = Limits { fuel: 100_000, ..Limits::default() };
        let mut state = HostState::new(Arc::new(TestHost::default()), StepClock::new(0), limits);
        let tell = || TOLD.set(TOLD.get() + 1);
        let (granted, _) = sharing::sharing(tell, || {
            state.begin();
            let mut granted = Vec::new();
            for unused in [900, 900, 800, 0] {
                granted.push(state.grant(1, 1_000).expect("fuel is left"));
                state.settle(unused);
            }
            assert_eq!(TOLD.get(), 0, "a slice is for the whole call");
            granted.push(state.grant(1, 1_000).expect("fuel is left"));
            assert_eq!(TOLD.get(), 1);
            state.begin();
            granted.push(state.grant(1, 1_000).expect("fuel is left"));
            assert_eq!(TOLD.get(), 1, "another call, another slice");
            granted
        });
        assert_eq!(granted, [1000, 900, 900, 800, 1000, 1000]);
        state.begin();
        assert_eq!(state.grant(1, 1_000).expect("fuel is left"), 1_000, "nobody shares");
    }
}
