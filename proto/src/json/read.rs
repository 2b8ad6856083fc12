//! JSON text to BSON, in one pass, with a place for each error.

use super::JsonError;
use super::extended::is_wrapper;
use crate::doc::{Decimal128, DocBuf, DocError, MAX_DEPTH, Value, ValueBuf};
use std::borrow::Cow;
use std::collections::BTreeSet;

/// What a document read from JSON may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of BSON of one document.
    pub max_bytes: usize,
    /// Documents and arrays inside each other, at most [`MAX_DEPTH`].
    pub max_depth: usize,
}

impl Default for Limits {
    /// 16 MiB, as deep as documents go.
    fn default() -> Limits {
        Limits { max_bytes: 16 << 20, max_depth: MAX_DEPTH }
    }
}

/// Reads text that is one object; gives its BSON.
pub fn parse_json(text: &str) -> Result<Vec<u8>, JsonError> {
    parse_json_with(text, Limits::default())
}

/// Reads text that is one object, within limits.
pub fn parse_json_with(text: &str, limits: Limits) -> Result<Vec<u8>, JsonError> {
    let mut reader = Reader::new(text, limits);
    let doc = reader.document()?;
    reader.end()?;
    Ok(doc)
}

/// Reads text that is one value of any type, such as a parameter of a query.
pub fn parse_json_value(text: &str, limits: Limits) -> Result<ValueBuf, JsonError> {
    let mut reader = Reader::new(text, limits);
    let mut out = DocBuf::new();
    reader.value(Some(""), &mut out, 1)?;
    reader.end()?;
    Ok(ValueBuf::from_only_field(reader.finish(out, 0)?))
}

/// The text and how far it is read.
pub(super) struct Reader<'t> {
    pub(super) text: &'t str,
    pub(super) at: usize,
    limits: Limits,
}

