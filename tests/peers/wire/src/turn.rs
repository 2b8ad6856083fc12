//! One server's turn in one round: the workloads.
//!
//! What must stay true: all servers are asked for the same documents in the same order;
//! what is timed has been run before; the first failure ends the turn.

use crate::args::Args;
use crate::cpu::Used;
use crate::documents::{Documents, Found};
use crate::peers::{Done, Engine, Peer, Server, Terms, Trouble};
use shared::mix;
use shared::rows::{Rows, Times};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

/// Requests sent together.
pub const TOGETHER: u64 = 32;
/// Connections of the workload that has several.
pub const CONNECTIONS: u64 = 8;
/// Documents of one load before the next ones are sent.
const BATCH: u64 = 500;
const WARM: u64 = 1000;
const SCANS: u64 = 3;

const READ: &str = "read by key";
const READ_TOGETHER: &str = "read by key, 32 together";
const READ_CONNECTED: &str = "read by key, 8 connections";
const INSERT: &str = "insert";
const INSERT_TOGETHER: &str = "insert, 32 together";
const SCAN: &str = "scan of all, streamed";
/// What stands for the work of the server itself.
pub const CPU: &str = "server cpu us";

/// Starts the server, asks it everything, and gives its version.
pub fn turn(args: &Args, engine: &Engine, terms: &Terms<'_>, rows: &mut Rows) -> Done<String> {
    let parts = args.asks / TOGETHER;
    let count = args.docs + args.asks + parts * TOGETHER;
    let documents = Arc::new(Documents::make(engine.form, count)?);
    let server = &*(engine.open)(terms)?;
    let mut peer = server.connect(&documents)?;
    let peer = &mut *peer;
    for from in (0..args.docs).step_by(BATCH as usize) {
        let batch: Vec<u64> = (from..(from + BATCH).min(args.docs)).collect();
        peer.put_many(&batch)?;
    }
    peer.settle()?;
    // What a server does behind a load is none of what follows.
    thread::sleep(Duration::from_secs(1));
    let mut turn = Turn { engine, server, rows };
    let asked = |salt: u64, n: u64| mix(mix(salt) ^ n) % args.docs;
    let many = |salt: u64, part: u64| -> Vec<u64> {
        (part * TOGETHER..(part + 1) * TOGETHER).map(|n| asked(salt, n)).collect()
    };
    for n in 0..WARM {
        peer.get(asked(1, n))?;
    }
    peer.get_many(&many(1, 0))?;
    turn.timed(READ, args.asks, 1, |n| peer.get(asked(2, n)))?;
    turn.timed(READ_TOGETHER, parts, TOGETHER, |part| peer.get_many(&many(3, part)))?;
    turn.connected(&documents, args.asks, |n| asked(4, n))?;
    let first = args.docs;
    turn.timed(INSERT, args.asks, 1, |n| peer.put(first + n))?;
    let first = first + args.asks;
    turn.timed(INSERT_TOGETHER, parts, TOGETHER, |part| {
        let from = first + part * TOGETHER;
        peer.put_many(&(from..from + TOGETHER).collect::<Vec<_>>())
    })?;
    turn.scans(peer, &documents)?;
    Ok(server.version().to_owned())
}

struct Turn<'a> {
    engine: &'a Engine,
    server: &'a dyn Server,
    rows: &'a mut Rows,
}

impl Turn<'_> {
    fn add(&mut self, work: &str, metric: &'static str, value: f64) {
        self.rows.add(work, self.engine.name, metric, value);
    }

    fn used(&self) -> Done<Used> {
        Ok(Used::by(self.server.process())?)
    }

    /// Calls this so many times; each call makes so many requests.
    fn timed(
        &mut self,
        work: &str,
        calls: u64,
        requests: u64,
        mut call: impl FnMut(u64) -> Done,
    ) -> Done {
        let mut each = Vec::with_capacity(calls as usize);
        let before = self.used()?;
        for n in 0..calls {
            each.push(time_of(|| call(n))?);
        }
        let used = self.used()?.since(&before);
        let mut times = Times::taken(each);
        let all = (calls * requests) as f64;
        self.add(work, "k/s", all / times.seconds() / 1e3);
        self.add(work, "p50 us", times.percentile(0.5));
        self.add(work, "p99 us", times.percentile(0.99));
        self.add(work, CPU, used / all);
        Ok(())
    }

    /// Reads by several connections at once, each with a thread of its own, one by one.
    fn connected(
        &mut self,
        documents: &Arc<Documents>,
        asks: u64,
        asked: impl Fn(u64) -> u64 + Sync,
    ) -> Done {
        let connect = |_| self.server.connect(documents);
        let mut peers = (0..CONNECTIONS).map(connect).collect::<Done<Vec<_>>>()?;
        for peer in &mut peers {
            (0..WARM / CONNECTIONS).try_for_each(|n| peer.get(asked(n)))?;
        }
        let per = asks / CONNECTIONS;
        let before = self.used()?;
        let start = Instant::now();
        let parts: Vec<Done<Vec<u32>>> = thread::scope(|scope| {
            let asked = &asked;
            let mut threads = Vec::new();
            for (at, peer) in (0..CONNECTIONS).zip(&mut peers) {
                let numbers = at * per..(at + 1) * per;
                let one = move |n| time_of(|| peer.get(asked(n)));
                threads.push(scope.spawn(move || numbers.map(one).collect()));
            }
            threads.into_iter().map(|t| t.join().expect("a thread panicked")).collect()
        });
        let seconds = start.elapsed().as_secs_f64();
        let used = self.used()?.since(&before);
        let each = parts.into_iter().collect::<Done<Vec<_>>>()?.concat();
        let all = each.len() as f64;
        let mut times = Times::taken(each);
        self.add(READ_CONNECTED, "k/s", all / seconds / 1e3);
        self.add(READ_CONNECTED, "p50 us", times.percentile(0.5));
        self.add(READ_CONNECTED, "p99 us", times.percentile(0.99));
        self.add(READ_CONNECTED, CPU, used / all);
        Ok(())
    }

    fn scans(&mut self, peer: &mut dyn Peer, documents: &Documents) -> Done {
        let before = self.used()?;
        let mut seconds = 0.0;
        for _ in 0..SCANS {
            let mut found = Found::new(documents);
            let start = Instant::now();
            peer.scan(&mut found)?;
            seconds += start.elapsed().as_secs_f64();
            found.check()?;
        }
        let used = self.used()?.since(&before);
        let all = (SCANS * documents.count()) as f64;
        self.add(SCAN, "k/s", all / seconds / 1e3);
        self.add(SCAN, CPU, used / all);
        Ok(())
    }
}

/// How long it takes, in nanoseconds.
fn time_of(call: impl FnOnce() -> Result<(), Trouble>) -> Result<u32, Trouble> {
    let start = Instant::now();
    call()?;
    Ok(u32::try_from(start.elapsed().as_nanos()).unwrap_or(u32::MAX))
}
