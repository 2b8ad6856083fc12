//! An append-only arena with stable indices, readable while it grows.
//!
//! What must stay true: one thread pushes at a time (the memtable's writer
//! lock); a slot is written once and never moves, so a reader holding an index
//! may read it at any time without a lock. Chunks start small (a store that is
//! hardly written costs little) and stop growing at [`CHUNK`] slots (a growing
//! one never pauses a commit for long).

use std::sync::OnceLock;

/// Slots in a full-sized chunk.
const CHUNK: u32 = 1024;
/// Slots in the first chunk.
const FIRST: u32 = 16;
/// Chunks of 16, 16, 32, 64, 128, 256, 512 slots hold the first 1024.
const SMALL: usize = 7;
/// Blocks of 1, 2, 4, ... pointers to full-sized chunks hold the rest.
const BLOCKS: usize = 22;

/// A place for a value, written once.
pub(crate) trait Slot {
    /// What it holds.
    type Value;
    /// An empty one.
    fn empty() -> Self;
    /// The cell in it.
    fn cell(&self) -> &OnceLock<Self::Value>;
}

/// A slot as small as can be.
pub(crate) struct Packed<T>(OnceLock<T>);

/// A slot that begins with a cache line: a value of up to 56 bytes is reached
/// with one miss.
#[repr(align(64))]
pub(crate) struct Line<T>(OnceLock<T>);

impl<T> Slot for Packed<T> {
    type Value = T;
    fn empty() -> Self {
        Packed(OnceLock::new())
    }
    #[inline]
    fn cell(&self) -> &OnceLock<T> {
        &self.0
    }
}

impl<T> Slot for Line<T> {
    type Value = T;
    fn empty() -> Self {
        Line(OnceLock::new())
    }
    #[inline]
    fn cell(&self) -> &OnceLock<T> {
        &self.0
    }
}

type Chunk<S> = OnceLock<Box<[S]>>;

/// See the module.
pub(crate) struct Arena<S> {
    small: [Chunk<S>; SMALL],
    blocks: [OnceLock<Box<[Chunk<S>]>>; BLOCKS],
}

fn slots<S: Slot>(n: u32) -> Box<[S]> {
    (0..n).map(|_| S::empty()).collect()
}

/// Where slot `i < CHUNK` lies: chunk, place in it, length of the chunk.
fn small_place(i: u32) -> (usize, usize, u32) {
    let k = u32::BITS - (i / FIRST).leading_zeros();
    let start = if k == 0 { 0 } else { FIRST << (k - 1) };
    (k as usize, (i - start) as usize, start.max(FIRST))
}

/// Where slot `i >= CHUNK` lies: block, chunk in it, place in that.
fn big_place(i: u32) -> (usize, usize, usize) {
    let chunk = i / CHUNK; // from 1
    let block = chunk.ilog2();
    (block as usize, (chunk - (1 << block)) as usize, (i % CHUNK) as usize)
}

impl<S: Slot> Arena<S> {
    /// How many slots an arena can hold: the node limit of one memtable.
    pub(crate) const CAPACITY: u32 = CHUNK * ((1 << BLOCKS) - 1);

    pub(crate) const fn new() -> Self {
        Arena {
            small: [const { OnceLock::new() }; SMALL],
            blocks: [const { OnceLock::new() }; BLOCKS],
        }
    }

    /// Fills slot `i`, once. Callers hand out `i` densely from 0 and below
    /// [`Self::CAPACITY`]. Returns the bytes newly allocated for slots.
    pub(crate) fn fill(&self, i: u32, value: S::Value) -> usize {
        let mut grown = 0;
        let slot = if i < CHUNK {
            let (k, at, len) = small_place(i);
            let chunk = self.small[k].get_or_init(|| {
                grown = len as usize;
                slots(len)
            });
            &chunk[at]
        } else {
            let (block, chunk, at) = big_place(i);
            let block = self.blocks[block]
                .get_or_init(|| (0..1 << block).map(|_| OnceLock::new()).collect());
            let chunk = block[chunk].get_or_init(|| {
                grown = CHUNK as usize;
                slots(CHUNK)
            });
            &chunk[at]
        };
        let fresh = slot.cell().set(value).is_ok();
        debug_assert!(fresh, "slot {i} filled twice");
        grown * size_of::<S>()
    }

    /// The value of slot `i`, or `None` if it was not filled (yet).
    #[inline]
    pub(crate) fn get(&self, i: u32) -> Option<&S::Value> {
        if i < CHUNK {
            let (k, at, _) = small_place(i);
            self.small[k].get()?.get(at)?.cell().get()
        } else {
            let (block, chunk, at) = big_place(i);
            self.blocks.get(block)?.get()?.get(chunk)?.get()?.get(at)?.cell().get()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_index_has_a_place_of_its_own_and_keeps_it() {
        let arena = Arena::<Packed<u32>>::new();
        let mut grown = 0;
        for i in 0..10_000 {
            assert!(arena.get(i).is_none());
            grown += arena.fill(i, i);
        }
        for i in 0..10_000 {
            assert_eq!(arena.get(i), Some(&i));
        }
        // 1024 in small chunks, then nine full ones.
        assert_eq!(grown, 10 * 1024 * size_of::<Packed<u32>>());
        assert!(arena.get(u32::MAX).is_none());
    }
}
