//! PostgreSQL behind its Unix socket: one jsonb column, indexes over expressions. The
//! server is started by `scripts/peers`, which names its socket in the environment.

use super::{Json, Store};
use crate::data::{Cell, Index, Row, Table, Type};
use crate::queries::{Kind, Query};
use postgres::types::{ToSql, Type as Sql};
use postgres::{Client, Config, NoTls, Statement};
use shared::rows::Times;
use shared::touch;
use std::io::Write;
use std::path::Path;

/// Where the directory of the server's socket is named.
const SOCKET: &str = "PEERS_POSTGRES";

struct Postgres {
    db: Client,
}

pub fn open(_: &Path) -> Result<Box<dyn Store>, String> {
    let socket = std::env::var(SOCKET)
        .map_err(|_| format!("no server is running ({SOCKET} names none): use scripts/peers"))?;
    let connect = |database: &str| {
        let mut config = Config::new();
        config.host_path(&socket).user("postgres").dbname(database);
        config.connect(NoTls).map_err(|e| format!("{socket}: {e}"))
    };
    // A database of its own each time: the others keep their data in a directory.
    let mut all = connect("postgres")?;
    for sql in ["DROP DATABASE IF EXISTS bench", "CREATE DATABASE bench"] {
        all.batch_execute(sql).map_err(|e| e.to_string())?;
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

impl Postgres {
    fn prepare(&mut self, query: &Query) -> Statement {
        self.db.prepare(query.postgres).expect("postgres: prepare")
    }
}

impl Store for Postgres {
    fn version(&mut self) -> String {
        let row = self.db.query_one("SHOW server_version", &[]).expect("postgres: version");
        format!("PostgreSQL {}", row.get::<_, &str>(0))
    }

    fn create(&mut self, table: &Table) {
        let sql = format!("CREATE TABLE {} (id bigint PRIMARY KEY, doc jsonb)", table.name);
        self.db.batch_execute(&sql).expect("postgres: table");
        for index in table.indexes {
            self.index(table, index);
        }
    }

    fn index(&mut self, table: &Table, index: &Index) {
        let field = |(path, kind): &(&str, Type)| match kind {
            Type::Int => format!("((doc ->> '{path}')::bigint)"),
            _ => format!("(doc ->> '{path}')"),
        };
        let fields: Vec<_> = index.fields.iter().map(field).collect();
        let (name, table) = (index.name, table.name);
        let sql = format!("CREATE INDEX {table}_{name} ON {table} ({})", fields.join(", "));
        self.db.batch_execute(&sql).expect("postgres: index");
    }

    fn insert_each(&mut self, table: &Table, rows: &[Row]) -> Times {
        let sql = format!("INSERT INTO {} VALUES ($1, $2::text::jsonb)", table.name);
        let insert = self.db.prepare(&sql).expect("postgres: prepare");
        Times::of(rows.len() as u64, |n| {
            let Row { key, json, .. } = &rows[n as usize];
            self.db.execute(&insert, &[&(*key as i64), json]).expect("postgres: insert");
        })
    }

    fn insert(&mut self, table: &Table, rows: &[Row]) -> Times {
        let sql = format!("COPY {} FROM STDIN", table.name);
        Times::of(1, |_| {
            let mut copy = self.db.copy_in(&sql).expect("postgres: copy");
            for row in rows {
                let json = row.json.replace('\\', "\\\\");
                writeln!(copy, "{}\t{json}", row.key).expect("postgres: copy");
            }
            copy.finish().expect("postgres: copy");
        })
    }

    fn ask_each(&mut self, query: &Query, parameters: &[Vec<Cell>]) -> (Times, u64) {
        let statement = self.prepare(query);
        let (mut all, mut seen) = (0, 0);
        let times = Times::of(parameters.len() as u64, |n| {
            let given = typed(&parameters[n as usize]);
            if query.kind == Kind::Change {
                all += self.db.execute(&statement, &given).expect("postgres: change");
                return;
            }
            let rows = self.db.query(&statement, &given).expect("postgres: query");
            for row in &rows {
                if query.kind == Kind::Count {
                    all += row.get::<_, i64>(0) as u64;
                } else if *row.columns()[0].type_() == Sql::TEXT {
                    seen += touch(row.get::<_, &str>(0).as_bytes());
                }
            }
            if query.kind != Kind::Count {
                all += rows.len() as u64;
            }
        });
        std::hint::black_box(seen);
        (times, all)
    }

    fn show(&mut self, query: &Query, parameters: &[Cell]) -> Vec<Json> {
        let statement = self.prepare(query);
        let rows = self.db.query(&statement, &typed(parameters)).expect("postgres: query");
        let show = |row: &postgres::Row| {
            let mut shown = Json::Object(serde_json::Map::new());
            for (n, column) in row.columns().iter().enumerate() {
                let value: Json = match *column.type_() {
                    Sql::TEXT => row.get::<_, Option<&str>>(n).into(),
                    Sql::INT8 => row.get::<_, Option<i64>>(n).into(),
                    Sql::FLOAT8 => row.get::<_, Option<f64>>(n).into(),
                    ref other => panic!("postgres: {other} was not expected"),
                };
                match value.as_str() {
                    Some(doc) if query.kind != Kind::Figures => {
                        shown = serde_json::from_str(doc).expect("postgres: JSON");
                    }
                    _ => shown[column.name()] = value,
                }
            }
            shown
        };
        rows.iter().map(show).collect()
    }

    fn settle(&mut self) {
        self.db.batch_execute("VACUUM ANALYZE").expect("postgres: vacuum");
        self.db.batch_execute("CHECKPOINT").expect("postgres: checkpoint");
    }
}
