//! Dotted paths: `items.0.price`.
//!
//! A component names a field of a document, or by its number an item of an array.
//! [`Doc::path`] gives the one value a path names. [`Doc::visit`] also walks
//! through arrays: with `items` an array of documents, `items.price` names the
//! price of each, which is what a query and a multikey index mean.
//!
//! What must stay true: a visit costs at most the values of the document times the
//! components of the path, whatever both are. A number names an item of an array and a
//! field of the documents in it alike, so with several numbers one value may be reached
//! in many ways: such paths are walked with all their places at once, each value once.

use super::{Doc, DocError, MAX_DEPTH, Value};
use std::ops::ControlFlow;

/// What a visit does with an array at the end of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrays {
    /// The array is one value.
    Whole,
    /// Each of its items is a value, and it is none itself; an empty array yields
    /// nothing. Arrays directly inside it are values. For multikey indexes.
    Items,
    /// Each of its items is a value, then it itself. For `tags = "x"` in a query.
    Both,
}

impl<'a> Doc<'a> {
    /// The value at a dotted path; an array is entered by number only.
    pub fn path(&self, path: &str) -> Option<Value<'a>> {
        let mut components = path.split('.');
        let mut value = self.get(components.next()?)?;
        for component in components {
            value = step(value, component)?;
        }
        Some(value)
    }

    /// Calls `see` with each value the path names, in document order, until it
    /// breaks. Never called: the field is missing. Items of an array that lack the
    /// rest of the path are passed over.
    pub fn visit(
        &self,
        path: &str,
        arrays: Arrays,
        see: &mut dyn FnMut(Value<'a>) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        // With one number there is at most one way to each value.
        let numbers = path.split('.').filter(|component| index(component).is_some()).count();
        if numbers > 1 {
            return Places::visit(*self, path, arrays, see);
        }
        let (first, rest) = split(path);
        match self.get(first) {
            Some(value) => walk(value, rest, arrays, 0, see),
            None => ControlFlow::Continue(()),
        }
    }

    /// All values [`Doc::visit`] would see.
    pub fn path_all(&self, path: &str, arrays: Arrays) -> Vec<Value<'a>> {
        let mut all = Vec::new();
        let end = self.visit(path, arrays, &mut |value| {
            all.push(value);
            ControlFlow::Continue(())
        });
        debug_assert!(end.is_continue(), "the closure never breaks");
        all
    }
}

/// Checks that a path has no empty component, no NUL, and is not too deep.
pub fn checked_path(path: &str) -> Result<(), DocError> {
    let why = if path.is_empty() {
        "it is empty; name a field"
    } else if path.split('.').any(str::is_empty) {
        "it has an empty part; write it like a.b.c"
    } else if path.contains('\0') {
        "it holds a NUL character"
    } else if path.split('.').count() > MAX_DEPTH {
        "it is deeper than any document"
    } else {
        return Ok(());
    };
    Err(DocError::Path { path: path.to_owned(), why: why.to_owned() })
}

fn split(path: &str) -> (&str, Option<&str>) {
    match path.split_once('.') {
        Some((first, rest)) => (first, Some(rest)),
        None => (path, None),
    }
}

/// An array index as a path writes it: digits, no leading zero.
pub(super) fn index(component: &str) -> Option<usize> {
    let digits = component.bytes().all(|b| b.is_ascii_digit());
    let canonical = component == "0" || !component.starts_with('0');
    if digits && canonical { component.parse().ok() } else { None }
}

fn step<'a>(value: Value<'a>, component: &str) -> Option<Value<'a>> {
    match value {
        Value::Doc(doc) => doc.get(component),
        Value::Array(array) => array.get(index(component)?),
        _ => None,
    }
}

