//! Rounds, engines, workloads.
//!
//! What must stay true: each engine starts from an empty directory, and comes to each
//! workload in the same state; what is compared is not timed, what is timed has been
//! run before; an engine that fails is out of the table whole, and one that is far too
//! slow does what it can in one turn: the head of the table says so, the others go on.

use crate::args::Args;
use crate::check::{Answers, texts};
use crate::data::{AT, DOCS, FLIGHTS, Flights, ONES, Row, Table, document};
use crate::engines::{ALL, Done, Engine, Store};
use crate::queries;
use crate::timed::Asked;
use crate::work::{self, Work, World};
use shared::fresh;
use shared::report::{OURS, Report};
use shared::rows::Rows;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;
use std::time::{Duration, Instant};

const BATCH: u64 = 1000;
/// After so many documents it is known how long all of them would take.
const PROBE: u64 = 20_000;
/// Answers of each workload that are compared field by field.
const COMPARED: usize = 3;

/// Why an engine's turn ended.
enum Trouble {
    /// It could not go on: it is left out.
    Engine(String),
    /// It took too long: what it did counts, and it has no other turn.
    Late,
    /// It answers something else than the others: then there is no table.
    Answers(String),
}

/// An engine, and how it fares.
struct Peer {
    engine: Engine,
    /// Its version, or why it is left out.
    version: Done<String>,
    late: bool,
}

impl From<String> for Trouble {
    fn from(why: String) -> Trouble {
        Trouble::Engine(why)
    }
}

struct Run<'a> {
    args: &'a Args,
    world: World<'a>,
    answers: Answers,
    rows: Rows,
    /// When the turn began that goes on.
    began: Instant,
    /// Who did fewer operations of a workload than it has: how many, of how many.
    cut: BTreeMap<(&'static str, &'static str), (u64, u64)>,
}

/// All workloads, all engines, all rounds.
pub fn compare(args: &Args) -> Result<(), String> {
    let data = args.out.join("query-data");
    let mut peers = Vec::new();
    for engine in shared::chosen(ALL, |engine| engine.name, &args.engines)? {
        let version = fresh(&data).and_then(|dir| (engine.open)(&dir)?.version());
        if let Err(why) = &version {
            leaves(&engine, why)?;
        }
        peers.push(Peer { engine, version, late: false });
    }
    let flights = Flights::read(&args.data, args.docs)?;
    let world = World { docs: args.docs, flights: &flights };
    let (answers, rows) = (Answers::default(), Rows::default());
    let mut run = Run { args, world, answers, rows, began: Instant::now(), cut: BTreeMap::new() };
    for round in 0..args.rounds {
        for turn in 0..peers.len() {
            let at = (turn + round) % peers.len();
            let Peer { engine, version, late } = &mut peers[at];
            if version.is_err() || *late {
                continue;
            }
            eprintln!("query: round {} of {}: {}", round + 1, args.rounds, engine.name);
            match run.turn(engine, &data) {
                Ok(()) => {}
                Err(Trouble::Answers(why)) => return Err(why),
                Err(Trouble::Late) => *late = true,
                Err(Trouble::Engine(why)) => {
                    leaves(engine, &why)?;
                    run.rows.0.retain(|row| row.engine != engine.name);
                    run.cut.retain(|(_, name), _| *name != engine.name);
                    *version = Err(why);
                }
            }
            eprintln!("query:   all: {:.1} s", run.began.elapsed().as_secs_f64());
        }
    }
    fresh(&data)?;
    run.rows.0.sort_by_key(|row| work::place(&row.workload));
    let head = run.head(&peers);
    let here = peers.iter().filter(|peer| peer.version.is_ok());
    let engines = here.map(|peer| peer.engine.name).collect();
    Report { out: &args.out, stem: "query", head, engines, ours: &[OURS], each: true }
        .write(&run.rows)
}

/// Says that an engine is left out; ours cannot be: there would be nothing to compare.
fn leaves(engine: &Engine, why: &str) -> Result<(), String> {
    if engine.name == OURS {
        return Err(format!("{OURS}: {why}"));
    }
    eprintln!("query: {} is left out: {why}", engine.name);
    Ok(())
}

