//! A server of QUIC that does with each connection what a test says.

use super::common::papers::{Papers, papers};
use super::common::reply;
use planck_client::proto::{ReplyWriter, Request};
use planck_client::{Config, ConnectOptions, Error, Security, Session, Transport};
use quinn::crypto::rustls::QuicServerConfig;
use quinn::{Connection, Endpoint, RecvStream, SendStream, ServerConfig, TransportConfig, VarInt};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::task::{JoinHandle, JoinSet};

pub(crate) const NO_REASON: VarInt = VarInt::from_u32(0);
/// Bytes of a request that it takes in before it reads them.
pub(crate) const WINDOW: u32 = 100_000;

/// Stopped when dropped, with all its connections.
pub(crate) struct Fake {
    pub(crate) address: SocketAddr,
    pub(crate) own: Papers,
    accepted: Arc<AtomicUsize>,
    accepting: JoinHandle<()>,
}

/// A stream: its request, and where the answer goes.
pub(crate) struct Asked {
    pub(crate) packet: Vec<u8>,
    pub(crate) send: SendStream,
}

impl Fake {
    /// Gives each connection, counted from 0, to `serve`.
    pub(crate) async fn start<F, S>(serve: S) -> Fake
    where
        S: Fn(usize, Connection) -> F + Send + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        let own = papers();
        let tls = own.server(None);
        Fake::with(own, tls, serve).await
    }

    pub(crate) async fn with<F, S>(own: Papers, tls: rustls::ServerConfig, serve: S) -> Fake
    where
        S: Fn(usize, Connection) -> F + Send + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        let crypto = QuicServerConfig::try_from(Arc::new(tls)).unwrap();
        let mut transport = TransportConfig::default();
        transport.stream_receive_window(VarInt::from_u32(WINDOW));
        let mut config = ServerConfig::with_crypto(Arc::new(crypto));
        config.transport_config(Arc::new(transport));
        let endpoint = Endpoint::server(config, ([127, 0, 0, 1], 0).into()).unwrap();
        let address = endpoint.local_addr().unwrap();
        let accepted = Arc::new(AtomicUsize::new(0));
        let count = accepted.clone();
        let accepting = tokio::spawn(async move {
            let mut serving = JoinSet::new();
            while let Some(incoming) = endpoint.accept().await {
                if let Ok(connection) = incoming.await {
                    serving.spawn(serve(count.fetch_add(1, Ordering::SeqCst), connection));
                }
            }
        });
        Fake { address, own, accepted, accepting }
    }

    /// One that answers each request with what `answer` writes.
    pub(crate) async fn answering(
        answer: impl Fn(usize, &Request<'_>, ReplyWriter<'_>) + Clone + Send + Sync + 'static,
    ) -> Fake {
        Fake::start(move |n, peer| {
            let answer = answer.clone();
            async move {
                auth(&peer).await;
                while let Some(asked) = asked(&peer).await {
                    let reply = reply(&asked.packet, |request, reply| answer(n, request, reply));
                    asked.answer(&reply).await;
                }
            }
        })
        .await
    }

    /// Connections so far.
    pub(crate) fn accepted(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }

    pub(crate) fn config(&self) -> Config {
        let mut config = super::common::config(self.address);
        config.security = Security::Pinned(self.own.pin());
        config.transport = Transport::Quic;
        config
    }

    pub(crate) async fn connect(&self, options: ConnectOptions) -> Result<Session, Error> {
        let (address, pin) = (self.address.to_string(), Security::Pinned(self.own.pin()));
        super::soon(Session::connect(&address, pin, "ann", "key", options)).await
    }

    pub(crate) async fn session(&self) -> Session {
        self.connect(ConnectOptions::default()).await.unwrap()
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Asked {
    pub(crate) async fn answer(mut self, bytes: &[u8]) {
        // The client may have gone, as some tests want it to.
        if self.send.write_all(bytes).await.is_ok() {
            self.send.finish().ok();
        }
    }
}

/// The next stream, before anything is read of it; `None` once the client has gone.
pub(crate) async fn opened(peer: &Connection) -> Option<(SendStream, RecvStream)> {
    peer.accept_bi().await.ok()
}

/// The next request; `None` once the client has gone. Streams that are given up are
/// passed over.
pub(crate) async fn asked(peer: &Connection) -> Option<Asked> {
    loop {
        let (send, mut recv) = opened(peer).await?;
        if let Ok(packet) = recv.read_to_end(64 << 20).await {
            return Some(Asked { packet, send });
        }
    }
}

/// Reads Auth and lets the client in.
pub(crate) async fn auth(peer: &Connection) {
    let Some(asked) = asked(peer).await else { return };
    let reply = reply(&asked.packet, |request, reply| {
        assert!(matches!(request, Request::Auth { user: "ann", key: "key" }));
        reply.empty();
    });
    asked.answer(&reply).await;
}

/// Nothing more, until the client has gone.
pub(crate) async fn be_silent(peer: Connection) {
    peer.closed().await;
}
