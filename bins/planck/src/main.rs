//! `planck`: one service, one process.
//!
//! What must stay true: stdout is one line for each listener, then `ready`; the
//! log goes to stderr, or where db.yaml says. A start that fails changes nothing but what a first start
//! makes, says what to do, and exits with a code a supervisor can tell apart:
//! 78 bad configuration or module, 73 directory locked, 74 input or output, 65 damage
//! found by a command that looks for it.

mod certificates;
mod compile;
mod config;
mod files;
mod follow;
mod guest;
mod guests;
mod http;
mod jobs;
mod keyfile;
mod log;
mod observe;
mod outside;
mod replica;
mod reply;
mod service;
mod tools;
mod trace;
mod upkeep;
mod watchers;
mod when;
mod wire;

use clap::Parser;
use std::path::PathBuf;
use std::process::ExitCode;

/// A document database with an embedded WASM runtime: one service, one process.
#[derive(Parser)]
#[command(version, about, after_help = AFTER)]
#[command(args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(subcommand)]
    tool: Option<tools::Tool>,
    /// The service's directory: db.yaml and service.yaml (both optional), its data,
    /// its keys. Made if absent.
    #[arg(long, value_name = "DIR", required_unless_present_any = ["settings", "metrics"])]
    dir: Option<PathBuf>,
    /// Prints every setting of both files with its default and bounds, and ends.
    #[arg(long)]
    settings: bool,
    /// Prints every metric of the admin address with its labels and meaning, and ends.
    #[arg(long, conflicts_with = "settings")]
    metrics: bool,
}

const AFTER: &str = "Example:\n  planck --dir ./shop\n\nThe first start makes an admin key \
                     (DIR/admin.key) and a certificate (DIR/tls). SIGTERM or Ctrl-C ends it: \
                     requests in flight finish, the log is synced.";

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if arguments.settings {
        print!("{}", config::reference());
        return ExitCode::SUCCESS;
    }
    if arguments.metrics {
        print!("{}", observe::reference());
        return ExitCode::SUCCESS;
    }
    let dir = arguments.dir.unwrap_or_default();
    let done = match arguments.tool {
        Some(tool) => tool.run(),
        None => service::run(&dir).map(|()| 0),
    };
    match done {
        Ok(code) => ExitCode::from(code),
        Err(stop) => {
            eprintln!("planck: error: {}", stop.message);
            ExitCode::from(stop.code)
        }
    }
}
