//! A primary and a replica in one process, on simulated disks, by a seed: writes of all
//! kinds, pages of every size, pages damaged and sent twice, crashes of both at any disk
//! call, promotions, old primaries that come back, logs that are gone, and bootstraps that
//! are cut off. After each step the replica is, document by document, what its primary was
//! at that commit.
//!
//! `REPLICAS=10000 cargo test -p engine --test replicas` for more of them,
//! `REPLICA_SEED=n` for one.

#![allow(clippy::unwrap_used)] // a test that cannot go on fails

mod node;
mod world;

use std::collections::BTreeMap;
use world::{Seen, World};

/// A number of the environment; by that name from who asks for the run.
#[allow(clippy::disallowed_methods)] // not of the engine
fn asked(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|n| n.parse().ok())
}

fn run(seed: u64, seen: &mut Seen) {
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let mut world = World::new(seed);
        for _ in 0..120 {
            world.step();
        }
        world.end();
        world.seen
    }));
    match outcome {
        Ok(found) => found.iter().for_each(|(what, n)| *seen.entry(what).or_default() += n),
        Err(panic) => {
            eprintln!("REPLICA_SEED={seed} cargo test -p engine --test replicas");
            std::panic::resume_unwind(panic);
        }
    }
}

#[test]
fn a_replica_is_its_primary_at_some_commit_whatever_happens() {
    let mut seen: Seen = BTreeMap::new();
    match asked("REPLICA_SEED") {
        Some(seed) => return run(seed, &mut seen),
        None => (0..asked("REPLICAS").unwrap_or(300)).for_each(|seed| run(seed, &mut seen)),
    }
    // What the test is for has come to pass.
    for what in [
        "page",
        "piece",
        "damaged page refused",
        "page sent twice refused",
        "primary crashed",
        "replica crashed",
        "crashed while applying",
        "promoted",
        "old primary followed",
        "old primary diverged",
        "log was gone",
        "bootstrap",
        "bootstrap cut off",
        "completed after a crash",
        "index built",
        "store dropped",
        "write refused",
    ] {
        assert!(seen.get(what).is_some_and(|n| *n > 0), "never: {what} ({seen:?})");
    }
    println!("{seen:?}");
}
