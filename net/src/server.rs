//! What both listeners share: bind, accept within a bound, drain.
//!
//! What must stay true: a connection is accepted only once there is a place for
//! it; until then it waits in the kernel's queue, where it costs us nothing. A
//! failed accept (no file descriptors left) is waited out, never spun on. Every
//! connection's task is owned by the listener: when [`Server::drain`] returns,
//! none is left.

use crate::Traffic;
use crate::refusal::{self, Refusals};
use crate::stream::{Stream, discard};
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;

/// How the bytes of a listener travel. There is no default: leaving TLS out is
/// somebody's decision.
#[derive(Clone, Debug)]
pub enum Security {
    /// TLS 1.3: of [`crate::tls::Certificates`], or of [`crate::tls::Identity`] if it stays.
    Tls(Arc<rustls::ServerConfig>),
    /// `tls.enabled: false`.
    Plaintext,
}

/// The address could not be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address} by {by}: {source}; {}", advice(source))]
pub struct ListenError {
    /// Where.
    pub address: SocketAddr,
    /// `TCP` or `UDP`.
    pub by: &'static str,
    /// What the system said.
    pub source: io::Error,
}

fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => "another program listens there: stop it, or set another port",
        io::ErrorKind::AddrNotAvailable => "this machine has no such address: set one it has",
        io::ErrorKind::PermissionDenied => "ports below 1024 need a privilege: set another port",
        _ => "set another address or port",
    }
}

/// A listener at work. Dropped, it drains by itself in the background.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    closing: watch::Sender<bool>,
    accepting: Vec<JoinHandle<()>>,
    traffic: Arc<Traffic>,
}

impl Server {
    /// Of tasks that end when they are told to close.
    pub(crate) fn new(
        address: SocketAddr,
        closing: watch::Sender<bool>,
        accepting: Vec<JoinHandle<()>>,
        traffic: Arc<Traffic>,
    ) -> Server {
        Server { address, closing, accepting, traffic }
    }

    /// What it counts.
    pub fn traffic(&self) -> Arc<Traffic> {
        Arc::clone(&self.traffic)
    }

    /// Where it listens: the port the system chose, if 0 was asked for.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Accepts no more, lets what is in flight finish, closes the connections.
    /// What has not finished within the listener's drain timeout is cut off.
    pub async fn drain(self) {
        self.closing.send_replace(true);
        for accepting in self.accepting {
            if let Err(error) = accepting.await {
                tracing::error!(address = %self.address, %error, "the listener's task failed");
            }
        }
    }
}

/// One accepted connection, with its place among the bounded many.
pub(crate) struct Accepted {
    pub(crate) stream: TcpStream,
    pub(crate) peer: SocketAddr,
    /// Dropped, it lets another connection in.
    pub(crate) place: OwnedSemaphorePermit,
    pub(crate) closing: Closing,
}

/// Tells a connection that the listener drains.
#[derive(Clone, Debug)]
pub(crate) struct Closing(watch::Receiver<bool>);

impl Closing {
    /// Of a server; and what tells it.
    pub(crate) fn new() -> (watch::Sender<bool>, Closing) {
        let (sender, receiver) = watch::channel(false);
        (sender, Closing(receiver))
    }

    /// Whether it drains (or was dropped).
    pub(crate) fn is_now(&self) -> bool {
        *self.0.borrow() || self.0.has_changed().is_err()
    }

    /// Returns once the listener drains (or was dropped). May be polled again.
    pub(crate) async fn wait(&mut self) {
        // An Err is a dropped Server: that is the end as well.
        self.0.wait_for(|closing| *closing).await.ok();
    }
}

/// A listener, and where it listens.
async fn bind(address: SocketAddr) -> Result<(TcpListener, SocketAddr), ListenError> {
    let failed = |source| ListenError { address, by: "TCP", source };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    Ok((listener, address))
}

/// Ports that are tried for TCP and UDP both, if any will do.
const PORTS: usize = 32;

