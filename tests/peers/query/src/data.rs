//! The two tables: documents made from counters, and the flights that left New York
//! City's airports in 2013.
//!
//! What must stay true: a document is the same for every engine and in every run, in
//! each of the forms an engine may want; sums of its numbers are exact in a double,
//! so that figures can be compared digit by digit.

use proto::json::parse_json;
use shared::mix;
use std::fmt::Write;
use std::path::Path;

/// A value of a column, or a parameter.
#[derive(Clone, Debug, PartialEq)]
pub enum Cell {
    Null,
    Int(i64),
    Real(f64),
    Text(String),
}

/// How an engine wants its documents.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Form {
    Bson,
    Json,
    Columns,
}

/// A document under its key, in the form that was asked for; the others are empty.
pub struct Row {
    pub key: u64,
    pub bson: Vec<u8>,
    pub json: String,
    pub cells: Vec<Cell>,
}

/// A type of a column, where an engine has columns.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Type {
    Int,
    Real,
    Text,
}

/// An index: its fields, paths as in the documents.
pub struct Index {
    pub name: &'static str,
    pub fields: &'static [(&'static str, Type)],
}

/// A table, or store.
pub struct Table {
    pub name: &'static str,
    /// Paths of the fields; the array of tags is one text in a column.
    pub columns: &'static [(&'static str, Type)],
    /// Those it has before the first document.
    pub indexes: &'static [Index],
}

/// The name of a path as a column.
pub fn column(path: &str) -> String {
    path.replace('.', "_")
}

const DOCS_COLUMNS: &[(&str, Type)] = &[
    ("code", Type::Text),
    ("city", Type::Text),
    ("kind", Type::Text),
    ("at", Type::Int),
    ("score", Type::Real),
    ("visits", Type::Int),
    ("tags", Type::Text),
    ("place.zip", Type::Int),
    ("place.street", Type::Text),
    ("note", Type::Text),
];

const DOCS_INDEXES: &[Index] = &[
    Index { name: "code", fields: &[("code", Type::Text)] },
    Index { name: "city_at", fields: &[("city", Type::Text), ("at", Type::Int)] },
];

/// The generated documents.
pub const DOCS: Table = Table { name: "docs", columns: DOCS_COLUMNS, indexes: DOCS_INDEXES };
/// The same, written one by one.
pub const ONES: Table = Table { name: "ones", columns: DOCS_COLUMNS, indexes: DOCS_INDEXES };
/// The index that is built over all generated documents.
pub const AT: Index = Index { name: "at", fields: &[("at", Type::Int)] };

/// Documents that share a `code`, and the numbers of different other values.
const PER_CODE: u64 = 5;
pub const CITIES: u64 = 100;
const KINDS: u64 = 20;
/// `at` is below this, and no two documents have the same.
pub const AT_RANGE: u64 = 1 << 30;
pub const ZIPS: u64 = 100_000;

/// The code of document `n` of so many.
pub fn code(n: u64, docs: u64) -> String {
    format!("code-{:07}", mix(n) % (docs / PER_CODE).max(1))
}

pub fn city(n: u64) -> String {
    format!("city-{:02}", mix(n ^ 0x11) % CITIES)
}

pub fn zip(n: u64) -> u64 {
    mix(n ^ 0x88) % ZIPS
}

/// An odd multiplier walks through all numbers of 30 bits.
pub fn at(n: u64) -> u64 {
    n.wrapping_mul(0x9E37_79B1) % AT_RANGE
}

/// Document `n` of so many, under the key `n + 1`.
pub fn document(n: u64, docs: u64, form: Form) -> Row {
    const WORDS: [&str; 8] =
        ["amber", "birch", "cedar", "delta", "ember", "fjord", "grove", "heath"];
    let word = |salt: u64| WORDS[(mix(n ^ salt) % 8) as usize];
    let (code, city, at) = (code(n, docs), city(n), at(n));
    let kind = format!("kind-{:02}", mix(n ^ 0x22) % KINDS);
    // Quarters: sums of them do not round.
    let score = (mix(n ^ 0x33) % 4000) as f64 / 4.0;
    let visits = mix(n ^ 0x44) % 100;
    let tags = format!("[\"{}\",\"{}\",\"{}\"]", word(0x55), word(0x66), word(0x77));
    let zip = zip(n);
    let street = format!("{} {} Street", mix(n ^ 0x99) % 1000, word(0xAA));
    let mut note = String::new();
    for salt in 0..20 {
        let _ = write!(note, "{} ", word(salt << 8));
    }
    let mut row = Row { key: n + 1, bson: Vec::new(), json: String::new(), cells: Vec::new() };
    if form == Form::Columns {
        row.cells = vec![
            Cell::Text(code),
            Cell::Text(city),
            Cell::Text(kind),
            Cell::Int(at as i64),
            Cell::Real(score),
            Cell::Int(visits as i64),
            Cell::Text(tags),
            Cell::Int(zip as i64),
            Cell::Text(street),
            Cell::Text(note),
        ];
        return row;
    }
    row.json = format!(
        "{{\"code\":\"{code}\",\"city\":\"{city}\",\"kind\":\"{kind}\",\"at\":{at},\
         \"score\":{score:?},\"visits\":{visits},\"tags\":{tags},\
         \"place\":{{\"zip\":{zip},\"street\":\"{street}\"}},\"note\":\"{note}\"}}"
    );
    shaped(row, form)
}

