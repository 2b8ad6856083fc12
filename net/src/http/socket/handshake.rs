//! The request that becomes a WebSocket, and what accepts it (RFC 6455, 4.2).
//!
//! What must stay true: a request that asks for one and does not fit is refused before the
//! guest hears of it; one that does not ask for one is none of our business.

use super::super::message::Refused;
use hyper::body::Body;
use hyper::header::{
    CONNECTION, HeaderMap, HeaderName, HeaderValue, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL,
    SEC_WEBSOCKET_VERSION, UPGRADE,
};
use hyper::http::request::Parts;
use hyper::upgrade::OnUpgrade;
use hyper::{Method, Version};
use proto::Status;
use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};

/// The version that is spoken.
pub(in super::super) const VERSION: &str = "13";
const MAGIC: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// A request that asks for a WebSocket, as it should.
pub(in super::super) struct Handshake {
    pub(super) upgrade: OnUpgrade,
    pub(super) accept: HeaderValue,
    /// What the client offers to speak inside.
    pub(super) protocols: Vec<String>,
}

/// Whether a request asks for a WebSocket.
///
/// # Errors
/// It does, and cannot have one.
pub(in super::super) fn asked(
    parts: &mut Parts,
    body: &impl Body,
) -> Result<Option<Handshake>, Refused> {
    let headers = &parts.headers;
    if parts.version >= Version::HTTP_2 {
        let asks = parts.method == Method::GET && headers.contains_key(SEC_WEBSOCKET_KEY);
        let detail = "WebSockets are opened over HTTP/1.1 here: connect by that version";
        return if asks {
            Err(Refused::with(501, Status::UnknownOpcode, detail))
        } else {
            Ok(None)
        };
    }
    let asks = parts.version == Version::HTTP_11
        && parts.method == Method::GET
        && has_token(headers, &UPGRADE, "websocket")
        && has_token(headers, &CONNECTION, "upgrade");
    let Some(upgrade) = parts.extensions.remove::<OnUpgrade>().filter(|_| asks) else {
        return Ok(None);
    };
    let headers = &parts.headers;
    if one(headers, &SEC_WEBSOCKET_VERSION) != Some(VERSION.as_bytes()) {
        return Err(Refused::upgrade("version 13 of the WebSocket protocol is spoken here"));
    }
    let bad = |detail| Refused::with(400, Status::BadPacket, detail);
    let key = one(headers, &SEC_WEBSOCKET_KEY).filter(|key| is_key(key));
    let key = key.ok_or_else(|| bad("the request's sec-websocket-key is not one of 16 bytes"))?;
    if body.size_hint().upper() != Some(0) {
        return Err(bad("a request for a WebSocket has no body"));
    }
    let protocols = tokens(headers, &SEC_WEBSOCKET_PROTOCOL).map(str::to_owned).collect();
    Ok(Some(Handshake { upgrade, accept: accept(key), protocols }))
}

fn tokens<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    let values = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|list| list.split(',')).map(str::trim).filter(|token| !token.is_empty())
}

fn has_token(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    tokens(headers, name).any(|other| other.eq_ignore_ascii_case(token))
}

/// The value of a header that is there once.
fn one<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a [u8]> {
    let mut all = headers.get_all(name).iter();
    let first = all.next()?.as_bytes();
    all.next().is_none().then_some(first)
}

/// Sixteen bytes in base64.
fn is_key(key: &[u8]) -> bool {
    let digit = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    key.len() == 24 && key.ends_with(b"==") && key[..22].iter().all(digit)
}

fn accept(key: &[u8]) -> HeaderValue {
    let hash = digest(&SHA1_FOR_LEGACY_USE_ONLY, &[key, MAGIC].concat());
    HeaderValue::try_from(base64(hash.as_ref())).expect("digits are allowed in a header")
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for three in bytes.chunks(3) {
        let bits = (0..3).fold(0_u32, |bits, at| {
            bits << 8 | u32::from(three.get(at).copied().unwrap_or_default())
        });
        for at in 0..4 {
            let digit = DIGITS[(bits >> (18 - 6 * at) & 63) as usize];
            text.push(if at <= three.len() { char::from(digit) } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_answered_as_the_protocol_says() {
        // RFC 6455, 1.3.
        assert_eq!(accept(b"dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        for (bytes, text) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v")] {
            assert_eq!(base64(bytes.as_bytes()), text);
        }
        for (key, fine) in [
            ("dGhlIHNhbXBsZSBub25jZQ==", true),
            ("dGhlIHNhbXBsZSBub25jZQ=", false),
            ("dGhlIHNhbXBsZSBub25jZQ==x", false),
            ("dGhlIHNhbXBsZSBub25jZ-==", false),
            ("", false),
        ] {
            assert_eq!(is_key(key.as_bytes()), fine, "{key}");
        }
    }
}
