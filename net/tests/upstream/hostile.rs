//! Services that hang, trickle, break off and flood: each costs its call and no more.

use super::kit::{LONG, Outside, Rig, packet, read_all};
use net::upstream::{Failure, UpstreamOptions};
use proto::Status;
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

const SOON: Duration = Duration::from_millis(300);

fn short(outside: &Outside) -> UpstreamOptions {
    UpstreamOptions { timeout: SOON, ..outside.options() }
}

/// What a call of an upstream with little time comes to; it must take that time and not much more.
fn timed<T>(what: impl FnOnce() -> T) -> T {
    let begun = Instant::now();
    let came = what();
    let took = begun.elapsed();
    assert!(took >= SOON && took < LONG, "{took:?}");
    came
}

#[test]
fn one_that_hangs_is_given_up_in_time() {
    let outside = Outside::new(|mut peer, _| {
        peer.request();
        peer.wait();
    });
    let rig = Rig::new(short(&outside));
    let (status, message) = timed(|| rig.get("/").unwrap_err());
    assert_eq!(status, Status::UpstreamTimeout);
    assert!(message.contains("within 300 ms"), "{message}");
    let stats = rig.stats();
    assert_eq!((stats.in_flight, stats.idle, stats.failed(Failure::Timeout)), (0, 0, 1));
}

#[test]
fn one_that_never_takes_the_request_is_given_up_in_time() {
    let outside = Outside::new(|_peer, _| sleep(LONG));
    let rig = Rig::new(short(&outside));
    let body = vec![b'x'; 64 << 20];
    let packet = packet("POST", "/", &[], &body);
    assert_eq!(timed(|| rig.ask(&packet).unwrap_err().0), Status::UpstreamTimeout);
    assert_eq!(rig.stats().in_flight, 0);
}

#[test]
fn one_that_trickles_has_the_same_time() {
    fn trickle(peer: &mut super::kit::Peer, text: &str) {
        for byte in text.bytes().cycle() {
            if peer.stream.write_all(&[byte]).is_err() {
                return;
            }
            sleep(Duration::from_millis(10));
        }
    }
    // The head, informational heads, the body.
    let outside = Outside::new(|mut peer, _| match &peer.request().unwrap()[..7] {
        "GET /1 " => trickle(&mut peer, "HTTP/1.1 200 OK\r\nx: 1\r\ny: 2\r\nz: 3\r\na: 4\r\n"),
        "GET /2 " => trickle(&mut peer, "HTTP/1.1 103 Early\r\n\r\n"),
        _ => {
            peer.say("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n");
            trickle(&mut peer, "1\r\nx\r\n");
        }
    });
    let rig = Rig::new(short(&outside));
    for target in ["/1", "/2"] {
        let status = timed(|| rig.fails(target));
        assert_eq!(status, Status::UpstreamTimeout, "{target}");
    }
    let answer = timed(|| rig.get("/3").unwrap());
    assert_eq!((answer.status, answer.body), (200, Err(Status::UpstreamTimeout)));
    assert_eq!(rig.stats().failed(Failure::Timeout), 3);
}

#[test]
fn one_that_breaks_off_never_looks_whole() {
    let heads = [
        "",
        "HTTP/1.1 200 OK\r\ncontent-len",
        "HTTP/1.1 200 OK\r\n",
        "not http at all\r\n\r\n",
        "HTTP/1.1 600 High\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 999 High\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 101 Switching\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab",
        "HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n",
        "HTTP/1.1 200 OK\r\na b: c\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\na: b\0c\r\ncontent-length: 0\r\n\r\n",
        "HTTP/2 200\r\n\r\n",
    ];
    for head in heads {
        let outside = Outside::new(move |mut peer, _| {
            peer.request();
            peer.say(head);
        });
        let rig = Rig::new(outside.options());
        assert_eq!(rig.fails("/"), Status::UpstreamBroken, "{head:?}");
        assert_eq!((rig.stats().idle, rig.stats().in_flight), (0, 0));
    }
    let bodies = [
        "content-length: 10\r\n\r\n12345",
        "content-length: 10\r\n\r\n",
        "transfer-encoding: chunked\r\n\r\n5\r\n12345\r\n",
        "transfer-encoding: chunked\r\n\r\n5\r\n123",
        "transfer-encoding: chunked\r\n\r\n5\r\n12345\r\nzz\r\n",
        "transfer-encoding: chunked\r\n\r\nffffffffffffffffff\r\n",
    ];
    for body in bodies {
        let outside = Outside::new(move |mut peer, _| {
            peer.request();
            peer.say(&format!("HTTP/1.1 200 OK\r\n{body}"));
        });
        let rig = Rig::new(outside.options());
        let (_, _, mut arriving) = rig.begin("up", &packet("GET", "/", &[], b""), LONG).unwrap();
        for _ in 0..3 {
            // For good: asking again makes it no better.
            assert_eq!(read_all(&mut arriving), Err(Status::UpstreamBroken), "{body:?}");
        }
        let stats = rig.stats();
        assert_eq!((stats.idle, stats.in_flight, stats.failed(Failure::Broken)), (0, 0, 1));
        assert_eq!(stats.calls(), 1, "it counts once");
    }
}

