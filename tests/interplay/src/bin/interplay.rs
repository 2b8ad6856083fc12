//! `interplay [SEEDS] [FIRST]`: runs that many seeds from the first one on; the first failure
//! is shrunk and printed with the command that replays it.
//! `interplay find [SEEDS] [FIRST]`: stops at the first failure, without shrinking.
//!
//! Invariant: prints the same for the same arguments and the same code.

use std::process::ExitCode;

use interplay::{Plan, WANTED, run, shrink};
use simulation::Marks;

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1).peekable();
    let find = args.next_if(|arg| arg == "find").is_some();
    let mut args = args.map(|arg| arg.parse::<u64>());
    let (seeds, first) = match (args.next(), args.next()) {
        (None, _) => (100, 0),
        (Some(Ok(seeds)), None) => (seeds, 0),
        (Some(Ok(seeds)), Some(Ok(first))) => (seeds, first),
        _ => {
            eprintln!("usage: interplay [find] [SEEDS] [FIRST SEED], both numbers");
            return ExitCode::FAILURE;
        }
    };
    let (mut marks, mut tally) = (Marks::default(), platform::sim::Tally::default());
    let (mut committed, mut others, mut failures) = (0, 0, 0);
    // A panic of the service is a failure that is told once, below.
    std::panic::set_hook(Box::new(|_| {}));
    for seed in first..first.saturating_add(seeds) {
        let plan = Plan::new(seed);
        let outcome = run(&plan, seeds == 1);
        marks.add(&outcome.marks);
        tally += outcome.tally;
        committed += outcome.checked.0;
        others += outcome.checked.1;
        if seeds == 1 {
            for line in &outcome.told {
                println!("  {line}");
            }
            println!("hash {:016x}", outcome.hash);
        }
        let Some(failure) = outcome.failure else { continue };
        println!("seed {seed}: {failure}");
        failures += 1;
        if find {
            println!("found after {} seeds", seed - first + 1);
            return ExitCode::FAILURE;
        }
        if failures == 1 {
            println!("replay it with: make interplay SEED={seed}; the smallest history found:");
            let small = shrink(&plan);
            let outcome = run(&small, true);
            println!("  {:?}", small.config);
            for line in outcome.told {
                println!("  {line}");
            }
            println!("  {}", outcome.failure.unwrap_or_default());
        }
        if failures >= 10 {
            break;
        }
    }
    println!(
        "\n{seeds} seeds from {first}: {committed} transactions in their order, {others} others"
    );
    println!("faults that struck:");
    for (name, count) in tally.rows() {
        println!("  {count:>9}  {name}");
    }
    println!("states reached:");
    for (state, count) in marks.rows() {
        println!("  {count:>9}  {state}");
    }
    for state in WANTED.iter().filter(|state| marks.count(state) == 0) {
        println!("  never:     {state}");
    }
    if failures == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
