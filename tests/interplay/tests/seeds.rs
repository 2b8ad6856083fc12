//! The default seeds: no failure, every wanted state reached, same seed same run.
//!
//! Invariant: what is asked here follows from the seeds alone, however many threads share
//! them.

#![allow(clippy::unwrap_used)] // a test that cannot go on fails

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use interplay::{Plan, WANTED, run, shrink};
use platform::sim::Tally;
use simulation::Marks;

/// Seeds of the default run.
const SEEDS: u64 = 1000;

#[test]
fn the_default_seeds_find_no_fault_and_reach_every_wanted_state() {
    let next = AtomicU64::new(0);
    let sums = Mutex::new((Marks::default(), Tally::default(), (0, 0)));
    let failed = Mutex::new(Vec::new());
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= SEEDS {
                        return;
                    }
                    let outcome = run(&Plan::new(seed), false);
                    if let Some(failure) = outcome.failure {
                        failed.lock().unwrap().push((seed, failure));
                        next.fetch_max(SEEDS, Ordering::Relaxed);
                        return;
                    }
                    let mut sums = sums.lock().unwrap();
                    sums.0.add(&outcome.marks);
                    sums.1 += outcome.tally;
                    sums.2.0 += outcome.checked.0;
                    sums.2.1 += outcome.checked.1;
                }
            });
        }
    });
    let first = failed.into_inner().unwrap().into_iter().min();
    if let Some((seed, failure)) = first {
        let small = run(&shrink(&Plan::new(seed)), true);
        panic!(
            "seed {seed}: {failure}\nreplay it with: make interplay SEED={seed}\nthe smallest \
             history found:\n  {}\n  {}",
            small.told.join("\n  "),
            small.failure.unwrap_or_default()
        );
    }
    let (marks, tally, checked) = sums.into_inner().unwrap();
    println!("{SEEDS} seeds; transactions that took effect, and others: {checked:?}");
    for (name, count) in tally.rows() {
        println!("{count:>9}  {name}");
    }
    for (state, count) in marks.rows() {
        println!("{count:>9}  {state}");
    }
    let missing: Vec<_> = WANTED.iter().filter(|state| marks.count(state) == 0).collect();
    assert_eq!(missing, [&""; 0], "states never reached");
    assert!(checked.0 > 10 * SEEDS && checked.1 > SEEDS, "{checked:?}");
}

#[test]
fn the_same_seed_gives_the_same_run_to_the_last_disk_call() {
    let mut hashes = std::collections::BTreeSet::new();
    for seed in 0..30 {
        let plan = Plan::new(seed);
        let (one, two) = (run(&plan, false), run(&plan, true));
        assert_eq!((one.hash, one.tally), (two.hash, two.tally), "seed {seed}");
        hashes.insert(one.hash);
    }
    assert_eq!(hashes.len(), 30);
}