#[test]
fn a_flood_of_headers_is_cut() {
    for line in ["a: b\r\n", "x"] {
        let sent = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&sent);
        let outside = Outside::new(move |mut peer, _| {
            peer.request();
            peer.say("HTTP/1.1 200 OK\r\n");
            let piece = line.repeat(1000);
            while peer.say(&piece) {
                count.fetch_add(piece.len(), Ordering::SeqCst);
            }
        });
        let rig = Rig::new(outside.options());
        assert_eq!(rig.fails("/"), Status::UpstreamBroken);
        // The kernel's buffers hold some megabytes.
        assert!(sent.load(Ordering::SeqCst) < 32 << 20, "{sent:?} bytes of a head were taken");
    }
    // More than the guest is given, though it can be read.
    let outside = Outside::new(|mut peer, _| {
        peer.request();
        let header = format!("x: {}\r\n", "y".repeat(1000));
        peer.say(&format!("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n{}\r\n", header.repeat(80)));
    });
    assert_eq!(Rig::new(outside.options()).fails("/"), Status::UpstreamTooLarge);
}

#[test]
fn a_flood_of_informational_heads_ends_with_the_time() {
    let outside = Outside::new(|mut peer, _| {
        peer.request();
        while peer.say(&"HTTP/1.1 103 Early\r\n\r\n".repeat(1000)) {}
    });
    let rig = Rig::new(short(&outside));
    assert_eq!(timed(|| rig.fails("/")), Status::UpstreamTimeout);
}

/// One whose body never ends; what it could send stands in the counter.
fn fountain() -> (Outside, Arc<AtomicUsize>) {
    let sent = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&sent);
    let outside = Outside::new(move |mut peer, _| {
        peer.request();
        peer.say("HTTP/1.1 200 OK\r\n\r\n");
        let piece = "0123456789abcdef".repeat(256);
        while peer.say(&piece) {
            count.fetch_add(piece.len(), Ordering::SeqCst);
        }
    });
    (outside, sent)
}

#[test]
fn an_endless_body_ends_at_its_size() {
    let (outside, _) = fountain();
    let rig = Rig::new(UpstreamOptions { max_response_size: 1 << 20, ..outside.options() });
    let (_, _, mut body) = rig.begin("up", &packet("GET", "/", &[], b""), LONG).unwrap();
    let mut out = vec![0; 1 << 20];
    assert_eq!(body.read(&mut out[..1000]), Ok(1000));
    assert_eq!(read_all(&mut body), Err(Status::UpstreamTooLarge));
    assert_eq!(body.read(&mut out), Err(Status::UpstreamTooLarge));
    assert_eq!((rig.stats().in_flight, rig.stats().failed(Failure::TooLarge)), (0, 1));
}

#[test]
fn what_nobody_reads_stays_with_the_upstream() {
    let (outside, sent) = fountain();
    let rig = Rig::new(UpstreamOptions { max_response_size: 1 << 30, ..outside.options() });
    let (_, _, mut body) = rig.begin("up", &packet("GET", "/", &[], b""), LONG).unwrap();
    // It sends until the kernel's buffers are full and our window is.
    let mut before = usize::MAX;
    super::kit::eventually("it waits", || {
        let now = sent.load(Ordering::SeqCst);
        let waits = now == before && now > 0;
        before = now;
        sleep(Duration::from_millis(100));
        waits
    });
    let received = rig.stats().received_bytes;
    assert_eq!(received, 0, "what was not asked for was not taken");
    let stood = sent.load(Ordering::SeqCst);
    assert!(stood < 16 << 20, "{stood} bytes were taken");
    // Read on, it goes on.
    let mut out = vec![0; 1 << 20];
    for _ in 0..32 {
        assert_eq!(body.read(&mut out), Ok(out.len()));
    }
    assert!(sent.load(Ordering::SeqCst) > stood);
    drop(body);
    assert_eq!(rig.stats().in_flight, 0);
}

#[test]
fn an_answer_nobody_asked_for_is_no_answer() {
    // Two answers to one request: the second must not answer the next call.
    let outside = Outside::new(|mut peer, number| {
        while peer.request().is_some() {
            peer.say("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nright");
            if number == 0 {
                peer.say("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nwrong");
            }
        }
    });
    let rig = Rig::new(outside.options());
    for _ in 0..3 {
        assert_eq!(rig.get("/").unwrap().body, Ok("right".to_owned()));
        sleep(Duration::from_millis(50));
    }
}
