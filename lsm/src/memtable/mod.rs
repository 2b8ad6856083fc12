//! One keyspace's part of a memtable set: a skiplist on (key ascending, LSN
//! descending), one writer, readers without locks.
//!
//! What must stay true:
//! * entries are never changed or removed; a later entry with the same key and
//!   LSN stands before the earlier one, so that a search meets the last of a
//!   batch first;
//! * a node is whole in the arena before a link to it is stored (Release), and
//!   links are loaded with Acquire: who can reach a node can read it;
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
use arena::Arena;

/// Levels at most: with one in four promoted, enough for 16 M entries.
const LEVELS: usize = 12;
/// Links kept in the node itself: all of 255 in 256 nodes.
const INLINE_LEVELS: usize = 4;
/// No node. Links hold a slot's index + 1.
const NIL: u32 = 0;
/// Keys up to this long need no allocation, and the first so many bytes of a
/// longer one are compared without following a pointer.
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

type Tall = [AtomicU32; LEVELS - INLINE_LEVELS];

struct Node {
    /// The key's first bytes, zero-padded.
    head: [u8; HEAD],
    lsn: Lsn,
    low: [AtomicU32; INLINE_LEVELS],
    tall: Option<Box<Tall>>,
    /// The whole key if it is longer than [`HEAD`], else empty.
    long: Box<[u8]>,
    stored: Stored,
    len: u16,
}

impl Node {
    fn key(&self) -> &[u8] {
        if self.long.is_empty() { &self.head[..usize::from(self.len)] } else { &self.long }
    }

    /// Zero padding cannot confuse: where padded heads are equal, the shorter
    /// key is a prefix of the longer, and only keys longer than the head differ
    /// behind it.
    #[inline]
    fn cmp_key(&self, to: Probe<'_>) -> Ordering {
        u128::from_be_bytes(self.head).cmp(&to.head).then_with(|| {
            if usize::from(self.len) > HEAD && to.key.len() > HEAD {
                self.long[HEAD..].cmp(&to.key[HEAD..])
            } else {
                usize::from(self.len).cmp(&to.key.len())
            }
        })
    }

    /// Whether this entry stands strictly before (key, lsn).
    #[inline]
    fn is_before(&self, key: Probe<'_>, lsn: Lsn) -> bool {
        match self.cmp_key(key) {
            Ordering::Less => true,
            Ordering::Equal => self.lsn > lsn,
            Ordering::Greater => false,
        }
    }

    /// The link at `level`; a node shorter than that is never asked.
    #[inline]
    fn link(&self, level: usize) -> Option<&AtomicU32> {
        if level < INLINE_LEVELS {
            self.low.get(level)
        } else {
            self.tall.as_ref()?.get(level - INLINE_LEVELS)
        }
    }
}

struct Writer {
    /// Entries so far: the next slot, and the counter behind the heights.
    len: u32,
    /// The last node of each level: inserts in key order need no search.
    tails: [u32; LEVELS],
}

/// See the module.
pub(crate) struct Memtable {
    arena: Arena<Node>,
    head: [AtomicU32; LEVELS],
    /// Levels in use. Relaxed: a reader with an old value only starts lower.
    levels: AtomicUsize,
    bytes: AtomicUsize,
    writer: Mutex<Writer>,
}

// No set can hold more entries than the arena: it is frozen when it is full of
// nodes of this size, and one batch of the smallest operations may come on top.
const _: () = assert!(size_of::<Node>() >= 64);
const _: () =
    assert!(MAX_MEMTABLE_BYTES / 64 + MAX_BATCH_BYTES / 13 < Arena::<Node>::CAPACITY as usize);

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
            arena: Arena::new(),
            head: [const { AtomicU32::new(NIL) }; LEVELS],
            levels: AtomicUsize::new(1),
            bytes: AtomicUsize::new(size_of::<Memtable>()),
            writer: Mutex::new(Writer { len: 0, tails: [NIL; LEVELS] }),
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
        let low: [AtomicU32; INLINE_LEVELS] =
            std::array::from_fn(|level| AtomicU32::new(self.next(before[level], level)));
        let tall = (levels > INLINE_LEVELS).then(|| {
            Box::new(std::array::from_fn(|i| {
                let level = i + INLINE_LEVELS;
                AtomicU32::new(self.next(before[level], level))
            }))
        });
        let mut grown = long.len() + stored.heap_bytes();
        if tall.is_some() {
            grown += size_of::<Tall>();
        }
        grown += self.arena.fill(
            slot,
            Node { head: padded_head(key), lsn, low, tall, long, stored, len: key.len() as u16 },
        );
        for (level, &at) in before.iter().enumerate().take(levels) {
            match self.node(at) {
                None => self.head[level].store(index, Release),
                Some(node) => {
                    if let Some(link) = node.link(level) {
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
        let node = self.node(self.first_from(probe, at))?;
        (node.cmp_key(probe) == Ordering::Equal).then_some((node.lsn, &node.stored))
    }

    #[inline]
    fn node(&self, index: u32) -> Option<&Node> {
        if index == NIL { None } else { self.arena.get(index - 1) }
    }

    /// The node after `index` (`NIL`: the head) at `level`.
    #[inline]
    fn next(&self, index: u32, level: usize) -> u32 {
        match self.node(index) {
            None => self.head[level].load(Acquire),
            Some(node) => node.link(level).map_or(NIL, |link| link.load(Acquire)),
        }
    }

    /// The last node strictly before (key, lsn), or `NIL`.
    #[inline]
    fn last_before(&self, key: Probe<'_>, lsn: Lsn) -> u32 {
        let (mut at, mut level) = (NIL, self.levels.load(Relaxed));
        // A node that was already found not to be before needs no second look.
        let mut beyond = NIL;
        while level > 0 {
            let next = self.next(at, level - 1);
            if next != beyond {
                if let Some(node) = self.node(next)
                    && node.is_before(key, lsn)
                {
                    at = next;
                    continue;
                }
                beyond = next;
            }
            level -= 1;
        }
        at
    }

    /// The first node not before (key, lsn), or `NIL`.
    #[inline]
    fn first_from(&self, key: Probe<'_>, lsn: Lsn) -> u32 {
        self.next(self.last_before(key, lsn), 0)
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
        if self.node(writer.tails[0]).is_none_or(|last| last.is_before(key, lsn)) {
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
                    Some(node) if node.is_before(key, lsn) => at = next,
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
