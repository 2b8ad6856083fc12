//! Changing fields: a new document from an old one and a list of changes.
//!
//! A field that is set keeps its place, a new one goes to the end. What no change
//! names is copied as it stands, byte for byte. All or nothing: an error leaves
//! the caller with the old document.

use super::path::index;
use super::{Array, Doc, DocBuf, DocError, Elements, Value, checked_path};
use std::collections::{BTreeMap, BTreeSet};

/// One change to a document, at a dotted path.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Change<'a> {
    /// Gives the field this value. Documents on the way that are missing are made.
    /// An array is entered by number; the number after its last item appends.
    Set(&'a str, Value<'a>),
    /// Takes the field away, if it is there. An item of an array becomes null, so
    /// that the others keep their places.
    Unset(&'a str),
}

impl<'a> Change<'a> {
    /// The changes `set({..})` asks for: each field's name is a dotted path.
    pub fn sets(doc: Doc<'a>) -> Vec<Change<'a>> {
        doc.iter().map(|(path, value)| Change::Set(path, value)).collect()
    }

    /// The dotted path.
    pub fn path(&self) -> &'a str {
        match self {
            Change::Set(path, _) | Change::Unset(path) => path,
        }
    }
}

impl Doc<'_> {
    /// The document with the changes made. Errors: a path that is not one, two
    /// changes of which one lies in the other, a path through a value that is
    /// neither document nor array, an array index out of reach, too deep.
    pub fn with(&self, changes: &[Change<'_>]) -> Result<Vec<u8>, DocError> {
        refuse_conflicts(changes)?;
        let pending = changes
            .iter()
            .map(|change| Pending {
                path: change.path(),
                at: 0,
                value: match change {
                    Change::Set(_, value) => Some(*value),
                    Change::Unset(_) => None,
                },
            })
            .collect();
        let mut out = DocBuf::with_capacity(self.as_bytes().len() + 64);
        document(self, pending, &mut out)?;
        out.finish()
    }
}

/// A change, and how far down its path it has come.
#[derive(Clone, Copy)]
struct Pending<'a> {
    path: &'a str,
    /// Where the component to look at starts.
    at: usize,
    /// To set, or `None` to unset.
    value: Option<Value<'a>>,
}

/// What the changes say of one field.
struct Group<'a> {
    /// Groups that match no field are added in the order they were asked for.
    order: usize,
    here: Here<'a>,
}

