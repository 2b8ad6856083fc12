//! The wire beside its peers: the same documents and the same requests over loopback,
//! one run.
//!
//! What must stay true:
//! * servers take turns and the order turns from round to round, so that a noisy minute
//!   hits all of them; figures are medians over rounds;
//! * every answer is compared with what was written (`documents.rs`): a run in which one
//!   is wrong fails, whoever gave it;
//! * a server that cannot be had or breaks down is left out, and the head of the table
//!   says why: it never ends the run, unless it is ours;
//! * equal terms, and where they cannot be equal the head of the table says so: a killed
//!   process loses nothing that was acknowledged, nothing waits for the disk, and who
//!   encrypts is compared with those that encrypt;
//! * what a server uses of the processor counts whole, its own threads and processes too
//!   (`cpu.rs`).
//!
//! `scripts/peers wire --help` lists the arguments; `scripts/peers wire` runs it.

mod args;
mod cpu;
mod documents;
mod peers;
mod run;
mod turn;

use std::process::ExitCode;

fn main() -> ExitCode {
    match args::Args::read().and_then(|args| run::compare(&args)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("wire: error: {why}");
            ExitCode::FAILURE
        }
    }
}
