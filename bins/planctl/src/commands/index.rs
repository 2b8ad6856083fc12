//! `planctl index create|drop|list|check`.

use super::{open, query};
use crate::failure::{Exit, Failure};
use crate::options::Global;
use crate::output::{self, Out};
use crate::session::{Session, unexpected};
use crate::table::{Rows, terminal_width, visible};
use clap::Subcommand;
use proto::doc::{Doc, DocBuf, Value};
use proto::json::to_json;
use proto::{Reply, Request};
use std::time::Duration;

/// How often --wait asks how the build goes.
const ASK: Duration = Duration::from_millis(200);

#[derive(Debug, Subcommand)]
pub(crate) enum Index {
    /// Make an index; it is built while the service serves
    #[command(
        after_help = "Examples:\n  planctl index create flights origin dep_delay:desc --dir ./service\n  \
                            planctl index create users email --unique --wait --dir ./service\n  \
                            planctl index create orders at --filter 'state = \"open\"'\n\n\
                            A field is a path such as address.city; :desc behind it sorts \
                            downwards. Arrays are indexed item by item."
    )]
    Create {
        /// The store
        store: String,
        /// The fields, the first of them first
        #[arg(required = true)]
        fields: Vec<String>,
        /// Its name; else it is made of the fields
        #[arg(long)]
        name: Option<String>,
        /// Refuse documents that have the same values as another
        #[arg(long)]
        unique: bool,
        /// Leave documents out that have none of the fields
        #[arg(long)]
        sparse: bool,
        /// Index only documents that meet this condition, as filter(..) takes it
        #[arg(long, value_name = "CONDITION")]
        filter: Option<String>,
        /// Do nothing, and succeed, if there is the same one already
        #[arg(long)]
        if_not_exists: bool,
        /// Wait until it is built
        #[arg(long)]
        wait: bool,
    },
    /// Remove an index
    #[command(after_help = "Example:\n  planctl index drop flights origin --dir ./service\n\n\
                            Documents are not touched.")]
    Drop {
        /// The store
        store: String,
        /// The index
        name: String,
        /// Do nothing, and succeed, if there is none of that name
        #[arg(long)]
        if_exists: bool,
    },
    /// Show indexes, with how far they are built
    #[command(after_help = "Example:\n  planctl index list flights --dir ./service")]
    List {
        /// The store; else those of all stores
        store: Option<String>,
    },
    /// Prove that indexes hold what their documents demand
    #[command(after_help = "Example:\n  planctl index check flights --dir ./service\n\n\
                            It reads every document. Exit code 1: there are differences, each \
                            of the first hundred is shown.")]
    Check {
        /// The store
        store: String,
        /// The index; else all of the store
        name: Option<String>,
    },
}

impl Index {
    pub(crate) fn run(&self, global: &Global) -> Result<(), Failure> {
        match self {
            Index::Create { store, if_not_exists, wait, .. } => {
                let definition = self.definition()?;
                let mut session = open(global)?;
                let request = Request::CreateIndex {
                    store,
                    if_not_exists: *if_not_exists,
                    definition: &definition,
                };
                let answer = session.ask(&request)?;
                let Reply::Document(made) = answer.reply()? else { return Err(unexpected()) };
                let made = Doc::parse(made).map_err(|_| unexpected())?;
                let name = made.get("name").and_then(|v| v.as_str()).ok_or_else(unexpected)?;
                if *wait {
                    built(&mut session, store, name)?;
                }
                let state = if *wait { "ready" } else { "being built" };
                done(global, store, name, state)
            }
            Index::Drop { store, name, if_exists } => {
                let request = Request::DropIndex { store, index: name, if_exists: *if_exists };
                open(global)?.ask(&request)?.reply()?;
                done(global, store, name, "removed")
            }
            Index::List { store } => {
                let rows = list(&mut open(global)?, store.as_deref())?;
                let docs: Vec<_> = rows.iter().map(|row| (None, Doc::trusted(row))).collect();
                let mut out = Out::new();
                if global.json {
                    for (_, doc) in &docs {
                        out.line(&to_json(*doc))?;
                    }
                } else if !docs.is_empty() {
                    out.line(&Rows::new(docs.into_iter()).render(terminal_width()))?;
                }
                out.finish()
            }
            Index::Check { store, name } => {
                let request = Request::CheckIndexes { store, index: name.as_deref() };
                let answer = open(global)?.ask(&request)?;
                let reply = answer.reply()?;
                query::show(&reply, global.json)?;
                let Reply::Rows(rows) = reply else { return Err(unexpected()) };
                let last = rows.iter().last().ok_or_else(unexpected)?;
                let last = Doc::parse(last.1).map_err(|_| unexpected())?;
                match last.get("differences").and_then(|v| v.as_i64()) {
                    Some(0) => Ok(()),
                    Some(n) => Err(Failure::new(
                        Exit::Failure,
                        format!(
                            "{n} differences: drop the indexes named and create them again, and \
                             please report this"
                        ),
                    )),
                    None => Err(unexpected()),
                }
            }
        }
    }

