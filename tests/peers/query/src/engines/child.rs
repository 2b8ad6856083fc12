//! An engine in a Python process beside us: a script carries out what it is told, one
//! line of JSON each way (`child.py`).
//!
//! What must stay true: a child that ends, fails or says nothing for too long is a
//! reason to leave its engine out; nothing here waits for it without an end.

use super::{Done, Json, PATIENCE, Store};
use crate::data::{Cell, Index, Row, Table};
use crate::queries::{Kind, Query};
use crate::timed::Asked;
use serde_json::json;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child as Process, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// Where the directory is named that has a directory for each Python package.
const PACKAGES: &str = "PEERS_PYTHON";
/// A child that was told to end gets so long for it.
const END: Duration = Duration::from_secs(20);

/// What one engine says differently.
pub struct Dialect {
    /// Its package, and the directory below [`PACKAGES`].
    pub package: &'static str,
    pub script: &'static str,
    pub table: fn(&Table) -> String,
    /// Without it, it has no indexes.
    pub index: Option<fn(&Table, &Index) -> String>,
    pub query: fn(&Query) -> &'static str,
    /// What is to be done after a load.
    pub settle: &'static [&'static str],
}

struct Child {
    dialect: &'static Dialect,
    process: Process,
    /// Taken at the end: the child stops when its input does.
    orders: Option<ChildStdin>,
    answers: Receiver<String>,
    version: String,
}

/// Starts the script with these arguments.
pub fn open(dialect: &'static Dialect, arguments: &[String]) -> Done<Box<dyn Store>> {
    let missing = || {
        let package = dialect.package;
        format!("the Python package {package} is not here: scripts/peers fetches it, see there")
    };
    let packages = std::env::var(PACKAGES).map_err(|_| missing())?;
    let packages = Path::new(&packages).join(dialect.package);
    if !packages.is_dir() {
        return Err(missing());
    }
    let mut process = Command::new("python3")
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join(dialect.script))
        .args(arguments)
        .env("PYTHONPATH", packages)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|e| format!("python3 could not be started: {e}"))?;
    let orders = process.stdin.take();
    let output = process.stdout.take();
    let (send, answers) = channel();
    let mut child = Child { dialect, process, orders, answers, version: String::new() };
    let output = output.ok_or("python3 has no output")?;
    // A thread, since a pipe cannot be waited for with a limit. It ends with the child.
    std::thread::spawn(move || {
        let lines = BufReader::new(output).lines().map_while(Result::ok);
        for line in lines {
            if send.send(line).is_err() {
                break;
            }
        }
    });
    let first = child.answer(PATIENCE)?;
    child.version = first["version"].as_str().unwrap_or_default().to_owned();
    Ok(Box::new(child))
}

