//! The HTTP edge beside its peers: the same five answers by each, loopback, one run.
//!
//! What must stay true:
//! * servers take turns and the order turns from round to round; figures are medians;
//! * every server has the same documents; before it is measured its answers are compared
//!   with those made of the files they were loaded from, and while it is measured any
//!   answer that is not the expected status ends the run;
//! * CPU is that of the server and of its database, never of the one who asks;
//! * equal terms, and where they cannot be equal the head of the table says so.
//!
//! `scripts/peers edge --help` lists the arguments. `edge bare` and `edge axum` are two of
//! the servers.

mod args;
mod ask;
mod axum_peer;
mod bare;
mod check;
mod cpu;
mod data;
mod run;
mod servers;

use std::process::ExitCode;

fn main() -> ExitCode {
    let done = match std::env::args().nth(1).as_deref() {
        Some("bare") => bare::serve(),
        Some("axum") => axum_peer::serve(),
        _ => args::Args::read().and_then(|args| run::compare(&args)),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("edge: error: {why}");
            ExitCode::FAILURE
        }
    }
}
