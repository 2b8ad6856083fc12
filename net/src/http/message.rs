//! What a handler is given and gives back, free of sockets.
//!
//! What must stay true: a response of a guest reaches the client only if every
//! header is one HTTP allows; what concerns the connection alone (RFC 9110, 7.6.1)
//! is ours, never the guest's; the length told is the length of the body, or the body
//! breaks off.

use super::body::ResponseBody;
use super::events::AGAIN;
use super::follow::WATCH;
use super::ids::REQUEST_ID;
use super::pieces::Pieces;
use super::socket;
use bytes::Bytes;
use hyper::header::{
    CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue,
    PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE, TRANSFER_ENCODING, UPGRADE,
};
use hyper::{Method, Response, StatusCode};
use proto::Status;
use proto::codec::DecodeError;
use proto::http::{HeadersBuf, HttpResponse, write_request, write_response};
use std::net::SocketAddr;

/// Bytes that the headers of most requests do with.
const HEADERS_BYTES: usize = 512;
/// Headers that are ours in a response, and a few more: hyper reads the headers of the next
/// request into the same map.
const ROOM: usize = 12;
/// Headers of a response at most; more is a fault of the guest.
const MAX_RESPONSE_HEADERS: usize = 512;

/// One whole request.
#[derive(Clone, Debug)]
pub struct GuestRequest {
    /// `GET`, `POST`, ...; never `HEAD`, which is a `GET` whose body is not sent.
    pub method: Method,
    /// Path and query as the client sent them.
    pub target: String,
    /// Who asks.
    pub peer: SocketAddr,
    /// Without those of the connection, and those of the host; `host` is there in HTTP/2 and 3
    /// too, and `x-request-id` always.
    pub headers: HeaderMap,
    /// The whole body.
    pub body: Bytes,
}

impl GuestRequest {
    /// The target without its query, for the log: a query may hold what is secret.
    pub fn path(&self) -> &str {
        path_of(&self.target)
    }

    /// As a guest reads it: see [`proto::http`]. Headers over 65,535 bytes are left
    /// out; the listener refuses requests that have any.
    pub fn encode(&self) -> Vec<u8> {
        let mut headers = HeadersBuf::with_capacity(HEADERS_BYTES);
        let fit =
            self.headers.iter().all(|(name, value)| headers.push(name.as_str(), value.as_bytes()));
        if !fit {
            tracing::warn!(path = self.path(), "a request's headers were cut for the guest");
        }
        let mut out = Vec::with_capacity(self.body.len() + self.target.len() + 2 * HEADERS_BYTES);
        let peer = told(self.peer);
        write_request(&mut out, self.method.as_str(), &self.target, &peer, &headers, &self.body);
        out
    }

    /// What lines of the log name it by.
    pub fn id(&self) -> &str {
        self.headers.get(REQUEST_ID).and_then(|id| id.to_str().ok()).unwrap_or("-")
    }

    /// A failure of this request: see [`GuestResponse::problem`].
    pub fn problem(&self, status: Status, detail: &str) -> GuestResponse {
        problem(status.http(), status, detail, Some(self.id()))
    }
}

/// One response: whole, or with more of its body to come.
#[derive(Debug)]
pub struct GuestResponse {
    /// 200 to 599; 101 accepts a WebSocket, where one was asked for.
    pub status: u16,
    /// Name and value of each.
    pub headers: Vec<(String, Bytes)>,
    /// The whole body, or its beginning.
    pub body: Bytes,
    /// The rest of the body, if it is made while it is sent.
    pub more: Option<Pieces>,
}

impl GuestResponse {
    /// What a guest wrote: see [`proto::http`]. The body is not copied.
    pub fn decode(bytes: Vec<u8>) -> Result<GuestResponse, DecodeError> {
        let bytes = Bytes::from(bytes);
        let response = HttpResponse::decode(&bytes)?;
        let headers = response
            .headers
            .iter()
            .map(|(name, value)| (name.to_owned(), bytes.slice_ref(value)))
            .collect();
        let body = bytes.slice_ref(response.body);
        Ok(GuestResponse { status: response.status, headers, body, more: None })
    }

    /// As a guest would have written it.
    pub fn encode(&self) -> Vec<u8> {
        let mut headers = HeadersBuf::new();
        let fit = self.headers.iter().all(|(name, value)| headers.push(name, value));
        debug_assert!(fit, "headers of a response fit its layout");
        let mut out = Vec::with_capacity(self.body.len() + 256);
        write_response(&mut out, self.status, &headers, &self.body);
        out
    }

