//! Calls of services outside: the operator's list of them is the only way out.
//!
//! What must stay true:
//! * Who is not on the list is not called. Where a call goes is the operator's word
//!   (`target.rs`), and each connection goes to an address that was vetted (`vet.rs`).
//!   Redirects are answers like others; the environment's proxies are nothing to us.
//! * A call is sent once. Only one that reads, on a connection that was idle and broke, is
//!   sent again.
//! * Everything is bounded: calls in all and of an upstream, the time of a call from its
//!   beginning to the last byte of its answer, bytes of heads, bodies and what is read ahead,
//!   connections, lookups.
//! * Secrets of the operator go to the upstream and nowhere else (`headers.rs`).
//!
//! A call comes on the guest's own thread, which drives it and waits; so does each read of the
//! body: what the guest does not read stays in the kernel, and then with the upstream.

mod body;
mod breaker;
mod exchange;
mod headers;
mod later;
mod line;
mod resolve;
mod roots;
mod stats;
mod target;
mod vet;

pub use body::UpstreamBody;
pub use breaker::{BreakerOptions, Circuit};
pub use headers::SecretHeaders;
pub use later::retry_after;
pub use resolve::{Resolve, Resolved, SystemResolver};
pub use stats::{Failure, UpstreamStats};

use bytes::Bytes;
use exchange::Upstream;
use http_body_util::Full;
use hyper::{Method, Uri, Version};
use line::{Call, Route};
use proto::Status;
use proto::http::HttpRequest;
use proto::service::{write_error, write_head};
use rustls::RootCertStore;
use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use target::Origin;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use vet::{Place, place};

/// One service that guests may call.
#[derive(Clone, Debug)]
pub struct UpstreamOptions {
    /// What guests call it.
    pub name: String,
    /// Where it is, and the path that all paths are below.
    pub url: String,
    /// How long a call may take, from its beginning to the last byte of its answer.
    pub timeout: Duration,
    /// Calls at once. One more waits, as long as its timeout.
    pub max_in_flight: usize,
    /// Bytes of the body of an answer.
    pub max_response_size: u64,
    /// Whether it may have an address of this machine or of a private network.
    pub allow_private: bool,
    /// Authorities that may vouch for it, PEM; without it, those of this machine.
    pub ca: Option<Vec<u8>>,
    /// Headers that every call has.
    pub headers: Vec<(String, String)>,
    /// Headers that every call has and nobody may see.
    pub secret_headers: SecretHeaders,
    /// When it is left alone for a while.
    pub breaker: BreakerOptions,
}

impl Default for UpstreamOptions {
    fn default() -> Self {
        UpstreamOptions {
            name: String::new(),
            url: String::new(),
            timeout: Duration::from_secs(5),
            max_in_flight: 16,
            max_response_size: 16 << 20,
            allow_private: false,
            ca: None,
            headers: Vec::new(),
            secret_headers: SecretHeaders::default(),
            breaker: BreakerOptions::default(),
        }
    }
}

/// Why there is no answer.
#[derive(Debug)]
struct Refused {
    how: Failure,
    /// What happened, behind the upstream's name.
    why: String,
}

impl Refused {
    fn new(how: Failure, why: String) -> Refused {
        Refused { how, why }
    }
}

/// The services that guests may call.
pub struct Upstreams {
    runtime: Handle,
    calls: Arc<Semaphore>,
    max_calls: usize,
    all: BTreeMap<String, Arc<Upstream>>,
}

impl Upstreams {
    /// Those of `options`; `max_calls` calls at once in all, whose sockets and timers are
    /// `runtime`'s.
    ///
    /// # Errors
    /// Which is wrong, why, and what to do.
    pub fn new(
        options: Vec<UpstreamOptions>,
        max_calls: usize,
        runtime: Handle,
        resolver: &Arc<dyn Resolve>,
    ) -> Result<Upstreams, String> {
        let system = OnceLock::new();
        let mut all = BTreeMap::new();
        for options in options {
            let name = options.name.clone();
            let upstream = upstream(options, resolver, &system)
                .map_err(|why| format!("the upstream '{name}': {why}"))?;
            if all.insert(name.clone(), Arc::new(upstream)).is_some() {
                return Err(format!("two upstreams are called '{name}': rename one of them"));
            }
        }
        Ok(Upstreams { runtime, calls: Arc::new(Semaphore::new(max_calls)), max_calls, all })
    }

    /// Calls the upstream `name` with a request of [`proto::http`], within `patience`; appends
    /// a packet of [`proto::service`] to `reply`. With a head comes its body, to be read.
    ///
    /// Blocks. Not for a thread that drives an async runtime.
    pub fn call(
        &self,
        name: &str,
        request: &[u8],
        patience: Duration,
        reply: &mut Vec<u8>,
    ) -> Option<UpstreamBody> {
        let place = || {
            Arc::clone(&self.calls).try_acquire_owned().map_err(|_| {
                let said = format!(
                    "was not called: {} calls of upstreams run, as many as may (one less than \
                     wasm.max_instances, so that calls in a circle end); try again later",
                    self.max_calls
                );
                Refused::new(Failure::Busy, said)
            })
        };
        self.call_from(place, (name, request), patience, reply)
    }