enum Here<'a> {
    Set(Value<'a>),
    Unset,
    Within(Vec<Pending<'a>>),
}

fn refuse_conflicts(changes: &[Change<'_>]) -> Result<(), DocError> {
    let mut paths = BTreeSet::new();
    for change in changes {
        checked_path(change.path())?;
        if !paths.insert(change.path()) {
            return fault(change.path(), "it is changed twice at once".to_owned());
        }
    }
    for path in &paths {
        for (dot, _) in path.match_indices('.') {
            if paths.contains(&path[..dot]) {
                let why = format!("{:?} is changed at the same time; change one", &path[..dot]);
                return fault(path, why);
            }
        }
    }
    Ok(())
}

fn fault<T>(path: &str, why: String) -> Result<T, DocError> {
    Err(DocError::Path { path: path.to_owned(), why })
}

/// Sorts changes by the component each has come to.
fn group(pending: Vec<Pending<'_>>) -> BTreeMap<&str, Group<'_>> {
    let mut groups: BTreeMap<&str, Group<'_>> = BTreeMap::new();
    for (order, mut change) in pending.into_iter().enumerate() {
        let rest = &change.path[change.at..];
        let Some(dot) = rest.find('.') else {
            let here = change.value.map_or(Here::Unset, Here::Set);
            groups.insert(rest, Group { order, here });
            continue;
        };
        change.at += dot + 1;
        let group = groups
            .entry(&rest[..dot])
            .or_insert_with(|| Group { order, here: Here::Within(Vec::new()) });
        // No other kind can be here: refuse_conflicts saw all paths.
        if let Here::Within(list) = &mut group.here {
            list.push(change);
        }
    }
    groups
}

fn document(doc: &Doc<'_>, pending: Vec<Pending<'_>>, out: &mut DocBuf) -> Result<(), DocError> {
    let mut groups = group(pending);
    let mut elements = Elements::of(doc.as_bytes());
    for element in elements.by_ref() {
        let name = utf8(element.name)?;
        match groups.remove(name).map(|group| group.here) {
            None => out.raw(element.tag, Some(name), element.body),
            Some(Here::Set(value)) => out.value(Some(name), value),
            Some(Here::Unset) => {}
            Some(Here::Within(list)) => within(element.value(), Some(name), list, out)?,
        }
    }
    whole(&elements)?;
    let mut added: Vec<_> = groups.into_iter().collect();
    added.sort_by_key(|(_, group)| group.order);
    for (name, group) in added {
        match group.here {
            Here::Set(value) => out.value(Some(name), value),
            Here::Unset => {}
            Here::Within(list) => missing(Some(name), list, out)?,
        }
    }
    Ok(())
}

fn array(array: &Array<'_>, pending: Vec<Pending<'_>>, out: &mut DocBuf) -> Result<(), DocError> {
    let mut by_index = BTreeMap::new();
    // For messages: the path that sets each item.
    let mut paths = BTreeMap::new();
    for change in pending.iter().filter(|change| change.value.is_some()) {
        let component = change.path[change.at..].split('.').next().unwrap_or_default();
        let Some(index) = index(component) else {
            let why = format!("{component:?} is not the number of an array item");
            return fault(change.path, why);
        };
        paths.insert(index, change.path);
    }
    for (component, group) in group(pending) {
        if let Some(index) = index(component) {
            by_index.insert(index, group.here);
        }
    }
    let mut elements = Elements::of(array.as_bytes());
    let mut length = 0;
    for element in elements.by_ref() {
        match by_index.remove(&length) {
            None => out.raw(element.tag, None, element.body),
            Some(Here::Set(value)) => out.value(None, value),
            Some(Here::Unset) => out.value(None, Value::Null),
            Some(Here::Within(list)) => within(element.value(), None, list, out)?,
        }
        length += 1;
    }
    whole(&elements)?;
    for (index, here) in by_index {
        // Only unset: there is nothing to take away.
        let Some(path) = paths.get(&index) else { continue };
        if index != length {
            let why = format!("the array has {length} items; the next to set is {length}");
            return fault(path, why);
        }
        match here {
            Here::Set(value) => out.value(None, value),
            Here::Within(list) => missing(None, list, out)?,
            Here::Unset => {}
        }
        length += 1;
    }
    Ok(())
}

/// Changes inside a value that is there.
fn within(
    value: Option<Value<'_>>,
    name: Option<&str>,
    pending: Vec<Pending<'_>>,
    out: &mut DocBuf,
) -> Result<(), DocError> {
    match value {
        Some(Value::Doc(inner)) => {
            out.begin(name, false);
            document(&inner, pending, out)?;
            out.end();
        }
        Some(Value::Array(inner)) => {
            out.begin(name, true);
            array(&inner, pending, out)?;
            out.end();
        }
        Some(other) => {
            if let Some(change) = pending.iter().find(|change| change.value.is_some()) {
                let before = &change.path[..change.at.saturating_sub(1)];
                let kind = other.type_name();
                return fault(
                    change.path,
                    format!("{before:?} is of type {kind}, neither a document nor an array"),
                );
            }
            out.value(name, other);
        }
        None => return Err(torn()),
    }
    Ok(())
}

/// Changes inside a document that is not there: made, if one of them sets.
fn missing(
    name: Option<&str>,
    pending: Vec<Pending<'_>>,
    out: &mut DocBuf,
) -> Result<(), DocError> {
    if pending.iter().any(|change| change.value.is_some()) {
        out.begin(name, false);
        document(&Doc::empty(), pending, out)?;
        out.end();
    }
    Ok(())
}

fn utf8(name: &[u8]) -> Result<&str, DocError> {
    std::str::from_utf8(name).map_err(|_| torn())
}

/// An early end means malformed bytes behind `trusted`: copying on would lose fields.
fn whole(elements: &Elements<'_>) -> Result<(), DocError> {
    if elements.complete() { Ok(()) } else { Err(torn()) }
}

fn torn() -> DocError {
    DocError::Malformed { offset: 0, what: "the document to change is damaged" }
}