impl<'t> Reader<'t> {
    pub(super) fn new(text: &'t str, limits: Limits) -> Reader<'t> {
        // A byte order mark says nothing of UTF-8, yet some editors write it.
        let at = if text.starts_with('\u{feff}') { '\u{feff}'.len_utf8() } else { 0 };
        Reader { text, at, limits }
    }

    pub(super) fn document(&mut self) -> Result<Vec<u8>, JsonError> {
        self.space();
        let start = self.at;
        if self.peek() != Some(b'{') {
            return self.fail(format!("expected an object, {{...}}, found {}", self.found()));
        }
        let mut out = DocBuf::new();
        self.at += 1;
        self.depth(1, start)?;
        self.fields(None, &mut out, 1)?;
        self.finish(out, start)
    }

    fn finish(&self, out: DocBuf, start: usize) -> Result<Vec<u8>, JsonError> {
        // All that can be wrong was found on the way, with a better place.
        out.finish().map_err(|e: DocError| JsonError::at(self.text, start, e.to_string()))
    }

    pub(super) fn end(&mut self) -> Result<(), JsonError> {
        self.space();
        match self.peek() {
            None => Ok(()),
            Some(_) => self.fail(format!("expected the end, found {}", self.found())),
        }
    }

    /// Reads a value into `out` as a field, or without a name as an item. `depth` is
    /// how deep a document would be that starts here.
    pub(super) fn value(
        &mut self,
        name: Option<&str>,
        out: &mut DocBuf,
        depth: usize,
    ) -> Result<(), JsonError> {
        self.space();
        let start = self.at;
        match self.peek() {
            Some(b'{') => {
                self.at += 1;
                self.object(name, out, depth, start)?;
            }
            Some(b'[') => {
                self.at += 1;
                self.depth(depth, start)?;
                out.begin(name, true);
                self.items(out, depth)?;
                out.end();
            }
            Some(b'"') => out.value(name, Value::String(&self.string()?)),
            Some(b'-' | b'0'..=b'9') => out.value(name, self.number()?),
            Some(b't') => self.word("true", name, Value::Bool(true), out)?,
            Some(b'f') => self.word("false", name, Value::Bool(false), out)?,
            Some(b'n') => self.word("null", name, Value::Null, out)?,
            _ => return self.fail(format!("expected a value, found {}", self.found())),
        }
        if out.size() > self.limits.max_bytes {
            let what = format!(
                "the document passes the limit of {} bytes here; split it",
                self.limits.max_bytes
            );
            return Err(JsonError::at(self.text, start, what));
        }
        Ok(())
    }

    fn object(
        &mut self,
        name: Option<&str>,
        out: &mut DocBuf,
        depth: usize,
        start: usize,
    ) -> Result<(), JsonError> {
        self.space();
        let key_at = self.at;
        let first = if self.peek() == Some(b'"') { Some(self.string()?) } else { None };
        if let Some(wrapper) = first.as_deref().filter(|key| is_wrapper(key)) {
            return self.wrapped(wrapper, key_at, name, out);
        }
        // Not one of those: back to the start, as an ordinary document.
        self.at = key_at;
        self.depth(depth, start)?;
        out.begin(name, false);
        self.fields(Some(depth), out, depth)?;
        out.end();
        Ok(())
    }

    /// Reads fields up to the closing brace. `inner` is `None` for the outermost
    /// document, which must not be a value in a wrapper.
    fn fields(
        &mut self,
        inner: Option<usize>,
        out: &mut DocBuf,
        depth: usize,
    ) -> Result<(), JsonError> {
        let mut seen = Seen::default();
        self.space();
        if self.take(b'}') {
            return Ok(());
        }
        loop {
            self.space();
            let start = self.at;
            if self.peek() != Some(b'"') {
                let what = format!("expected a field name in quotes, found {}", self.found());
                return self.fail(what);
            }
            let key = self.string()?;
            let fault = if key.contains('\0') {
                Some("a field name cannot hold a NUL character".to_owned())
            } else if inner.is_none() && seen.is_empty() && is_wrapper(&key) {
                Some(format!("a document has fields; {key:?} makes this a single value"))
            } else if !seen.add(key.clone()) {
                Some(format!("field {key:?} is given twice in one object"))
            } else {
                None
            };
            if let Some(what) = fault {
                return Err(JsonError::at(self.text, start, what));
            }
            self.space();
            self.expect(b':', "a colon after a field name")?;
            self.value(Some(&key), out, depth + 1)?;
            self.space();
            if self.take(b'}') {
                return Ok(());
            }
            self.expect(b',', "a comma or } after a field")?;
        }
    }

    fn items(&mut self, out: &mut DocBuf, depth: usize) -> Result<(), JsonError> {
        self.space();
        if self.take(b']') {
            return Ok(());
        }
        loop {
            self.value(None, out, depth + 1)?;
            self.space();
            if self.take(b']') {
                return Ok(());
            }
            self.expect(b',', "a comma or ] after an item")?;
        }
    }

    fn depth(&self, depth: usize, start: usize) -> Result<(), JsonError> {
        let limit = self.limits.max_depth.min(MAX_DEPTH);
        if depth <= limit {
            return Ok(());
        }
        let what = format!("nested deeper than {limit}; flatten the document");
        Err(JsonError::at(self.text, start, what))
    }

    fn word(
        &mut self,
        word: &str,
        name: Option<&str>,
        value: Value<'_>,
        out: &mut DocBuf,
    ) -> Result<(), JsonError> {
        let rest = &self.text[self.at..];
        let len = rest.bytes().take_while(u8::is_ascii_alphanumeric).count();
        if &rest[..len] != word {
            return self.fail(format!("expected a value, found {:?}", &rest[..len]));
        }
        self.at += len;
        out.value(name, value);
        Ok(())
    }

    /// Reads a number by JSON's grammar.
    pub(super) fn number(&mut self) -> Result<Value<'static>, JsonError> {
        let start = self.at;
        self.take(b'-');
        let whole = self.digits();
        let leading_zero = whole > 1 && self.text.as_bytes()[self.at - whole] == b'0';
        let mut integer = true;
        let mut sound = whole > 0 && !leading_zero;
        if self.take(b'.') {
            integer = false;
            sound &= self.digits() > 0;
        }
        if self.take(b'e') || self.take(b'E') {
            integer = false;
            if !self.take(b'-') {
                self.take(b'+');
            }
            sound &= self.digits() > 0;
        }
        let text = &self.text[start..self.at];
        let fail = |what: String| Err(JsonError::at(self.text, start, what));
        if !sound {
            return fail(format!("{text:?} is not a number JSON knows"));
        }
        if integer && text != "-0" {
            return match text.parse::<i64>() {
                Ok(n) => Ok(i32::try_from(n).map_or(Value::Int64(n), Value::Int32)),
                // Longer than 64 bits: kept exactly, or not at all.
                Err(_) => match text.parse::<Decimal128>() {
                    Ok(decimal) => Ok(Value::Decimal128(decimal)),
                    Err(_) => fail(
                        "this integer has more than 34 digits; write it as a string, or with \
                         an exponent as a double"
                            .to_owned(),
                    ),
                },
            };
        }
        match text.parse::<f64>() {
            Ok(d) if d.is_finite() => Ok(Value::Double(d)),
            _ => fail(
                "this number is beyond a double; write {\"$numberDecimal\": \"...\"}".to_owned(),
            ),
        }
    }