    /// As [`Upstreams::call`], of who holds no guest meanwhile, and bounds its calls itself:
    /// they take no place of the guests' calls.
    pub fn deliver(
        &self,
        name: &str,
        request: &[u8],
        patience: Duration,
        reply: &mut Vec<u8>,
    ) -> Option<UpstreamBody> {
        let place = || {
            // A place of its own: whoever delivers has one thread for each.
            let own = Arc::new(Semaphore::new(1));
            own.try_acquire_owned().map_err(|_| {
                Refused::new(Failure::Busy, "was not called: there is no place".to_owned())
            })
        };
        self.call_from(place, (name, request), patience, reply)
    }

    fn call_from(
        &self,
        place: impl FnOnce() -> Result<OwnedSemaphorePermit, Refused>,
        (name, request): (&str, &[u8]),
        patience: Duration,
        reply: &mut Vec<u8>,
    ) -> Option<UpstreamBody> {
        let Some(upstream) = self.all.get(name) else {
            let shown: String = name.chars().take(64).collect();
            let shown = shown.escape_debug();
            write_error(
                reply,
                Status::NoSuchUpstream,
                &format!(
                    "the service '{shown}' is not on the allowlist; add it to upstreams in \
                     service.yaml"
                ),
            );
            return None;
        };
        let called = request_of(upstream, request).and_then(|call| {
            let place = place()?;
            let exchange = Arc::clone(upstream).exchange(call, patience, place);
            self.runtime.block_on(exchange)
        });
        match called {
            Ok((status, headers, rest)) => {
                write_head(reply, status, &headers);
                Some(UpstreamBody::new(self.runtime.clone(), rest))
            }
            Err(Refused { how, why }) => {
                upstream.note_failure(how);
                tracing::debug!(upstream = name, how = how.name(), "a call failed: {why}");
                write_error(reply, how.status(), &format!("the upstream '{name}' {why}"));
                None
            }
        }
    }

    /// For how long `name` is left alone in any case, since calls of it failed.
    pub fn rests(&self, name: &str) -> Duration {
        self.all.get(name).map_or(Duration::ZERO, |upstream| upstream.rests())
    }

    /// What each has counted, by name.
    pub fn stats(&self) -> Vec<UpstreamStats> {
        self.all.iter().map(|(name, upstream)| upstream.stats(name)).collect()
    }
}

/// One upstream from what the operator says; `system` remembers this machine's authorities.
fn upstream(
    options: UpstreamOptions,
    resolver: &Arc<dyn Resolve>,
    system: &OnceLock<Result<Arc<RootCertStore>, String>>,
) -> Result<Upstream, String> {
    let origin = Origin::parse(&options.url).map_err(|why| format!("its url {why}"))?;
    if !origin.tls && !options.allow_private {
        return Err("its url begins with http://, which is for private networks: write https://, \
                    or set allow_private: true if it is in one"
            .to_owned());
    }
    let fits = |address| match place(address) {
        Place::Public => origin.tls,
        Place::Private => options.allow_private,
        Place::Never => false,
    };
    if origin.literal().is_some_and(|address| !fits(address)) {
        return Err("its url has an address that may not be called: one of this machine or of a \
                    private network needs allow_private: true, one in public needs https://, and \
                    others are never called"
            .to_owned());
    }
    let tls = match (origin.tls, &options.ca) {
        (false, None) => None,
        (false, Some(_)) => {
            return Err("ca_file is set, yet its url begins with http://: remove one".to_owned());
        }
        (true, Some(pem)) => Some(roots::connector(roots::of_pem(pem)?)?),
        (true, None) => Some(roots::connector(system.get_or_init(roots::system).clone()?)?),
    };
    let fixed = headers::Fixed::new(&options.headers, &options.secret_headers)?;
    let route =
        Route { origin, allow_private: options.allow_private, tls, resolver: Arc::clone(resolver) };
    Upstream::new(options, route, fixed)
}

/// What is sent, from what the guest wrote.
fn request_of(upstream: &Upstream, request: &[u8]) -> Result<Call, Refused> {
    let bad = |why: &str| {
        let said = format!("was not called: the request {why}");
        Refused::new(Failure::BadCall, said)
    };
    let request =
        HttpRequest::decode(request).map_err(|error| bad(&format!("cannot be read: {error}")))?;
    let method = match request.method {
        "GET" => Method::GET,
        "HEAD" => Method::HEAD,
        "POST" => Method::POST,
        "PUT" => Method::PUT,
        "PATCH" => Method::PATCH,
        "DELETE" => Method::DELETE,
        "OPTIONS" => Method::OPTIONS,
        _ => {
            return Err(bad(
                "has another method than GET, HEAD, POST, PUT, PATCH, DELETE and OPTIONS",
            ));
        }
    };
    if !request.peer.is_empty() {
        return Err(bad("has a peer, which only requests to the guest have: leave it empty"));
    }
    let target = upstream
        .route
        .origin
        .join(request.target)
        .map_err(|why| bad(&format!("has a path that {why}")))?;
    let headers = upstream.fixed.call(&upstream.host, request.headers).map_err(|why| bad(&why))?;
    let mut call = hyper::Request::new(Full::new(Bytes::copy_from_slice(request.body)));
    *call.method_mut() = method;
    *call.uri_mut() = Uri::from(target);
    *call.version_mut() = Version::HTTP_11;
    *call.headers_mut() = headers;
    Ok(call)
}
