//! HTTP/3: the endpoint on the port of the listener, by UDP, and who is let in.
//!
//! What must stay true: a request that came this way is answered by the very function
//! that answers the others, within the same limits. What a datagram with a forged sender
//! can make us do is bounded: [`HANDSHAKES`] at once, of which senders that have not shown
//! that they are where they say get a quarter; who comes then is asked to show it first
//! (a Retry, for which nothing is kept). There is no 0-RTT, which can be replayed, no
//! push, no datagram.

mod connection;
mod stream;

use super::{HttpHandler, HttpOptions, Shared};
use crate::server::{Closing, finish, report};
use quinn::crypto::rustls::QuicServerConfig;
use quinn::{
    Endpoint, EndpointConfig, IdleTimeout, ServerConfig, TokioRuntime, TransportConfig, VarInt,
};
use std::io;
use std::net::UdpSocket;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// Handshakes at once.
const HANDSHAKES: usize = 256;
/// A connection on which nothing is heard for so long is gone.
const SILENCE: Duration = Duration::from_secs(120);
/// The client is made to say something so often.
const KEEP_ALIVE: Duration = Duration::from_secs(20);
/// Streams a client opens one way: control, the two of QPACK, and some it invents.
const ONE_WAY: u32 = 8;
/// Bytes of one stream, and of all streams of one connection, that are received before
/// they are asked for; and sent before they are acknowledged.
const STREAM_WINDOW: u32 = 256 << 10;
const WINDOW: u32 = 1 << 20;
/// Bytes that are kept of what comes before a handshake has begun, of one connection and
/// of all.
const EARLY_BYTES: u64 = 16 << 10;
const ALL_EARLY_BYTES: u64 = 1 << 20;
/// For the last packets of connections to go out.
const LAST_PACKETS: Duration = Duration::from_secs(1);

/// An endpoint on that socket, with the certificate of `tls` at each moment.
pub(super) fn endpoint(
    socket: UdpSocket,
    tls: &rustls::ServerConfig,
    options: &HttpOptions,
) -> io::Result<Endpoint> {
    let mut tls = tls.clone();
    tls.alpn_protocols = vec![b"h3".to_vec()];
    tls.max_early_data_size = 0;
    let crypto = QuicServerConfig::try_from(tls).map_err(io::Error::other)?;
    let mut transport = TransportConfig::default();
    transport
        .max_concurrent_bidi_streams(VarInt::from_u32(options.max_streams))
        .max_concurrent_uni_streams(VarInt::from_u32(ONE_WAY))
        .datagram_receive_buffer_size(None)
        .stream_receive_window(VarInt::from_u32(STREAM_WINDOW))
        .receive_window(VarInt::from_u32(WINDOW))
        .send_window(WINDOW.into())
        .keep_alive_interval(Some(KEEP_ALIVE))
        .max_idle_timeout(Some(IdleTimeout::try_from(SILENCE).map_err(io::Error::other)?));
    let mut config = ServerConfig::with_crypto(Arc::new(crypto));
    config
        .transport_config(Arc::new(transport))
        .max_incoming(HANDSHAKES)
        .incoming_buffer_size(EARLY_BYTES)
        .incoming_buffer_size_total(ALL_EARLY_BYTES);
    Endpoint::new(EndpointConfig::default(), Some(config), socket, Arc::new(TokioRuntime))
}

/// Lets connections in, each on a task of its own, until the server drains, and the
/// drain has ended.
pub(super) async fn accept<H: HttpHandler>(
    endpoint: Endpoint,
    shared: Arc<Shared<H>>,
    mut closing: Closing,
) {
    let handshakes = Arc::new(Semaphore::new(HANDSHAKES));
    let places = shared.options.max_connections.clamp(1, Semaphore::MAX_PERMITS);
    let places = Arc::new(Semaphore::new(places));
    let mut tasks = JoinSet::new();
    loop {
        let incoming = tokio::select! {
            biased;
            () = closing.wait() => break,
            Some(ended) = tasks.join_next() => { report(ended); continue }
            incoming = endpoint.accept() => incoming,
        };
        let Some(incoming) = incoming else { break };
        let busy = HANDSHAKES - handshakes.available_permits().min(HANDSHAKES);
        if !incoming.remote_address_validated() && busy >= HANDSHAKES / 4 {
            if let Err(error) = incoming.retry() {
                error.into_incoming().refuse();
            }
            continue;
        }
        // No line in the log for each who is refused: senders can be forged.
        match (handshakes.clone().try_acquire_owned(), places.clone().try_acquire_owned()) {
            (Ok(handshake), Ok(place)) => {
                let (shared, closing) = (shared.clone(), closing.clone());
                let open = shared.refusals.traffic.begin();
                tasks.spawn(async move {
                    let (_open, _place) = (open, place);
                    connection::serve(shared, incoming, handshake, closing).await;
                });
            }
            _ => incoming.refuse(),
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
    endpoint.close(connection::NO_ERROR, b"the server stops");
    tokio::time::timeout(LAST_PACKETS, endpoint.wait_idle()).await.ok();
}
