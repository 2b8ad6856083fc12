//! The cases, in turns.

use crate::args::Args;
use crate::ask::{Asker, CASES, Run};
use crate::data::Data;
use crate::servers::{self, ALL, Engine, Place};
use crate::{check, cpu};
use shared::report::Report;
use shared::rows::Rows;
use shared::{chosen, fresh};
use std::path::Path;

/// Keys that are asked for.
const KEYS: u64 = 4000;
/// Flights that each server must know before it is measured.
const CHECKED: usize = 50;
/// Which columns are ours.
const OURS: &[&str] = &["planck", "planck-wasmi"];
/// Bytes of the static file.
const FILE: usize = 4096;

pub fn compare(args: &Args) -> Result<(), String> {
    let engines = chosen(ALL, |engine| engine.name, &args.engines)?;
    let data = Data::read(&args.data)?;
    let keys = data.keys(KEYS);
    let expected = data.joined(&keys[..CHECKED]);
    // Absolute: servers have working directories of their own.
    std::fs::create_dir_all(&args.out).map_err(|e| format!("{}: {e}", args.out.display()))?;
    let out = args.out.canonicalize().map_err(|e| format!("{}: {e}", args.out.display()))?;
    let place = fresh(&out.join("edge-data"))?;
    let (files, rows_file) = (fresh(&place.join("files"))?, place.join("rows.ndjson"));
    let file: String = (0..FILE / 16).map(|n| format!("{:016x}", shared::mix(n as u64))).collect();
    std::fs::write(files.join("file.txt"), &file).map_err(|e| e.to_string())?;
    servers::write_rows(&data, &rows_file)?;
    if std::env::var_os("PEERS_POSTGRES").is_some() {
        eprintln!("edge: loading PostgreSQL");
        servers::fill_postgres(&data)?;
    }
    drop(data);
    let asker = Asker::new(&place, keys.clone())?;
    let (mut rows, mut left) = (Rows::default(), Vec::new());
    for round in 0..args.rounds {
        for turn in 0..engines.len() {
            let engine = &engines[(turn + round) % engines.len()];
            if left.iter().any(|(name, _)| *name == engine.name) {
                continue;
            }
            eprintln!("edge: round {} of {}: {}", round + 1, args.rounds, engine.name);
            let dir = fresh(&place.join("server"))?;
            let place = Place { dir, files: files.clone(), rows: rows_file.clone() };
            let check = |server: &_| match engine.is_floor {
                true => Ok(()),
                false => check::check(server, &keys[..CHECKED], &expected, &file),
            };
            if let Err(why) = one(args, engine, &place, &asker, &check, &mut rows) {
                // It goes to one line of the head.
                left.push((engine.name, why.split_whitespace().collect::<Vec<_>>().join(" ")));
            }
        }
    }
    write(args, &out, &engines, &left, &rows)
}

type Check<'a> = dyn Fn(&servers::Server) -> Result<(), String> + 'a;

fn one(
    args: &Args,
    engine: &Engine,
    place: &Place,
    asker: &Asker,
    check: &Check<'_>,
    rows: &mut Rows,
) -> Result<(), String> {
    let server = (engine.open)(args, place)?;
    check(&server)?;
    let name = engine.name;
    rows.add("memory before load", name, "MiB", cpu::memory(server.pid(), server.also));
    let cases = CASES.iter().take(if engine.is_floor { 1 } else { CASES.len() });
    for case in cases {
        let mut add = |how: &str, run: &Run| {
            let what = format!("{}, {how}", case.name);
            rows.add(what.as_str(), name, "k/s", run.per_second / 1e3);
            rows.add(what.as_str(), name, "p50 us", run.p50);
            rows.add(what.as_str(), name, "p99 us", run.p99);
            rows.add(what.as_str(), name, "CPU us", run.cpu);
        };
        add("HTTP/1.1", &asker.http1(&server, case, args.seconds)?);
        if engine.http2 {
            add("HTTP/2", &asker.http2(&server, case, args.seconds)?);
        }
    }
    rows.add("memory after load", name, "MiB", cpu::memory(server.pid(), server.also));
    if name.starts_with("planck") {
        // Once more, with its module compiled: exec to the line that says where it is.
        drop(server);
        let again = servers::again(args, place)?;
        rows.add("exec to listening, module cached", name, "ms", again.started.as_secs_f64() * 1e3);
    }
    Ok(())
}

fn write(
    args: &Args,
    out: &Path,
    engines: &[Engine],
    left: &[(&'static str, String)],
    rows: &Rows,
) -> Result<(), String> {
    let mut head = format!(
        "# The edge beside its peers\n\n336,776 flights; {} rounds of {} s a line, medians. Eight \
         requests at once by one thread on the same machine: wrk over HTTP/1.1 with keep-alive, \
         h2load over HTTP/2 in the clear. CPU is the server's user and system time over its \
         requests, with PostgreSQL's. Every server was seen to answer as the data says before \
         it was measured. A killed process loses nothing that was acknowledged; nothing waits \
         for the disk.\n\n",
        args.rounds, args.seconds
    );
    for engine in engines {
        head += &format!("* {}: {}\n", engine.name, engine.terms);
    }
    for (name, why) in left {
        head += &format!("* {name} is left out: {why}\n");
    }
    let engines = engines.iter().map(|engine| engine.name).collect();
    Report { out, stem: "edge", head, engines, ours: OURS, each: true }.write(rows)
}
