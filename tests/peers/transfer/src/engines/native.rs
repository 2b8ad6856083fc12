//! Our engine in this process, asked as a guest's host asks it.

use super::{Bank, Done, Ran, Terms, Total, one_by_one, said, together};
use crate::work::{CENTS, Transfer, Work};
use engine::{CallTransaction, Engine, Options, Principal, Role, Step, StorageOptions, SyncMode};
use platform::real::{RealClock, RealDisk, RealEntropy};
use proto::doc::{Doc, DocBuf, Value};
use proto::request::BatchBuf;
use proto::{Key, Reply, Request, Status};
use shared::CACHE_BYTES;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::Duration;

/// As a guest's call is run.
const ATTEMPTS: u32 = 5;
const STORE: &str = "accounts";

struct Native {
    engine: Arc<Engine>,
    threads: u64,
    stop: Arc<AtomicBool>,
    steps: Vec<JoinHandle<()>>,
}

pub fn open(terms: &Terms<'_>) -> Done<Box<dyn Bank>> {
    let disk = Arc::new(RealDisk::new(terms.dir).map_err(said)?);
    let sync = if terms.sync { SyncMode::Sync } else { SyncMode::Async };
    let storage = StorageOptions { sync, cache_bytes: CACHE_BYTES, ..Default::default() };
    let options = Options { storage, ..Options::default() };
    let engine = Engine::open(disk, Arc::new(RealClock::new()), Arc::new(RealEntropy), options);
    let engine = Arc::new(engine.map_err(said)?);
    let stop = Arc::new(AtomicBool::new(false));
    let (stepped, stopped) = (Arc::clone(&engine), Arc::clone(&stop));
    let step = std::thread::spawn(move || {
        let stepper = stepped.stepper();
        while !stopped.load(Relaxed) {
            if stepped.maintenance().expect("planck: a step") == Step::Idle {
                stepper.rest(Duration::from_millis(20));
            }
        }
    });
    let (synced, stopped) = (Arc::clone(&engine), Arc::clone(&stop));
    let syncs = std::thread::spawn(move || {
        for pause in 1_u64.. {
            std::thread::sleep(Duration::from_millis(20));
            if stopped.load(Relaxed) {
                break;
            }
            if pause.is_multiple_of(50) {
                synced.sync().expect("planck: sync");
            }
        }
    });
    // Who waits for the disk waits together; who does not is as fast as there are processors.
    let cores = std::thread::available_parallelism().map_or(1, |n| n.get() as u64);
    let threads = if terms.sync { terms.args.together } else { cores.min(terms.args.together) };
    Ok(Box::new(Native { engine, threads, stop, steps: vec![step, syncs] }))
}

impl Drop for Native {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
        for step in self.steps.drain(..) {
            step.join().expect("planck: a thread of its own");
        }
    }
}

pub fn account(cents: i64) -> Vec<u8> {
    let mut doc = DocBuf::new();
    doc.push("cents", cents);
    doc.finish().expect("a small document")
}

pub fn cents(document: &[u8]) -> Done<i64> {
    match Doc::trusted(document).get("cents") {
        Some(Value::Int64(cents)) => Ok(cents),
        other => Err(format!("an account has {other:?}")),
    }
}

pub fn key(n: u64) -> Key {
    Key(n.into())
}

/// One that asks.
struct Caller<'e> {
    engine: &'e Engine,
    who: Principal,
    packet: Vec<u8>,
    out: Vec<u8>,
}

impl<'e> Caller<'e> {
    fn new(engine: &'e Engine) -> Caller<'e> {
        let who = Principal::new("bench", Role::Admin);
        Caller { engine, who, packet: Vec::new(), out: Vec::new() }
    }

    fn ask(
        &mut self,
        call: Option<&mut CallTransaction>,
        request: &Request<'_>,
    ) -> Done<Reply<'_>> {
        self.packet.clear();
        self.out.clear();
        request.encode(1, &mut self.packet);
        match call {
            Some(call) => {
                self.engine.dispatch_in_call(&self.who, call, &self.packet, &mut self.out);
            }
            None => self.engine.dispatch_packet(&self.who, &self.packet, &mut self.out),
        }
        match Reply::decode(&self.out).map_err(said)?.1 {
            Reply::Error { status, message } => Err(format!("{status}: {message}")),
            reply => Ok(reply),
        }
    }

