//! Calls of services outside: what is sent, what comes back, what is used again.
//!
//! The other files: whom a call reaches (`addresses.rs`), services that mean no good
//! (`hostile.rs`), each limit at its edge (`limits.rs`), TLS and secrets (`secrets.rs`).

#![allow(clippy::unwrap_used)] // a test that cannot go on fails

mod addresses;
#[path = "../common/mod.rs"]
mod common;
mod hostile;
mod kit;
mod limits;
mod secrets;

use kit::{LONG, Outside, Rig, packet, read_all};
use net::upstream::{Circuit, Failure, UpstreamOptions};
use proto::Status;

#[test]
fn a_call_is_sent_as_it_was_meant_and_answered() {
    let outside = Outside::answering(
        "HTTP/1.1 201 Created\r\ncontent-length: 5\r\nX-Here: a\r\nconnection: keep-alive\r\n\r\nhello",
    );
    let url = format!("http://{}/v1/", outside.address);
    let headers = vec![("x-tenant".to_owned(), "us".to_owned())];
    let rig = Rig::new(UpstreamOptions { url, headers, ..outside.options() });
    let headers: &[(&str, &[u8])] = &[("Accept", b"*/*"), ("x-tenant", b"them"), ("host", b"evil")];
    let answer = rig.ask(&packet("POST", "/users/7?a=b", headers, b"body")).unwrap();
    assert_eq!((answer.status, answer.body), (201, Ok("hello".to_owned())));
    let here: Vec<_> = answer.headers.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
    assert_eq!(here, [("content-length", "5"), ("x-here", "a")]);
    let requests = outside.requests();
    let (head, body) = requests[0].split_once("\r\n\r\n").unwrap();
    let mut lines: Vec<_> = head.lines().collect();
    assert_eq!((lines.remove(0), body), ("POST /v1/users/7?a=b HTTP/1.1", "body"));
    lines.sort_unstable();
    let host = format!("host: {}", outside.address);
    let expected =
        ["accept: */*", "content-length: 4", &host, "user-agent: planck", "x-tenant: us"];
    assert_eq!(lines, expected);
}

#[test]
fn every_method_goes_and_an_answer_without_a_body_has_none() {
    let outside = Outside::new(|mut peer, _| {
        while let Some(request) = peer.request() {
            let no_body = request.starts_with("HEAD");
            peer.say("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n");
            if !no_body {
                peer.say("yes");
            }
        }
    });
    let rig = Rig::new(outside.options());
    for method in ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"] {
        let answer = rig.ask(&packet(method, "/", &[], b"")).unwrap();
        let body = if method == "HEAD" { "" } else { "yes" };
        assert_eq!((answer.status, answer.body), (200, Ok(body.to_owned())), "{method}");
    }
    assert_eq!((outside.requests().len(), outside.connections()), (7, 1));
    for method in ["CONNECT", "TRACE", "TRACK", "get", "", "GET ", "G\r\nET"] {
        let (status, message) = rig.ask(&packet(method, "/", &[], b"")).unwrap_err();
        assert_eq!(status, Status::BadUpstreamCall, "{method:?}");
        assert!(message.contains("has another method"), "{message}");
    }
    assert_eq!(outside.requests().len(), 7);
}

