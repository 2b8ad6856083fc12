//! HTTP/1.1, HTTP/2 and HTTP/3 for the guests, and static files beside them.
//!
//! What must stay true: every limit has a test that passes it. A connection
//! holds one of `max_connections` places, of which one address has half; further ones wait
//! in the kernel's queue until one ends, and ends are enforced: a header has
//! `header_timeout`, a body `idle_timeout` and 64 KiB/s, a response must be taken, and a
//! connection without a request lives for `idle_timeout`. No response leaves that HTTP does
//! not allow.

mod answer;
mod body;
mod clear;
mod encoding;
mod events;
mod follow;
#[doc(hidden)]
pub mod fuzz;
mod h3;
mod head;
mod ids;
mod message;
mod pieces;
mod post;
mod pulse;
mod receive;
mod socket;
mod statics;

pub use body::End;
pub use encoding::Compression;
pub use follow::{Follow, Followed};
pub use hyper::{HeaderMap, Method};
pub use message::{GuestRequest, GuestResponse};
pub use pieces::{Giver, Piece, Pieces, Ungiven, pieces};
pub use post::post;

use crate::refusal::Refusals;
use crate::server::{Accepted, Closing, accept_on, secure, sockets};
use crate::share::Shares;
use crate::traffic::Live;
use crate::{Lasting, ListenError, Security, Server};
use encoding::{Cache, Turns};
use hyper::header::HeaderValue;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use ids::Ids;
use message::Refused;
use proto::Status;
use pulse::{Pulse, Verdict, Watched};
use socket::Door;
use statics::Site;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::time::{Interval, MissedTickBehavior, interval, sleep, timeout};

/// How long a connection that was told to close is waited for.
const GOODBYE: Duration = Duration::from_secs(2);

/// For how long clients may remember that there is HTTP/3 here.
const ALT_SVC_SECONDS: u32 = 86_400;

const NO_HTTP: &str = "it sent what is no HTTP: TLS, perhaps, for which tls.enabled is to be true";

/// Closed without an answer: what lingers to be told would hold the place that others wait for.
const TOO_MANY: &str = "its address holds half of http.max_connections; a proxy that opens so \
                        many needs twice as many";

/// What answers requests: `bins` implement it over the instance pool.
pub trait HttpHandler: Send + Sync + 'static {
    /// Answers one request. Runs on an async thread: it must not block. Its
    /// future is dropped when the client goes away. A panic is answered 500.
    fn handle(&self, request: Arc<GuestRequest>) -> impl Future<Output = GuestResponse> + Send;

    /// What an event stream follows, as a guest has asked for, in JSON, from behind the event
    /// of that id. Runs on an async thread: it must not block.
    ///
    /// # Errors
    /// Why that cannot be, for the log: the request is answered 500.
    fn follow(&self, _what: &str, _last_id: Option<&str>) -> Result<Box<dyn Follow>, String> {
        Err("nothing can be followed here".to_owned())
    }

    /// A response is on its way, to a request that was read; one that is made while it is
    /// sent has ended. For who keeps count of such things; must be brief.
    fn answered(&self, _answered: &Answered<'_>) {}
}

/// What is told of a response.
#[derive(Clone, Copy, Debug)]
pub struct Answered<'a> {
    /// Of the request: any token a client likes.
    pub method: &'a str,
    /// Of the request, without its query.
    pub path: &'a str,
    /// Of the response.
    pub status: u16,
    /// Whether it is a static file.
    pub is_file: bool,
    /// Bytes of the request's body that were taken.
    pub received: u64,
    /// Bytes of the response's body.
    pub sent: u64,
    /// How a body ended that was made while it was sent; `None`: it was whole before.
    pub streamed: Option<End>,
    /// From the request's head to the response's.
    pub took: Duration,
}

/// Limits of the listener. Every one is enforced.
#[derive(Clone, Debug)]
pub struct HttpOptions {
    /// Connections at once; the next waits in the kernel's queue until one ends. One address
    /// may hold half of them, HTTP/3 included; its next is closed without an answer.
    pub max_connections: usize,
    /// Bytes of request line and headers: beyond, 431. A header has at most 65,535.
    pub max_header_size: usize,
    /// Bytes of a request's body: beyond, 413.
    pub max_body_size: usize,
    /// Bytes of large bodies (over 64 KiB) being received, all connections together;
    /// beyond, 503 to be retried. At least `max_body_size` is granted.
    pub max_buffered_bytes: usize,
    /// From the first byte of a header to its end, and for the TLS handshake.
    pub header_timeout: Duration,
    /// How long a connection may have no request; and for a client to send on its
    /// body (64 KiB/s are granted on top) or take on its response.
    pub idle_timeout: Duration,
    /// For requests in flight, once the server drains.
    pub drain_timeout: Duration,
    /// Requests at once on one connection of HTTP/2.
    pub max_streams: u32,
    /// Event streams whose guest is called again and WebSockets, at once; beyond, 503 to be
    /// retried.
    pub max_live: usize,
    /// How often they are told that somebody is there, and asked whether they are, while
    /// nothing is sent.
    pub heartbeat: Duration,
    /// Files served under their own paths, before the guest is asked.
    pub static_dir: Option<PathBuf>,
    /// What is compressed for who asks for it.
    pub compression: Compression,
    /// Bytes of compressed files that are kept.
    pub compression_cache: usize,
    /// Whether HTTP/3 is spoken too, on the same port by UDP. Without TLS it is not. As
    /// many connections again may come this way as `max_connections`.
    pub http3: bool,
    /// Whether a request keeps the `x-request-id` that came with it.
    pub trust_request_id: bool,
}