/// Walks `rest` from `value`. The depth bounds the recursion on trusted bytes.
fn walk<'a>(
    value: Value<'a>,
    rest: Option<&str>,
    arrays: Arrays,
    depth: usize,
    see: &mut dyn FnMut(Value<'a>) -> ControlFlow<()>,
) -> ControlFlow<()> {
    let Some(path) = rest else {
        if let (Value::Array(array), Arrays::Items | Arrays::Both) = (value, arrays) {
            array.iter().try_for_each(&mut *see)?;
            if arrays == Arrays::Items {
                return ControlFlow::Continue(());
            }
        }
        return see(value);
    };
    if depth > MAX_DEPTH {
        return ControlFlow::Continue(());
    }
    let (first, rest) = split(path);
    match value {
        Value::Doc(doc) => match doc.get(first) {
            Some(value) => walk(value, rest, arrays, depth + 1, see),
            None => ControlFlow::Continue(()),
        },
        Value::Array(array) => {
            if let Some(value) = index(first).and_then(|n| array.get(n)) {
                walk(value, rest, arrays, depth + 1, see)?;
            }
            // Documents in it; an array directly in an array is entered by number only.
            array
                .iter()
                .filter(|item| matches!(item, Value::Doc(_)))
                .try_for_each(|item| walk(item, Some(path), arrays, depth + 1, see))
        }
        _ => ControlFlow::Continue(()),
    }
}

/// A walk with a set of places in the path at each value: bit `n` says that component
/// `n` and those behind it are still to be found from there.
struct Places<'p> {
    components: Vec<&'p str>,
    /// Each as an array's index.
    numbers: Vec<Option<usize>>,
    arrays: Arrays,
}

/// More components than any document has values inside each other, and than bits.
const MAX_PLACES: usize = 127;
const _: () = assert!(MAX_DEPTH < MAX_PLACES, "a path into the deepest document has its bits");

impl Places<'_> {
    fn visit<'a>(
        doc: Doc<'a>,
        path: &str,
        arrays: Arrays,
        see: &mut dyn FnMut(Value<'a>) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        let components: Vec<&str> = path.split('.').take(MAX_PLACES + 1).collect();
        if components.len() > MAX_PLACES {
            return ControlFlow::Continue(());
        }
        let numbers = components.iter().map(|component| index(component)).collect();
        Places { components, numbers, arrays }.walk(Value::Doc(doc), 1, 0, see)
    }

    /// The places that a set holds, but for the end of the path.
    fn each(&self, places: u128) -> impl Iterator<Item = usize> {
        (0..self.components.len()).filter(move |place| places >> place & 1 == 1)
    }

    /// Each value inside `value` is looked at once, each of `places` once there. The
    /// depth bounds the recursion on trusted bytes.
    fn walk<'a>(
        &self,
        value: Value<'a>,
        places: u128,
        depth: usize,
        see: &mut dyn FnMut(Value<'a>) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        let end = 1 << self.components.len();
        if places & end != 0 {
            let items = self.arrays != Arrays::Whole;
            match value {
                Value::Array(array) if items => {
                    array.iter().try_for_each(&mut *see)?;
                    if self.arrays == Arrays::Both {
                        see(value)?;
                    }
                }
                _ => see(value)?,
            }
        }
        let places = places & !end;
        if places == 0 || depth > MAX_DEPTH {
            return ControlFlow::Continue(());
        }
        match value {
            Value::Doc(doc) => {
                let mut left = places;
                while let Some(first) = self.each(left).next() {
                    // All places that name the same field go on together.
                    let name = self.components[first];
                    let same = self
                        .each(left)
                        .filter(|place| self.components[*place] == name)
                        .fold(0u128, |same, place| same | 1 << place);
                    left &= !same;
                    if let Some(value) = doc.get(name) {
                        self.walk(value, same << 1, depth + 1, see)?;
                    }
                }
                ControlFlow::Continue(())
            }
            Value::Array(array) => {
                for (number, item) in array.iter().enumerate() {
                    let named = self
                        .each(places)
                        .filter(|place| self.numbers[*place] == Some(number))
                        .fold(0u128, |named, place| named | 1 << (place + 1));
                    // An array directly in an array is entered by number only.
                    let through = if matches!(item, Value::Doc(_)) { places } else { 0 };
                    if named | through != 0 {
                        self.walk(item, named | through, depth + 1, see)?;
                    }
                }
                ControlFlow::Continue(())
            }
            _ => ControlFlow::Continue(()),
        }
    }
}
