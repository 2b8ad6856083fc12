//! What an entry says about the fields of its document.
//!
//! What must stay true: a value told is that of the document, type and all, or the
//! entry says that the document must be asked. The form of entries is drawn in
//! `entry.rs`, that of values in `proto::order`.

use std::borrow::Cow;

use proto::doc::{Binary, Decimal128, ObjectId, Regex, Value};

use super::Index;
use super::entry::{kind, most};
use super::read::{KEY_BYTES, damaged};
use crate::Refusal;

/// What an entry says about a field.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Covered<'a> {
    /// The document's value; `None`: the field is missing.
    Value(Option<Value<'a>>),
    /// Not here: look into the document.
    Document,
}

/// Where fields end in an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ends {
    /// Behind the last of the fields asked for.
    pub(crate) end: usize,
    /// Behind the first of them that may have been cut.
    pub(crate) cut: Option<usize>,
}

impl Index {
    /// Calls `see` with the number of each field and what the entry says about it; `room`
    /// is used again from entry to entry.
    ///
    /// # Errors
    /// It is no entry.
    pub(crate) fn covered(
        &self,
        entry: &[u8],
        value: &[u8],
        room: &mut Vec<u8>,
        see: &mut dyn FnMut(usize, Covered<'_>),
    ) -> Result<(), Refusal> {
        let walked = self.walk(entry, value, |at, kind, key, body| {
            let key = match self.definition.fields[at].descending {
                false => key,
                true => {
                    room.clear();
                    room.extend(key.iter().map(|byte| !byte));
                    &room[..]
                }
            };
            tell(kind, key, body, &mut |covered| see(at, covered))
        });
        walked.ok_or_else(|| damaged(self, entry))
    }

    /// Where the fields of an entry end, if it is so short that none of them was cut.
    pub(crate) fn short(&self, entry: &[u8]) -> Option<usize> {
        let end = entry.len().checked_sub(KEY_BYTES)?;
        (end < most(self.definition.fields.len())).then_some(end)
    }

    /// Where the first `fields` fields end, and the first of those from number `from` on
    /// that may have been cut.
    ///
    /// # Errors
    /// It is no entry.
    pub(crate) fn ends(
        &self,
        entry: &[u8],
        value: &[u8],
        from: usize,
        fields: usize,
    ) -> Result<Ends, Refusal> {
        let most = most(self.definition.fields.len());
        let mut ends = Ends { end: 0, cut: None };
        let walked = self.walk(entry, value, |at, _, key, _| {
            if at < fields {
                ends.end += key.len();
                if at >= from && ends.cut.is_none() && key.len() >= most {
                    ends.cut = Some(ends.end);
                }
            }
            Some(())
        });
        walked.map(|()| ends).ok_or_else(|| damaged(self, entry))
    }

    /// Calls `see` with each field: its number, kind, bytes in the entry, and body.
    fn walk(
        &self,
        entry: &[u8],
        value: &[u8],
        mut see: impl FnMut(usize, u8, &[u8], &[u8]) -> Option<()>,
    ) -> Option<()> {
        let fields = self.definition.fields.len();
        let mut key = entry.get(..entry.len().checked_sub(KEY_BYTES)?)?;
        let mut rest = if value.is_empty() { &[kind::PLAIN][..] } else { value };
        for at in 0..fields {
            let kind = take(&mut rest, 1)?[0];
            let len = match at + 1 < fields {
                true => usize::from(take(&mut rest, 1)?[0]),
                false => key.len(),
            };
            let bytes = take(&mut key, len)?;
            let body = match kind {
                kind::DOUBLE => take(&mut rest, 8)?,
                kind::DECIMAL => take(&mut rest, 16)?,
                _ => &[],
            };
            see(at, kind, bytes, body)?;
        }
        (rest.is_empty() && key.is_empty()).then_some(())
    }
}

/// Tells what a field's kind, order key and body say.
fn tell(kind: u8, key: &[u8], body: &[u8], see: &mut dyn FnMut(Covered<'_>)) -> Option<()> {
    let value = match kind {
        kind::LOOK => {
            see(Covered::Document);
            return Some(());
        }
        kind::PLAIN if key == [0x04] => None,
        kind::PLAIN => {
            return plain(key, &mut |value| see(Covered::Value(Some(value))));
        }
        kind::INT32 => Some(Value::Int32(i32::try_from(integer(key)?).ok()?)),
        kind::INT64 => Some(Value::Int64(integer(key)?)),
        kind::DOUBLE => Some(Value::Double(f64::from_le_bytes(body.try_into().ok()?))),
        kind::DECIMAL => Some(Value::Decimal128(Decimal128::from_bytes(body.try_into().ok()?))),
        _ => return None,
    };
    see(Covered::Value(value));
    Some(())
}

fn take<'a>(from: &mut &'a [u8], len: usize) -> Option<&'a [u8]> {
    let (head, tail) = from.split_at_checked(len)?;
    *from = tail;
    Some(head)
}

