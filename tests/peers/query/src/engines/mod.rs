//! The engines behind one small trait.
//!
//! What must stay true: each adapter uses its engine as its own users would, with
//! prepared statements where there are any; every byte of an answer is looked at; a
//! failure is given back, and leaves the engine out of the table (one that goes on
//! after an error measures nothing).

mod child;
mod duck;
mod planck;
mod postgres;
mod sqlite;
mod surreal;

use crate::data::{Cell, Form, Index, Row, Table};
use crate::queries::Query;
use crate::timed::Asked;
use std::path::Path;
use std::time::Duration;

/// One row of an answer, for comparing: fields by name, or a whole document.
pub type Json = serde_json::Value;

/// What an engine did, or why it could not.
pub type Done<T = ()> = Result<T, String>;

/// An engine that is a process of its own gets so long for one operation, in which
/// nothing can cut it off.
pub const PATIENCE: Duration = Duration::from_secs(300);

/// One database, open. Dropped, it is closed in order.
pub trait Store {
    /// Its version.
    fn version(&mut self) -> Done<String>;

    /// Makes a table, with the indexes that it has from the start.
    fn create(&mut self, table: &Table) -> Done;

    /// Builds an index over what is there; returns when queries use it.
    fn index(&mut self, table: &Table, index: &Index) -> Done;

    /// Inserts these, one by one, until the budget is used up.
    fn insert_each(&mut self, table: &Table, rows: &[Row], budget: Duration) -> Done<Asked>;

    /// Inserts these at once, and takes the time of that.
    fn insert(&mut self, table: &Table, rows: &[Row]) -> Done<Duration>;

    /// Asks once for each list of parameters, until the budget is used up.
    fn ask_each(
        &mut self,
        query: &Query,
        parameters: &[Vec<Cell>],
        budget: Duration,
    ) -> Done<Asked>;

    /// Asks once, to compare the answer.
    fn show(&mut self, query: &Query, parameters: &[Cell]) -> Done<Vec<Json>>;

    /// Returns when the background work that its users wait for is done.
    fn settle(&mut self) -> Done;
}

/// An engine that can be opened.
#[derive(Clone, Copy)]
pub struct Engine {
    pub name: &'static str,
    pub form: Form,
    /// Opens it in an empty directory, or says why it is not here.
    pub open: fn(&Path) -> Done<Box<dyn Store>>,
    /// It is here for figures: no keys, no indexes, no changes one by one.
    pub figures_only: bool,
    /// What stands in the head of the table.
    pub note: &'static str,
}

/// All of them, ours first.
pub const ALL: &[Engine] = &[
    Engine {
        name: "planck",
        form: Form::Bson,
        open: planck::open,
        figures_only: false,
        note: "in process, packets through `Engine::dispatch_packet` as a guest sends them, \
               with the threads that the `planck` process has; async: the log is in the kernel \
               when a write is acknowledged; checksums of pages and records verified; \"get by \
               key\" is the operation Read",
    },
    Engine {
        name: "sqlite-json",
        form: Form::Json,
        open: sqlite::json,
        figures_only: false,
        note: "in process, documents as JSON text, indexes over expressions; WAL, \
               synchronous=NORMAL, ANALYZE after the load; no checksums",
    },
    Engine {
        name: "sqlite-jsonb",
        form: Form::Json,
        open: sqlite::jsonb,
        figures_only: false,
        note: "the same with documents as JSONB, given back as text",
    },
    Engine {
        name: "sqlite-plain",
        form: Form::Columns,
        open: sqlite::plain,
        figures_only: false,
        note: "the same with a column for each field; tags are one text",
    },
    Engine {
        name: "postgres",
        form: Form::Json,
        open: postgres::open,
        figures_only: false,
        note: "a process of its own behind a Unix socket, jsonb, indexes over expressions, \
               prepared statements, COPY for many, VACUUM ANALYZE after the load; \
               synchronous_commit=on with fsync=off: the log is in the kernel when a write is \
               acknowledged (synchronous_commit=off would lose writes when the process is \
               killed); parallel workers as it likes",
    },
    Engine {
        name: "duckdb",
        form: Form::Columns,
        open: duck::columns,
        figures_only: true,
        note: "for figures: a column for each field, no index, no primary key; a file of its \
               own; embedded in a Python process (PyPI duckdb), which takes the times itself: \
               its driver is included; batches as one list for each column, CHECKPOINT and \
               ANALYZE after the load; fsync_mode=NONE: the log is in the kernel when a write is \
               acknowledged",
    },
    Engine {
        name: "duckdb-json",
        form: Form::Json,
        open: duck::json,
        figures_only: true,
        note: "the same with documents in a column of its type JSON",
    },
    Engine {
        name: "surrealdb",
        form: Form::Json,
        open: surreal::open,
        figures_only: false,
        note: "embedded in a Python process (PyPI surrealdb, SurrealKV files), which takes the \
               times itself: its driver is included; cache and durability as they come; stands for MongoDB, whose \
               server none of apt, PyPI, npm and crates.io has",
    },
];
