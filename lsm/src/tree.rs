//! What the trees hold: the cell of a leaf, and a walk over one tree.
//!
//! What must stay true: a keyspace's tree has the keyspace's number; a cell is
//! the value itself, alone or behind the LSN of the commit that wrote it, or the pointer
//! to it, told apart by its first byte:
//!
//! ```text
//! +---+-----------+   +---+-----------------------+   +---+------------+-----------+
//! | 0 | value ... |   | 1 | pointer (vlog, 16 B)  |   | 3 | LSN u64 LE | value ... |
//! +---+-----------+   +---+-----------------------+   +---+------------+-----------+
//! ```
//!
//! In a run (`runs/`) the single byte 2 says that the key is deleted. A record of the
//! value log has its LSN itself. Whether the LSN of a short value is kept, its writer
//! says ([`Batch::put_versioned`](crate::Batch::put_versioned)); it is never 0.

use std::ops::Bound;

use btree::{Direction, View};
use vlog::Pointer;

use crate::batch::MAX_KEYSPACE;
use crate::{Error, Lsn};

/// The tree of dead bytes per value log segment: `segments.rs`.
pub(crate) const SEGMENTS: u32 = MAX_KEYSPACE;

/// The tree of runs by keyspace: `runs/table.rs`.
pub(crate) const RUNS: u32 = SEGMENTS + 1;

/// Trees that are runs of a keyspace: `runs/`.
pub(crate) const RUN_TREES: std::ops::Range<u32> = RUNS + 1..SEGMENTS + 0x4000;

/// Trees of dropped keyspaces on their way out: `gc/graves.rs`.
pub(crate) const GRAVES: std::ops::Range<u32> = RUN_TREES.end..u32::MAX;

const INLINE: u8 = 0;
const POINTER: u8 = 1;
const TOMB: u8 = 2;
const VERSIONED: u8 = 3;

/// Where the value begins in a cell that has its LSN.
const BEHIND_LSN: usize = 1 + size_of::<Lsn>();

/// What a leaf says about a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cell<'a> {
    /// The value, and the commit that wrote it; 0: that is not kept.
    Inline(&'a [u8], Lsn),
    Pointer(Pointer),
    /// In runs only: the key is deleted.
    Tomb,
}

