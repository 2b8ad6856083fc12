//! Another module of the guest while the service serves, on both runtimes: no request is
//! lost by it, and what cannot serve does not.

#![allow(clippy::unwrap_used)] // a test that cannot go on fails

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};
use tests::edge::{Http1, Http2};
use tests::{Planck, service_dir, until};

const DB: &str = "port: 0\nadmin: {enabled: true, port: 0}\n";

/// Answers 200 with `version`; for `/s..` without an end, for `/w..` after a while, for
/// `/h..` as `health` says. `more` is more of the module.
fn guest(version: char, health: u16, more: &str) -> Vec<u8> {
    let [low, high] = health.to_le_bytes();
    let text = format!(
        r#"
(module
  (memory (export "memory") 1)
  (data (i32.const 0) "\01\c8\00\00\00{version}")
  (data (i32.const 16) "\01\{low:02x}\{high:02x}\00\00{version}")
  (func (export "planck_abi") (result i32) (i32.const 1))
  (func (export "alloc") (param i32) (result i32) (i32.const 1024))
  (func (export "process") (param $ptr i32) (param $len i32) (result i64)
    (local $what i32) (local $left i32)
    (local.set $what (i32.load8_u (i32.add (local.get $ptr) (i32.const 11))))
    (if (i32.eq (local.get $what) (i32.const 104)) (then (return (i64.const 0x0000001000000006))))
    (if (i32.eq (local.get $what) (i32.const 115)) (then (loop $again (br $again))))
    (if (i32.eq (local.get $what) (i32.const 119)) (then
      (local.set $left (i32.const 500000))
      (loop $again
        (local.set $left (i32.sub (local.get $left) (i32.const 1)))
        (br_if $again (local.get $left)))))
    (i64.const 6))
  {more})
"#
    );
    wat::parse_str(text).unwrap()
}

/// Puts a module in its place, whole.
fn put(dir: &Path, module: &[u8]) {
    fs::write(dir.join("new.wasm"), module).unwrap();
    fs::rename(dir.join("new.wasm"), dir.join("wasm/planck.t.wasm")).unwrap();
}

fn prepared(wasm: &str, module: &[u8]) -> tempfile::TempDir {
    let yaml = format!("name: t\ntls: {{enabled: false}}\nhttp: {{port: 0}}\nwasm: {{{wasm}}}\n");
    let dir = service_dir(DB, Some(&yaml));
    fs::create_dir(dir.path().join("wasm")).unwrap();
    put(dir.path(), module);
    dir
}

fn start(dir: &Path) -> Planck {
    Planck::start(dir).unwrap_or_else(|said| panic!("{said}"))
}

fn figure(planck: &Planck, name: &str) -> f64 {
    planck.figure(name, &[])
}

/// SHA-256 of the module that serves, by `/metrics`.
fn serving(planck: &Planck) -> String {
    let (_, text) = planck.look("/metrics");
    let line = text.lines().find(|line| line.starts_with("planck_module_info{")).unwrap();
    line.split('"').nth(1).unwrap().to_owned()
}

/// Which module is to answer: changes so far, twice; one more while a change is under way.
#[derive(Default)]
struct Clock {
    now: AtomicU64,
    over: AtomicBool,
    answered: AtomicU64,
}

const VERSIONS: [&str; 2] = ["A", "B"];

impl Clock {
    /// Asks until it is over; every answer must be one of the modules', and that of the
    /// one that serves if none was changed meanwhile.
    fn hammer(&self, mut ask: impl FnMut() -> String) {
        while !self.over.load(SeqCst) {
            let before = self.now.load(SeqCst);
            let said = ask();
            let after = self.now.load(SeqCst);
            if before == after && before.is_multiple_of(2) {
                assert_eq!(said, VERSIONS[(before / 2 % 2) as usize], "at {before}");
            }
            assert!(VERSIONS.contains(&said.as_str()), "{said}");
            self.answered.fetch_add(1, SeqCst);
        }
    }
}

/// Says when it is over, whatever happens: a failure must not look like a hang.
struct Over<'a>(&'a Clock);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.over.store(true, SeqCst);
    }
}

