//! A server that does with each connection what a test says.
#![allow(dead_code)] // Each test binary uses a part.
#![allow(clippy::unwrap_used)] // Helpers of tests.

pub(crate) mod papers;

use planck_client::proto::packet::{HEADER_BYTES, Header};
use planck_client::proto::wire::Greeting;
use planck_client::proto::{ReplyWriter, Request};
use planck_client::{Client, Config, Key, Result, Security};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

pub(crate) const SHORT: Duration = Duration::from_millis(60);
/// Beyond the patience of the tests: what ends sooner was ended by what is tested.
pub(crate) const LONG: Duration = Duration::from_secs(3600);

/// Only a hang reaches this; nothing waits for it to pass.
pub(crate) async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), what).await.expect("took too long")
}

pub(crate) async fn eventually(mut holds: impl FnMut() -> bool) {
    soon(async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await;
}

pub(crate) fn client(config: Config) -> Client {
    Client::new(config).unwrap()
}

/// A small write.
pub(crate) async fn insert(client: &Client, key: Option<Key>) -> Result<Key> {
    let request = Request::Insert { store: "s", key, document: &[5, 0, 0, 0, 0] };
    soon(client.request(&request)).await?.key()
}

/// Stopped when dropped, with all its connections.
pub(crate) struct Fake {
    pub(crate) address: SocketAddr,
    accepted: Arc<AtomicUsize>,
    accepting: JoinHandle<()>,
}

impl Fake {
    /// Gives each connection, counted from 0, to `serve`.
    pub(crate) async fn start<F, S>(serve: S) -> Fake
    where
        S: Fn(usize, Peer) -> F + Send + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        Fake::at(([127, 0, 0, 1], 0).into(), serve).await
    }

    pub(crate) async fn at<F, S>(address: SocketAddr, serve: S) -> Fake
    where
        S: Fn(usize, Peer) -> F + Send + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let accepted = Arc::new(AtomicUsize::new(0));
        let count = accepted.clone();
        let accepting = tokio::spawn(async move {
            let mut serving = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                serving.spawn(serve(count.fetch_add(1, Ordering::SeqCst), Peer { stream }));
            }
        });
        Fake { address, accepted, accepting }
    }

    /// One that answers each request with what `answer` writes.
    pub(crate) async fn answering(
        answer: impl Fn(usize, &Request<'_>, ReplyWriter<'_>) + Clone + Send + Sync + 'static,
    ) -> Fake {
        Fake::start(move |n, mut peer| {
            let answer = answer.clone();
            async move {
                peer.auth().await;
                while let Some(packet) = peer.packet().await {
                    let reply = reply(&packet, |request, reply| answer(n, request, reply));
                    peer.send(&reply).await;
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
        config(self.address)
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// A user of the server there, who does not wait long between attempts.
pub(crate) fn config(address: SocketAddr) -> Config {
    let mut config = Config::new(address.to_string(), Security::Plaintext, "ann", "key");
    config.retry.first_pause = Duration::from_millis(2);
    config.retry.longest_pause = Duration::from_millis(20);
    config
}

/// The server's side of a connection.
pub(crate) struct Peer {
    pub(crate) stream: TcpStream,
}

impl Peer {
    /// The next whole packet; `None` once the client has gone.
    pub(crate) async fn packet(&mut self) -> Option<Vec<u8>> {
        let mut packet = vec![0; HEADER_BYTES];
        self.stream.read_exact(&mut packet).await.ok()?;
        let body = Header::parse(&packet).unwrap().body as usize;
        packet.resize(HEADER_BYTES + body, 0);
        self.stream.read_exact(&mut packet[HEADER_BYTES..]).await.ok()?;
        Some(packet)
    }

    /// Reads Auth and lets the client in.
    pub(crate) async fn auth(&mut self) {
        if let Some(packet) = self.packet().await {
            let reply = reply(&packet, |request, reply| {
                assert!(matches!(request, Request::Auth { user: "ann", key: "key" }));
                reply.empty();
            });
            self.send(&reply).await;
        }
    }

    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        // The client may have gone, as some tests want it to.
        self.stream.write_all(bytes).await.ok();
    }

    /// Answers nothing until the client has gone.
    pub(crate) async fn be_silent(mut self) {
        while self.packet().await.is_some() {}
    }
}

/// What a server says of itself, with these bounds.
pub(crate) fn greeting(max_message_size: u64, idle_timeout_ms: u64) -> Vec<u8> {
    let (server, user, role) = ("planck 9", "ann", "admin");
    let (session, max_in_flight) = (7, 64);
    Greeting { server, session, user, role, max_message_size, max_in_flight, idle_timeout_ms }
        .encode()
}

/// The reply to a request packet.
pub(crate) fn reply(packet: &[u8], write: impl FnOnce(&Request<'_>, ReplyWriter<'_>)) -> Vec<u8> {
    let (id, request) = Request::decode(packet).unwrap();
    let mut out = Vec::new();
    write(&request, ReplyWriter::new(id, &mut out));
    out
}
