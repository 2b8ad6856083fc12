//! `make kill CYCLES=n`: kills a writing process n times and checks each time.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(
    about = "Kills a writing process at random moments; nothing it acknowledged may be lost."
)]
struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Kills a child again and again on one store, and checks it each time.
    Run {
        /// How often.
        #[arg(long, default_value_t = 200)]
        cycles: u64,
        /// Decides the moments.
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
    /// The process that is killed; for `run` only.
    Child {
        #[arg(long)]
        dir: PathBuf,
        #[arg(long)]
        durable: bool,
    },
}

fn main() -> ExitCode {
    let done = match Arguments::parse().what {
        What::Child { dir, durable } => kill::child(&dir, durable),
        What::Run { cycles, seed } => run(cycles, seed),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("kill: {why}");
            ExitCode::FAILURE
        }
    }
}

fn run(cycles: u64, seed: u64) -> Result<(), String> {
    let myself = std::env::current_exe().map_err(|e| e.to_string())?;
    let dir = tempfile::tempdir().map_err(|e| e.to_string())?;
    match kill::cycles(&myself, dir.path(), cycles, seed) {
        Ok(report) => {
            println!("{report}");
            Ok(())
        }
        Err(why) => {
            let kept = dir.keep();
            Err(format!("{why}\n  the store is kept in {}", kept.display()))
        }
    }
}
