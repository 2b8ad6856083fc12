//! The engines behind one small trait.
//!
//! What must stay true: each adapter uses its engine as its own users would, with
//! prepared statements where there are any; every byte of an answer is looked at; a
//! failure ends the program (a bench that goes on after an error measures nothing).

mod planck;
mod postgres;
mod sqlite;
mod surreal;

use crate::data::{Cell, Form, Index, Row, Table};
use crate::queries::Query;
use shared::rows::Times;
use std::path::Path;

/// One row of an answer, for comparing: fields by name, or a whole document.
pub type Json = serde_json::Value;

/// One database, open. Dropped, it is closed in order.
pub trait Store {
    /// Its version.
    fn version(&mut self) -> String;

    /// Makes a table, with the indexes that it has from the start.
    fn create(&mut self, table: &Table);

    /// Builds an index over what is there; returns when queries use it.
    fn index(&mut self, table: &Table, index: &Index);

    /// Inserts these, one by one, and takes the time of each.
    fn insert_each(&mut self, table: &Table, rows: &[Row]) -> Times;

    /// Inserts these at once, and takes the time of that.
    fn insert(&mut self, table: &Table, rows: &[Row]) -> Times;

    /// Asks once for each list of parameters, and takes the time of each. Gives the
    /// sum of what the answers count: rows, or the number that is the answer.
    fn ask_each(&mut self, query: &Query, parameters: &[Vec<Cell>]) -> (Times, u64);

    /// Asks once, to compare the answer.
    fn show(&mut self, query: &Query, parameters: &[Cell]) -> Vec<Json>;

    /// Returns when the background work that its users wait for is done.
    fn settle(&mut self);
}

/// An engine that can be opened.
#[derive(Clone, Copy)]
pub struct Engine {
    pub name: &'static str,
    pub form: Form,
    /// Opens it in an empty directory, or says why it is not here.
    pub open: fn(&Path) -> Result<Box<dyn Store>, String>,
    /// It is here for figures: no keys, no other indexes, no changes one by one.
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
        name: "surrealdb",
        form: Form::Json,
        open: surreal::open,
        figures_only: false,
        note: "embedded in a Python process (PyPI surrealdb, SurrealKV files), which takes the \
               times itself: its driver is included; no cache setting; stands for MongoDB, whose \
               server none of apt, PyPI, npm and crates.io has",
    },
];
