//! How near an import comes to what the engine takes: the same rows by `planctl import`
//! from CSV, and as batches made before, sent down one connection. Both over TLS on
//! loopback, into an engine of this process, by turns; what is compared is their ratio.
//!
//! `cargo bench -p planctl --bench import [-- ROWS ROUNDS]`

#![allow(clippy::unwrap_used)] // a measurement that cannot go on fails

use engine::{Engine, Options, Principal, Step};
use net::tls::Identity;
use net::wire::{Call, WireHandler, WireOptions};
use planck_client::{ConnectOptions, Connection, Security};
use platform::real::{RealClock, RealDisk, RealEntropy};
use proto::request::BatchBuf;
use proto::{Reply, Request, Status};
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Rows of a batch, as planctl has them.
const BATCH: usize = 1000;
/// Batches in flight, as planctl has them.
const IN_FLIGHT: usize = 4;
const USER: &str = "admin";
const KEY_SPEC: &str = "year:u16,month:u8,day:u8,id:u64";

struct Handler(Arc<Engine>);

impl WireHandler for Handler {
    type Session = Principal;

    fn authenticate(
        &self,
        user: &str,
        key: &str,
        _: SocketAddr,
    ) -> Result<Principal, (Status, String)> {
        self.0.authenticate(user, key).map_err(|refusal| (refusal.status, refusal.message))
    }

    fn handle(&self, who: &Principal, packet: &[u8], _: &Call, out: &mut Vec<u8>) {
        self.0.dispatch_packet(who, packet, out);
    }
}

/// Rows like those of nycflights13.
fn csv(rows: usize) -> String {
    let mut text = String::from(
        "year,month,day,dep_time,sched_dep_time,dep_delay,arr_time,sched_arr_time,arr_delay,\
         carrier,flight,tailnum,origin,dest,air_time,distance,hour,minute,time_hour,id\n",
    );
    for id in 0..rows {
        // In the order of the keys, as both ways send them.
        let day = id * 12 * 28 / rows;
        let (month, day, minute) = (day / 28 + 1, day % 28 + 1, id * 7 % 60);
        let delay = (id * 31 % 200) as i64 - 40;
        writeln!(
            text,
            "2013,{month},{day},{},{},{delay},{},{},{},{},{},N{}UA,EWR,IAH,{},1400,{},{minute},\
             2013-{month:02}-{day:02}T10:00:00Z,{id}",
            id % 2400,
            (id + 5) % 2400,
            (id + 90) % 2400,
            (id + 95) % 2400,
            delay + 7,
            ["UA", "AA", "B6", "DL"][id % 4],
            id % 9000,
            id % 5000,
            id % 300,
            id % 24,
        )
        .unwrap();
    }
    text
}

/// All rows of a store, as batches.
async fn batches(client: &mut Connection, store: &str) -> Vec<BatchBuf> {
    let mut all: Vec<BatchBuf> = vec![BatchBuf::new()];
    let mut after = None;
    loop {
        let request = Request::Scan { store, after, limit: 10_000, reverse: false };
        let packet = client.call(&request).await.unwrap();
        let (_, Reply::Rows(rows)) = Reply::decode(&packet).unwrap() else { panic!("no rows") };
        for (key, document) in rows.iter() {
            if all.last().unwrap().len() == BATCH {
                all.push(BatchBuf::new());
            }
            all.last_mut().unwrap().push(key, document);
        }
        match rows.next {
            Some(next) => after = Some(next),
            None => return all,
        }
    }
}

/// Sends batches as planctl does; how long it takes.
async fn raw(client: &mut Connection, store: &str, batches: &[BatchBuf]) -> Duration {
    client.call(&Request::CreateStore { store, if_not_exists: false }).await.unwrap();
    let began = Instant::now();
    for batch in batches {
        if client.in_flight() >= IN_FLIGHT {
            acknowledged(client).await;
        }
        client.send(&Request::BatchInsert { store, batch: batch.as_batch() }).await.unwrap();
    }
    while client.in_flight() > 0 {
        acknowledged(client).await;
    }
    began.elapsed()
}

