//! Each limit of a call at its edge: the last that is taken, the first that is not, and the
//! next honest call behind it.

use super::kit::{LONG, Outside, Rig, Script, eventually, packet, read_all};
use net::upstream::{BreakerOptions, Circuit, Failure, UpstreamOptions};
use proto::Status;
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// A door that holds answers back until it is opened.
#[derive(Default)]
struct Door(Mutex<bool>, Condvar);

impl Door {
    fn open(&self) {
        *self.0.lock().unwrap() = true;
        self.1.notify_all();
    }

    fn pass(&self) {
        let mut open = self.0.lock().unwrap();
        while !*open {
            open = self.1.wait(open).unwrap();
        }
    }
}

/// One that answers once the door is open.
fn behind(door: &Arc<Door>) -> Outside {
    let door = Arc::clone(door);
    Outside::new(move |mut peer, _| {
        while peer.request().is_some() {
            door.pass();
            peer.say(OK);
        }
    })
}

#[test]
fn as_many_calls_of_an_upstream_as_the_limit_are_in_flight() {
    let door = Arc::default();
    let outside = behind(&door);
    let rig = Rig::new(UpstreamOptions { max_in_flight: 2, ..outside.options() });
    thread::scope(|scope| {
        let calls: Vec<_> = (0..3).map(|_| scope.spawn(|| rig.get("/").unwrap().body)).collect();
        eventually("two are in flight and one waits", || {
            let stats = rig.stats();
            (stats.in_flight, stats.waiting, outside.requests().len()) == (2, 1, 2)
        });
        // One with little time does not wait longer than that.
        let hurried = rig.begin("up", &packet("GET", "/", &[], b""), Duration::from_millis(100));
        let (status, message) = hurried.err().unwrap();
        assert_eq!(status, Status::UpstreamBusy);
        assert!(message.contains("2 calls of it run"), "{message}");
        assert_eq!(outside.requests().len(), 2, "it was not sent");
        door.open();
        for call in calls {
            assert_eq!(call.join().unwrap(), Ok("ok".to_owned()));
        }
    });
    let stats = rig.stats();
    assert_eq!((stats.in_flight, stats.waiting, stats.connections), (0, 0, 2));
    assert_eq!((stats.failed(Failure::Busy), stats.circuit), (1, Circuit::Closed));
}

#[test]
fn a_body_that_is_not_read_yet_keeps_its_place() {
    let outside = Outside::answering(OK);
    let rig = Rig::new(UpstreamOptions { max_in_flight: 1, ..outside.options() });
    let (_, _, mut body) = rig.begin("up", &packet("GET", "/", &[], b""), LONG).unwrap();
    let hurried = rig.begin("up", &packet("GET", "/", &[], b""), Duration::from_millis(50));
    assert_eq!(hurried.err().unwrap().0, Status::UpstreamBusy);
    // Its last byte gives the place back, though its end was not asked for.
    assert_eq!(body.read(&mut [0; 2]), Ok(2));
    assert_eq!(rig.get("/").unwrap().body, Ok("ok".to_owned()));
    assert_eq!(body.read(&mut [0; 2]), Ok(0));
}

#[test]
fn as_many_calls_of_all_upstreams_as_the_limit_run_and_one_more_is_told_at_once() {
    let door = Arc::default();
    let (held, free) = (behind(&door), Outside::answering(OK));
    let other = UpstreamOptions { name: "other".to_owned(), ..free.options() };
    let rig = Rig::with(vec![held.options(), other], 2, Script::new(&[]));
    thread::scope(|scope| {
        let calls: Vec<_> = (0..2).map(|_| scope.spawn(|| rig.get("/").unwrap().body)).collect();
        eventually("both are sent", || held.requests().len() == 2);
        let begun = Instant::now();
        let more = rig.begin("other", &packet("GET", "/", &[], b""), LONG);
        let (status, message) = more.err().unwrap();
        assert_eq!(status, Status::UpstreamBusy);
        assert!(message.contains("2 calls of upstreams run"), "{message}");
        assert!(begun.elapsed() < LONG / 2);
        door.open();
        for call in calls {
            assert_eq!(call.join().unwrap(), Ok("ok".to_owned()));
        }
    });
    let (_, _, mut body) = rig.begin("other", &packet("GET", "/", &[], b""), LONG).unwrap();
    assert_eq!((read_all(&mut body), free.connections()), (Ok("ok".to_owned()), 1));
}

