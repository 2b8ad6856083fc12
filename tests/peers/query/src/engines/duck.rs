//! DuckDB, for figures: typed columns, or documents in a column of its JSON type. No
//! indexes and no primary key: a scan of columns needs none, and loads faster.

use super::child::{self, Dialect};
use super::{Done, Store};
use crate::data::{Type, column};
use shared::CACHE_BYTES;
use std::path::Path;

const COLUMNS: Dialect = Dialect {
    package: "duckdb",
    script: "duck.py",
    table: |table| {
        let kind = |kind: &Type| match kind {
            Type::Int => "BIGINT",
            Type::Real => "DOUBLE",
            Type::Text => "VARCHAR",
        };
        // Quoted: `at` is a word of its grammar.
        let each = |(path, of): &(&str, Type)| format!("\"{}\" {}", column(path), kind(of));
        let columns: Vec<_> = table.columns.iter().map(each).collect();
        format!("CREATE TABLE {} (id BIGINT, {})", table.name, columns.join(", "))
    },
    index: None,
    query: |query| query.plain,
    settle: &["CHECKPOINT", "ANALYZE"],
};

const JSON: Dialect = Dialect {
    table: |table| format!("CREATE TABLE {} (id BIGINT, doc JSON)", table.name),
    // It has the operators and the casts of PostgreSQL.
    query: |query| query.postgres,
    ..COLUMNS
};

pub fn columns(path: &Path) -> Done<Box<dyn Store>> {
    open(&COLUMNS, path)
}

pub fn json(path: &Path) -> Done<Box<dyn Store>> {
    open(&JSON, path)
}

fn open(dialect: &'static Dialect, path: &Path) -> Done<Box<dyn Store>> {
    // Said, since inside a container it may count the cores of the machine around it.
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let memory = format!("{}MiB", CACHE_BYTES >> 20);
    let path = path.join("bench.duckdb").display().to_string();
    child::open(dialect, &[path, threads.to_string(), memory])
}
