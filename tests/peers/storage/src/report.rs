//! What stands above the table.

use crate::args::Args;
use crate::engines::Engine;
use shared::report::{OURS, Report};
use shared::rows::Rows;
use std::fmt::Write;

/// Writes `results.json` and `results.md`, and prints the latter.
pub fn compared(args: &Args, engines: &[Engine], rows: &Rows) -> Result<(), String> {
    let head = format!(
        "# Planck's storage engine beside its peers\n\n{} keys, {} rounds, medians.",
        args.keys, args.rounds
    );
    write(args, "results", head, engines, rows)
}

/// Writes `grow.json` and `grow.md`; `left` are the engines whose time was over.
pub fn grown(
    args: &Args,
    bytes: usize,
    engines: &[Engine],
    left: &[String],
    rows: &Rows,
) -> Result<(), String> {
    let mut head = format!(
        "# Planck's storage engine beside its peers as the data grows\n\nRandom keys in batches \
         of 100, values of {bytes} B, {} rounds, medians.",
        args.rounds
    );
    if !left.is_empty() {
        let _ = write!(head, " Left unfinished: {}.", left.join("; "));
    }
    write(args, "grow", head, engines, rows)
}

fn write(
    args: &Args,
    stem: &str,
    mut head: String,
    engines: &[Engine],
    rows: &Rows,
) -> Result<(), String> {
    head.push_str(
        " The last column is ours against the best peer, more than 1 is better for us. No \
         compression; a cache of 256 MiB and write buffers of 64 MiB where an engine has them. \
         \"put\" without \"durable\": a killed process loses nothing (redb: see below). Write \
         amplification is what the device was given until the engine had settled, over what was \
         put. What each verifies:\n\n",
    );
    for engine in engines {
        let _ = writeln!(head, "* {}: {}", engine.name, engine.checks);
    }
    let engines = engines.iter().map(|engine| engine.name).collect();
    Report { out: &args.out, stem, head, engines, ours: &[OURS], each: false }.write(rows)
}
