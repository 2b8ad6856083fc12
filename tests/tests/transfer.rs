//! Money that goes from one account to another, by the guest of `examples/transfer` behind
//! HTTP, while the server is killed: none is lost and none is made, whatever the runtime and
//! however commits are made durable.

#![allow(clippy::unwrap_used)] // a test that cannot go on fails

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::thread;
use tests::edge::Http1;
use tests::{Planck, Seeded, service_dir, transfer_module, until};

const ACCOUNTS: u64 = 200;
const CENTS: i64 = 1000;
/// Each with a connection of its own.
const CLIENTS: u64 = 6;

/// Cents that went from one account to another.
#[derive(Clone, Copy, Debug)]
struct Transfer {
    from: u64,
    to: u64,
    cents: i64,
}

impl Transfer {
    fn apply(self, balances: &mut BTreeMap<u64, i64>) {
        *balances.get_mut(&self.from).unwrap() -= self.cents;
        *balances.get_mut(&self.to).unwrap() += self.cents;
    }
}

/// Half of the time one of a few, which are disturbed again and again.
fn next(seeded: &mut Seeded) -> Transfer {
    let of = if seeded.below(2) == 0 { 4 } else { ACCOUNTS };
    let from = seeded.below(of);
    let to = (from + 1 + seeded.below(of - 1)) % of;
    Transfer { from, to, cents: seeded.below(300) as i64 }
}

fn prepared(runtime: &str, flush: u32) -> tempfile::TempDir {
    let yaml = format!(
        "name: transfer\ntls: {{enabled: false}}\nhttp: {{port: 0}}\n\
         wasm: {{runtime: {runtime}, min_instances: 1, max_instances: 4}}\n"
    );
    let db = format!(
        "port: 0\nadmin: {{enabled: true, port: 0}}\n\
         durability: {{flush_interval_in_ms: {flush}}}\n"
    );
    let dir = service_dir(&db, Some(&yaml));
    fs::create_dir(dir.path().join("wasm")).unwrap();
    fs::copy(transfer_module(), dir.path().join("wasm/planck.transfer.wasm")).unwrap();
    dir
}

fn start(dir: &Path) -> Planck {
    Planck::start(dir).unwrap_or_else(|said| panic!("{said}"))
}

fn balances(planck: &Planck) -> BTreeMap<u64, i64> {
    let mut client = Http1::open(planck.http.unwrap());
    let mut balance = |n| {
        let (status, body) = client.get(&format!("/accounts/{n}"));
        assert_eq!(status, 200, "{body}");
        (n, body.trim().parse().unwrap())
    };
    (0..ACCOUNTS).map(&mut balance).collect()
}

/// What clients did until the server was gone.
#[derive(Default)]
struct Done {
    /// Answered by 200.
    certain: Vec<Transfer>,
    /// Not answered.
    open: Vec<Transfer>,
    /// Answered by 422.
    refused: u64,
}

/// Asks until the server is gone.
fn ask(http: SocketAddr, seed: u64, answered: &AtomicU64, done: &Mutex<Done>) {
    let (mut client, mut seeded) = (Http1::open(http), Seeded(seed));
    loop {
        let transfer = next(&mut seeded);
        let Transfer { from, to, cents } = transfer;
        let answer = client.try_post(&format!("/transfer/{from}/{to}/{cents}"), "");
        let mut done = done.lock().unwrap();
        match answer {
            Ok((200, _)) => done.certain.push(transfer),
            // Disturbed too often: it is not done.
            Ok((409, _)) => {}
            Ok((422, _)) => done.refused += 1,
            Ok((status, body)) => panic!("{status} {body}"),
            Err(_) => return done.open.push(transfer),
        }
        answered.fetch_add(1, SeqCst);
    }
}

/// Whether some of these transfers lead from one state to the other.
fn lead(open: &[Transfer], from: &BTreeMap<u64, i64>, to: &BTreeMap<u64, i64>) -> bool {
    (0..1_u32 << open.len()).any(|which| {
        let mut state = from.clone();
        for (at, transfer) in open.iter().enumerate() {
            if which >> at & 1 == 1 {
                transfer.apply(&mut state);
            }
        }
        state == *to
    })
}

fn money_stays(runtime: &str, flush: u32) {
    let dir = prepared(runtime, flush);
    let mut planck = start(dir.path());
    let opened = planck.request("POST", &format!("/accounts/0/{ACCOUNTS}/{CENTS}"), "");
    assert_eq!(opened.0, 201, "{}", opened.1);
    let mut expected = balances(&planck);
    let (mut certain, mut refused) = (0, 0);
    for round in 0..4 {
        let (answered, done) = (AtomicU64::new(0), Mutex::new(Done::default()));
        let http = planck.http.unwrap();
        thread::scope(|threads| {
            for client in 0..CLIENTS {
                let (answered, done) = (&answered, &done);
                threads.spawn(move || ask(http, round * 100 + client, answered, done));
            }
            // Not always at the same moment, and always with some at work.
            let enough = 200 + 97 * round;
            until("nobody is answered", || answered.load(SeqCst) >= enough);
            let pid = planck.pid().to_string();
            assert!(Command::new("kill").args(["-9", &pid]).status().unwrap().success());
        });
        planck.kill();
        planck = start(dir.path());
        let done = done.into_inner().unwrap();
        done.certain.iter().for_each(|transfer| transfer.apply(&mut expected));
        let found = balances(&planck);
        assert!(
            lead(&done.open, &expected, &found),
            "round {round}: {:?} do not lead from {expected:?} to {found:?}",
            done.open
        );
        certain += done.certain.len();
        refused += done.refused;
        expected = found;
        let (least, sum) = (expected.values().min().unwrap(), ACCOUNTS as i64 * CENTS);
        assert!(*least >= 0, "{least}");
        assert_eq!(planck.get("/total"), (200, format!("{ACCOUNTS} {sum} {least}\n")));
    }
    assert!(certain > 200 && refused > 0, "{certain} took effect, {refused} could not");
    assert_eq!(planck.stop().0, Some(0));
}

#[test]
fn no_money_is_lost_or_made_on_wasmer_with_a_sync_for_each_commit() {
    money_stays("wasmer", 0);
}

#[test]
fn no_money_is_lost_or_made_on_wasmer_with_a_sync_now_and_then() {
    money_stays("wasmer", 1000);
}

#[test]
fn no_money_is_lost_or_made_on_wasmi_with_a_sync_for_each_commit() {
    money_stays("wasmi", 0);
}

#[test]
fn no_money_is_lost_or_made_on_wasmi_with_a_sync_now_and_then() {
    money_stays("wasmi", 1000);
}
