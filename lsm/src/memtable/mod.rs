//! One keyspace's part of a memtable set: a skiplist on (key ascending, LSN
//! descending), one writer, readers without locks.
//!
//! What must stay true:
//! * entries are never changed or removed; a later entry with the same key and
//!   LSN stands before the earlier one, so that a search meets the last of a
//!   batch first;
//! * an entry is whole in the arenas before a link to it is stored (Release),
//!   and links are loaded with Acquire: who can reach a node can read it all;
//! * what a search touches of an entry is one cache line ([`Node`]); what only a
//!   hit needs lies apart ([`Cold`]);
//! * heights come from a counter and a hash: the same inserts give the same list.
//!
//! Contract for a later inside (fat nodes): [`Memtable::insert`],
//! [`Memtable::get`], [`Walk`], bytes. Nothing outside knows about nodes.
//! Measured against `BTreeMap`: `benches/engine.rs`, figures in `lsm/README.md`.

mod arena;
mod walk;

pub(crate) use walk::Walk;

use std::cmp::Ordering;
use std::sync::Arc;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicU32, AtomicUsize};

use parking_lot::Mutex;

use crate::Lsn;
use crate::batch::MAX_BATCH_BYTES;
use crate::options::MAX_MEMTABLE_BYTES;
use arena::{Arena, Line, Packed};

/// Levels at most: with one in four promoted, enough for 16 M entries.
const LEVELS: usize = 12;
/// Links kept in the node itself: all of 1023 in 1024 nodes.
const INLINE_LEVELS: usize = 5;
/// No node. Links hold a slot's index + 1.
const NIL: u32 = 0;
/// Keys up to this long need no allocation, and the first so many bytes of a
/// longer one are compared in the node.
const HEAD: usize = 16;
/// Values up to this long are kept in the node.
pub(crate) const SMALL_VALUE: usize = 22;

/// What an entry holds.
#[derive(Clone, Debug)]
pub(crate) enum Stored {
    /// The key was deleted.
    Delete,
    /// A short value, in place.
    Small { len: u8, bytes: [u8; SMALL_VALUE] },
    /// A value shared with whoever reads it.
    Shared(Arc<[u8]>),
}

impl Stored {
    pub(crate) fn put(value: &[u8]) -> Stored {
        if value.len() <= SMALL_VALUE {
            let mut bytes = [0; SMALL_VALUE];
            bytes[..value.len()].copy_from_slice(value);
            Stored::Small { len: value.len() as u8, bytes }
        } else {
            Stored::Shared(value.into())
        }
    }

    /// The value, or `None` for a delete.
    #[inline]
    pub(crate) fn value(&self) -> Option<&[u8]> {
        match self {
            Stored::Delete => None,
            Stored::Small { len, bytes } => Some(&bytes[..usize::from(*len)]),
            Stored::Shared(bytes) => Some(bytes),
        }
    }

    fn heap_bytes(&self) -> usize {
        match self {
            Stored::Shared(bytes) => bytes.len() + 2 * size_of::<usize>(),
            _ => 0,
        }
    }
}

/// A key as searches compare it.
#[derive(Clone, Copy)]
struct Probe<'a> {
    head: u128,
    key: &'a [u8],
}

impl<'a> Probe<'a> {
    fn new(key: &'a [u8]) -> Self {
        Probe { head: u128::from_be_bytes(padded_head(key)), key }
    }
}

fn padded_head(key: &[u8]) -> [u8; HEAD] {
    let mut head = [0; HEAD];
    let n = key.len().min(HEAD);
    head[..n].copy_from_slice(&key[..n]);
    head
}

/// The links of a tall node above those in it.
type Tall = [AtomicU32; LEVELS - INLINE_LEVELS];

/// What a search needs of an entry.
#[repr(C)]
struct Node {
    /// The key's first bytes, zero-padded.
    head: [u8; HEAD],
    lsn: Lsn,
    low: [AtomicU32; INLINE_LEVELS],
    /// Index of its upper links + 1, or 0.
    tall: u32,
    /// The key's length.
    len: u16,
}
const _: () = assert!(size_of::<Line<Node>>() == 64);

/// What only a hit needs, or the comparison of long keys.
struct Cold {
    /// The whole key if it is longer than [`HEAD`], else empty.
    long: Box<[u8]>,
    stored: Stored,
}

