//! Connections to an upstream: opened, kept for the next call, let go.
//!
//! What must stay true:
//! * A connection goes to an address that was vetted after it was resolved, and to no other.
//! * TLS is 1.3, and the certificate is that of the operator's host.
//! * A connection is used again only after the whole answer of the call before was read.
//! * Idle connections are bounded in number and in time. One that nobody holds has no task.

use super::resolve::MAX_ADDRESSES;
use super::stats::Failure;
use super::target::Origin;
use super::vet::{Place, place};
use super::{Refused, Resolve};
use bytes::Bytes;
use http_body_util::Full;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout, timeout_at};
use tokio_rustls::TlsConnector;

/// How long a connection is kept that nobody uses: less than most servers keep it.
const IDLE: Duration = Duration::from_secs(15);
/// How long one is used at all, so that a name that leads elsewhere is followed.
const LIFE: Duration = Duration::from_secs(300);
/// How long a connection may take, after an answer, to be ready for the next call.
const SETTLE: Duration = Duration::from_millis(20);
/// Addresses that are tried for one connection.
const ATTEMPTS: usize = 4;
/// Bytes of an answer that are read ahead of whoever reads it; its head fits too.
const WINDOW: usize = 128 << 10;

/// What a call sends.
pub(super) type Call = hyper::Request<Full<Bytes>>;

/// A connection; its task ends with it.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) sender: SendRequest<Full<Bytes>>,
    task: AbortHandle,
    born: Instant,
}

impl Drop for Line {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Where connections of one upstream go, and how.
pub(super) struct Route {
    pub(super) origin: Origin,
    pub(super) allow_private: bool,
    pub(super) tls: Option<TlsConnector>,
    pub(super) resolver: Arc<dyn Resolve>,
}

impl Route {
    /// A new connection, before `deadline`.
    pub(super) async fn open(&self, deadline: tokio::time::Instant) -> Result<Line, Refused> {
        let addresses = self.addresses(deadline).await?;
        let mut last = Refused::new(Failure::Unreachable, "has no address".to_owned());
        for (tried, address) in addresses.iter().enumerate() {
            let now = tokio::time::Instant::now();
            let left = u32::try_from(addresses.len() - tried).unwrap_or(u32::MAX);
            // An address that does not answer leaves time for the next.
            let until = now + deadline.saturating_duration_since(now) / left;
            let target = SocketAddr::new(*address, self.origin.port);
            match timeout_at(until, self.dial(target)).await {
                Ok(Ok(line)) => return Ok(line),
                Ok(Err(refused)) => last = refused,
                Err(_) => {
                    let said = "did not take the connection in time; nothing was sent";
                    last = Refused::new(Failure::Timeout, said.to_owned());
                }
            }
        }
        Err(last)
    }

    /// The addresses that may be called.
    async fn addresses(&self, deadline: tokio::time::Instant) -> Result<Vec<IpAddr>, Refused> {
        let unreachable = |why: String| Refused::new(Failure::Unreachable, why);
        let found = match self.origin.literal() {
            Some(address) => vec![address],
            None => timeout_at(deadline, self.resolver.resolve(&self.origin.host))
                .await
                .map_err(|_| {
                    let said = "has a name that was not resolved in time; nothing was sent";
                    Refused::new(Failure::Timeout, said.to_owned())
                })?
                .map_err(|error| {
                    unreachable(format!("has a name that cannot be resolved: {error}"))
                })?,
        };
        if found.is_empty() {
            return Err(unreachable("has a name without an address".to_owned()));
        }
        let fit = |address: &IpAddr| match place(*address) {
            // Without TLS, nothing leaves a private network.
            Place::Public => self.origin.tls,
            Place::Private => self.allow_private,
            Place::Never => false,
        };
        let vetted: Vec<_> =
            found.into_iter().take(MAX_ADDRESSES).filter(fit).take(ATTEMPTS).collect();
        if vetted.is_empty() {
            return Err(Refused::new(
                Failure::Address,
                "leads to addresses it may not have: of this machine, of a private network or of \
                 none (if a private one is meant, the operator sets allow_private), or in the \
                 clear to a public one"
                    .to_owned(),
            ));
        }
        Ok(vetted)
    }

