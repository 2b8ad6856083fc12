//! Calls of the guest that a WebSocket makes, and what their answers wish for.
//!
//! What must stay true: a call is the request of the handshake with another method and body;
//! what says so are headers of the host's own, which no client can send.

use super::super::answer::ask;
use super::super::message::{GuestRequest, GuestResponse};
use super::super::{HttpHandler, Shared, events};
use super::frame::{Kind, is_code};
use super::{ID, SOCKET};
use bytes::Bytes;
use hyper::Method;
use hyper::header::{HeaderMap, HeaderName, HeaderValue, RETRY_AFTER, SEC_WEBSOCKET_PROTOCOL};
use std::sync::Arc;
use std::time::Duration;

/// The methods of calls; no request of a client may have them.
pub(in super::super) const MESSAGE: &str = "MESSAGE";
pub(in super::super) const TICK: &str = "TICK";
pub(in super::super) const CLOSE: &str = "CLOSE";

const KIND: HeaderName = HeaderName::from_static("planck-message");
const CODE: HeaderName = HeaderName::from_static("planck-close");
/// Bytes of the reason of a close (RFC 6455, 5.5).
const REASON: usize = 123;

/// What calls are made of: the request of the handshake, without what was for the handshake
/// alone; with the protocol that was chosen.
pub(super) fn base(request: &GuestRequest, protocol: Option<HeaderValue>) -> GuestRequest {
    let mut base = request.clone();
    let of_handshake = |name: &&HeaderName| name.as_str().starts_with("sec-websocket-");
    let gone: Vec<HeaderName> = base.headers.keys().filter(of_handshake).cloned().collect();
    gone.iter().for_each(|name| drop(base.headers.remove(name)));
    base.headers.remove(SOCKET);
    if let Some(protocol) = protocol {
        base.headers.insert(SEC_WEBSOCKET_PROTOCOL, protocol);
    }
    debug_assert!(base.headers.contains_key(ID));
    base
}

pub(super) fn request(
    base: &GuestRequest,
    method: &'static str,
    kind: Option<&'static str>,
    close: Option<u16>,
    body: Bytes,
) -> GuestRequest {
    let mut request = base.clone();
    request.method = Method::from_bytes(method.as_bytes()).expect("these are methods");
    if let Some(kind) = kind {
        request.headers.insert(KIND, HeaderValue::from_static(kind));
    }
    if let Some(code) = close {
        request.headers.insert(CODE, HeaderValue::from(code));
    }
    request.body = body;
    request
}

pub(super) enum Outcome {
    Answer(GuestResponse),
    /// Come again after so long.
    Busy(Duration),
    /// The connection ends by this code.
    Failed(u16),
}

/// Asks the guest.
pub(super) async fn call<H: HttpHandler>(
    shared: &Arc<Shared<H>>,
    request: &Arc<GuestRequest>,
) -> Outcome {
    match ask(shared, Arc::clone(request)).await {
        None => Outcome::Failed(1011),
        Some(answer) => match answer.status {
            200..=299 => Outcome::Answer(answer),
            503 => {
                let after = header(&answer, RETRY_AFTER.as_str());
                let after = after.and_then(|value| HeaderValue::from_bytes(value).ok());
                let headers = after.map(|after| (RETRY_AFTER, after));
                Outcome::Busy(events::back_off(&HeaderMap::from_iter(headers)))
            }
            400..=499 => Outcome::Failed(1008),
            _ => Outcome::Failed(1011),
        },
    }
}

fn header<'a>(answer: &'a GuestResponse, name: &str) -> Option<&'a [u8]> {
    let mut all = answer.headers.iter();
    all.find(|(other, _)| other.eq_ignore_ascii_case(name)).map(|(_, value)| &value[..])
}

/// What the headers of an answer ask for.
#[derive(Debug)]
pub(super) struct Wishes {
    /// What its messages are.
    pub(super) kind: Kind,
    pub(super) again: Option<Duration>,
    pub(super) close: Option<(u16, String)>,
}

/// Reads them.
///
/// # Errors
/// What is wrong with them.
pub(super) fn wishes(answer: &GuestResponse) -> Result<Wishes, String> {
    let kind = header(answer, "content-type").unwrap_or_default();
    let kind = kind.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
    let is_binary = kind.eq_ignore_ascii_case(b"application/octet-stream");
    let again = header(answer, events::AGAIN.as_str()).map(|value| {
        let none = HeaderValue::from_static("");
        events::wanted(&HeaderValue::from_bytes(value).unwrap_or(none))
    });
    let close = header(answer, CODE.as_str()).map(|value| {
        let text = std::str::from_utf8(value).unwrap_or_default().trim();
        let (code, reason) = text.split_once(' ').unwrap_or((text, ""));
        let code = code.parse().ok().filter(|code| is_code(*code));
        let fits = reason.len() <= REASON;
        code.filter(|_| fits).map(|code| (code, reason.to_owned())).ok_or_else(|| {
            format!("planck-close is a code and a reason of {REASON} bytes at most, not {text:?}")
        })
    });
    Ok(Wishes {
        kind: if is_binary { Kind::Binary } else { Kind::Text },
        again: again.transpose()?,
        close: close.transpose()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(headers: &[(&str, &'static str)]) -> Result<Wishes, String> {
        let answer = GuestResponse::new(200, "text/plain; charset=utf-8", "");
        let with = |answer: GuestResponse, (name, value): &(&str, &'static str)| {
            answer.with_header(name, *value)
        };
        wishes(&headers.iter().fold(answer, with))
    }

    #[test]
    fn wishes_are_read_and_faults_named() {
        let plain = of(&[]).unwrap();
        assert_eq!((plain.kind, plain.again, plain.close), (Kind::Text, None, None));
        let again = of(&[("Planck-Again-Ms", "500")]).unwrap().again;
        assert_eq!(again, Some(Duration::from_millis(500)));
        for (value, close) in [
            ("1000", (1000, "")),
            ("4999 no such room", (4999, "no such room")),
            (" 3000 ", (3000, "")),
        ] {
            let (code, reason) = of(&[("planck-close", value)]).unwrap().close.unwrap();
            assert_eq!((code, reason.as_str()), close);
        }
        for value in ["", "x", "0", "999", "1005", "1006", "1015", "2999", "5000", "65536"] {
            assert!(of(&[("planck-close", value)]).is_err(), "{value}");
        }
        assert!(of(&[("planck-again-ms", "x")]).is_err());
        let mut octets = GuestResponse::new(200, "Application/Octet-Stream ; a=b", "");
        assert_eq!(wishes(&octets).unwrap().kind, Kind::Binary);
        octets = GuestResponse::new(200, "text/plain", "");
        let reason = format!("1000 {}", "x".repeat(REASON));
        assert!(wishes(&octets.with_header("planck-close", reason.clone())).is_ok());
        let octets = GuestResponse::new(200, "text/plain", "");
        assert!(wishes(&octets.with_header("planck-close", reason + "x")).is_err());
    }
}
