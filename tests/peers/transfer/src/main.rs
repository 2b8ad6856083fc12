//! The transfer of money between two of 100,000 accounts, the workload of the keynote of
//! SpacetimeDB: by a guest over HTTP, over the wire, in the process, and by peers; one run.
//!
//! What must stay true:
//! * who takes part takes turns, and the order turns from round to round; figures are
//!   medians over rounds;
//! * all make the same transfers in the same order, as far as those who ask together have
//!   one; what was given up is not counted as done;
//! * behind each turn the accounts are looked at: as many as before, with as much money
//!   together, none with less than nothing, and some with another sum than before. Who
//!   loses money, or makes some, ends the run;
//! * equal terms: where a commit waits for the disk all do, and where it does not, all
//!   have it in the kernel before they answer. Where terms cannot be equal the head of the
//!   table says so.
//!
//! `scripts/peers transfer --help` lists the arguments.

mod args;
mod engines;
mod run;
mod work;

use std::process::ExitCode;

fn main() -> ExitCode {
    match args::Args::read().and_then(|args| run::compare(&args)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("transfer: error: {why}");
            ExitCode::FAILURE
        }
    }
}
