//! The head of a request: whether it is one, and one that can be answered here.
//!
//! What must stay true: what two servers in a row could understand in two ways is refused
//! and ends its connection. What is in order goes on unchanged, whatever its method: what
//! a method means is the guest's to say.

use super::HttpOptions;
use super::message::Refused;
use super::socket::{CLOSE, MESSAGE, TICK};
use hyper::header::{
    CONNECTION, CONTENT_LENGTH, EXPECT, HOST, HeaderName, HeaderValue, TRANSFER_ENCODING, UPGRADE,
};
use hyper::http::request::Parts;
use hyper::http::uri::Authority;
use hyper::{Method, Version};
use proto::Status;

/// What the server as a whole can be asked.
pub(super) const METHODS: &str = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";

/// Methods of calls that no request makes.
const OF_THE_HOST: [&str; 3] = [MESSAGE, TICK, CLOSE];

/// Headers that only HTTP/1 has (RFC 9114, 4.2).
static OF_HTTP1: [HeaderName; 5] = [
    CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    TRANSFER_ENCODING,
    UPGRADE,
];

/// Refuses what cannot be answered; sets `host` to what the client asked for.
pub(super) fn check(options: &HttpOptions, parts: &mut Parts) -> Result<(), Refused> {
    let limit = options.max_header_size;
    let (bytes, longest) = size(parts);
    if bytes > limit || longest > usize::from(u16::MAX) {
        let detail = format!("the request's header has {bytes} bytes, {limit} are allowed");
        return Err(Refused::with(431, Status::MessageTooLarge, detail));
    }
    if parts.method == Method::CONNECT {
        return Err(Refused::method(METHODS, "this server is no proxy"));
    }
    if parts.method == Method::TRACE {
        return Err(Refused::method(METHODS, "this server does not say what it was told"));
    }
    if OF_THE_HOST.contains(&parts.method.as_str()) {
        return Err(Refused::method(METHODS, "this method is one of the server's own"));
    }
    target(parts)?;
    host(parts)?;
    let is_odd = |length: &HeaderValue| !length.as_bytes().iter().all(u8::is_ascii_digit);
    if parts.headers.get_all(CONTENT_LENGTH).iter().any(is_odd)
        || (parts.version >= Version::HTTP_2
            && parts.headers.keys().any(|name| OF_HTTP1.contains(name)))
    {
        return Err(Refused::malformed(400, "the request's length or connection is none"));
    }
    let codings = parts.headers.get_all(TRANSFER_ENCODING);
    let is_known = |coding: &HeaderValue| coding.as_bytes().eq_ignore_ascii_case(b"chunked");
    if codings.iter().count() > 1 || !codings.iter().all(is_known) {
        let detail = "no transfer-encoding but chunked is understood here";
        return Err(Refused::malformed(501, detail));
    }
    let is_met = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"100-continue");
    if !parts.headers.get_all(EXPECT).iter().all(is_met) {
        let detail = "nothing but 100-continue can be expected here";
        return Err(Refused::with(417, Status::BadPacket, detail));
    }
    Ok(())
}

/// Bytes of all, and of the longest value.
fn size(parts: &Parts) -> (usize, usize) {
    let sizes = parts.headers.iter().map(|(n, v)| (n.as_str().len() + v.len() + 4, v.len()));
    let start = parts.uri.path_and_query().map_or(0, |p| p.as_str().len());
    sizes.fold((start, 0), |(sum, longest), (size, value)| (sum + size, longest.max(value)))
}

/// A path, or `*` for OPTIONS; the name of a server alone is for proxies.
fn target(parts: &Parts) -> Result<(), Refused> {
    let path = parts.uri.path();
    let is_path = path.starts_with('/') && parts.uri.path_and_query().is_some();
    if is_path || (path == "*" && parts.method == Method::OPTIONS) {
        return Ok(());
    }
    Err(Refused::malformed(400, "the request's target is no path"))
}

