//! What is to be watched, as it was asked for.
//!
//! ```text
//! { stores: ["name", { store: "name", operations?: ["insert", "update", "delete"],
//!                      filter?: "a > $1", parameters?: {"1": ..}, from?: key, to?: key,
//!                      fields?: ["a.b"], before?: bool }, ..],
//!   since?: "token" | LSN (int64), max_bytes?: n, max_wait_ms?: n }
//! ```
//!
//! What must stay true: it is read whole before anything is done, and whatever it says
//! that is not known here is refused.

use std::sync::Arc;

use lsm::Lsn;
use proto::doc::{Doc, Value};
use proto::{Key, Status};

use super::token::Token;
use crate::error::shown;
use crate::query::{self, Outcome, Plan, SelectPlan};
use crate::{Limits, Refusal};

/// Stores in one watch at most.
pub(crate) const MAX_STORES: usize = 64;
/// Bytes of its description at most: one that waits is kept.
const MAX_BYTES: usize = 64 << 10;
/// Bytes of a page where nothing is said of it, and the fewest that can be asked for.
const PAGE_BYTES: usize = 1 << 20;
const LEAST_BYTES: usize = 1 << 10;
/// What a page has beside its events: its token, figures, the packet.
pub(super) const AROUND: usize = 1 << 10;
/// Milliseconds of the longest wait. Who asks for more waits so long.
pub(crate) const MAX_WAIT_MS: u32 = 60_000;

/// See the module.
#[derive(Debug)]
pub(crate) struct Spec<'a> {
    pub(crate) stores: Vec<StoreSpec<'a>>,
    pub(crate) since: Since,
    /// Of events on a page.
    pub(crate) max_bytes: usize,
    pub(crate) wait_millis: u32,
}

/// From where on.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Since {
    Now,
    Lsn(Lsn),
    Token(Token),
}

/// What of one store.
#[derive(Debug)]
pub(crate) struct StoreSpec<'a> {
    pub(crate) name: &'a str,
    pub(crate) inserts: bool,
    pub(crate) updates: bool,
    pub(crate) deletes: bool,
    /// Its filter, and which fields are wanted; `None`: all of all.
    pub(crate) plan: Option<Arc<SelectPlan>>,
    /// The first key and the last.
    pub(crate) keys: ([u8; 16], [u8; 16]),
    /// Whether what was there before is wanted.
    pub(crate) before: bool,
}

pub(super) fn bad(message: impl Into<String>) -> Refusal {
    Refusal::new(Status::BadWatch, message)
}

impl<'a> Spec<'a> {
    pub(crate) fn parse(
        what: &'a [u8],
        queries: &query::Desk,
        limits: &Limits,
    ) -> Result<Spec<'a>, Refusal> {
        if what.len() > MAX_BYTES {
            return Err(bad(format!(
                "what is to be watched has {} bytes, it may have {MAX_BYTES}: shorten its filters \
                 and their parameters",
                what.len()
            )));
        }
        let doc = Doc::parse(what).map_err(|e| bad(format!("what is to be watched: {e}")))?;
        let most = limits.max_message_size - AROUND;
        let max_bytes = PAGE_BYTES.min(most);
        let mut spec = Spec { stores: vec![], since: Since::Now, max_bytes, wait_millis: 0 };
        for (name, value) in doc {
            match (name, value) {
                ("stores", Value::Array(stores)) => {
                    if stores.len() > MAX_STORES {
                        let count = stores.len();
                        return Err(bad(format!(
                            "{count} stores are to be watched, at most {MAX_STORES} can be at \
                             once: watch the others apart"
                        )));
                    }
                    for store in stores.iter() {
                        spec.stores.push(StoreSpec::parse(store, queries)?);
                    }
                }
                ("since", Value::Null) => {}
                ("since", Value::String(text)) => {
                    let token = Token::parse(text).ok_or_else(|| {
                        bad(format!("since is {}, which is no token of a watch", shown(text)))
                    })?;
                    spec.since = Since::Token(token);
                }
                ("since", value) if value.as_i64().is_some_and(|lsn| lsn >= 0) => {
                    spec.since = Since::Lsn(value.as_i64().unwrap_or_default().unsigned_abs());
                }
                ("max_bytes", value) if value.as_i64().is_some_and(|n| n > 0) => {
                    let asked = usize::try_from(value.as_i64().unwrap_or_default());
                    spec.max_bytes = asked.unwrap_or(usize::MAX).max(LEAST_BYTES).min(most);
                }
                ("max_wait_ms", value) if value.as_i64().is_some_and(|n| n >= 0) => {
                    let asked = u32::try_from(value.as_i64().unwrap_or_default());
                    spec.wait_millis = asked.unwrap_or(u32::MAX).min(MAX_WAIT_MS);
                }
                _ => {
                    return Err(bad(format!(
                        "a watch has stores (an array), since (a token, or an LSN), max_bytes and \
                         max_wait_ms (numbers), and no {} of type {}",
                        shown(name),
                        value.type_name()
                    )));
                }
            }
        }
        if spec.stores.is_empty() {
            return Err(bad("no store is named: say which to watch, {stores: [\"name\"]}"));
        }
        for (at, store) in spec.stores.iter().enumerate() {
            if spec.stores[..at].iter().any(|other| other.name == store.name) {
                let name = shown(store.name);
                return Err(bad(format!("the store {name} is named twice: name it once")));
            }
        }
        if let Since::Token(token) = &spec.since
            && token.stores.len() != spec.stores.len()
        {
            return Err(bad(format!(
                "since is a token of a watch of {} stores, and {} are named: name the same ones in \
                 the same order, or begin from an LSN",
                token.stores.len(),
                spec.stores.len()
            )));
        }
        Ok(spec)
    }
}

