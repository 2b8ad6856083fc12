//! One request: its head, static files, body, guest, response.
//!
//! What must stay true: whatever happens, there is one response, and what was
//! refused was refused before it cost anything it did not have to. To HEAD the answer is
//! that to GET, without its body.

use super::body::ResponseBody;
use super::encoding::{self, Accepted, Coding, Compression, Effort};
use super::head::{self, METHODS};
use super::ids::REQUEST_ID;
use super::message::{
    GuestRequest, GuestResponse, Refused, finish, path_of, refuse, strip, strip_ours,
};
use super::pulse::Pulse;
use super::receive::{RequestBody, collect, discard, share_of_memory};
use super::socket::{self, Door};
use super::statics::{self, Representation, Sought};
use super::{Answered, End, HttpHandler, Lasting, Shared, events, follow};
use hyper::body::Body;
use hyper::header::{
    ACCEPT_RANGES, ALLOW, ALT_SVC, CACHE_CONTROL, CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH,
    CONTENT_RANGE, CONTENT_TYPE, COOKIE, ETAG, EXPECT, HeaderMap, HeaderName, HeaderValue, UPGRADE,
};
use hyper::http::request::Parts;
use hyper::{Method, Request, Response, StatusCode, Version};
use proto::Status;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::SystemTime;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

/// What a file can be asked.
const OF_FILES: &str = "GET, HEAD, OPTIONS";
/// What is said of the very bytes of a response: coded, they would be others.
static OF_BYTES: [HeaderName; 5] = [
    CONTENT_ENCODING,
    CONTENT_RANGE,
    HeaderName::from_static("content-digest"),
    HeaderName::from_static("repr-digest"),
    HeaderName::from_static("digest"),
];
/// From where a browser asks.
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// What is told of a request besides its response.
#[derive(Default)]
struct Seen {
    is_file: bool,
    /// Bytes of its body.
    received: u64,
}

type Answer = Result<Response<ResponseBody>, Refused>;

