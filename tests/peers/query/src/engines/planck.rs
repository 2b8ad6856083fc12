//! Ours: the engine in the process, with the threads that the `planck` process has.

use super::{Done, Json, Store};
use crate::data::{Cell, Index, Row, Table};
use crate::queries::{GET, Kind, Query};
use crate::timed::{Asked, once};
use engine::{Engine, Options, Principal, Role, Step, StorageOptions, SyncMode};
use platform::real::{RealClock, RealDisk, RealEntropy};
use proto::doc::{Doc, DocBuf, Value};
use proto::json::{parse_json, to_json};
use proto::request::BatchBuf;
use proto::{Key, Reply, Request};
use shared::{CACHE_BYTES, touch};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

struct Planck {
    engine: Arc<Engine>,
    who: Principal,
    packet: Vec<u8>,
    out: Vec<u8>,
    stop: Arc<AtomicBool>,
    /// The steps have found nothing to do.
    idle: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

pub fn open(path: &Path) -> Done<Box<dyn Store>> {
    let disk = Arc::new(RealDisk::new(path).map_err(|e| e.to_string())?);
    let storage =
        StorageOptions { sync: SyncMode::Async, cache_bytes: CACHE_BYTES, ..Default::default() };
    let options = Options { storage, ..Options::default() };
    let engine = Engine::open(disk, Arc::new(RealClock::new()), Arc::new(RealEntropy), options);
    let engine = Arc::new(engine.map_err(|e| e.to_string())?);
    let (stop, idle) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let spawn = |mut step: Box<dyn FnMut() + Send>| {
        let stop = Arc::clone(&stop);
        std::thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                step();
            }
        })
    };
    let (stepped, rests) = (Arc::clone(&engine), Arc::clone(&idle));
    let stepper = stepped.stepper();
    let steps = spawn(Box::new(move || {
        let step = stepped.maintenance().expect("planck: a step");
        rests.store(step == Step::Idle, Ordering::Release);
        if step == Step::Idle {
            stepper.rest(Duration::from_millis(20));
        }
    }));
    let tended = Arc::clone(&engine);
    let tends = spawn(Box::new(move || {
        if !tended.tend().expect("planck: indexes and expiry") {
            std::thread::sleep(Duration::from_millis(100));
        }
    }));
    let synced = Arc::clone(&engine);
    let mut pauses = 0;
    let syncs = spawn(Box::new(move || {
        // A second, in pieces: the end need not wait for it.
        std::thread::sleep(Duration::from_millis(20));
        pauses += 1;
        if pauses % 50 == 0 {
            synced.sync().expect("planck: sync");
        }
    }));
    let who = Principal::new("bench", Role::Admin);
    let threads = vec![steps, tends, syncs];
    Ok(Box::new(Planck { engine, who, packet: vec![], out: vec![], stop, idle, threads }))
}

impl Drop for Planck {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            thread.join().expect("planck: a background thread");
        }
    }
}

/// The parameters as a document.
fn parameters(values: &[Cell], keyed: bool) -> Vec<u8> {
    let mut doc = DocBuf::new();
    for (n, value) in values.iter().enumerate() {
        let name = (n + 1).to_string();
        match value {
            Cell::Int(key) if keyed => doc.push(&name, Key(*key as u128).to_string().as_str()),
            Cell::Int(n) => doc.push(&name, *n),
            Cell::Real(n) => doc.push(&name, *n),
            Cell::Text(text) => doc.push(&name, text.as_str()),
            Cell::Null => doc.push(&name, Value::Null),
        };
    }
    doc.finish().expect("planck: parameters")
}

