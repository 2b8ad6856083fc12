//! Where a call goes: the origin the operator set, and a path of the guest's below it.
//!
//! What must stay true: scheme, host and port come from the operator's URL alone, and so
//! does the beginning of the path. What the guest gives is a path: it begins with `/`, no
//! segment of it, however often it is decoded, is a dot segment or holds a slash, so no
//! upstream can read it as a place outside the operator's path. What a request line cannot
//! carry does not get here.

use hyper::Uri;
use hyper::http::uri::PathAndQuery;
use rustls::pki_types::ServerName;
use std::net::IpAddr;

/// Bytes of a path and query together.
pub(super) const MAX_TARGET: usize = 16 << 10;

/// The operator's URL, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Origin {
    /// Whether TLS is spoken.
    pub(super) tls: bool,
    /// A name, or an address without brackets.
    pub(super) host: String,
    pub(super) port: u16,
    /// What the header `host` says.
    pub(super) authority: String,
    /// Path that all paths are below: empty, or `/a/b` without a slash at its end.
    pub(super) base: String,
}

impl Origin {
    /// Takes a URL apart.
    ///
    /// # Errors
    /// What is wrong with it and what to write; the URL is not repeated, it may hold a key.
    pub(super) fn parse(url: &str) -> Result<Origin, &'static str> {
        if url.contains('#') {
            return Err("has a fragment (#...): leave it out");
        }
        let uri: Uri = url.parse().map_err(|_| "is none: write one like https://host/path")?;
        let tls = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err("must begin with https:// (or http:// within a private network)"),
        };
        let authority = uri.authority().ok_or("has no host: write one like https://host/path")?;
        if authority.as_str().contains('@') {
            return Err("has a user or password in it: put them into secret_headers_file, as a \
                        header `authorization`");
        }
        if uri.query().is_some() {
            return Err("has a query (?...): leave it out, queries are the guest's");
        }
        let host = authority.host();
        let host = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
        if ServerName::try_from(host).is_err() {
            return Err("has a host that is neither a name (in ASCII) nor an address");
        }
        let port = match (authority.port(), tls) {
            (Some(port), _) if port.as_u16() > 0 => port.as_u16(),
            (Some(_), _) => return Err("has the port 0, which nobody listens on"),
            // A colon with nothing, or too much, behind it.
            (None, _) if authority.as_str().len() != authority.host().len() => {
                return Err("has a port that is none: write a number up to 65535");
            }
            (None, true) => 443,
            (None, false) => 80,
        };
        let base = uri.path().trim_end_matches('/');
        if !base.is_empty() {
            check_path(base)?;
        }
        Ok(Origin {
            tls,
            host: host.to_ascii_lowercase(),
            port,
            authority: authority.as_str().to_ascii_lowercase(),
            base: base.to_owned(),
        })
    }

    /// The address, if the host is one.
    pub(super) fn literal(&self) -> Option<IpAddr> {
        self.host.parse().ok()
    }

    /// The guest's path and query below this origin's path.
    ///
    /// # Errors
    /// Why it is not sent.
    pub(super) fn join(&self, target: &str) -> Result<PathAndQuery, &'static str> {
        if self.base.len() + target.len() > MAX_TARGET {
            return Err("is longer than 16 KiB with the upstream's own path");
        }
        let (path, query) = match target.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (target, None),
        };
        check_path(path)?;
        if let Some(query) = query {
            check_query(query)?;
        }
        PathAndQuery::try_from(format!("{}{target}", self.base))
            .map_err(|_| "has a character that a request cannot carry: percent-encode it")
    }
}

/// What may stand in a segment of a path as it is, besides letters and digits.
const SEGMENT: &[u8] = b"-._~!$&'()*+,;=:@";
/// What may not stand in a query though it is visible.
const NOT_IN_QUERY: &[u8] = b"\"#<>\\^`{|}";

fn check_path(path: &str) -> Result<(), &'static str> {
    let Some(rest) = path.strip_prefix('/') else { return Err("does not begin with /") };
    if rest.starts_with('/') {
        return Err("begins with //");
    }
    for segment in rest.split('/') {
        check_escapes(segment.as_bytes())?;
        let plain = |b: &u8| b.is_ascii_alphanumeric() || *b == b'%' || SEGMENT.contains(b);
        if !segment.as_bytes().iter().all(plain) {
            return Err("has a character that a path cannot have: percent-encode it");
        }
        check_segment(segment.as_bytes().to_vec())?;
    }
    Ok(())
}

