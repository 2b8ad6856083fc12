//! What clients of the HTTP listener say, and what guests give back.

use super::Seeds;
use proto::http::{HeadersBuf, write_response};

/// What a guest gives back.
fn answer(status: u16, headers: &[(&str, &str)], body: &str) -> Vec<u8> {
    let mut all = HeadersBuf::new();
    assert!(headers.iter().all(|(name, value)| all.push(name, value.as_bytes())));
    let mut out = Vec::new();
    write_response(&mut out, status, &all, body.as_bytes());
    out
}

/// Pieces of `4 * piece` bytes.
fn input(piece: u8, guest: &[u8], said: &[u8]) -> Vec<u8> {
    let len = u16::try_from(guest.len()).expect("a small answer").to_le_bytes();
    [&[piece][..], &len, guest, said].concat()
}

/// A frame of HTTP/2: its type, flags, stream and payload.
fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
    let len = u8::try_from(payload.len()).expect("a small frame");
    [&[0, 0, len, kind, flags, 0, 0, 0, stream][..], payload].concat()
}

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Compressed: GET, http, `/`, and `h` as the authority.
const HEAD: &[u8] = &[0x82, 0x86, 0x84, 0x41, 1, b'h'];

pub(super) fn make(seeds: &mut Seeds) {
    let good = answer(200, &[("content-type", "text/plain"), ("x", "y")], "hello");
    let mut add = |name: &str, guest: &[u8], said: &[u8]| {
        seeds.add("web", name, input(64, guest, said));
    };
    for (name, said) in [
        ("get", "GET / HTTP/1.1\r\nhost: h\r\n\r\n"),
        (
            "get-path",
            "GET /a/b%20c.html?from=JFK&to=%41 HTTP/1.1\r\nhost: h\r\naccept: */*\r\n\r\n",
        ),
        ("get-out", "GET /a/%2e%2e/b HTTP/1.1\r\nhost: h\r\n\r\n"),
        ("get-absolute", "GET http://other/a HTTP/1.1\r\nhost: h\r\n\r\n"),
        ("head", "HEAD /a HTTP/1.1\r\nhost: h\r\n\r\n"),
        ("options", "OPTIONS * HTTP/1.1\r\nhost: h\r\n\r\n"),
        ("connect", "CONNECT other:80 HTTP/1.1\r\nhost: h\r\n\r\n"),
        ("post", "POST /a HTTP/1.1\r\nhost: h\r\ncontent-length: 5\r\n\r\nhello"),
        (
            "chunks",
            "POST / HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nt: u\r\n\r\n",
        ),
        (
            "chunk-too-long",
            "POST / HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\nffffffffffffffff\r\nabc",
        ),
        (
            "both-lengths",
            "POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nhost: h\r\n\r\n",
        ),
        (
            "two-lengths",
            "POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello!",
        ),
        (
            "goes-on",
            "POST / HTTP/1.1\r\nhost: h\r\nexpect: 100-continue\r\ncontent-length: 5\r\n\r\nhello",
        ),
        (
            "too-long-to-go-on",
            "POST / HTTP/1.1\r\nhost: h\r\nexpect: 100-continue\r\ncontent-length: 601\r\n\r\n",
        ),
        (
            "of-the-connection",
            "GET / HTTP/1.1\r\nhost: h\r\nte: trailers\r\nx-a: b\r\nconnection: keep-alive, x-a\r\ncookie: a=1\r\ncookie: b=2\r\n\r\n",
        ),
        (
            "upgrade",
            "GET / HTTP/1.1\r\nhost: h\r\nconnection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABkAAQAAP__\r\n\r\n",
        ),
        (
            "pipelined",
            "GET /1 HTTP/1.1\r\nhost: h\r\n\r\nGET /2 HTTP/1.1\r\nhost: h\r\n\r\nGET /3 HTTP/1.0\r\n\r\n",
        ),
        ("half", "GET / HTTP/1.1\r\nhost: h\r\nx: "),
        ("garbage", "\x16\x03\x01\x02\r\n\r\n"),
        ("bare-newlines", "GET / HTTP/1.1\nhost: h\n\n"),
        ("no-host", "GET / HTTP/1.1\r\n\r\n"),
        ("folded", "GET / HTTP/1.1\r\nhost: h\r\nx: a\r\n b\r\n\r\n"),
    ] {
        add(name, &good, said.as_bytes());
    }
    for (name, bytes) in [("body-of-the-limit", 600), ("body-over-the-limit", 601)] {
        let head = format!("POST / HTTP/1.1\r\nhost: h\r\ncontent-length: {bytes}\r\n\r\n");
        add(name, &good, (head + &"x".repeat(bytes)).as_bytes());
    }
    // The target, and what `host: h` comes to.
    for (name, bytes) in
        [("head-of-the-limit", 512 - 1 - 9 - 5), ("head-over-the-limit", 512 - 1 - 9 - 4)]
    {
        let said = format!("GET / HTTP/1.1\r\nhost: h\r\nx: {}\r\n\r\n", "y".repeat(bytes));
        add(name, &good, said.as_bytes());
    }
    let get = b"GET / HTTP/1.1\r\nhost: h\r\n\r\n";
    for (name, guest) in [
        ("no-content", answer(204, &[], "")),
        ("no-content-with-one", answer(204, &[], "x")),
        ("not-modified", answer(304, &[("etag", "\"a\"")], "")),
        ("not-found", answer(404, &[("content-type", "text/plain")], "no")),
        ("status-too-low", answer(101, &[], "")),
        ("status-too-high", answer(600, &[], "")),
        ("splits", answer(200, &[("a", "b\r\nset-cookie: c")], "x")),
        ("bad-name", answer(200, &[("a b", "c")], "x")),
        (
            "own-length",
            answer(200, &[("content-length", "9999"), ("transfer-encoding", "chunked")], "x"),
        ),
        ("cut", answer(200, &[("a", "b")], "")[..4].to_vec()),
        ("none", Vec::new()),
    ] {
        add(&format!("guest-{name}"), &guest, get);
    }
    add(
        "guest-length-to-head",
        &answer(200, &[("content-length", "77")], ""),
        b"HEAD / HTTP/1.1\r\nhost: h\r\n\r\n",
    );
    let open = [PREFACE, &frame(4, 0, 0, &[])].concat();
    let mut two = |name: &str, frames: &[Vec<u8>]| {
        add(&format!("h2-{name}"), &good, &[&open[..], &frames.concat()].concat());
    };
    two("nothing", &[]);
    two("get", &[frame(1, 5, 1, HEAD)]);
    two("two", &[frame(1, 5, 1, HEAD), frame(1, 5, 3, HEAD)]);
    two(
        "body",
        &[
            frame(1, 4, 1, &[&[0x83, 0x86, 0x84, 0x41, 1, b'h'][..]].concat()),
            frame(0, 1, 1, b"hello"),
        ],
    );
    two("reset", &[frame(1, 4, 1, HEAD), frame(3, 0, 1, &[0, 0, 0, 8])]);
    two("ping", &[frame(6, 0, 0, b"12345678")]);
    two("settings-too-short", &[frame(4, 0, 0, &[0, 3, 0])]);
    two("stream-of-ours", &[frame(1, 5, 2, HEAD)]);
    two("too-many", &[1, 3, 5, 7, 9, 11].map(|stream| frame(1, 4, stream, HEAD)));
    two("bad-compression", &[frame(1, 5, 1, &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff])]);
    let mut slow = |name: &str, said: &[u8]| seeds.add("web", name, input(0, &good, said));
    slow("byte-by-byte", b"POST /a HTTP/1.1\r\nhost: h\r\ncontent-length: 5\r\n\r\nhello");
    slow("h2-byte-by-byte", &[&open[..], &frame(1, 5, 1, HEAD)].concat());
}
