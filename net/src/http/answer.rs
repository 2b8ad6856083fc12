//! One request: limits, static files, body, guest, response.
//!
//! What must stay true: whatever happens, there is one response, and what was
//! refused was refused before it cost anything it did not have to.

use super::body::ResponseBody;
use super::message::{GuestRequest, GuestResponse, finish, path_of, strip};
use super::pulse::Pulse;
use super::{Answered, HttpHandler, Shared, statics};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use hyper::header::{COOKIE, EXPECT, HOST, HeaderMap, HeaderValue};
use hyper::{Method, Request, Response, Version};
use proto::Status;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, timeout, timeout_at};

/// Bodies above need a share of the common budget.
const SMALL_BODY: usize = 64 << 10;
/// A body must come at this many bytes a second, after its first idle_timeout.
const BODY_RATE: u64 = 64 << 10;
/// How much of a refused body is read, so that the client reads the refusal.
const DISCARD_BYTES: usize = 256 << 10;

/// A response in the place of the guest's.
type Refused = GuestResponse;

pub(super) async fn answer<H: HttpHandler>(
    shared: &Arc<Shared<H>>,
    pulse: &Arc<Pulse>,
    peer: SocketAddr,
    request: Request<Incoming>,
) -> Response<ResponseBody> {
    let (in_flight, _at_work) = pulse.begin(request.version() == Version::HTTP_2);
    let begun = Instant::now();
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let head = method == Method::HEAD;
    let mut received = 0;
    let target = request.uri().path_and_query().map_or("/", |p| p.as_str()).to_owned();
    let file = static_file(shared, &request, head).await;
    let is_file = file.is_some();
    let mut response = match file {
        Some(response) => response,
        None => {
            let response = guest(shared, peer, request, &target, &mut received).await;
            finish(response.unwrap_or_else(|refused| refused), head, &target)
        }
    };
    shared.handler.answered(&Answered {
        method: method.as_str(),
        path: &path,
        status: response.status().as_u16(),
        is_file,
        received,
        sent: response.body().size_hint().exact().unwrap_or(0),
        took: begun.elapsed(),
    });
    response.body_mut().in_flight = Some(in_flight);
    response
}

fn header_bytes(request: &Request<Incoming>) -> (usize, usize) {
    let sizes = request.headers().iter().map(|(n, v)| (n.as_str().len() + v.len() + 4, v.len()));
    let start = request.uri().path_and_query().map_or(0, |p| p.as_str().len());
    sizes.fold((start, 0), |(sum, longest), (size, value)| (sum + size, longest.max(value)))
}

fn check_header<H>(shared: &Shared<H>, request: &Request<Incoming>) -> Result<(), Refused> {
    let limit = shared.options.max_header_size;
    let (bytes, longest) = header_bytes(request);
    if bytes > limit || longest > usize::from(u16::MAX) {
        let detail = format!("the request's header has {bytes} bytes, {limit} are allowed");
        return Err(GuestResponse::problem_as(431, Status::MessageTooLarge, &detail));
    }
    if request.method() == Method::CONNECT {
        let detail = "this server is no proxy";
        return Err(GuestResponse::problem_as(405, Status::UnknownOpcode, detail));
    }
    Ok(())
}

async fn static_file<H: HttpHandler>(
    shared: &Arc<Shared<H>>,
    request: &Request<Incoming>,
    head: bool,
) -> Option<Response<ResponseBody>> {
    let root = shared.options.static_dir.as_ref()?;
    if !head && request.method() != Method::GET || check_header(shared, request).is_err() {
        return None;
    }
    let candidate = statics::candidate(root, request.uri().path())?;
    let (shared, asked) = (shared.clone(), request.headers().clone());
    let blocking = tokio::task::spawn_blocking(move || {
        let root = shared.options.static_dir.as_ref()?;
        statics::respond(root, &candidate, &asked, head)
    });
    blocking.await.ok().flatten()
}