/// Looks at a segment, at what it decodes to, and so on: who knows how often it is decoded.
fn check_segment(mut segment: Vec<u8>) -> Result<(), &'static str> {
    loop {
        if segment.iter().any(|b| matches!(b, b'/' | b'\\')) {
            return Err("has an encoded slash or backslash in it");
        }
        if segment.iter().any(u8::is_ascii_control) {
            return Err("has an encoded control character in it");
        }
        // Some servers leave out what stands behind a semicolon before they look for dots.
        let name = segment.split(|b| *b == b';').next().unwrap_or_default();
        if matches!(name, b"." | b"..") {
            return Err("has a segment . or .. in it");
        }
        let decoded = decode(&segment);
        if decoded == segment {
            return Ok(());
        }
        segment = decoded;
    }
}

fn check_query(query: &str) -> Result<(), &'static str> {
    check_escapes(query.as_bytes())?;
    match query.bytes().all(|b| b.is_ascii_graphic() && !NOT_IN_QUERY.contains(&b)) {
        true => Ok(()),
        false => Err("has a character in its query that must be percent-encoded"),
    }
}

fn hex(digit: Option<&u8>) -> Option<u8> {
    char::from(*digit?).to_digit(16).and_then(|n| u8::try_from(n).ok())
}

/// The byte that an escape at the front stands for.
fn escape(text: &[u8]) -> Option<u8> {
    match text.first() {
        Some(b'%') => Some(hex(text.get(1))? << 4 | hex(text.get(2))?),
        _ => None,
    }
}

fn check_escapes(text: &[u8]) -> Result<(), &'static str> {
    let starts = |at: &usize| text[*at] == b'%';
    match (0..text.len()).filter(starts).all(|at| escape(&text[at..]).is_some()) {
        true => Ok(()),
        false => Err("has a % that two hexadecimal digits do not follow"),
    }
}

