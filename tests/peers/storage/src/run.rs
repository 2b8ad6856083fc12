//! The workloads, engine by engine, round by round.
//!
//! What must stay true: each workload starts from a state that is the same for
//! all (the same keys written in the same order); reads check that they found
//! what must be there; the figure of a workload has nothing of the next.

use crate::args::Args;
use crate::disk::{Written, space};
use crate::engines::{ALL, Engine, Mode, Store};
use crate::floor;
use crate::report;
use crate::work::{Choice, Key, Values, Zipf, absent_key, mix, ordered_key, random_key};
use shared::rows::{Rows, Times};
use shared::{fresh, touch};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

const BATCH: u64 = 100;
/// Bytes of log that the child which kills itself has written.
const LOG_BYTES: u64 = 64 << 20;
/// Puts a second, where a writer does not go as fast as it can, and how many: such
/// that every engine's buffers are filled several times, or not once.
const PACE: u64 = 50_000;
const PACED: u64 = 300_000;
const PACED_FEW: u64 = 60_000;
/// The size of value that all workloads are run with; the others get a part.
const MAIN: usize = 400;

/// All workloads, all engines, all rounds.
pub fn compare(args: &Args) -> Result<(), String> {
    let data = args.out.join("data");
    let engines = chosen(args)?;
    let mut rows = Rows::default();
    for round in 0..args.rounds {
        let dir = fresh(&data)?;
        eprintln!("peers: round {} of {}: the machine's floor", round + 1, args.rounds);
        floor::floor(&dir, args.keys.min(200_000), &mut rows)?;
        for &bytes in &args.values {
            for turn in 0..engines.len() {
                let engine = &engines[(turn + round) % engines.len()];
                eprintln!("peers:   {bytes} B values: {}", engine.name);
                one(args, engine, bytes, &data, &mut rows)?;
            }
        }
    }
    fresh(&data)?;
    report::compared(args, &engines, &rows)
}

/// The engines asked for.
pub fn chosen(args: &Args) -> Result<Vec<Engine>, String> {
    shared::chosen(ALL, |engine| engine.name, &args.engines)
}

/// Writes keys `0..keys` in batches.
pub fn load(store: &dyn Store, keys: u64, values: &Values, key: fn(u64) -> Key) -> Times {
    Times::of(keys.div_ceil(BATCH), |b| {
        let range = b * BATCH..((b + 1) * BATCH).min(keys);
        let rows: Vec<_> = range.map(|n| (key(n), values.get(n))).collect();
        store.batch(&rows);
    })
}

fn one(
    args: &Args,
    engine: &Engine,
    bytes: usize,
    data: &Path,
    rows: &mut Rows,
) -> Result<(), String> {
    // Large values: fewer of them, so that a round ends.
    let keys = if bytes > 1024 { (args.keys / 4).max(1000) } else { args.keys };
    let ops = keys.min(200_000);
    let values = Values::new(bytes);
    let name = |what: &str| format!("{what}, {bytes} B");
    let live = (keys * (16 + bytes as u64)) as f64;

    let dir = fresh(data)?;
    let store = (engine.open)(&dir, Mode::Fast);
    let written = Written::from_now(&dir)?;
    let start = Instant::now();
    load(&*store, keys, &values, random_key);
    let seconds = start.elapsed().as_secs_f64();
    rows.add(name("batches of 100, random keys"), engine.name, "k/s", keys as f64 / seconds / 1e3);
    store.settle();
    rows.add(
        name("batches of 100, random keys"),
        engine.name,
        "write amplification",
        written.bytes()? as f64 / live,
    );
    drop(store);

    let dir = fresh(data)?;
    let store = (engine.open)(&dir, Mode::Fast);
    let mut times = Times::of(keys, |n| store.put(&random_key(n), values.get(n)));
    rows.times(&name("put one by one, random keys"), engine.name, &mut times);
    store.settle();
    reads(&*store, engine, keys, ops, &name, rows);
    if bytes == MAIN {
        let keys = ycsb(&*store, engine, keys, ops / 2, &values, rows);
        overwrites(&*store, engine, keys, &values, &dir, rows)?;
        let put = |n: u64| store.put(&random_key(mix(n) % keys), values.get(n));
        let mut times = Times::paced(PACED, PACE, put);
        rows.times("put at 50 k/s, with flushes and collections", engine.name, &mut times);
        store.settle();
    }
    drop(store);
    if bytes == MAIN {
        reopen("reopen after a clean close", engine, &dir, rows);
        kill(args, engine, &dir, rows)?;

        let dir = fresh(data)?;
        let store = (engine.open)(&dir, Mode::Fast);
        let few = PACED_FEW.min(keys);
        let mut times = Times::paced(few, PACE, |n| store.put(&random_key(n), values.get(n)));
        rows.times("put at 50 k/s, all in memory", engine.name, &mut times);
        drop(store);

        let dir = fresh(data)?;
        let store = (engine.open)(&dir, Mode::Fast);
        let mut times = Times::of(keys, |n| store.put(&ordered_key(n), values.get(n)));
        rows.times(&name("put one by one, keys in order"), engine.name, &mut times);
        drop(store);
        durable(engine, &fresh(data)?, &values, rows);
    }
    Ok(())
}

