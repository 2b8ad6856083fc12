//! Literals: numbers, strings, dates and their like, lists and documents.
//!
//! Invariant: a number keeps its value: an integer that fits 64 bits is an
//! integer, and one that does not is refused rather than rounded.

use super::error::PqlError;
use super::parse::Parser;
use super::suggest::did_you_mean;
use super::token::Token;
use proto::doc::{Binary, Decimal128, DocBuf, ObjectId, Value, ValueBuf};
use proto::json;
use std::ops::Range;

/// Reads one literal off a parser.
pub(super) struct Literals<'p, 'a> {
    parser: &'p mut Parser<'a>,
}

/// A literal that holds no others.
enum Scalar {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
    Date(i64),
    Decimal(Decimal128),
    ObjectId(ObjectId),
    Binary(u8, Vec<u8>),
}

/// The functions that make values of their text.
pub(super) const FUNCTIONS: [&str; 5] = ["date", "decimal", "objectId", "uuid", "binary"];

impl Scalar {
    fn value(&self) -> Value<'_> {
        match self {
            Scalar::Null => Value::Null,
            Scalar::Bool(b) => Value::Bool(*b),
            // Small numbers take the small type, as every BSON writer does.
            Scalar::Int(n) => i32::try_from(*n).map_or(Value::Int64(*n), Value::Int32),
            Scalar::Float(n) => Value::Double(*n),
            Scalar::Text(text) => Value::String(text),
            Scalar::Date(millis) => Value::DateTime(*millis),
            Scalar::Decimal(decimal) => Value::Decimal128(*decimal),
            Scalar::ObjectId(id) => Value::ObjectId(*id),
            Scalar::Binary(subtype, bytes) => Value::Binary(Binary { subtype: *subtype, bytes }),
        }
    }
}

impl<'p, 'a> Literals<'p, 'a> {
    pub(super) fn new(parser: &'p mut Parser<'a>) -> Self {
        Literals { parser }
    }

    pub(super) fn value(&mut self) -> Result<ValueBuf, PqlError> {
        let start = self.here();
        let mut holder = DocBuf::new();
        match self.parser.peek() {
            Some(Token::OpenBrace) => {
                holder.begin_doc("");
                self.fields(&mut holder)?;
            }
            Some(Token::OpenBracket) => {
                holder.begin_array("");
                self.items(&mut holder)?;
            }
            _ => {
                let scalar = self.scalar()?;
                return ValueBuf::new(scalar.value())
                    .map_err(|e| self.parser.error(start, e.to_string()));
            }
        }
        let bytes = holder.finish().map_err(|e| self.parser.error(start.clone(), e.to_string()))?;
        let value = proto::doc::Doc::trusted(&bytes).get("").unwrap_or(Value::Null);
        ValueBuf::new(value).map_err(|e| self.parser.error(start, e.to_string()))
    }

    /// `{ name: value, .. }` into the document opened last; closes it.
    fn fields(&mut self, into: &mut DocBuf) -> Result<(), PqlError> {
        self.parser.enter()?;
        self.parser.expect(Token::OpenBrace, "`{`")?;
        while !self.parser.take(Token::CloseBrace) {
            let (name, span) = match self.parser.peek() {
                Some(Token::String) => {
                    let span = self.here();
                    self.parser.next();
                    (self.unescape(span.clone())?, span)
                }
                _ => self.parser.name("a field name or `}`")?,
            };
            self.parser.expect(Token::Colon, "`:`")?;
            match self.parser.peek() {
                Some(Token::OpenBrace) => {
                    into.begin_doc(&name);
                    self.fields(into)?;
                }
                Some(Token::OpenBracket) => {
                    into.begin_array(&name);
                    self.items(into)?;
                }
                _ => {
                    let scalar = self.scalar()?;
                    into.push(&name, scalar.value());
                }
            }
            if let Some(fault) = into.fault() {
                return Err(self.parser.error(span, fault.to_string()));
            }
            if !self.parser.take(Token::Comma) {
                self.parser.expect(Token::CloseBrace, "`,` or `}`")?;
                break;
            }
        }
        into.end();
        self.parser.leave();
        Ok(())
    }

