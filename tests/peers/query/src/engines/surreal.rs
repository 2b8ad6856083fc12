//! SurrealDB: documents under record ids, indexes over paths.

use super::child::{self, Dialect};
use super::{Done, Store};
use std::path::Path;

const DIALECT: Dialect = Dialect {
    package: "surrealdb",
    script: "surreal.py",
    table: |table| format!("DEFINE TABLE {}", table.name),
    index: Some(|table, index| {
        let fields: Vec<_> = index.fields.iter().map(|(path, _)| *path).collect();
        format!("DEFINE INDEX {} ON {} FIELDS {}", index.name, table.name, fields.join(", "))
    }),
    query: |query| query.surreal,
    settle: &[],
};

pub fn open(path: &Path) -> Done<Box<dyn Store>> {
    child::open(&DIALECT, &[path.join("surreal").display().to_string()])
}