fn reads(
    store: &dyn Store,
    engine: &Engine,
    keys: u64,
    ops: u64,
    name: &dyn Fn(&str) -> String,
    rows: &mut Rows,
) {
    let sum = AtomicU64::new(0);
    let get = |n: u64| {
        let mut seen = 0;
        let found = store.get(&random_key(mix(n) % keys), &mut |value| seen = touch(value));
        assert!(found, "{}: a key that was written is not there", engine.name);
        sum.fetch_add(seen, Ordering::Relaxed);
    };
    (0..ops).for_each(get); // warm
    rows.times(&name("get, 1 thread"), engine.name, &mut Times::of(ops, get));
    let mut times = Times::of_threads(2, ops, |_, n| get(n));
    rows.times(&name("get, 2 threads"), engine.name, &mut times);
    let mut times = Times::of(ops, |n| {
        let found = store.get(&absent_key(n), &mut |_| {});
        assert!(!found, "{}: a key that was never written is there", engine.name);
    });
    rows.times(&name("get of an absent key"), engine.name, &mut times);
    let scan = |n: u64| {
        let mut seen = 0;
        store.scan(&random_key(mix(n) % keys), 100, &mut |value| seen += touch(value));
        sum.fetch_add(seen, Ordering::Relaxed);
    };
    let scans = (ops / 50).max(100);
    (0..scans).for_each(scan);
    rows.times(&name("scan of 100"), engine.name, &mut Times::of(scans, scan));
    assert!(sum.into_inner() > 0);
}

/// YCSB A to F, two threads, zipfian. How many keys there are then.
fn ycsb(
    store: &dyn Store,
    engine: &Engine,
    keys: u64,
    ops: u64,
    values: &Values,
    rows: &mut Rows,
) -> u64 {
    // Share of reads, updates, inserts, scans, read-modify-writes in percent.
    const MIXES: [(&str, [u64; 5]); 6] = [
        ("YCSB A (50 read, 50 update)", [50, 50, 0, 0, 0]),
        ("YCSB B (95 read, 5 update)", [95, 5, 0, 0, 0]),
        ("YCSB C (read)", [100, 0, 0, 0, 0]),
        ("YCSB D (95 read the latest, 5 insert)", [95, 0, 5, 0, 0]),
        ("YCSB E (95 scan, 5 insert)", [0, 0, 5, 95, 0]),
        ("YCSB F (50 read, 50 read and write back)", [50, 0, 0, 0, 50]),
    ];
    let zipf = Zipf::new(keys);
    let last = AtomicU64::new(keys);
    for (name, [read, update, insert, scan, _]) in MIXES {
        let ops = if scan > 0 { ops / 20 } else { ops };
        let latest = name.contains("latest");
        let work = |thread: u64, n: u64| {
            let mut choice = Choice::new(n << 1 | thread);
            let dice = choice.below(100);
            let number = if latest {
                last.load(Ordering::Relaxed).saturating_sub(1 + zipf.rank(&mut choice))
            } else {
                zipf.scattered(&mut choice)
            };
            let key = random_key(number);
            let mut seen = 0;
            if dice < read {
                store.get(&key, &mut |value| seen = touch(value));
            } else if dice < read + update {
                store.put(&key, values.get(n));
            } else if dice < read + update + insert {
                store.put(&random_key(last.fetch_add(1, Ordering::Relaxed)), values.get(n));
            } else if dice < read + update + insert + scan {
                let count = 1 + choice.below(100) as usize;
                store.scan(&key, count, &mut |value| seen += touch(value));
            } else {
                store.get(&key, &mut |value| seen = touch(value));
                store.put(&key, values.get(n));
            }
            std::hint::black_box(seen);
        };
        rows.times(name, engine.name, &mut Times::of_threads(2, ops, work));
    }
    last.into_inner()
}

