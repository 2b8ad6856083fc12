//! Reading an index: bounds, a cursor, how many entries there are.
//!
//! What must stay true: an estimate says whether it is exact.

use std::ops::Bound;

use lsm::{Cursor, Direction, Snapshot};
use proto::doc::Value;
use proto::{Key, Status, order};

use super::Index;
use super::entry::most;
use crate::error::shown;
use crate::{Engine, Refusal};

/// Bytes of a document's key, at the end of each entry.
pub(super) const KEY_BYTES: usize = 16;

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

    pub(crate) fn borrowed(&self) -> (Bound<&[u8]>, Bound<&[u8]>) {
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
        // Mostly there never was one.
        if snapshot.is_vacant(self.arrays())? {
            return Ok(false);
        }
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
        cursor.guesses();
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
    pub(crate) fn bytes(&self) -> &[u8] {
        self.cursor.key()
    }

    /// The entry, and what stands beside it.
    #[cfg(test)]
    pub(crate) fn entry(&mut self) -> Result<(Vec<u8>, Vec<u8>), Refusal> {
        Ok((self.cursor.key().to_vec(), self.cursor.value()?.to_vec()))
    }

    /// The key of the document it is of.
    ///
    /// # Errors
    /// It is no entry.
    pub(crate) fn document(&self) -> Result<Key, Refusal> {
        document_of(self.index, self.cursor.key())
    }
}

/// The key of the document an entry is of.
pub(crate) fn document_of(index: &Index, entry: &[u8]) -> Result<Key, Refusal> {
    match entry.last_chunk::<KEY_BYTES>() {
        Some(key) if entry.len() > KEY_BYTES => Ok(Key::from_bytes(*key)),
        _ => Err(damaged(index, entry)),
    }
}

pub(super) fn damaged(index: &Index, entry: &[u8]) -> Refusal {
    let message = format!(
        "index {} has an entry that is none, {}: drop the index and create it again",
        shown(&index.name),
        shown(&entry.escape_ascii().to_string())
    );
    Refusal::new(Status::Corrupt, message)
}