    async fn dial(&self, address: SocketAddr) -> Result<Line, Refused> {
        // A certificate's names are the peer's words: no line of theirs may look like ours.
        let unreachable = |what: &str, error: &dyn std::fmt::Display| {
            let error: String = error.to_string().chars().take(300).collect();
            Refused::new(Failure::Unreachable, format!("{what}: {}", error.escape_debug()))
        };
        let stream = TcpStream::connect(address)
            .await
            .map_err(|error| unreachable("cannot be connected to", &error))?;
        // Requests are written whole; waiting for more would only delay them.
        stream.set_nodelay(true).map_err(|error| unreachable("cannot be set up", &error))?;
        let Some(tls) = &self.tls else { return self.shake(stream).await };
        let name = ServerName::try_from(self.origin.host.clone())
            .map_err(|error| unreachable("has a name that TLS cannot ask for", &error))?;
        let stream = tls
            .connect(name, stream)
            .await
            .map_err(|error| unreachable("failed the TLS handshake", &error))?;
        self.shake(stream).await
    }

    async fn shake<S>(&self, stream: S) -> Result<Line, Refused>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (sender, connection) = http1::Builder::new()
            .max_buf_size(WINDOW)
            .max_headers(super::headers::MAX_HEADERS)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|error| Refused::new(Failure::Unreachable, error.to_string()))?;
        // Its error is told to the call that it ends.
        let task = tokio::spawn(async move { drop(connection.await) }).abort_handle();
        Ok(Line { sender, task, born: Instant::now() })
    }
}

/// Idle connections of one upstream, the one used last at the end.
#[derive(Debug)]
pub(super) struct Idle {
    most: usize,
    lines: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    lines: VecDeque<(Line, Instant)>,
    /// Whether a task looks after them.
    swept: bool,
}

impl Idle {
    pub(super) fn new(most: usize) -> Arc<Idle> {
        Arc::new(Idle { most, lines: Mutex::default() })
    }

    fn kept(&self) -> std::sync::MutexGuard<'_, Kept> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn len(&self) -> usize {
        self.kept().lines.len()
    }

    /// One that is ready, if there is one.
    pub(super) fn take(&self) -> Option<Line> {
        let (now, mut kept) = (Instant::now(), self.kept());
        while let Some((line, since)) = kept.lines.pop_back() {
            if line.sender.is_ready() && fresh(&line, since, now) {
                return Some(line);
            }
        }
        None
    }

    /// Keeps one whose answer was read, if it can be used again.
    pub(super) async fn put(self: &Arc<Idle>, mut line: Line) {
        if !matches!(timeout(SETTLE, line.sender.ready()).await, Ok(Ok(()))) {
            return;
        }
        let now = Instant::now();
        let mut kept = self.kept();
        if kept.lines.len() < self.most && fresh(&line, now, now) {
            kept.lines.push_back((line, now));
            if !kept.swept {
                kept.swept = true;
                tokio::spawn(sweep(Arc::downgrade(self)));
            }
        }
    }

    /// Lets go of those that waited too long; says whether one is left.
    fn expire(&self, now: Instant) -> bool {
        let mut kept = self.kept();
        kept.lines.retain(|(line, since)| !line.sender.is_closed() && fresh(line, *since, now));
        kept.swept = !kept.lines.is_empty();
        kept.swept
    }
}

fn fresh(line: &Line, since: Instant, now: Instant) -> bool {
    now.saturating_duration_since(since) < IDLE && now.saturating_duration_since(line.born) < LIFE
}

/// Looks after idle connections as long as there are any.
async fn sweep(idle: Weak<Idle>) {
    loop {
        sleep(IDLE / 2).await;
        match idle.upgrade() {
            Some(idle) if idle.expire(Instant::now()) => {}
            _ => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A connection to nobody, and their end of it.
    async fn line() -> (Line, tokio::io::DuplexStream) {
        let (ours, theirs) = tokio::io::duplex(1024);
        let (sender, connection) = http1::handshake(TokioIo::new(ours)).await.unwrap();
        let task = tokio::spawn(async move { drop(connection.await) }).abort_handle();
        (Line { sender, task, born: Instant::now() }, theirs)
    }

    #[tokio::test]
    async fn idle_connections_are_bounded_and_go_after_their_time() {
        let (idle, mut ends) = (Idle::new(2), Vec::new());
        for _ in 0..3 {
            let (line, end) = line().await;
            idle.put(line).await;
            ends.push(end);
        }
        assert_eq!(idle.len(), 2);
        let now = Instant::now();
        assert!(idle.expire(now + IDLE / 2) && idle.len() == 2);
        assert!(!idle.expire(now + IDLE) && idle.len() == 0);
        // However often it is used, it ends.
        let (line, _end) = line().await;
        let used = now + LIFE - Duration::from_millis(1);
        assert!(fresh(&line, used, used) && !fresh(&line, now + LIFE, line.born + LIFE));
    }

    #[tokio::test]
    async fn a_connection_whose_other_end_has_gone_is_not_taken() {
        let idle = Idle::new(2);
        let (line, end) = line().await;
        idle.put(line).await;
        drop(end);
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert!(idle.take().is_none());
    }
}