/// One host and a possible one (RFC 9112, 3.2; RFC 9113, 8.3.1). What the target itself
/// names is what counts.
fn host(parts: &mut Parts) -> Result<(), Refused> {
    let mut hosts = parts.headers.get_all(HOST).iter();
    let (host, more) = (hosts.next(), hosts.next().is_some());
    let is_old = parts.version < Version::HTTP_2;
    let authority = parts.uri.authority().map(Authority::as_str);
    let fine = match (host, authority) {
        _ if more => false,
        (None, None) => parts.version < Version::HTTP_11,
        (None, Some(_)) => !is_old || parts.version < Version::HTTP_11,
        (Some(host), None) => is_possible(host),
        (Some(host), Some(named)) => {
            is_possible(host) && (is_old || host.as_bytes().eq_ignore_ascii_case(named.as_bytes()))
        }
    };
    if !fine || authority.is_some_and(|named| named.contains('@')) {
        return Err(Refused::malformed(400, "the request names no host, or not one alone"));
    }
    if let Some(named) = authority
        && let Ok(host) = HeaderValue::from_str(named)
    {
        parts.headers.insert(HOST, host);
    }
    Ok(())
}

fn is_possible(host: &HeaderValue) -> bool {
    let bytes = host.as_bytes();
    bytes.is_empty() || (!bytes.contains(&b'@') && Authority::try_from(bytes).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::Request;

    fn asked(version: Version, target: &str, headers: &[(&str, &str)]) -> Parts {
        let mut request = Request::options(target).version(version);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    fn refused(parts: &mut Parts) -> bool {
        check(&HttpOptions::default(), parts).is_err()
    }

    #[test]
    fn a_request_names_one_host_and_the_target_s_counts() {
        use Version as V;
        let one = ("host", "a");
        for (version, target, headers, fine) in [
            (V::HTTP_11, "/", &[one][..], true),
            (V::HTTP_11, "/", &[("host", "a:80")], true),
            (V::HTTP_11, "/", &[("host", "[::1]:80")], true),
            (V::HTTP_11, "/", &[("host", "")], true),
            (V::HTTP_11, "/", &[], false),
            (V::HTTP_11, "/", &[one, one], false),
            (V::HTTP_11, "/", &[("host", "a b")], false),
            (V::HTTP_11, "/", &[("host", "a/b")], false),
            (V::HTTP_11, "/", &[("host", "u@a")], false),
            (V::HTTP_11, "http://b/", &[one], true),
            (V::HTTP_11, "http://b/", &[], false),
            (V::HTTP_11, "http://u@b/", &[one], false),
            (V::HTTP_10, "/", &[], true),
            (V::HTTP_10, "/", &[one, one], false),
            (V::HTTP_2, "https://b/", &[], true),
            (V::HTTP_2, "https://b/", &[("host", "B")], true),
            (V::HTTP_2, "https://b/", &[one], false),
            (V::HTTP_2, "/", &[], false),
            (V::HTTP_3, "/", &[one], true),
        ] {
            let mut parts = asked(version, target, headers);
            assert_eq!(!refused(&mut parts), fine, "{version:?} {target} {headers:?}");
            if fine && target.contains("//b") {
                assert_eq!(parts.headers[HOST], "b", "{version:?} {headers:?}");
            }
        }
    }

    #[test]
    fn targets_codings_and_expectations_are_known_ones() {
        let of = |target: &str, header: (&str, &str)| {
            refused(&mut asked(Version::HTTP_11, target, &[("host", "a"), header]))
        };
        for (target, header, expected) in [
            ("*", ("a", "b"), false),
            ("a:80", ("a", "b"), true),
            ("/", ("transfer-encoding", "Chunked"), false),
            ("/", ("transfer-encoding", "gzip, chunked"), true),
            ("/", ("transfer-encoding", "chunked, chunked"), true),
            ("/", ("expect", "100-Continue"), false),
            ("/", ("expect", "200-ok"), true),
        ] {
            assert_eq!(of(target, header), expected, "{target} {header:?}");
        }
    }
}
