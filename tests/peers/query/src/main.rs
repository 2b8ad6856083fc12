//! PQL beside its peers: the same documents and the same questions, one run.
//!
//! What must stay true:
//! * engines take turns and the order turns from round to round, so that a noisy
//!   minute hits all of them; figures are medians over rounds;
//! * every answer is compared with that of the other engines (`check.rs`): a run in
//!   which two differ fails;
//! * an engine that cannot be had, breaks down or is far too slow is left out, and the
//!   head of the table says why: it never ends the run;
//! * equal terms, and where they cannot be equal the head of the table says so: a
//!   killed process loses nothing that was acknowledged, a cache of the same size,
//!   every byte of an answer looked at;
//! * background work counts: an engine's own threads run as they like, ours are
//!   those that `planck` has.
//!
//! `scripts/peers query --help` lists the arguments; `make peers` runs it.

mod args;
mod check;
mod data;
mod engines;
mod queries;
mod run;
mod timed;
mod work;

use std::process::ExitCode;

fn main() -> ExitCode {
    match args::Args::read().and_then(|args| run::compare(&args)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("query: error: {why}");
            ExitCode::FAILURE
        }
    }
}
