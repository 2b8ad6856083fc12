//! What `docs/rules.md` promises to who writes a handler: the guest of `examples/rules`,
//! each route a rule, asked on both runtimes; and the guide shows that very code.

#![allow(clippy::unwrap_used)] // a test that cannot go on fails

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::thread;
use tests::edge::Http1;
use tests::{Planck, root, rules_module, service_dir, until};

/// A service outside that answers whatever is asked; how often it was.
fn outside() -> (SocketAddr, Arc<AtomicU64>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (address, asked) = (listener.local_addr().unwrap(), Arc::new(AtomicU64::new(0)));
    let counted = Arc::clone(&asked);
    thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let counted = Arc::clone(&counted);
            thread::spawn(move || {
                let (mut head, mut byte) = (Vec::new(), [0]);
                while stream.read_exact(&mut byte).is_ok() {
                    head.push(byte[0]);
                    if head.ends_with(b"\r\n\r\n") {
                        counted.fetch_add(1, SeqCst);
                        stream.write_all(b"HTTP/1.1 200 X\r\ncontent-length: 0\r\n\r\n").unwrap();
                        head.clear();
                    }
                }
            });
        }
    });
    (address, asked)
}

fn prepared(runtime: &str, other: SocketAddr) -> tempfile::TempDir {
    let yaml = format!(
        "name: rules\ntls: {{enabled: false}}\nhttp: {{port: 0}}\n\
         wasm: {{runtime: {runtime}, min_instances: 1, max_instances: 4}}\n\
         upstreams: [{{name: other, url: 'http://{other}', allow_private: true}}]\n"
    );
    let db = "port: 0\nadmin: {enabled: true, port: 0}\ndurability: {flush_interval_in_ms: 0}\n";
    let dir = service_dir(db, Some(&yaml));
    fs::create_dir(dir.path().join("wasm")).unwrap();
    fs::copy(rules_module(), dir.path().join("wasm/planck.rules.wasm")).unwrap();
    dir
}

fn start(dir: &Path) -> Planck {
    Planck::start(dir).unwrap_or_else(|said| panic!("{said}"))
}

fn post(planck: &Planck, target: &str) -> (u16, String) {
    planck.request("POST", target, "")
}

fn count(planck: &Planck, n: u64) -> u64 {
    planck.get(&format!("/counts/{n}")).1.parse().unwrap()
}

/// So many at once; their answers.
fn at_once(planck: &Planck, n: usize, target: &str) -> Vec<(u16, String)> {
    let http = planck.http.unwrap();
    let ask = || Http1::open(http).try_post(target, "").unwrap();
    thread::scope(|threads| {
        let asks: Vec<_> = (0..n).map(|_| threads.spawn(ask)).collect();
        asks.into_iter().map(|ask| ask.join().unwrap()).collect()
    })
}