/// A row with its JSON, in the form wanted.
fn shaped(mut row: Row, form: Form) -> Row {
    if form == Form::Bson {
        row.bson = parse_json(&row.json).expect("the JSON made here is JSON");
        row.json = String::new();
    }
    row
}

/// The flights.
pub const FLIGHTS: Table = Table {
    name: "flights",
    columns: &[
        ("year", Type::Int),
        ("month", Type::Int),
        ("day", Type::Int),
        ("dep_time", Type::Int),
        ("sched_dep_time", Type::Int),
        ("dep_delay", Type::Int),
        ("arr_time", Type::Int),
        ("sched_arr_time", Type::Int),
        ("arr_delay", Type::Int),
        ("carrier", Type::Text),
        ("flight", Type::Int),
        ("tailnum", Type::Text),
        ("origin", Type::Text),
        ("dest", Type::Text),
        ("air_time", Type::Int),
        ("distance", Type::Int),
        ("hour", Type::Int),
        ("minute", Type::Int),
        ("time_hour", Type::Text),
    ],
    indexes: &[
        Index { name: "tailnum", fields: &[("tailnum", Type::Text)] },
        Index { name: "origin_hour", fields: &[("origin", Type::Text), ("time_hour", Type::Text)] },
    ],
};

/// The flights, as cells.
pub struct Flights(Vec<Vec<Cell>>);

impl Flights {
    /// The first of them in `flights.csv` of this directory.
    pub fn read(dir: &Path, most: u64) -> Result<Flights, String> {
        let path = dir.join("flights.csv");
        let failed = |e: csv::Error| format!("{}: {e}: see scripts/demo-data", path.display());
        let mut file = csv::Reader::from_path(&path).map_err(failed)?;
        let heads = file.headers().map_err(failed)?.clone();
        let columns = FLIGHTS.columns.iter();
        if !heads.iter().eq(columns.clone().map(|(name, _)| *name)) {
            return Err(format!("{}: other columns than were expected", path.display()));
        }
        let mut rows = Vec::new();
        for record in file.records().take(most as usize) {
            let record = record.map_err(failed)?;
            let cell = |(text, (_, kind)): (&str, &(&str, Type))| match kind {
                _ if text == "NA" || text.is_empty() => Ok(Cell::Null),
                Type::Text => Ok(Cell::Text(text.to_owned())),
                // Some are written with a point.
                _ => text.parse::<f64>().map(|number| Cell::Int(number as i64)),
            };
            let cells = record.iter().zip(columns.clone()).map(cell).collect::<Result<_, _>>();
            rows.push(cells.map_err(|e| format!("{}: a number: {e}", path.display()))?);
        }
        if rows.is_empty() {
            return Err(format!("{} holds no flight", path.display()));
        }
        Ok(Flights(rows))
    }

    pub fn len(&self) -> u64 {
        self.0.len() as u64
    }

    /// The tail number of one flight that has one, and its origin and hour.
    pub fn pick(&self, n: u64) -> [Cell; 3] {
        let at = |name: &str| FLIGHTS.columns.iter().position(|(c, _)| *c == name).unwrap_or(0);
        let tail = at("tailnum");
        let from = mix(n) as usize % self.0.len();
        let rows = self.0[from..].iter().chain(&self.0);
        let row = rows.into_iter().find(|row| row[tail] != Cell::Null).unwrap_or(&self.0[0]);
        [row[tail].clone(), row[at("origin")].clone(), row[at("time_hour")].clone()]
    }

    /// Flight `n`, under the key `n + 1`.
    pub fn row(&self, n: u64, form: Form) -> Row {
        let cells = &self.0[n as usize];
        let mut row = Row { key: n + 1, bson: Vec::new(), json: String::new(), cells: Vec::new() };
        if form == Form::Columns {
            row.cells = cells.clone();
            return row;
        }
        for ((name, _), cell) in FLIGHTS.columns.iter().zip(cells) {
            let _ = write!(row.json, "{}\"{name}\":", if row.json.is_empty() { '{' } else { ',' });
            let _ = match cell {
                Cell::Null => write!(row.json, "null"),
                Cell::Int(n) => write!(row.json, "{n}"),
                Cell::Real(n) => write!(row.json, "{n:?}"),
                Cell::Text(text) => write!(row.json, "{}", serde_json::Value::from(text.as_str())),
            };
        }
        row.json.push('}');
        shaped(row, form)
    }
}