fn hammered(runtime: &str) {
    const CHANGES: u64 = 12;
    let modules = [guest('A', 200, ""), guest('B', 200, "")];
    let wasm = format!("runtime: {runtime}, min_instances: 1, max_instances: 4, health_path: /h");
    let dir = prepared(&wasm, &modules[0]);
    let planck = start(dir.path());
    let (http, clock) = (planck.http.unwrap(), Clock::default());
    let first = serving(&planck);
    thread::scope(|threads| {
        let _over = Over(&clock);
        for target in ["/", "/", "/w"] {
            let clock = &clock;
            threads.spawn(move || {
                let mut client = Http1::open(http);
                clock.hammer(|| {
                    let (status, body) = client.get(target);
                    assert_eq!(status, 200, "{body}");
                    body
                });
            });
            threads.spawn(move || {
                let mut client = Http2::open(http);
                clock.hammer(|| {
                    let (is_ok, body) = client.get(target);
                    assert!(is_ok, "{body}");
                    body
                });
            });
        }
        let mut calls = 0.0;
        for change in 1..=CHANGES {
            let enough = clock.answered.load(SeqCst) + 20;
            until("nobody is answered", || clock.answered.load(SeqCst) >= enough);
            put(dir.path(), &modules[(change % 2) as usize]);
            clock.now.store(2 * change - 1, SeqCst);
            let said = planck.planctl_ok(&["service", "reload", "--json"]);
            clock.now.store(2 * change, SeqCst);
            assert!(said.contains("\"changed\":true"), "{said}");
            assert_eq!(planck.get("/").1, VERSIONS[(change % 2) as usize]);
            clock.answered.fetch_add(1, SeqCst);
            // A counter never goes back.
            let now = figure(&planck, "planck_pool_calls_total");
            assert!(now >= calls, "{now} after {calls}");
            calls = now;
        }
    });
    // Every call is counted, whichever module ran it.
    assert_eq!(figure(&planck, "planck_pool_calls_total") as u64, clock.answered.load(SeqCst));
    assert_eq!(figure(&planck, "planck_pool_refused_total"), 0.0);
    assert_eq!(figure(&planck, "planck_module_changes_total") as u64, CHANGES);
    assert_eq!(figure(&planck, "planck_module_change_failures_total"), 0.0);
    assert_eq!(serving(&planck), first);
    until("old instances stay", || figure(&planck, "planck_pool_instances") <= 4.0);
    assert_eq!(planck.stop().0, Some(0));
}

#[test]
fn no_request_is_lost_by_changes_of_the_module_on_wasmi() {
    hammered("wasmi");
}

#[test]
fn no_request_is_lost_by_changes_of_the_module_on_wasmer() {
    hammered("wasmer");
}

