//! The arguments.

use shared::args::Given;
use std::path::PathBuf;

const HELP: &str = "\
peers: the storage engine beside RocksDB, fjall, redb, LMDB and SQLite

  peers [compare] [--keys N] [--rounds N] [--values BYTES,..] [--engines NAME,..] [--out DIR]
  peers grow      [--keys N] [--rounds N] [--minutes N] [--engines NAME,..] [--out DIR]

  --keys N       keys in the store (default 300000; grow: up to so many, default 30000000)
  --rounds N     rounds; figures are medians over them (default 3; grow: 1)
  --minutes N    grow: an engine is left where it stands after so long (default 10)
  --values ..    sizes of values in bytes (default 100,400,4096)
  --engines ..   some engines only: planck rocksdb blobdb fjall fjall-kv redb lmdb sqlite
  --out DIR      where data and results go (default target/peers): results.json
                 and results.md; grow: grow.json and grow.md";

/// What to do.
pub enum Task {
    /// All workloads, all engines.
    Compare,
    /// Cost as the data grows.
    Grow,
    /// A child: fill a log, then kill -9 itself.
    Die { engine: String, dir: PathBuf },
}

/// The arguments, checked.
pub struct Args {
    pub task: Task,
    pub keys: u64,
    pub rounds: usize,
    pub minutes: u64,
    pub values: Vec<usize>,
    pub engines: Vec<String>,
    pub out: PathBuf,
}

impl Args {
    /// Reads the command line; prints the help and ends if that is asked for.
    pub fn read() -> Result<Args, String> {
        let mut given = Given::new(HELP);
        let task = match given.word(&["compare", "grow", "die"]).as_deref() {
            Some("grow") => Task::Grow,
            Some("die") => Task::Die { engine: String::new(), dir: PathBuf::new() },
            _ => Task::Compare,
        };
        let grows = matches!(task, Task::Grow);
        let mut args = Args {
            task,
            keys: if grows { 30_000_000 } else { 300_000 },
            rounds: if grows { 1 } else { 3 },
            minutes: 10,
            values: vec![100, 400, 4096],
            engines: Vec::new(),
            out: PathBuf::from("target/peers"),
        };
        while let Some(argument) = given.argument()? {
            let value = &argument.value;
            match argument.name.as_str() {
                "--keys" => args.keys = argument.number()?.max(1000),
                "--rounds" => args.rounds = argument.number()?.max(1) as usize,
                "--minutes" => args.minutes = argument.number()?.max(1),
                "--values" => {
                    let sizes = value.split(',').map(str::parse).collect::<Result<_, _>>();
                    args.values = sizes.map_err(|_| format!("{value:?} is no list of sizes"))?;
                }
                "--engines" => args.engines = argument.list(),
                "--out" => args.out = PathBuf::from(value),
                "--engine" | "--dir" => {
                    let Task::Die { engine, dir } = &mut args.task else {
                        return Err(format!("{} is for the child only; see --help", argument.name));
                    };
                    if argument.name == "--dir" {
                        *dir = PathBuf::from(value);
                    } else {
                        *engine = value.clone();
                    }
                }
                _ => return Err(argument.unknown()),
            }
        }
        Ok(args)
    }
}
