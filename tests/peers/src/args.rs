//! The arguments.

use std::path::PathBuf;

const HELP: &str = "\
peers: the storage engine beside RocksDB, fjall, redb, LMDB and SQLite

  peers [compare] [--keys N] [--rounds N] [--values BYTES,..] [--engines NAME,..] [--out DIR]
  peers grow      [--keys N] [--engines NAME,..] [--out DIR]

  --keys N       keys in the store (default 300000; grow: up to so many, default 30000000)
  --rounds N     rounds; figures are medians over them (default 3)
  --values ..    sizes of values in bytes (default 100,400,4096)
  --engines ..   some engines only: planck rocksdb blobdb fjall fjall-kv redb lmdb sqlite
  --out DIR      where data, results.json and results.md go (default target/peers)";

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
    pub values: Vec<usize>,
    pub engines: Vec<String>,
    pub out: PathBuf,
}

impl Args {
    /// Reads the command line; prints the help and ends if that is asked for.
    pub fn read() -> Result<Args, String> {
        let mut given = std::env::args().skip(1).peekable();
        let task = match given.peek().map(String::as_str) {
            Some("grow") => Task::Grow,
            Some("die") => Task::Die { engine: String::new(), dir: PathBuf::new() },
            _ => Task::Compare,
        };
        if matches!(given.peek().map(String::as_str), Some("compare" | "grow" | "die")) {
            given.next();
        }
        let keys = if matches!(task, Task::Grow) { 30_000_000 } else { 300_000 };
        let mut args = Args {
            task,
            keys,
            rounds: 3,
            values: vec![100, 400, 4096],
            engines: Vec::new(),
            out: PathBuf::from("target/peers"),
        };
        while let Some(name) = given.next() {
            if name == "--help" || name == "-h" {
                println!("{HELP}");
                std::process::exit(0);
            }
            let value = given.next().ok_or(format!("{name} wants a value; see --help"))?;
            let number = || {
                value.parse::<u64>().map_err(|_| format!("{name} wants a number, not {value:?}"))
            };
            match name.as_str() {
                "--keys" => args.keys = number()?.max(1000),
                "--rounds" => args.rounds = number()?.max(1) as usize,
                "--values" => {
                    let sizes = value.split(',').map(str::parse).collect::<Result<_, _>>();
                    args.values = sizes.map_err(|_| format!("{value:?} is no list of sizes"))?;
                }
                "--engines" => args.engines = value.split(',').map(str::to_owned).collect(),
                "--out" => args.out = PathBuf::from(value),
                "--engine" | "--dir" => {
                    let Task::Die { engine, dir } = &mut args.task else {
                        return Err(format!("{name} is for the child only; see --help"));
                    };
                    if name == "--dir" {
                        *dir = PathBuf::from(value);
                    } else {
                        *engine = value;
                    }
                }
                _ => return Err(format!("there is no argument {name}; see --help")),
            }
        }
        Ok(args)
    }
}
