//! What is tested: stores of the same documents under other indexes, in one engine,
//! and all that happens to them.
//!
//! What must stay true: a history is all of a run, so that it can be replayed and
//! shrunk; each store holds the documents of the model after every step, whatever its
//! indexes are; a key that the engine made is given up for one of the history.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use engine::{Engine, Limits, Step};
use platform::sim::SimDisk;
use proto::doc::Doc;
use proto::{Key, Request, Status, json};

use crate::client::{ask, ask_by_pages, ask_text, open};
use crate::indexes::{INDEXES, UNIQUE};
use crate::marks::Told;
use crate::naive::{self, Answer, Store};
use crate::query::{Change, Edits, Expr, Query, Verb};
use crate::sqlite::Sqlite;
use crate::tally::{Failure, Kind, Tally};
use crate::value::{V, key_text};

/// Which engine, and which stores.
#[derive(Clone, Debug)]
pub struct Setup {
    pub seed: u64,
    /// Bytes a query may use, if they are to be few.
    pub memory: Option<usize>,
    /// For each store which of [`INDEXES`] it has.
    pub stores: Vec<Vec<usize>>,
    /// Whether SQLite is asked as well.
    pub sqlite: bool,
}

/// One step of a history.
#[derive(Clone, Debug)]
pub enum Op {
    Insert(u128, V),
    /// Into the store that is looked up in.
    InsertOther(u128, V),
    /// Makes an index where it is wanted, and builds it.
    Index(usize),
    Change(Query),
    /// Gives a document, and a new one, a unique value that another has.
    Clash(u64),
    Flush,
    Reopen,
    Collect,
    Ask(Query, Breadth),
    /// All documents, and all indexes by the engine's own proof.
    Check,
}

/// Of how many stores a query is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Breadth {
    All,
    /// The one without indexes, the one with all, and one more.
    Few,
    /// The one with all indexes.
    Last,
}

struct Wrong(Kind, String);

/// Carries out a history.
pub fn run(setup: &Setup, history: &[Op], tally: &mut Tally) -> Result<(), Failure> {
    let mut world = World::new(setup);
    for (at, op) in history.iter().enumerate() {
        let done = catch_unwind(AssertUnwindSafe(|| world.act(op, tally)));
        let Wrong(kind, told) = match done {
            Ok(Ok(())) => continue,
            Ok(Err(wrong)) => wrong,
            Err(panic) => {
                let text = panic.downcast_ref::<String>().cloned();
                let text = text.or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).to_owned()));
                Wrong(Kind::Panic, text.unwrap_or_default())
            }
        };
        return Err(Failure { at, store: world.at, kind, told });
    }
    Ok(())
}

struct World<'s> {
    setup: &'s Setup,
    disk: Arc<SimDisk>,
    /// `None` only while it is opened again.
    engine: Option<Engine>,
    a: Store,
    b: Store,
    sqlite: Option<Sqlite>,
    /// Answers of the model to what it is now.
    answers: BTreeMap<String, Answer>,
    /// The store that is dealt with.
    at: usize,
    /// Whether values of `u` are refused already.
    unique: bool,
}

