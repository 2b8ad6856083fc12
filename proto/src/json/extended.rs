//! Values in wrappers: `{"$date": "..."}` and its like.

use super::read::Reader;
use super::{JsonError, base64, date_time_from_text};
use crate::doc::{Binary, Decimal128, DocBuf, ObjectId, Regex, Value};
use std::borrow::Cow;

const WRAPPERS: [&str; 16] = [
    "$oid",
    "$date",
    "$binary",
    "$uuid",
    "$numberInt",
    "$numberLong",
    "$numberDouble",
    "$numberDecimal",
    "$timestamp",
    "$regularExpression",
    "$minKey",
    "$maxKey",
    // Types of BSON that are not stored: refused by name.
    "$undefined",
    "$symbol",
    "$code",
    "$dbPointer",
];

/// Whether an object that starts with this name is a value.
pub(super) fn is_wrapper(name: &str) -> bool {
    name.starts_with('$') && WRAPPERS.contains(&name)
}

/// A string or an integer inside a wrapper.
enum Piece<'t> {
    Text(Cow<'t, str>),
    Integer(i64),
}

impl<'t> Reader<'t> {
    /// Reads what follows the name of a wrapper, up to its closing brace, and writes
    /// the value. `key_at` is where the name stands, for errors.
    pub(super) fn wrapped(
        &mut self,
        wrapper: &str,
        key_at: usize,
        name: Option<&str>,
        out: &mut DocBuf,
    ) -> Result<(), JsonError> {
        let text = self.text;
        let fault =
            |expected: &str| JsonError::at(text, key_at, format!("{wrapper} holds {expected}"));
        self.space();
        self.expect(b':', "a colon after a field name")?;
        self.space();
        match wrapper {
            "$oid" => {
                let id = self.text_piece().and_then(|text| unhex::<12>(&text));
                let id = id.ok_or_else(|| fault("24 hex digits in quotes"))?;
                out.value(name, Value::ObjectId(ObjectId(id)));
            }
            "$uuid" => {
                let id = self.text_piece().and_then(|text| uuid(&text));
                let id = id.ok_or_else(|| fault("8-4-4-4-12 hex digits in quotes"))?;
                out.value(name, Value::Binary(Binary { subtype: 4, bytes: &id }));
            }
            "$date" => {
                let millis = if self.peek() == Some(b'{') {
                    self.pieces(["$numberLong"]).and_then(|[millis]| integer(millis))
                } else {
                    match self.piece() {
                        Some(Piece::Text(text)) => date_time_from_text(&text),
                        Some(Piece::Integer(millis)) => Some(millis),
                        None => None,
                    }
                };
                let millis = millis.ok_or_else(|| {
                    fault("an instant such as \"2013-01-01T05:00:00Z\", or milliseconds")
                })?;
                out.value(name, Value::DateTime(millis));
            }
            "$binary" => {
                let parts = self.pieces(["base64", "subType"]).and_then(|[bytes, subtype]| {
                    let (Piece::Text(bytes), Piece::Text(subtype)) = (bytes, subtype) else {
                        return None;
                    };
                    let digits = (1..=2).contains(&subtype.len());
                    let digits = digits && subtype.bytes().all(|b| b.is_ascii_hexdigit());
                    let subtype = u8::from_str_radix(&subtype, 16).ok().filter(|_| digits)?;
                    Some((base64::decode(&bytes)?, subtype))
                });
                let (bytes, subtype) = parts.ok_or_else(|| {
                    fault("{\"base64\": \"...\", \"subType\": \"00\"} with padded base64")
                })?;
                if subtype == 2 {
                    return Err(fault("subtype 2, which is deprecated; write 00"));
                }
                out.value(name, Value::Binary(Binary { subtype, bytes: &bytes }));
            }
            "$numberInt" => {
                let n = self.text_piece().and_then(|text| text.parse().ok());
                let n = n.ok_or_else(|| fault("a 32-bit integer in quotes"))?;
                out.value(name, Value::Int32(n));
            }
            "$numberLong" => {
                let n = self.text_piece().and_then(|text| text.parse().ok());
                let n = n.ok_or_else(|| fault("a 64-bit integer in quotes"))?;
                out.value(name, Value::Int64(n));
            }
            "$numberDouble" => {
                let d = self.text_piece().and_then(|text| double(&text));
                let d = d.ok_or_else(|| fault("a number, NaN, Infinity or -Infinity in quotes"))?;
                out.value(name, Value::Double(d));
            }
            "$numberDecimal" => {
                let text = self.text_piece().ok_or_else(|| fault("a decimal in quotes"))?;
                let decimal =
                    text.parse::<Decimal128>().map_err(|e| fault(&format!("a decimal; {e}")))?;
                out.value(name, Value::Decimal128(decimal));
            }
            "$timestamp" => {
                let parts = self.pieces(["t", "i"]).and_then(|[t, i]| {
                    let half = |piece| u32::try_from(integer(piece)?).ok().map(u64::from);
                    Some(half(t)? << 32 | half(i)?)
                });
                let stamp =
                    parts.ok_or_else(|| fault("{\"t\": seconds, \"i\": counter}, 32 bits each"))?;
                out.value(name, Value::Timestamp(stamp));
            }
            "$regularExpression" => match self.pieces(["pattern", "options"]) {
                Some([Piece::Text(pattern), Piece::Text(options)])
                    if !pattern.contains('\0') && !options.contains('\0') =>
                {
                    let regex = Regex { pattern: &pattern, options: &options };
                    out.value(name, Value::Regex(regex));
                }
                _ => return Err(fault("{\"pattern\": \"...\", \"options\": \"...\"}, no NUL")),
            },
            "$minKey" | "$maxKey" => {
                let Some(Piece::Integer(1)) = self.piece() else { return Err(fault("1")) };
                let min = wrapper == "$minKey";
                out.value(name, if min { Value::MinKey } else { Value::MaxKey });
            }
            _ => {
                let what = format!("{wrapper} is a BSON type that is not stored; convert it");
                return Err(JsonError::at(text, key_at, what));
            }
        }
        self.space();
        self.expect(b'}', &format!("}} after the value: {wrapper} stands alone in its object"))
    }

