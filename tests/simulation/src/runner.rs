//! What runs the seeds of a simulator: its program, and the tests over its default seeds.
//!
//! Invariants:
//! * the program prints the same for the same arguments and the same code;
//! * what a run of seeds sums up follows from the seeds alone, however many threads share
//!   them.

use std::fmt::Debug;
use std::io::{self, Write};
use std::ops::Range;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use platform::sim::Tally;

use crate::Marks;

/// Failures after which a program goes on no more.
const FAILURES: u32 = 10;

/// What a run showed; a simulator counts `N` things besides.
#[derive(Clone, Debug)]
pub struct Outcome<const N: usize> {
    /// Over every operation, answer and disk call.
    pub hash: u64,
    /// Faults that struck.
    pub tally: Tally,
    /// States reached.
    pub marks: Marks,
    /// As the simulator says.
    pub counted: [u64; N],
    /// What is wrong with what is simulated, if anything is.
    pub failure: Option<String>,
    /// The history, if asked for.
    pub told: Vec<String>,
}

/// What many runs showed together.
#[derive(Clone, Debug)]
pub struct Sum<const N: usize> {
    /// Faults that struck.
    pub tally: Tally,
    /// States reached.
    pub marks: Marks,
    /// As the simulator says.
    pub counted: [u64; N],
}

impl<const N: usize> Sum<N> {
    fn new() -> Sum<N> {
        Sum { tally: Tally::default(), marks: Marks::default(), counted: [0; N] }
    }

    fn add(&mut self, outcome: &Outcome<N>) {
        self.tally += outcome.tally;
        self.marks.add(&outcome.marks);
        for (sum, count) in self.counted.iter_mut().zip(outcome.counted) {
            *sum += count;
        }
    }
}

/// A simulator, as it is run. `P`: a run as data.
pub struct Simulator<P, const N: usize> {
    /// Of the program, and of the target of `make` that replays a seed.
    pub name: &'static str,
    /// Seeds that the program runs if it is not told how many.
    pub seeds: u64,
    /// States that its default seeds must reach.
    pub wanted: &'static [&'static str],
    /// The plan of a seed.
    pub plan: fn(u64) -> P,
    /// Carries out a plan; `true`: keeps the history.
    pub run: fn(&P, bool) -> Outcome<N>,
    /// The smallest plan found that fails, from one that does.
    pub shrink: fn(&P) -> P,
    /// What of a plan is no action.
    pub config: fn(&P) -> &dyn Debug,
    /// What was counted, for people, behind "100 seeds from 0".
    pub summary: fn([u64; N]) -> String,
}

impl<P, const N: usize> Simulator<P, N> {
    /// The program `NAME [find] [SEEDS] [FIRST]`: runs that many seeds from the first one on.
    /// The first failure is shrunk and printed with the command that replays it; with `find`
    /// it stops there, without shrinking. One seed alone is printed with its history.
    pub fn program(&self) -> ExitCode {
        // A panic of what is simulated is a failure that is told once.
        std::panic::set_hook(Box::new(|_| {}));
        match self.told(std::env::args().skip(1), &mut io::stdout()) {
            Ok(code) => code,
            // Nobody reads on.
            Err(_) => ExitCode::FAILURE,
        }
    }

