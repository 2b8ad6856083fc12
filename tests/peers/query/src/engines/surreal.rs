//! SurrealDB, embedded in a Python process beside us: `surreal.py` carries out what it
//! is told, one line of JSON each way.

use super::{Json, Store};
use crate::data::{Cell, Index, Row, Table};
use crate::queries::{Kind, Query};
use serde_json::json;
use shared::rows::Times;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// Where the directory of Python packages is named.
const PACKAGES: &str = "PEERS_PYTHON";

struct Surreal {
    child: Child,
    /// Taken at the end: the child stops when its input does.
    orders: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
    version: String,
}

pub fn open(path: &Path) -> Result<Box<dyn Store>, String> {
    let packages = std::env::var(PACKAGES).map_err(|_| {
        format!("its package is not here ({PACKAGES} names none): use scripts/peers")
    })?;
    let mut child = Command::new("python3")
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/surreal.py"))
        .arg(path.join("surreal"))
        .env("PYTHONPATH", packages)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|e| format!("python3 could not be started: {e}"))?;
    let orders = child.stdin.take();
    let answers = child.stdout.take().ok_or("python3 has no output")?;
    let mut surreal =
        Surreal { child, orders, answers: BufReader::new(answers), version: String::new() };
    let first = surreal.answer();
    surreal.version = first["version"].as_str().unwrap_or_default().to_owned();
    Ok(Box::new(surreal))
}

impl Drop for Surreal {
    fn drop(&mut self) {
        drop(self.orders.take());
        self.child.wait().expect("surrealdb: the end of its process");
    }
}

impl Surreal {
    fn answer(&mut self) -> Json {
        let mut line = String::new();
        self.answers.read_line(&mut line).expect("surrealdb: an answer");
        serde_json::from_str(&line).expect("surrealdb: an answer (what Python says is above)")
    }

    fn tell(&mut self, order: &Json) -> Json {
        let orders = self.orders.as_mut().expect("it is open");
        writeln!(orders, "{order}").expect("surrealdb: its process ended");
        self.answer()
    }

    fn put(&mut self, table: &Table, rows: &[Row], each: bool) -> Times {
        let rows: Vec<_> = rows.iter().map(|row| json!([row.key, row.json])).collect();
        let order = json!({"do": "insert", "table": table.name, "rows": rows, "each": each});
        times(&self.tell(&order))
    }

    fn ask(&mut self, query: &Query, parameters: &[Vec<Cell>], show: bool) -> Json {
        let value = |cell: &Cell| match cell {
            Cell::Null => Json::Null,
            Cell::Int(n) => (*n).into(),
            Cell::Real(n) => (*n).into(),
            Cell::Text(text) => text.as_str().into(),
        };
        let list: Vec<Vec<Json>> =
            parameters.iter().map(|given| given.iter().map(value).collect()).collect();
        let kind = if query.kind == Kind::Count { "count" } else { "rows" };
        let sql = query.surreal;
        self.tell(&json!({"do": "ask", "sql": sql, "list": list, "kind": kind, "show": show}))
    }
}

fn times(answer: &Json) -> Times {
    let each = answer["times"].as_array().into_iter().flatten();
    Times::taken(each.map(|n| n.as_u64().unwrap_or(0).min(u32::MAX.into()) as u32).collect())
}

impl Store for Surreal {
    fn version(&mut self) -> String {
        self.version.clone()
    }

    fn create(&mut self, table: &Table) {
        self.tell(&json!({"do": "run", "sql": [format!("DEFINE TABLE {}", table.name)]}));
        for index in table.indexes {
            self.index(table, index);
        }
    }

    fn index(&mut self, table: &Table, index: &Index) {
        let fields: Vec<_> = index.fields.iter().map(|(path, _)| *path).collect();
        let (name, fields) = (index.name, fields.join(", "));
        let sql = format!("DEFINE INDEX {name} ON {} FIELDS {fields}", table.name);
        self.tell(&json!({"do": "run", "sql": [sql]}));
    }

    fn insert_each(&mut self, table: &Table, rows: &[Row]) -> Times {
        self.put(table, rows, true)
    }

    fn insert(&mut self, table: &Table, rows: &[Row]) -> Times {
        self.put(table, rows, false)
    }

    fn ask_each(&mut self, query: &Query, parameters: &[Vec<Cell>]) -> (Times, u64) {
        let answer = self.ask(query, parameters, false);
        (times(&answer), answer["total"].as_u64().unwrap_or(0))
    }

    fn show(&mut self, query: &Query, parameters: &[Cell]) -> Vec<Json> {
        let mut answer = self.ask(query, &[parameters.to_vec()], true);
        match answer["rows"].take() {
            Json::Array(rows) => rows,
            _ => Vec::new(),
        }
    }

    fn settle(&mut self) {}
}
