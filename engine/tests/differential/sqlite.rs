//! SQLite beside the engine: the same documents, the same changes, the same answers.
//!
//! What must stay true: what SQLite is asked is made of the query alone (`sql.rs`), and
//! its rows are compared with those of the engine value by value.

use rusqlite::Connection;
use rusqlite::types::Value;

use crate::flat::PATHS;
use crate::naive::Answer;
use crate::query::{Query, Shape, Verb};
use crate::sql;
use crate::value::{V, key_text};

/// A database in memory with the tables `a` and `b`.
pub struct Sqlite(Connection);

impl Sqlite {
    pub fn new() -> Sqlite {
        let connection = Connection::open_in_memory().expect("memory");
        for table in ["a", "b"] {
            // Without types, so that nothing is converted.
            let columns = top().map(|path| format!("\"{path}\", \"{path}?\" NOT NULL"));
            let columns = columns.collect::<Vec<_>>().join(", ");
            let table = format!("CREATE TABLE {table} (k PRIMARY KEY NOT NULL, {columns}, doc)");
            connection.execute_batch(&table).expect("a table");
        }
        Sqlite(connection)
    }

    pub fn insert(&self, table: &str, key: u128, document: &V) {
        let mut values = vec![format!("'{}'", key_text(key))];
        for path in top() {
            let value = document.field(path);
            values.push(value.map_or("NULL".to_owned(), sql::literal));
            values.push(there(value).to_string());
        }
        let nested = document.field("d").map_or("{}".to_owned(), json);
        values.push(format!("'{}'", format!("{{\"d\":{nested}}}").replace('\'', "''")));
        let insert = format!("INSERT INTO {table} VALUES ({})", values.join(", "));
        self.0.execute_batch(&insert).unwrap_or_else(|e| panic!("{insert}: {e}"));
    }

    pub fn change(&self, query: &Query) {
        if let Some(update) = sql::update(query) {
            self.0.execute_batch(&update).unwrap_or_else(|e| panic!("{update}: {e}"));
        }
    }

    /// Says what differs.
    pub fn compare(&self, query: &Query, got: &Answer) -> Result<(), String> {
        let statement = sql::select(query);
        let rows = self.rows(&statement).unwrap_or_else(|e| panic!("{statement}: {e}"));
        let alike = match got {
            Answer::Count(n) => rows == [vec![Value::Integer(*n as i64)]],
            Answer::Rows(got) => {
                got.len() == rows.len()
                    && got.iter().zip(&rows).all(|(row, columns)| same_row(query, row, columns))
            }
            _ => false,
        };
        if alike {
            return Ok(());
        }
        Err(format!("SQLite answers {rows:?}\n  to {statement}\n  the engine {got:?}"))
    }

    fn rows(&self, statement: &str) -> rusqlite::Result<Vec<Vec<Value>>> {
        let mut statement = self.0.prepare(statement)?;
        let columns = statement.column_count();
        let row = |row: &rusqlite::Row<'_>| (0..columns).map(|at| row.get(at)).collect();
        statement.query_map([], row)?.collect()
    }
}

/// Paths that are columns.
fn top() -> impl Iterator<Item = &'static str> {
    PATHS.into_iter().filter(|path| !path.contains('.') && *path != "key")
}

fn there(value: Option<&V>) -> u8 {
    match value {
        None => 0,
        Some(V::Null) => 1,
        Some(_) => 2,
    }
}

fn json(value: &V) -> String {
    match value {
        V::Null => "null".to_owned(),
        V::Text(text) => format!("\"{text}\""),
        V::Doc(fields) => {
            let fields = fields.iter().map(|(name, value)| format!("\"{name}\":{}", json(value)));
            format!("{{{}}}", fields.collect::<Vec<_>>().join(","))
        }
        other => sql::literal(other),
    }
}

/// A row of the engine, and one of SQLite: for each field a value and whether it is
/// there; of whole documents the key.
fn same_row(query: &Query, (key, row): &(Option<u128>, V), columns: &[Value]) -> bool {
    let fields: Vec<String> = match (&query.verb, &query.shape) {
        (Verb::Pluck(paths), _) => paths.clone(),
        (_, Some(Shape::Distinct(by))) => by.clone(),
        (_, Some(Shape::Group(by, figures))) => {
            by.iter().cloned().chain(figures.iter().map(|f| f.alias.clone())).collect()
        }
        _ => {
            let key = key.map(key_text);
            return matches!((&columns[0], key), (Value::Text(text), Some(key)) if *text == key);
        }
    };
    // Of equal values a group shows the first that was met, in SQLite any of them.
    let exact = query.shape.is_none();
    fields.iter().zip(columns.chunks(2)).all(|(path, column)| {
        let value = row.field(path);
        column[1] == Value::Integer(i64::from(there(value))) && same(value, &column[0], exact)
    })
}

fn same(value: Option<&V>, other: &Value, exact: bool) -> bool {
    let close = |x: f64, y: f64| (x - y).abs() <= 1e-9 * x.abs().max(y.abs());
    match (value, other) {
        (None | Some(V::Null), Value::Null) => true,
        (Some(V::Text(text)), Value::Text(other)) => text == other,
        (Some(V::Double(d)), Value::Real(other)) => close(*d, *other),
        (Some(V::Double(d)), Value::Integer(n)) => !exact && *d == *n as f64,
        (Some(n @ (V::Int(_) | V::Long(_))), Value::Integer(other)) => n.whole() == *other,
        (Some(n @ (V::Int(_) | V::Long(_))), Value::Real(d)) => !exact && *d == n.whole() as f64,
        _ => false,
    }
}
