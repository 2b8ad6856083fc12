//! `make siege`: attacks a running `planck`, and says what an honest client felt.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use siege::{Scale, besiege, misbehave};

#[derive(Parser)]
#[command(about = "Attacks a planck that it starts; honest answers must stay right.")]
struct Arguments {
    /// The program attacked.
    #[arg(long)]
    planck: PathBuf,
    /// Guests instead of attackers: what an honest client of one route feels while others
    /// trap, spin, grow, leak and call without end.
    #[arg(long)]
    guests: bool,
    /// What runs the guests: wasmer or wasmi.
    #[arg(long, default_value = "wasmer")]
    runtime: String,
    /// Sockets that trickle bytes.
    #[arg(long, default_value_t = 5000)]
    sockets: usize,
    /// Sessions that say nothing.
    #[arg(long, default_value_t = 5000)]
    sessions: usize,
    /// Sessions that read nothing.
    #[arg(long, default_value_t = 50)]
    readers: usize,
    /// Wrong keys.
    #[arg(long, default_value_t = 2000)]
    logins: u64,
    /// Mutated frames.
    #[arg(long, default_value_t = 1_000_000)]
    frames: u64,
    /// Seconds that what only holds is held.
    #[arg(long, default_value_t = 15)]
    hold: u64,
    /// Decides the mutations.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

fn main() -> ExitCode {
    let asked = Arguments::parse();
    let scale = Scale {
        sockets: asked.sockets,
        sessions: asked.sessions,
        readers: asked.readers,
        logins: asked.logins,
        frames: asked.frames,
        hold: Duration::from_secs(asked.hold),
        seed: asked.seed,
    };
    let done = match asked.guests {
        true => misbehave(&asked.planck, &asked.runtime, scale.hold),
        false => besiege(&asked.planck, &scale),
    };
    match done {
        Ok(report) => {
            print!("{report}");
            ExitCode::SUCCESS
        }
        Err(why) => {
            eprintln!("siege: {why}");
            ExitCode::FAILURE
        }
    }
}
