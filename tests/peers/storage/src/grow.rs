//! Cost as the data grows: throughput of random inserts, reads and the bytes
//! written, each time the store has doubled or tripled.
//!
//! What must stay true: an engine that takes longer than its time is left there, and
//! the table says so; how much slower it got is said against its own first million.

use crate::args::Args;
use crate::disk::{Written, space};
use crate::engines::{Engine, Mode, Store};
use crate::report;
use crate::run::chosen;
use crate::work::{Values, mix, random_key};
use shared::rows::{Rows, Times};
use shared::{fresh, touch};
use std::time::{Duration, Instant};

const BYTES: usize = 100;
const BATCH: u64 = 100;
const STEPS: &[u64] = &[1_000_000, 3_000_000, 10_000_000, 30_000_000, 100_000_000];

/// Fills each engine up to `--keys`, in steps, `--rounds` times.
pub fn grow(args: &Args) -> Result<(), String> {
    let engines = chosen(args)?;
    let (mut rows, mut left) = (Rows::default(), Vec::new());
    for round in 0..args.rounds {
        for turn in 0..engines.len() {
            let engine = &engines[(turn + round) % engines.len()];
            if let Some(keys) = one(args, engine, &mut rows)? {
                let minutes = args.minutes;
                left.push(format!("{} after {minutes} minutes, at {keys} keys", engine.name));
            }
        }
    }
    fresh(&args.out.join("data"))?;
    report::grown(args, BYTES, &engines, &left, &rows)
}

/// Fills one engine; where it stood when its time was over, if it was.
fn one(args: &Args, engine: &Engine, rows: &mut Rows) -> Result<Option<u64>, String> {
    let dir = fresh(&args.out.join("data"))?;
    let values = Values::new(BYTES);
    let store = (engine.open)(&dir, Mode::Fast);
    let until = Instant::now() + Duration::from_secs(args.minutes * 60);
    let (mut have, mut first) = (0, None);
    for &step in STEPS.iter().filter(|step| **step <= args.keys) {
        let name = format!("grow to {step} random keys, {BYTES} B");
        let (written, start) = (Written::from_now(&dir)?, Instant::now());
        // What is new since the last step, written behind what is there.
        let reached = insert(&*store, have..step, &values, until);
        if reached < step {
            return Ok(Some(reached));
        }
        let new = step - have;
        let rate = new as f64 / start.elapsed().as_secs_f64() / 1e3;
        rows.add(&name, engine.name, "k/s", rate);
        let before = *first.get_or_insert(rate);
        rows.add(&name, engine.name, "times slower than to the first", before / rate);
        store.settle();
        let bytes = (new * (16 + BYTES as u64)) as f64;
        rows.add(&name, engine.name, "write amplification", written.bytes()? as f64 / bytes);
        have = step;
        let live = (have * (16 + BYTES as u64)) as f64;
        rows.add(&name, engine.name, "space over live, settled", space(&dir) as f64 / live);
        let mut times = Times::of(50_000, |n| {
            let mut seen = 0;
            let found = store.get(&random_key(mix(n) % have), &mut |value| seen = touch(value));
            assert!(found, "{}: a key that was written is not there", engine.name);
            std::hint::black_box(seen);
        });
        rows.times(&format!("{name}: get"), engine.name, &mut times);
        eprintln!("peers: {}: {step} keys, {rate:.0} k/s", engine.name);
    }
    Ok(None)
}

/// Inserts these keys, or as many as there is time for. The first that is missing.
fn insert(store: &dyn Store, keys: std::ops::Range<u64>, values: &Values, until: Instant) -> u64 {
    let mut at = keys.start;
    while at < keys.end {
        // Made before the time is looked at, so that making them is little of it.
        let part = at..(at + 1000 * BATCH).min(keys.end);
        let rows: Vec<_> = part.clone().map(|n| (random_key(n), values.get(n))).collect();
        rows.chunks(BATCH as usize).for_each(|batch| store.batch(batch));
        at = part.end;
        if Instant::now() > until {
            return at.min(keys.end - 1);
        }
    }
    at
}