/// Everything written again twice, in another order, and the space that takes.
fn overwrites(
    store: &dyn Store,
    engine: &Engine,
    keys: u64,
    values: &Values,
    dir: &Path,
    rows: &mut Rows,
) -> Result<(), String> {
    const NAME: &str = "overwrite everything twice more, 400 B";
    let live = (keys * 416) as f64;
    let written = Written::from_now(dir)?;
    let start = Instant::now();
    let mut times = Times::of(2 * keys, |n| {
        // An odd multiplier walks through all keys once in each pass.
        let number = (n * 0x9E37_79B1) % keys;
        store.put(&random_key(number), values.get(n));
    });
    let seconds = start.elapsed().as_secs_f64();
    rows.times(NAME, engine.name, &mut times);
    rows.add(NAME, engine.name, "space over live, right after", space(dir) as f64 / live);
    store.settle();
    rows.add(NAME, engine.name, "space over live, settled", space(dir) as f64 / live);
    let wrote = written.bytes()? as f64;
    rows.add(NAME, engine.name, "write amplification", wrote / (2.0 * live));
    rows.add(
        NAME,
        engine.name,
        "seconds with background",
        start.elapsed().as_secs_f64().max(seconds),
    );
    Ok(())
}

/// A child writes a log and kills itself; how long does the next open take?
fn kill(args: &Args, engine: &Engine, dir: &Path, rows: &mut Rows) -> Result<(), String> {
    let myself = std::env::current_exe().map_err(|e| e.to_string())?;
    let status = Command::new(myself)
        .args(["die", "--engine", engine.name, "--dir"])
        .arg(dir)
        .args(["--keys", &args.keys.to_string()])
        .status()
        .map_err(|e| format!("the child could not be started: {e}"))?;
    if status.success() {
        return Err(format!("{}: the child did not kill itself", engine.name));
    }
    reopen("reopen after kill -9 with 64 MiB written", engine, dir, rows);
    Ok(())
}

/// How long an open takes; not the close behind it.
fn reopen(name: &str, engine: &Engine, dir: &Path, rows: &mut Rows) {
    let start = Instant::now();
    let store = (engine.open)(dir, Mode::Fast);
    rows.add(name, engine.name, "ms", start.elapsed().as_secs_f64() * 1e3);
    drop(store);
}

/// The child of [`kill`].
pub fn write_and_die(args: &Args, engine: &str, dir: &Path) -> Result<(), String> {
    let found = ALL.iter().find(|e| e.name == engine);
    let engine = found.ok_or(format!("there is no engine {engine}"))?;
    let store = (engine.open)(dir, Mode::Fast);
    let values = Values::new(MAIN);
    for n in 0..LOG_BYTES / 416 {
        store.put(&random_key(args.keys + n), values.get(n));
    }
    let me = rustix::process::getpid();
    rustix::process::kill_process(me, rustix::process::Signal::KILL).map_err(|e| e.to_string())?;
    Err("still alive".to_owned())
}

/// Every write durable before it is acknowledged, by one and by eight threads.
fn durable(engine: &Engine, dir: &Path, values: &Values, rows: &mut Rows) {
    let store = (engine.open)(dir, Mode::Durable);
    let mut times = Times::of(1000, |n| store.put(&random_key(n), values.get(n)));
    rows.times("durable put, 1 thread", engine.name, &mut times);
    let put = |_, n| store.put(&random_key(1000 + n), values.get(n));
    rows.times("durable put, 8 threads", engine.name, &mut Times::of_threads(8, 4000, put));
}