    /// `[ value, .. ]` into the array opened last; closes it.
    fn items(&mut self, into: &mut DocBuf) -> Result<(), PqlError> {
        self.parser.enter()?;
        self.parser.expect(Token::OpenBracket, "`[`")?;
        while !self.parser.take(Token::CloseBracket) {
            match self.parser.peek() {
                Some(Token::OpenBrace) => {
                    into.begin_item_doc();
                    self.fields(into)?;
                }
                Some(Token::OpenBracket) => {
                    into.begin_item_array();
                    self.items(into)?;
                }
                _ => {
                    let scalar = self.scalar()?;
                    into.item(scalar.value());
                }
            }
            if !self.parser.take(Token::Comma) {
                self.parser.expect(Token::CloseBracket, "`,` or `]`")?;
                break;
            }
        }
        into.end();
        self.parser.leave();
        Ok(())
    }

    fn scalar(&mut self) -> Result<Scalar, PqlError> {
        let span = self.here();
        let text = &self.parser.text[span.clone()];
        let scalar = match self.parser.peek() {
            Some(Token::Integer) => {
                let message = "this integer does not fit 64 bits: write it with a fraction (1.0) if \
                               an approximate number will do";
                Scalar::Int(text.parse().map_err(|_| self.parser.error(span.clone(), message))?)
            }
            Some(Token::Float) => match text.parse::<f64>() {
                Ok(number) if number.is_finite() => Scalar::Float(number),
                _ => return Err(self.parser.error(span, "this number is too large")),
            },
            Some(Token::String) => Scalar::Text(self.unescape(span.clone())?),
            Some(Token::Name) => match text {
                "true" => Scalar::Bool(true),
                "false" => Scalar::Bool(false),
                "null" => Scalar::Null,
                _ if self.parser.token_after() == Some(Token::OpenParen) => {
                    return self.function(text, span);
                }
                _ => {
                    let near = did_you_mean(text, &["true", "false", "null"]);
                    let message =
                        format!("expected a value, found `{text}`: strings need quotes{near}");
                    return Err(self.parser.error(span, message));
                }
            },
            Some(Token::Parameter) => {
                let message =
                    "a parameter cannot stand inside {..} or [..]: pass the whole value as one";
                return Err(self.parser.error(span, message));
            }
            _ => return Err(self.parser.expected("a value")),
        };
        self.parser.next();
        Ok(scalar)
    }

    /// `date("..")` and its like: a type that has no literal of its own.
    fn function(&mut self, name: &str, span: Range<usize>) -> Result<Scalar, PqlError> {
        if !FUNCTIONS.contains(&name) {
            let near = did_you_mean(name, &FUNCTIONS);
            let message = format!(
                "`{name}` makes no value; expected date, decimal, objectId, uuid or binary{near}"
            );
            return Err(self.parser.error(span, message));
        }
        self.parser.next();
        self.parser.expect(Token::OpenParen, "`(`")?;
        let place = self.here();
        let written = match self.parser.peek() {
            Some(Token::String) => self.unescape(place.clone())?,
            // A date outside of the years 0000 to 9999 has no text.
            Some(Token::Integer) if name == "date" => self.parser.text[place.clone()].to_owned(),
            _ => return Err(self.parser.expected("a text in quotes")),
        };
        let number = self.parser.peek() == Some(Token::Integer);
        self.parser.next();
        let (made, wanted) = match name {
            "date" if number => (written.parse().ok().map(Scalar::Date), "64-bit milliseconds"),
            "date" => (
                json::date_time_from_text(&written).map(Scalar::Date),
                "an instant such as \"2013-01-01T05:15:00Z\", or a day such as \"2013-01-01\"",
            ),
            "decimal" => (
                written.parse().ok().map(Scalar::Decimal),
                "a number of at most 34 digits such as \"1.10\", \"NaN\" or \"Infinity\"",
            ),
            "objectId" => {
                (unhex(&written).map(|id| Scalar::ObjectId(ObjectId(id))), "24 hexadecimal digits")
            }
            "uuid" => (
                uuid(&written).map(|id| Scalar::Binary(4, id.to_vec())),
                "8-4-4-4-12 hexadecimal digits",
            ),
            _ => {
                let subtype = self.subtype()?;
                (from_base64(&written).map(|bytes| Scalar::Binary(subtype, bytes)), "padded base64")
            }
        };
        let made =
            made.ok_or_else(|| self.parser.error(place, format!("{name}(..) takes {wanted}")))?;
        self.parser.expect(Token::CloseParen, "`)`")?;
        Ok(made)
    }

