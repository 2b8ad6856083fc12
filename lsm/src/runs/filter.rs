//! Which keys a run may have: a blocked Bloom filter, in memory only.
//!
//! What must stay true: a key that was added is never denied. Of others about one in
//! a hundred is not denied. A look touches one line of the processor's cache.
//!
//! A filter is made with its run; after an opening [`Lsm::step`] builds it anew, a
//! bounded piece at a time. A run loses keys only, so what was gathered from one
//! version of it is right for the next.

use std::ops::Bound;

use btree::Direction;

use super::Run;
use crate::flush::Flusher;
use crate::{Error, Lsm, Step};

/// Bits per key.
const BITS: u64 = 12;
/// Bits set per key.
const PROBES: u32 = 6;
/// Bits of a block: a line of the processor's cache.
const BLOCK: u64 = 512;
/// Entries gathered in one step.
const PIECE: usize = 64 << 10;

/// The hash of a key that filters go by. Not kept on the disk.
#[inline]
pub(crate) fn hash(key: &[u8]) -> u64 {
    const ODD: u64 = 0x9E37_79B9_7F4A_7C15;
    let fold = |a: u64, b: u64| {
        let wide = u128::from(a) * u128::from(b);
        wide as u64 ^ (wide >> 64) as u64
    };
    let mut state = ODD ^ key.len() as u64;
    let mut chunks = key.chunks_exact(8);
    for chunk in &mut chunks {
        let word = chunk.iter().fold(0, |word, byte| word << 8 | u64::from(*byte));
        state = fold(state ^ word, ODD).wrapping_add(word.rotate_left(29));
    }
    let rest = chunks.remainder().iter().fold(1, |word, byte| word << 8 | u64::from(*byte));
    fold(state ^ rest, 0xD6E8_FEB8_6659_FD93) ^ fold(rest ^ ODD, state | 1)
}

#[derive(Clone, Copy, Default, Debug)]
#[repr(align(64))]
struct Block([u64; 8]);

/// See the module.
#[derive(Debug)]
pub(crate) struct Filter(Box<[Block]>);

impl Filter {
    /// For so many keys.
    pub(crate) fn new(keys: u64) -> Self {
        let blocks = (keys.saturating_mul(BITS) / BLOCK + 1).min(u64::from(u32::MAX));
        Filter(vec![Block::default(); blocks as usize].into())
    }

    #[inline]
    fn block(&self, hash: u64) -> usize {
        (((hash >> 32) * self.0.len() as u64) >> 32) as usize
    }

    /// The bits of a key within its block.
    #[inline]
    fn bits(hash: u64) -> impl Iterator<Item = (usize, u64)> {
        let bits = hash.wrapping_mul(0xA24B_AED4_963E_E407);
        (0..PROBES).map(move |n| {
            let bit = bits >> (n * 9 + 10) & (BLOCK - 1);
            ((bit >> 6) as usize, 1 << (bit & 63))
        })
    }

    pub(crate) fn add(&mut self, hash: u64) {
        let at = self.block(hash);
        for (word, bit) in Filter::bits(hash) {
            self.0[at].0[word] |= bit;
        }
    }

    #[inline]
    pub(crate) fn may_have(&self, hash: u64) -> bool {
        let Block(block) = &self.0[self.block(hash)];
        Filter::bits(hash).all(|(word, bit)| block[word] & bit != 0)
    }
}

/// A filter on its way, for a run that was found at an opening.
pub(crate) struct Building {
    tree: u32,
    order: u64,
    filter: Filter,
    /// The last key that is in it.
    last: Option<Vec<u8>>,
}

impl Lsm {
    /// A piece of a filter, if a run has none yet.
    pub(crate) fn filter_piece(&self, flusher: &mut Flusher) -> Result<Option<Step>, Error> {
        let version = self.version.load_full();
        let given_up = &flusher.no_filter;
        let lacks = |run: &&Run| !run.has_filter() && !given_up.contains(&(run.tree, run.order));
        let Some(run) = version.runs.all().find(lacks) else {
            flusher.building = None;
            return Ok(None);
        };
        let same = |b: &Building| b.tree == run.tree && b.order == run.order;
        let mut building = flusher.building.take().filter(same).unwrap_or_else(|| Building {
            tree: run.tree,
            order: run.order,
            filter: Filter::new(version.view.len(run.tree)),
            last: None,
        });
        let from = building.last.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        let mut cursor = version.view.range(run.tree, from, Bound::Unbounded, Direction::Forward);
        let mut entries = 0;
        let mut last = Vec::new();
        while entries < PIECE {
            let key = match cursor.next() {
                Ok(Some((key, _))) => key,
                Ok(None) => {
                    run.filter.get_or_init(|| building.filter);
                    return Ok(Some(Step::Filtered { entries: entries as u64 }));
                }
                Err(error) => {
                    let error = Error::from(error);
                    if error.is_damage() {
                        // It stays without one until the store is opened again: reads
                        // look into the run itself.
                        flusher.no_filter.insert((run.tree, run.order));
                    } else {
                        if entries > 0 {
                            building.last = Some(last);
                        }
                        flusher.building = Some(building);
                    }
                    return self.health.look_for_damage(Err(error));
                }
            };
            building.filter.add(hash(key));
            entries += 1;
            last.clear();
            last.extend_from_slice(key);
        }
        building.last = Some(last);
        flusher.building = Some(building);
        Ok(Some(Step::Filtered { entries: entries as u64 }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_added_is_never_denied_and_little_else_is_let_through() {
        for (keys, len) in [(0u64, 8), (1, 16), (3, 1), (40_000, 16), (40_000, 5)] {
            let mut filter = Filter::new(keys);
            let key = |n: u64| {
                let mut key = n.to_be_bytes().repeat(3);
                key.drain(..8 - 8usize.min(len));
                key.truncate(len.max(4));
                key
            };
            (0..keys).for_each(|n| filter.add(hash(&key(n))));
            assert!((0..keys).all(|n| filter.may_have(hash(&key(n)))));
            let wrong = (keys..keys + 10_000).filter(|n| filter.may_have(hash(&key(*n)))).count();
            assert!(wrong < 300 || keys == 3, "{keys} keys: {wrong} of 10000");
        }
    }
}
