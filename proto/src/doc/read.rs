//! Reading in place. Nothing here trusts a length: on malformed bytes (which only
//! [`Doc::trusted`] lets in) a field is not found and an iteration ends early.

use super::value::{Binary, ObjectId, Regex, Value, tag};
use super::{Decimal128, DocError, EMPTY, check};

/// A document, borrowed. Two are `==` when their bytes are.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Doc<'a> {
    bytes: &'a [u8],
}

/// An array, borrowed: a document whose names are "0", "1" and so on.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Array<'a> {
    bytes: &'a [u8],
}

impl<'a> Doc<'a> {
    /// Checks everything once: lengths, terminators, UTF-8, types, depth, names
    /// given twice, names of array items, bytes left over.
    pub fn parse(bytes: &'a [u8]) -> Result<Doc<'a>, DocError> {
        check::document(bytes)?;
        Ok(Doc { bytes })
    }

    /// Takes bytes that passed [`Doc::parse`] before, say when they were stored.
    pub fn trusted(bytes: &'a [u8]) -> Doc<'a> {
        Doc { bytes }
    }

    /// The document without fields.
    pub fn empty() -> Doc<'static> {
        Doc { bytes: &EMPTY }
    }

    /// The field of this very name (a dot in it is a dot of the name).
    pub fn get(&self, name: &str) -> Option<Value<'a>> {
        self.find(name.as_bytes())?.value()
    }

    /// Whether the field is there, null or not.
    pub fn contains(&self, name: &str) -> bool {
        self.find(name.as_bytes()).is_some()
    }

    fn find(&self, name: &[u8]) -> Option<Element<'a>> {
        Elements::of(self.bytes).find(|e| e.name == name)
    }

    /// The fields in their order.
    pub fn iter(&self) -> Fields<'a> {
        Fields(Elements::of(self.bytes))
    }

    /// The BSON.
    pub fn as_bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// How many fields it has, counted by walking them.
    pub fn len(&self) -> usize {
        Elements::of(self.bytes).count()
    }

    /// Whether it has no field.
    pub fn is_empty(&self) -> bool {
        Elements::of(self.bytes).next().is_none()
    }
}

impl<'a> IntoIterator for Doc<'a> {
    type Item = (&'a str, Value<'a>);
    type IntoIter = Fields<'a>;
    fn into_iter(self) -> Fields<'a> {
        self.iter()
    }
}

impl<'a> Array<'a> {
    /// Takes the bytes of an array that passed a check before.
    pub fn trusted(bytes: &'a [u8]) -> Array<'a> {
        Array { bytes }
    }

    /// The item at `index`, found by walking.
    pub fn get(&self, index: usize) -> Option<Value<'a>> {
        Elements::of(self.bytes).nth(index)?.value()
    }

    /// The items in their order.
    pub fn iter(&self) -> Items<'a> {
        Items(Elements::of(self.bytes))
    }

    /// The BSON: a document named by numbers.
    pub fn as_bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// How many items it has, counted by walking them.
    pub fn len(&self) -> usize {
        Elements::of(self.bytes).count()
    }

    /// Whether it has no item.
    pub fn is_empty(&self) -> bool {
        Elements::of(self.bytes).next().is_none()
    }
}

impl<'a> IntoIterator for Array<'a> {
    type Item = Value<'a>;
    type IntoIter = Items<'a>;
    fn into_iter(self) -> Items<'a> {
        self.iter()
    }
}

impl std::fmt::Debug for Doc<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

impl std::fmt::Debug for Array<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// Names and values of a document, in order.
#[derive(Clone)]
pub struct Fields<'a>(Elements<'a>);

impl<'a> Iterator for Fields<'a> {
    type Item = (&'a str, Value<'a>);
    fn next(&mut self) -> Option<Self::Item> {
        let element = self.0.next()?;
        Some((std::str::from_utf8(element.name).ok()?, element.value()?))
    }
}

/// Values of an array, in order.
#[derive(Clone)]
pub struct Items<'a>(Elements<'a>);

impl<'a> Iterator for Items<'a> {
    type Item = Value<'a>;
    fn next(&mut self) -> Option<Self::Item> {
        self.0.next()?.value()
    }
}

/// An element's header, with its body not yet looked at.
#[derive(Clone, Copy)]
pub(crate) struct Element<'a> {
    pub(crate) tag: u8,
    pub(crate) name: &'a [u8],
    pub(crate) body: &'a [u8],
}