    /// A string or an integer; `None` for anything else. The caller says what it
    /// wanted, which is of more use than what is wrong within.
    fn piece(&mut self) -> Option<Piece<'t>> {
        match self.peek()? {
            b'"' => self.string().ok().map(Piece::Text),
            b'-' | b'0'..=b'9' => self.number().ok()?.as_i64().map(Piece::Integer),
            _ => None,
        }
    }

    fn text_piece(&mut self) -> Option<Cow<'t, str>> {
        match self.piece()? {
            Piece::Text(text) => Some(text),
            Piece::Integer(_) => None,
        }
    }

    /// An object of just these fields, in any order.
    fn pieces<const N: usize>(&mut self, names: [&str; N]) -> Option<[Piece<'t>; N]> {
        let mut found: [Option<Piece<'t>>; N] = [const { None }; N];
        if !self.take(b'{') {
            return None;
        }
        for field in 0..N {
            self.space();
            if field > 0 && !self.take(b',') {
                return None;
            }
            self.space();
            let name = if self.peek()? == b'"' { self.string().ok()? } else { return None };
            let place = names.iter().position(|n| *n == name)?;
            self.space();
            if !self.take(b':') || found[place].is_some() {
                return None;
            }
            self.space();
            found[place] = Some(self.piece()?);
        }
        self.space();
        if !self.take(b'}') || found.iter().any(Option::is_none) {
            return None;
        }
        // All are there, so the stand-in is never taken.
        Some(found.map(|piece| piece.unwrap_or(Piece::Integer(0))))
    }
}

fn integer(piece: Piece<'_>) -> Option<i64> {
    match piece {
        Piece::Integer(n) => Some(n),
        Piece::Text(text) => text.parse().ok(),
    }
}

/// A double in quotes: JSON's numbers and three names, not all that Rust reads.
fn double(text: &str) -> Option<f64> {
    match text {
        // The bson crate writes the second for a NaN with its sign bit set.
        "NaN" | "-NaN" => Some(f64::NAN),
        "Infinity" => Some(f64::INFINITY),
        "-Infinity" => Some(f64::NEG_INFINITY),
        _ if text.bytes().all(|b| b.is_ascii_digit() || b"+-.eE".contains(&b)) => {
            text.parse().ok().filter(|d: &f64| d.is_finite())
        }
        _ => None,
    }
}

fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digits = text.as_bytes();
    if digits.len() != 2 * N {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks(2)) {
        let digit = |at: usize| char::from(pair[at]).to_digit(16);
        *byte = (digit(0)? << 4 | digit(1)?) as u8;
    }
    Some(bytes)
}

fn uuid(text: &str) -> Option<[u8; 16]> {
    let groups: Vec<&str> = text.split('-').collect();
    if groups.iter().map(|group| group.len()).ne([8, 4, 4, 4, 12]) {
        return None;
    }
    unhex(&groups.concat())
}
