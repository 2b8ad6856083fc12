//! How an instance is started and called: once, over any backend.
//!
//! What must stay true:
//! * The request lies in a buffer the guest's own `alloc` gave, never at an
//!   address of the host's choosing. The buffer is kept and only grows.
//! * What `process` returns leaves only whole, checked and copied; on any error the
//!   caller's buffer is empty. What it wrote before has gone its own way.
//! * After a trap that kills, no code of the instance runs again.
//! * What a call has done takes effect once its response is here and sound, and before it is
//!   given to anybody; if the host says that it was disturbed, all of it is run again.

use std::sync::Arc;

use crate::abi::{self, Export};
use crate::memory::region;
use crate::{CallKind, CallReport, GuestMemory, HostState, Instance, Outlet, Trap, TrapKind};

/// What a backend supplies: one instantiated module with its [`HostState`].
pub trait Guest {
    /// Whether the module has the export.
    fn has(&self, export: Export) -> bool;

    /// Calls an export with arguments that fit its signature. An `i32` result is
    /// widened, none is 0. Fuel comes from [`HostState::grant`] slice by slice and
    /// goes back by [`HostState::settle`], whether it succeeds or not.
    ///
    /// # Errors
    /// The trap that ended it.
    fn call(&mut self, export: Export, args: &[i32]) -> Result<i64, Trap>;

    /// Its memory and its state.
    fn parts<R>(&mut self, use_it: impl FnOnce(&mut dyn GuestMemory, &mut HostState) -> R) -> R;

    /// Its state alone.
    fn state(&self) -> &HostState;

    /// Bytes of its linear memory.
    fn memory_bytes(&self) -> u64;
}

/// The request buffer a guest has given.
#[derive(Clone, Copy)]
struct Buffer {
    ptr: i32,
    cap: u32,
}

/// An [`Instance`] over a backend's [`Guest`].
pub struct AbiInstance<G> {
    guest: G,
    buffer: Option<Buffer>,
    dead: bool,
    last: CallReport,
}

impl<G: Guest> AbiInstance<G> {
    /// Starts a guest: start section, `_initialize`, version check, `init`.
    ///
    /// # Errors
    /// What stopped it, or a version that is not ours.
    pub fn start(guest: G) -> Result<Self, Trap> {
        let mut this = Self { guest, buffer: None, dead: false, last: CallReport::default() };
        this.guest.parts(|_, state| state.kind = CallKind::Start);
        this.call_whole(|guest, _| {
            for export in [Export::Start, Export::Initialize] {
                if guest.has(export) {
                    guest.call(export, &[])?;
                }
            }
            let found = guest.call(Export::Abi, &[])?;
            if found != i64::from(abi::VERSION) {
                return Err(Trap::new(
                    TrapKind::Protocol,
                    format!(
                        "planck_abi() returned {found}, this host speaks version {}; build the guest with a matching SDK",
                        abi::VERSION
                    ),
                ));
            }
            if guest.has(Export::Init) {
                guest.call(Export::Init, &[])?;
            }
            Ok(())
        })?;
        Ok(this)
    }

    /// Runs `body` as one call: a fresh budget before, a report and a clean host side after.
    fn call_whole(
        &mut self,
        body: impl FnOnce(&mut G, &mut Option<Buffer>) -> Result<(), Trap>,
    ) -> Result<CallReport, Trap> {
        self.guest.parts(|_, state| state.begin());
        let outcome = body(&mut self.guest, &mut self.buffer);
        let memory = self.guest.memory_bytes();
        self.last = self.guest.state().report(memory);
        let outcome = outcome.map_err(|trap| self.guest.state().explain(trap));
        self.guest.parts(|_, state| state.clear());
        self.dead = matches!(&outcome, Err(trap) if trap.kind().kills());
        outcome.map(|()| self.last)
    }

    fn answer(
        &mut self,
        request: &[u8],
        response: &mut Vec<u8>,
        outlet: Option<Arc<dyn Outlet>>,
    ) -> Result<CallReport, Trap> {
        response.clear();
        if self.dead {
            return Err(Trap::new(
                TrapKind::Host,
                "this instance trapped in an earlier call and is dead; make a new one",
            ));
        }
        let mut attempt = 1;
        loop {
            let (outcome, again) = self.process_once(request, response, attempt, outlet.clone());
            if outcome.is_err() {
                response.clear();
            }
            if !again {
                return outcome;
            }
            attempt += 1;
        }
    }
}

