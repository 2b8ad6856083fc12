//! SQLite in the process: documents as JSON text or as JSONB with indexes over
//! expressions, and columns.

use super::{Done, Json, Store};
use crate::data::{Cell, Index, Row, Table, Type, column};
use crate::queries::{Kind, Query};
use crate::timed::{Asked, once};
use rusqlite::types::{ToSql, ToSqlOutput, ValueRef};
use rusqlite::{Connection, Statement, params_from_iter};
use shared::{CACHE_BYTES, touch};
use std::path::Path;
use std::time::Duration;

/// How a row is laid out.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Layout {
    Json,
    Jsonb,
    Columns,
}

struct Sqlite {
    db: Connection,
    layout: Layout,
}

pub fn json(path: &Path) -> Done<Box<dyn Store>> {
    open(path, Layout::Json)
}

pub fn jsonb(path: &Path) -> Done<Box<dyn Store>> {
    open(path, Layout::Jsonb)
}

pub fn plain(path: &Path) -> Done<Box<dyn Store>> {
    open(path, Layout::Columns)
}

fn open(path: &Path, layout: Layout) -> Done<Box<dyn Store>> {
    let db = Connection::open(path.join("bench.sqlite")).map_err(said)?;
    let kib = CACHE_BYTES / 1024;
    let settings =
        format!("PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; PRAGMA cache_size=-{kib};");
    db.execute_batch(&settings).map_err(said)?;
    Ok(Box::new(Sqlite { db, layout }))
}

impl ToSql for Cell {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Cell::Null => ValueRef::Null,
            Cell::Int(n) => ValueRef::Integer(*n),
            Cell::Real(n) => ValueRef::Real(*n),
            Cell::Text(text) => ValueRef::Text(text.as_bytes()),
        }))
    }
}

impl Sqlite {
    fn text(&self, query: &Query) -> String {
        let json = |doc, set| {
            let document = format!("SELECT {doc} AS doc");
            query.json.replace("SELECT {doc}", &document).replace("{set}", set)
        };
        let text = match self.layout {
            Layout::Columns => query.plain.to_owned(),
            Layout::Json => json("doc", "json_set"),
            Layout::Jsonb => json("json(doc)", "jsonb_set"),
        };
        // To SQLite `$1` is a name, with the number of the place where it stands first.
        text.replace("$1", "?1").replace("$2", "?2")
    }

    fn insertion(&self, table: &Table) -> String {
        let name = table.name;
        match self.layout {
            Layout::Json => format!("INSERT INTO {name} VALUES (?1, ?2)"),
            Layout::Jsonb => format!("INSERT INTO {name} VALUES (?1, jsonb(?2))"),
            Layout::Columns => {
                let values: Vec<_> =
                    (2..table.columns.len() + 2).map(|n| format!("?{n}")).collect();
                format!("INSERT INTO {name} VALUES (?1, {})", values.join(", "))
            }
        }
    }

    fn put(&self, insert: &mut Statement<'_>, row: &Row) -> Done<u64> {
        let key = row.key as i64;
        let done = match self.layout {
            Layout::Columns => {
                let values = [Cell::Int(key)];
                insert.execute(params_from_iter(values.iter().chain(&row.cells)))
            }
            _ => insert.execute((key, &row.json)),
        };
        done.map(|count| count as u64).map_err(said)
    }
}

fn said(error: rusqlite::Error) -> String {
    error.to_string()
}

