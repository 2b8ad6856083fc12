//! The arguments.

use shared::args::Given;
use std::path::PathBuf;

const HELP: &str = "\
edge: Planck's HTTP edge beside its peers, on loopback

  edge [--seconds N] [--rounds N] [--engines NAME,..] [--planck DIR] [--data DIR] [--out DIR]

  --seconds N   how long each line is asked (default 5)
  --rounds N    rounds; figures are medians over them (default 3)
  --engines ..  some only: planck planck-wasmi hyper axum express deno
  --planck DIR  a service of the flights example with its data (default target/demo/flights)
  --binary FILE the server (default target/release/planck)
  --data DIR    the tables it was loaded from (default target/demo/data)
  --out DIR     where copies of data, edge.json and edge.md go (default target/peers)";

pub struct Args {
    pub seconds: u64,
    pub rounds: usize,
    pub engines: Vec<String>,
    pub planck: PathBuf,
    pub binary: PathBuf,
    pub data: PathBuf,
    pub out: PathBuf,
}

impl Args {
    pub fn read() -> Result<Args, String> {
        let mut args = Args {
            seconds: 5,
            rounds: 3,
            engines: Vec::new(),
            planck: "target/demo/flights".into(),
            binary: "target/release/planck".into(),
            data: "target/demo/data".into(),
            out: "target/peers".into(),
        };
        let mut given = Given::new(HELP);
        while let Some(argument) = given.argument()? {
            match argument.name.as_str() {
                "--seconds" => args.seconds = argument.number()?.max(1),
                "--rounds" => args.rounds = argument.number()?.max(1) as usize,
                "--engines" => args.engines = argument.list(),
                "--planck" => args.planck = argument.value.into(),
                "--binary" => args.binary = argument.value.into(),
                "--data" => args.data = argument.value.into(),
                "--out" => args.out = argument.value.into(),
                _ => return Err(argument.unknown()),
            }
        }
        Ok(args)
    }
}