impl Default for HttpOptions {
    fn default() -> Self {
        HttpOptions {
            max_connections: 10_000,
            max_header_size: 8192,
            max_body_size: 1 << 20,
            max_buffered_bytes: 256 << 20,
            header_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_millis(30_000),
            drain_timeout: Duration::from_millis(5000),
            max_streams: 128,
            max_live: 4096,
            heartbeat: Duration::from_secs(15),
            static_dir: None,
            compression: Compression::All,
            compression_cache: 16 << 20,
            http3: false,
            trust_request_id: false,
        }
    }
}

/// Why the listener did not start.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// The address.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The directory of static files.
    #[error(
        "http.static_dir {}: {source}; give a directory the user planck runs as can read",
        path.display()
    )]
    StaticDir {
        /// As configured.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// What all connections of one listener share.
struct Shared<H> {
    handler: H,
    options: HttpOptions,
    security: Security,
    /// In KiB.
    buffers: Arc<Semaphore>,
    refusals: Refusals,
    ids: Ids,
    site: Option<Site>,
    turns: Turns,
    /// Where else to come, if there is HTTP/3.
    alt_svc: Option<HeaderValue>,
    /// Places of what lasts.
    live: Arc<Semaphore>,
    closing: Closing,
    /// Who holds the places of connections.
    shares: Arc<Shares>,
    /// Streams that follow something are looked after, few at a time.
    following: Arc<Semaphore>,
}

impl<H> Shared<H> {
    fn new(security: Security, options: HttpOptions, handler: H, closing: Closing) -> Shared<H> {
        let kib = options.max_buffered_bytes.max(options.max_body_size).div_ceil(1024);
        let buffers = Arc::new(Semaphore::new(kib.clamp(1, Semaphore::MAX_PERMITS)));
        let (ids, turns) = (Ids::new(options.trust_request_id), Turns::new());
        let site = options.static_dir.as_ref().map(|root| {
            let cache = Cache::new(options.compression_cache);
            let is_coding = options.compression != Compression::Off;
            Site::new(root.clone(), cache, is_coding, turns.clone())
        });
        let (refusals, alt_svc) = (Refusals::default(), None);
        let live = Arc::new(Semaphore::new(options.max_live.min(Semaphore::MAX_PERMITS)));
        let few = std::thread::available_parallelism().map_or(2, |n| n.get() * 2);
        let following = Arc::new(Semaphore::new(few));
        let shares = Shares::of(options.max_connections);
        Shared {
            handler,
            options,
            security,
            buffers,
            refusals,
            ids,
            site,
            turns,
            alt_svc,
            live,
            closing,
            shares,
            following,
        }
    }

    /// A place for something that lasts.
    fn live(&self, what: Lasting) -> Result<Live, Refused> {
        let detail = "as many event streams and WebSockets are open as may be; retry later";
        let place = self.live.clone().try_acquire_owned();
        let place = place.map_err(|_| Refused::new(Status::Busy, detail))?;
        Ok(self.refusals.traffic.lasts(what, place))
    }
}

/// Listens on `address` (port 0: the system chooses) and serves `handler`.
///
/// # Errors
/// The address cannot be listened on, or `static_dir` is no directory.
pub async fn serve<H: HttpHandler>(
    address: SocketAddr,
    security: Security,
    mut options: HttpOptions,
    handler: H,
) -> Result<Server, HttpError> {
    if let Some(path) = options.static_dir.take() {
        let failed = |source| HttpError::StaticDir { path: path.clone(), source };
        let root = tokio::fs::canonicalize(&path).await.map_err(failed)?;
        if !tokio::fs::metadata(&root).await.map_err(failed)?.is_dir() {
            return Err(failed(io::ErrorKind::NotADirectory.into()));
        }
        options.static_dir = Some(root);
    }
    let tls = match &security {
        Security::Tls(config) if options.http3 => Some(Arc::clone(config)),
        _ => None,
    };
    let (places, drain) = (options.max_connections, options.drain_timeout);
    let (listener, udp, address) = sockets(address, tls.is_some()).await?;
    let (sender, closing) = Closing::new();
    let mut shared = Shared::new(security, options, handler, closing.clone());
    let traffic = Arc::clone(&shared.refusals.traffic);
    let mut accepting = Vec::new();
    if udp.is_some() {
        let elsewhere = format!("h3=\":{}\"; ma={ALT_SVC_SECONDS}", address.port());
        shared.alt_svc = HeaderValue::try_from(elsewhere).ok();
    }
    let shared = Arc::new(shared);
    if let (Some(tls), Some(udp)) = (tls, udp) {
        let failed = |source| ListenError { address, by: "UDP", source };
        let endpoint = h3::endpoint(udp, &tls, &shared.options).map_err(failed)?;
        accepting.push(tokio::spawn(h3::accept(endpoint, shared.clone(), closing.clone())));
    }
    let counted = Arc::clone(&traffic);
    let serve = move |accepted| connection(shared.clone(), accepted);
    accepting.push(tokio::spawn(accept_on(listener, places, drain, counted, closing, serve)));
    Ok(Server::new(address, sender, accepting, traffic))
}

fn builder(options: &HttpOptions) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    // hyper takes no less than 8192; what lies between is refused in `answer`.
    let header = options.max_header_size.max(8192);
    builder
        .http1()
        .timer(TokioTimer::new())
        // That is the pulse's, which sets no timer for each request.
        .header_read_timeout(None)
        .max_buf_size(header);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(options.max_streams)
        .max_header_list_size(u32::try_from(header).unwrap_or(u32::MAX));
    builder
}

