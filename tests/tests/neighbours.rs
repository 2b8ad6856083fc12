//! Guests that trap, spin, grow, leak and call without end, and what their neighbours feel
//! of it: nothing. On the real process, on both runtimes.
//!
//! Nothing is timed: answers are counted while a guest that spins has not ended.

#![allow(clippy::unwrap_used)] // a test that cannot go on fails

use std::fs;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::thread;
use tests::edge::{Http1, ROWDY};
use tests::{Planck, service_dir, until};

/// A service with the rowdy guest; on one processor, if that is asked for.
fn start(wasm: &str, alone: bool) -> (Planck, tempfile::TempDir) {
    let yaml = format!("name: t\ntls: {{enabled: false}}\nhttp: {{port: 0}}\nwasm: {{{wasm}}}\n");
    let db = "port: 0\nadmin: {enabled: true, port: 0}\nlogging: {level: error}\n";
    let dir = service_dir(db, Some(&yaml));
    fs::create_dir(dir.path().join("wasm")).unwrap();
    fs::write(dir.path().join("wasm/planck.t.wasm"), wat::parse_str(ROWDY).unwrap()).unwrap();
    let started = match alone {
        true => Planck::start_on_one_processor(dir.path()),
        false => Planck::start(dir.path()),
    };
    (started.unwrap_or_else(|said| panic!("{said}")), dir)
}

fn ok(client: &mut Http1, target: &str) {
    assert_eq!(client.get(target), (200, "ok".to_owned()), "{target}");
}

/// Each that fails, how it is answered, and the kind of its trap: `spins` for one that
/// spins.
fn faults(spins: &'static str) -> [(&'static str, u16, &'static str); 4] {
    let spun = if spins == "deadline" { 504 } else { 500 };
    [
        ("/t", 500, "unreachable"),
        ("/s", spun, spins),
        ("/g", 500, "memory"),
        ("/c", 500, "host_calls"),
    ]
}

/// Says when it is over, whatever happens: a failure must not look like a hang.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, SeqCst);
    }
}

/// One instance for each failure; neighbours answered all along; memory where it was.
fn costs_one_instance(runtime: &str, limits: &str, spins: &'static str) {
    const TIMES: usize = 6;
    // As many kept as there may be: all are workers', and each that is lost is made anew.
    let (planck, _dir) = start(
        &format!("runtime: {runtime}, min_instances: 3, max_instances: 3, memory: 4MiB, {limits}"),
        false,
    );
    let http = planck.http.unwrap();
    let (over, answered) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|threads| {
        let _over = Over(&over);
        let (over, answered) = (&over, &answered);
        threads.spawn(move || {
            let mut client = Http1::open(http);
            while !over.load(SeqCst) {
                ok(&mut client, "/");
                answered.fetch_add(1, SeqCst);
            }
        });
        let (mut made, mut resident) = (3.0, None);
        for _ in 0..3 {
            for (target, status, kind) in faults(spins) {
                let traps = || {
                    let labels = [("kind", kind)];
                    planck.figure("planck_pool_traps_total", &labels)
                };
                let (before, seen) = (traps(), answered.load(SeqCst));
                let mut client = Http1::open(http);
                for _ in 0..TIMES {
                    let (got, body) = client.get(target);
                    assert_eq!(got, status, "{target}: {body}");
                }
                assert_eq!(traps() - before, TIMES as f64, "{target}");
                made += TIMES as f64;
                until("each that was lost is made anew", || {
                    planck.figure("planck_pool_instances", &[]) == 3.0
                });
                assert_eq!(planck.figure("planck_pool_made_total", &[]), made, "{target}");
                until("neighbours are answered", || answered.load(SeqCst) > seen + 5);
            }
            // 63 pages of 64 are grown by one instance or another; half of the memory is
            // where one is replaced.
            let mut client = Http1::open(http);
            (0..200).for_each(|_| ok(&mut client, "/l"));
            let recycled = planck.figure("planck_pool_recycled_total", &[]);
            assert!(recycled > 0.0);
            until("each that was replaced is made anew", || {
                planck.figure("planck_pool_instances", &[]) == 3.0
            });
            made = planck.figure("planck_pool_made_total", &[]);
            let now = planck.figure("planck_process_resident_bytes", &[]);
            let first = *resident.get_or_insert(now);
            assert!(now < first + 24e6, "{now} bytes, {first} after the first round");
        }
    });
    assert_eq!(planck.figure("planck_pool_refused_total", &[]), 0.0);
    assert_eq!(planck.stop().0, Some(0));
}