    /// A response with a body of a type.
    pub fn new(status: u16, content_type: &'static str, body: impl Into<Bytes>) -> GuestResponse {
        let headers =
            vec![("content-type".to_owned(), Bytes::from_static(content_type.as_bytes()))];
        GuestResponse { status, headers, body: body.into(), more: None }
    }

    /// A failure, as a problem document (RFC 9457) with the stable code.
    pub fn problem(status: Status, detail: &str) -> GuestResponse {
        problem(status.http(), status, detail, None)
    }

    /// With one header more.
    pub fn with_header(mut self, name: &str, value: impl Into<Bytes>) -> GuestResponse {
        self.headers.push((name.to_owned(), value.into()));
        self
    }
}

/// An address as text. Those of most clients without the formatter, which takes ten times
/// as long.
fn told(peer: SocketAddr) -> String {
    let SocketAddr::V4(peer) = peer else { return peer.to_string() };
    let mut text = String::with_capacity("255.255.255.255:65535".len());
    for (at, byte) in peer.ip().octets().into_iter().enumerate() {
        if at > 0 {
            text.push('.');
        }
        push_number(&mut text, u16::from(byte));
    }
    text.push(':');
    push_number(&mut text, peer.port());
    text
}

fn push_number(text: &mut String, number: u16) {
    if number >= 10 {
        push_number(text, number / 10);
    }
    text.push(char::from(b'0' + (number % 10) as u8));
}

/// A target without its query.
pub(super) fn path_of(target: &str) -> &str {
    target.split('?').next().unwrap_or_default()
}

fn problem(http: u16, status: Status, detail: &str, id: Option<&str>) -> GuestResponse {
    let title = StatusCode::from_u16(http).ok().and_then(|status| status.canonical_reason());
    let mut body = String::from("{\"type\":\"about:blank\",\"title\":");
    push_json(&mut body, title.unwrap_or("Error"));
    body.push_str(&format!(",\"status\":{http},\"code\":\"{status}\",\"detail\":"));
    push_json(&mut body, detail);
    if let Some(id) = id {
        body.push_str(",\"request_id\":");
        push_json(&mut body, id);
    }
    body.push_str("}\n");
    let response = GuestResponse::new(http, "application/problem+json", body);
    match status {
        Status::Busy => response.with_header("retry-after", "1"),
        _ => response,
    }
}

/// A request that reaches no guest, and why.
#[derive(Debug)]
pub(super) struct Refused {
    http: u16,
    status: Status,
    detail: String,
    /// A header that says what would be allowed instead.
    instead: Option<(&'static str, &'static str)>,
    /// Whether the rest of the connection cannot be trusted to be what it seems.
    pub(super) is_end: bool,
}

impl Refused {
    /// With the HTTP status that `status` has.
    pub(super) fn new(status: Status, detail: impl Into<String>) -> Refused {
        Refused::with(status.http(), status, detail)
    }

    pub(super) fn with(http: u16, status: Status, detail: impl Into<String>) -> Refused {
        Refused { http, status, detail: detail.into(), instead: None, is_end: false }
    }

    /// A method that is not for this target.
    pub(super) fn method(allow: &'static str, detail: &str) -> Refused {
        let refused = Refused::with(405, Status::UnknownOpcode, detail);
        Refused { instead: Some(("allow", allow)), ..refused }
    }

    /// What is asked for needs another version of WebSockets.
    pub(super) fn upgrade(detail: &str) -> Refused {
        let refused = Refused::with(426, Status::UnknownVersion, detail);
        Refused { instead: Some(("sec-websocket-version", socket::VERSION)), ..refused }
    }

    /// A head that is not as HTTP has it: the connection ends.
    pub(super) fn malformed(http: u16, detail: &str) -> Refused {
        Refused { is_end: true, ..Refused::with(http, Status::BadPacket, detail) }
    }

    pub(super) fn into_response(self, id: &HeaderValue) -> GuestResponse {
        let id = id.to_str().ok();
        let response = problem(self.http, self.status, &self.detail, id);
        match self.instead {
            Some((name, value)) => response.with_header(name, value),
            None => response,
        }
    }
}

fn push_json(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if (c as u32) < 0x20 => out.push_str(&format!("\\u{:04x}", c as u32)),
            c => out.push(c),
        }
    }
    out.push('"');
}