impl<'a> StoreSpec<'a> {
    fn parse(store: Value<'a>, queries: &query::Desk) -> Result<StoreSpec<'a>, Refusal> {
        let mut spec = StoreSpec {
            name: "",
            inserts: true,
            updates: true,
            deletes: true,
            plan: None,
            keys: ([0; 16], [0xff; 16]),
            before: false,
        };
        let described = match store {
            Value::String(name) => {
                spec.name = name;
                return Ok(spec);
            }
            Value::Doc(described) => described,
            other => {
                let kind = other.type_name();
                return Err(bad(format!("a store is its name or a document, no {kind}")));
            }
        };
        let (mut filter, mut parameters, mut fields) = (None, None, None);
        for (name, value) in described {
            match (name, value) {
                ("store", Value::String(name)) => spec.name = name,
                ("operations", Value::Array(wanted)) => spec.operations(wanted)?,
                ("filter", Value::String(text)) => filter = Some(text),
                ("parameters", Value::Doc(given)) => parameters = Some(given),
                ("fields", Value::Array(wanted)) => fields = Some(wanted),
                ("from", Value::String(text)) => spec.keys.0 = key(text)?,
                ("to", Value::String(text)) => spec.keys.1 = key(text)?,
                ("before", Value::Bool(wanted)) => spec.before = wanted,
                _ => {
                    return Err(bad(format!(
                        "of a store a watch says store, operations, filter, parameters, fields, \
                         from, to and before, and no {} of type {}",
                        shown(name),
                        value.type_name()
                    )));
                }
            }
        }
        if spec.name.is_empty() {
            return Err(bad("a store to watch has no name: {store: \"name\"}"));
        }
        spec.plan = plan(filter, parameters, fields, queries)?;
        Ok(spec)
    }

    fn operations(&mut self, wanted: proto::doc::Array<'_>) -> Result<(), Refusal> {
        (self.inserts, self.updates, self.deletes) = (false, false, false);
        for name in wanted.iter() {
            match name {
                Value::String("insert") => self.inserts = true,
                Value::String("update") => self.updates = true,
                Value::String("delete") => self.deletes = true,
                _ => {
                    return Err(bad("operations are \"insert\", \"update\" and \"delete\""));
                }
            }
        }
        if !(self.inserts || self.updates || self.deletes) {
            return Err(bad("no operation is wanted: leave operations out for all of them"));
        }
        Ok(())
    }
}

fn key(text: &str) -> Result<[u8; 16], Refusal> {
    let key: Result<Key, _> = text.parse();
    key.map(Key::to_bytes).map_err(|e| bad(format!("{}: {e}", shown(text))))
}

/// A query that says which documents are wanted, and what of them.
fn plan(
    filter: Option<&str>,
    parameters: Option<Doc<'_>>,
    fields: Option<proto::doc::Array<'_>>,
    queries: &query::Desk,
) -> Result<Option<Arc<SelectPlan>>, Refusal> {
    if filter.is_none() && fields.is_none() {
        return match parameters {
            Some(_) => Err(bad("parameters are given, and no filter that uses them")),
            None => Ok(None),
        };
    }
    let mut text = "s".to_owned();
    if let Some(filter) = filter {
        text.push_str(&format!(".filter({filter})"));
    }
    if let Some(fields) = fields {
        let names: Option<Vec<&str>> = fields.iter().map(|f| f.as_str()).collect();
        let names = names.filter(|names| !names.is_empty());
        let names = names.ok_or_else(|| bad("fields is an array of one path or more"))?;
        text.push_str(&format!(".pluck({})", names.join(", ")));
    }
    let words = |why: String| bad(format!("filter and fields, {}: {why}", shown(&text)));
    let query = queries.parse(&text).map_err(|e| words(e.to_string()))?;
    let only = || words("they must be a condition, and paths, and nothing more".to_owned());
    match query::bind(&query, parameters).map_err(words)? {
        Plan::Select(plan) if !query.explain => {
            let plain = plan.lookups.is_empty() && plan.joined.is_none() && plan.shape.is_none();
            let plain = plain && plan.having.is_none() && plan.order.is_empty();
            let plain = plain && (plan.skip, plan.limit) == (0, None);
            let output = match plan.output {
                Outcome::Rows => fields.is_none(),
                Outcome::Pluck(_) => fields.is_some(),
                _ => false,
            };
            if plain && output { Ok(Some(plan)) } else { Err(only()) }
        }
        _ => Err(only()),
    }
}