impl Run<'_> {
    fn head(&self, peers: &[Peer]) -> String {
        let (budget, limit) = (self.args.budget.as_secs(), self.args.turn_limit.as_secs());
        let mut head = format!(
            "# Planck's queries beside its peers\n\n{} generated documents of some 350 B and {} \
             flights of 2013 (nycflights13); {} rounds, medians. In brackets ours against that \
             peer, in the last column against the best; more than 1 is better for us. A killed \
             process loses nothing that was acknowledged, a power cut may; nothing waits for the \
             disk on purpose. A cache of 256 MiB where an engine has one. All answers were \
             compared with those of the other engines. Who takes more than {budget} s for a \
             workload does fewer of the same operations.\n\n",
            self.args.docs,
            self.world.flights.len(),
            self.args.rounds
        );
        for Peer { engine: Engine { name, note, .. }, version, late } in peers {
            let _ = match version {
                Ok(version) => writeln!(head, "* {name}: {note} ({version})"),
                Err(why) => writeln!(head, "* {name} is left out: {why}"),
            };
            if *late {
                let _ = writeln!(
                    head,
                    "* {name} had no further turn after one of more than {limit} s: figures it \
                     did not come to are missing"
                );
            }
        }
        for ((work, engine), (done, all)) in &self.cut {
            let _ = writeln!(head, "* cut off: {engine} did {done} of {all} of \"{work}\"");
        }
        head
    }

    /// One engine's turn in one round.
    fn turn(&mut self, engine: &Engine, data: &Path) -> Result<(), Trouble> {
        self.began = Instant::now();
        let mut store = (engine.open)(&fresh(data)?)?;
        let store = &mut *store;
        let wanted = |name: &str, works: &[Work]| {
            self.args.wants(name) || works.iter().any(|w| self.wants(w))
        };
        let (of_docs, of_flights) =
            (wanted(work::LOAD, work::DOCS), wanted(work::LOAD_FLIGHTS, work::FLIGHTS));
        let mut before = self.began;
        let mut stage = |name: &str| {
            eprintln!("query:   {name}: {:.1} s", before.elapsed().as_secs_f64());
            before = Instant::now();
        };
        if self.args.wants(work::ONE_BY_ONE) && !engine.figures_only {
            self.one_by_one(store, engine)?;
            stage("one by one");
        }
        if of_docs || self.args.wants(work::BUILD) {
            let docs = self.args.docs;
            let row = |n| document(n, docs, engine.form);
            let name = if engine.figures_only { work::LOAD_BARE } else { work::LOAD };
            self.load(store, engine, name, &DOCS, docs, &row)?;
            stage("load");
            if !engine.figures_only {
                let start = Instant::now();
                store.index(&DOCS, &AT)?;
                let ms = start.elapsed().as_secs_f64() * 1e3;
                self.rows.add(work::BUILD, engine.name, "ms", ms);
                stage("index");
            }
            store.settle()?;
            stage("settle");
            let changes = self.ask(store, engine, work::DOCS)?;
            if !engine.figures_only {
                // Who made other changes has other documents.
                let question = format!("what is left after the changes {changes:?}");
                let left = texts(&queries::LEFT, &store.show(&queries::LEFT, &[])?);
                self.same(question, engine, left)?;
            }
            stage("queries");
        }
        if of_flights {
            let flights = self.world.flights;
            let row = |n| flights.row(n, engine.form);
            let name =
                if engine.figures_only { work::LOAD_FLIGHTS_BARE } else { work::LOAD_FLIGHTS };
            self.load(store, engine, name, &FLIGHTS, flights.len(), &row)?;
            stage("flights, load");
            store.settle()?;
            stage("flights, settle");
            self.ask(store, engine, work::FLIGHTS)?;
            stage("flights, queries");
        }
        Ok(())
    }

    /// Whether the turn may go on.
    fn in_time(&self) -> Result<(), Trouble> {
        let late = self.began.elapsed() > self.args.turn_limit;
        if late { Err(Trouble::Late) } else { Ok(()) }
    }

    fn wants(&self, work: &Work) -> bool {
        self.args.wants(work.name)
    }

    fn one_by_one(&mut self, store: &mut dyn Store, engine: &Engine) -> Done {
        let docs = (self.args.docs / 5).clamp(1000, 100_000);
        let rows: Vec<Row> = (0..docs).map(|n| document(n, docs, engine.form)).collect();
        store.create(&ONES)?;
        let asked = store.insert_each(&ONES, &rows, self.args.budget)?;
        self.noted(work::ONE_BY_ONE, engine, &asked, docs);
        self.short(work::ONE_BY_ONE, engine, asked);
        Ok(())
    }

    /// Loads rows `0..count` in batches, if that will not take too long.
    fn load(
        &mut self,
        store: &mut dyn Store,
        engine: &Engine,
        name: &'static str,
        table: &Table,
        count: u64,
        row: &dyn Fn(u64) -> Row,
    ) -> Result<(), Trouble> {
        store.create(table)?;
        let (mut taken, limit) = (Duration::ZERO, self.args.load_limit);
        for from in (0..count).step_by(BATCH as usize) {
            self.in_time()?;
            let to = (from + BATCH).min(count);
            let rows: Vec<Row> = (from..to).map(row).collect();
            taken += store.insert(table, &rows)?;
            let all = taken.as_secs_f64() * count as f64 / to as f64;
            if to >= PROBE && all > limit.as_secs_f64() {
                return Err(Trouble::Engine(format!(
                    "loading {count} of its documents would take some {all:.0} s, more than {} s: \
                     the first {to} took {:.1} s ({:.2} k/s)",
                    limit.as_secs(),
                    taken.as_secs_f64(),
                    to as f64 / taken.as_secs_f64() / 1e3
                )));
            }
        }
        self.rows.add(name, engine.name, "k/s", count as f64 / taken.as_secs_f64() / 1e3);
        Ok(())
    }

    fn short(&mut self, name: &str, engine: &Engine, mut asked: Asked) {
        let rate = asked.len() as f64 / asked.seconds() / 1e3;
        self.rows.add(name, engine.name, "k/s", rate);
        self.rows.add(name, engine.name, "p50 us", asked.percentile(0.5));
        self.rows.add(name, engine.name, "p99 us", asked.percentile(0.99));
    }

    /// Notes it if this was cut off.
    fn noted(&mut self, name: &'static str, engine: &Engine, asked: &Asked, all: u64) {
        if asked.len() < all {
            let done = self.cut.entry((name, engine.name)).or_insert((asked.len(), all));
            done.0 = done.0.min(asked.len());
        }
    }

    fn same(
        &mut self,
        question: String,
        engine: &Engine,
        rows: Vec<String>,
    ) -> Result<(), Trouble> {
        self.answers.compare(question, engine.name, rows).map_err(Trouble::Answers)
    }

    /// Asks what is wanted of these; gives how many changes were made by each that makes
    /// some.
    fn ask(
        &mut self,
        store: &mut dyn Store,
        engine: &Engine,
        works: &'static [Work],
    ) -> Result<Vec<u64>, Trouble> {
        let (args, mut changes) = (self.args, Vec::new());
        for work in works.iter().filter(|work| args.wants(work.name)) {
            if engine.figures_only && !work.figures() {
                continue;
            }
            self.in_time()?;
            let times = (work.times)(self.world.docs);
            let given: Vec<_> = (0..times).map(|n| (work.parameters)(&self.world, n)).collect();
            if !work.changes() {
                let start = Instant::now();
                let mut others = given.clone();
                // The same again would say the same.
                others.dedup();
                for (n, parameters) in others.iter().take(COMPARED).enumerate() {
                    let rows = texts(&work.query, &store.show(&work.query, parameters)?);
                    self.same(format!("{}, answer {n}", work.name), engine, rows)?;
                    if start.elapsed() > args.budget {
                        break;
                    }
                }
                // Warm, as a database that is used is.
                store.ask_each(&work.query, &given[..given.len() / 4], args.budget / 4)?;
            }
            let mut asked = store.ask_each(&work.query, &given, args.budget)?;
            let counts = std::mem::take(&mut asked.counts);
            self.answers
                .compare_counts(work.name, engine.name, counts)
                .map_err(Trouble::Answers)?;
            self.noted(work.name, engine, &asked, times);
            if work.changes() {
                changes.push(asked.len());
            }
            if work.long {
                self.rows.add(work.name, engine.name, "ms", asked.percentile(0.5) / 1e3);
            } else {
                self.short(work.name, engine, asked);
            }
        }
        Ok(changes)
    }
}
