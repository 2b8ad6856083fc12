//! The arguments.

use shared::args::Given;
use std::path::PathBuf;

const HELP: &str = "\
wire: Planck's wire over TCP and QUIC beside PostgreSQL and Redis, on loopback

  wire [--docs N] [--asks N] [--rounds N] [--engines NAME,..] [--planck FILE] [--out DIR]

  --docs N      documents that are there before anything is timed (default 50000)
  --asks N      requests of each kind (default 50000)
  --rounds N    rounds; figures are medians over them (default 3)
  --engines ..  some servers only: planck planck-quic planck-plain postgres-tls postgres
                redis-tls redis (default: all); one that cannot be had is left out, and
                the table says why
  --planck FILE the planck to start (default target/release/planck; without it
                scripts/peers builds one)
  --out DIR     where data goes, and the tables: wire (TLS and QUIC) and wire-plain, .json
                and .md (default target/peers)";

/// The arguments, checked.
pub struct Args {
    pub docs: u64,
    pub asks: u64,
    pub rounds: usize,
    pub engines: Vec<String>,
    pub planck: PathBuf,
    pub out: PathBuf,
}

impl Args {
    /// Reads the command line; prints the help and ends if that is asked for.
    pub fn read() -> Result<Args, String> {
        let mut args = Args {
            docs: 50_000,
            asks: 50_000,
            rounds: 3,
            engines: Vec::new(),
            planck: PathBuf::from("target/release/planck"),
            out: PathBuf::from("target/peers"),
        };
        let mut given = Given::new(HELP);
        while let Some(argument) = given.argument()? {
            match argument.name.as_str() {
                // All of them are kept in memory, to compare answers with.
                "--docs" => args.docs = argument.number()?.clamp(1000, 5_000_000),
                "--asks" => args.asks = argument.number()?.clamp(1000, 1_000_000),
                "--rounds" => args.rounds = argument.number()?.max(1) as usize,
                "--engines" => args.engines = argument.list(),
                "--planck" => args.planck = PathBuf::from(&argument.value),
                "--out" => args.out = PathBuf::from(&argument.value),
                _ => return Err(argument.unknown()),
            }
        }
        Ok(args)
    }
}
