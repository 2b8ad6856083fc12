//! Jobs that are calls of services outside, and how many are at work.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use proto::{Reply, Request, Status, json};
use tests::asker::{GUEST, call};

use super::{await_count, await_that, count, dir_of, rows, schedule, start, start_in};

/// A service outside: it answers as it is told to by what it has seen; the heads of requests.
struct Outside {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<String>>>,
    most_at_once: Arc<AtomicUsize>,
}

fn outside(answer: impl Fn(usize) -> (u16, Duration) + Send + Sync + 'static) -> Outside {
    outside_with("", answer)
}

/// With headers of its own, each ended by `\r\n`, on what is no success.
fn outside_with(
    headers: &'static str,
    answer: impl Fn(usize) -> (u16, Duration) + Send + Sync + 'static,
) -> Outside {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (seen, most_at_once) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicUsize::new(0)));
    let (noted, most, now) = (Arc::clone(&seen), Arc::clone(&most_at_once), AtomicUsize::new(0));
    let shared = Arc::new((noted, most, now, answer));
    thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let shared = Arc::clone(&shared);
            thread::spawn(move || {
                let (noted, most, now, answer) = &*shared;
                let (mut head, mut byte) = (Vec::new(), [0]);
                while !head.ends_with(b"\r\n\r\n") {
                    if stream.read_exact(&mut byte).is_err() {
                        return;
                    }
                    head.push(byte[0]);
                }
                most.fetch_max(now.fetch_add(1, SeqCst) + 1, SeqCst);
                let number = {
                    let mut noted = noted.lock().unwrap();
                    noted.push(String::from_utf8_lossy(&head).to_lowercase());
                    noted.len()
                };
                let (status, takes) = answer(number);
                thread::sleep(takes);
                now.fetch_sub(1, SeqCst);
                let headers = if status < 300 { "" } else { headers };
                let said = format!(
                    "HTTP/1.1 {status} X\r\n{headers}content-length: 2\r\nconnection: close\r\n\r\nok"
                );
                // It may have gone.
                stream.write_all(said.as_bytes()).ok();
            });
        }
    });
    Outside { address, seen, most_at_once }
}

fn with_upstream(outside: &Outside, jobs: &str) -> String {
    format!(
        "jobs: {{{jobs}}}\nupstreams:\n- {{name: mail, url: 'http://{}', allow_private: true, \
         timeout_ms: 3000, breaker: {{failure_threshold: 3, success_threshold: 1, open_duration_ms: 300}}}}",
        outside.address
    )
}

