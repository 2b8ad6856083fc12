//! Building a document, front to back, into one buffer.
//!
//! Pushing never fails at once: the first fault is kept and [`DocBuf::finish`]
//! returns it, so that building reads straight. What `finish` returns passed
//! [`Doc::parse`].

use super::check::ItemName;
use super::{Doc, DocError, Value, tag};

/// A document being built.
///
/// ```
/// use proto::doc::{Doc, DocBuf};
/// let mut doc = DocBuf::new();
/// doc.push("name", "Ada").push("born", 1815);
/// doc.array("tags", |tags| {
///     tags.item("math").item("engines");
/// });
/// let bytes = doc.finish()?;
/// assert_eq!(Doc::parse(&bytes)?.path("tags.1").and_then(|v| v.as_str()), Some("engines"));
/// # Ok::<(), proto::doc::DocError>(())
/// ```
pub struct DocBuf {
    bytes: Vec<u8>,
    /// What is open, the outermost first; never empty.
    open: Vec<Frame>,
    fault: Option<DocError>,
}

/// A document or array whose end is not written yet.
struct Frame {
    /// Where its length goes.
    start: usize,
    /// The names of its items, if it is an array.
    items: Option<ItemName>,
}

impl Default for DocBuf {
    fn default() -> DocBuf {
        DocBuf::new()
    }
}

impl DocBuf {
    /// An empty document.
    pub fn new() -> DocBuf {
        DocBuf::with_capacity(64)
    }

    /// An empty document with room for so many bytes.
    pub fn with_capacity(bytes: usize) -> DocBuf {
        DocBuf::within(Vec::with_capacity(bytes))
    }

    /// Builds in a buffer that was used before; its contents are dropped.
    pub fn within(mut bytes: Vec<u8>) -> DocBuf {
        bytes.clear();
        bytes.extend_from_slice(&[0; 4]);
        DocBuf { bytes, open: vec![Frame { start: 0, items: None }], fault: None }
    }