    /// What is to be made, as the service takes it.
    fn definition(&self) -> Result<Vec<u8>, Failure> {
        let Index::Create { fields, name, unique, sparse, filter, .. } = self else {
            return Err(unexpected());
        };
        let mut doc = DocBuf::new();
        if let Some(name) = name {
            doc.push("name", name);
        }
        let fields = fields.iter().map(|field| ordered(field)).collect::<Result<Vec<_>, _>>()?;
        doc.array("fields", |list| {
            for (path, descending) in fields {
                list.item_doc(|doc| {
                    doc.push("path", path).push("descending", descending);
                });
            }
        });
        doc.push("unique", *unique).push("sparse", *sparse);
        if let Some(filter) = filter {
            doc.push("filter", filter);
        }
        doc.finish().map_err(|e| Failure::usage(e.to_string()))
    }
}

/// A field, and whether it sorts downwards.
fn ordered(field: &str) -> Result<(&str, bool), Failure> {
    match field.rsplit_once(':') {
        None => Ok((field, false)),
        Some((path, "asc")) => Ok((path, false)),
        Some((path, "desc")) => Ok((path, true)),
        Some((_, other)) => Err(Failure::usage(format!(
            "{}: behind the colon stands asc or desc, not {}; a field with a colon in its name is \
             written with :asc behind it",
            visible(field),
            visible(other)
        ))),
    }
}

/// The indexes, a row each, with their store.
fn list(session: &mut Session, of: Option<&str>) -> Result<Vec<Vec<u8>>, Failure> {
    let answer = session.ask(&Request::List)?;
    let Reply::Rows(rows) = answer.reply()? else { return Err(unexpected()) };
    let (mut all, mut found) = (Vec::new(), false);
    for (_, bytes) in rows.iter() {
        let store = Doc::parse(bytes).map_err(|_| unexpected())?;
        let name = store.get("name").and_then(|v| v.as_str()).ok_or_else(unexpected)?;
        if of.is_some_and(|of| of != name) {
            continue;
        }
        found = true;
        let Some(Value::Array(indexes)) = store.get("indexes") else { continue };
        for index in indexes {
            let Value::Doc(index) = index else { return Err(unexpected()) };
            let mut row = DocBuf::new();
            row.push("store", name);
            for (name, value) in index {
                row.push(name, value);
            }
            all.push(row.finish().map_err(|_| unexpected())?);
        }
    }
    match of {
        Some(of) if !found => Err(Failure::new(
            Exit::NotFound,
            format!("there is no store named {}: planctl list shows them", visible(of)),
        )),
        _ => Ok(all),
    }
}

/// Waits until an index is ready.
fn built(session: &mut Session, store: &str, name: &str) -> Result<(), Failure> {
    loop {
        let rows = list(session, Some(store))?;
        let field = |row: &[u8], field: &str| {
            Doc::trusted(row).get(field).and_then(|v| v.as_str()).map(str::to_owned)
        };
        let row = rows.iter().find(|row| field(row, "name").as_deref() == Some(name));
        let row = row.ok_or_else(|| {
            Failure::new(Exit::NotFound, format!("index {} was removed meanwhile", visible(name)))
        })?;
        match field(row, "state").as_deref() {
            Some("ready") => return Ok(()),
            Some("building") => std::thread::sleep(ASK),
            Some("failed") => {
                let reason = visible(&field(row, "reason").unwrap_or_default());
                return Err(Failure::new(
                    Exit::Conflict,
                    format!("the index cannot be built: {reason}; drop it, mend that, try again"),
                ));
            }
            _ => return Err(unexpected()),
        }
    }
}

fn done(global: &Global, store: &str, name: &str, what: &str) -> Result<(), Failure> {
    if global.json {
        let fields = [("store", store.into()), ("index", name.into()), ("done", what.into())];
        return output::print(&output::object(&fields));
    }
    output::note(&format!("index {} of store {} is {what}", visible(name), visible(store)));
    Ok(())
}