/// Runs a statement once; lends each value of its rows.
fn run(
    statement: &mut Statement<'_>,
    parameters: &[Cell],
    mut see: impl FnMut(ValueRef<'_>),
) -> Done<u64> {
    let columns = statement.column_count();
    let mut rows = statement.query(params_from_iter(parameters)).map_err(said)?;
    let mut count = 0;
    while let Some(row) = rows.next().map_err(said)? {
        for n in 0..columns {
            see(row.get_ref(n).map_err(said)?);
        }
        count += 1;
    }
    Ok(count)
}

impl Store for Sqlite {
    fn version(&mut self) -> Done<String> {
        Ok(format!("SQLite {}", rusqlite::version()))
    }

    fn create(&mut self, table: &Table) -> Done {
        let columns = match self.layout {
            Layout::Json => "doc TEXT".to_owned(),
            Layout::Jsonb => "doc BLOB".to_owned(),
            Layout::Columns => {
                let kind = |kind: &Type| match kind {
                    Type::Int => "INTEGER",
                    Type::Real => "REAL",
                    Type::Text => "TEXT",
                };
                let each = |(path, of): &(&str, Type)| format!("{} {}", column(path), kind(of));
                table.columns.iter().map(each).collect::<Vec<_>>().join(", ")
            }
        };
        let sql = format!("CREATE TABLE {} (id INTEGER PRIMARY KEY, {columns})", table.name);
        self.db.execute_batch(&sql).map_err(said)?;
        table.indexes.iter().try_for_each(|index| self.index(table, index))
    }

    fn index(&mut self, table: &Table, index: &Index) -> Done {
        let field = |(path, _): &(&str, Type)| match self.layout {
            Layout::Columns => column(path),
            _ => format!("doc ->> '{path}'"),
        };
        let fields: Vec<_> = index.fields.iter().map(field).collect();
        let (name, table) = (index.name, table.name);
        let sql = format!("CREATE INDEX {table}_{name} ON {table} ({})", fields.join(", "));
        self.db.execute_batch(&sql).map_err(said)
    }

    fn insert_each(&mut self, table: &Table, rows: &[Row], budget: Duration) -> Done<Asked> {
        let mut insert = self.db.prepare(&self.insertion(table)).map_err(said)?;
        let count = rows.len() as u64;
        Asked::within(budget, count, |n| self.put(&mut insert, &rows[n as usize]))
    }

    fn insert(&mut self, table: &Table, rows: &[Row]) -> Done<Duration> {
        let mut insert = self.db.prepare_cached(&self.insertion(table)).map_err(said)?;
        once(|| {
            self.db.execute_batch("BEGIN IMMEDIATE").map_err(said)?;
            rows.iter().try_for_each(|row| self.put(&mut insert, row).map(|_| ()))?;
            self.db.execute_batch("COMMIT").map_err(said)
        })
    }

    fn ask_each(
        &mut self,
        query: &Query,
        parameters: &[Vec<Cell>],
        budget: Duration,
    ) -> Done<Asked> {
        let mut statement = self.db.prepare(&self.text(query)).map_err(said)?;
        let mut seen = 0;
        let asked = Asked::within(budget, parameters.len() as u64, |n| {
            let given = &parameters[n as usize];
            if query.kind == Kind::Change {
                let changed = statement.execute(params_from_iter(given));
                return changed.map(|count| count as u64).map_err(said);
            }
            let mut number = 0;
            let rows = run(&mut statement, given, |value| match value {
                ValueRef::Text(bytes) | ValueRef::Blob(bytes) => seen += touch(bytes),
                ValueRef::Integer(n) => number = n as u64,
                ValueRef::Real(n) => seen += n as u64,
                ValueRef::Null => {}
            })?;
            Ok(if query.kind == Kind::Count { number } else { rows })
        });
        std::hint::black_box(seen);
        asked
    }

    fn show(&mut self, query: &Query, parameters: &[Cell]) -> Done<Vec<Json>> {
        let mut statement = self.db.prepare(&self.text(query)).map_err(said)?;
        let names: Vec<_> = statement.column_names().into_iter().map(str::to_owned).collect();
        let mut cells: Vec<Json> = Vec::new();
        run(&mut statement, parameters, |value| {
            cells.push(match value {
                ValueRef::Null | ValueRef::Blob(_) => Json::Null,
                ValueRef::Integer(n) => n.into(),
                ValueRef::Real(n) => n.into(),
                ValueRef::Text(text) => String::from_utf8_lossy(text).into(),
            });
        })?;
        let row = |cells: &[Json]| {
            let mut row = Json::Object(serde_json::Map::new());
            for (name, value) in names.iter().zip(cells) {
                match value.as_str() {
                    Some(doc) if name == "doc" => {
                        row =
                            serde_json::from_str(doc).map_err(|e| format!("its document: {e}"))?;
                    }
                    _ => row[name] = value.clone(),
                }
            }
            Ok(row)
        };
        cells.chunks(names.len()).map(row).collect()
    }

    fn settle(&mut self) -> Done {
        let checkpoint = "PRAGMA wal_checkpoint(TRUNCATE)";
        self.db.query_row(checkpoint, (), |_| Ok(())).map_err(said)?;
        self.db.execute_batch("ANALYZE").map_err(said)
    }
}
