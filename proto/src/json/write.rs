//! Documents as JSON text, written as they are walked.

use super::{base64, date_time_to_text};
use crate::Key;
use crate::doc::{Array, Doc, MAX_DEPTH, Value};

/// Where text goes: a `String`, or the bytes of a reply.
pub trait Sink {
    /// Appends text.
    fn put(&mut self, text: &str);
    /// Appends a character.
    fn put_char(&mut self, character: char);
}

impl Sink for String {
    fn put(&mut self, text: &str) {
        self.push_str(text);
    }
    fn put_char(&mut self, character: char) {
        self.push(character);
    }
}

impl Sink for Vec<u8> {
    fn put(&mut self, text: &str) {
        self.extend_from_slice(text.as_bytes());
    }
    fn put_char(&mut self, character: char) {
        self.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
    }
}

/// Appends a document on one line, without spaces.
pub fn write_json(doc: Doc<'_>, out: &mut impl Sink) {
    Writer { out, indent: None }.doc(doc, 0);
}

/// Appends a document over many lines, two spaces a level.
pub fn write_json_pretty(doc: Doc<'_>, out: &mut impl Sink) {
    Writer { out, indent: Some(2) }.doc(doc, 0);
}

/// Appends a value on one line.
pub fn write_value(value: Value<'_>, out: &mut impl Sink) {
    Writer { out, indent: None }.value(value, 0);
}

/// Appends a document as rows are shown: its key, 32 hex digits in a field `key`,
/// then its fields. One of its own that is named `key` is left out.
pub fn write_row(key: Key, doc: Doc<'_>, out: &mut impl Sink) {
    out.put("{\"key\":\"");
    out.put(&key.to_string());
    out.put_char('"');
    let mut writer = Writer { out, indent: None };
    for (name, value) in doc.iter().filter(|(name, _)| *name != "key") {
        writer.out.put_char(',');
        writer.string(name);
        writer.out.put_char(':');
        writer.value(value, 1);
    }
    writer.out.put_char('}');
}

/// A document on one line.
pub fn to_json(doc: Doc<'_>) -> String {
    let mut out = String::with_capacity(doc.as_bytes().len() * 2);
    write_json(doc, &mut out);
    out
}

/// A document over many lines.
pub fn to_json_pretty(doc: Doc<'_>) -> String {
    let mut out = String::with_capacity(doc.as_bytes().len() * 2);
    write_json_pretty(doc, &mut out);
    out
}

struct Writer<'o, S: Sink> {
    out: &'o mut S,
    /// Spaces a level, or all on one line.
    indent: Option<usize>,
}

impl<S: Sink> Writer<'_, S> {
    /// The depth bounds the recursion on trusted bytes that never were checked.
    fn doc(&mut self, doc: Doc<'_>, depth: usize) {
        if depth >= MAX_DEPTH {
            return self.out.put("null");
        }
        self.out.put_char('{');
        let mut first = true;
        for (name, value) in doc {
            self.next(&mut first, depth + 1);
            self.string(name);
            self.out.put_char(':');
            if self.indent.is_some() {
                self.out.put_char(' ');
            }
            self.value(value, depth + 1);
        }
        if !first {
            self.line(depth);
        }
        self.out.put_char('}');
    }

    fn array(&mut self, array: Array<'_>, depth: usize) {
        if depth >= MAX_DEPTH {
            return self.out.put("null");
        }
        self.out.put_char('[');
        let mut first = true;
        for item in array {
            self.next(&mut first, depth + 1);
            self.value(item, depth + 1);
        }
        if !first {
            self.line(depth);
        }
        self.out.put_char(']');
    }

    fn next(&mut self, first: &mut bool, depth: usize) {
        if !std::mem::take(first) {
            self.out.put_char(',');
        }
        self.line(depth);
    }

    fn line(&mut self, depth: usize) {
        if let Some(spaces) = self.indent {
            self.out.put_char('\n');
            (0..spaces * depth).for_each(|_| self.out.put_char(' '));
        }
    }

    fn value(&mut self, value: Value<'_>, depth: usize) {
        match value {
            Value::Null => self.out.put("null"),
            Value::Bool(true) => self.out.put("true"),
            Value::Bool(false) => self.out.put("false"),
            Value::Int32(n) => self.out.put(&n.to_string()),
            Value::Int64(n) => self.out.put(&n.to_string()),
            // The shortest text that reads back the same, always with a point or an
            // exponent, so that it reads back as a double.
            Value::Double(d) if d.is_finite() => self.out.put(&format!("{d:?}")),
            Value::Double(d) if d.is_nan() => self.wrapped("$numberDouble", "NaN"),
            Value::Double(d) if d > 0.0 => self.wrapped("$numberDouble", "Infinity"),
            Value::Double(_) => self.wrapped("$numberDouble", "-Infinity"),
            Value::Decimal128(d) => self.wrapped("$numberDecimal", &d.to_string()),
            Value::String(text) => self.string(text),
            Value::Doc(doc) => self.doc(doc, depth),
            Value::Array(array) => self.array(array, depth),
            Value::ObjectId(id) => self.wrapped("$oid", &id.to_string()),
            Value::DateTime(millis) => match date_time_to_text(millis) {
                Some(text) => self.wrapped("$date", &text),
                None => {
                    let text = format!("{{\"$date\":{{\"$numberLong\":\"{millis}\"}}}}");
                    self.out.put(&text);
                }
            },
            Value::Binary(binary) => {
                self.out.put("{\"$binary\":{\"base64\":\"");
                base64::encode(binary.bytes, self.out);
                self.out.put(&format!("\",\"subType\":\"{:02x}\"}}}}", binary.subtype));
            }
            Value::Timestamp(stamp) => {
                let (t, i) = (stamp >> 32, stamp & 0xFFFF_FFFF);
                self.out.put(&format!("{{\"$timestamp\":{{\"t\":{t},\"i\":{i}}}}}"));
            }
            Value::Regex(regex) => {
                self.out.put("{\"$regularExpression\":{\"pattern\":");
                self.string(regex.pattern);
                self.out.put(",\"options\":");
                self.string(regex.options);
                self.out.put("}}");
            }
            Value::MinKey => self.out.put("{\"$minKey\":1}"),
            Value::MaxKey => self.out.put("{\"$maxKey\":1}"),
        }
    }

    /// An object of one field; the text needs no escapes.
    fn wrapped(&mut self, name: &str, text: &str) {
        for part in ["{\"", name, "\":\"", text, "\"}"] {
            self.out.put(part);
        }
    }

    fn string(&mut self, text: &str) {
        self.out.put_char('"');
        let mut start = 0;
        for (at, byte) in text.bytes().enumerate() {
            let short = match byte {
                b'"' => "\\\"",
                b'\\' => "\\\\",
                b'\n' => "\\n",
                b'\r' => "\\r",
                b'\t' => "\\t",
                0..=0x1F => "",
                _ => continue,
            };
            // Escaped bytes are ASCII, so both ends lie between characters.
            self.out.put(&text[start..at]);
            if short.is_empty() {
                self.out.put(&format!("\\u{byte:04x}"));
            } else {
                self.out.put(short);
            }
            start = at + 1;
        }
        self.out.put(&text[start..]);
        self.out.put_char('"');
    }
}