impl Node {
    /// Whether this entry stands strictly before (key, lsn).
    #[inline]
    fn is_before(&self, order: Ordering, lsn: Lsn) -> bool {
        match order {
            Ordering::Less => true,
            Ordering::Equal => self.lsn > lsn,
            Ordering::Greater => false,
        }
    }
}

struct Writer {
    /// Entries so far: the next slot, and the counter behind the heights.
    len: u32,
    /// Tall ones among them.
    tall: u32,
    /// The last node of each level: inserts in key order need no search.
    tails: [u32; LEVELS],
}

/// See the module.
pub(crate) struct Memtable {
    nodes: Arena<Line<Node>>,
    cold: Arena<Packed<Cold>>,
    tall: Arena<Packed<Tall>>,
    head: [AtomicU32; LEVELS],
    /// Levels in use. Relaxed: a reader with an old value only starts lower.
    levels: AtomicUsize,
    bytes: AtomicUsize,
    writer: Mutex<Writer>,
}

// No set can hold more entries than the arena: it is frozen when it is full of
// nodes, and one batch of the smallest operations may come on top.
const _: () = assert!(
    MAX_MEMTABLE_BYTES / 64 + MAX_BATCH_BYTES / 13 < Arena::<Line<Node>>::CAPACITY as usize
);

/// The height of the n-th entry: splitmix64 of the counter, one in four promoted.
fn height(n: u32) -> usize {
    let mut x = u64::from(n).wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^= x >> 31;
    (1 + x.trailing_zeros() as usize / 2).min(LEVELS)
}

impl Memtable {
    pub(crate) fn new() -> Self {
        Memtable {
            nodes: Arena::new(),
            cold: Arena::new(),
            tall: Arena::new(),
            head: [const { AtomicU32::new(NIL) }; LEVELS],
            levels: AtomicUsize::new(1),
            bytes: AtomicUsize::new(size_of::<Memtable>()),
            writer: Mutex::new(Writer { len: 0, tall: 0, tails: [NIL; LEVELS] }),
        }
    }