async fn acknowledged(client: &mut Connection) {
    let packet = client.receive().await.unwrap();
    assert!(matches!(Reply::decode(&packet).unwrap().1, Reply::Keys(_)), "a batch was refused");
}

/// Runs `planctl import`; how long it says that it took.
fn import(dir: &Path, address: &str, fingerprint: &str, store: &str) -> Duration {
    let key = dir.join("admin.key");
    let out = Command::new(env!("CARGO_BIN_EXE_planctl"))
        .args(["import", store, dir.join("rows.csv").to_str().unwrap(), "--create", "--json"])
        .args(["--key", KEY_SPEC, "--server", address, "--fingerprint", fingerprint])
        .args(["--key-file", key.to_str().unwrap()])
        .output()
        .unwrap();
    let text = String::from_utf8(out.stdout).unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let (_, seconds) = text.trim().trim_end_matches('}').rsplit_once(':').unwrap();
    Duration::from_secs_f64(seconds.parse().unwrap())
}

fn main() {
    // Cargo gives options of its own; numbers are ours.
    let mut numbers = std::env::args().filter_map(|argument| argument.parse::<usize>().ok());
    let rows = numbers.next().unwrap_or(200_000);
    let rounds = numbers.next().unwrap_or(3);
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("rows.csv"), csv(rows)).unwrap();
    let disk = Arc::new(RealDisk::new(dir.path().join("data")).unwrap());
    let engine =
        Engine::open(disk, Arc::new(RealClock::new()), Arc::new(RealEntropy), Options::default());
    let engine = Arc::new(engine.unwrap());
    let key = engine.ensure_admin().unwrap().expect("a new directory has no admin");
    std::fs::write(dir.path().join("admin.key"), &key).unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let upkeep = {
        let (engine, stop) = (engine.clone(), stop.clone());
        std::thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                if matches!(engine.maintenance(), Ok(Step::Idle) | Err(_)) {
                    std::thread::sleep(Duration::from_millis(5));
                }
            }
        })
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let identity = Identity::load_or_create(&dir.path().join("tls"), &[]).unwrap();
    let security = identity.wire().unwrap();
    let handler = Handler(engine.clone());
    let listening =
        net::wire::serve(([127, 0, 0, 1], 0).into(), security, WireOptions::default(), handler);
    let server = runtime.block_on(listening).unwrap();
    let address = server.address().to_string();
    let fingerprint = identity.fingerprint.to_string();

    import(dir.path(), &address, &fingerprint, "warm");
    let pin = Security::Pinned(identity.fingerprint);
    let connecting = Connection::connect(&address, pin, USER, &key, ConnectOptions::default());
    let mut client = runtime.block_on(connecting).unwrap();
    let batches = runtime.block_on(batches(&mut client, "warm"));
    let mut ratios = Vec::new();
    for round in 1..=rounds {
        let imported = import(dir.path(), &address, &fingerprint, &format!("i{round}"));
        let sent = runtime.block_on(raw(&mut client, &format!("r{round}"), &batches));
        let rate = |took: Duration| rows as f64 / took.as_secs_f64() / 1000.0;
        let ratio = rate(imported) / rate(sent);
        println!(
            "round {round}: import {:.0} k rows/s, raw batches {:.0} k rows/s, ratio {ratio:.2}",
            rate(imported),
            rate(sent)
        );
        ratios.push(ratio);
    }
    ratios.sort_by(f64::total_cmp);
    println!("import over raw batches, median of {rounds}: {:.2}", ratios[rounds / 2]);
    drop(client);
    runtime.block_on(server.drain());
    stop.store(true, Ordering::Relaxed);
    upkeep.join().unwrap();
}
