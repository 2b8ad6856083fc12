//! Rounds, cases, turns.

use crate::args::Args;
use crate::engines::{ALL, Engine, Terms};
use crate::work::{CASES, CENTS, Case, Work};
use shared::report::Report;
use shared::rows::{Rows, Times};
use shared::{chosen, fresh};
use std::fmt::Write;
use std::time::Duration;

/// An engine, and its version, or why it is left out.
struct Peer(Engine, Result<String, String>);

pub fn compare(args: &Args) -> Result<(), String> {
    // Accounts are scattered by a prime, and the number is no multiple of it.
    if args.accounts.is_multiple_of(7919) {
        return Err("take another number of accounts than a multiple of 7919".to_owned());
    }
    let mut rows = Rows::default();
    let cases = chosen(CASES, |case| case.name, &args.cases)?;
    let engines = chosen(ALL, |engine| engine.name, &args.engines)?;
    let mut peers: Vec<_> = engines.into_iter().map(|e| Peer(e, Ok(String::new()))).collect();
    for round in 0..args.rounds {
        for case in &cases {
            let work = Work::of(case, args.accounts);
            for at in 0..peers.len() {
                let at = (at + round) % peers.len();
                let Peer(engine, version) = &mut peers[at];
                if version.is_err() {
                    continue;
                }
                let (name, of) = (engine.name, args.rounds);
                eprintln!("transfer: round {} of {of}: {}: {name}", round + 1, case.name);
                *version = turn(args, engine, case, &work, &mut rows);
                match version {
                    Ok(_) => {}
                    Err(why) if why.starts_with(WRONG) || name.starts_with("planck") => {
                        return Err(format!("{name}: {why}"));
                    }
                    Err(why) => {
                        eprintln!("transfer: {name} is left out: {why}");
                        rows.0.retain(|row| row.engine != name);
                    }
                }
            }
        }
    }
    fresh(&args.out.join("transfer-data"))?;
    let here = peers.iter().filter(|Peer(_, version)| version.is_ok());
    let engines: Vec<&'static str> = here.map(|Peer(engine, _)| engine.name).collect();
    let ours = engines.iter().filter(|name| name.starts_with("planck")).copied();
    let ours: Vec<&'static str> = ours.collect();
    let first = ours.first().copied().unwrap_or("nobody");
    let mut head = format!(
        "# Money from one account to another\n\n{} accounts, {} transfers asked for at once where \
         several can be, {} s for each turn, {} rounds, medians; one machine, who asks and who \
         answers on the same processors. In brackets {first} against that peer, in the last \
         column against the best; more than 1 is better for us. \"sync\": a transfer is on the \
         disk before it is answered. \"async\": it is in the kernel (a killed process loses \
         nothing, a power cut may). The sum of all accounts was looked at behind each turn. \
         \"disturbed\": transfers that were run again because another one had come in between, \
         of a hundred; \"given up\": that were not done, and said so.\n\n",
        args.accounts, args.together, args.seconds, args.rounds
    );
    for Peer(Engine { name, note, .. }, version) in &peers {
        let _ = match version {
            Ok(version) => writeln!(head, "* {name}: {note} ({version})"),
            Err(why) => writeln!(head, "* {name} is left out: {why}"),
        };
    }
    Report { out: &args.out, stem: "transfer", head, engines, ours: &ours, each: true }.write(&rows)
}

/// How a reason begins that ends the run, whoever gave it.
const WRONG: &str = "the money is wrong";

fn turn(
    args: &Args,
    engine: &Engine,
    case: &Case,
    work: &Work,
    rows: &mut Rows,
) -> Result<String, String> {
    let dir = fresh(&args.out.join("transfer-data"))?;
    let terms = Terms { args, dir: &dir, sync: case.sync };
    let mut bank = (engine.open)(&terms)?;
    bank.fill(args.accounts)?;
    bank.run(work, Duration::from_secs(1))?;
    let before = bank.disturbed()?;
    let ran = bank.run(work, Duration::from_secs(args.seconds))?;
    let disturbed = bank.disturbed()?.zip(before).map(|(after, before)| after - before);
    let found = bank.total()?;
    let sum = i128::from(CENTS) * i128::from(args.accounts);
    let right = found.accounts == args.accounts && found.cents == sum && found.least >= 0;
    if !right || found.least == CENTS || ran.times.is_empty() {
        return Err(format!(
            "{WRONG}: {} accounts with {} cents, the least {}; expected were {} with {sum}, and \
             transfers",
            found.accounts, found.cents, found.least, args.accounts
        ));
    }
    let (name, done) = (engine.name, ran.times.len() as f64);
    let mut times = Times::taken(ran.times);
    rows.add(case.name, name, "k/s", done / ran.seconds / 1e3);
    rows.add(case.name, name, "p50 us", times.percentile(0.5));
    rows.add(case.name, name, "p99 us", times.percentile(0.99));
    if let Some(disturbed) = disturbed {
        rows.add(case.name, name, "disturbed %", disturbed as f64 * 100.0 / done);
        rows.add(case.name, name, "given up %", ran.given_up as f64 * 100.0 / done);
    }
    Ok(bank.version())
}