    fn told(
        &self,
        args: impl Iterator<Item = String>,
        out: &mut dyn Write,
    ) -> io::Result<ExitCode> {
        let mut args = args.peekable();
        let find = args.next_if(|arg| arg == "find").is_some();
        let mut args = args.map(|arg| arg.parse::<u64>());
        let (seeds, first) = match (args.next(), args.next()) {
            (None, _) => (self.seeds, 0),
            (Some(Ok(seeds)), None) => (seeds, 0),
            (Some(Ok(seeds)), Some(Ok(first))) => (seeds, first),
            _ => {
                eprintln!("usage: {} [find] [SEEDS] [FIRST SEED], both numbers", self.name);
                return Ok(ExitCode::FAILURE);
            }
        };
        let (mut sum, mut failures) = (Sum::new(), 0);
        for seed in first..first.saturating_add(seeds) {
            let plan = (self.plan)(seed);
            let outcome = (self.run)(&plan, seeds == 1);
            sum.add(&outcome);
            if seeds == 1 {
                for line in &outcome.told {
                    writeln!(out, "  {line}")?;
                }
                writeln!(out, "hash {:016x}", outcome.hash)?;
            }
            let Some(failure) = outcome.failure else { continue };
            writeln!(out, "seed {seed}: {failure}")?;
            failures += 1;
            if find {
                writeln!(out, "found after {} seeds", seed - first + 1)?;
                return Ok(ExitCode::FAILURE);
            }
            if failures == 1 {
                let small = (self.shrink)(&plan);
                let outcome = (self.run)(&small, true);
                writeln!(out, "{}; the smallest history found:", self.replay(seed))?;
                writeln!(out, "  {:?}", (self.config)(&small))?;
                for line in outcome.told.iter().chain(&outcome.failure) {
                    writeln!(out, "  {line}")?;
                }
            }
            if failures >= FAILURES {
                break;
            }
        }
        writeln!(out, "\n{seeds} seeds from {first}{}", (self.summary)(sum.counted))?;
        self.write(&sum, out)?;
        Ok(if failures == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    fn replay(&self, seed: u64) -> String {
        format!("replay it with: make {} SEED={seed}", self.name)
    }

    fn write(&self, sum: &Sum<N>, out: &mut dyn Write) -> io::Result<()> {
        for (name, count) in sum.tally.rows() {
            writeln!(out, "  {count:>9}  {name}")?;
        }
        writeln!(out, "states reached:")?;
        for (state, count) in sum.marks.rows() {
            writeln!(out, "  {count:>9}  {state}")?;
        }
        for state in sum.marks.missing(self.wanted) {
            writeln!(out, "  never:     {state}")?;
        }
        Ok(())
    }

    /// What these seeds showed, carried out on all cores; a test prints it.
    ///
    /// # Panics
    /// One of them failed: with the first, shrunk.
    pub fn all(&self, seeds: Range<u64>) -> Sum<N> {
        let next = AtomicU64::new(seeds.start);
        let (sum, failed) = (Mutex::new(Sum::new()), Mutex::new(Vec::new()));
        let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let work = || {
            loop {
                let seed = next.fetch_add(1, Ordering::Relaxed);
                if seed >= seeds.end {
                    return;
                }
                let outcome = (self.run)(&(self.plan)(seed), false);
                if let Some(failure) = outcome.failure {
                    failed.lock().unwrap_or_else(PoisonError::into_inner).push((seed, failure));
                    next.fetch_max(seeds.end, Ordering::Relaxed);
                    return;
                }
                sum.lock().unwrap_or_else(PoisonError::into_inner).add(&outcome);
            }
        };
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(work);
            }
        });
        let first = failed.into_inner().unwrap_or_else(PoisonError::into_inner).into_iter().min();
        if let Some((seed, failure)) = first {
            let small = (self.run)(&(self.shrink)(&(self.plan)(seed)), true);
            panic!(
                "seed {seed}: {failure}\n{}\nthe smallest history found:\n  {}\n  {}",
                self.replay(seed),
                small.told.join("\n  "),
                small.failure.unwrap_or_default()
            );
        }
        let sum = sum.into_inner().unwrap_or_else(PoisonError::into_inner);
        let mut rows = Vec::new();
        self.write(&sum, &mut rows).expect("memory takes what is written");
        let summary = (self.summary)(sum.counted);
        println!("{} seeds{summary}\n{}", seeds.end - seeds.start, String::from_utf8_lossy(&rows));
        sum
    }

    /// Looks whether each of these seeds makes the same run twice, and no two the same.
    ///
    /// # Panics
    /// That is not so.
    pub fn replays(&self, seeds: Range<u64>) {
        let mut hashes = std::collections::BTreeSet::new();
        for seed in seeds.clone() {
            let plan = (self.plan)(seed);
            let (one, two) = ((self.run)(&plan, false), (self.run)(&plan, true));
            assert_eq!((one.hash, one.tally), (two.hash, two.tally), "seed {seed}");
            assert!(hashes.insert(one.hash), "seed {seed} is another's run");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A plan is numbers; a run fails if the one that its seed ends with is a 7.
    fn toy() -> Simulator<Vec<u64>, 1> {
        Simulator {
            name: "toy",
            seeds: 3,
            wanted: &["even", "never"],
            plan: |seed| (0..=seed).collect(),
            run: |plan, tell| {
                let last = plan.last().copied().unwrap_or(0);
                let mut marks = Marks::default();
                marks.mark(if last.is_multiple_of(2) { "even" } else { "odd" });
                Outcome {
                    hash: last,
                    tally: Tally::default(),
                    marks,
                    counted: [plan.len() as u64],
                    failure: (last % 10 == 7).then(|| format!("{last} ends with 7")),
                    told: if tell { plan.iter().map(u64::to_string).collect() } else { vec![] },
                }
            },
            shrink: |plan| plan[plan.len() - 1..].to_vec(),
            config: |_| &"plain",
            summary: |[numbers]| format!(", {numbers} numbers; faults that struck:"),
        }
    }

    /// What is printed, without the faults.
    fn said(args: &[&str]) -> (bool, String) {
        let mut out = Vec::new();
        let args = args.iter().map(|arg| (*arg).to_owned());
        let code = toy().told(args, &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        let kept = text.lines().filter(|line| !line.starts_with("          0  "));
        (code == ExitCode::SUCCESS, kept.map(|line| format!("{line}\n")).collect())
    }

    const STATES: &str =
        "states reached:\n          2  even\n          1  odd\n  never:     never\n";

    #[test]
    fn seeds_that_find_nothing_are_summed_up() {
        let expected = format!("\n3 seeds from 0, 6 numbers; faults that struck:\n{STATES}");
        assert_eq!(said(&[]), (true, expected));
        let (is_well, one) = said(&["1", "2"]);
        assert!(
            is_well && one.starts_with("  0\n  1\n  2\nhash 0000000000000002\n\n1 seeds from 2")
        );
        for wrong in [&["x"][..], &["1", "x"], &["find", "x"]] {
            assert_eq!(said(wrong), (false, String::new()));
        }
    }

    #[test]
    fn the_first_failure_is_shrunk_the_others_are_named_and_ten_are_enough() {
        let (is_well, text) = said(&["3", "6"]);
        let expected = "seed 7: 7 ends with 7\nreplay it with: make toy SEED=7; the smallest \
                        history found:\n  \"plain\"\n  7\n  7 ends with 7\n\n3 seeds from 6, 24 \
                        numbers; faults that struck:\n";
        assert_eq!((is_well, text), (false, format!("{expected}{STATES}")));
        let (_, text) = said(&["1000"]);
        let named: Vec<&str> = text.lines().filter(|line| line.starts_with("seed ")).collect();
        assert_eq!((named.len(), named[9]), (10, "seed 97: 97 ends with 7"));
        let found = "seed 17: 17 ends with 7\nfound after 8 seeds\n";
        assert_eq!(said(&["find", "100", "10"]), (false, found.to_owned()));
    }

    #[test]
    fn all_seeds_are_summed_up_by_however_many_threads() {
        let sum = toy().all(0..7);
        assert_eq!((sum.counted, sum.marks.count("even")), ([28], 4));
        toy().replays(0..7);
    }

    #[test]
    #[should_panic(expected = "seed 7: 7 ends with 7")]
    fn the_first_of_all_that_fail_is_told() {
        toy().all(0..40);
    }
}