    /// Adds a field to the open document.
    pub fn push<'v>(&mut self, name: &str, value: impl Into<Value<'v>>) -> &mut DocBuf {
        self.value(Some(name), value.into());
        self
    }

    /// Adds an item to the open array.
    pub fn item<'v>(&mut self, value: impl Into<Value<'v>>) -> &mut DocBuf {
        self.value(None, value.into());
        self
    }

    /// Adds a document as a field, filled by `fill`.
    pub fn doc(&mut self, name: &str, fill: impl FnOnce(&mut DocBuf)) -> &mut DocBuf {
        self.nested(Some(name), false, fill)
    }

    /// Adds an array as a field, filled by `fill`.
    pub fn array(&mut self, name: &str, fill: impl FnOnce(&mut DocBuf)) -> &mut DocBuf {
        self.nested(Some(name), true, fill)
    }

    /// Adds a document as an item of the open array, filled by `fill`.
    pub fn item_doc(&mut self, fill: impl FnOnce(&mut DocBuf)) -> &mut DocBuf {
        self.nested(None, false, fill)
    }

    /// Adds an array as an item of the open array, filled by `fill`.
    pub fn item_array(&mut self, fill: impl FnOnce(&mut DocBuf)) -> &mut DocBuf {
        self.nested(None, true, fill)
    }

    /// Opens a document as a field; [`DocBuf::end`] closes it.
    pub fn begin_doc(&mut self, name: &str) -> &mut DocBuf {
        self.begin(Some(name), false);
        self
    }

    /// Opens an array as a field; [`DocBuf::end`] closes it.
    pub fn begin_array(&mut self, name: &str) -> &mut DocBuf {
        self.begin(Some(name), true);
        self
    }

    /// Opens a document as an item of the open array; [`DocBuf::end`] closes it.
    pub fn begin_item_doc(&mut self) -> &mut DocBuf {
        self.begin(None, false);
        self
    }

    /// Opens an array as an item of the open array; [`DocBuf::end`] closes it.
    pub fn begin_item_array(&mut self) -> &mut DocBuf {
        self.begin(None, true);
        self
    }

    /// Closes what was opened last.
    pub fn end(&mut self) -> &mut DocBuf {
        if self.open.len() > 1 {
            self.close();
        } else {
            self.fail(DocError::Misuse("end() without begin"));
        }
        self
    }

    /// How many bytes are written so far.
    pub fn size(&self) -> usize {
        self.bytes.len()
    }

    /// The first fault so far, which [`DocBuf::finish`] will return.
    pub fn fault(&self) -> Option<&DocError> {
        self.fault.as_ref()
    }

    /// The document. Errors: a name given twice, a NUL in a name or a regular
    /// expression, too deep, too large, a value that was malformed, unbalanced
    /// begins and ends.
    pub fn finish(mut self) -> Result<Vec<u8>, DocError> {
        if self.open.len() > 1 {
            self.fail(DocError::Misuse("finish() with a document still open"));
        }
        while !self.open.is_empty() {
            self.close();
        }
        match self.fault {
            Some(fault) => Err(fault),
            None => {
                Doc::parse(&self.bytes)?;
                Ok(self.bytes)
            }
        }
    }

    /// As [`DocBuf::finish`], unchecked: for who has pushed no document, array or fault,
    /// and each name once. Rows are made by the million.
    ///
    /// # Errors
    /// Faults of pushing; what was pushed is not looked at again.
    pub fn finish_flat(mut self) -> Result<Vec<u8>, DocError> {
        while !self.open.is_empty() {
            self.close();
        }
        match self.fault {
            Some(fault) => Err(fault),
            None => {
                debug_assert!(Doc::parse(&self.bytes).is_ok(), "each name once, nothing nested");
                Ok(self.bytes)
            }
        }
    }

    fn nested(
        &mut self,
        name: Option<&str>,
        array: bool,
        fill: impl FnOnce(&mut DocBuf),
    ) -> &mut DocBuf {
        let opened = self.begin(name, array);
        fill(self);
        if self.open.len() != opened {
            self.fail(DocError::Misuse("a closure left its begins and ends unbalanced"));
        }
        while self.open.len() >= opened && opened > 1 {
            self.close();
        }
        self
    }

    /// Opens a document or array; returns how many are open with it.
    pub(crate) fn begin(&mut self, name: Option<&str>, array: bool) -> usize {
        self.header(if array { tag::ARRAY } else { tag::DOC }, name);
        let items = array.then(ItemName::new);
        self.open.push(Frame { start: self.bytes.len(), items });
        self.bytes.extend_from_slice(&[0; 4]);
        self.open.len()
    }

    fn close(&mut self) {
        let Some(frame) = self.open.pop() else { return };
        self.bytes.push(0);
        let length = self.bytes.len() - frame.start;
        match i32::try_from(length) {
            Ok(n) => self.bytes[frame.start..frame.start + 4].copy_from_slice(&n.to_le_bytes()),
            Err(_) => self.fail(DocError::TooLarge { bytes: length }),
        }
    }

    /// Writes type and name; `None` names the next item of an array.
    fn header(&mut self, tag: u8, name: Option<&str>) {
        self.bytes.push(tag);
        match (self.open.last_mut().and_then(|f| f.items.as_mut()), name) {
            (Some(items), None) => self.bytes.extend_from_slice(items.next()),
            (None, Some(name)) => {
                self.bytes.extend_from_slice(name.as_bytes());
                if name.contains('\0') {
                    self.fail(DocError::Nul { text: name.to_owned() });
                }
            }
            (Some(_), Some(_)) => self.fail(DocError::Misuse("a named field in an array")),
            (None, None) => self.fail(DocError::Misuse("an item outside an array")),
        }
        self.bytes.push(0);
    }

    /// Adds a value as a field, or without a name as an item.
    pub(crate) fn value(&mut self, name: Option<&str>, value: Value<'_>) {
        self.header(value.tag(), name);
        match value {
            Value::MinKey | Value::MaxKey | Value::Null => {}
            Value::Int32(n) => self.bytes.extend_from_slice(&n.to_le_bytes()),
            Value::Int64(n) | Value::DateTime(n) => self.bytes.extend_from_slice(&n.to_le_bytes()),
            Value::Double(d) => self.bytes.extend_from_slice(&d.to_le_bytes()),
            Value::Decimal128(d) => self.bytes.extend_from_slice(&d.to_bytes()),
            Value::Timestamp(t) => self.bytes.extend_from_slice(&t.to_le_bytes()),
            Value::Bool(b) => self.bytes.push(u8::from(b)),
            Value::ObjectId(id) => self.bytes.extend_from_slice(&id.0),
            Value::Doc(doc) => self.bytes.extend_from_slice(doc.as_bytes()),
            Value::Array(array) => self.bytes.extend_from_slice(array.as_bytes()),
            Value::String(text) => {
                self.length(text.len() + 1);
                self.bytes.extend_from_slice(text.as_bytes());
                self.bytes.push(0);
            }
            Value::Binary(binary) => {
                self.length(binary.bytes.len());
                self.bytes.push(binary.subtype);
                self.bytes.extend_from_slice(binary.bytes);
            }
            Value::Regex(regex) => {
                for text in [regex.pattern, regex.options] {
                    if text.contains('\0') {
                        self.fail(DocError::Nul { text: text.to_owned() });
                    }
                    self.bytes.extend_from_slice(text.as_bytes());
                    self.bytes.push(0);
                }
            }
        }
    }

    /// Copies an element as it stands under a name, its body undecoded.
    pub(super) fn raw(&mut self, tag: u8, name: Option<&str>, body: &[u8]) {
        self.header(tag, name);
        self.bytes.extend_from_slice(body);
    }

    fn length(&mut self, bytes: usize) {
        match i32::try_from(bytes) {
            Ok(n) => self.bytes.extend_from_slice(&n.to_le_bytes()),
            Err(_) => self.fail(DocError::TooLarge { bytes }),
        }
    }

    /// Keeps the first fault.
    pub(crate) fn fail(&mut self, fault: DocError) {
        self.fault.get_or_insert(fault);
    }
}

impl<'v> Extend<(&'v str, Value<'v>)> for DocBuf {
    /// Adds many fields to the open document.
    fn extend<I: IntoIterator<Item = (&'v str, Value<'v>)>>(&mut self, fields: I) {
        for (name, value) in fields {
            self.value(Some(name), value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flat_document_is_finished_as_any_other() {
        let fill = |doc: &mut DocBuf| {
            doc.push("a", 1).push("b", i64::MAX).push("c", 0.5).push("", "text \0 too");
            doc.push("d", true).push("e", Value::Null).push("f", Value::DateTime(7));
        };
        let (mut one, mut other) = (DocBuf::new(), DocBuf::within(vec![7; 100]));
        fill(&mut one);
        fill(&mut other);
        assert_eq!(one.finish(), other.finish_flat());
        assert_eq!(DocBuf::new().finish_flat(), DocBuf::new().finish());
        // Faults are told as ever.
        let mut faulty = DocBuf::new();
        faulty.push("a\0b", 1);
        assert!(matches!(faulty.finish_flat(), Err(DocError::Nul { .. })));
        let mut faulty = DocBuf::new();
        faulty.push("a", 1).item(2);
        assert!(matches!(faulty.finish_flat(), Err(DocError::Misuse(_))));
    }
}
