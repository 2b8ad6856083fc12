//! What an index is: its fields, its rules, its state; from a request and to a record.
//!
//! What must stay true: an [`Index`] is never changed, only replaced; its filter was
//! parsed and bound when it was made or loaded, so that writing needs no parser. What
//! a definition says is either understood or refused: no field of it is passed over.

use std::fmt;
use std::sync::Arc;

use lsm::KeyspaceId;
use proto::Status;
use proto::doc::{Doc, DocBuf, Value, checked_path};

use crate::Refusal;
use crate::document::KEY_FIELD;
use crate::error::shown;
use crate::pql;
use crate::query::predicate::Predicate;
use crate::query::{Outcome, Plan, SelectPlan, bind};

/// Fields of one index at most.
pub(crate) const MAX_FIELDS: usize = 8;
/// Bytes of the path of an indexed field at most.
const MAX_PATH: usize = 256;
/// Bytes of the text of a filter at most.
const MAX_FILTER: usize = 4096;

/// One field of an index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Field {
    /// Dotted, through documents and arrays.
    pub(crate) path: String,
    /// Largest first.
    pub(crate) descending: bool,
}

/// Which documents are in a partial index.
pub(crate) struct Filter {
    /// As it was written.
    pub(crate) text: String,
    pub(crate) predicate: Predicate,
}

/// What may be done with an index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Writes keep it, but documents from before are still missing: not to be read.
    Building,
    /// It holds exactly what it should.
    Ready,
    /// It could not be built, for this reason. It is empty and nobody keeps it.
    Failed(String),
}

/// What makes an index, but for where it lies.
#[derive(Clone, Debug)]
pub(crate) struct Definition {
    pub(crate) fields: Vec<Field>,
    /// No two documents have the same values in all fields, unless one is missing.
    pub(crate) unique: bool,
    /// A document that has none of the fields is left out.
    pub(crate) sparse: bool,
    /// Only documents that meet it are in the index.
    pub(crate) filter: Option<Arc<Filter>>,
}

/// An index of a store.
#[derive(Clone, Debug)]
pub(crate) struct Index {
    pub(crate) name: String,
    /// Its entries. The next number is that of its arrays: the keys of documents that
    /// have an array on the way to, or at, one of the fields.
    pub(crate) keyspace: KeyspaceId,
    /// Milliseconds since 1970.
    pub(crate) created_at: i64,
    pub(crate) definition: Definition,
    pub(crate) phase: Phase,
}

impl fmt::Debug for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Filter").field(&self.text).finish()
    }
}

impl PartialEq for Definition {
    fn eq(&self, other: &Self) -> bool {
        let text = |d: &Definition| d.filter.as_ref().map(|filter| filter.text.clone());
        (&self.fields, self.unique, self.sparse, text(self))
            == (&other.fields, other.unique, other.sparse, text(other))
    }
}

fn bad(message: impl Into<String>) -> Refusal {
    Refusal::new(Status::BadIndex, message)
}

impl Filter {
    /// Reads the text of a condition, such as `age >= 18 and not deleted = true`.
    pub(crate) fn parse(text: &str) -> Result<Filter, Refusal> {
        if text.len() > MAX_FILTER {
            let bytes = text.len();
            return Err(bad(format!(
                "the index's filter has {bytes} bytes, it may have {MAX_FILTER}: shorten it"
            )));
        }
        let whole = format!("s.filter({text})");
        let words = |why: &str| bad(format!("the index's filter {}: {why}", shown(text)));
        let query = pql::parse(&whole).map_err(|e| words(&e.to_string()))?;
        if query.parameters > 0 {
            return Err(words("it has parameters: write the values themselves"));
        }
        match bind(&query, None).map_err(|e| words(&e))? {
            Plan::Select(plan) if !query.explain && only_filters(&plan) => {
                let plan = Arc::into_inner(plan).and_then(|plan| plan.filter);
                let predicate = plan.ok_or_else(|| words("it says nothing"))?;
                Ok(Filter { text: text.to_owned(), predicate })
            }
            _ => Err(words("it must be a condition, as filter(..) takes it, and nothing more")),
        }
    }
}

fn only_filters(plan: &SelectPlan) -> bool {
    plan.lookups.is_empty()
        && plan.joined.is_none()
        && plan.shape.is_none()
        && plan.having.is_none()
        && plan.order.is_empty()
        && (plan.skip, plan.limit) == (0, None)
        && matches!(plan.output, Outcome::Rows)
}

