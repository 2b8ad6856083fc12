//! The segment table: what is dead in each value log segment, kept exactly, in a
//! tree of its own.
//!
//! What must stay true:
//! * a segment has a row from the commit on that first names one of its records
//!   until it is unlinked; a row without a file says that all of it is dead;
//! * `dead` is the sum of the lengths of its records that no tree names: it grows
//!   in the commit that stops naming them, and in the commit whose tail takes
//!   them in without naming them (left by a flush or a collection that failed);
//! * records before `cleared` are named by no keyspace's tree, ever again.
//!
//! ```text
//!  key                      value
//! +------------------+     +-------+------+---------+
//! | segment, u32 BE  |     | bytes | dead | cleared |   3 x u64 LE
//! +------------------+     +-------+------+---------+
//!   bytes: of records in it as far as the committed tail takes them in.
//!   cleared: an offset in the file; 0 before a collection got anywhere.
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use btree::{Direction, Op, View, Write};
use vlog::{Pointer, Tail, Vlog};
use zerocopy::byteorder::little_endian::U64;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::tree::{Cell, SEGMENTS};
use crate::{Error, KeyspaceId};

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Raw {
    bytes: U64,
    dead: U64,
    cleared: U64,
}
const _: () = assert!(size_of::<Raw>() == 24);

/// What the table says of one segment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Row {
    /// Bytes of its records.
    pub(crate) bytes: u64,
    /// Of them, bytes of records that no tree names.
    pub(crate) dead: u64,
    /// Nothing before this offset of the file needs to be looked at again.
    pub(crate) cleared: u64,
}

impl Row {
    /// Whether no tree names anything in it.
    pub(crate) fn is_dead(self) -> bool {
        self.bytes > 0 && self.dead == self.bytes
    }

    fn encode(self) -> [u8; 24] {
        let raw = Raw {
            bytes: U64::new(self.bytes),
            dead: U64::new(self.dead),
            cleared: U64::new(self.cleared),
        };
        zerocopy::transmute!(raw)
    }

    fn decode(key: &[u8], value: &[u8]) -> Result<(u32, Row), Error> {
        let (Ok(id), Ok(raw)) = (<[u8; 4]>::try_from(key), Raw::ref_from_bytes(value)) else {
            return Err(corrupt(format!(
                "a row of the segment table has a key of {} and a value of {} bytes, not 4 and 24",
                key.len(),
                value.len()
            )));
        };
        let row = Row { bytes: raw.bytes.get(), dead: raw.dead.get(), cleared: raw.cleared.get() };
        Ok((u32::from_be_bytes(id), row))
    }
}

fn corrupt(what: String) -> Error {
    Error::Corrupt { file: crate::PAGES.into(), what }
}

/// The whole table as of `view`.
pub(crate) fn table(view: &View) -> Result<BTreeMap<u32, Row>, Error> {
    let all = (Bound::Unbounded, Bound::Unbounded);
    let mut cursor = view.range(SEGMENTS, all.0, all.1, Direction::Forward);
    let mut rows = BTreeMap::new();
    while let Some((key, value)) = cursor.next()? {
        let (id, row) = Row::decode(key, value)?;
        rows.insert(id, row);
    }
    Ok(rows)
}

fn row(view: &View, id: u32) -> Result<Row, Error> {
    let key = id.to_be_bytes();
    match view.get(SEGMENTS, &key)? {
        None => Ok(Row::default()),
        Some(value) => Ok(Row::decode(&key, &value)?.1),
    }
}

/// When a store is opened: each segment that is there is as long as trees may
/// rest on. (That each is there: `directory.rs`.)
pub(crate) fn check(view: &View, values: &Vlog, tail: Tail) -> Result<(), Error> {
    let there: BTreeMap<u32, u64> =
        values.segments().into_iter().map(|info| (info.id, info.bytes)).collect();
    for (id, row) in table(view)? {
        if row.dead > row.bytes || id > tail.segment {
            return Err(corrupt(format!(
                "its segment table says of value log segment {id} that {} of {} bytes are dead, \
                 and the last segment is {}",
                row.dead, row.bytes, tail.segment
            )));
        }
        if let Some(bytes) = there.get(&id).filter(|bytes| **bytes < row.bytes && !row.is_dead()) {
            let what = format!("it has {bytes} bytes of records, there were {}", row.bytes);
            return Err(Error::Corrupt { file: file(id), what });
        }
    }
    Ok(())
}

/// The path of a segment's file.
pub(crate) fn file(id: u32) -> String {
    format!("{}/{id:010}.vlog", crate::VLOG_DIR)
}

/// What one commit changes in the table.
#[derive(Default)]
pub(crate) struct Changes {
    /// Bytes no longer named.
    dead: BTreeMap<u32, u64>,
    /// Bytes named from now on.
    named: BTreeMap<u32, u64>,
    cleared: BTreeMap<u32, u64>,
    /// The first cell that made no sense, since callbacks cannot fail.
    fault: Option<Error>,
}

