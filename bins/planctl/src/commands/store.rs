//! `planctl store rename|schema|ttl`.

use super::create::done;
use super::open;
use crate::failure::Failure;
use crate::options::Global;
use clap::Subcommand;
use proto::Request;
use proto::doc::{DocBuf, Value};
use std::path::PathBuf;

#[derive(Debug, Subcommand)]
pub(crate) enum Store {
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
    /// Say what documents must look like, by a JSON Schema
    #[command(
        after_help = "Examples:\n  planctl store schema users users.schema.json --dir ./service\n  \
                            planctl store schema users --none --dir ./service\n\n\
                            It is asked of every document written from then on; those that are \
                            there already stay as they are."
    )]
    Schema {
        /// The store
        store: String,
        /// A file with the schema
        #[arg(required_unless_present = "none", conflicts_with = "none")]
        file: Option<PathBuf>,
        /// Ask for nothing any more
        #[arg(long)]
        none: bool,
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
        seconds: Option<i64>,
        /// Keep all documents from now on
        #[arg(long)]
        none: bool,
    },
}

impl Store {
    pub(crate) fn run(&self, global: &Global) -> Result<(), Failure> {
        let mut change = DocBuf::new();
        let (store, what) = match self {
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
        };
        let of = match self {
            Store::Rename { store, .. }
            | Store::Schema { store, .. }
            | Store::Ttl { store, .. } => store,
        };
        let change = change.finish().map_err(|e| Failure::usage(e.to_string()))?;
        open(global)?.ask(&Request::AlterStore { store: of, change: &change })?.reply()?;
        done(global, store, &what)
    }
}