impl Definition {
    /// What `{fields: [..], unique, sparse, filter}` asks for. A field is its path, with
    /// a `-` in front to sort downwards, or `{path, descending}`. The other fields of
    /// `doc` must be in `beside`.
    pub(crate) fn parse(doc: Doc<'_>, beside: &[&str]) -> Result<Definition, Refusal> {
        let mut found = Definition { fields: vec![], unique: false, sparse: false, filter: None };
        for (name, value) in doc {
            match (name, value) {
                ("fields", Value::Array(items)) => {
                    for item in items {
                        found.fields.push(field(item)?);
                    }
                }
                ("unique", Value::Bool(yes)) => found.unique = yes,
                ("sparse", Value::Bool(yes)) => found.sparse = yes,
                ("filter", Value::String(text)) => {
                    found.filter = Some(Arc::new(Filter::parse(text)?));
                }
                ("filter", Value::Null) => {}
                _ if beside.contains(&name) => {}
                ("fields" | "unique" | "sparse" | "filter", other) => {
                    return Err(bad(format!(
                        "{name} of an index cannot be {}: fields is an array, unique and sparse \
                         are true or false, filter is a text",
                        other.type_name()
                    )));
                }
                _ => {
                    return Err(bad(format!(
                        "an index has no {}: it has name, fields, unique, sparse and filter",
                        shown(name)
                    )));
                }
            }
        }
        found.check()?;
        Ok(found)
    }

    fn check(&self) -> Result<(), Refusal> {
        if !(1..=MAX_FIELDS).contains(&self.fields.len()) {
            return Err(bad(format!(
                "the index has {} fields: give it 1 to {MAX_FIELDS}",
                self.fields.len()
            )));
        }
        for (at, Field { path, .. }) in self.fields.iter().enumerate() {
            checked_path(path).map_err(|e| bad(e.to_string()))?;
            if path.len() > MAX_PATH {
                return Err(bad(format!(
                    "the path {} has {} bytes, it may have {MAX_PATH}",
                    shown(path),
                    path.len()
                )));
            }
            if path == KEY_FIELD {
                return Err(bad(
                    "`key` is the primary key, by which documents are ordered as it is: leave it \
                     out of the index",
                ));
            }
            if self.fields[..at].iter().any(|earlier| earlier.path == *path) {
                return Err(bad(format!("{} is twice in the index: name it once", shown(path))));
            }
        }
        Ok(())
    }

    /// The name an index gets that is given none: its fields, `a_b_desc`, as far as
    /// names allow.
    pub(crate) fn default_name(&self) -> String {
        let mut name = String::new();
        for Field { path, descending } in &self.fields {
            if !name.is_empty() {
                name.push('_');
            }
            let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
            name.extend(path.chars().map(plain));
            if *descending {
                name.push_str("_desc");
            }
        }
        if !name.starts_with(|c: char| c.is_ascii_alphabetic()) {
            name.insert_str(0, "by_");
        }
        name.truncate(crate::catalog::MAX_NAME);
        name
    }

    /// Adds `fields`, `unique`, `sparse` and `filter` to a document: what [`Self::parse`]
    /// reads as this. A field is text, `a` or `-b.c`; one whose own name begins with `-`
    /// says apart what is its path.
    pub(crate) fn describe(&self, doc: &mut DocBuf) {
        doc.array("fields", |fields| {
            for Field { path, descending } in &self.fields {
                match descending {
                    _ if path.starts_with('-') => fields.item_doc(|field| {
                        field.push("path", path).push("descending", *descending);
                    }),
                    true => fields.item(&format!("-{path}")),
                    false => fields.item(path),
                };
            }
        });
        doc.push("unique", self.unique).push("sparse", self.sparse);
        if let Some(filter) = &self.filter {
            doc.push("filter", &filter.text);
        }
    }
}

fn field(item: Value<'_>) -> Result<Field, Refusal> {
    let of = |path: &str, descending| Field { path: path.to_owned(), descending };
    match item {
        Value::String(text) => Ok(match text.strip_prefix('-') {
            Some(path) => of(path, true),
            None => of(text, false),
        }),
        Value::Doc(doc) => {
            let path = doc.get("path").and_then(|v| v.as_str());
            let descending = match doc.get("descending") {
                None => Some(false),
                Some(Value::Bool(yes)) => Some(yes),
                Some(_) => None,
            };
            let known = doc.iter().all(|(name, _)| matches!(name, "path" | "descending"));
            match (path, descending, known) {
                (Some(path), Some(descending), true) => Ok(of(path, descending)),
                _ => Err(bad("a field of an index is {path: text, descending: true or false}")),
            }
        }
        other => Err(bad(format!(
            "a field of an index is its path, such as \"a.b\" or \"-a.b\" to sort downwards, not {}",
            other.type_name()
        ))),
    }
}

impl Index {
    /// Where the keys of documents with arrays are.
    pub(crate) fn arrays(&self) -> KeyspaceId {
        KeyspaceId(self.keyspace.0 + 1)
    }

    /// Whether writes must keep it.
    pub(crate) fn is_kept(&self) -> bool {
        !matches!(self.phase, Phase::Failed(_))
    }

    /// Bytes of a field of its entries at most: longer values are cut.
    pub(crate) fn most(&self) -> usize {
        super::entry::most(self.definition.fields.len())
    }

    /// Whether it may be read.
    pub(crate) fn is_ready(&self) -> bool {
        self.phase == Phase::Ready
    }
}

impl Phase {
    /// As stored and shown.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Phase::Building => "building",
            Phase::Ready => "ready",
            Phase::Failed(_) => "failed",
        }
    }
}
