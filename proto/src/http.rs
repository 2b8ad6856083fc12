//! What a guest is given for an HTTP request, and what it gives back.
//!
//! ```text
//! request   version:u8 (1)  method:str16  target:bytes32  peer:str16
//!           headers:u16  headers x (name:str16 value:bytes16)  body:rest
//! response  version:u8 (1)  status:u16
//!           headers:u16  headers x (name:str16 value:bytes16)  body:rest
//! ```
//!
//! `target` is the path and query as the client sent them, UTF-8. `peer` is the
//! client's address. Header names of a request are in lower case.
//!
//! Invariant: a response with a status outside 200 to 599, or a header that
//! HTTP does not allow, is a fault of the guest and never reaches the client; 101 accepts a
//! WebSocket, where one was asked for.

use crate::codec::{DecodeError, Reader, Write};

/// The version of both layouts.
pub const VERSION: u8 = 1;

/// An HTTP request, borrowed from its bytes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct HttpRequest<'a> {
    /// `GET`, `POST`, ...
    pub method: &'a str,
    /// Path and query: `/flights?from=JFK`.
    pub target: &'a str,
    /// Address of the client.
    pub peer: &'a str,
    /// Name and value of each header.
    pub headers: Headers<'a>,
    /// The whole body.
    pub body: &'a [u8],
}

/// Headers, checked to be framed well.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Headers<'a> {
    count: u16,
    bytes: &'a [u8],
}

impl<'a> Headers<'a> {
    fn decode(bytes: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let count = bytes.u16("header count")?;
        let before = *bytes;
        for _ in 0..count {
            bytes.str16("header name")?;
            bytes.bytes16("header value")?;
        }
        let len = before.remaining() - bytes.remaining();
        let mut before = before;
        Ok(Headers { count, bytes: before.take(len, "headers")? })
    }

    /// How many.
    pub fn len(&self) -> usize {
        usize::from(self.count)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Each name and value, in the order given.
    pub fn iter(&self) -> impl Iterator<Item = (&'a str, &'a [u8])> + use<'a> {
        let mut walk = Reader::new(self.bytes);
        (0..self.count).map_while(move |_| {
            Some((walk.str16("header name").ok()?, walk.bytes16("header value").ok()?))
        })
    }

    /// The first value of a header; `name` in lower case.
    pub fn get(&self, name: &str) -> Option<&'a [u8]> {
        self.iter().find(|(other, _)| other.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }
}

/// Collects headers for [`write_request`] or [`write_response`].
#[derive(Clone, Debug, Default)]
pub struct HeadersBuf {
    count: u16,
    bytes: Vec<u8>,
}

impl HeadersBuf {
    /// No headers.
    pub fn new() -> Self {
        Self::default()
    }

    /// No headers, and room for so many bytes of them.
    pub fn with_capacity(bytes: usize) -> Self {
        Self { count: 0, bytes: Vec::with_capacity(bytes) }
    }

    /// Adds one. Says `false`, adding nothing, if the name or value is longer
    /// than 65,535 bytes or there are 65,535 already.
    #[must_use]
    pub fn push(&mut self, name: &str, value: &[u8]) -> bool {
        let limit = usize::from(u16::MAX);
        if self.count == u16::MAX || name.len() > limit || value.len() > limit {
            return false;
        }
        self.bytes.put_str16(name);
        self.bytes.put_bytes16(value);
        self.count += 1;
        true
    }

    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.count.to_le_bytes());
        out.extend_from_slice(&self.bytes);
    }
}

impl<'a> HttpRequest<'a> {
    /// Whether the method of the request that `bytes` are is one that is to change nothing:
    /// GET, HEAD, OPTIONS. `false` if they are none.
    pub fn is_safe(bytes: &[u8]) -> bool {
        let mut bytes = Reader::new(bytes);
        let method = check_version(&mut bytes, "HTTP request").and_then(|()| bytes.str16("method"));
        matches!(method, Ok("GET" | "HEAD" | "OPTIONS"))
    }

    /// Reads a request off `bytes`.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        let mut bytes = Reader::new(bytes);
        check_version(&mut bytes, "HTTP request")?;
        let method = bytes.str16("method")?;
        let target = core::str::from_utf8(bytes.bytes32("target")?)
            .map_err(|_| DecodeError::new("target", "is not UTF-8"))?;
        let peer = bytes.str16("peer")?;
        let headers = Headers::decode(&mut bytes)?;
        Ok(HttpRequest { method, target, peer, headers, body: bytes.rest() })
    }
}

