//! Rounds, engines, workloads.
//!
//! What must stay true: each engine starts from an empty directory, and comes to each
//! workload in the same state; what is compared is not timed, what is timed has been
//! run before.

use crate::args::Args;
use crate::check::{Answers, texts};
use crate::data::{AT, DOCS, FLIGHTS, Flights, ONES, Row, Table, document};
use crate::engines::{ALL, Engine, Store};
use crate::queries;
use crate::work::{self, Work, World};
use shared::fresh;
use shared::report::Report;
use shared::rows::{Rows, Times};
use std::fmt::Write;
use std::path::Path;
use std::time::Instant;

const BATCH: u64 = 1000;
/// Answers of each workload that are compared field by field.
const COMPARED: u64 = 3;

struct Run<'a> {
    args: &'a Args,
    world: World<'a>,
    answers: Answers,
    rows: Rows,
}

/// All workloads, all engines, all rounds.
pub fn compare(args: &Args) -> Result<(), String> {
    let mut engines = shared::chosen(ALL, |engine| engine.name, &args.engines)?;
    let data = args.out.join("query-data");
    let mut about = String::new();
    let mut failed = Ok(());
    engines.retain(|engine| {
        let opened = fresh(&data).and_then(|dir| (engine.open)(&dir));
        let line = match &opened {
            Ok(_) => format!("* {}: {}", engine.name, engine.note),
            Err(why) => format!("* {} is left out: {why}", engine.name),
        };
        match opened {
            Ok(mut store) => {
                let _ = writeln!(about, "{line} ({})", store.version());
                true
            }
            Err(why) => {
                eprintln!("query: {} is left out: {why}", engine.name);
                let _ = writeln!(about, "{line}");
                // Who asks for an engine by name wants no table without it.
                if !args.engines.is_empty() {
                    failed = Err(format!("{}: {why}", engine.name));
                }
                false
            }
        }
    });
    failed?;
    let flights = Flights::read(&args.data, args.docs)?;
    let world = World { docs: args.docs, flights: &flights };
    let mut run = Run { args, world, answers: Answers::default(), rows: Rows::default() };
    for round in 0..args.rounds {
        for turn in 0..engines.len() {
            let engine = &engines[(turn + round) % engines.len()];
            let start = Instant::now();
            run.one(engine, &data)?;
            let seconds = start.elapsed().as_secs_f64();
            eprintln!(
                "query: round {} of {}: {} ({seconds:.1} s)",
                round + 1,
                args.rounds,
                engine.name
            );
        }
    }
    fresh(&data)?;
    let head = format!(
        "# Planck's queries beside its peers\n\n{} generated documents of some 350 B and {} \
         flights of 2013 (nycflights13); {} rounds, medians. In brackets ours against that peer, \
         in the last column against the best; more than 1 is better for us. A killed process \
         loses nothing that was acknowledged, a power cut may; nothing waits for the disk on \
         purpose. A cache of 256 MiB where an engine has one. All answers were compared with \
         those of the other engines.\n\n{about}",
        args.docs,
        flights.len(),
        args.rounds
    );
    let engines = engines.iter().map(|engine| engine.name).collect();
    Report { out: &args.out, stem: "query", head, engines, each: true }.write(&run.rows)
}