impl Planck {
    fn run(&mut self, request: Request<'_>) -> Done<Reply<'_>> {
        self.packet.clear();
        self.out.clear();
        request.encode(1, &mut self.packet);
        self.engine.dispatch_packet(&self.who, &self.packet, &mut self.out);
        match Reply::decode(&self.out) {
            Ok((_, Reply::Error { message, .. })) => Err(message.to_string()),
            Ok((_, reply)) => Ok(reply),
            Err(e) => Err(format!("its reply: {e}")),
        }
    }

    fn ask(&mut self, query: &Query, values: &[Cell]) -> Done<Reply<'_>> {
        match values {
            [Cell::Int(key)] if query.pql == GET.pql => {
                self.run(Request::Read { store: "docs", key: Key(*key as u128) })
            }
            _ => {
                let keyed = query.pql.contains("key = $1") || query.pql.contains("get($1)");
                let given = parameters(values, keyed);
                let parameters = Some(&given[..]).filter(|_| !values.is_empty());
                self.run(Request::Query { text: query.pql, parameters })
            }
        }
    }
}

impl Store for Planck {
    fn version(&mut self) -> Done<String> {
        Ok(format!("planck {}", env!("CARGO_PKG_VERSION")))
    }

    fn create(&mut self, table: &Table) -> Done {
        self.run(Request::CreateStore { store: table.name, if_not_exists: false })?;
        table.indexes.iter().try_for_each(|index| self.index(table, index))
    }

    fn index(&mut self, table: &Table, index: &Index) -> Done {
        let fields: Vec<_> = index.fields.iter().map(|(path, _)| format!("\"{path}\"")).collect();
        let definition =
            format!("{{\"name\":\"{}\",\"fields\":[{}]}}", index.name, fields.join(","));
        let definition = parse_json(&definition).map_err(|e| e.to_string())?;
        let store = table.name;
        self.run(Request::CreateIndex { store, if_not_exists: false, definition: &definition })?;
        // Beside the thread that does, so that its pause does not count.
        while self.engine.tend().map_err(|e| e.to_string())? {}
        Ok(())
    }

    fn insert_each(&mut self, table: &Table, rows: &[Row], budget: Duration) -> Done<Asked> {
        Asked::within(budget, rows.len() as u64, |n| {
            let Row { key, bson, .. } = &rows[n as usize];
            // With the keys of the peers, not one made here.
            let key = Some(Key(u128::from(*key)));
            self.run(Request::Insert { store: table.name, key, document: bson }).map(|_| 1)
        })
    }

    fn insert(&mut self, table: &Table, rows: &[Row]) -> Done<Duration> {
        once(|| {
            let mut batch = BatchBuf::new();
            for row in rows {
                batch.push(Some(Key(u128::from(row.key))), &row.bson);
            }
            let batch = batch.as_batch();
            self.run(Request::BatchInsert { store: table.name, batch }).map(|_| ())
        })
    }

    fn ask_each(
        &mut self,
        query: &Query,
        parameters: &[Vec<Cell>],
        budget: Duration,
    ) -> Done<Asked> {
        Asked::within(budget, parameters.len() as u64, |n| {
            Ok(match self.ask(query, &parameters[n as usize])? {
                Reply::Rows(rows) => {
                    let seen = rows.iter().map(|(_, document)| touch(document)).sum::<u64>();
                    std::hint::black_box(seen);
                    rows.len() as u64
                }
                Reply::Count(n) => n,
                _ => 1,
            })
        })
    }

    fn show(&mut self, query: &Query, parameters: &[Cell]) -> Done<Vec<Json>> {
        match self.ask(query, parameters)? {
            Reply::Rows(rows) => {
                let json = |bytes| {
                    let text = to_json(Doc::trusted(bytes));
                    serde_json::from_str(&text).map_err(|e| format!("its document: {e}"))
                };
                rows.iter().map(|(_, bytes)| json(bytes)).collect()
            }
            Reply::Count(n) if query.kind == Kind::Count => Ok(vec![serde_json::json!({ "n": n })]),
            other => Err(format!("{other:?} is no answer to {}", query.pql)),
        }
    }

    fn settle(&mut self) -> Done {
        // Twice idle, with a flush of what is left between: nothing more follows.
        self.engine.flush().map_err(|e| e.to_string())?;
        for _ in 0..2 {
            self.idle.store(false, Ordering::Release);
            while !self.idle.load(Ordering::Acquire) {
                std::thread::sleep(Duration::from_millis(2));
            }
        }
        Ok(())
    }
}
