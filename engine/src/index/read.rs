//! Reading an index: bounds, a cursor, what its entries say, how many there are.
//!
//! What must stay true: a covered value is that of the document, type and all, or the
//! entry says that the document must be asked; an estimate says whether it is exact.
// The planner will use all of it; until then some is used by tests alone.
#![cfg_attr(not(test), allow(dead_code))]

use std::ops::Bound;

use lsm::{Cursor, Direction, Snapshot};
use proto::doc::{Decimal128, ObjectId, Value, ValueBuf};
use proto::{Key, Status, order};

use super::Index;
use super::entry::{kind, most};
use crate::error::shown;
use crate::{Engine, Refusal};

/// Bytes of a document's key, at the end of each entry.
const KEY_BYTES: usize = 16;

/// The encoding of values for the first fields of an index.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Prefix {
    pub(crate) bytes: Vec<u8>,
    /// A value was cut: other values have these bytes too.
    pub(crate) cut: bool,
}

/// From where to where in an index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Bounds {
    pub(crate) low: Bound<Vec<u8>>,
    pub(crate) high: Bound<Vec<u8>>,
}

/// What an entry says about a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Covered {
    /// The document's value; `None`: the field is missing.
    Value(Option<ValueBuf>),
    /// Not here: look into the document.
    Document,
}

/// How many entries lie between bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Estimate {
    pub(crate) entries: u64,
    /// It is the number.
    pub(crate) exact: bool,
}

impl Bounds {
    /// All of an index.
    pub(crate) const ALL: Bounds = Bounds { low: Bound::Unbounded, high: Bound::Unbounded };

    /// All entries that begin so.
    pub(crate) fn of(prefix: &[u8]) -> Bounds {
        Bounds { low: Bound::Included(prefix.to_vec()), high: Bounds::behind(prefix) }
    }

    /// The high bound behind all entries that begin so; as a low bound, use
    /// `Included` with what is in it.
    pub(crate) fn behind(prefix: &[u8]) -> Bound<Vec<u8>> {
        let Some(last) = prefix.iter().rposition(|byte| *byte != 0xFF) else {
            return Bound::Unbounded;
        };
        let mut end = prefix[..=last].to_vec();
        end[last] += 1;
        Bound::Excluded(end)
    }

    fn borrowed(&self) -> (Bound<&[u8]>, Bound<&[u8]>) {
        (self.low.as_ref().map(Vec::as_slice), self.high.as_ref().map(Vec::as_slice))
    }
}

/// A walk over the entries of an index between bounds.
pub(crate) struct Scan<'a> {
    index: &'a Index,
    cursor: Cursor,
}

impl Index {
    /// Encodes values for the first fields, `None` for a missing one.
    pub(crate) fn prefix(&self, values: &[Option<Value<'_>>]) -> Prefix {
        let mut prefix = Prefix::default();
        let most = most(self.definition.fields.len());
        for (field, value) in self.definition.fields.iter().zip(values) {
            let start = prefix.bytes.len();
            match field.descending {
                true => order::order_key_desc(*value, &mut prefix.bytes),
                false => order::order_key(*value, &mut prefix.bytes),
            }
            if prefix.bytes.len() - start > most {
                prefix.bytes.truncate(start + most);
                prefix.cut = true;
            }
        }
        prefix
    }

    /// Exactly how many entries it has, with every commit so far.
    pub(crate) fn entries_now(&self, engine: &Engine) -> u64 {
        engine.lsm.count(self.keyspace)
    }

    /// Whether a document of the snapshot has an array at, or on the way to, one of its
    /// fields. Not by the count: that has commits the snapshot does not see.
    ///
    /// # Errors
    /// Pages that cannot be read; the snapshot expired.
    pub(crate) fn has_arrays(&self, snapshot: &Snapshot) -> Result<bool, Refusal> {
        let all = (Bound::Unbounded, Bound::Unbounded);
        let mut cursor = snapshot.range(self.arrays(), all.0, all.1, Direction::Forward)?;
        Ok(cursor.advance()?)
    }

    /// How many entries lie between bounds: exactly, but where more than a few of them
    /// were written since the last flush or lie in runs (`lsm`: `between.rs`). Then those
    /// are counted one by one up to `look`, and beyond that it is near the number.
    ///
    /// # Errors
    /// Pages that cannot be read.
    pub(crate) fn estimate(
        &self,
        snapshot: &Snapshot,
        bounds: &Bounds,
        look: u64,
    ) -> Result<Estimate, Refusal> {
        if *bounds == Bounds::ALL {
            return Ok(Estimate { entries: snapshot.count(self.keyspace)?, exact: true });
        }
        let (low, high) = bounds.borrowed();
        let counted = snapshot.count_range(self.keyspace, low, high)?;
        if counted.exact {
            return Ok(Estimate { entries: counted.entries, exact: true });
        }
        let mut cursor = snapshot.range(self.keyspace, low, high, Direction::Forward)?;
        let mut seen = 0;
        while seen <= look && cursor.advance()? {
            seen += 1;
        }
        let exact = seen <= look;
        let entries = if exact { seen } else { counted.entries.max(seen) };
        Ok(Estimate { entries, exact })
    }
}

impl<'a> Scan<'a> {
    /// Begins before the first entry, or with `reverse` before the last.
    ///
    /// # Errors
    /// The storage's.
    pub(crate) fn open(
        snapshot: &Snapshot,
        index: &'a Index,
        bounds: &Bounds,
        reverse: bool,
    ) -> Result<Scan<'a>, Refusal> {
        let direction = if reverse { Direction::Reverse } else { Direction::Forward };
        let (low, high) = bounds.borrowed();
        let cursor = snapshot.range(index.keyspace, low, high, direction)?;
        Ok(Scan { index, cursor })
    }

