//! What several clients saw who appended to lists and read them by calls of a guest, over
//! HTTP, while the server was killed: judged by that alone, on both runtimes.
//!
//! `HISTORIES=100 cargo test --workspace --test histories` for more of them.

#![allow(clippy::unwrap_used)] // a test that cannot go on fails

#[path = "../../engine/tests/histories/check.rs"]
mod check;

use check::{Fate, Op, Transaction, check};
use std::fmt::Write;
use std::fs;
use std::net::SocketAddr;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::thread;
use tests::edge::Http1;
use tests::{Planck, Seeded, lists_module, service_dir, until};

const LISTS: u64 = 6;
const CLIENTS: u64 = 5;
/// Calls that are answered before the server is killed, and of a whole history.
const UNTIL_KILLED: u64 = 60;
const CALLS: u64 = 240;

/// What all clients share.
#[derive(Default)]
struct World {
    clock: AtomicU64,
    /// Each value is appended once.
    next: AtomicU64,
    answered: AtomicU64,
    over: AtomicBool,
    history: Mutex<Vec<Transaction>>,
}

fn prepared(runtime: &str, flush: u32) -> tempfile::TempDir {
    // Both ways a call can go: on the network's threads, and on workers.
    let yaml = format!(
        "name: lists\ntls: {{enabled: false}}\nhttp: {{port: 0}}\n\
         wasm: {{runtime: {runtime}, min_instances: 2, max_instances: 4}}\n"
    );
    let db = format!("port: 0\ndurability: {{flush_interval_in_ms: {flush}}}\n");
    let dir = service_dir(&db, Some(&yaml));
    fs::create_dir(dir.path().join("wasm")).unwrap();
    fs::copy(lists_module(), dir.path().join("wasm/planck.lists.wasm")).unwrap();
    dir
}

/// Both kinds of lists, all empty.
fn make(planck: &Planck) {
    let (status, body) = planck.request("POST", "/do", &format!("[{{\"Make\":{LISTS}}}]"));
    assert_eq!(status, 200, "{body}");
    planck.planctl_ok(&["index", "create", "parts", "list", "--wait"]);
}

/// One call: what it did, and what became of it.
fn call(http: &mut Http1, world: &World, seeded: &mut Seeded) -> Transaction {
    let (mut ops, mut steps, mut spoilt) = (Vec::new(), String::new(), false);
    for n in 0..seeded.below(4) + 1 {
        let comma = if n > 0 { "," } else { "" };
        let list = seeded.below(LISTS);
        let written = match seeded.below(12) {
            0..6 => {
                let value = world.next.fetch_add(1, SeqCst);
                ops.push(Op::Append(list, value));
                write!(steps, "{comma}{{\"Append\":[{list},{value}]}}")
            }
            6..10 => {
                ops.push(Op::Read(list, Vec::new()));
                write!(steps, "{comma}{{\"Read\":{list}}}")
            }
            10 => write!(steps, "{comma}{{\"Spin\":{}}}", seeded.below(2000)),
            _ if seeded.below(4) > 0 => write!(steps, "{comma}{{\"Spin\":1}}"),
            _ => {
                spoilt = true;
                let how = ["\"Trap\"", "{\"Answer\":500}", "{\"Answer\":503}"];
                write!(steps, "{comma}{}", how[seeded.below(3) as usize])
            }
        };
        written.unwrap();
    }
    let began = world.clock.fetch_add(1, SeqCst);
    let answer = http.try_post("/do", &format!("[{steps}]"));
    let ended = world.clock.fetch_add(1, SeqCst);
    let only_appends = |ops: Vec<Op>| -> Vec<Op> {
        ops.into_iter().filter(|op| matches!(op, Op::Append(..))).collect()
    };
    match answer {
        Ok((200, body)) => {
            assert!(!spoilt, "{body}");
            let mut reads: Vec<Vec<u64>> = serde_json::from_str(&body).unwrap();
            reads.reverse();
            for op in &mut ops {
                if let Op::Read(_, values) = op {
                    *values = reads.pop().unwrap();
                }
            }
            Transaction { began, ended, fate: Fate::Committed, ops }
        }
        // Disturbed too often, or it failed by its own word: nothing of it is done.
        Ok((status @ (409 | 500 | 503), body)) => {
            assert!(spoilt || status == 409, "{status} {body} [{steps}]");
            Transaction { began, ended, fate: Fate::Dropped, ops: only_appends(ops) }
        }
        Ok((status, body)) => panic!("{status} {body}"),
        Err(_) => {
            let ops = only_appends(ops);
            Transaction { began, ended: u64::MAX, fate: Fate::Unknown, ops }
        }
    }
}