#[test]
fn a_connection_serves_one_call_after_the_other() {
    let outside = Outside::answering("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
    let rig = Rig::new(outside.options());
    for _ in 0..5 {
        assert_eq!(rig.get("/").unwrap().body, Ok("ok".to_owned()));
    }
    let stats = rig.stats();
    assert_eq!((outside.connections(), stats.connections, stats.idle), (1, 1, 1));
    // What is left of an answer is not taken for the next one.
    drop(rig.begin("up", &packet("GET", "/", &[], b""), LONG).unwrap());
    assert_eq!(rig.get("/").unwrap().body, Ok("ok".to_owned()));
    assert_eq!((outside.connections(), rig.stats().idle), (2, 1));
}

#[test]
fn a_connection_that_says_close_is_not_used_again() {
    let outside = Outside::new(|mut peer, _| {
        peer.request();
        peer.say("HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok");
    });
    let rig = Rig::new(outside.options());
    for _ in 0..3 {
        assert_eq!(rig.get("/").unwrap().body, Ok("ok".to_owned()));
    }
    assert_eq!((outside.connections(), rig.stats().idle), (3, 0));
}

#[test]
fn an_idle_connection_that_breaks_repeats_what_reads_and_nothing_else() {
    // Each connection answers once; the next request is read, and the connection closed.
    let outside = Outside::new(|mut peer, _| {
        peer.request();
        peer.say("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
        peer.request();
    });
    let rig = Rig::new(outside.options());
    assert_eq!(rig.get("/1").unwrap().body, Ok("ok".to_owned()));
    assert_eq!(rig.get("/2").unwrap().body, Ok("ok".to_owned()), "sent again");
    let (status, _) = rig.ask(&packet("POST", "/3", &[], b"x")).unwrap_err();
    assert_eq!(status, Status::UpstreamBroken);
    let lines: Vec<_> = outside.requests().iter().map(|r| r[..7].to_owned()).collect();
    assert_eq!(lines, ["GET /1 ", "GET /2 ", "GET /2 ", "POST /3"]);
}

#[test]
fn who_is_not_on_the_list_is_not_called() {
    let outside = Outside::answering("HTTP/1.1 204 No Content\r\n\r\n");
    let rig = Rig::new(outside.options());
    for name in ["", "Up", "up ", "up\0", "http://127.0.0.1", "other\r\nx"] {
        let (status, message) = rig.begin(name, &packet("GET", "/", &[], b""), LONG).err().unwrap();
        assert_eq!(status, Status::NoSuchUpstream);
        assert!(message.contains("not on the allowlist") && !message.contains('\n'), "{message}");
    }
    assert_eq!(outside.connections(), 0);
    assert_eq!(rig.get("/").unwrap().status, 204);
}

#[test]
fn a_redirect_is_an_answer_and_nobody_follows_it() {
    for location in ["http://169.254.169.254/latest/meta-data/", "/elsewhere", "//evil.example/"] {
        let answer =
            format!("HTTP/1.1 302 Found\r\nlocation: {location}\r\ncontent-length: 0\r\n\r\n");
        let outside = Outside::answering(answer.leak());
        let resolver = kit::Script::new(&[&["127.0.0.1"]]);
        let url = format!("http://up.example:{}", outside.address.port());
        let options = UpstreamOptions { url, ..outside.options() };
        let rig = Rig::with(vec![options], 9, resolver.clone());
        let answer = rig.get("/").unwrap();
        assert_eq!((answer.status, answer.body), (302, Ok(String::new())));
        assert!(answer.headers.contains(&("location".to_owned(), location.to_owned())));
        assert_eq!(
            (outside.requests().len(), resolver.asked()),
            (1, vec!["up.example".to_owned()])
        );
    }
}

#[test]
fn a_line_break_in_any_field_is_refused_before_anything_is_sent() {
    let outside = Outside::answering("HTTP/1.1 204 No Content\r\n\r\n");
    let rig = Rig::new(outside.options());
    for end in ["\r\n", "\n", "\r", "\0"] {
        let text = format!("a{end}x-evil: 1");
        let target = format!("/{text}");
        let query = format!("/?{text}");
        let mut peered = Vec::new();
        proto::http::write_request(&mut peered, "GET", "/", &text, &Default::default(), b"");
        for packet in [
            packet(&text, "/", &[], b""),
            packet("GET", &target, &[], b""),
            packet("GET", &query, &[], b""),
            packet("GET", "/", &[(&text, b"b")], b""),
            packet("GET", "/", &[("a", text.as_bytes())], b""),
            packet("GET", "/", &[("host", text.as_bytes())], b""),
            packet("GET", "/", &[("connection", text.as_bytes())], b""),
            peered,
        ] {
            let (status, message) = rig.ask(&packet).unwrap_err();
            assert_eq!(status, Status::BadUpstreamCall, "{message}");
            assert!(!message.contains(['\r', '\n', '\0']), "{message}");
        }
        assert_eq!(
            rig.begin(&text, &packet("GET", "/", &[], b""), LONG).err().unwrap().0,
            Status::NoSuchUpstream
        );
    }
    // A packet that is none of any kind.
    for cut in 0..8 {
        let whole = packet("GET", "/", &[("a", b"b")], b"");
        assert_eq!(rig.ask(&whole[..cut]).unwrap_err().0, Status::BadUpstreamCall);
    }
    assert_eq!(outside.connections(), 0);
    assert_eq!(
        rig.stats().circuit,
        Circuit::Closed,
        "what a guest does wrong is not the upstream's"
    );
    assert_eq!(rig.stats().failed(Failure::BadCall), 4 * 8 + 8);
    assert_eq!(rig.get("/").unwrap().status, 204);
}

#[test]
fn what_became_of_calls_is_counted() {
    let outside = Outside::new(|mut peer, _| {
        while let Some(request) = peer.request() {
            let status = request.split(['/', ' ']).nth(2).unwrap();
            if status == "999" {
                return;
            }
            peer.say(&format!("HTTP/1.1 {status} X\r\ncontent-length: 4\r\n\r\nbody"));
        }
    });
    let rig = Rig::new(outside.options());
    for status in ["200", "299", "302", "404", "404", "500"] {
        rig.ask(&packet("POST", &format!("/{status}"), &[], b"12345")).unwrap();
    }
    rig.ask(&packet("POST", "/999", &[], b"")).unwrap_err();
    let (_, _, mut body) = rig.begin("up", &packet("GET", "/200", &[], b""), LONG).unwrap();
    let stats = rig.stats();
    assert_eq!((stats.in_flight, stats.responses, stats.calls()), (1, [2, 1, 2, 1], 7));
    assert_eq!(read_all(&mut body), Ok("body".to_owned()));
    let stats = rig.stats();
    assert_eq!((stats.name.as_str(), stats.in_flight, stats.waiting), ("up", 0, 0));
    assert_eq!((stats.responses, stats.failed(Failure::Broken)), ([3, 1, 2, 1], 1));
    assert_eq!((stats.sent_bytes, stats.received_bytes), (6 * 5, 7 * 4));
    assert_eq!((stats.latency.count(), stats.connections, stats.idle), (7, 2, 1));
}
