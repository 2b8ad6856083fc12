//! What `set`, `unset`, `inc`, `push` and `upsert` make of a document.
//!
//! What must stay true: all edits of a query act at once on the document as it
//! was; two that touch the same field are refused when the query is bound, before
//! any document is looked at.

use crate::pql::ast::Path;
use crate::query::number;
use proto::doc::{Change, Doc, DocBuf, Value, ValueBuf};

/// One step that edits fields, its document in place.
#[derive(Clone, Debug)]
pub enum Edit {
    /// These fields get these values.
    Set(Vec<u8>),
    /// These fields go.
    Unset(Vec<Path>),
    /// This much is added to these fields.
    Inc(Vec<u8>),
    /// These values are appended to these arrays.
    Push(Vec<u8>),
    /// As `Set`; and if nothing was chosen one document is made.
    Upsert(Vec<u8>),
}

/// The document with the edits made, or why that cannot be.
pub fn apply(edits: &[Edit], doc: Doc<'_>) -> Result<Vec<u8>, String> {
    // Values that are computed, in the order of the changes that name them.
    let mut made: Vec<(&str, ValueBuf)> = Vec::new();
    for edit in edits {
        match edit {
            Edit::Inc(fields) => {
                for (path, more) in Doc::trusted(fields).iter() {
                    let sum = match doc.path(path) {
                        None => more,
                        Some(held) if held.is_number() => {
                            number::add(held, more).map_err(|why| format!("inc {path}: {why}"))?
                        }
                        Some(other) => {
                            let kind = other.type_name();
                            return Err(format!(
                                "inc {path}: the field holds a {kind}, no number: leave such documents out with \
                                 filter(..), or set the field first"
                            ));
                        }
                    };
                    made.push((path, ValueBuf::new(sum).map_err(|e| e.to_string())?));
                }
            }
            Edit::Push(fields) => {
                for (path, item) in Doc::trusted(fields).iter() {
                    made.push((path, pushed(path, doc.path(path), item)?));
                }
            }
            Edit::Set(_) | Edit::Unset(_) | Edit::Upsert(_) => {}
        }
    }
    let mut changes = Vec::new();
    for edit in edits {
        match edit {
            Edit::Set(fields) | Edit::Upsert(fields) => {
                changes.extend(Change::sets(Doc::trusted(fields)));
            }
            Edit::Unset(paths) => changes.extend(paths.iter().map(|path| Change::Unset(&path.0))),
            Edit::Inc(_) | Edit::Push(_) => {}
        }
    }
    changes.extend(made.iter().map(|(path, value)| Change::Set(path, value.get())));
    doc.with(&changes).map_err(|e| e.to_string())
}

/// An array with one item more; a missing one is made.
fn pushed(path: &str, held: Option<Value<'_>>, item: Value<'_>) -> Result<ValueBuf, String> {
    let mut array = DocBuf::new();
    array.begin_array("");
    match held {
        None => {}
        Some(Value::Array(items)) => {
            for item in items.iter() {
                array.item(item);
            }
        }
        Some(other) => {
            let kind = other.type_name();
            return Err(format!(
                "push {path}: the field holds a {kind}, no array: leave such documents out with \
                 filter(..), or set the field first"
            ));
        }
    }
    array.item(item).end();
    let bytes = array.finish().map_err(|e| e.to_string())?;
    let value = Doc::trusted(&bytes).get("").unwrap_or(Value::Null);
    ValueBuf::new(value).map_err(|e| e.to_string())
}

/// Refuses edits that cannot be made of any document.
pub(super) fn check(edits: &[Edit]) -> Result<(), String> {
    for edit in edits {
        match edit {
            Edit::Inc(fields) => {
                if let Some((path, other)) =
                    Doc::trusted(fields).iter().find(|(_, value)| !value.is_number())
                {
                    let kind = other.type_name();
                    return Err(format!("inc {path}: takes a number, not a {kind}"));
                }
            }
            Edit::Unset(paths) if paths.iter().any(Path::is_key) => {
                return Err("unset(key): the key of a document cannot change".to_owned());
            }
            _ => {}
        }
    }
    apply(edits, Doc::empty()).map(|_| ())
}