#[test]
fn a_failure_costs_one_instance_and_its_neighbours_nothing_on_wasmi() {
    costs_one_instance("wasmi", "fuel: 18446744073709551615, deadline_in_ms: 150", "deadline");
}

#[test]
fn a_failure_costs_one_instance_and_its_neighbours_nothing_on_wasmer() {
    costs_one_instance("wasmer", "fuel: 18446744073709551615, deadline_in_ms: 150", "deadline");
}

#[test]
fn so_it_is_where_the_work_is_what_ends_it_on_wasmi() {
    costs_one_instance("wasmi", "fuel: 5000000, deadline_in_ms: 60000", "out_of_fuel");
}

#[test]
fn so_it_is_where_the_work_is_what_ends_it_on_wasmer() {
    costs_one_instance("wasmer", "fuel: 50000000, deadline_in_ms: 60000", "out_of_fuel");
}

/// Spins for so long that all of a test is done meanwhile, or never ends.
const LONG: &str = "fuel: 18446744073709551615, deadline_in_ms: 600000";

fn no_waiting(runtime: &str, instances: &str) {
    let (planck, _dir) = start(&format!("runtime: {runtime}, {instances}, {LONG}"), false);
    let http = planck.http.unwrap();
    // Two that spin leave two instances, wherever they run.
    let mut spinning = [Http1::open(http), Http1::open(http)];
    let mut others = [Http1::open(http), Http1::open(http), Http1::open(http)];
    for client in &mut spinning {
        others.iter_mut().for_each(|other| ok(other, "/"));
        client.send("/s");
        for _ in 0..20 {
            others.iter_mut().for_each(|other| ok(other, "/"));
        }
    }
    until("both spin", || planck.figure("planck_pool_busy", &[]) >= 2.0);
    for _ in 0..50 {
        others.iter_mut().for_each(|other| ok(other, "/"));
        // A newcomer, too.
        ok(&mut Http1::open(http), "/");
    }
    assert!(spinning.iter_mut().all(|client| !client.is_answered()));
    planck.kill();
}

#[test]
fn nobody_waits_behind_guests_that_spin_while_an_instance_is_free() {
    for runtime in ["wasmi", "wasmer"] {
        // Workers alone; and network threads that have instances of their own.
        no_waiting(runtime, "min_instances: 4, max_instances: 4");
        no_waiting(runtime, "min_instances: 1, max_instances: 5");
    }
}

/// With one network thread every connection is that thread's. The guest spins on it, and
/// ends by its deadline when all has been looked at.
fn the_thread_goes_on(runtime: &str) {
    let wasm = "min_instances: 1, max_instances: 3, fuel: 18446744073709551615, \
                deadline_in_ms: 12000";
    let (planck, _dir) = start(&format!("runtime: {runtime}, {wasm}"), true);
    let http = planck.http.unwrap();
    let here = || planck.figure("planck_pool_here_total", &[]);
    let (mut spinning, mut one, mut two) =
        (Http1::open(http), Http1::open(http), Http1::open(http));
    for client in [&mut spinning, &mut one, &mut two] {
        ok(client, "/");
    }
    assert!(here() >= 3.0, "brief requests run on the thread that has them");
    // Its one place is the spinner's from here on.
    let before = here();
    spinning.send("/s");
    until("it spins", || planck.figure("planck_pool_busy", &[]) >= 1.0);
    for _ in 0..50 {
        ok(&mut one, "/");
        ok(&mut two, "/");
        ok(&mut Http1::open(http), "/");
    }
    assert!(!spinning.is_answered(), "all others were answered before it ended");
    assert_eq!(here(), before, "they were for the workers: the thread's own instance spins");
    assert_eq!(spinning.answer().0, 504);
    assert_eq!(here(), before + 1.0, "it has spun on the thread that had its request");
    assert_eq!(planck.stop().0, Some(0));
}

#[test]
fn one_that_spins_on_a_network_thread_keeps_no_other_connection_of_it_waiting() {
    ["wasmi", "wasmer"].into_iter().for_each(the_thread_goes_on);
}