impl World<'_> {
    fn new(setup: &Setup) -> World<'_> {
        let disk = SimDisk::new(setup.seed);
        let engine = open(&disk, setup.memory);
        let names = (0..setup.stores.len()).map(|store| format!("a{store}"));
        for store in names.chain(["b".to_owned(), "bi".to_owned()]) {
            let request = Request::CreateStore { store: &store, if_not_exists: false };
            assert_eq!(ask(&engine, request), Answer::Count(0));
        }
        let (a, b) = (Store::new(), Store::new());
        World {
            setup,
            disk,
            engine: Some(engine),
            a,
            b,
            sqlite: setup.sqlite.then(Sqlite::new),
            answers: BTreeMap::new(),
            at: 0,
            unique: false,
        }
    }

    fn engine(&self) -> &Engine {
        self.engine.as_ref().expect("it is open")
    }

    /// The text of a query as a store is asked it. One with many indexes looks up in a
    /// store with indexes.
    fn text(&self, store: usize, query: &Query) -> (String, Vec<V>) {
        let foreign = if self.setup.stores[store].len() > 1 { "bi" } else { "b" };
        query.text(&format!("a{store}"), foreign)
    }

    fn act(&mut self, op: &Op, tally: &mut Tally) -> Result<(), Wrong> {
        if !matches!(op, Op::Ask(..)) {
            self.answers.clear();
        }
        match op {
            Op::Insert(key, document) => {
                for store in 0..self.setup.stores.len() {
                    self.at = store;
                    self.insert(&format!("a{store}"), *key, document)?;
                }
                self.a.insert(*key, document.clone());
                self.sqlite.iter().for_each(|sqlite| sqlite.insert("a", *key, document));
            }
            Op::InsertOther(key, document) => {
                self.insert("b", *key, document)?;
                self.insert("bi", *key, document)?;
                self.b.insert(*key, document.clone());
                self.sqlite.iter().for_each(|sqlite| sqlite.insert("b", *key, document));
            }
            Op::Index(number) => {
                self.index(*number);
                self.unique |= *number == UNIQUE;
            }
            Op::Change(query) => {
                self.change(query, tally)?;
                self.sqlite.iter().for_each(|sqlite| sqlite.change(query));
            }
            Op::Clash(number) => self.clash(*number, tally)?,
            Op::Flush => drop(self.engine().flush().expect("a sound disk")),
            Op::Reopen => {
                self.engine = None;
                self.engine = Some(open(&self.disk, self.setup.memory));
            }
            Op::Collect => self.collect(tally),
            Op::Ask(query, breadth) => self.question(query, *breadth, tally)?,
            Op::Check => self.check()?,
        }
        Ok(())
    }

    fn insert(&self, store: &str, key: u128, document: &V) -> Result<(), Wrong> {
        let document = document.bson();
        let request = Request::Insert { store, key: Some(Key(key)), document: &document };
        match ask(self.engine(), request) {
            Answer::Key(given) if given == key => Ok(()),
            Answer::Refused(status, why) => Err(Wrong(Kind::Refused(status), why)),
            other => Err(Wrong(Kind::Differs, format!("insert of {key:x}: {other:?}"))),
        }
    }

    fn index(&self, number: usize) {
        let definition = json::parse_json(INDEXES[number]).expect("JSON");
        let wants = |store: &usize| self.setup.stores[*store].contains(&number);
        let names = (0..self.setup.stores.len()).filter(wants).map(|store| format!("a{store}"));
        for store in names.chain(["bi".to_owned()]) {
            let (store, definition) = (&store[..], &definition[..]);
            let request = Request::CreateIndex { store, if_not_exists: false, definition };
            let made = ask(self.engine(), request);
            assert!(matches!(made, Answer::Told(_)), "{made:?}");
        }
        while self.engine().tend().expect("a sound disk") {}
    }

    fn collect(&self, tally: &mut Tally) {
        let freed = || {
            let figures = self.engine().stats().expect("a sound disk");
            let figures = V::read(Doc::parse(&figures).expect("BSON"));
            let of = |name| figures.field(name).map_or(0, V::whole);
            (of("gc_segments"), of("gc_freed_bytes"))
        };
        let before = freed();
        self.engine().flush().expect("a sound disk");
        while !matches!(self.engine().maintenance().expect("a sound disk"), Step::Idle) {}
        let after = freed();
        tally.collections += 1;
        tally.collected += u64::from(after.0 > before.0 && after.1 > before.1);
    }

    fn question(
        &mut self,
        query: &Query,
        breadth: Breadth,
        tally: &mut Tally,
    ) -> Result<(), Wrong> {
        let (text, parameters) = query.text("a", "b");
        let name = format!("{text} {parameters:?}");
        if !self.answers.contains_key(&name) {
            tally.different += 1;
            let answer = naive::answer(query, &mut self.a, &self.b);
            self.answers.insert(name.clone(), answer);
        }
        let all = self.setup.stores.len();
        let one_more = (query.style / 64) as usize % all;
        for store in 0..all {
            let asked = match breadth {
                Breadth::All => true,
                Breadth::Few => [0, one_more, all - 1].contains(&store),
                Breadth::Last => store == all - 1,
            };
            if !asked {
                continue;
            }
            self.at = store;
            let expected = &self.answers[&name];
            if !self.answered(store, query, expected, tally)? {
                continue;
            }
            // The engine's answer is that of the model, which has the documents.
            if let Some(sqlite) = &self.sqlite {
                tally.of_sqlite += 1;
                sqlite.compare(query, expected).map_err(|why| Wrong(Kind::Sqlite, why))?;
            }
            let returned = match expected {
                Answer::Rows(rows) => rows.len() as u64,
                Answer::Count(n) => *n,
                _ => continue,
            };
            if query.selects() && query.style.is_multiple_of(16) && breadth != Breadth::Last {
                self.explain(store, query, returned, tally)?;
            }
        }
        Ok(())
    }

    /// Whether a store answers as the model; `false`: for want of memory it does not
    /// answer.
    fn answered(
        &self,
        store: usize,
        query: &Query,
        expected: &Answer,
        tally: &mut Tally,
    ) -> Result<bool, Wrong> {
        let (text, parameters) = self.text(store, query);
        let got = self.put(query, &text, &parameters);
        self.compared(&got, expected, &text, &parameters, tally)
    }

    /// Asks for all rows at once, or for a page at a time.
    fn put(&self, query: &Query, text: &str, parameters: &[V]) -> Answer {
        // Of many documents the pages are larger.
        let rows = 1 + query.style / 512 % 5 + self.a.len() as u64 / 100 * 4;
        match query.style / 256 % 2 {
            1 => ask_by_pages(self.engine(), text, parameters, rows as u32),
            _ => ask_text(self.engine(), text, parameters),
        }
    }

    fn compared(
        &self,
        got: &Answer,
        expected: &Answer,
        text: &str,
        parameters: &[V],
        tally: &mut Tally,
    ) -> Result<bool, Wrong> {
        tally.asked += 1;
        match got {
            Answer::Refused(Status::QueryMemory, _) if self.setup.memory.is_some() => {
                tally.out_of_memory += 1;
                return Ok(false);
            }
            Answer::Rows(rows) => tally.rows += rows.len() as u64,
            Answer::Refused(..) => tally.refused += 1,
            Answer::Count(_) | Answer::Key(_) | Answer::Told(_) => {}
        }
        if naive::alike(got, expected) {
            return Ok(true);
        }
        let kind = match got {
            Answer::Refused(status, _) => Kind::Refused(*status),
            _ => Kind::Differs,
        };
        let told = format!(
            "{text}\n  parameters {parameters:?}\n  the engine answers {got:?}\n  it should be {expected:?}"
        );
        Err(Wrong(kind, told))
    }

    fn explain(
        &self,
        store: usize,
        query: &Query,
        returned: u64,
        tally: &mut Tally,
    ) -> Result<(), Wrong> {
        let (text, parameters) = self.text(store, query);
        let text = format!("{text}.explain()");
        let explained = match ask_text(self.engine(), &text, &parameters) {
            Answer::Told(explained) => explained,
            Answer::Refused(Status::QueryMemory, _) if self.setup.memory.is_some() => return Ok(()),
            other => return Err(Wrong(Kind::Explained, format!("{text}: {other:?}"))),
        };
        tally.explained += 1;
        let told = Told {
            query,
            explained: &explained,
            documents: self.a.len() as u64,
            indexes: &self.setup.stores[store],
        };
        tally.marks.see(&told);
        let memory = self.setup.memory.unwrap_or(Limits::default().query_memory);
        told.is_sound(returned, memory as u64).map_err(|why| {
            Wrong(
                Kind::Explained,
                format!("{text}\n  parameters {parameters:?}\n  {why}\n  {explained:?}"),
            )
        })
    }

    fn change(&mut self, query: &Query, tally: &mut Tally) -> Result<(), Wrong> {
        let before = self.a.clone();
        let expected = naive::answer(query, &mut self.a, &self.b);
        let refused = matches!(expected, Answer::Refused(..));
        let fresh = self.a.contains_key(&query.fresh) && !before.contains_key(&query.fresh);
        tally.changes += 1;
        tally.different += 1;
        let chosen = match naive::answer(
            &Query { verb: Verb::Rows, ..query.clone() },
            &mut before.clone(),
            &self.b,
        ) {
            Answer::Rows(rows) => rows.len() as u64,
            other => panic!("{other:?}"),
        };
        for store in 0..self.setup.stores.len() {
            self.at = store;
            if query.selects() && query.slip.is_none() && query.style.is_multiple_of(16) {
                self.explain(store, query, chosen, tally)?;
            }
            let (text, parameters) = self.text(store, query);
            let mut got = self.put(query, &text, &parameters);
            if fresh && !matches!(got, Answer::Refused(..)) {
                tally.made_keys += 1;
                self.adopt(store, query.fresh, &before, &mut got)?;
            }
            if !self.compared(&got, &expected, &text, &parameters, tally)? && !refused {
                self.bring(store, &before)?;
            }
        }
        Ok(())
    }

    /// Moves the document that got a key of the engine's to the history's key for it,
    /// in the store and in the answer.
    fn adopt(
        &self,
        store: usize,
        fresh: u128,
        before: &Store,
        got: &mut Answer,
    ) -> Result<(), Wrong> {
        let name = format!("a{store}");
        let all = match ask_text(self.engine(), &name, &[]) {
            Answer::Rows(rows) => rows,
            other => return Err(Wrong(Kind::Differs, format!("{name}: {other:?}"))),
        };
        let is_new = |(key, _): &&(Option<u128>, V)| key.is_some_and(|k| !before.contains_key(&k));
        let (made, document) = match &all.iter().filter(is_new).collect::<Vec<_>>()[..] {
            [(Some(made), document)] => (*made, document),
            other => return Err(Wrong(Kind::Differs, format!("{name}: new are {other:?}"))),
        };
        match got {
            Answer::Key(key) if *key == made => *key = fresh,
            Answer::Rows(rows) => {
                rows.iter_mut().filter(|row| row.0 == Some(made)).for_each(|r| r.0 = Some(fresh));
            }
            _ => {}
        }
        ask(self.engine(), Request::Delete { store: &name, key: Key(made) });
        self.insert(&name, fresh, document)
    }

    /// Does to a store what a change for which it had no memory should have done.
    fn bring(&self, store: usize, before: &Store) -> Result<(), Wrong> {
        let name = format!("a{store}");
        for key in before.keys().filter(|key| !self.a.contains_key(key)) {
            ask(self.engine(), Request::Delete { store: &name, key: Key(*key) });
        }
        for (key, document) in self.a.iter().filter(|(key, doc)| before.get(key) != Some(doc)) {
            let document = document.bson();
            let (store, key) = (&name[..], Key(*key));
            let request = Request::Update { store, key, document: &document, upsert: true };
            if let Answer::Refused(status, why) = ask(self.engine(), request) {
                return Err(Wrong(Kind::Refused(status), why));
            }
        }
        Ok(())
    }

    fn clash(&mut self, number: u64, tally: &mut Tally) -> Result<(), Wrong> {
        let held = |document: &V| match document.field("u") {
            Some(V::Array(items)) => items.first().cloned(),
            value => value.cloned(),
        };
        let Some((one, _)) = self.a.iter().nth(number as usize % self.a.len().max(1)) else {
            return Ok(());
        };
        let others = self.a.iter().filter(|(key, _)| *key != one);
        let Some(taken) = others.filter_map(|(_, document)| held(document)).next() else {
            return Ok(());
        };
        let clashing = V::Doc(vec![("u".to_owned(), taken.clone())]);
        let set = Edits { set: vec![("u".to_owned(), taken)], ..Edits::default() };
        let by_key = Expr::Compare("key".to_owned(), "=", V::Text(key_text(*one)));
        let change = Query {
            filter: Some(by_key),
            verb: Verb::Change(Change::Edit(set), None),
            ..Query::all()
        };
        let insert = Query { verb: Verb::Insert(clashing, false), ..Query::all() };
        let refused = Answer::Refused(Status::NotUnique, String::new());
        for store in 0..self.setup.stores.len() {
            if self.unique && self.setup.stores[store].contains(&UNIQUE) {
                self.at = store;
                tally.clashes += 2;
                self.answered(store, &change, &refused, tally)?;
                self.answered(store, &insert, &refused, tally)?;
            }
        }
        Ok(())
    }

    fn check(&mut self) -> Result<(), Wrong> {
        let model = self.a.iter().map(|(key, document)| (Some(*key), document.clone())).collect();
        let model = Answer::Rows(model);
        for store in 0..self.setup.stores.len() {
            self.at = store;
            let name = format!("a{store}");
            let all = ask_text(self.engine(), &name, &[]);
            if !naive::alike(&all, &model) {
                let told = format!("{name}\n  the engine holds {all:?}\n  it should be {model:?}");
                return Err(Wrong(Kind::Differs, told));
            }
            let request = Request::CheckIndexes { store: &name, index: None };
            let proof = ask(self.engine(), request);
            let sound = match &proof {
                Answer::Rows(rows) => {
                    let figures = rows.last().map(|(_, figures)| figures);
                    figures.and_then(|f| f.field("differences")).is_some_and(|n| n.whole() == 0)
                }
                _ => false,
            };
            if !sound {
                return Err(Wrong(Kind::Index, format!("the indexes of {name}: {proof:?}")));
            }
        }
        Ok(())
    }
}
