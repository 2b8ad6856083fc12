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
use crate::server::{Closing, finish, report};
use quinn::crypto::rustls::QuicServerConfig;
use quinn::{
    Endpoint, EndpointConfig, IdleTimeout, ServerConfig, TokioRuntime, TransportConfig, VarInt,
};
use std::io;
use std::net::UdpSocket;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;

/// Requests at work on blocking threads that came this way, all sessions together: others
/// have work for those threads, too.
pub(super) const WORK: usize = 256;
/// A connection on which nothing is heard for so long is gone.
const SILENCE: Duration = Duration::from_secs(120);
/// The client is made to say something so often.
const KEEP_ALIVE: Duration = Duration::from_secs(20);
/// Bytes of one stream, and of all streams of one connection, that are received before
/// they are asked for; and sent before they are acknowledged.
const STREAM_WINDOW: u32 = 256 << 10;
const WINDOW: u32 = 1 << 20;
/// Of a connection that has not authenticated: an Auth, and what follows it.
const FIRST_WINDOW: u32 = 8 << 10;
/// Bytes that are kept of what comes before a handshake has begun, of one connection and
/// of all.
const EARLY_BYTES: u64 = 16 << 10;
const ALL_EARLY_BYTES: u64 = 1 << 20;
/// For the last packets of connections to go out.
const LAST_PACKETS: Duration = Duration::from_secs(1);

/// An endpoint on that socket.
pub(super) fn endpoint(
    socket: UdpSocket,
    tls: Arc<rustls::ServerConfig>,
    options: &WireOptions,
) -> io::Result<Endpoint> {
    let crypto = QuicServerConfig::try_from(tls).map_err(io::Error::other)?;
    let mut transport = TransportConfig::default();
    transport
        // Of Auth; there are more once that was right.
        .max_concurrent_bidi_streams(VarInt::from_u32(1))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .datagram_receive_buffer_size(None)
        .stream_receive_window(VarInt::from_u32(STREAM_WINDOW))
        .receive_window(VarInt::from_u32(FIRST_WINDOW))
        .send_window(WINDOW.into())
        .keep_alive_interval(Some(KEEP_ALIVE))
        .max_idle_timeout(Some(IdleTimeout::try_from(SILENCE).map_err(io::Error::other)?));
    let mut config = ServerConfig::with_crypto(Arc::new(crypto));
    config
        .transport_config(Arc::new(transport))
        // allowed_ips, lockouts and the log speak of one address.
        .migration(false)
        .max_incoming(options.max_unauthenticated.max(1))
        .incoming_buffer_size(EARLY_BYTES)
        .incoming_buffer_size_total(ALL_EARLY_BYTES);
    Endpoint::new(EndpointConfig::default(), Some(config), socket, Arc::new(TokioRuntime))
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
    let refusing = async {
        while let Some(incoming) = endpoint.accept().await {
            incoming.refuse();
        }
        std::future::pending().await
    };
    tokio::select! {
        () = finish(tasks, shared.options.drain_timeout) => {}
        () = refusing => {}
    }
    endpoint.close(VarInt::from_u32(0), b"the server stops");
    tokio::time::timeout(LAST_PACKETS, endpoint.wait_idle()).await.ok();
}
