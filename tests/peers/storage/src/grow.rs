//! Cost as the data grows: throughput of random inserts, reads and the bytes
//! written, each time the store has doubled or tripled.

use crate::args::Args;
use crate::engines::Mode;
use crate::report;
use crate::run::{chosen, space, written};
use crate::work::{Values, mix, random_key};
use shared::rows::{Rows, Times};
use shared::{fresh, touch};
use std::time::Instant;

const BYTES: usize = 100;
const STEPS: &[u64] = &[300_000, 1_000_000, 3_000_000, 10_000_000, 30_000_000, 100_000_000];

/// Fills each engine up to `--keys`, in steps.
pub fn grow(args: &Args) -> Result<(), String> {
    let data = args.out.join("data");
    let values = Values::new(BYTES);
    let engines = chosen(args)?;
    let mut rows = Rows::default();
    for engine in &engines {
        let dir = fresh(&data)?;
        let store = (engine.open)(&dir, Mode::Fast);
        let mut have = 0;
        for &step in STEPS.iter().filter(|step| **step <= args.keys) {
            let name = format!("grow to {step} random keys, {BYTES} B");
            let (before, start) = (written(), Instant::now());
            // What is new since the last step, written behind what is there.
            let new = step - have;
            for part in (0..new).step_by(100_000) {
                let base = have + part;
                let keys = 100_000.min(new - part);
                let rows = (0..keys).map(|n| (random_key(base + n), values.get(n)));
                for batch in rows.collect::<Vec<_>>().chunks(100) {
                    store.batch(batch);
                }
            }
            let rate = new as f64 / start.elapsed().as_secs_f64() / 1e3;
            rows.add(&name, engine.name, "k/s", rate);
            store.settle();
            let bytes = (new * (16 + BYTES as u64)) as f64;
            let wrote = (written() - before) as f64;
            rows.add(&name, engine.name, "write amplification", wrote / bytes);
            have = step;
            let live = (have * (16 + BYTES as u64)) as f64;
            rows.add(&name, engine.name, "space over live, settled", space(&dir) as f64 / live);
            let mut times = Times::of(50_000, |n| {
                let mut seen = 0;
                store.get(&random_key(mix(n) % have), &mut |value| seen = touch(value));
                std::hint::black_box(seen);
            });
            rows.times(&format!("{name}: get"), engine.name, &mut times);
            eprintln!("peers: {}: {step} keys, {rate:.0} k/s", engine.name);
        }
    }
    fresh(&data)?;
    report::write(args, &engines, &rows)
}
