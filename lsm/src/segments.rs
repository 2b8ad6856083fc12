//! Dead bytes per value log segment, kept exactly, in a tree of their own.
//!
//! What must stay true: the count of a segment is the sum of the lengths of its
//! records that no tree names any more; it changes in the commit that stops
//! naming them. Key: the segment's number, 4 bytes big-endian; value: the count,
//! 8 bytes little-endian.

use std::collections::BTreeMap;
use std::ops::Bound;

use btree::{Direction, Op, View, Write};
use vlog::{SegmentUse, Vlog};

use crate::tree::{Cell, SEGMENTS};
use crate::{Error, KeyspaceId};

/// What one flush makes dead.
#[derive(Default)]
pub(crate) struct Dead {
    bytes: BTreeMap<u32, u64>,
    /// The first cell that made no sense, since callbacks cannot fail.
    fault: Option<Error>,
}

impl Dead {
    /// Takes note of a cell that is being replaced or deleted.
    pub(crate) fn cell(&mut self, keyspace: u32, cell: &[u8]) {
        match Cell::decode(keyspace, cell) {
            Ok(Cell::Inline(_)) => {}
            Ok(Cell::Pointer(at)) => {
                *self.bytes.entry(at.segment).or_default() += u64::from(at.len);
            }
            Err(fault) => {
                self.fault.get_or_insert(fault);
            }
        }
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

    /// Adds all of it to the tree.
    pub(crate) fn write(self, view: &View, write: &mut Write<'_>) -> Result<(), Error> {
        if let Some(fault) = self.fault {
            return Err(fault);
        }
        let mut counts = Vec::with_capacity(self.bytes.len());
        for (segment, bytes) in self.bytes {
            let before = count(segment, view.get(SEGMENTS, &segment.to_be_bytes())?.as_deref())?;
            counts.push((segment.to_be_bytes(), Op::Put((before + bytes).to_le_bytes())));
        }
        write.apply(SEGMENTS, counts, &mut |_, _| {})?;
        Ok(())
    }
}

fn count(segment: u32, value: Option<&[u8]>) -> Result<u64, Error> {
    match value.map(<[u8; 8]>::try_from) {
        None => Ok(0),
        Some(Ok(bytes)) => Ok(u64::from_le_bytes(bytes)),
        Some(Err(_)) => Err(Error::Corrupt {
            file: crate::PAGES.into(),
            what: format!("the count of dead bytes of value log segment {segment} has no 8 bytes"),
        }),
    }
}

/// All segments and how much of them is dead, as of `view`.
pub(crate) fn usage(view: &View, values: &Vlog) -> Result<Vec<SegmentUse>, Error> {
    let with_dead = |info: vlog::SegmentInfo| {
        let dead = count(info.id, view.get(SEGMENTS, &info.id.to_be_bytes())?.as_deref())?;
        Ok(SegmentUse { id: info.id, bytes: info.bytes, dead, sealed: info.sealed })
    };
    values.segments().into_iter().map(with_dead).collect()
}
