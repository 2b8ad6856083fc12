//! The workloads: which queries, how often, with which parameters.
//!
//! What must stay true: parameters are made of counters, the same for every engine;
//! reads come before changes, so that each starts from the same state; a bound is a
//! value that documents have, so that answers differ where bounds do.

use crate::data::{AT_RANGE, Cell, Flights, ZIPS, at, city, code, zip};
use crate::queries::{self as q, Query};
use shared::mix;

/// What parameters are made of.
pub struct World<'a> {
    pub docs: u64,
    pub flights: &'a Flights,
}

/// A workload: one query, asked often.
pub struct Work {
    pub name: &'static str,
    pub query: Query,
    /// How often, of so many documents.
    pub times: fn(u64) -> u64,
    /// The parameters of the n-th time.
    pub parameters: fn(&World<'_>, u64) -> Vec<Cell>,
    /// One takes long: its milliseconds are what matters.
    pub long: bool,
}

pub const ONE_BY_ONE: &str = "insert one by one, two indexes";
pub const LOAD: &str = "load in batches of 1000, two indexes";
/// That of an engine that is here for figures.
pub const LOAD_BARE: &str = "load in batches of 1000, no index";
pub const BUILD: &str = "build an index over all documents";
pub const LOAD_FLIGHTS: &str = "flights: load in batches of 1000, two indexes";
pub const LOAD_FLIGHTS_BARE: &str = "flights: load in batches of 1000, no index";

const SHORT: fn(u64) -> u64 = |docs| (docs / 4).clamp(1000, 20_000);
const FEWER: fn(u64) -> u64 = |docs| (docs / 16).clamp(500, 5_000);
const SORTS: fn(u64) -> u64 = |docs| (docs / 100).clamp(100, 500);
/// Some that go through all documents, or a hundredth.
const LONG: fn(u64) -> u64 = |docs| (1_500_000 / docs).clamp(3, 9);
const PARTS: fn(u64) -> u64 = |docs| (10_000_000 / docs).clamp(10, 100);

fn key(world: &World<'_>, n: u64) -> Cell {
    Cell::Int((1 + mix(n) % world.docs) as i64)
}

fn some_code(world: &World<'_>, n: u64) -> Cell {
    Cell::Text(code(mix(n) % world.docs, world.docs))
}

/// Where a range begins: at a document's value, so that it shows who leaves that one out.
fn some_at(world: &World<'_>, n: u64) -> u64 {
    let mut all = (n..).map(|n| at(mix(n) % world.docs));
    all.find(|at| *at < AT_RANGE * 98 / 100).unwrap_or(0)
}

/// One that documents have, and a tenth of them have less.
fn some_zip() -> u64 {
    (0..1000).map(zip).filter(|zip| *zip <= ZIPS / 10).max().unwrap_or(0)
}

const fn work(
    name: &'static str,
    query: Query,
    times: fn(u64) -> u64,
    parameters: fn(&World<'_>, u64) -> Vec<Cell>,
) -> Work {
    Work { name, query, times, parameters, long: false }
}

const fn long(
    name: &'static str,
    query: Query,
    times: fn(u64) -> u64,
    parameters: fn(&World<'_>, u64) -> Vec<Cell>,
) -> Work {
    Work { name, query, times, parameters, long: true }
}

/// Those on the generated documents.
pub const DOCS: &[Work] = &[
    work("get by key", q::GET, SHORT, |w, n| vec![key(w, n)]),
    work("get by key, as a query", q::GET_PQL, SHORT, |w, n| vec![key(w, n)]),
    work("indexed equality, 5 rows", q::FEW, SHORT, |w, n| vec![some_code(w, n)]),
    long("indexed equality, 1 % of the rows", q::MANY, PARTS, |_, n| vec![Cell::Text(city(n))]),
    work("indexed range of 1 %, sorted, limit 20", q::RANGE, SORTS, |w, n| {
        let from = some_at(w, n);
        vec![Cell::Int(from as i64), Cell::Int((from + AT_RANGE / 100) as i64)]
    }),
    work(
        "indexed equality of 1 %, sorted by the next field, limit 20",
        q::LATEST,
        SORTS,
        |_, n| vec![Cell::Text(city(n))],
    ),
    long("group by over all, count and mean", q::GROUP, LONG, |_, _| vec![]),
    long("filter without an index, nested field, count", q::SCAN, LONG, |_, _| {
        vec![Cell::Int(some_zip() as i64)]
    }),
    work("update in place by key", q::UPDATE, FEWER, |w, n| vec![key(w, n)]),
    work("update by an indexed filter, 5 rows", q::UPDATE_FEW, FEWER, |w, n| vec![some_code(w, n)]),
    work("delete by key", q::DELETE, FEWER, |w, n| {
        // Each once: the multiplier is a prime.
        vec![Cell::Int((1 + (n * 7919) % w.docs) as i64)]
    }),
];

/// Those on the flights.
pub const FLIGHTS: &[Work] = &[
    work("flights: of one plane", q::PLANE, FEWER, |w, n| vec![w.flights.pick(n)[0].clone()]),
    work("flights: departures of an airport from an hour on, limit 20", q::BOARD, SORTS, |w, n| {
        w.flights.pick(n)[1..].to_vec()
    }),
    long("flights: count and mean delay by carrier", q::CARRIERS, LONG, |_, _| vec![]),
    long("flights: count and worst delay by origin and month", q::MONTHS, LONG, |_, _| vec![]),
    long("flights: count of late ones, no index", q::LATE, LONG, |_, _| vec![Cell::Int(60)]),
];

/// Where a workload stands in the table.
pub fn place(name: &str) -> usize {
    let docs = [ONE_BY_ONE, LOAD, LOAD_BARE, BUILD].into_iter().chain(DOCS.iter().map(|w| w.name));
    let flights = [LOAD_FLIGHTS, LOAD_FLIGHTS_BARE].into_iter();
    let mut all = docs.chain(flights).chain(FLIGHTS.iter().map(|w| w.name));
    all.position(|other| other == name).unwrap_or(usize::MAX)
}

impl Work {
    /// Whether it changes documents.
    pub fn changes(&self) -> bool {
        self.query.kind == q::Kind::Change
    }

    /// Whether an engine that is here for figures has it.
    pub fn figures(&self) -> bool {
        matches!(self.query.kind, q::Kind::Figures | q::Kind::Count)
    }
}
