//! Rounds, servers, and the two tables: of those that encrypt, and of those that do not.
//!
//! What must stay true: a server that fails is out of the table whole, and the head of
//! the table says so; ours are never left out, and nobody's wrong answer is passed over.

use crate::args::Args;
use crate::peers::{ALL, Engine, Terms, Trouble};
use crate::turn::{CONNECTIONS, TOGETHER, turn};
use shared::report::Report;
use shared::rows::Rows;
use shared::{chosen, fresh};
use std::fmt::Write;

/// A server, and its version, or why it is left out.
struct Peer(Engine, Result<String, String>);

/// All servers, all rounds.
pub fn compare(args: &Args) -> Result<(), String> {
    let data = args.out.join("wire-data");
    let mut rows = Rows::default();
    let engines = chosen(ALL, |engine| engine.name, &args.engines)?;
    let mut peers: Vec<_> = engines.into_iter().map(|e| Peer(e, Ok(String::new()))).collect();
    for round in 0..args.rounds {
        for at in 0..peers.len() {
            let at = (at + round) % peers.len();
            let Peer(engine, version) = &mut peers[at];
            if version.is_err() {
                continue;
            }
            let name = engine.name;
            eprintln!("wire: round {} of {}: {name}", round + 1, args.rounds);
            let dir = fresh(&data)?;
            let terms = Terms { dir: &dir, planck: &args.planck };
            match turn(args, engine, &terms, &mut rows) {
                Ok(found) => *version = Ok(found),
                Err(Trouble::Answer(why)) => return Err(format!("{name}: a wrong answer: {why}")),
                Err(Trouble::Server(why)) if engine.is_ours() => {
                    return Err(format!("{name}: {why}"));
                }
                Err(Trouble::Server(why)) => {
                    eprintln!("wire: {name} is left out: {why}");
                    rows.0.retain(|row| row.engine != name);
                    *version = Err(why);
                }
            }
        }
    }
    fresh(&data)?;
    for (secure, stem) in [(true, "wire"), (false, "wire-plain")] {
        let of: Vec<_> = peers.iter().filter(|Peer(engine, _)| engine.secure == secure).collect();
        if !of.is_empty() {
            table(args, stem, secure, &of, &mut rows)?;
        }
    }
    Ok(())
}

fn table(
    args: &Args,
    stem: &str,
    secure: bool,
    peers: &[&Peer],
    rows: &mut Rows,
) -> Result<(), String> {
    let here = peers.iter().filter(|Peer(_, version)| version.is_ok());
    let engines: Vec<&'static str> = here.map(|Peer(engine, _)| engine.name).collect();
    let ours = ALL.iter().filter(|engine| engine.secure == secure && engine.is_ours());
    let ours: Vec<&'static str> = ours.map(|engine| engine.name).collect();
    let mut head = format!(
        "# The wire beside its peers, {}\n\n{} documents of some 390 B that are there before, {} \
         requests of each kind over one connection, over loopback, {}; {} rounds, medians. In brackets \
         {} against that peer, in the last column against the best; more than 1 is better for us. A \
         killed process loses nothing that was acknowledged, a power cut may; nothing waits for \
         the disk on purpose. Every answer was compared with what was written. \"{TOGETHER} \
         together\" are sent before the first answer is waited for, and their times are those of \
         all {TOGETHER}; with {CONNECTIONS} connections each has a thread and asks one by one. \
         \"{}\" is the time that all threads of the server's processes used, in user space and in \
         the kernel, for each request (of a scan: for each document); work that it puts off until \
         after the workload is not in it.\n\n",
        if secure { "TLS and QUIC" } else { "without TLS" },
        args.docs,
        args.asks,
        if secure { "TCP under TLS 1.3 unless something else is said" } else { "TCP" },
        args.rounds,
        ours[0],
        crate::turn::CPU,
    );
    for Peer(Engine { name, note, .. }, version) in peers {
        let _ = match version {
            Ok(version) => writeln!(head, "* {name}: {note} ({version})"),
            Err(why) => writeln!(head, "* {name} is left out: {why}"),
        };
    }
    let of = Rows(rows.0.extract_if(.., |row| engines.contains(&row.engine)).collect());
    Report { out: &args.out, stem, head, engines, ours: &ours, each: true }.write(&of)
}
