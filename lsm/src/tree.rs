//! What the trees hold: the cell of a leaf, and a walk over one tree.
//!
//! What must stay true: a keyspace's tree has the keyspace's number; a cell is
//! the value itself or the pointer to it, told apart by its first byte:
//!
//! ```text
//! +---+-----------+     +---+-----------------------+
//! | 0 | value ... |     | 1 | pointer (vlog, 16 B)  |
//! +---+-----------+     +---+-----------------------+
//! ```

use std::ops::Bound;

use btree::{Direction, View};
use vlog::{Pointer, Vlog};

use crate::batch::MAX_KEYSPACE;
use crate::{Error, KeyspaceId};

/// The tree of dead bytes per value log segment: `segments.rs`.
pub(crate) const SEGMENTS: u32 = MAX_KEYSPACE;

/// Trees of dropped keyspaces on their way out: `gc/graves.rs`.
pub(crate) const GRAVES: std::ops::Range<u32> = SEGMENTS + 1..u32::MAX;

/// So many entries before it is read a record is brought near.
const AHEAD: usize = 6;

const INLINE: u8 = 0;
const POINTER: u8 = 1;

/// What a leaf says about a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cell<'a> {
    Inline(&'a [u8]),
    Pointer(Pointer),
}

impl<'a> Cell<'a> {
    pub(crate) fn decode(keyspace: u32, bytes: &'a [u8]) -> Result<Cell<'a>, Error> {
        match bytes.split_first() {
            Some((&INLINE, value)) => Some(Cell::Inline(value)),
            Some((&POINTER, rest)) if rest.len() == Pointer::BYTES => {
                Pointer::from_bytes(rest).map(Cell::Pointer)
            }
            _ => None,
        }
        .ok_or_else(|| Error::Corrupt {
            file: crate::PAGES.into(),
            what: format!(
                "a value in the tree of keyspace {keyspace} begins with {:?}: neither a value nor \
                 a pointer",
                &bytes[..bytes.len().min(4)]
            ),
        })
    }

    pub(crate) fn encode_into(self, out: &mut Vec<u8>) {
        out.clear();
        match self {
            Cell::Inline(value) => {
                out.push(INLINE);
                out.extend_from_slice(value);
            }
            Cell::Pointer(at) => {
                out.push(POINTER);
                out.extend_from_slice(&at.to_bytes());
            }
        }
    }
}

/// A cursor over one tree that stands on an entry, as memtable walks do.
pub(crate) struct TreeWalk {
    cursor: btree::Cursor,
    keyspace: u32,
    /// The entry stood on, copied from its leaf; `None` past the end.
    on: bool,
    key: Vec<u8>,
    cell: Vec<u8>,
    /// The value, once it was read from the value log.
    record: Vec<u8>,
    /// Where in `record` it lies; `None`: not read yet.
    value_at: Option<usize>,
    /// The records of the next [`AHEAD`] entries were asked for.
    looks_ahead: bool,
}

impl TreeWalk {
    /// Placed before the first entry: [`TreeWalk::step`] or [`TreeWalk::seek`].
    pub(crate) fn new(
        view: &View,
        keyspace: KeyspaceId,
        lo: Bound<&[u8]>,
        hi: Bound<&[u8]>,
        direction: Direction,
    ) -> Self {
        TreeWalk {
            cursor: view.range(keyspace.0, lo, hi, direction),
            keyspace: keyspace.0,
            on: false,
            key: Vec::new(),
            cell: Vec::new(),
            record: Vec::new(),
            value_at: None,
            looks_ahead: false,
        }
    }

    pub(crate) fn key(&self) -> Option<&[u8]> {
        self.on.then_some(&self.key)
    }

    /// To the first entry at or beyond `key`.
    pub(crate) fn seek(&mut self, key: &[u8]) -> Result<(), Error> {
        self.looks_ahead = false;
        self.cursor.seek(key);
        self.step()
    }

    /// To the next entry.
    pub(crate) fn step(&mut self) -> Result<(), Error> {
        (self.on, self.value_at) = (false, None);
        if let Some((key, cell)) = self.cursor.next()? {
            self.key.clear();
            self.key.extend_from_slice(key);
            self.cell.clear();
            self.cell.extend_from_slice(cell);
            self.on = true;
        }
        Ok(())
    }

    /// Makes [`TreeWalk::value`] the value of the entry stood on.
    pub(crate) fn load(&mut self, values: &Vlog) -> Result<(), Error> {
        if let (true, None, Cell::Pointer(at)) =
            (self.on, self.value_at, Cell::decode(self.keyspace, &self.cell)?)
        {
            self.look_ahead(values);
            let record = values.read_of(at, self.keyspace, &self.key, &mut self.record)?;
            let len = record.value.len();
            self.value_at = Some(self.record.len() - len);
        }
        Ok(())
    }

    /// Has the records of the next entries brought near while this one is read:
    /// neighbours in the tree may lie far apart in the value log.
    fn look_ahead(&mut self, values: &Vlog) {
        let first = if std::mem::replace(&mut self.looks_ahead, true) { AHEAD - 1 } else { 0 };
        for n in first..AHEAD {
            let Some(cell) = self.cursor.ahead(n) else { break };
            if let Ok(Cell::Pointer(at)) = Cell::decode(self.keyspace, cell) {
                values.prefetch(at);
            }
        }
    }

    /// The value after [`TreeWalk::load`].
    pub(crate) fn value(&self) -> &[u8] {
        match self.value_at {
            Some(at) => &self.record[at..],
            None => self.cell.get(1..).unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden() {
        let mut bytes = Vec::new();
        Cell::Inline(b"ab").encode_into(&mut bytes);
        assert_eq!(bytes, [0, b'a', b'b']);
        let pointer = Cell::Pointer(Pointer { segment: 1, len: 2, offset: 3 });
        pointer.encode_into(&mut bytes);
        assert_eq!(bytes, [1, 1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(Cell::decode(7, &bytes).unwrap(), pointer);
    }

    #[test]
    fn other_bytes_are_damage() {
        for bytes in [&[][..], &[2, 0], &[1, 0, 0]] {
            assert!(matches!(Cell::decode(7, bytes), Err(Error::Corrupt { .. })), "{bytes:?}");
        }
    }
}
