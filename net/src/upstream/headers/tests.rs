//! Whose word counts, and what is kept to oneself.

use super::*;
use proto::http::{HttpRequest, write_request};
use std::fs;

fn fixed() -> Fixed {
    let secret = SecretHeaders::parse("# the key\n\nAuthorization: Bearer canary\n").unwrap();
    Fixed::new(&[("X-Tenant".to_owned(), "us".to_owned())], &secret).unwrap()
}

/// What a call with these headers of a guest sends.
fn sent(headers: &[(&str, &[u8])]) -> Result<Vec<(String, String)>, String> {
    let mut given = HeadersBuf::new();
    for (name, value) in headers {
        assert!(given.push(name, value));
    }
    let mut bytes = Vec::new();
    write_request(&mut bytes, "GET", "/", "", &given, b"");
    let request = HttpRequest::decode(&bytes).unwrap();
    let all = fixed().call(&HeaderValue::from_static("host.example"), request.headers)?;
    let text = |v: &HeaderValue| String::from_utf8_lossy(v.as_bytes()).into_owned();
    Ok(all.iter().map(|(n, v)| (n.as_str().to_owned(), text(v))).collect())
}

#[test]
fn what_is_ours_or_the_operators_is_not_the_guests() {
    let all = sent(&[
        ("accept", b"a/b"),
        ("accept", b"c/d"),
        ("Authorization", b"mine"),
        ("X-TENANT", b"them"),
        ("Host", b"evil.example"),
        ("content-length", b"0"),
        ("Transfer-Encoding", b"chunked"),
        ("connection", b"close, X-Hop, authorization"),
        ("x-hop", b"1"),
        ("keep-alive", b"1"),
        ("te", b"trailers"),
        ("trailer", b"a"),
        ("upgrade", b"websocket"),
        ("expect", b"100-continue"),
        ("proxy-authorization", b"mine"),
        ("proxy-connection", b"close"),
        ("http2-settings", b"a"),
    ])
    .unwrap();
    let mut all: Vec<_> = all.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
    all.sort_unstable();
    assert_eq!(
        all,
        [
            ("accept", "a/b"),
            ("accept", "c/d"),
            ("authorization", "Bearer canary"),
            ("host", "host.example"),
            ("user-agent", "planck"),
            ("x-tenant", "us"),
        ]
    );
}

#[test]
fn a_name_or_value_that_ends_a_header_is_refused() {
    for (name, value) in [
        ("a\r\nb", &b"c"[..]),
        ("a b", b"c"),
        ("a:", b"c"),
        ("", b"c"),
        ("a\0", b"c"),
        ("\u{e9}", b"c"),
        ("a", b"b\r\nc: d"),
        ("a", b"b\n"),
        ("a", b"\r"),
        ("a", b"\0"),
        ("a", b"\x7f"),
        ("connection", b"a\r\nb"),
        ("host", b"a\r\nb"),
    ] {
        let said = sent(&[(name, value)]).expect_err(name);
        assert!(said.contains("has a header"), "{said}");
        assert!(!said.contains(['\r', '\n', '\0']), "{said}");
    }
    assert!(sent(&[("a", b"b\tc \xe9")]).is_ok());
}

#[test]
fn headers_of_a_call_are_bounded_in_number_and_bytes() {
    let many = vec![("a", &b"b"[..]); MAX_HEADERS / 2];
    assert!(sent(&many).is_ok());
    assert!(sent(&[&many[..], &[("a", b"b")]].concat()).is_err());
    let long = vec![b'x'; MAX_HEADER_BYTES / 2 - 1];
    assert!(sent(&[("a", &long)]).is_ok());
    assert!(sent(&[("ab", &long)]).is_err());
}

#[test]
fn an_answer_loses_what_is_of_the_connection_or_the_operators() {
    let mut given = HeaderMap::new();
    for (name, value) in [
        ("content-type", "a/b"),
        ("content-length", "7"),
        ("set-cookie", "a"),
        ("set-cookie", "b"),
        ("connection", "x-hop"),
        ("x-hop", "1"),
        ("transfer-encoding", "chunked"),
        ("authorization", "Bearer canary"),
        ("x-tenant", "us"),
    ] {
        given.append(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    let out = fixed().answer(&given).unwrap();
    let mut bytes = Vec::new();
    proto::http::write_response(&mut bytes, 200, &out, b"");
    let read = proto::http::HttpResponse::decode(&bytes).unwrap();
    let names: Vec<_> = read.headers.iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["content-type", "content-length", "set-cookie", "set-cookie"]);
}

#[test]
fn headers_of_an_answer_are_bounded() {
    let mut given = HeaderMap::new();
    for _ in 0..MAX_HEADERS {
        given.append("a", HeaderValue::from_static("b"));
    }
    assert!(fixed().answer(&given).is_some());
    given.append("a", HeaderValue::from_static("b"));
    assert!(fixed().answer(&given).is_none());
}

#[test]
fn a_file_of_secrets_is_its_owners_alone_and_never_repeated() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("secret");
    let write = |text: &str, mode| {
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        SecretHeaders::read(&path)
    };
    for mode in [0o600, 0o400] {
        let read = write("authorization: Bearer canary\n", mode).unwrap();
        assert_eq!(
            format!("{read:?} {:?}", read.0),
            "SecretHeaders(1) [(\"authorization\", Sensitive)]"
        );
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    }
    for mode in [0o640, 0o604, 0o620, 0o602, 0o601, 0o644] {
        let said = write("authorization: Bearer canary\n", mode).unwrap_err();
        assert!(said.contains("chmod 600") && !said.contains("canary"), "{said}");
    }
    for text in ["canary", "canary: a\u{1}b", "x canary: a", "host: canary", "Content-Length: 1"] {
        let said = write(text, 0o600).unwrap_err();
        assert!(
            said.contains("line 1") && !said.contains("canary:") && !said.contains("a\u{1}b"),
            "{said}"
        );
    }
    let longest = format!("a: {}", "x".repeat(MAX_FILE as usize - 3));
    assert!(write(&longest, 0o600).is_ok());
    assert!(write(&format!("{longest}x"), 0o600).unwrap_err().contains("larger"));
    assert!(SecretHeaders::read(dir.path()).unwrap_err().contains("no file"));
    assert!(SecretHeaders::read(&dir.path().join("none")).unwrap_err().contains("cannot be read"));
}

#[test]
fn the_operators_headers_are_checked() {
    let none = SecretHeaders::default();
    let of = |name: &str, value: &str| Fixed::new(&[(name.to_owned(), value.to_owned())], &none);
    assert!(of("x-a", "b").is_ok());
    for (name, value) in [("a b", "c"), ("a", "b\r\nc"), ("Host", "a"), ("connection", "close")] {
        let said = of(name, value).unwrap_err();
        assert!(said.starts_with("headers: `") && !said.contains('\n'), "{said}");
    }
    let secret = SecretHeaders::parse("A: b").unwrap();
    assert!(
        Fixed::new(&[("a".to_owned(), "c".to_owned())], &secret).unwrap_err().contains("twice")
    );
}
