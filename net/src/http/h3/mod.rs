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
use crate::quic::{self, Allowed};
use crate::server::{Closing, report};
use quinn::Endpoint;
use std::io;
use std::net::UdpSocket;
use std::sync::Arc;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// Handshakes at once.
const HANDSHAKES: usize = 256;
/// Streams a client opens one way: control, the two of QPACK, and some it invents.
const ONE_WAY: u32 = 8;

/// An endpoint on that socket, with the certificate of `tls` at each moment.
pub(super) fn endpoint(
    socket: UdpSocket,
    tls: &rustls::ServerConfig,
    options: &HttpOptions,
) -> io::Result<Endpoint> {
    let mut tls = tls.clone();
    tls.alpn_protocols = vec![b"h3".to_vec()];
    tls.max_early_data_size = 0;
    let allowed = Allowed {
        streams: options.max_streams,
        one_way: ONE_WAY,
        window: quic::WINDOW,
        handshakes: HANDSHAKES,
        moving: true,
    };
    quic::endpoint(socket, Arc::new(tls), &allowed)
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
    quic::end(&endpoint, tasks, shared.options.drain_timeout, connection::NO_ERROR).await;
}
