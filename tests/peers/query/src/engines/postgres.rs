//! PostgreSQL behind its Unix socket: one jsonb column, indexes over expressions. The
//! server is started by `scripts/peers`, which names its socket in the environment.

use super::{Done, Json, PATIENCE, Store};
use crate::data::{Cell, Index, Row, Table, Type};
use crate::queries::{Kind, Query};
use crate::timed::{Asked, once};
use postgres::types::{ToSql, Type as Sql};
use postgres::{Client, Config, NoTls};
use shared::touch;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

/// Where the directory of the server's socket is named.
const SOCKET: &str = "PEERS_POSTGRES";

struct Postgres {
    db: Client,
}

pub fn open(_: &Path) -> Done<Box<dyn Store>> {
    let socket = std::env::var(SOCKET)
        .map_err(|_| format!("no server is running ({SOCKET} names none): use scripts/peers"))?;
    let connect = |database: &str| {
        let mut config = Config::new();
        config.host_path(&socket).user("postgres").dbname(database);
        config.options(&format!("-c statement_timeout={}s", PATIENCE.as_secs()));
        config.connect(NoTls).map_err(|e| format!("{socket}: {}", said(e)))
    };
    // A database of its own each time: the others keep their data in a directory.
    let mut all = connect("postgres")?;
    for sql in ["DROP DATABASE IF EXISTS bench", "CREATE DATABASE bench"] {
        all.batch_execute(sql).map_err(said)?;
    }
    Ok(Box::new(Postgres { db: connect("bench")? }))
}

fn typed<'a>(values: &'a [Cell]) -> Vec<&'a (dyn ToSql + Sync)> {
    let one = |value: &'a Cell| -> &'a (dyn ToSql + Sync) {
        match value {
            Cell::Null => &None::<i64>,
            Cell::Int(n) => n,
            Cell::Real(n) => n,
            Cell::Text(text) => text,
        }
    };
    values.iter().map(one).collect()
}

/// What the server says; a driver's error alone is only a kind.
fn said(error: postgres::Error) -> String {
    error.as_db_error().map_or_else(|| error.to_string(), |e| e.message().to_owned())
}

impl Store for Postgres {
    fn version(&mut self) -> Done<String> {
        let row = self.db.query_one("SHOW server_version", &[]).map_err(said)?;
        Ok(format!("PostgreSQL {}", row.get::<_, &str>(0)))
    }

    fn create(&mut self, table: &Table) -> Done {
        let sql = format!("CREATE TABLE {} (id bigint PRIMARY KEY, doc jsonb)", table.name);
        self.db.batch_execute(&sql).map_err(said)?;
        table.indexes.iter().try_for_each(|index| self.index(table, index))
    }

    fn index(&mut self, table: &Table, index: &Index) -> Done {
        let field = |(path, kind): &(&str, Type)| match kind {
            Type::Int => format!("((doc ->> '{path}')::bigint)"),
            _ => format!("(doc ->> '{path}')"),
        };
        let fields: Vec<_> = index.fields.iter().map(field).collect();
        let (name, table) = (index.name, table.name);
        let sql = format!("CREATE INDEX {table}_{name} ON {table} ({})", fields.join(", "));
        self.db.batch_execute(&sql).map_err(said)
    }

    fn insert_each(&mut self, table: &Table, rows: &[Row], budget: Duration) -> Done<Asked> {
        let sql = format!("INSERT INTO {} VALUES ($1, $2::text::jsonb)", table.name);
        let insert = self.db.prepare(&sql).map_err(said)?;
        Asked::within(budget, rows.len() as u64, |n| {
            let Row { key, json, .. } = &rows[n as usize];
            self.db.execute(&insert, &[&(*key as i64), json]).map_err(said)
        })
    }

    fn insert(&mut self, table: &Table, rows: &[Row]) -> Done<Duration> {
        let sql = format!("COPY {} FROM STDIN", table.name);
        once(|| {
            let mut copy = self.db.copy_in(&sql).map_err(said)?;
            for row in rows {
                let json = row.json.replace('\\', "\\\\");
                writeln!(copy, "{}\t{json}", row.key).map_err(|e| e.to_string())?;
            }
            copy.finish().map(|_| ()).map_err(said)
        })
    }

    fn ask_each(
        &mut self,
        query: &Query,
        parameters: &[Vec<Cell>],
        budget: Duration,
    ) -> Done<Asked> {
        let statement = self.db.prepare(query.postgres).map_err(said)?;
        let mut seen = 0;
        let asked = Asked::within(budget, parameters.len() as u64, |n| {
            let given = typed(&parameters[n as usize]);
            if query.kind == Kind::Change {
                return self.db.execute(&statement, &given).map_err(said);
            }
            let rows = self.db.query(&statement, &given).map_err(said)?;
            let mut number = 0;
            for row in &rows {
                if query.kind == Kind::Count {
                    number = row.get::<_, i64>(0) as u64;
                } else if *row.columns()[0].type_() == Sql::TEXT {
                    seen += touch(row.get::<_, &str>(0).as_bytes());
                }
            }
            Ok(if query.kind == Kind::Count { number } else { rows.len() as u64 })
        });
        std::hint::black_box(seen);
        asked
    }

    fn show(&mut self, query: &Query, parameters: &[Cell]) -> Done<Vec<Json>> {
        let statement = self.db.prepare(query.postgres).map_err(said)?;
        let rows = self.db.query(&statement, &typed(parameters)).map_err(said)?;
        let show = |row: &postgres::Row| {
            let mut shown = Json::Object(serde_json::Map::new());
            for (n, column) in row.columns().iter().enumerate() {
                let value: Json = match *column.type_() {
                    Sql::TEXT => row.get::<_, Option<&str>>(n).into(),
                    Sql::INT8 => row.get::<_, Option<i64>>(n).into(),
                    Sql::FLOAT8 => row.get::<_, Option<f64>>(n).into(),
                    ref other => return Err(format!("the type {other} was not expected")),
                };
                match value.as_str() {
                    Some(doc) if query.kind != Kind::Figures => {
                        let doc = serde_json::from_str(doc);
                        shown = doc.map_err(|e| format!("its document: {e}"))?;
                    }
                    _ => shown[column.name()] = value,
                }
            }
            Ok(shown)
        };
        rows.iter().map(show).collect()
    }

    fn settle(&mut self) -> Done {
        self.db.batch_execute("VACUUM ANALYZE").map_err(said)?;
        self.db.batch_execute("CHECKPOINT").map_err(said)
    }
}