    /// The second argument of `binary`: 0 if there is none.
    fn subtype(&mut self) -> Result<u8, PqlError> {
        if !self.parser.take(Token::Comma) {
            return Ok(0);
        }
        let place = self.here();
        let number = match self.parser.peek() {
            Some(Token::Integer) => self.parser.text[place.clone()].parse::<u8>().ok(),
            _ => None,
        };
        self.parser.next();
        number.filter(|&n| n != 2).ok_or_else(|| {
            self.parser.error(place, "a subtype is a number from 0 to 255, but not 2")
        })
    }

    fn here(&self) -> Range<usize> {
        self.parser.here()
    }

    /// The text of a quoted string. Escapes are those of JSON, and `\'`.
    fn unescape(&self, span: Range<usize>) -> Result<String, PqlError> {
        let inner = &self.parser.text[span.start + 1..span.end - 1];
        if !inner.contains('\\') {
            return Ok(inner.to_owned());
        }
        let mut text = String::with_capacity(inner.len());
        let mut chars = inner.char_indices();
        while let Some((at, c)) = chars.next() {
            if c != '\\' {
                text.push(c);
                continue;
            }
            let place = span.start + 1 + at;
            let (_, escape) = chars.next().unwrap_or((at, '\\'));
            match escape {
                '"' | '\'' | '\\' | '/' => text.push(escape),
                'n' => text.push('\n'),
                'r' => text.push('\r'),
                't' => text.push('\t'),
                'b' => text.push('\u{8}'),
                'f' => text.push('\u{c}'),
                'u' => {
                    let (c, used) = self.unicode(place, &inner[at..])?;
                    text.push(c);
                    for _ in 2..used {
                        chars.next();
                    }
                }
                other => {
                    let end = place + 1 + other.len_utf8();
                    let message = format!("`\\{other}` is no escape; write \\\\ for a backslash");
                    return Err(self.parser.error(place..end, message));
                }
            }
        }
        Ok(text)
    }

    /// `\uXXXX`, or two of them for a character beyond 16 bits; and how many bytes.
    fn unicode(&self, place: usize, escape: &str) -> Result<(char, usize), PqlError> {
        let unit = |at: usize| {
            let digits = escape.get(at..at + 6)?.strip_prefix("\\u")?;
            digits
                .bytes()
                .all(|b| b.is_ascii_hexdigit())
                .then(|| u32::from_str_radix(digits, 16).ok())?
        };
        let found = match (unit(0), unit(6)) {
            (Some(high @ 0xd800..=0xdbff), Some(low @ 0xdc00..=0xdfff)) => {
                char::from_u32(0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00)).map(|c| (c, 12))
            }
            (Some(unit), _) => char::from_u32(unit).map(|c| (c, 6)),
            (None, _) => None,
        };
        let message = "\\u takes four hexadecimal digits that name a character";
        found.ok_or_else(|| self.parser.error(place..place + 2, message))
    }
}

/// Bytes of so many hexadecimal digits.
fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    if text.len() != 2 * N || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    let mut bytes = [0; N];
    for (at, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(2 * at..2 * at + 2)?, 16).ok()?;
    }
    Some(bytes)
}

fn uuid(text: &str) -> Option<[u8; 16]> {
    let dashes = [8, 13, 18, 23];
    if text.len() != 36 || !dashes.iter().all(|&at| text.as_bytes()[at] == b'-') {
        return None;
    }
    unhex(&text.replace('-', ""))
}

/// Base64 as JSON documents have it: that reader reads it.
fn from_base64(text: &str) -> Option<Vec<u8>> {
    if !text.bytes().all(|b| b.is_ascii_alphanumeric() || b"+/=".contains(&b)) {
        return None;
    }
    let json = format!("{{\"v\":{{\"$binary\":{{\"base64\":\"{text}\",\"subType\":\"00\"}}}}}}");
    let bytes = json::parse_json(&json).ok()?;
    match proto::doc::Doc::trusted(&bytes).get("v") {
        Some(Value::Binary(binary)) => Some(binary.bytes.to_vec()),
        _ => None,
    }
}
