//! The arguments.

use shared::args::Given;
use std::path::PathBuf;

const HELP: &str = "\
transfer: money between two accounts, by Planck and by its peers

  transfer [--accounts N] [--together N] [--seconds N] [--rounds N] [--engines NAME,..]
           [--cases NAME,..] [--planck FILE] [--module FILE] [--out DIR]

  --accounts N  accounts (default 100000)
  --together N  transfers that are asked for at once, where several can be (default 32)
  --seconds N   how long each turn is measured, behind a second of warming (default 4)
  --rounds N    rounds; figures are medians over them (default 3)
  --engines ..  some only: planck planck-wasmi planck-wire planck-piped planck-native sqlite
                postgres postgres-piped redis (default: all); one that cannot be had is left
                out, and the table says why
  --cases ..    some only: uniform zipf-0.99 zipf-1.5, each with -sync or -async behind it
  --planck FILE the server (default target/release/planck; without it scripts/peers builds one)
  --module FILE the guest of examples/transfer (default target/guest/transfer.wasm)
  --out DIR     where data goes, and transfer.json and transfer.md (default target/peers)";

/// The arguments, checked.
pub struct Args {
    pub accounts: u64,
    pub together: u64,
    pub seconds: u64,
    pub rounds: usize,
    pub engines: Vec<String>,
    pub cases: Vec<String>,
    pub planck: PathBuf,
    pub module: PathBuf,
    pub out: PathBuf,
}

impl Args {
    /// Reads the command line; prints the help and ends if that is asked for.
    pub fn read() -> Result<Args, String> {
        let mut args = Args {
            accounts: 100_000,
            together: 32,
            seconds: 4,
            rounds: 3,
            engines: Vec::new(),
            cases: Vec::new(),
            planck: "target/release/planck".into(),
            module: "target/guest/transfer.wasm".into(),
            out: "target/peers".into(),
        };
        let mut given = Given::new(HELP);
        while let Some(argument) = given.argument()? {
            match argument.name.as_str() {
                "--accounts" => args.accounts = argument.number()?.clamp(10, 10_000_000),
                "--together" => args.together = argument.number()?.clamp(1, 96),
                "--seconds" => args.seconds = argument.number()?.max(1),
                "--rounds" => args.rounds = argument.number()?.max(1) as usize,
                "--engines" => args.engines = argument.list(),
                "--cases" => args.cases = argument.list(),
                "--planck" => args.planck = argument.value.into(),
                "--module" => args.module = argument.value.into(),
                "--out" => args.out = argument.value.into(),
                _ => return Err(argument.unknown()),
            }
        }
        Ok(args)
    }
}
