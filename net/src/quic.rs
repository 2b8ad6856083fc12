//! What both endpoints of QUIC share: how they are set up, and how they end.
//!
//! What must stay true: whatever comes over them, what is kept of it is bounded: of what
//! comes before a handshake, of what is received and not asked for, of what is sent and not
//! acknowledged; whoever is silent is gone after a while. There is no datagram, and no
//! 0-RTT unless the TLS that is given has it.

use crate::server::finish;
use quinn::crypto::rustls::QuicServerConfig;
use quinn::{
    Endpoint, EndpointConfig, IdleTimeout, ServerConfig, TokioRuntime, TransportConfig, VarInt,
};
use std::io;
use std::net::UdpSocket;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;

/// A connection on which nothing is heard for so long is gone.
const SILENCE: Duration = Duration::from_secs(120);
/// The client is made to say something so often.
const KEEP_ALIVE: Duration = Duration::from_secs(20);
/// Bytes of one stream, and of all streams of one connection, that are received before
/// they are asked for; and sent before they are acknowledged.
const STREAM_WINDOW: u32 = 256 << 10;
pub(crate) const WINDOW: u32 = 1 << 20;
/// Bytes that are kept of what comes before a handshake has begun, of one connection and
/// of all.
const EARLY_BYTES: u64 = 16 << 10;
const ALL_EARLY_BYTES: u64 = 1 << 20;
/// For the last packets of connections to go out.
const LAST_PACKETS: Duration = Duration::from_secs(1);

/// What an endpoint allows a client.
pub(crate) struct Allowed {
    /// Streams at once that go both ways.
    pub(crate) streams: u32,
    /// Streams at once that go one way.
    pub(crate) one_way: u32,
    /// Bytes of a connection that are received before they are asked for.
    pub(crate) window: u32,
    /// Handshakes at once.
    pub(crate) handshakes: usize,
    /// To go on from another address.
    pub(crate) moving: bool,
}

/// An endpoint on that socket.
pub(crate) fn endpoint(
    socket: UdpSocket,
    tls: Arc<rustls::ServerConfig>,
    allowed: &Allowed,
) -> io::Result<Endpoint> {
    let crypto = QuicServerConfig::try_from(tls).map_err(io::Error::other)?;
    let mut transport = TransportConfig::default();
    transport
        .max_concurrent_bidi_streams(VarInt::from_u32(allowed.streams))
        .max_concurrent_uni_streams(VarInt::from_u32(allowed.one_way))
        .datagram_receive_buffer_size(None)
        .stream_receive_window(VarInt::from_u32(STREAM_WINDOW))
        .receive_window(VarInt::from_u32(allowed.window))
        .send_window(WINDOW.into())
        .keep_alive_interval(Some(KEEP_ALIVE))
        .max_idle_timeout(Some(IdleTimeout::try_from(SILENCE).map_err(io::Error::other)?));
    let mut config = ServerConfig::with_crypto(Arc::new(crypto));
    config
        .transport_config(Arc::new(transport))
        .migration(allowed.moving)
        .max_incoming(allowed.handshakes)
        .incoming_buffer_size(EARLY_BYTES)
        .incoming_buffer_size_total(ALL_EARLY_BYTES);
    Endpoint::new(EndpointConfig::default(), Some(config), socket, Arc::new(TokioRuntime))
}

/// Waits for the tasks of connections, which have `drain` to end, and refuses who comes
/// meanwhile; then closes with that code.
pub(crate) async fn end(endpoint: &Endpoint, tasks: JoinSet<()>, drain: Duration, code: VarInt) {
    let refusing = async {
        while let Some(incoming) = endpoint.accept().await {
            incoming.refuse();
        }
        std::future::pending().await
    };
    tokio::select! {
        () = finish(tasks, drain) => {}
        () = refusing => {}
    }
    endpoint.close(code, b"the server stops");
    tokio::time::timeout(LAST_PACKETS, endpoint.wait_idle()).await.ok();
}
