//! The arguments.

use shared::args::Given;
use std::path::PathBuf;
use std::time::Duration;

const HELP: &str = "\
query: PQL beside SQLite, PostgreSQL, DuckDB and SurrealDB

  query [--docs N] [--rounds N] [--engines NAME,..] [--only TEXT,..] [--budget SECONDS]
        [--load-limit SECONDS] [--turn-limit SECONDS] [--data DIR] [--out DIR]

  --docs N       generated documents (default 1000000); of the flights at most as many
  --rounds N     rounds; figures are medians over them (default 3)
  --engines ..   some engines only: planck sqlite-json sqlite-jsonb sqlite-plain postgres
                 duckdb duckdb-json surrealdb (default: all); one that cannot be had is
                 left out, and the table says why
  --only ..      only the workloads in whose names one of these texts stands
  --budget S     who needs longer for a workload does fewer of its operations (default 20)
  --load-limit S who would need longer to load the documents is left out (default 300)
  --turn-limit S who needs longer for a round leaves it there, and has no other (default 600)
  --data DIR     where flights.csv is (default target/peers/flights: scripts/demo-data)
  --out DIR      where data, query.json and query.md go (default target/peers)";

/// The arguments, checked.
pub struct Args {
    pub docs: u64,
    pub rounds: usize,
    pub engines: Vec<String>,
    pub only: Vec<String>,
    pub budget: Duration,
    pub load_limit: Duration,
    pub turn_limit: Duration,
    pub data: PathBuf,
    pub out: PathBuf,
}

impl Args {
    /// Reads the command line; prints the help and ends if that is asked for.
    pub fn read() -> Result<Args, String> {
        let out = PathBuf::from("target/peers");
        let mut args = Args {
            docs: 1_000_000,
            rounds: 3,
            engines: Vec::new(),
            only: Vec::new(),
            budget: Duration::from_secs(20),
            load_limit: Duration::from_secs(300),
            turn_limit: Duration::from_secs(600),
            data: out.join("flights"),
            out,
        };
        let mut given = Given::new(HELP);
        while let Some(argument) = given.argument()? {
            match argument.name.as_str() {
                // Beyond that two documents would share a value that is to be unique.
                "--docs" => args.docs = argument.number()?.clamp(1000, crate::data::AT_RANGE),
                "--rounds" => args.rounds = argument.number()?.max(1) as usize,
                "--engines" => args.engines = argument.list(),
                "--only" => args.only = argument.list(),
                "--budget" => args.budget = Duration::from_secs(argument.number()?),
                "--load-limit" => args.load_limit = Duration::from_secs(argument.number()?),
                "--turn-limit" => args.turn_limit = Duration::from_secs(argument.number()?),
                "--data" => args.data = PathBuf::from(&argument.value),
                "--out" => args.out = PathBuf::from(&argument.value),
                _ => return Err(argument.unknown()),
            }
        }
        Ok(args)
    }

    /// Whether this workload is asked for.
    pub fn wants(&self, workload: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|text| workload.contains(text.as_str()))
    }
}