    /// Moves to the next entry; `false` at the end.
    ///
    /// # Errors
    /// The storage's.
    pub(crate) fn advance(&mut self) -> Result<bool, Refusal> {
        Ok(self.cursor.advance()?)
    }

    /// Moves before the first entry at or beyond these bytes, in its direction.
    ///
    /// # Errors
    /// The storage's.
    pub(crate) fn seek(&mut self, to: &[u8]) -> Result<(), Refusal> {
        Ok(self.cursor.seek(to)?)
    }

    /// The entry: fields, then the document's key.
    pub(crate) fn entry(&self) -> &[u8] {
        self.cursor.key()
    }

    /// The key of the document it is of.
    ///
    /// # Errors
    /// It is no entry.
    pub(crate) fn document(&self) -> Result<Key, Refusal> {
        document_of(self.index, self.cursor.key())
    }

    /// What it says about each field.
    ///
    /// # Errors
    /// It is no entry; the storage's.
    pub(crate) fn values(&mut self) -> Result<Vec<Covered>, Refusal> {
        let entry = self.cursor.key().to_vec();
        let value = self.cursor.value()?;
        covered(self.index, &entry, value).ok_or_else(|| damaged(self.index, &entry))
    }
}

/// The key of the document an entry is of.
pub(super) fn document_of(index: &Index, entry: &[u8]) -> Result<Key, Refusal> {
    match entry.last_chunk::<KEY_BYTES>() {
        Some(key) if entry.len() > KEY_BYTES => Ok(Key::from_bytes(*key)),
        _ => Err(damaged(index, entry)),
    }
}

fn damaged(index: &Index, entry: &[u8]) -> Refusal {
    let message = format!(
        "index {} has an entry that is none, {}: drop the index and create it again",
        shown(&index.name),
        shown(&entry.escape_ascii().to_string())
    );
    Refusal::new(Status::Corrupt, message)
}

/// The values of an entry's fields; `None`: it is no entry of such an index.
fn covered(index: &Index, entry: &[u8], value: &[u8]) -> Option<Vec<Covered>> {
    let fields = &index.definition.fields;
    let mut key = entry.get(..entry.len().checked_sub(KEY_BYTES)?)?;
    let mut rest = if value.is_empty() { &[kind::PLAIN][..] } else { value };
    let mut out = Vec::with_capacity(fields.len());
    for (at, field) in fields.iter().enumerate() {
        let tag = take(&mut rest, 1)?[0];
        let len = match at + 1 < fields.len() {
            true => usize::from(take(&mut rest, 1)?[0]),
            false => key.len(),
        };
        let mut bytes = take(&mut key, len)?.to_vec();
        if field.descending {
            bytes.iter_mut().for_each(|byte| *byte = !*byte);
        }
        let number = |value: Value<'_>| ValueBuf::new(value).ok();
        out.push(match tag {
            kind::LOOK => Covered::Document,
            kind::PLAIN if bytes == [0x04] => Covered::Value(None),
            kind::PLAIN => Covered::Value(Some(plain(&bytes)?)),
            kind::INT32 => {
                let n = i32::try_from(integer(&bytes)?).ok()?;
                Covered::Value(Some(number(Value::Int32(n))?))
            }
            kind::INT64 => Covered::Value(Some(number(Value::Int64(integer(&bytes)?))?)),
            kind::DOUBLE => {
                let body = take(&mut rest, 8)?.try_into().ok()?;
                Covered::Value(Some(number(Value::Double(f64::from_le_bytes(body)))?))
            }
            kind::DECIMAL => {
                let body = take(&mut rest, 16)?.try_into().ok()?;
                let decimal = Value::Decimal128(Decimal128::from_bytes(body));
                Covered::Value(Some(number(decimal)?))
            }
            _ => return None,
        });
    }
    (rest.is_empty() && key.is_empty()).then_some(out)
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
fn plain(key: &[u8]) -> Option<ValueBuf> {
    let (&class, body) = key.split_first()?;
    let value = match class {
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
            let (text, _) = text(body)?;
            return ValueBuf::new(Value::String(std::str::from_utf8(&text).ok()?)).ok();
        }
        0x3C => {
            let (&subtype, body) = body.split_first()?;
            let (bytes, _) = text(body)?;
            let binary = proto::doc::Binary { subtype, bytes: &bytes };
            return ValueBuf::new(Value::Binary(binary)).ok();
        }
        0x50 => {
            let (pattern, rest) = text(body)?;
            let (options, _) = text(rest)?;
            let (pattern, options) = (std::str::from_utf8(&pattern).ok()?, options);
            let options = std::str::from_utf8(&options).ok()?;
            return ValueBuf::new(Value::Regex(proto::doc::Regex { pattern, options })).ok();
        }
        _ => return None,
    };
    ValueBuf::new(value).ok()
}

/// Bytes up to `00 00`, with `00 FF` made 00 again; and what follows.
fn text(mut from: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let mut out = Vec::with_capacity(from.len());
    loop {
        let at = from.iter().position(|&byte| byte == 0)?;
        out.extend_from_slice(&from[..at]);
        let after = *from.get(at + 1)?;
        from = &from[at + 2..];
        match after {
            0 => return Some((out, from)),
            0xFF => out.push(0),
            _ => return None,
        }
    }
}