pub(super) async fn answer<H: HttpHandler, B: RequestBody>(
    shared: &Arc<Shared<H>>,
    pulse: &Arc<Pulse>,
    peer: SocketAddr,
    door: Option<&Door>,
    request: Request<B>,
) -> Response<ResponseBody> {
    let begun = Instant::now();
    let version = request.version();
    let (in_flight, _at_work) = pulse.begin(version >= Version::HTTP_2);
    let method = request.method().clone();
    let is_head = method == Method::HEAD;
    let id = shared.ids.of(request.headers());
    let target = request.uri().path_and_query().map_or("/", |p| p.as_str()).to_owned();
    let mut is_end = false;
    let mut seen = Seen::default();
    let answer = respond(shared, (peer, door), request, &target, &id, begun, &mut seen).await;
    let mut response = answer.unwrap_or_else(|refused| {
        is_end = refused.is_end;
        finish(refused.into_response(&id), &target, &id)
    });
    if is_head {
        *response.body_mut() = ResponseBody::empty();
    }
    response.headers_mut().insert(REQUEST_ID, id);
    if response.status() == StatusCode::UPGRADE_REQUIRED && version < Version::HTTP_2 {
        // Without it would be no such answer (RFC 9110, 15.5.22).
        let headers = response.headers_mut();
        headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    }
    let headers = response.headers_mut();
    if is_end && version < Version::HTTP_2 {
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    if let Some(elsewhere) = shared.alt_svc.as_ref().filter(|_| version < Version::HTTP_3) {
        headers.insert(ALT_SVC, elsewhere.clone());
    }
    let sent = response.body().size_hint().exact().unwrap_or(0);
    let (status, took) = (response.status().as_u16(), begun.elapsed());
    let Seen { is_file, received } = seen;
    let tell = move |shared: &Shared<H>, target: &str, sent, streamed| {
        let (method, path) = (method.as_str(), path_of(target));
        let answered = Answered { method, path, status, is_file, received, sent, streamed, took };
        shared.handler.answered(&answered);
    };
    if response.body().is_stream() {
        let (id, shared) = (response.headers()[REQUEST_ID].clone(), Arc::clone(shared));
        // How much it was is known at its end.
        let told = move |sent, end| {
            if end == End::Cut {
                let (path, request_id) = (path_of(&target), id.to_str().unwrap_or("-"));
                tracing::warn!(path, request_id, sent, "a response broke off");
            }
            tell(&shared, &target, sent, Some(end));
        };
        response.body_mut().follow(pulse, Box::new(told));
    } else {
        tell(shared, &target, sent, None);
    }
    response.body_mut().in_flight = Some(in_flight);
    response
}

async fn respond<H: HttpHandler, B: RequestBody>(
    shared: &Arc<Shared<H>>,
    (peer, door): (SocketAddr, Option<&Door>),
    request: Request<B>,
    target: &str,
    id: &HeaderValue,
    begun: Instant,
    seen: &mut Seen,
) -> Answer {
    let (mut parts, mut body) = request.into_parts();
    head::check(&shared.options, &mut parts)?;
    if parts.uri.path() == "*" {
        return Ok(options(METHODS));
    }
    if let Some(answer) = static_file(shared, &parts, begun).await.transpose() {
        seen.is_file = true;
        // A body not read resets the stream, and some clients then drop the answer.
        if !parts.headers.contains_key(EXPECT) {
            discard(&mut body).await;
        }
        return answer;
    }
    parts.headers.insert(REQUEST_ID, id.clone());
    let coding = coding_for(shared.options.compression, &parts.headers);
    let opening = match (socket::asked(&mut parts, &body)?, door) {
        (Some(handshake), Some(door)) => Some((handshake, door, socket::place(shared)?)),
        _ => None,
    };
    let connection = opening.is_some().then(|| shared.ids.next());
    // Its memory is held until it is answered.
    let (request, _share) = receive(shared, peer, parts, body, target, connection).await?;
    seen.received = request.body.len() as u64;
    let answer = ask(shared, Arc::clone(&request)).await.unwrap_or_else(|| failed(id));
    let mut response = match opening {
        Some((handshake, door, place)) if answer.status == 101 => {
            let accepted = socket::accept(shared, door, handshake, &request, answer, place);
            let accepted = accepted.map(|response| response.map(|()| ResponseBody::empty()));
            return Ok(accepted.unwrap_or_else(|fault| refuse(&fault, target, id)));
        }
        _ => finish(answer, target, id),
    };
    if let Some(wish) = response.headers_mut().remove(follow::WATCH) {
        response.headers_mut().remove(events::AGAIN);
        return Ok(match followed(shared, &request, &response, &wish) {
            Ok(follow) => follow::go_on(shared, follow, response, shared.live(Lasting::Events)?),
            Err(fault) => {
                let (path, request_id) = (request.path(), id.to_str().unwrap_or("-"));
                tracing::error!(path, request_id, fault, "what the guest has followed cannot be");
                finish(failed(id), target, id)
            }
        });
    }
    if let Some(wish) = response.headers_mut().remove(events::AGAIN) {
        match events::wanted(&wish) {
            Ok(after) if events::can_go_on(&request, &response) => {
                let place = shared.live(Lasting::Events)?;
                return Ok(events::go_on(shared, request, id, response, after, place));
            }
            outcome => {
                let fault = outcome.err().unwrap_or_else(|| {
                    "planck-again-ms is for what answers GET by 200 with text/event-stream"
                        .to_owned()
                });
                let request_id = id.to_str().unwrap_or("-");
                tracing::warn!(
                    path = request.path(),
                    request_id,
                    fault,
                    "the guest is not called again"
                );
            }
        }
    }
    Ok(match shared.options.compression {
        Compression::All => coded(shared, coding, response).await,
        Compression::Static | Compression::Off => response,
    })
}

/// What a guest has the host follow, or why that cannot be.
fn followed<H: HttpHandler>(
    shared: &Shared<H>,
    request: &GuestRequest,
    response: &Response<ResponseBody>,
    wish: &HeaderValue,
) -> Result<Box<dyn follow::Follow>, String> {
    if !events::can_go_on(request, response) {
        return Err("planck-watch is for what answers GET by 200 with text/event-stream".to_owned());
    }
    let what = wish.to_str().map_err(|_| "planck-watch is no text of ASCII")?;
    let last = request.headers.get(events::LAST_EVENT_ID).and_then(|id| id.to_str().ok());
    shared.handler.follow(what, last.filter(|id| !id.is_empty()))
}

/// What can be asked, to who asks just that.
fn options(allowed: &'static str) -> Response<ResponseBody> {
    let mut response = Response::new(ResponseBody::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
    response
}

/// The answer, if the path is that of a file. That of a directory is its index.html's for
/// GET and HEAD, and the guest's for the rest.
async fn static_file<H: HttpHandler>(
    shared: &Arc<Shared<H>>,
    parts: &Parts,
    now: Instant,
) -> Result<Option<Response<ResponseBody>>, Refused> {
    let Some(site) = &shared.site else { return Ok(None) };
    let (path, is_head) = (parts.uri.path(), parts.method == Method::HEAD);
    let is_read = is_head || parts.method == Method::GET;
    if !is_read && path.ends_with('/') {
        return Ok(None);
    }
    let accepted = || statics::accepted(&parts.headers, is_head);
    let candidate = match site.seek(path, accepted, now.into_std()) {
        Sought::Nothing => return Ok(None),
        Sought::Here(file) if is_read => return Ok(Some(send(shared, &file, parts))),
        Sought::Here(_) => return only_read(&parts.method).map(Some),
        Sought::There(candidate) => candidate,
    };
    let (looking, path) = (Arc::clone(shared), path.to_owned());
    if is_read {
        let (asked, accepted) = (parts.headers.clone(), accepted());
        let look = move || {
            let site = looking.site.as_ref()?;
            site.look(&path, &candidate, accepted, &asked, SystemTime::now())
        };
        let file = tokio::task::spawn_blocking(look).await.ok().flatten();
        return Ok(file.map(|file| send(shared, &file, parts)));
    }
    let look = move || looking.site.as_ref().is_some_and(|site| site.serves(&path, &candidate));
    match tokio::task::spawn_blocking(look).await {
        Ok(true) => only_read(&parts.method).map(Some),
        _ => Ok(None),
    }
}

fn send<H>(shared: &Shared<H>, file: &Representation, parts: &Parts) -> Response<ResponseBody> {
    let is_head = parts.method == Method::HEAD;
    statics::respond(file, &parts.headers, is_head, &|| shared.ids.next())
}

/// What a file answers to other methods.
fn only_read(method: &Method) -> Answer {
    if *method == Method::OPTIONS {
        return Ok(options(OF_FILES));
    }
    Err(Refused::method(OF_FILES, "there is a file of that name: it is only read"))
}

/// The whole request, as the guest is given it, and its share of the memory for all.
async fn receive<H: HttpHandler, B: RequestBody>(
    shared: &Arc<Shared<H>>,
    peer: SocketAddr,
    mut parts: Parts,
    body: B,
    target: &str,
    connection: Option<HeaderValue>,
) -> Result<(Arc<GuestRequest>, Option<OwnedSemaphorePermit>), Refused> {
    let share = share_of_memory(shared, &body)?;
    let expects = parts.headers.contains_key(EXPECT);
    let limit = shared.options.max_body_size;
    let body = collect(body, limit, shared.options.idle_timeout, expects).await?;
    strip(&mut parts.headers);
    strip_ours(&mut parts.headers);
    if let Some(connection) = connection {
        parts.headers.insert(socket::SOCKET, HeaderValue::from_static("open"));
        parts.headers.insert(socket::ID, connection);
    }
    join_cookies(&mut parts.headers);
    if parts.method == Method::HEAD {
        parts.method = Method::GET;
    }
    let request = GuestRequest {
        method: parts.method,
        target: target.to_owned(),
        peer,
        headers: parts.headers,
        body,
    };
    Ok((Arc::new(request), share))
}

/// Asks the guest, and makes a response of its answer.
pub(super) async fn call<H: HttpHandler>(
    shared: &Arc<Shared<H>>,
    request: Arc<GuestRequest>,
    id: &HeaderValue,
) -> Response<ResponseBody> {
    let answer = ask(shared, Arc::clone(&request)).await.unwrap_or_else(|| failed(id));
    finish(answer, &request.target, id)
}

fn failed(id: &HeaderValue) -> GuestResponse {
    let detail = "the request failed; see the server's log";
    Refused::new(Status::Internal, detail).into_response(id)
}

/// Asks the guest; `None`: its handler panicked, which stands in the log.
pub(super) async fn ask<H: HttpHandler>(
    shared: &Arc<Shared<H>>,
    request: Arc<GuestRequest>,
) -> Option<GuestResponse> {
    let mut handling = pin!(shared.handler.handle(Arc::clone(&request)));
    let done = std::future::poll_fn(|cx| {
        // A panic must cost this request only, not all that share its connection.
        catch_unwind(AssertUnwindSafe(|| handling.as_mut().poll(cx)))
            .map_or(Poll::Ready(None), |polled| polled.map(Some))
    })
    .await;
    if done.is_none() {
        let (path, request_id, code) = (request.path(), request.id(), Status::Internal);
        tracing::error!(path, request_id, %code, "the handler of a request panicked");
    }
    done
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

/// How a guest's body is to be coded for this client. Not for a page of another site that
/// has its visitor's browser ask: it could guess at secrets beside words of its choice by
/// how small both get together (BREACH).
fn coding_for(compression: Compression, headers: &HeaderMap) -> Option<Coding> {
    let site = headers.get(SEC_FETCH_SITE).map(HeaderValue::as_bytes);
    let is_elsewhere = matches!(site, Some(b"cross-site" | b"same-site"));
    if compression != Compression::All || is_elsewhere {
        return None;
    }
    Accepted::of(headers).made_here()
}

/// Whether these bytes of a guest may be coded, and are worth it.
fn is_codable(response: &Response<ResponseBody>) -> bool {
    let headers = response.headers();
    let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    let is_kept = |value: &HeaderValue| {
        let mut all = value.to_str().unwrap_or_default().split(',').map(str::trim);
        all.any(|directive| directive.eq_ignore_ascii_case("no-transform"))
    };
    response.body().bytes().is_some_and(|bytes| encoding::is_of_size(bytes.len() as u64))
        && text(CONTENT_TYPE).is_some_and(encoding::is_compressible)
        && !headers.keys().any(|name| OF_BYTES.contains(name))
        && !headers.get_all(CACHE_CONTROL).iter().any(is_kept)
}

/// The response with its body coded, if that may be and makes it smaller.
async fn coded<H: HttpHandler>(
    shared: &Arc<Shared<H>>,
    coding: Option<Coding>,
    mut response: Response<ResponseBody>,
) -> Response<ResponseBody> {
    if !is_codable(&response) {
        return response;
    }
    encoding::vary(response.headers_mut());
    let (Some(coding), Some(bytes)) = (coding, response.body().bytes().cloned()) else {
        return response;
    };
    let Some(turn) = shared.turns.take() else { return response };
    let work = tokio::task::spawn_blocking(move || {
        let coded = encoding::compress(coding, Effort::Once, &bytes);
        drop(turn);
        coded
    });
    let Ok(Ok(Some(bytes))) = work.await else { return response };
    let headers = response.headers_mut();
    headers.insert(CONTENT_ENCODING, HeaderValue::from_static(coding.token()));
    headers.insert(CONTENT_LENGTH, HeaderValue::from(bytes.len() as u64));
    // The ranges of the guest are of other bytes, and so is its strong tag.
    headers.remove(ACCEPT_RANGES);
    if let Some(tag) = headers.get(ETAG).filter(|tag| tag.as_bytes().starts_with(b"\"")) {
        let weak = [b"W/", tag.as_bytes()].concat();
        if let Ok(weak) = HeaderValue::from_bytes(&weak) {
            headers.insert(ETAG, weak);
        }
    }
    *response.body_mut() = ResponseBody::whole(bytes);
    response
}
