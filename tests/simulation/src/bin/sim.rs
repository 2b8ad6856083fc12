//! `sim [SEEDS] [FIRST]`: runs that many seeds from the first one on; the first
//! failure is shrunk and printed with the command that replays it.
//! `sim find [SEEDS] [FIRST]`: stops at the first failure, without shrinking.
//!
//! Invariant: prints the same for the same arguments and the same code.

use std::process::ExitCode;

use simulation::{Marks, Plan, run, shrink};

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1).peekable();
    let find = args.next_if(|arg| arg == "find").is_some();
    let mut args = args.map(|arg| arg.parse::<u64>());
    let (seeds, first) = match (args.next(), args.next()) {
        (None, _) => (1000, 0),
        (Some(Ok(seeds)), None) => (seeds, 0),
        (Some(Ok(seeds)), Some(Ok(first))) => (seeds, first),
        _ => {
            eprintln!("usage: sim [find] [SEEDS] [FIRST SEED], both numbers");
            return ExitCode::FAILURE;
        }
    };
    let mut marks = Marks::default();
    let mut tally = platform::sim::Tally::default();
    let mut commits = 0;
    let mut failures = 0;
    // A panic of the store is a failure that is told once, below.
    std::panic::set_hook(Box::new(|_| {}));
    for seed in first..first.saturating_add(seeds) {
        let plan = Plan::new(seed);
        let outcome = run(&plan, false);
        marks.add(&outcome.marks);
        tally += outcome.tally;
        commits += outcome.commits;
        if seeds == 1 {
            for line in run(&plan, true).told {
                println!("  {line}");
            }
            println!("hash {:016x}", outcome.hash);
        }
        if let Some(failure) = outcome.failure {
            println!("seed {seed}: {failure}");
            failures += 1;
            if find {
                println!("found after {} seeds", seed - first + 1);
                return ExitCode::FAILURE;
            }
            if failures == 1 {
                println!("replay it with: make sim SEED={seed}; the smallest history found:");
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
    }
    println!("\n{seeds} seeds from {first}, {commits} commits; faults that struck:");
    for (name, count) in tally.rows() {
        println!("  {count:>9}  {name}");
    }
    println!("states reached:");
    for (state, count) in marks.rows() {
        println!("  {count:>9}  {state}");
    }
    for state in marks.missing() {
        println!("  never:     {state}");
    }
    if failures == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