    fn digits(&mut self) -> usize {
        let start = self.at;
        while let Some(b'0'..=b'9') = self.peek() {
            self.at += 1;
        }
        self.at - start
    }

    /// Reads a string, borrowed from the text where it has no escapes.
    pub(super) fn string(&mut self) -> Result<Cow<'t, str>, JsonError> {
        let open = self.at;
        self.expect(b'"', "a string")?;
        let mut start = self.at;
        let mut owned: Option<String> = None;
        loop {
            match self.peek() {
                None => return Err(JsonError::at(self.text, open, "this string has no end")),
                Some(b'"') => {
                    let tail = &self.text[start..self.at];
                    self.at += 1;
                    return Ok(match owned {
                        None => Cow::Borrowed(tail),
                        Some(text) => Cow::Owned(text + tail),
                    });
                }
                Some(b'\\') => {
                    let text = owned.get_or_insert_default();
                    text.push_str(&self.text[start..self.at]);
                    self.at += 1;
                    let character = self.escape()?;
                    text.push(character);
                    start = self.at;
                }
                Some(0..=0x1F) => {
                    return self.fail("a control character in a string; write it as \\u00XX");
                }
                Some(_) => self.at += 1,
            }
        }
    }

    /// Reads what follows a backslash.
    fn escape(&mut self) -> Result<char, JsonError> {
        let start = self.at - 1;
        let byte = self.peek();
        self.at += usize::from(byte.is_some_and(|b| b.is_ascii()));
        Ok(match byte {
            Some(b'"') => '"',
            Some(b'\\') => '\\',
            Some(b'/') => '/',
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => {
                let mut unit = self.unit(start)?;
                // A character beyond 16 bits is two units, the high one first.
                let high = (0xD800..0xDC00).contains(&unit);
                if high && self.take(b'\\') && self.take(b'u') {
                    let low = self.unit(start)?;
                    if (0xDC00..0xE000).contains(&low) {
                        unit = 0x10000 + ((unit - 0xD800) << 10) + (low - 0xDC00);
                    }
                }
                match char::from_u32(unit) {
                    Some(character) => character,
                    None => {
                        let what = "half of a surrogate pair is no character";
                        return Err(JsonError::at(self.text, start, what));
                    }
                }
            }
            _ => return Err(JsonError::at(self.text, start, "an escape JSON does not know")),
        })
    }

    /// Reads four hex digits.
    fn unit(&mut self, start: usize) -> Result<u32, JsonError> {
        let digits = self.text.as_bytes().get(self.at..self.at + 4);
        let unit = digits.and_then(|digits| {
            digits.iter().try_fold(0, |n, b| Some(n << 4 | char::from(*b).to_digit(16)?))
        });
        match unit {
            Some(unit) => {
                self.at += 4;
                Ok(unit)
            }
            None => Err(JsonError::at(self.text, start, "\\u needs four hex digits")),
        }
    }

    pub(super) fn space(&mut self) {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.peek() {
            self.at += 1;
        }
    }

    pub(super) fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    /// Takes this byte, if it is next.
    pub(super) fn take(&mut self, byte: u8) -> bool {
        let there = self.peek() == Some(byte);
        self.at += usize::from(there);
        there
    }

    pub(super) fn expect(&mut self, byte: u8, what: &str) -> Result<(), JsonError> {
        if self.take(byte) {
            return Ok(());
        }
        self.fail(format!("expected {what}, found {}", self.found()))
    }

    /// What stands where something else was expected.
    fn found(&self) -> String {
        match self.text.get(self.at..).and_then(|rest| rest.chars().next()) {
            Some(character) => format!("{character:?}"),
            None => "the end of the text".to_owned(),
        }
    }

    pub(super) fn fail<T>(&self, what: impl Into<String>) -> Result<T, JsonError> {
        Err(JsonError::at(self.text, self.at, what))
    }
}

/// The field names of one object: compared one by one while they are few.
#[derive(Default)]
struct Seen<'t> {
    few: Vec<Cow<'t, str>>,
    many: BTreeSet<Cow<'t, str>>,
}

impl<'t> Seen<'t> {
    fn is_empty(&self) -> bool {
        self.few.is_empty() && self.many.is_empty()
    }

    /// Adds a name; false if it was there.
    fn add(&mut self, name: Cow<'t, str>) -> bool {
        if self.many.is_empty() && self.few.len() < 24 {
            let new = !self.few.contains(&name);
            self.few.push(name);
            return new;
        }
        self.many.extend(self.few.drain(..));
        self.many.insert(name)
    }
}