fn rules(runtime: &str) {
    let (other, asked) = outside();
    let dir = prepared(runtime, other);
    let mut planck = start(dir.path());
    assert_eq!(post(&planck, "/make").0, 201);

    // One call is one step.
    for _ in 0..3 {
        assert_eq!(post(&planck, "/both").0, 200);
    }
    assert_eq!((count(&planck, 0), count(&planck, 1)), (3, 3));

    // A call may run again: its effects are there once for each that was answered so.
    let answers = at_once(&planck, 4, "/slowly");
    let done = answers.iter().filter(|(status, _)| *status == 200).count() as u64;
    assert!(answers.iter().all(|(status, _)| [200, 409].contains(status)), "{answers:?}");
    assert_eq!(count(&planck, 2), done);
    let again = planck.figure("planck_guest_calls_again_total", &[]);
    assert!(again > 0.0, "none was disturbed");

    // A refusal takes effect, a failure does not.
    assert_eq!((post(&planck, "/refused").0, count(&planck, 3)), (429, 1));
    let (status, body) = post(&planck, "/failed");
    assert_eq!((status, count(&planck, 4)), (500, 0));
    assert!(!body.contains("wrong with us"), "{body}");
    assert_eq!((post(&planck, "/trapped").0, count(&planck, 5)), (500, 0));

    // Who calls outside is not run again: those who are disturbed are told.
    let answers = at_once(&planck, 3, "/asks");
    let done = answers.iter().filter(|(status, _)| *status == 200).count() as u64;
    let told = answers.iter().filter(|(status, _)| *status == 409).count() as u64;
    assert!(done >= 1 && told >= 1 && done + told == 3, "{answers:?}");
    assert_eq!((count(&planck, 6), asked.load(SeqCst)), (done, 3), "each asked once");
    let conflict = answers.iter().find(|(status, _)| *status == 409).unwrap();
    assert!(conflict.1.contains("PLK-1305") && conflict.1.contains("counts"), "{conflict:?}");

    // The same request twice; and a crash before the answer: done or not, asking again says.
    assert_eq!(post(&planck, "/payments/1/50").0, 201);
    assert_eq!(post(&planck, "/payments/1/50"), (200, "paid before".to_owned()));
    for round in 0..3_u64 {
        let (http, answered) = (planck.http.unwrap(), AtomicU64::new(0));
        thread::scope(|threads| {
            for client in 0..3 {
                let answered = &answered;
                threads.spawn(move || {
                    let mut http = Http1::open(http);
                    for n in 0.. {
                        let number = 1000 * (round * 3 + client + 1) + n;
                        match http.try_post(&format!("/payments/{number}/1"), "") {
                            Ok((201, _)) => answered.fetch_add(1, SeqCst),
                            Ok(other) => panic!("{other:?}"),
                            Err(_) => break,
                        };
                    }
                });
            }
            until("nobody pays", || answered.load(SeqCst) > 20);
            let pid = planck.pid().to_string();
            assert!(Command::new("kill").args(["-9", &pid]).status().unwrap().success());
        });
        planck.kill();
        planck = start(dir.path());
        // What was answered is there; of what was not, asking again makes sure.
        for client in 0..3 {
            let first = 1000 * (round * 3 + client + 1);
            let mut number = first;
            while planck.request("POST", &format!("/payments/{number}/1"), "").0 == 200 {
                number += 1;
            }
            assert!(number > first, "nothing is there of what was answered");
        }
    }

    // A long job in steps, each done once.
    let before = planck.get("/payments").1;
    let (payments, sum) = before.split_once(' ').unwrap();
    let (payments, sum): (u64, u64) = (payments.parse().unwrap(), sum.parse().unwrap());
    let mut steps = 0;
    while post(&planck, "/all/10").0 == 202 {
        steps += 1;
    }
    assert_eq!(steps, payments.div_ceil(10) - 1);
    assert_eq!(planck.get("/payments").1, format!("{payments} {}", sum + payments));
    assert_eq!(planck.stop().0, Some(0));
}

#[test]
fn they_hold_on_wasmer() {
    rules("wasmer");
}

#[test]
fn they_hold_on_wasmi() {
    rules("wasmi");
}

/// The text between two lines, without them.
fn between<'t>(text: &'t str, from: &str, to: &str) -> Vec<&'t str> {
    text.split(from).skip(1).map(|part| part.split(to).next().unwrap()).collect()
}

#[test]
fn the_guide_shows_the_code_that_is_tested() {
    let guide = fs::read_to_string(root().join("docs/rules.md")).unwrap();
    let code = fs::read_to_string(root().join("examples/rules/src/lib.rs")).unwrap();
    let shown = between(&guide, "```rust\n", "```");
    let tested = between(&code, "// guide: ", "// end");
    assert_eq!(shown.len(), tested.len());
    for (shown, tested) in shown.iter().zip(tested) {
        let (title, tested) = tested.split_once('\n').unwrap();
        assert_eq!(shown.trim(), tested.trim(), "{title}");
    }
}