impl Run<'_> {
    fn one(&mut self, engine: &Engine, data: &Path) -> Result<(), String> {
        let mut store = (engine.open)(&fresh(data)?)?;
        let store = &mut *store;
        let any = |works: &[Work]| works.iter().any(|work| self.args.wants(work.name));
        let (of_docs, of_flights) = (any(work::DOCS), any(work::FLIGHTS));
        if self.args.wants(work::ONE_BY_ONE) && !engine.figures_only {
            self.one_by_one(store, engine);
        }
        if of_docs || self.args.wants(work::LOAD) || self.args.wants(work::BUILD) {
            let docs = self.args.docs;
            let row = |n| document(n, docs, engine.form);
            let times = load(store, &DOCS, docs, &row);
            self.loaded(work::LOAD, engine, docs, &times);
            if !engine.figures_only {
                let start = Instant::now();
                store.index(&DOCS, &AT);
                let ms = start.elapsed().as_secs_f64() * 1e3;
                self.rows.add(work::BUILD, engine.name, "ms", ms);
            }
            store.settle();
            self.ask(store, engine, work::DOCS)?;
            if !engine.figures_only {
                let left = texts(&queries::LEFT, &store.show(&queries::LEFT, &[]));
                self.answers.compare("what is left".to_owned(), engine.name, left)?;
            }
        }
        if of_flights || self.args.wants(work::LOAD_FLIGHTS) {
            let flights = self.world.flights;
            let times = load(store, &FLIGHTS, flights.len(), &|n| flights.row(n, engine.form));
            self.loaded(work::LOAD_FLIGHTS, engine, flights.len(), &times);
            store.settle();
            self.ask(store, engine, work::FLIGHTS)?;
        }
        Ok(())
    }

    fn one_by_one(&mut self, store: &mut dyn Store, engine: &Engine) {
        let docs = (self.args.docs / 5).clamp(1000, 100_000);
        let rows: Vec<Row> = (0..docs).map(|n| document(n, docs, engine.form)).collect();
        store.create(&ONES);
        let times = store.insert_each(&ONES, &rows);
        self.short(work::ONE_BY_ONE, engine, times);
    }

    fn loaded(&mut self, name: &str, engine: &Engine, docs: u64, times: &[Times]) {
        let seconds: f64 = times.iter().map(Times::seconds).sum();
        self.rows.add(name, engine.name, "k/s", docs as f64 / seconds / 1e3);
    }

    fn short(&mut self, name: &str, engine: &Engine, mut times: Times) {
        let rate = times.len() as f64 / times.seconds() / 1e3;
        self.rows.add(name, engine.name, "k/s", rate);
        self.rows.add(name, engine.name, "p50 us", times.percentile(0.5));
        self.rows.add(name, engine.name, "p99 us", times.percentile(0.99));
    }

    fn ask(
        &mut self,
        store: &mut dyn Store,
        engine: &Engine,
        works: &[Work],
    ) -> Result<(), String> {
        let args = self.args;
        for work in works.iter().filter(|work| args.wants(work.name)) {
            if engine.figures_only && !work.figures() {
                continue;
            }
            let times = (work.times)(self.world.docs);
            let given: Vec<_> = (0..times).map(|n| (work.parameters)(&self.world, n)).collect();
            if !work.changes() {
                for (n, parameters) in given.iter().take(COMPARED as usize).enumerate() {
                    let rows = texts(&work.query, &store.show(&work.query, parameters));
                    let question = format!("{}, answer {n}", work.name);
                    self.answers.compare(question, engine.name, rows)?;
                }
                // Warm, as a database that is used is.
                store.ask_each(&work.query, &given[..given.len() / 4]);
            }
            let (mut times, all) = store.ask_each(&work.query, &given);
            let question = format!("{}, counted", work.name);
            self.answers.compare(question, engine.name, vec![all.to_string()])?;
            if work.long {
                self.rows.add(work.name, engine.name, "ms", times.percentile(0.5) / 1e3);
            } else {
                self.short(work.name, engine, times);
            }
        }
        Ok(())
    }
}

/// Rows `0..count` in batches; the time of each.
fn load(store: &mut dyn Store, table: &Table, count: u64, row: &dyn Fn(u64) -> Row) -> Vec<Times> {
    store.create(table);
    let mut times = Vec::new();
    for from in (0..count).step_by(BATCH as usize) {
        let rows: Vec<Row> = (from..(from + BATCH).min(count)).map(row).collect();
        times.push(store.insert(table, &rows));
    }
    times
}