    fn read(&mut self, call: &mut CallTransaction, n: u64) -> Done<i64> {
        match self.ask(Some(call), &Request::Read { store: STORE, key: key(n) })? {
            Reply::Rows(rows) => match rows.iter().next() {
                Some((_, document)) => cents(document),
                None => Err(format!("account {n} is not there")),
            },
            other => Err(format!("a Read gave {other:?}")),
        }
    }

    fn write(&mut self, call: &mut CallTransaction, n: u64, cents: i64) -> Done {
        let document = &account(cents)[..];
        let request = Request::Update { store: STORE, key: key(n), document, upsert: false };
        self.ask(Some(call), &request).map(drop)
    }

    /// As a guest's call, with its reruns.
    fn transfer(&mut self, Transfer { from, to, cents }: Transfer) -> Done<bool> {
        for attempt in 0..ATTEMPTS {
            if attempt > 0 {
                self.engine.runs_again();
                std::thread::sleep(Duration::from_micros(250 << attempt));
            }
            let session = self.who.in_session(self.engine.begin_session());
            self.who = session;
            let mut call = CallTransaction::latest();
            let (payer, payee) = (self.read(&mut call, from)?, self.read(&mut call, to)?);
            if payer < cents {
                return Ok(false);
            }
            self.write(&mut call, from, payer - cents)?;
            self.write(&mut call, to, payee + cents)?;
            match self.engine.commit_call(&self.who, call) {
                Ok(()) => return Ok(true),
                Err(refusal) if refusal.status == Status::TransactionConflict => {}
                Err(refusal) => return Err(refusal.message),
            }
        }
        Ok(false)
    }
}

impl Bank for Native {
    fn version(&self) -> String {
        format!("{} threads", self.threads)
    }

    fn fill(&mut self, accounts: u64) -> Done {
        let mut caller = Caller::new(&self.engine);
        caller.ask(None, &Request::CreateStore { store: STORE, if_not_exists: true })?;
        let document = account(CENTS);
        for first in (0..accounts).step_by(500) {
            let mut batch = BatchBuf::default();
            for n in first..(first + 500).min(accounts) {
                batch.push(Some(key(n)), &document);
            }
            let request = Request::BatchInsert { store: STORE, batch: batch.as_batch() };
            caller.ask(None, &request)?;
        }
        Ok(())
    }

    fn run(&mut self, work: &Work, time: Duration) -> Done<Ran> {
        let engine = &self.engine;
        let parts: Vec<Done<Ran>> = std::thread::scope(|scope| {
            let run = |n: u64| {
                scope.spawn(move || {
                    let mut caller = Caller::new(engine);
                    one_by_one(work, n * 7777, time, |transfer| caller.transfer(transfer))
                })
            };
            let threads: Vec<_> = (0..self.threads).map(run).collect();
            threads.into_iter().map(|t| t.join().expect("a thread panicked")).collect()
        });
        Ok(together(parts.into_iter().collect::<Done<Vec<_>>>()?))
    }

    fn disturbed(&mut self) -> Done<Option<u64>> {
        Ok(Some(self.engine.figures().map_err(|refusal| refusal.message)?.transactions.again))
    }

    fn total(&mut self) -> Done<Total> {
        let mut caller = Caller::new(&self.engine);
        let mut total = Total { accounts: 0, cents: 0, least: i64::MAX };
        let mut after = None;
        loop {
            let request = Request::Scan { store: STORE, after, limit: 0, reverse: false };
            let Reply::Rows(rows) = caller.ask(None, &request)? else {
                return Err("a Scan gave no rows".to_owned());
            };
            for (_, document) in rows.iter() {
                total.add(cents(document)?);
            }
            after = rows.next;
            if after.is_none() {
                return Ok(total);
            }
        }
    }
}