/// Calls until it is over, or the server is gone.
fn client(http: SocketAddr, world: &World, seed: u64) {
    let (mut http, mut seeded) = (Http1::open(http), Seeded(seed));
    while !world.over.load(SeqCst) {
        let one = call(&mut http, world, &mut seeded);
        let gone = one.fate == Fate::Unknown;
        world.history.lock().unwrap().push(one);
        world.answered.fetch_add(1, SeqCst);
        if gone {
            break;
        }
    }
}

/// All lists, read when nobody writes any more.
fn all(planck: &Planck, world: &World) -> Transaction {
    let reads: Vec<String> = (0..LISTS).map(|list| format!("{{\"Read\":{list}}}")).collect();
    let began = world.clock.fetch_add(1, SeqCst);
    let (status, body) = planck.request("POST", "/do", &format!("[{}]", reads.join(",")));
    assert_eq!(status, 200, "{body}");
    let lists: Vec<Vec<u64>> = serde_json::from_str(&body).unwrap();
    let ops = (0..).zip(lists).map(|(list, values)| Op::Read(list, values)).collect();
    let ended = world.clock.fetch_add(1, SeqCst);
    Transaction { began, ended, fate: Fate::Committed, ops }
}

/// One history, with the server killed in it twice.
fn history(runtime: &str, flush: u32, seed: u64) -> Vec<Transaction> {
    let dir = prepared(runtime, flush);
    let start = || Planck::start(dir.path()).unwrap_or_else(|said| panic!("{said}"));
    let (mut planck, world) = (start(), World::default());
    make(&planck);
    for kills in 0..3 {
        let (http, world) = (planck.http.unwrap(), &world);
        thread::scope(|threads| {
            for n in 0..CLIENTS {
                threads.spawn(move || client(http, world, seed * 1000 + kills * 100 + n));
            }
            let last = kills == 2;
            let enough = if last { CALLS } else { (kills + 1) * UNTIL_KILLED };
            until("nobody is answered", || world.answered.load(SeqCst) >= enough);
            if last {
                world.over.store(true, SeqCst);
            } else {
                let pid = planck.pid().to_string();
                assert!(Command::new("kill").args(["-9", &pid]).status().unwrap().success());
            }
        });
        if kills < 2 {
            planck.kill();
            planck = start();
        }
    }
    let all = all(&planck, &world);
    assert_eq!(planck.stop().0, Some(0));
    let mut history = world.history.into_inner().unwrap();
    history.push(all);
    history
}

fn one_order_explains_it(runtime: &str) {
    let more = std::env::var("HISTORIES").ok().and_then(|n| n.parse().ok());
    let (mut committed, mut dropped, mut unknown) = (0, 0, 0);
    for seed in 0..more.unwrap_or(4) {
        // A sync for each commit, or now and then.
        let history = history(runtime, if seed % 2 == 0 { 0 } else { 1000 }, seed);
        if let Err(why) = check(&history) {
            panic!("seed {seed}: {why}");
        }
        let of = |fate| history.iter().filter(|one| one.fate == fate).count();
        committed += of(Fate::Committed);
        dropped += of(Fate::Dropped);
        unknown += of(Fate::Unknown);
    }
    println!("{runtime}: {committed} committed, {dropped} dropped, {unknown} unknown");
    assert!(committed > 0 && dropped > 0 && unknown > 0);
}

#[test]
fn one_order_explains_what_calls_on_wasmer_saw() {
    one_order_explains_it("wasmer");
}

#[test]
fn one_order_explains_what_calls_on_wasmi_saw() {
    one_order_explains_it("wasmi");
}
