//! Planck's storage engine beside its peers: the same generated work, one run.
//!
//! What must stay true:
//! * engines take turns within a round and the order turns from round to round,
//!   so that a noisy minute hits all of them; figures are medians over rounds;
//! * equal terms, and where they cannot be equal the table says so: the same
//!   durability (`Mode`), the same cache, no compression, values verified by who
//!   verifies (`Engine::checks`), every byte of a value read by the caller;
//! * background work counts: an engine's own threads run as they like, ours are
//!   the two that `planck` has.
//!
//! `peers --help` lists the arguments; `make peers` runs it.

mod args;
mod disk;
mod engines;
mod floor;
mod grow;
mod report;
mod run;
mod work;

use args::{Args, Task};
use std::process::ExitCode;

fn main() -> ExitCode {
    let done = Args::read().and_then(|args| match &args.task {
        Task::Compare => run::compare(&args),
        Task::Grow => grow::grow(&args),
        Task::Die { engine, dir } => run::write_and_die(&args, engine, dir),
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("peers: error: {why}");
            ExitCode::FAILURE
        }
    }
}
