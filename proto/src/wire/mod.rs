//! Sessions as state machines: bytes are fed, packets and events drained; no I/O.
//!
//! [`Server`] is the server's side of a session over a stream of bytes (TCP), [`Lone`]
//! that of a stream that carries one packet (QUIC), [`Replies`] the client's side.
//! They are what carries packets; what packets are stands beside ([`crate::packet`]).
//!
//! What must stay true, of each of them: however the bytes are cut, the same packets
//! come out; a length is compared with the limit before anything is kept because of
//! it; no bytes of a stranger make them panic, or keep more than their bound. There is
//! no clock in here: `now` is given, in microseconds since whenever.
//!
//! ```text
//!         feed                    next, detach              answered
//! bytes ---------> [ partial | ready ... ] --------> at work ----------> forgotten
//!                       \_ Cancel: cancelled()  <-------/
//! ```

mod front;
mod greeting;
mod lone;
mod replies;
mod server;
#[cfg(test)]
mod tests;

pub use front::{Fault, Front, front};
pub use greeting::Greeting;
pub use lone::Lone;
pub use replies::{BadReply, Replies};
pub use server::{Batch, Server, Ticket};

/// Bytes of an Auth packet at most, and so all that a session may send before it has
/// authenticated.
pub const AUTH_BYTES: usize = 4096;

/// Bytes that are read ahead of the requests at work.
pub const AHEAD_BYTES: usize = 64 << 10;
