//! Where a response goes that leaves while its call runs.
//!
//! What must stay true: whoever takes the pieces bounds how many of them wait; a guest is
//! kept waiting for its client no longer than its call may take, and learns that the client
//! has gone at its next piece.

use proto::Status;

use crate::memory::{Region, region};
use crate::state::refusal;
use crate::{GuestMemory, HostState, Trap, TrapKind};

/// Bytes of a piece at most; also of an upstream's body on its way to the guest.
pub const PIECE_BYTES: u32 = 64 << 10;

/// The other side of `host_write`, for one call of `process`.
pub trait Outlet: Send + Sync {
    /// Takes what comes next, at most [`PIECE_BYTES`] of it, and waits for room, but no
    /// longer than `patience_nanos`. The first bytes of a call are a response as the guest
    /// would return it, its head whole. `is_end`: with this piece ends what one call of
    /// `host_write` gave. Where it waits it must tell who shares the thread
    /// ([`platform::sharing::long_ahead`]).
    ///
    /// # Errors
    /// Why it was not taken.
    fn write(&self, piece: Vec<u8>, is_end: bool, patience_nanos: u64) -> Result<(), Unwritten>;
}

/// Why a piece was not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unwritten {
    /// The client has gone, or wants no body; every later piece will be told the same.
    Gone,
    /// There was no room in time.
    Late,
    /// The first bytes are no response, and why not.
    Malformed(String),
}

impl HostState {
    /// The import `host_write`: the next bytes of the response, on their way before the call
    /// ends.
    ///
    /// # Errors
    /// A bad range, more bytes than a response may have, no call of `process`, first bytes
    /// that are no response, too many calls, the deadline.
    pub fn host_write<M: GuestMemory + ?Sized>(
        &mut self,
        memory: &M,
        (ptr, len): (i32, i32),
    ) -> Result<i64, Trap> {
        self.enter()?;
        let given = region(memory, "host_write", "the piece", ptr, len)?;
        let limit = self.limits().response_bytes;
        if given.len() > limit {
            return Err(Trap::new(
                TrapKind::ResponseTooLarge,
                format!(
                    "host_write: a piece of {} bytes is over the limit of {limit}; write it in parts",
                    given.len()
                ),
            ));
        }
        let Some(outlet) = self.outlet.clone() else {
            return self.gather(memory, &given);
        };
        let mut rest = given;
        loop {
            let mut piece = Vec::new();
            rest.first(PIECE_BYTES).read_into(memory, &mut piece)?;
            rest = rest.skip(rest.len().min(PIECE_BYTES));
            let is_end = rest.len() == 0;
            if !self.may_leave(&piece) {
                return Ok(refusal(Status::TransactionConflict));
            }
            match outlet.write(piece, is_end, self.patience()) {
                Ok(()) if is_end => return Ok(i64::from(given.len())),
                Ok(()) => {}
                Err(Unwritten::Gone) => return Ok(refusal(Status::Cancelled)),
                Err(Unwritten::Late) => {
                    return Err(Trap::new(
                        TrapKind::Deadline,
                        format!(
                            "the client did not take the response within the {} ms that a call may take; write less per request or raise wasm.deadline_in_ms",
                            self.limits().deadline_nanos / 1_000_000
                        ),
                    ));
                }
                Err(Unwritten::Malformed(why)) => {
                    return Err(Trap::new(
                        TrapKind::Protocol,
                        format!(
                            "the first bytes given to host_write are no response: {why}; its head must be whole in the first 65,536 bytes"
                        ),
                    ));
                }
            }
        }
    }

    /// Keeps a piece for the response that `process` returns, where nobody takes pieces.
    fn gather<M: GuestMemory + ?Sized>(&mut self, memory: &M, given: &Region) -> Result<i64, Trap> {
        let limit = self.limits().response_bytes;
        let Some(gathered) = &mut self.gathered else {
            return Err(Trap::new(
                TrapKind::Protocol,
                "host_write was called where nobody waits for a response; only process may call it",
            ));
        };
        let mut piece = Vec::new();
        given.read_into(memory, &mut piece)?;
        if gathered.len() + piece.len() > limit as usize {
            return Err(Trap::new(
                TrapKind::ResponseTooLarge,
                format!(
                    "the pieces of the response are over the limit of {limit} bytes for one that is sent whole; answer in pages"
                ),
            ));
        }
        gathered.append(&mut piece);
        Ok(i64::from(given.len()))
    }
}