/// Appends a request to `out`.
pub fn write_request(
    out: &mut Vec<u8>,
    method: &str,
    target: &str,
    peer: &str,
    headers: &HeadersBuf,
    body: &[u8],
) {
    out.push(VERSION);
    out.put_str16(method);
    out.put_bytes32(target.as_bytes());
    out.put_str16(peer);
    headers.write(out);
    out.extend_from_slice(body);
}

/// An HTTP response, borrowed from its bytes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct HttpResponse<'a> {
    /// 200 to 599, or 101.
    pub status: u16,
    /// Name and value of each header.
    pub headers: Headers<'a>,
    /// The whole body.
    pub body: &'a [u8],
}

impl<'a> HttpResponse<'a> {
    /// Reads a response off `bytes`.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        let mut bytes = Reader::new(bytes);
        check_version(&mut bytes, "HTTP response")?;
        let status = bytes.u16("status")?;
        if status != 101 && !(200..=599).contains(&status) {
            return Err(DecodeError::new("status", "is neither 101 nor between 200 and 599"));
        }
        let headers = Headers::decode(&mut bytes)?;
        Ok(HttpResponse { status, headers, body: bytes.rest() })
    }
}

/// Appends a response to `out`.
pub fn write_response(out: &mut Vec<u8>, status: u16, headers: &HeadersBuf, body: &[u8]) {
    out.push(VERSION);
    out.extend_from_slice(&status.to_le_bytes());
    headers.write(out);
    out.extend_from_slice(body);
}

fn check_version(bytes: &mut Reader<'_>, what: &'static str) -> Result<(), DecodeError> {
    match bytes.u8(what)? {
        VERSION => Ok(()),
        _ => Err(DecodeError::new(
            what,
            "is of another version: build the guest with the SDK of this release",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn headers() -> HeadersBuf {
        let mut headers = HeadersBuf::new();
        assert!(headers.push("host", b"localhost"));
        assert!(headers.push("accept", b"*/*"));
        headers
    }

    #[test]
    fn a_request_round_trips() {
        let mut bytes = Vec::new();
        write_request(&mut bytes, "POST", "/a?b=c", "127.0.0.1:9", &headers(), b"body");
        let request = HttpRequest::decode(&bytes).unwrap();
        assert_eq!(
            (request.method, request.target, request.peer),
            ("POST", "/a?b=c", "127.0.0.1:9")
        );
        assert_eq!(request.headers.get("accept"), Some(&b"*/*"[..]));
        assert_eq!(request.headers.len(), 2);
        assert_eq!(request.body, b"body");
    }

    #[test]
    fn a_response_is_these_bytes() {
        let mut headers = HeadersBuf::new();
        assert!(headers.push("a", b"b"));
        let mut bytes = Vec::new();
        write_response(&mut bytes, 404, &headers, b"no");
        assert_eq!(bytes, [1, 0x94, 1, 1, 0, 1, 0, b'a', 1, 0, b'b', b'n', b'o']);
        let response = HttpResponse::decode(&bytes).unwrap();
        assert_eq!((response.status, response.body), (404, &b"no"[..]));
    }

    #[test]
    fn a_status_outside_http_is_refused() {
        for status in [0u16, 100, 102, 199, 600, 65535] {
            let mut bytes = Vec::new();
            write_response(&mut bytes, status, &HeadersBuf::new(), b"");
            assert_eq!(HttpResponse::decode(&bytes).unwrap_err().what, "status");
        }
    }

    #[test]
    fn a_header_too_long_is_not_added() {
        let mut headers = HeadersBuf::new();
        assert!(!headers.push("a", &[0; 65536]));
        assert_eq!(headers.count, 0);
    }

    proptest! {
        #[test]
        fn bytes_of_a_stranger_never_panic(mut bytes in proptest::collection::vec(any::<u8>(), 1..200)) {
            bytes[0] = VERSION;
            if let Ok(request) = HttpRequest::decode(&bytes) {
                prop_assert_eq!(request.headers.iter().count(), request.headers.len());
            }
            if let Ok(response) = HttpResponse::decode(&bytes) {
                prop_assert_eq!(response.headers.iter().count(), response.headers.len());
            }
        }
    }
}
