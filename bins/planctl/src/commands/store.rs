//! `planctl store show|rename|schema|ttl|before`.

use super::create::done;
use super::open;
use crate::failure::{Exit, Failure};
use crate::options::Global;
use crate::output::{self, Out};
use crate::session::unexpected;
use crate::table::{Rows, plain, terminal_width, visible};
use clap::Subcommand;
use proto::doc::{Doc, DocBuf, Value};
use proto::json::to_json;
use proto::{Reply, Request};
use std::path::PathBuf;

#[derive(Debug, Subcommand)]
pub(crate) enum Store {
    /// Show one store: its documents, indexes, schema, and when documents expire
    #[command(after_help = "Examples:\n  planctl store show users --dir ./service\n  \
                            planctl store show users --json --dir ./service | jq '.indexes'")]
    Show {
        /// The store
        store: String,
    },
    /// Give a store another name
    #[command(
        after_help = "Example:\n  planctl store rename flights flights_2013 --dir ./service\n\n\
                            Documents and indexes stay as they are; services that use the old \
                            name must use the new one."
    )]
    Rename {
        /// The store
        store: String,
        /// Its new name
        name: String,
    },
    /// Say what documents must look like, by a JSON Schema, or show what was said
    #[command(
        after_help = "Examples:\n  planctl store schema users users.schema.json --dir ./service\n  \
                            planctl store schema users --print --dir ./service > users.schema.json\n  \
                            planctl store schema users --none --dir ./service\n\n\
                            It is asked of every document written from then on; those that are \
                            there already stay as they are."
    )]
    Schema {
        /// The store
        store: String,
        /// A file with the schema
        #[arg(required_unless_present_any = ["none", "print"], conflicts_with = "none")]
        file: Option<PathBuf>,
        /// Ask for nothing any more
        #[arg(long)]
        none: bool,
        /// Print the schema that is there, as it was set
        #[arg(long, conflicts_with_all = ["none", "file"])]
        print: bool,
    },
    /// Let documents expire some time after the date in one of their fields
    #[command(
        after_help = "Examples:\n  planctl store ttl sessions last_seen 3600 --dir ./service\n  \
                            planctl store ttl sessions --none --dir ./service\n\n\
                            Documents without a date in that field never expire."
    )]
    Ttl {
        /// The store
        store: String,
        /// The field that has a date
        #[arg(required_unless_present = "none", conflicts_with = "none")]
        field: Option<String>,
        /// Seconds after it
        #[arg(required_unless_present = "none", conflicts_with = "none")]
        #[arg(allow_negative_numbers = true)]
        seconds: Option<i64>,
        /// Keep all documents from now on
        #[arg(long)]
        none: bool,
    },
    /// Keep in the log what documents were before a write, for those who watch changes
    #[command(after_help = "Examples:\n  planctl store before orders --dir ./service\n  \
                            planctl store before orders --none --dir ./service\n\n\
                            Of writes from then on; each costs the log as many bytes as the \
                            document had.")]
    Before {
        /// The store
        store: String,
        /// Keep it no more
        #[arg(long)]
        none: bool,
    },
}

impl Store {
    pub(crate) fn run(&self, global: &Global) -> Result<(), Failure> {
        let mut change = DocBuf::new();
        let (store, what) = match self {
            Store::Show { store } => return show(global, store),
            Store::Schema { store, print: true, .. } => return print_schema(global, store),
            Store::Rename { store, name } => {
                change.push("rename", name);
                (name, format!("what {store} was"))
            }
            Store::Schema { store, file: Some(file), .. } => {
                let text =
                    std::fs::read_to_string(file).map_err(|e| Failure::file("read", file, &e))?;
                change.push("schema", &text);
                (store, "asking documents to be as the schema says".to_owned())
            }
            Store::Schema { store, .. } => {
                change.push("schema", Value::Null);
                (store, "taking documents of any kind".to_owned())
            }
            Store::Ttl { store, field: Some(field), seconds: Some(seconds), .. } => {
                change.doc("ttl", |ttl| {
                    ttl.push("field", field).push("seconds", *seconds);
                });
                (store, format!("letting documents expire {seconds} seconds after {field}"))
            }
            Store::Ttl { store, .. } => {
                change.push("ttl", Value::Null);
                (store, "keeping all documents".to_owned())
            }
            Store::Before { store, none } => {
                change.push("before_images", !none);
                let kept = if *none { "keeping no" } else { "keeping in the log the" };
                (store, format!("{kept} documents as they were before a write"))
            }
        };
        let of = match self {
            Store::Show { store }
            | Store::Rename { store, .. }
            | Store::Schema { store, .. }
            | Store::Ttl { store, .. }
            | Store::Before { store, .. } => store,
        };
        let change = change.finish().map_err(|e| Failure::usage(e.to_string()))?;
        open(global)?.ask(&Request::AlterStore { store: of, change: &change })?.reply()?;
        done(global, "store", store, &what)
    }
}

/// Asks what there is to say of a store, and hands it to `f`.
fn described(
    global: &Global,
    store: &str,
    f: impl FnOnce(Doc<'_>) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let answer = open(global)?.ask(&Request::DescribeStore { store })?;
    let Reply::Document(bytes) = answer.reply()? else { return Err(unexpected()) };
    f(Doc::parse(bytes).map_err(|_| unexpected())?)
}

fn print_schema(global: &Global, store: &str) -> Result<(), Failure> {
    described(global, store, |doc| match doc.get("schema").and_then(|v| v.as_str()) {
        Some(schema) => output::print(schema),
        None => Err(Failure::new(
            Exit::NotFound,
            format!("store {} has no schema: it takes documents of any kind", visible(store)),
        )),
    })
}

/// A line for each thing there is to say, the indexes as a table, the schema last.
fn show(global: &Global, store: &str) -> Result<(), Failure> {
    described(global, store, |doc| {
        let mut out = Out::new();
        if global.json {
            out.line(&to_json(doc))?;
            return out.finish();
        }
        for (name, value) in doc {
            match (name, value) {
                ("indexes" | "schema", _) => {}
                ("ttl", Value::Doc(ttl)) => {
                    let part = |name| ttl.get(name).map(plain).unwrap_or_default();
                    let (field, seconds) = (part("field"), part("seconds"));
                    out.line(&visible(&format!("expire      {seconds} seconds after {field}")))?;
                }
                (name, value) => out.line(&visible(&format!("{name:10}  {}", plain(value))))?,
            }
        }
        if let Some(Value::Array(indexes)) = doc.get("indexes") {
            let rows = indexes.iter().filter_map(|index| match index {
                Value::Doc(index) => Some((None, index)),
                _ => None,
            });
            out.line(&Rows::new(rows).render(terminal_width()))?;
        }
        if let Some(schema) = doc.get("schema").and_then(|v| v.as_str()) {
            out.line("schema")?;
            for line in schema.lines() {
                out.line(&visible(line))?;
            }
        }
        out.finish()
    })
}