impl<'a> Element<'a> {
    /// Decodes the body; `None` if it is malformed.
    pub(crate) fn value(&self) -> Option<Value<'a>> {
        let body = self.body;
        Some(match self.tag {
            tag::DOUBLE => Value::Double(f64::from_le_bytes(body.try_into().ok()?)),
            tag::STRING => {
                let text = body.get(4..body.len().checked_sub(1)?)?;
                Value::String(std::str::from_utf8(text).ok()?)
            }
            tag::DOC => Value::Doc(Doc { bytes: body }),
            tag::ARRAY => Value::Array(Array { bytes: body }),
            tag::BINARY => Value::Binary(Binary { subtype: *body.get(4)?, bytes: body.get(5..)? }),
            tag::OBJECT_ID => Value::ObjectId(ObjectId(body.try_into().ok()?)),
            tag::BOOL => Value::Bool(*body.first()? != 0),
            tag::DATE_TIME => Value::DateTime(i64::from_le_bytes(body.try_into().ok()?)),
            tag::NULL => Value::Null,
            tag::REGEX => {
                let split = cstring(body)?;
                let options = body.get(split + 1..body.len().checked_sub(1)?)?;
                Value::Regex(Regex {
                    pattern: std::str::from_utf8(&body[..split]).ok()?,
                    options: std::str::from_utf8(options).ok()?,
                })
            }
            tag::INT32 => Value::Int32(i32::from_le_bytes(body.try_into().ok()?)),
            tag::TIMESTAMP => Value::Timestamp(u64::from_le_bytes(body.try_into().ok()?)),
            tag::INT64 => Value::Int64(i64::from_le_bytes(body.try_into().ok()?)),
            tag::DECIMAL128 => Value::Decimal128(Decimal128::from_bytes(body.try_into().ok()?)),
            tag::MIN_KEY => Value::MinKey,
            tag::MAX_KEY => Value::MaxKey,
            _ => return None,
        })
    }
}

/// Walks the headers of a document's elements.
#[derive(Clone)]
pub(crate) struct Elements<'a> {
    rest: &'a [u8],
}

impl<'a> Elements<'a> {
    /// The elements of a whole document: the length in front is skipped.
    pub(crate) fn of(document: &'a [u8]) -> Elements<'a> {
        Elements { rest: document.get(4..).unwrap_or(&[]) }
    }

    /// Whether the walk ended where the document does, not at a fault in it.
    pub(crate) fn complete(&self) -> bool {
        self.rest == [0]
    }
}

impl<'a> Iterator for Elements<'a> {
    type Item = Element<'a>;

    fn next(&mut self) -> Option<Element<'a>> {
        let (&tag, after) = self.rest.split_first()?;
        if tag == 0 {
            return None;
        }
        let end = cstring(after)?;
        let (name, from_body) = (&after[..end], &after[end + 1..]);
        let (body, rest) = from_body.split_at_checked(body_len(tag, from_body)?)?;
        self.rest = rest;
        Some(Element { tag, name, body })
    }
}

/// Where the NUL is that ends the C string `bytes` starts with.
pub(super) fn cstring(bytes: &[u8]) -> Option<usize> {
    bytes.iter().position(|&b| b == 0)
}

/// How long the body of an element is, by its type and its first bytes; it may be
/// longer than what is there. `None`: no such type, or a length that cannot be.
pub(super) fn body_len(tag: u8, bytes: &[u8]) -> Option<usize> {
    // A length in front of `more` bytes, at least `least`.
    let prefixed = |least: usize, more: usize| {
        let n = i32::from_le_bytes(*bytes.first_chunk()?);
        let n = usize::try_from(n).ok().filter(|&n| n >= least)?;
        n.checked_add(more)
    };
    Some(match tag {
        tag::DOUBLE | tag::DATE_TIME | tag::TIMESTAMP | tag::INT64 => 8,
        tag::STRING => prefixed(1, 4)?,
        tag::DOC | tag::ARRAY => prefixed(5, 0)?,
        tag::BINARY => prefixed(0, 5)?,
        tag::OBJECT_ID => 12,
        tag::BOOL => 1,
        tag::NULL | tag::MIN_KEY | tag::MAX_KEY => 0,
        tag::REGEX => {
            let pattern = cstring(bytes)? + 1;
            pattern + cstring(&bytes[pattern..])? + 1
        }
        tag::INT32 => 4,
        tag::DECIMAL128 => 16,
        _ => return None,
    })
}
