//! The wire over QUIC: the endpoint, and who is let in.
//!
//! What must stay true: the admission is that of TCP (`admission.rs`), and so are the
//! places of sessions, the lockouts and the limits. What a datagram with a forged sender
//! can make us do is bounded: handshakes at once by `max_unauthenticated`, of which
//! senders that have not shown that they are where they say get a quarter; who comes
//! then is asked to show it first (a Retry, for which nothing is kept). No such sender
//! takes anything from the address it names. There is no 0-RTT, no change of address, no
//! stream but those that a client opens both ways, no datagram.

mod connection;
mod stream;

use super::{Shared, WireHandler, WireOptions};
use crate::AddressRange;
use crate::quic::Allowed;
use crate::server::{Closing, report};
use quinn::{Endpoint, VarInt};
use std::io;
use std::net::UdpSocket;
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;

/// Requests at work on blocking threads that came this way, all sessions together: others
/// have work for those threads, too.
pub(super) const WORK: usize = 256;
/// Of a connection that has not authenticated: an Auth, and what follows it.
const FIRST_WINDOW: u32 = 8 << 10;

/// An endpoint on that socket.
pub(super) fn endpoint(
    socket: UdpSocket,
    tls: Arc<rustls::ServerConfig>,
    options: &WireOptions,
) -> io::Result<Endpoint> {
    let allowed = Allowed {
        // Of Auth; there are more once that was right.
        streams: 1,
        one_way: 0,
        window: FIRST_WINDOW,
        handshakes: options.max_unauthenticated.max(1),
        // allowed_ips, lockouts and the log speak of one address.
        moving: false,
    };
    crate::quic::endpoint(socket, tls, &allowed)
}

/// What becomes of who wants to come in.
enum Gate {
    /// Nothing is said.
    Ignore,
    /// To show first that it is where it says.
    Retry,
    /// There is no place.
    Refuse,
    In(OwnedSemaphorePermit),
}

/// Lets connections in, each on a task of its own, until the server drains, and the
/// drain has ended.
pub(super) async fn accept<H: WireHandler>(
    endpoint: Endpoint,
    shared: Arc<Shared<H>>,
    mut closing: Closing,
) {
    let most = shared.options.max_unauthenticated.clamp(1, Semaphore::MAX_PERMITS);
    let places = Arc::new(Semaphore::new(most));
    let mut tasks = JoinSet::new();
    loop {
        let incoming = tokio::select! {
            biased;
            () = closing.wait() => break,
            Some(ended) = tasks.join_next() => { report(ended); continue }
            incoming = endpoint.accept() => incoming,
        };
        let Some(incoming) = incoming else { break };
        let peer = incoming.remote_address();
        let gate = if !AddressRange::allows(&shared.options.allowed_ips, peer.ip()) {
            Gate::Ignore
        } else if !incoming.remote_address_validated()
            && most - places.available_permits().min(most) >= most.div_ceil(4)
        {
            Gate::Retry
        } else {
            places.clone().try_acquire_owned().map_or(Gate::Refuse, Gate::In)
        };
        match gate {
            // No line in the log for each: senders can be forged.
            Gate::Ignore => incoming.ignore(),
            Gate::Refuse => incoming.refuse(),
            Gate::Retry => {
                if let Err(error) = incoming.retry() {
                    error.into_incoming().refuse();
                }
            }
            Gate::In(place) => {
                let (shared, closing) = (shared.clone(), closing.clone());
                let open = shared.refusals.traffic.begin();
                tasks.spawn(async move {
                    let _open = open;
                    connection::serve(shared, incoming, place, closing).await;
                });
            }
        }
    }
    let code = VarInt::from_u32(0);
    crate::quic::end(&endpoint, tasks, shared.options.drain_timeout, code).await;
}