/// An integer off its order key: `20+n`, n bytes, 00; below zero all inverted but the
/// first, which is 3F less itself.
fn integer(key: &[u8]) -> Option<i64> {
    let (&first, rest) = key.split_first()?;
    let negative = first < 0x20;
    let len = usize::from(if negative { 0x3F - first } else { first }.checked_sub(0x20)?);
    let mut whole = [0u8; 8];
    let digits = rest.get(..len).filter(|_| len <= 8 && rest.len() == len + 1)?;
    whole[8 - len..].copy_from_slice(digits);
    if negative {
        whole[8 - len..].iter_mut().for_each(|byte| *byte = !*byte);
    }
    let magnitude = i128::from(u64::from_be_bytes(whole));
    i64::try_from(if negative { -magnitude } else { magnitude }).ok()
}

/// A value that its order key says all of.
fn plain(key: &[u8], see: &mut dyn FnMut(Value<'_>)) -> Option<()> {
    let (&class, body) = key.split_first()?;
    see(match class {
        0x08 => Value::MinKey,
        0x0C => Value::Null,
        0x44 => Value::Bool(false),
        0x45 => Value::Bool(true),
        0x7F => Value::MaxKey,
        0x40 => Value::ObjectId(ObjectId(body.try_into().ok()?)),
        0x48 => {
            let bits = u64::from_be_bytes(body.try_into().ok()?);
            Value::DateTime((bits ^ (1 << 63)) as i64)
        }
        0x4C => Value::Timestamp(u64::from_be_bytes(body.try_into().ok()?)),
        0x30 => {
            let (bytes, _) = text(body)?;
            see(Value::String(std::str::from_utf8(&bytes).ok()?));
            return Some(());
        }
        0x3C => {
            let (&subtype, body) = body.split_first()?;
            let (bytes, _) = text(body)?;
            see(Value::Binary(Binary { subtype, bytes: &bytes }));
            return Some(());
        }
        0x50 => {
            let (pattern, rest) = text(body)?;
            let (options, _) = text(rest)?;
            let pattern = std::str::from_utf8(&pattern).ok()?;
            let options = std::str::from_utf8(&options).ok()?;
            see(Value::Regex(Regex { pattern, options }));
            return Some(());
        }
        _ => return None,
    });
    Some(())
}

/// Bytes up to `00 00`, with `00 FF` made 00 again; and what follows.
fn text(from: &[u8]) -> Option<(Cow<'_, [u8]>, &[u8])> {
    let mut out = Vec::new();
    let mut rest = from;
    loop {
        let at = rest.iter().position(|&byte| byte == 0)?;
        let after = *rest.get(at + 1)?;
        let part = &rest[..at];
        rest = &rest[at + 2..];
        match after {
            0 if out.is_empty() => return Some((Cow::Borrowed(part), rest)),
            0 => {
                out.extend_from_slice(part);
                return Some((Cow::Owned(out), rest));
            }
            0xFF => {
                out.extend_from_slice(part);
                out.push(0);
            }
            _ => return None,
        }
    }
}