/// Each escape decoded, once; what is none stays. Shorter than `text` if there was one.
fn decode(mut text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    while let Some(first) = text.first() {
        let (byte, len) = escape(text).map_or((*first, 1), |byte| (byte, 3));
        out.push(byte);
        text = &text[len..];
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn origin(url: &str) -> Origin {
        Origin::parse(url).unwrap_or_else(|why| panic!("{url} {why}"))
    }

    #[test]
    fn a_url_is_taken_apart() {
        let of = |url: &str| {
            let origin = origin(url);
            (origin.tls, origin.host, origin.port, origin.authority, origin.base)
        };
        let some = |tls, host: &str, port, authority: &str, base: &str| {
            (tls, host.to_owned(), port, authority.to_owned(), base.to_owned())
        };
        assert_eq!(of("https://API.example"), some(true, "api.example", 443, "api.example", ""));
        assert_eq!(of("https://a.b:8443/v1/"), some(true, "a.b", 8443, "a.b:8443", "/v1"));
        assert_eq!(of("http://127.0.0.1:1/"), some(false, "127.0.0.1", 1, "127.0.0.1:1", ""));
        assert_eq!(of("https://[::1]:9/a/b"), some(true, "::1", 9, "[::1]:9", "/a/b"));
        assert_eq!(origin("https://[::1]").literal(), Some("::1".parse().unwrap()));
        assert_eq!(origin("https://localhost").literal(), None);
    }

    #[test]
    fn a_url_that_says_too_much_or_nothing_is_refused() {
        for (url, why) in [
            ("", "is none"),
            ("here", "must begin"),
            ("/path", "must begin"),
            ("ftp://a", "must begin"),
            ("https://", "is none"),
            ("https://u@a", "user or password"),
            ("https://u:p@a", "user or password"),
            ("https://a#b", "fragment"),
            ("https://a?b", "query"),
            ("https://a:0", "port 0"),
            ("https://a:", "port"),
            ("https://a:65536", "port"),
            ("https://a/../b", ". or .."),
            ("https://a/%2e%2e/b", ". or .."),
            ("https://a//b", "//"),
            ("https://a b", "is none"),
            ("https://a\r\nb", "is none"),
            ("https://-a", "neither a name"),
            ("https://a%41", "is none"),
            ("https://ä", "is none"),
        ] {
            let said = Origin::parse(url).expect_err(url);
            assert!(said.contains(why), "{url:?}: {said}");
        }
    }

    #[test]
    fn a_path_is_put_below_the_origins() {
        for (base, target, joined) in [
            ("", "/", "/"),
            ("", "/a?b=c", "/a?b=c"),
            ("/v1", "/", "/v1/"),
            ("/v1/", "/users/7", "/v1/users/7"),
            ("/v1", "/a//b/", "/v1/a//b/"),
            ("/v1", "/a%20b/%C3%A9", "/v1/a%20b/%C3%A9"),
            ("/v1", "/...", "/v1/..."),
            ("/v1", "/a;b=c/.hidden/~x:@!$&'()*+,", "/v1/a;b=c/.hidden/~x:@!$&'()*+,"),
            ("/v1", "/?", "/v1/?"),
            ("/v1", "/?a=../..&b=/%2F%0D%0A?c[]=1", "/v1/?a=../..&b=/%2F%0D%0A?c[]=1"),
        ] {
            let origin = origin(&format!("https://h{base}"));
            assert_eq!(origin.join(target).unwrap().as_str(), joined);
        }
    }

    #[test]
    fn a_path_out_of_it_or_no_path_is_refused() {
        let origin = origin("https://h/v1");
        for target in [
            "",
            "a",
            "*",
            "?a",
            "//evil.example/",
            "//",
            "@evil",
            ":80/",
            "http://evil/",
            "\\a",
            "/a\\b",
            "/..",
            "/../a",
            "/a/..",
            "/a/../b",
            "/.",
            "/a/./b",
            "/%2e%2e/a",
            "/.%2E/a",
            "/%2e",
            "/a%2fb",
            "/a%2Fb",
            "/a%5cb",
            "/a%00",
            "/a%0d%0aB",
            "/a%7f",
            "/%252e%252e/a",
            "/%25252e%25252e",
            "/a%252fb",
            "/%25%32%65%2e",
            "/..;a/b",
            "/%2e%2e;a",
            "/..%3ba",
            "/a b",
            "/a\r\nX: y",
            "/a\nb",
            "/a\tb",
            "/a\0",
            "/a#b",
            "/a?b#c",
            "/a?b c",
            "/a?b\r\nX: y",
            "/a?\0",
            "/a%",
            "/a%2",
            "/a%zz",
            "/a?%g1",
            "/ä",
            "/a?ä",
            "/a\"",
            "/<a>",
            "/a|b",
            "/a^b",
            "/a`b",
            "/{a}",
        ] {
            assert!(origin.join(target).is_err(), "{target:?} must be refused");
        }
    }

    #[test]
    fn a_target_may_be_as_long_as_its_bound() {
        let origin = origin("https://h/v1");
        let longest = format!("/{}", "a".repeat(MAX_TARGET - 4));
        assert!(origin.join(&longest).is_ok());
        assert!(origin.join(&format!("{longest}a")).is_err());
    }

    proptest! {
        #[test]
        fn whatever_is_joined_stays_below(target in "[/.%25eEfFcC0-9;?a\\\\]{0,24}") {
            let origin = origin("https://h/v1");
            if let Ok(joined) = origin.join(&target) {
                let path = joined.path();
                prop_assert!(path.starts_with("/v1/"));
                let mut path = path.as_bytes().to_vec();
                for _ in 0..10 {
                    let text = String::from_utf8_lossy(&path).into_owned();
                    prop_assert!(!text.split('/').any(|part| matches!(part, "." | "..")), "{text}");
                    prop_assert!(!text.contains('\\'));
                    path = decode(&path);
                }
            }
        }

        #[test]
        fn any_text_is_joined_or_refused(target in "\\PC{0,40}") {
            let origin = origin("https://h/v1");
            if let Ok(joined) = origin.join(&target) {
                prop_assert_eq!(joined.as_str(), format!("/v1{target}"));
            }
        }
    }
}