impl<'a> Cell<'a> {
    #[inline]
    pub(crate) fn decode(keyspace: u32, bytes: &'a [u8]) -> Result<Cell<'a>, Error> {
        match bytes.split_first() {
            Some((&INLINE, value)) => Some(Cell::Inline(value, 0)),
            Some((&POINTER, rest)) if rest.len() == Pointer::BYTES => {
                Pointer::from_bytes(rest).map(Cell::Pointer)
            }
            Some((&VERSIONED, rest)) => match rest.split_first_chunk() {
                Some((lsn, value)) if *lsn != [0; 8] => {
                    Some(Cell::Inline(value, Lsn::from_le_bytes(*lsn)))
                }
                _ => None,
            },
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

    /// The cell of any tree: runs, and graves of them, have tombstones too.
    pub(crate) fn decode_in(tree: u32, bytes: &'a [u8]) -> Result<Cell<'a>, Error> {
        if Cell::is_tomb(bytes) && (RUN_TREES.contains(&tree) || GRAVES.contains(&tree)) {
            return Ok(Cell::Tomb);
        }
        Cell::decode(tree, bytes)
    }

    /// Whether a run's cell says that the key is deleted.
    #[inline]
    pub(crate) fn is_tomb(bytes: &[u8]) -> bool {
        bytes == Cell::TOMB
    }

    /// A run's cell of a deleted key.
    pub(crate) const TOMB: [u8; 1] = [TOMB];

    pub(crate) fn encode_into(self, out: &mut Vec<u8>) {
        out.clear();
        match self {
            Cell::Inline(value, 0) => {
                out.push(INLINE);
                out.extend_from_slice(value);
            }
            Cell::Inline(value, lsn) => {
                out.push(VERSIONED);
                out.extend_from_slice(&lsn.to_le_bytes());
                out.extend_from_slice(value);
            }
            Cell::Pointer(at) => {
                out.push(POINTER);
                out.extend_from_slice(&at.to_bytes());
            }
            Cell::Tomb => out.push(TOMB),
        }
    }
}

/// The value in a cell that holds one, and was decoded.
#[inline]
pub(crate) fn value_of(cell: &[u8]) -> &[u8] {
    match cell.first() {
        Some(&VERSIONED) => &cell[BEHIND_LSN..],
        _ => &cell[1..],
    }
}

/// A cursor over one tree that stands before an entry, as memtable walks stand on one.
pub(crate) struct TreeWalk(btree::Cursor, u32);

impl TreeWalk {
    /// Before the first entry; [`TreeWalk::settle`] comes next.
    pub(crate) fn new(
        view: &View,
        tree: u32,
        lo: Bound<&[u8]>,
        hi: Bound<&[u8]>,
        direction: Direction,
    ) -> Self {
        TreeWalk(view.range(tree, lo, hi, direction), tree)
    }

    /// Its tree: a keyspace, or a run of one.
    pub(crate) fn tree(&self) -> u32 {
        self.1
    }

    /// Has the next entry at hand, if there is one.
    #[inline]
    pub(crate) fn settle(&mut self) -> Result<(), Error> {
        self.0.settle()?;
        Ok(())
    }

    /// The key of the next entry; `None` past the end. After [`TreeWalk::settle`].
    #[inline]
    pub(crate) fn key(&self) -> Option<&[u8]> {
        self.0.peek()
    }

    /// To the first entry at or beyond `key`.
    pub(crate) fn seek(&mut self, key: &[u8]) {
        self.0.seek(key);
    }

    /// To the first entry of the range.
    pub(crate) fn rewind(&mut self) {
        self.0.rewind();
    }

    /// Past the next entry.
    pub(crate) fn skip(&mut self) {
        let mut skipped = false;
        self.0.run(|_, _, _| !std::mem::replace(&mut skipped, true));
    }

    /// See [`btree::Cursor::run`]: a key in two parts, a cell.
    #[inline]
    pub(crate) fn run(&mut self, take: impl FnMut(&[u8], &[u8], &[u8]) -> bool) {
        self.0.run(take);
    }

    /// Where the values of the next `n` entries of this leaf lie, of those that lie
    /// in the value log.
    pub(crate) fn ahead(&self, n: usize) -> impl Iterator<Item = Pointer> + '_ {
        let cells = (0..n).map_while(|n| self.0.ahead(n));
        cells.filter_map(|cell| match Cell::decode(0, cell) {
            Ok(Cell::Pointer(at)) => Some(at),
            _ => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden() {
        let mut bytes = Vec::new();
        Cell::Inline(b"ab", 0).encode_into(&mut bytes);
        assert_eq!(bytes, [0, b'a', b'b']);
        assert_eq!(value_of(&bytes), b"ab");
        Cell::Inline(b"ab", 0x0102).encode_into(&mut bytes);
        assert_eq!(bytes, [3, 2, 1, 0, 0, 0, 0, 0, 0, b'a', b'b']);
        assert_eq!(value_of(&bytes), b"ab");
        assert_eq!(Cell::decode(7, &bytes).unwrap(), Cell::Inline(b"ab", 0x0102));
        let pointer = Cell::Pointer(Pointer { segment: 1, len: 2, offset: 3 });
        pointer.encode_into(&mut bytes);
        assert_eq!(bytes, [1, 1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(Cell::decode(7, &bytes).unwrap(), pointer);
    }

    #[test]
    fn other_bytes_are_damage() {
        for bytes in [
            &[][..],
            &[2, 0],
            &[1, 0, 0],
            &[3, 1, 0, 0, 0, 0, 0, 0],
            &[3, 0, 0, 0, 0, 0, 0, 0, 0, 7],
        ] {
            assert!(matches!(Cell::decode(7, bytes), Err(Error::Corrupt { .. })), "{bytes:?}");
        }
    }
}