/// Headers of one connection, not of the message.
static OF_THE_CONNECTION: [HeaderName; 8] = [
    CONNECTION,
    HeaderName::from_static("keep-alive"),
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
    HeaderName::from_static("proxy-connection"),
    TE,
    TRANSFER_ENCODING,
    UPGRADE,
];

/// Removes what concerns the connection only, and what `connection` names.
pub(super) fn strip(headers: &mut HeaderMap) {
    // Most have none: looking at the names that are there costs less than asking for each.
    if !headers.keys().any(|name| OF_THE_CONNECTION.contains(name)) {
        return;
    }
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|list| list.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in OF_THE_CONNECTION.iter().chain(&named) {
        headers.remove(name);
    }
}

/// What the names of headers begin with by which host and guest speak with each other.
const OURS: &str = "planck-";

/// Removes what is between the host and the guest: no client may say it, nor is one told.
pub(super) fn strip_ours(headers: &mut HeaderMap) {
    let is_ours = |name: &&HeaderName| name.as_str().starts_with(OURS);
    let ours: Vec<HeaderName> = headers.keys().filter(is_ours).cloned().collect();
    for name in ours {
        headers.remove(name);
    }
}

/// The response as it is sent, but for HEAD; the guest's faults become a 500 and a line in
/// the log.
pub(super) fn finish(
    response: GuestResponse,
    target: &str,
    id: &HeaderValue,
) -> Response<ResponseBody> {
    match build(response) {
        Ok(response) => response,
        Err(fault) => refuse(&fault, target, id),
    }
}

/// What is sent instead of a response that cannot be; why stands in the log.
pub(super) fn refuse(fault: &str, target: &str, id: &HeaderValue) -> Response<ResponseBody> {
    let status = Status::Internal;
    let request_id = id.to_str().unwrap_or("-");
    tracing::error!(
        code = %status, path = path_of(target), request_id, fault,
        "the guest's response cannot be sent; correct the guest"
    );
    let detail = "the service gave a response that HTTP does not allow; see the server's log";
    build(Refused::new(status, detail).into_response(id))
        .expect("a problem document is a valid response")
}

fn build(response: GuestResponse) -> Result<Response<ResponseBody>, String> {
    let GuestResponse { status, headers, body, more } = response;
    let status = StatusCode::from_u16(status)
        .ok()
        .filter(|status| (200..=599).contains(&status.as_u16()))
        .ok_or_else(|| format!("the status {status} is not between 200 and 599"))?;
    if headers.len() > MAX_RESPONSE_HEADERS {
        return Err(format!(
            "it has {} headers, {MAX_RESPONSE_HEADERS} are allowed",
            headers.len()
        ));
    }
    let mut map = HeaderMap::with_capacity(headers.len() + ROOM);
    for (name, value) in headers {
        let Ok(parsed) = HeaderName::from_bytes(name.as_bytes()) else {
            return Err(format!("{name:?} is not a header's name"));
        };
        let Ok(value) = HeaderValue::from_maybe_shared(value) else {
            return Err(format!("the value of header {name} has a byte HTTP does not allow"));
        };
        // What else is for the host it has no use for here.
        if !parsed.as_str().starts_with(OURS) || parsed == AGAIN || parsed == WATCH {
            map.append(parsed, value);
        }
    }
    strip(&mut map);
    let told = more.is_some().then(|| told_length(&map)).transpose()?.flatten();
    map.remove(CONTENT_LENGTH);
    if matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED) {
        // What may come behind it nobody takes, as with HEAD.
        if !body.is_empty() {
            return Err(format!("a response of status {status} has no body"));
        }
    } else if let Some(more) = more {
        if let Some(length) = told {
            if length < body.len() as u64 {
                return Err(format!("its body is longer than its content-length, {length}"));
            }
            map.insert(CONTENT_LENGTH, HeaderValue::from(length));
        }
        map.entry(CONTENT_TYPE).or_insert(HeaderValue::from_static("application/octet-stream"));
        let mut response = Response::new(ResponseBody::stream(body, more, told));
        *response.status_mut() = status;
        *response.headers_mut() = map;
        return Ok(response);
    } else {
        map.insert(CONTENT_LENGTH, HeaderValue::from(body.len() as u64));
        if !body.is_empty() && !map.contains_key(CONTENT_TYPE) {
            // Without one, browsers guess; a guess can be a script.
            map.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
        }
    }
    let mut response = Response::new(ResponseBody::whole(body));
    *response.status_mut() = status;
    *response.headers_mut() = map;
    Ok(response)
}