#[test]
fn a_body_may_be_as_large_as_the_limit() {
    let outside = Outside::new(|mut peer, _| {
        while let Some(request) = peer.request() {
            let size: usize = request[6..10].parse().unwrap();
            let body = "x".repeat(size);
            match &request[5..6] {
                "l" => peer.say(&format!("HTTP/1.1 200 OK\r\ncontent-length: {size}\r\n\r\n{body}")),
                _ => peer.say(&format!(
                    "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{size:x}\r\n{body}\r\n0\r\n\r\n"
                )),
            };
        }
    });
    let rig = Rig::new(UpstreamOptions { max_response_size: 2000, ..outside.options() });
    for target in ["/l2000", "/c2000"] {
        assert_eq!(rig.get(target).unwrap().body, Ok("x".repeat(2000)), "{target}");
    }
    // A length that is told is refused at once.
    assert_eq!(rig.fails("/l2001"), Status::UpstreamTooLarge);
    assert_eq!(rig.get("/c2001").unwrap().body, Err(Status::UpstreamTooLarge));
    assert_eq!(rig.get("/l2000").unwrap().body, Ok("x".repeat(2000)));
    assert_eq!((rig.stats().failed(Failure::TooLarge), rig.stats().circuit), (2, Circuit::Closed));
}

#[test]
fn a_call_has_the_time_of_the_upstream_or_what_the_guest_has_left() {
    let outside = Outside::new(|mut peer, _| {
        while let Some(request) = peer.request() {
            let millis = request[5..8].parse().unwrap();
            thread::sleep(Duration::from_millis(millis));
            peer.say(OK);
        }
    });
    let rig =
        Rig::new(UpstreamOptions { timeout: Duration::from_millis(600), ..outside.options() });
    let ask = |target: &str, patience| {
        rig.begin("up", &packet("GET", target, &[], b""), patience).map(|_| ()).map_err(|e| e.0)
    };
    assert_eq!(ask("/100", LONG), Ok(()));
    assert_eq!(ask("/900", LONG), Err(Status::UpstreamTimeout));
    assert_eq!(ask("/500", Duration::from_millis(200)), Err(Status::UpstreamTimeout));
    assert_eq!(ask("/000", Duration::ZERO), Err(Status::UpstreamTimeout));
    assert_eq!(ask("/100", LONG), Ok(()));
}

/// An upstream that answers with the status in the path.
fn statuses() -> Outside {
    Outside::new(|mut peer, _| {
        while let Some(request) = peer.request() {
            peer.say(&format!("HTTP/1.1 {} X\r\ncontent-length: 0\r\n\r\n", &request[5..8]));
        }
    })
}

#[test]
fn a_circuit_opens_tries_and_closes() {
    let outside = statuses();
    let breaker = BreakerOptions {
        failure_threshold: 3,
        success_threshold: 2,
        open_duration: Duration::from_millis(500),
    };
    let rig = Rig::new(UpstreamOptions { breaker, ..outside.options() });
    for target in ["/502", "/503", "/200", "/504", "/500", "/502", "/502"] {
        rig.get(target).unwrap();
    }
    assert_eq!(rig.stats().circuit, Circuit::Closed, "a success and a 500 were between");
    rig.get("/502").unwrap();
    assert_eq!((rig.stats().circuit, rig.stats().opened), (Circuit::Open, 1));
    let sent = outside.requests().len();
    let (status, message) = rig.get("/200").unwrap_err();
    assert_eq!(status, Status::UpstreamBusy);
    assert!(message.contains("left alone"), "{message}");
    assert_eq!((outside.requests().len(), rig.stats().failed(Failure::CircuitOpen)), (sent, 1));
    // The first trial fails, and the next while begins.
    eventually("a trial goes through", || rig.get("/503").is_ok());
    assert_eq!((rig.stats().circuit, rig.stats().opened), (Circuit::Open, 2));
    eventually("a trial goes through", || rig.get("/200").is_ok());
    assert_eq!(rig.stats().circuit, Circuit::HalfOpen);
    // One at a time: its body is not read yet, so it is not over.
    rig.get("/200").unwrap();
    assert_eq!(rig.stats().circuit, Circuit::Closed);
}

#[test]
fn a_guest_in_a_hurry_does_not_open_a_circuit_and_one_that_waited_does() {
    let outside = Outside::new(|mut peer, _| {
        peer.request();
        peer.wait();
    });
    let breaker = BreakerOptions { failure_threshold: 1, ..BreakerOptions::default() };
    let timeout = Duration::from_millis(800);
    let rig = Rig::new(UpstreamOptions { breaker, timeout, ..outside.options() });
    let ask = |millis| {
        let patience = Duration::from_millis(millis);
        rig.begin("up", &packet("GET", "/", &[], b""), patience).err().unwrap().0
    };
    assert_eq!(ask(300), Status::UpstreamTimeout);
    assert_eq!(rig.stats().circuit, Circuit::Closed);
    assert_eq!(ask(500), Status::UpstreamTimeout);
    assert_eq!(rig.stats().circuit, Circuit::Open);
}

#[test]
fn idle_connections_are_no_more_than_calls_at_once() {
    let door: Arc<Door> = Arc::default();
    let outside = behind(&door);
    let rig = Rig::new(UpstreamOptions { max_in_flight: 3, ..outside.options() });
    door.open();
    thread::scope(|scope| {
        for _ in 0..12 {
            scope.spawn(|| rig.get("/").unwrap());
        }
    });
    assert!(rig.stats().idle <= 3 && outside.requests().len() == 12);
}