fn not_changed_to(runtime: &str) {
    let good = guest('A', 204, "");
    let dir = prepared(&format!("runtime: {runtime}, health_path: '/h?deep'"), &good);
    let planck = start(dir.path());
    let served = serving(&planck);
    let mut failures = 0.0;
    for (module, words) in [
        (guest('B', 200, "")[..120].to_vec(), "cut short"),
        (b"not a module".to_vec(), "not a WebAssembly module"),
        (guest('B', 200, "(func (export \"init\") unreachable)"), "the guest cannot start"),
        (guest('B', 503, ""), "it answered 503"),
        (guest('B', 200, "").into_iter().chain([0; 9]).collect(), ""),
    ] {
        put(dir.path(), &module);
        let output = planck.planctl(&["service", "reload"]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && said.contains("PLK-1218"), "{words}: {said}");
        assert!(said.contains(words) && said.contains("serves on"), "{words}: {said}");
        failures += 1.0;
        assert_eq!(figure(&planck, "planck_module_change_failures_total"), failures);
        assert_eq!((planck.get("/"), serving(&planck)), ((200, "A".to_owned()), served.clone()));
    }
    // By a signal nobody is told but the log.
    planck.hang_up();
    failures += 1.0;
    until("the signal is not heard", || {
        figure(&planck, "planck_module_change_failures_total") == failures
    });
    fs::remove_file(dir.path().join("wasm/planck.t.wasm")).unwrap();
    let output = planck.planctl(&["service", "reload"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("PLK-1218") && said.contains("cannot be read"), "{said}");
    assert_eq!(planck.get("/"), (200, "A".to_owned()));
    // What serves already is not started anew.
    put(dir.path(), &good);
    let made = figure(&planck, "planck_pool_made_total");
    let said = planck.planctl_ok(&["service", "reload", "--json"]);
    assert!(said.contains("\"changed\":false") && said.contains(&served), "{said}");
    assert_eq!(figure(&planck, "planck_pool_made_total"), made);
    assert_eq!(figure(&planck, "planck_module_changes_total"), 0.0);
    // And what can serve does, by a signal too.
    put(dir.path(), &guest('B', 200, ""));
    planck.hang_up();
    until("the module is not changed", || planck.get("/").1 == "B");
    let (code, lines) = planck.stop();
    assert_eq!(code, Some(0));
    let told = |words: &str| lines.iter().filter(|line| line.contains(words)).count();
    assert_eq!(told("served until now serves on"), 7, "{lines:#?}");
    assert_eq!(told("another module serves"), 1, "{lines:#?}");
}

#[test]
fn a_module_that_cannot_serve_is_not_changed_to_and_the_one_before_serves_on() {
    not_changed_to("wasmi");
}

#[test]
fn nor_is_it_on_wasmer() {
    not_changed_to("wasmer");
}

#[test]
fn a_guest_that_is_not_well_does_not_start() {
    for (module, words) in
        [(guest('A', 500, ""), "it answered 500"), (guest('A', 100, ""), "its answer is none")]
    {
        let dir = prepared("runtime: wasmi, health_path: /h", &module);
        let said = Planck::start(dir.path()).err().expect("it must not start");
        assert!(said.contains("78") && said.contains("not well") && said.contains(words), "{said}");
    }
    // It need not end, either.
    let dir = prepared("runtime: wasmi, health_path: /s, deadline_in_ms: 50", &guest('A', 200, ""));
    let said = Planck::start(dir.path()).err().expect("it must not start");
    assert!(said.contains("78") && said.contains("deadline"), "{said}");
}

#[test]
fn calls_of_the_old_module_end_there_and_the_next_change_waits_for_them() {
    let modules = [guest('A', 200, ""), guest('B', 200, "")];
    let wasm = "runtime: wasmi, min_instances: 1, max_instances: 2, deadline_in_ms: 5000, \
                fuel: 1000000000000";
    let dir = prepared(wasm, &modules[0]);
    let planck = start(dir.path());
    let mut slow = Http1::open(planck.http.unwrap());
    slow.send("/s");
    until("it does not run", || figure(&planck, "planck_pool_busy") == 1.0);
    put(dir.path(), &modules[1]);
    planck.planctl_ok(&["service", "reload"]);
    assert_eq!(planck.get("/"), (200, "B".to_owned()));
    assert!(!slow.is_answered(), "the new one serves while a call of the old one runs");
    put(dir.path(), &modules[0]);
    planck.planctl_ok(&["service", "reload"]);
    let ended = planck.figure("planck_pool_traps_total", &[("kind", "deadline")]);
    assert_eq!(ended, 1.0, "it has waited for that call");
    assert_eq!(slow.answer().0, 504);
    assert_eq!(planck.get("/"), (200, "A".to_owned()));
    assert_eq!(planck.stop().0, Some(0));
}

#[test]
fn a_change_waits_ten_seconds_for_the_one_before_and_is_refused_then() {
    let modules = [guest('A', 200, ""), guest('B', 200, "")];
    let wasm = "runtime: wasmi, min_instances: 1, max_instances: 2, deadline_in_ms: 600000, \
                fuel: 18446744073709551615";
    let dir = prepared(wasm, &modules[0]);
    let planck = start(dir.path());
    let mut slow = Http1::open(planck.http.unwrap());
    slow.send("/s");
    until("it does not run", || figure(&planck, "planck_pool_busy") == 1.0);
    put(dir.path(), &modules[1]);
    planck.planctl_ok(&["service", "reload"]);
    put(dir.path(), &modules[0]);
    let begun = Instant::now();
    let output = planck.planctl(&["service", "reload"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(6), "{said}");
    assert!(said.contains("PLK-1601") && said.contains("calls of the one before"), "{said}");
    assert!(begun.elapsed() >= Duration::from_secs(10));
    assert!(!slow.is_answered(), "that call runs still");
    assert_eq!(planck.get("/"), (200, "B".to_owned()));
    planck.kill();
}