async fn guest<H: HttpHandler>(
    shared: &Arc<Shared<H>>,
    peer: SocketAddr,
    request: Request<Incoming>,
    target: &str,
    received: &mut u64,
) -> Result<GuestResponse, Refused> {
    check_header(shared, &request)?;
    let (mut parts, body) = request.into_parts();
    let _share = share_of_memory(shared, &body)?;
    let expects = parts.headers.contains_key(EXPECT);
    let limit = shared.options.max_body_size;
    let body = collect(body, limit, shared.options.idle_timeout, expects).await?;
    *received = body.len() as u64;
    if let Some(authority) = parts.uri.authority()
        && !parts.headers.contains_key(HOST)
        && let Ok(host) = HeaderValue::from_str(authority.as_str())
    {
        parts.headers.insert(HOST, host);
    }
    strip(&mut parts.headers);
    join_cookies(&mut parts.headers);
    let request = GuestRequest {
        method: parts.method,
        target: target.to_owned(),
        peer,
        headers: parts.headers,
        body,
    };
    let mut handling = pin!(shared.handler.handle(request));
    let done = std::future::poll_fn(|cx| {
        // A panic must cost this request only, not all that share its connection.
        catch_unwind(AssertUnwindSafe(|| handling.as_mut().poll(cx)))
            .map_or(Poll::Ready(None), |polled| polled.map(Some))
    });
    done.await.ok_or_else(|| {
        let (path, code) = (path_of(target), Status::Internal);
        tracing::error!(path, %code, "the handler of a request panicked");
        GuestResponse::problem(Status::Internal, "the request failed; see the server's log")
    })
}

/// HTTP/2 may split cookies over several headers; guests see one (RFC 9113, 8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    let cookies: Vec<&[u8]> = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if cookies.len() > 1
        && let Ok(joined) = HeaderValue::from_bytes(&cookies.join(&b"; "[..]))
    {
        headers.insert(COOKIE, joined);
    }
}

fn share_of_memory<H>(
    shared: &Arc<Shared<H>>,
    body: &Incoming,
) -> Result<Option<OwnedSemaphorePermit>, Refused> {
    let limit = shared.options.max_body_size;
    // Without a length told, it may become as large as is allowed.
    let due = body.size_hint().upper().map_or(limit, |n| usize::try_from(n).unwrap_or(limit));
    if due <= SMALL_BODY || due > limit {
        return Ok(None);
    }
    let kib = u32::try_from(due.div_ceil(1024)).unwrap_or(u32::MAX);
    // Never waited for: bodies not read fill the window all streams of an HTTP/2
    // connection share, and the one that has its memory could not come in.
    shared.buffers.clone().try_acquire_many_owned(kib).map(Some).map_err(|_| {
        let detail = "the server receives too many large bodies at once; retry later";
        GuestResponse::problem(Status::Busy, detail)
    })
}

/// The whole body, if it is within the limit and comes in time.
async fn collect(
    mut body: Incoming,
    limit: usize,
    patience: Duration,
    expects: bool,
) -> Result<Bytes, Refused> {
    let told = body.size_hint().lower();
    if told > limit as u64 {
        if !expects {
            discard(&mut body).await;
        }
        return Err(too_large(limit));
    }
    let start = Instant::now();
    // Most bodies come in one piece: that one is not copied.
    let (mut first, mut whole) = (Bytes::new(), BytesMut::new());
    loop {
        let received = first.len().max(whole.len());
        let granted = Duration::from_secs(received as u64 / BODY_RATE);
        let frame = match timeout_at(start + patience + granted, body.frame()).await {
            Ok(None) => break,
            Ok(Some(Ok(frame))) => frame,
            Ok(Some(Err(error))) => {
                let detail = format!("the request's body broke off: {error}");
                return Err(GuestResponse::problem(Status::BadPacket, &detail));
            }
            Err(_) => {
                let detail = "the request's body came too slowly";
                return Err(GuestResponse::problem_as(408, Status::Timeout, detail));
            }
        };
        let Ok(data) = frame.into_data() else { continue }; // Trailers are dropped.
        if received + data.len() > limit {
            discard(&mut body).await;
            return Err(too_large(limit));
        }
        if received == 0 {
            first = data;
        } else {
            if whole.is_empty() {
                whole.extend_from_slice(&first);
            }
            whole.extend_from_slice(&data);
        }
    }
    Ok(if whole.is_empty() { first } else { whole.freeze() })
}

fn too_large(limit: usize) -> Refused {
    let detail = format!("the request's body is larger than http.max_body_size, {limit} bytes");
    GuestResponse::problem(Status::MessageTooLarge, &detail)
}

async fn discard(body: &mut Incoming) {
    let mut left = DISCARD_BYTES;
    let reading = async {
        while let Some(Ok(frame)) = body.frame().await {
            left = left.saturating_sub(frame.data_ref().map_or(0, Bytes::len));
            if left == 0 {
                return;
            }
        }
    };
    // However it ends, the refusal follows.
    timeout(Duration::from_secs(1), reading).await.ok();
}