/// A TCP socket, and if asked for one of UDP with the same port.
pub(crate) async fn sockets(
    wanted: SocketAddr,
    udp: bool,
) -> Result<(TcpListener, Option<UdpSocket>, SocketAddr), ListenError> {
    let mut tries = 0;
    loop {
        let (listener, address) = bind(wanted).await?;
        if !udp {
            return Ok((listener, None, address));
        }
        tries += 1;
        match UdpSocket::bind(address) {
            Ok(socket) => return Ok((listener, Some(socket), address)),
            // Any port was asked for, and this one is free in one of them alone.
            Err(error)
                if error.kind() == io::ErrorKind::AddrInUse
                    && wanted.port() == 0
                    && tries < PORTS => {}
            Err(source) => return Err(ListenError { address, by: "UDP", source }),
        }
    }
}

/// Gives each connection to `serve`, on a task of its own, until the server drains, and
/// the drain has ended.
pub(crate) async fn accept_on<F>(
    listener: TcpListener,
    places: usize,
    drain_timeout: Duration,
    traffic: Arc<Traffic>,
    mut closing: Closing,
    serve: impl Fn(Accepted) -> F + Clone + Send + 'static,
) where
    F: Future<Output = ()> + Send + 'static,
{
    let places = Arc::new(Semaphore::new(places.clamp(1, Semaphore::MAX_PERMITS)));
    let mut tasks = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            biased;
            () = closing.wait() => break,
            Some(ended) = tasks.join_next() => { report(ended); continue }
            accepted = accept(&listener, &places) => accepted,
        };
        let (stream, peer, place) = accepted;
        // Replies are written whole: waiting to fill a segment only delays them.
        if stream.set_nodelay(true).is_ok() {
            let closing = closing.clone();
            let open = traffic.begin();
            let (serve, accepted) = (serve.clone(), Accepted { stream, peer, place, closing });
            tasks.spawn(async move {
                let _open = open;
                // Called here: a future from outside would have its place in the task twice.
                serve(accepted).await;
            });
        }
    }
    drop(listener);
    finish(tasks, drain_timeout).await;
}

/// Waits for the tasks of connections; those that take too long are cut off.
pub(crate) async fn finish(mut tasks: JoinSet<()>, drain_timeout: Duration) {
    let all = async {
        while let Some(ended) = tasks.join_next().await {
            report(ended);
        }
    };
    if tokio::time::timeout(drain_timeout, all).await.is_err() {
        tracing::warn!(connections = tasks.len(), "drain timeout passed: cutting off");
        tasks.shutdown().await;
    }
}

pub(crate) fn report(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        tracing::error!(%error, "a connection's task panicked; only that connection is lost");
    }
}

async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> (TcpStream, SocketAddr, OwnedSemaphorePermit) {
    let place = places.clone().acquire_owned().await.expect("the semaphore is never closed");
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => return (stream, peer, place),
            // The connection was gone before we came to it.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => {
                tracing::error!(%error, "cannot accept connections; raise the limit on open files");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// How long a connection that is closed is listened to.
const LINGER: Duration = Duration::from_secs(1);

/// A handshake that failed. The peer has been told why, as TLS says such things.
pub(crate) struct Broken {
    error: io::Error,
    stream: TcpStream,
}

impl Broken {
    /// Says what is worth a line of the log, and closes.
    pub(crate) async fn end(mut self, refusals: &Refusals, peer: SocketAddr) {
        match refusal::of_handshake(&self.error) {
            Some(why) => refusals.say(peer, &why),
            None => tracing::debug!(%peer, error = %self.error, "a TLS handshake broke off"),
        }
        farewell(&mut self.stream).await;
    }
}

/// The handshake, if there is one.
pub(crate) async fn secure(stream: TcpStream, security: &Security) -> Result<Stream, Broken> {
    let Security::Tls(config) = security else { return Ok(Stream::Plain(stream)) };
    match TlsAcceptor::from(config.clone()).accept(stream).into_fallible().await {
        Ok(stream) => Ok(Stream::Tls(Box::new(stream.into()))),
        Err((error, stream)) => Err(Broken { error, stream }),
    }
}

/// Ends our side and listens for a while: closing over bytes not read would reset the
/// connection, and take what was said last with it.
pub(crate) async fn farewell(stream: &mut TcpStream) {
    let rest = async {
        stream.shutdown().await?;
        discard(stream).await
    };
    // However it ends, the connection is closed.
    tokio::time::timeout(LINGER, rest).await.ok();
}