    /// Bytes of memory held, slots not yet filled included.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.load(Relaxed)
    }

    /// Adds an entry: before any other of the same key with the same or an older
    /// LSN. Keys are at most [`MAX_KEY`](crate::MAX_KEY) long.
    /// Returns the bytes of memory it took.
    pub(crate) fn insert(&self, key: &[u8], lsn: Lsn, stored: Stored) -> usize {
        let mut writer = self.writer.lock();
        let slot = writer.len;
        let index = slot + 1;
        let levels = height(slot);
        let before = self.predecessors(&writer, Probe::new(key), lsn);

        let long: Box<[u8]> = if key.len() > HEAD { key.into() } else { Box::default() };
        let mut grown = long.len() + stored.heap_bytes();
        grown += self.cold.fill(slot, Cold { long, stored });
        let next = |level| AtomicU32::new(self.next(before[level], level));
        let mut tall = NIL;
        if levels > INLINE_LEVELS {
            let links = std::array::from_fn(|i| next(i + INLINE_LEVELS));
            grown += self.tall.fill(writer.tall, links);
            writer.tall += 1;
            tall = writer.tall;
        }
        let low = std::array::from_fn(next);
        let node = Node { head: padded_head(key), lsn, low, tall, len: key.len() as u16 };
        grown += self.nodes.fill(slot, node);
        for (level, &at) in before.iter().enumerate().take(levels) {
            match self.node(at) {
                None => self.head[level].store(index, Release),
                Some(node) => {
                    if let Some(link) = self.link(node, level) {
                        link.store(index, Release);
                    }
                }
            }
            if writer.tails[level] == at {
                writer.tails[level] = index;
            }
        }
        writer.len += 1;
        self.levels.fetch_max(levels, Relaxed);
        self.bytes.fetch_add(grown, Relaxed);
        grown
    }

    /// The newest entry of `key` with an LSN not above `at`, and its LSN.
    #[inline]
    pub(crate) fn get(&self, key: &[u8], at: Lsn) -> Option<(Lsn, &Stored)> {
        let probe = Probe::new(key);
        let index = self.first_from(probe, at);
        let node = self.node(index)?;
        if self.compare(index, node, probe) != Ordering::Equal {
            return None;
        }
        Some((node.lsn, self.stored(index)?))
    }

    /// What the entry holds.
    #[inline]
    fn stored(&self, index: u32) -> Option<&Stored> {
        Some(&self.cold.get(index.checked_sub(1)?)?.stored)
    }

    /// The entry's key.
    #[inline]
    fn key(&self, index: u32) -> Option<&[u8]> {
        let node = self.node(index)?;
        let len = usize::from(node.len);
        if len <= HEAD { Some(&node.head[..len]) } else { Some(&self.cold.get(index - 1)?.long) }
    }

    /// The key of the node at `index` against `to`. Zero padding cannot confuse:
    /// where padded heads are equal, the shorter key is a prefix of the longer,
    /// and only keys longer than the head differ behind it.
    #[inline]
    fn compare(&self, index: u32, node: &Node, to: Probe<'_>) -> Ordering {
        u128::from_be_bytes(node.head).cmp(&to.head).then_with(|| {
            if usize::from(node.len) > HEAD
                && to.key.len() > HEAD
                && let Some(cold) = self.cold.get(index - 1)
            {
                cold.long[HEAD..].cmp(&to.key[HEAD..])
            } else {
                usize::from(node.len).cmp(&to.key.len())
            }
        })
    }

    /// Whether the node at `index` stands strictly before (key, lsn).
    #[inline]
    fn is_before(&self, index: u32, node: &Node, key: Probe<'_>, lsn: Lsn) -> bool {
        node.is_before(self.compare(index, node, key), lsn)
    }

    /// A node's link at `level`; a node shorter than that is never asked.
    #[inline]
    fn link<'a>(&'a self, node: &'a Node, level: usize) -> Option<&'a AtomicU32> {
        if level < INLINE_LEVELS {
            return node.low.get(level);
        }
        self.tall.get(node.tall.checked_sub(1)?)?.get(level - INLINE_LEVELS)
    }

    #[inline]
    fn node(&self, index: u32) -> Option<&Node> {
        if index == NIL { None } else { self.nodes.get(index - 1) }
    }

    /// The node after `index` (`NIL`: the head) at `level`.
    #[inline]
    fn next(&self, index: u32, level: usize) -> u32 {
        match self.node(index) {
            None => self.head[level].load(Acquire),
            Some(node) => self.link(node, level).map_or(NIL, |link| link.load(Acquire)),
        }
    }

    /// The last node strictly before (key, lsn), or `NIL`.
    #[inline]
    fn last_before(&self, key: Probe<'_>, lsn: Lsn) -> u32 {
        self.search(key, lsn).0
    }

    /// The first node not before (key, lsn), or `NIL`.
    #[inline]
    fn first_from(&self, key: Probe<'_>, lsn: Lsn) -> u32 {
        self.search(key, lsn).1
    }

    /// The last node strictly before (key, lsn), and the one behind it that was
    /// compared and is not. Not the one behind it now: loading its link again
    /// could meet a node that was linked in between and stands before.
    #[inline]
    fn search(&self, key: Probe<'_>, lsn: Lsn) -> (u32, u32) {
        let (mut at, mut beyond) = (NIL, NIL);
        let mut level = self.levels.load(Relaxed);
        while level > 0 {
            let next = self.next(at, level - 1);
            // One that was already found not to be before needs no second look.
            if next != beyond {
                if let Some(node) = self.node(next)
                    && self.is_before(next, node, key, lsn)
                {
                    at = next;
                    continue;
                }
                beyond = next;
            }
            level -= 1;
        }
        (at, beyond)
    }

    /// The last node of all, or `NIL`.
    fn last(&self) -> u32 {
        let mut at = NIL;
        for level in (0..self.levels.load(Relaxed)).rev() {
            loop {
                match self.next(at, level) {
                    NIL => break,
                    next => at = next,
                }
            }
        }
        at
    }

    fn predecessors(&self, writer: &Writer, key: Probe<'_>, lsn: Lsn) -> [u32; LEVELS] {
        let last = writer.tails[0];
        if self.node(last).is_none_or(|node| self.is_before(last, node, key, lsn)) {
            return writer.tails;
        }
        let mut before = [NIL; LEVELS];
        let mut at = NIL;
        let mut beyond = NIL;
        for level in (0..self.levels.load(Relaxed)).rev() {
            loop {
                let next = self.next(at, level);
                if next == beyond {
                    break;
                }
                match self.node(next) {
                    Some(node) if self.is_before(next, node, key, lsn) => at = next,
                    _ => {
                        beyond = next;
                        break;
                    }
                }
            }
            before[level] = at;
        }
        before
    }
}

#[cfg(test)]
mod tests;