/// The length that a guest says a body has of which it does not know yet, if it says one.
fn told_length(headers: &HeaderMap) -> Result<Option<u64>, String> {
    let mut all = headers.get_all(CONTENT_LENGTH).iter();
    let Some(first) = all.next() else { return Ok(None) };
    let digits = |value: &HeaderValue| {
        let text = value.to_str().ok()?;
        text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
    };
    match digits(first) {
        Some(length) if all.next().is_none() => Ok(Some(length)),
        _ => Err("its content-length is none".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::http::HttpRequest;

    #[test]
    fn a_request_reaches_the_guest_as_it_is() {
        let mut headers = HeaderMap::new();
        headers.append("accept", "a/b".parse().unwrap());
        let request = GuestRequest {
            method: Method::POST,
            target: "/a?b".into(),
            peer: ([127, 0, 0, 1], 9).into(),
            headers,
            body: Bytes::from_static(b"xyz"),
        };
        let bytes = request.encode();
        let read = HttpRequest::decode(&bytes).unwrap();
        assert_eq!((read.method, read.target, read.peer), ("POST", "/a?b", "127.0.0.1:9"));
        assert_eq!((read.headers.get("accept"), read.body), (Some(&b"a/b"[..]), &b"xyz"[..]));
    }

    #[test]
    fn an_address_is_told_as_everybody_writes_it() {
        for text in ["0.0.0.0:0", "127.0.0.1:80", "255.255.255.255:65535", "10.9.100.1:1000"] {
            assert_eq!(told(text.parse().unwrap()), text);
        }
        assert_eq!(told("[::1]:80".parse().unwrap()), "[::1]:80");
    }

    #[test]
    fn a_response_round_trips() {
        let response = GuestResponse::new(404, "text/plain", "no").with_header("x", "y");
        let read = GuestResponse::decode(response.encode()).unwrap();
        assert_eq!((read.status, &read.headers), (404, &response.headers));
        assert_eq!(read.body, "no");
    }

    #[test]
    fn a_problem_is_json_whatever_its_words() {
        let problem = GuestResponse::problem(Status::Busy, "a \"b\"\n\\c");
        assert_eq!(
            problem.body,
            "{\"type\":\"about:blank\",\"title\":\"Service Unavailable\",\"status\":503,\
             \"code\":\"PLK-1601\",\"detail\":\"a \\\"b\\\"\\u000a\\\\c\"}\n"
        );
        assert!(problem.headers.iter().any(|(name, _)| name == "retry-after"));
        let refused = Refused::method("GET", "no").into_response(&HeaderValue::from_static("a=1"));
        assert!(refused.body.ends_with(b"\"detail\":\"no\",\"request_id\":\"a=1\"}\n"));
        assert!(refused.headers.contains(&("allow".to_owned(), Bytes::from_static(b"GET"))));
    }

    #[test]
    fn the_faults_of_a_guest_are_named() {
        let good = || GuestResponse::new(200, "text/plain", "x");
        for (response, fault) in [
            (GuestResponse { status: 101, ..good() }, "status 101"),
            (GuestResponse { status: 600, ..good() }, "status 600"),
            (GuestResponse { status: 204, ..good() }, "no body"),
            (good().with_header("a b", "c"), "\"a b\" is not"),
            (good().with_header("a", "c\r\nd: e"), "header a has a byte"),
            (
                GuestResponse { headers: vec![("a".into(), Bytes::new()); 513], ..good() },
                "513 headers",
            ),
        ] {
            let error = build(response).unwrap_err();
            assert!(error.contains(fault), "{error}");
        }
        let most = vec![("a".into(), Bytes::new()); MAX_RESPONSE_HEADERS];
        assert!(build(GuestResponse { headers: most, ..good() }).is_ok());
    }

    #[test]
    fn lengths_and_connection_headers_are_ours() {
        let response = GuestResponse::new(200, "text/plain", "four")
            .with_header("content-length", "9999")
            .with_header("Transfer-Encoding", "chunked")
            .with_header("connection", "x-private, close")
            .with_header("x-private", "1")
            .with_header("x-public", "1");
        let built = build(response).unwrap();
        let mut names: Vec<&str> = built.headers().keys().map(|name| name.as_str()).collect();
        names.sort_unstable();
        assert_eq!(names, ["content-length", "content-type", "x-public"]);
        assert_eq!(built.headers()["content-length"], "4");
    }
}