impl Drop for Child {
    fn drop(&mut self) {
        drop(self.orders.take());
        let start = Instant::now();
        while matches!(self.process.try_wait(), Ok(None)) {
            if start.elapsed() > END {
                // Its data is thrown away anyway.
                let _ = self.process.kill();
                let _ = self.process.wait();
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Child {
    fn answer(&mut self, limit: Duration) -> Done<Json> {
        let line = self.answers.recv_timeout(limit).map_err(|why| match why {
            RecvTimeoutError::Timeout => {
                let _ = self.process.kill();
                format!("one order took more than {} s", limit.as_secs())
            }
            RecvTimeoutError::Disconnected => match self.process.wait() {
                Ok(status) => format!("its process ended, {status}"),
                Err(e) => format!("its process ended: {e}"),
            },
        })?;
        let answer: Json = serde_json::from_str(&line).map_err(|e| format!("its answer: {e}"))?;
        match answer["error"].as_str() {
            // It goes to one line of a table's head.
            Some(error) => Err(error.split_whitespace().collect::<Vec<_>>().join(" ")),
            None => Ok(answer),
        }
    }

    fn tell(&mut self, order: &Json, limit: Duration) -> Done<Json> {
        let orders = self.orders.as_mut().ok_or("its process was told to end")?;
        // In one piece: the pipe has no buffer on this side.
        match orders.write_all(format!("{order}\n").as_bytes()) {
            Ok(()) => self.answer(limit),
            // What there is to read says more than the pipe.
            Err(e) => Err(self.answer(limit).err().unwrap_or(format!("its process: {e}"))),
        }
    }

    fn statements(&mut self, sql: &[String]) -> Done {
        self.tell(&json!({"do": "run", "sql": sql}), PATIENCE).map(|_| ())
    }

    fn put(&mut self, table: &Table, rows: &[Row], each: Option<Duration>) -> Done<Asked> {
        let row = |row: &Row| {
            let mut values = vec![Json::from(row.key)];
            if row.cells.is_empty() {
                values.push(row.json.as_str().into());
            }
            values.extend(row.cells.iter().map(value));
            values
        };
        let rows: Vec<_> = rows.iter().map(row).collect();
        let budget = each.unwrap_or_default();
        let order = json!({
            "do": "insert", "table": table.name, "rows": rows, "each": each.is_some(),
            "budget": budget.as_secs_f64(),
        });
        asked(&self.tell(&order, budget + PATIENCE)?)
    }

    fn ask(
        &mut self,
        query: &Query,
        parameters: &[Vec<Cell>],
        budget: Duration,
        show: bool,
    ) -> Done<Json> {
        let list: Vec<Vec<Json>> =
            parameters.iter().map(|given| given.iter().map(value).collect()).collect();
        let order = json!({
            "do": "ask", "sql": (self.dialect.query)(query), "list": list, "show": show,
            "number": query.kind == Kind::Count, "budget": budget.as_secs_f64(),
        });
        self.tell(&order, budget + PATIENCE)
    }
}

fn value(cell: &Cell) -> Json {
    match cell {
        Cell::Null => Json::Null,
        Cell::Int(n) => (*n).into(),
        Cell::Real(n) => (*n).into(),
        Cell::Text(text) => text.as_str().into(),
    }
}

/// The times and the counts of an answer.
fn asked(answer: &Json) -> Done<Asked> {
    let numbers = |name: &str| {
        let all = answer[name].as_array().into_iter().flatten();
        let all: Option<Vec<u64>> = all.map(Json::as_u64).collect();
        all.ok_or_else(|| format!("its answer: {name} are not numbers"))
    };
    Ok(Asked { nanos: numbers("times")?, counts: numbers("counts")? })
}

impl Store for Child {
    fn version(&mut self) -> Done<String> {
        Ok(self.version.clone())
    }

    fn create(&mut self, table: &Table) -> Done {
        self.statements(&[(self.dialect.table)(table)])?;
        table.indexes.iter().try_for_each(|index| self.index(table, index))
    }

    fn index(&mut self, table: &Table, index: &Index) -> Done {
        self.dialect.index.map_or(Ok(()), |sql| self.statements(&[sql(table, index)]))
    }

    fn insert_each(&mut self, table: &Table, rows: &[Row], budget: Duration) -> Done<Asked> {
        self.put(table, rows, Some(budget))
    }

    fn insert(&mut self, table: &Table, rows: &[Row]) -> Done<Duration> {
        let asked = self.put(table, rows, None)?;
        Ok(Duration::from_nanos(asked.nanos.iter().sum()))
    }

    fn ask_each(
        &mut self,
        query: &Query,
        parameters: &[Vec<Cell>],
        budget: Duration,
    ) -> Done<Asked> {
        asked(&self.ask(query, parameters, budget, false)?)
    }

    fn show(&mut self, query: &Query, parameters: &[Cell]) -> Done<Vec<Json>> {
        let mut answer = self.ask(query, &[parameters.to_vec()], Duration::ZERO, true)?;
        match answer["rows"].take() {
            Json::Array(rows) => Ok(rows),
            _ => Err("its answer has no rows".to_owned()),
        }
    }

    fn settle(&mut self) -> Done {
        let settle: Vec<_> = self.dialect.settle.iter().map(|sql| (*sql).to_owned()).collect();
        self.statements(&settle)
    }
}
