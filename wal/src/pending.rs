//! Sync mode: frames in memory until the next flush writes them, whole blocks
//! from an aligned buffer.
//!
//! Must stay true:
//! * the buffer covers the segment from the block that holds the first byte not
//!   yet taken, up to `end`; what is behind `end` in its last block is zero;
//! * a last block that is only partly full is written now and again later, with
//!   the same bytes in front: a torn rewrite cannot change what was durable;
//! * taking leaves appends free to go on while the taken blocks are written.

use crate::Lsn;
use crate::segment::SegmentHeader;
use platform::BLOCK;
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout};

const BLOCK_64: u64 = BLOCK as u64;
/// Capacity kept between flushes, in blocks.
const KEEP: usize = 256;

/// A block at an address that direct writes like.
#[derive(Clone, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, align(4096))]
struct Block([u8; BLOCK]);

/// Frames on their way to the disk.
pub(crate) struct Pending {
    blocks: Vec<Block>,
    /// Offset of `blocks[0]` in the segment.
    start: u64,
    /// Offset behind the last byte.
    end: u64,
    /// Nothing below needs writing.
    taken: u64,
    /// The newest frame.
    last: Lsn,
    /// A buffer to use again.
    free: Vec<Block>,
}

/// Blocks to be written.
pub(crate) struct Batch {
    blocks: Vec<Block>,
    pub(crate) start: u64,
    pub(crate) last: Lsn,
}

impl Batch {
    pub(crate) fn bytes(&self) -> &[u8] {
        self.blocks.as_bytes()
    }
}

/// The first block of a segment: its header, then zeros.
pub(crate) fn first_block(header: &SegmentHeader) -> Vec<u8> {
    let mut block = vec![0; BLOCK];
    let bytes = header.encode();
    block[..bytes.len()].copy_from_slice(&bytes);
    block
}

impl Pending {
    pub(crate) fn new() -> Self {
        let (blocks, free) = (Vec::new(), Vec::new());
        Self { blocks, start: 0, end: 0, taken: 0, last: 0, free }
    }

    /// Begins a segment whose first block is on the disk.
    pub(crate) fn begin(&mut self, header: &SegmentHeader) {
        let bytes = header.encode();
        self.blocks.clear();
        self.start = 0;
        self.end = 0;
        self.put(&bytes);
        self.taken = self.end;
        self.last = header.first_lsn - 1;
    }

    /// Bytes that no flush has taken.
    pub(crate) fn waiting(&self) -> u64 {
        self.end - self.taken
    }

    /// Adds frame `lsn` at `end`.
    pub(crate) fn append(&mut self, lsn: Lsn, header: &[u8], payload: &[u8], frame_len: u64) {
        let end = self.end + frame_len;
        self.put(header);
        self.put(payload);
        self.reach(end);
        self.end = end;
        self.last = lsn;
    }

    fn put(&mut self, bytes: &[u8]) {
        let from = (self.end - self.start) as usize;
        self.reach(self.end + bytes.len() as u64);
        self.blocks.as_mut_bytes()[from..from + bytes.len()].copy_from_slice(bytes);
        self.end += bytes.len() as u64;
    }

    /// Zero blocks up to `end`.
    fn reach(&mut self, end: u64) {
        let blocks = (end - self.start).div_ceil(BLOCK_64) as usize;
        if blocks > self.blocks.len() {
            self.blocks.resize_with(blocks, Block::new_zeroed);
        }
    }

    /// All that waits, if anything does.
    pub(crate) fn take(&mut self) -> Option<Batch> {
        if self.waiting() == 0 {
            return None;
        }
        let mut next = std::mem::take(&mut self.free);
        let whole = (self.end - self.start) / BLOCK_64;
        // The block that is not full goes out now and stays to be filled.
        next.extend(self.blocks.get(whole as usize).cloned());
        let blocks = std::mem::replace(&mut self.blocks, next);
        let batch = Batch { blocks, start: self.start, last: self.last };
        self.start += whole * BLOCK_64;
        self.taken = self.end;
        Some(batch)
    }

    /// Gives a written batch's buffer back.
    pub(crate) fn give_back(&mut self, batch: Batch) {
        let mut blocks = batch.blocks;
        if blocks.capacity() <= KEEP {
            blocks.clear();
            self.free = blocks;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HEADER: SegmentHeader =
        SegmentHeader { number: 1, first_lsn: 1, epoch: 1, salt: 0, recycled: false };

    proptest! {
        #[test]
        fn batches_written_in_order_make_the_file(
            steps in prop::collection::vec((0usize..9000, any::<bool>()), 1..40)
        ) {
            let (mut pending, mut file, mut model) =
                (Pending::new(), vec![0xEE; 1 << 20], HEADER.encode().to_vec());
            file[..BLOCK].copy_from_slice(&first_block(&HEADER));
            pending.begin(&HEADER);
            for (lsn, (len, flush)) in (1..).zip(steps) {
                let payload = vec![lsn as u8 | 1; len];
                let padded = (8 + len).next_multiple_of(8);
                pending.append(lsn, &[0xAA; 8], &payload, padded as u64);
                model.extend([0xAA; 8]);
                model.extend(&payload);
                model.resize(model.len().next_multiple_of(8), 0);
                if flush {
                    let batch = pending.take().unwrap();
                    prop_assert_eq!(batch.bytes().as_ptr() as usize % BLOCK, 0);
                    prop_assert_eq!((batch.start % BLOCK_64, batch.last), (0, lsn));
                    let start = batch.start as usize;
                    file[start..start + batch.bytes().len()].copy_from_slice(batch.bytes());
                    pending.give_back(batch);
                    prop_assert!(pending.take().is_none());
                    prop_assert!(file[..model.len()] == model);
                    let rest = model.len()..model.len().next_multiple_of(BLOCK);
                    prop_assert!(file[rest].iter().all(|b| *b == 0));
                }
            }
        }
    }
}
