//! What stands above the table.

use crate::args::Args;
use crate::engines::Engine;
use shared::report::Report;
use shared::rows::Rows;
use std::fmt::Write;

/// Writes `results.json` and `results.md`, and prints the latter.
pub fn write(args: &Args, engines: &[Engine], rows: &Rows) -> Result<(), String> {
    let mut head = format!(
        "# Planck's storage engine beside its peers\n\n{} keys, {} rounds, medians. The last \
         column is ours against the best peer, more than 1 is better for us. No compression; a \
         cache of 256 MiB and write buffers of 64 MiB where an engine has them. \"put\" without \
         \"durable\": a killed process loses nothing (redb: see below). What each verifies:\n\n",
        args.keys, args.rounds
    );
    for engine in engines {
        let _ = writeln!(head, "* {}: {}", engine.name, engine.checks);
    }
    let engines = engines.iter().map(|engine| engine.name).collect();
    Report { out: &args.out, stem: "results", head, engines, each: false }.write(rows)
}