impl Changes {
    /// Takes note of a cell that is being replaced or deleted.
    pub(crate) fn cell(&mut self, keyspace: u32, cell: &[u8]) {
        match Cell::decode_in(keyspace, cell) {
            Ok(Cell::Inline(..) | Cell::Tomb) => {}
            Ok(Cell::Pointer(at)) => self.dead(at),
            Err(fault) => self.fault(fault),
        }
    }

    /// No tree names this record any more.
    pub(crate) fn dead(&mut self, at: Pointer) {
        *self.dead.entry(at.segment).or_default() += u64::from(at.len);
    }

    /// A tree names this record from now on.
    pub(crate) fn named(&mut self, at: Pointer) {
        *self.named.entry(at.segment).or_default() += u64::from(at.len);
    }

    /// Bytes named so far, by segment.
    pub(crate) fn named_bytes(&self) -> &BTreeMap<u32, u64> {
        &self.named
    }

    /// Bytes no longer named so far.
    pub(crate) fn dead_bytes(&self) -> u64 {
        self.dead.values().sum()
    }

    /// The segment was looked through up to this offset.
    pub(crate) fn cleared(&mut self, segment: u32, offset: u64) {
        self.cleared.insert(segment, offset);
    }

    /// The commit must not be made.
    pub(crate) fn fault(&mut self, fault: Error) {
        self.fault.get_or_insert(fault);
    }

    /// Takes note of a whole tree that is being dropped, by walking it.
    pub(crate) fn tree(&mut self, view: &View, keyspace: KeyspaceId) -> Result<(), Error> {
        let all = (Bound::Unbounded, Bound::Unbounded);
        let mut cursor = view.range(keyspace.0, all.0, all.1, Direction::Forward);
        while let Some((_, cell)) = cursor.next()? {
            self.cell(keyspace.0, cell);
        }
        Ok(())
    }

    /// Brings the table from `view` to what this commit makes of it, the value
    /// log's tail moving `from` one place `to` another, and forgets segments that
    /// are `gone`. Returns the rows that changed.
    pub(crate) fn write(
        self,
        view: &View,
        write: &mut Write<'_>,
        values: &Vlog,
        (from, to): (Tail, Tail),
        gone: &BTreeSet<u32>,
    ) -> Result<Vec<(u32, Row)>, Error> {
        if let Some(fault) = self.fault {
            return Err(fault);
        }
        let mut bytes: BTreeMap<u32, u64> = BTreeMap::new();
        if from != to {
            for info in values.segments() {
                if (from.segment..to.segment).contains(&info.id) {
                    bytes.insert(info.id, info.bytes);
                }
            }
            bytes.insert(to.segment, to.record_bytes());
        }
        let mut ids: BTreeSet<u32> = bytes.keys().copied().collect();
        ids.extend(self.dead.keys().chain(self.named.keys()).chain(self.cleared.keys()));
        let mut rows = Vec::with_capacity(ids.len());
        for id in ids {
            let before = row(view, id)?;
            let of = |map: &BTreeMap<u32, u64>| map.get(&id).copied().unwrap_or(0);
            let now = bytes.get(&id).copied().unwrap_or(before.bytes);
            // What the tail takes in and nothing names is dead from the start.
            let dead = now
                .checked_sub(before.bytes)
                .and_then(|grown| before.dead.checked_add(grown)?.checked_add(of(&self.dead)))
                .and_then(|dead| dead.checked_sub(of(&self.named)))
                .filter(|dead| *dead <= now);
            let Some(dead) = dead else {
                return Err(corrupt(format!(
                    "its segment table does not add up: value log segment {id} has {now} bytes, \
                     had {}, {} of them dead; {} more are dead now, {} are named",
                    before.bytes,
                    before.dead,
                    of(&self.dead),
                    of(&self.named)
                )));
            };
            let cleared = before.cleared.max(of(&self.cleared));
            let after = Row { bytes: now, dead, cleared };
            if after != before {
                rows.push((id, after));
            }
        }
        let mut ops: BTreeMap<[u8; 4], Op<[u8; 24]>> =
            gone.iter().map(|id| (id.to_be_bytes(), Op::Delete)).collect();
        ops.extend(rows.iter().map(|(id, row)| (id.to_be_bytes(), Op::Put(row.encode()))));
        write.apply(SEGMENTS, ops, &mut |_, _| {})?;
        Ok(rows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden() {
        let row = Row { bytes: 0x0102, dead: 3, cleared: 0x20 };
        let mut want = [0; 24];
        (want[0], want[1], want[8], want[16]) = (2, 1, 3, 0x20);
        assert_eq!(row.encode(), want);
        assert_eq!(Row::decode(&[0, 0, 0, 9], &want).unwrap(), (9, row));
    }

    #[test]
    fn rows_of_other_lengths_are_damage() {
        for (key, value) in [(&[0; 4][..], &[0; 8][..]), (&[0; 3], &[0; 24]), (&[0; 4], &[0; 25])] {
            assert!(matches!(Row::decode(key, value), Err(Error::Corrupt { .. })));
        }
    }
}
