//! `planctl`: the command line of a Planck service, over the wire.
//!
//! What must stay true: stdout carries data and nothing else; progress, summaries
//! and errors go to stderr. A command ends with the exit code of
//! [`failure::Exit`], decided from the class of the server's status, never from
//! the text of a message. One command is one file of [`commands`].
#![forbid(unsafe_code)]

mod commands;
mod explained;
mod failure;
mod load;
mod options;
mod output;
mod progress;
mod rows;
mod session;
mod table;
mod target;

use clap::Parser;
use commands::Cli;
use std::process::ExitCode;

fn main() -> ExitCode {
    let cli = Cli::parse();
    match cli.run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}
