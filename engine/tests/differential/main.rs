//! Random queries on random documents: against an evaluator that knows nothing of the
//! engine's, and against SQLite where both mean the same.
//!
//! What must stay true:
//! * `naive.rs` is written by the words of `docs/pql.md` and shares no code of
//!   predicates, order, grouping or paths with the engine;
//! * a query is asked of the same documents with no index, with each index and with
//!   all, in memtables, in the tree, after a restart and after a collection that really
//!   collected, with much memory and with so little that sorts and groups spill, at once
//!   and page by page (`plan.rs`);
//! * a run that never takes a wanted way to an answer fails (`marks.rs`);
//! * a failure is shrunk, and says by which command it is seen again.

mod change;
mod client;
mod dice;
mod flat;
mod indexes;
mod make;
mod marks;
mod naive;
mod plan;
mod query;
mod shrink;
mod skew;
mod sql;
mod sqlite;
mod tally;
mod text;
mod value;
mod world;

use dice::Dice;
use query::{Expr, Query};
use tally::{Failure, Kind, Tally};
use value::V;
use world::{Op, Setup};

/// Histories of few documents, and of many.
const SMALL: u64 = 20;
const LARGE: u64 = 3;
/// Histories that SQLite answers too.
const FLAT: u64 = 20;

/// The seeds of a test: all, or the one that `SEED` asks for.
fn seeds(all: u64) -> std::ops::Range<u64> {
    // Which run is seen again is the word of who asks for it, not of the engine.
    #[allow(clippy::disallowed_methods)]
    let seed = std::env::var("SEED").ok();
    let seed = seed.map(|seed| seed.parse().expect("SEED is a number"));
    seed.map_or(0..all, |seed: u64| seed..seed + 1)
}

/// Runs histories; the first that fails is shrunk and told.
fn run_all(test: &str, all: u64, plan: fn(u64) -> (Setup, Vec<Op>), tally: &mut Tally) {
    for seed in seeds(all) {
        let (setup, history) = plan(seed);
        let Err(failure) = world::run(&setup, &history, tally) else { continue };
        let first = failure.told.clone();
        let run = |setup: &Setup, history: &[Op]| world::run(setup, history, &mut Tally::default());
        // A panic of the engine is told once, below.
        let hook = std::panic::take_hook();
        std::panic::set_hook(Box::new(|_| {}));
        let (setup, history, failure) = shrink::shrink(setup, history, failure, run);
        std::panic::set_hook(hook);
        panic!(
            "seed {seed}: {first}\n\nthe smallest history found:\n{}\n\nto see it again:\n  \
             SEED={seed} cargo test --locked -p engine --test differential {test}\n",
            shrink::told(&setup, &history, &failure)
        );
    }
}

#[test]
fn few_documents_of_every_kind() {
    let mut tally = Tally::default();
    run_all("few_documents", SMALL, plan::small, &mut tally);
    println!("{tally:#?}");
    if seeds(SMALL).count() > 1 {
        assert!(tally.asked >= 20_000 && tally.different >= 5_000, "{tally:?}");
        // A tester that compares nothing with nothing proves nothing.
        assert!(tally.rows > tally.asked && tally.refused > 1_000, "{tally:?}");
        assert!(tally.changes > 700 && tally.made_keys > 500, "{tally:?}");
        assert!(tally.clashes > 100 && tally.explained > 1_000, "{tally:?}");
        assert!(tally.out_of_memory < tally.asked / 20, "{tally:?}");
        assert_eq!(tally.collected, SMALL, "{tally:?}");
    }
}

#[test]
fn many_documents_of_few_values() {
    let mut tally = Tally::default();
    run_all("many_documents", LARGE, plan::large, &mut tally);
    println!("{tally:#?}");
    if seeds(LARGE).count() > 1 {
        assert!(tally.rows > tally.asked && tally.changes > 20, "{tally:?}");
        assert!(tally.out_of_memory < tally.asked / 10, "{tally:?}");
        assert_eq!(tally.collected, LARGE, "{tally:?}");
        let missing = tally.marks.missing();
        assert!(missing.is_empty(), "never taken: {missing:?}; {tally:#?}");
    }
}

#[test]
fn sqlite_answers_the_same() {
    let mut tally = Tally::default();
    run_all("sqlite_answers", FLAT, plan::flat, &mut tally);
    println!("{tally:#?}");
    if seeds(FLAT).count() > 1 {
        assert!(tally.different >= 3_000 && tally.of_sqlite >= 10_000, "{tally:?}");
        assert!(tally.rows > tally.asked && tally.changes > 300, "{tally:?}");
    }
}

#[test]
fn a_failure_is_shrunk() {
    let (setup, history) = plan::small(1);
    // Fails where a document with n above 1 was inserted before a flush, and is asked
    // for by a query that limits.
    let run = |setup: &Setup, history: &[Op]| {
        let large =
            |v: &V| v.field("n").is_some_and(|n| n.is_number() && n.order(&V::Int(1)).is_gt());
        let told = String::new();
        let (mut there, mut flushed) = (false, false);
        for (at, op) in history.iter().enumerate() {
            match op {
                Op::Insert(_, document) => there |= large(document),
                Op::Flush => flushed |= there,
                Op::Ask(Query { limit: Some(_), filter: Some(Expr::And(_)), .. }, _) if flushed => {
                    return Err(Failure {
                        at,
                        store: setup.stores.len() - 1,
                        kind: Kind::Differs,
                        told,
                    });
                }
                _ => {}
            }
        }
        Ok(())
    };
    let failure = run(&setup, &history).expect_err("it has all three");
    let (setup, history, failure) = shrink::shrink(setup, history, failure, run);
    assert!(setup.stores.len() == 1 && setup.stores[0].is_empty(), "{setup:?}");
    let [Op::Insert(_, V::Doc(fields)), Op::Flush, Op::Ask(query, _)] = &history[..] else {
        panic!("{history:?}")
    };
    assert!(fields.len() == 1 && fields[0].0 == "n", "{fields:?}");
    assert!(query.order.is_empty() && query.shape.is_none() && query.skip.is_none(), "{query:?}");
    let told = shrink::told(&setup, &history, &failure);
    assert_eq!(told.lines().filter(|line| line.starts_with("  ")).count(), 4, "{told}");
}

#[test]
fn a_seed_makes_the_same_history() {
    for seed in 0..4 {
        let told = |history: Vec<Op>| format!("{history:?}");
        assert_eq!(told(plan::small(seed).1), told(plan::small(seed).1));
        assert_ne!(told(plan::small(seed).1), told(plan::small(seed + 1).1));
    }
    assert_ne!(Dice::new(0).any(), Dice::new(1).any());
}