/// When to look whether a connection lives.
fn check_interval(header: Duration, idle: Duration) -> Interval {
    let step = (header.min(idle) / 2).clamp(Duration::from_millis(10), Duration::from_secs(5));
    let mut check = interval(step);
    check.set_missed_tick_behavior(MissedTickBehavior::Delay);
    check
}

async fn connection<H: HttpHandler>(shared: Arc<Shared<H>>, accepted: Accepted) {
    let Accepted { stream, peer, place: _place, mut closing } = accepted;
    // Given back before the place, or who waits for that would be refused.
    let Some(_share) = shared.shares.take(peer.ip()) else {
        return shared.refusals.say(peer, TOO_MANY);
    };
    let HttpOptions { header_timeout, idle_timeout, .. } = shared.options;
    let handshake = async {
        let is_tls = matches!(shared.security, Security::Tls(_));
        if is_tls && clear::is_clear(&stream).await {
            shared.refusals.say(peer, "it speaks HTTP in the clear, this port speaks HTTPS");
            clear::refuse(stream).await;
            return None;
        }
        match secure(stream, &shared.security).await {
            Ok(stream) => Some(stream),
            Err(broken) => {
                broken.end(&shared.refusals, peer).await;
                None
            }
        }
    };
    let stream = tokio::select! {
        () = closing.wait() => return,
        secured = timeout(header_timeout, handshake) => match secured {
            Ok(Some(stream)) => stream,
            Ok(None) => return,
            Err(_) => return tracing::debug!(%peer, "the TLS handshake took too long"),
        },
    };
    let (pulse, door) = (Pulse::new(), Arc::new(Door::default()));
    let service = service_fn({
        let (shared, pulse, door) = (shared.clone(), pulse.clone(), door.clone());
        move |request| {
            let (shared, pulse, door) = (shared.clone(), pulse.clone(), door.clone());
            async move {
                let answer = answer::answer(&shared, &pulse, peer, Some(&door), request);
                Ok::<_, Infallible>(answer.await)
            }
        }
    });
    let stream = TokioIo::new(Watched { stream, pulse: pulse.clone() });
    let builder = builder(&shared.options);
    let mut serving = pin!(builder.serve_connection_with_upgrades(stream, service));
    let mut check = check_interval(header_timeout, idle_timeout);
    let mut draining = false;
    loop {
        tokio::select! {
            ended = serving.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!(%peer, %error, "an HTTP connection broke off");
                    let is_noise =
                        error.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_parse);
                    if is_noise && matches!(shared.security, Security::Plaintext) {
                        shared.refusals.say(peer, NO_HTTP);
                    }
                }
                break;
            }
            () = closing.wait(), if !draining => {
                // The listener waits for us, and cuts us off after drain_timeout.
                draining = true;
                serving.as_mut().graceful_shutdown();
            }
            _ = check.tick() => match pulse.verdict(header_timeout, idle_timeout) {
                Verdict::Keep => {}
                Verdict::Cut(reason) => return tracing::debug!(%peer, reason, "cut a connection"),
                Verdict::Idle => {
                    serving.as_mut().graceful_shutdown();
                    tokio::select! {
                        ended = serving.as_mut() => drop(ended),
                        () = sleep(GOODBYE) => {}
                    }
                    return;
                }
            }
        }
    }
    // It may be a WebSocket from now on.
    if let Some(job) = door.take() {
        job.await;
    }
}
