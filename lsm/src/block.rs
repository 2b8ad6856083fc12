//! Entries that a cursor has read ahead, in memory of its own.
//!
//! What must stay true: nothing here holds a memtable, a page or a file, so that a
//! block may outlive what it was read from; entries come in the cursor's order, each
//! with its whole key; a value is there, or it is known where to get it.

use std::ops::Range;

use vlog::{Pointer, Reader};

use crate::KeyspaceId;

/// The most entries of a block.
pub(crate) const MOST: usize = 32;
/// So many records before it is read one is brought near.
pub(crate) const AHEAD: usize = 8;
/// Bytes of values after which no other entry is begun.
const ENOUGH: usize = 32 << 10;
/// Values of memtables up to this long are copied for a cursor that may not ask.
const SMALL: usize = 64;
/// Bytes a key is thought to have.
const KEY: usize = 40;
/// More memory than this is not kept from one block to the next.
const KEEP: usize = 256 << 10;

/// See the module.
#[derive(Default)]
pub(crate) struct Block {
    keys: Vec<u8>,
    values: Vec<u8>,
    entries: Vec<Slot>,
    /// Of records still to be read into `values`.
    coming: usize,
}

struct Slot {
    key: Range<usize>,
    value: Place,
}

/// Where a value is.
#[derive(Clone)]
pub(crate) enum Place {
    /// In the block.
    Here(Range<usize>),
    /// In the value log.
    Log(Pointer),
    /// Where a get of the key finds it.
    Ask,
}

/// What a source says about a value.
pub(crate) enum Found<'a> {
    Bytes(&'a [u8]),
    Log(Pointer),
    /// What the tree holds is no cell: a get says so.
    Bad,
}

impl Block {
    pub(crate) fn clear(&mut self) {
        self.keys.clear();
        self.values.clear();
        self.values.shrink_to(KEEP);
        self.entries.clear();
        self.coming = 0;
    }

    /// So many entries come: the places for them are made at once.
    pub(crate) fn reserve(&mut self, entries: usize) {
        self.entries.reserve(entries);
        self.keys.reserve(entries * KEY);
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is room for one more of `want` entries.
    #[inline]
    pub(crate) fn has_room(&self, want: usize) -> bool {
        self.entries.len() < want && self.values.len() + self.coming < ENOUGH
    }

    pub(crate) fn key(&self, i: usize) -> &[u8] {
        &self.keys[self.entries[i].key.clone()]
    }

    pub(crate) fn place(&self, i: usize) -> &Place {
        &self.entries[i].value
    }

    /// A value that is [`Place::Here`].
    pub(crate) fn value(&self, at: &Range<usize>) -> &[u8] {
        &self.values[at.clone()]
    }

    /// Adds an entry; `load`: its value will be asked for.
    #[inline]
    pub(crate) fn push(&mut self, key: [&[u8]; 2], value: Found<'_>, load: bool) {
        let start = self.keys.len();
        self.keys.extend_from_slice(key[0]);
        self.keys.extend_from_slice(key[1]);
        let value = match value {
            Found::Bytes(bytes) if load || bytes.len() <= SMALL => {
                let start = self.values.len();
                self.values.extend_from_slice(bytes);
                Place::Here(start..self.values.len())
            }
            Found::Log(at) => {
                self.coming += if load { at.len as usize } else { 0 };
                Place::Log(at)
            }
            Found::Bytes(_) | Found::Bad => Place::Ask,
        };
        self.entries.push(Slot { key: start..self.keys.len(), value });
    }

    /// Reads the values that lie in the value log, up to the first that cannot be
    /// read: who comes to that one tries again, and is told. A few records ahead of
    /// each, and in the end those of `then`, are brought near.
    pub(crate) fn load(
        &mut self,
        keyspace: KeyspaceId,
        values: &mut Reader<'_>,
        then: impl Iterator<Item = Pointer>,
    ) {
        self.values.reserve(self.coming);
        self.coming = 0;
        for slot in self.entries.iter().take(AHEAD) {
            slot.hint(values);
        }
        let mut then = then;
        for n in 0..self.entries.len() {
            match self.entries.get(n + AHEAD) {
                Some(slot) => slot.hint(values),
                None => then.by_ref().take(1).for_each(|at| values.prefetch(at)),
            }
            let slot = &mut self.entries[n];
            let Place::Log(at) = slot.value else { continue };
            let key = &self.keys[slot.key.clone()];
            let Ok(len) = values.append_of(at, keyspace.0, key, &mut self.values) else { break };
            slot.value = Place::Here(self.values.len() - len..self.values.len());
        }
    }
}

impl Slot {
    #[inline]
    fn hint(&self, values: &mut Reader<'_>) {
        if let Place::Log(at) = self.value {
            values.prefetch(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_bounded_in_entries_and_bytes() {
        let mut block = Block::default();
        let put = |block: &mut Block, len: usize| {
            block.push([b"k", b"ey"], Found::Bytes(&vec![7; len]), true);
        };
        for n in 0..MOST {
            assert!(block.has_room(MOST), "{n}");
            put(&mut block, 10);
        }
        assert!(!block.has_room(MOST));
        // A large value ends it, in memory or still to be read;
        block.clear();
        put(&mut block, ENOUGH);
        assert!(!block.has_room(MOST));
        block.clear();
        let large = Pointer { segment: 1, len: ENOUGH as u32, offset: 32 };
        block.push([b"", b"key"], Found::Log(large), true);
        assert!(!block.has_room(MOST));
        // one that is not asked for does not.
        block.clear();
        block.push([b"", b"key"], Found::Log(large), false);
        block.push([b"", b"key2"], Found::Bytes(&vec![7; ENOUGH]), false);
        assert!(block.has_room(MOST) && block.values.is_empty());
        assert!(matches!(block.place(0), Place::Log(_)) && matches!(block.place(1), Place::Ask));
        assert_eq!((block.key(0), block.key(1)), (&b"key"[..], &b"key2"[..]));
    }

    #[test]
    fn memory_of_a_huge_value_is_not_kept() {
        let mut block = Block::default();
        block.push([b"k", b""], Found::Bytes(&vec![7; 4 * KEEP]), true);
        block.clear();
        assert!(block.values.capacity() <= KEEP);
    }
}