impl<G: Guest> Instance for AbiInstance<G> {
    fn process(&mut self, request: &[u8], response: &mut Vec<u8>) -> Result<CallReport, Trap> {
        self.answer(request, response, None)
    }

    fn process_to(
        &mut self,
        request: &[u8],
        response: &mut Vec<u8>,
        outlet: Arc<dyn Outlet>,
    ) -> Result<CallReport, Trap> {
        self.answer(request, response, Some(outlet))
    }

    fn last_call(&self) -> CallReport {
        self.last
    }

    fn memory_bytes(&self) -> u64 {
        self.guest.memory_bytes()
    }
}

impl<G: Guest> AbiInstance<G> {
    /// One call of `process`; and whether it is to be made again.
    fn process_once(
        &mut self,
        request: &[u8],
        response: &mut Vec<u8>,
        attempt: u32,
        outlet: Option<Arc<dyn Outlet>>,
    ) -> (Result<CallReport, Trap>, bool) {
        let mut again = false;
        let outcome = self.call_whole(|guest, buffer| {
            let ptr = place(guest, buffer, request)?;
            // `place` has compared the length with a 32-bit limit.
            let len = i32::try_from(request.len()).map_err(|_| too_large(guest, request))?;
            guest.parts(|_, state| state.process_begins(request, outlet, attempt));
            let packed = guest.call(Export::Process, &[ptr, len])?;
            let written = guest.parts(|_, state| state.process_ends());
            // Who was told that nothing leaves may well end so.
            let disturbed = guest.parts(|_, state| state.is_disturbed());
            if packed >= 0 {
                take(guest, packed, response)?;
            } else if !disturbed {
                return Err(Trap::aborted(packed));
            }
            if !written.is_empty() {
                response.splice(..0, written);
            }
            // The last thing: nothing of the guest's can fail behind it.
            again = guest.parts(|_, state| state.conclude(response))?;
            Ok(())
        });
        (outcome, again)
    }
}

fn too_large(guest: &impl Guest, request: &[u8]) -> Trap {
    Trap::new(
        TrapKind::RequestTooLarge,
        format!(
            "a request of {} bytes is over the limit of {} for a guest; send less",
            request.len(),
            guest.state().limits().request_bytes
        ),
    )
}

/// Copies the request into the guest's buffer, asking for a larger one if need be.
fn place<G: Guest>(
    guest: &mut G,
    buffer: &mut Option<Buffer>,
    request: &[u8],
) -> Result<i32, Trap> {
    let limit = guest.state().limits().request_bytes;
    let len = u32::try_from(request.len()).ok().filter(|len| *len <= limit);
    let len = len.ok_or_else(|| too_large(guest, request))?;
    let fitting = buffer.filter(|buffer| buffer.cap >= len);
    let Buffer { ptr, cap } = match fitting {
        Some(buffer) => buffer,
        None => {
            // Taken first: if the guest traps on the way, nothing dangles.
            if let Some(old) = buffer.take()
                && guest.has(Export::Free)
            {
                guest.call(Export::Free, &[old.ptr, old.cap.cast_signed()])?;
            }
            // A power of two, so that growing requests ask seldom; at most 2^30.
            let cap = len.next_power_of_two().max(abi::MIN_REQUEST_BUFFER);
            let ptr = guest.call(Export::Alloc, &[cap.cast_signed()])?;
            // An i32 result: only its low half counts.
            let ptr = ptr as i32;
            if ptr == 0 {
                return Err(guest.state().out_of_memory());
            }
            *buffer.insert(Buffer { ptr, cap })
        }
    };
    guest.parts(|memory, _| {
        let whole = region(memory, "alloc", "the request buffer", ptr, cap.cast_signed())?;
        whole.write(memory, request)
    })?;
    Ok(ptr)
}

/// Copies the response out and gives its memory back.
fn take<G: Guest>(guest: &mut G, packed: i64, response: &mut Vec<u8>) -> Result<(), Trap> {
    // Both halves as the ABI packs them: pointer high, length low.
    let (ptr, len) = ((packed >> 32) as i32, packed as i32);
    guest.parts(|memory, state| {
        let limit = state.limits().response_bytes;
        let region = region(memory, "process", "the response", ptr, len)?;
        if region.len() > limit {
            return Err(Trap::new(
                TrapKind::ResponseTooLarge,
                format!(
                    "the guest's response of {} bytes is over the limit of {limit}; answer in pages",
                    region.len()
                ),
            ));
        }
        region.read_into(memory, response)
    })?;
    if len != 0 && guest.has(Export::Free) {
        guest.call(Export::Free, &[ptr, len])?;
    }
    Ok(())
}