fn delivery(path: &str) -> Vec<u8> {
    json::parse_json(&format!(r#"{{"path": "{path}", "upstream": "mail", "payload": "hi"}}"#))
        .unwrap()
}

#[test]
fn a_delivery_carries_the_same_key_each_time_and_ends_by_what_is_answered() {
    let outside = outside(|number| {
        let status = if number <= 2 { [503, 429][number - 1] } else { 200 };
        (status, Duration::ZERO)
    });
    let yaml = with_upstream(&outside, "retry_base_ms: 1");
    let (_dir, planck) = start("wasmi", &yaml);
    let http = planck.http.unwrap();
    let job = delivery("/send?a=1");
    // A call that fails sends nothing.
    assert_eq!(call(http, 500, &[Request::Schedule { job: &job }]).0, 500);
    let key = schedule(http, &job);
    await_count(http, "_jobs", 0);
    assert_eq!(rows(http, "_dead_jobs"), Vec::<String>::new());
    assert_eq!(outside.seen.lock().unwrap().len(), 3);
    for head in &*outside.seen.lock().unwrap() {
        assert!(head.starts_with("post /send?a=1 http/1.1\r\n"), "{head}");
        assert!(head.contains(&format!("idempotency-key: {key}\r\n")), "{head}");
        assert!(!head.contains("planck-"), "{head}");
    }
    assert_eq!(count(http, "_dead_jobs"), 0);
    // A name that is not on the list is refused where it is asked for.
    let unknown = json::parse_json(r#"{"path": "/", "upstream": "post"}"#).unwrap();
    let answer = call(http, 500, &[Request::Schedule { job: &unknown }]);
    let said = Reply::decode(&answer.2).unwrap().1;
    assert!(matches!(said, Reply::Error { status: Status::NoSuchUpstream, .. }), "{said:?}");
    assert_eq!(planck.stop().0, Some(0));
}

#[test]
fn a_delivery_that_is_refused_is_given_up_and_an_open_circuit_is_no_attempt() {
    let outside = outside(|number| {
        (
            if number == 1 {
                422
            } else if number <= 4 {
                503
            } else {
                200
            },
            Duration::ZERO,
        )
    });
    let yaml = with_upstream(
        &outside,
        "retry_base_ms: 20, retry_max_ms: 20, max_attempts: 4, max_running: 1",
    );
    let (_dir, planck) = start("wasmi", &yaml);
    let http = planck.http.unwrap();
    schedule(http, &delivery("/"));
    await_count(http, "_dead_jobs", 1);
    let said = rows(http, "_dead_jobs.pluck(attempts, error)");
    assert_eq!(said, [r#"{"attempts":1,"error":"the upstream 'mail' answered 422: ok"}"#]);
    // Three failures open the circuit for 300 ms, and it is put off until that is over: once,
    // and as no attempt, or it would be given up.
    schedule(http, &delivery("/"));
    await_count(http, "_jobs", 0);
    assert_eq!(count(http, "_dead_jobs"), 1);
    assert_eq!(outside.seen.lock().unwrap().len(), 5);
    assert_eq!(planck.figure("planck_jobs_postponed_total", &[]), 1.0);
    assert_eq!(planck.stop().0, Some(0));
}

#[test]
fn who_asks_for_a_time_is_not_called_before_it() {
    for status in [429, 503] {
        let when = Arc::new(Mutex::new(Vec::new()));
        let noted = Arc::clone(&when);
        let outside = outside_with("retry-after: 2\r\n", move |number| {
            noted.lock().unwrap().push(Instant::now());
            (if number == 1 { status } else { 200 }, Duration::ZERO)
        });
        let (_dir, planck) = start("wasmi", &with_upstream(&outside, "retry_base_ms: 1"));
        let http = planck.http.unwrap();
        schedule(http, &delivery("/"));
        await_count(http, "_jobs", 0);
        let when = when.lock().unwrap();
        assert_eq!(when.len(), 2, "{status}");
        assert!(when[1] - when[0] >= Duration::from_secs(2), "{status}: {:?}", when[1] - when[0]);
        assert_eq!(planck.stop().0, Some(0));
    }
}

#[test]
fn so_many_are_at_work_at_once_and_no_more() {
    let outside = outside(|_| (200, Duration::from_millis(150)));
    let (_dir, planck) = start("wasmi", &with_upstream(&outside, "max_running: 3"));
    let http = planck.http.unwrap();
    let job = delivery("/");
    assert_eq!(call(http, 200, &[Request::Schedule { job: &job }; 12]).0, 200);
    await_that("three at once", || planck.figure("planck_jobs_running", &[]) == 3.0);
    await_count(http, "_jobs", 0);
    assert_eq!(outside.most_at_once.load(SeqCst), 3);
    assert_eq!(outside.seen.lock().unwrap().len(), 12, "each once");
    assert_eq!(planck.stop().0, Some(0));
}

#[test]
fn a_stop_lets_jobs_at_work_end_and_begins_no_other() {
    let outside = outside(|_| (200, Duration::from_millis(700)));
    let yaml = with_upstream(&outside, "max_running: 1");
    let dir = dir_of(GUEST, "wasmi", &yaml);
    let planck = start_in(&dir);
    let job = delivery("/");
    assert_eq!(call(planck.http.unwrap(), 200, &[Request::Schedule { job: &job }; 3]).0, 200);
    await_that("one is at work", || outside.seen.lock().unwrap().len() == 1);
    assert_eq!(planck.stop().0, Some(0));
    assert_eq!(outside.seen.lock().unwrap().len(), 1, "no other was begun");
    // The one was ended; the others are run by the next start.
    let planck = start_in(&dir);
    await_count(planck.http.unwrap(), "_jobs", 0);
    assert_eq!(outside.seen.lock().unwrap().len(), 3);
    assert_eq!(planck.stop().0, Some(0));
}
