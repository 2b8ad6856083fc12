//! One keyspace's part of a memtable set: a B+tree of append-only nodes on the
//! key, each key leading to its versions, newest first.
//!
//! What must stay true:
//! * one writer (a lock), readers without locks; nothing is ever removed;
//! * versions of a key come with LSNs that do not fall; of several with the same
//!   LSN the last one counts;
//! * a full node is never changed into its halves: these are new nodes, and the
//!   old one stays as it was for who still reads it.
//!
//! Why a reader at LSN `S` misses nothing up to `S`, though it may stand in nodes
//! that have left the tree. Each node is responsible for a range of keys. It
//! leaves the tree, or gives the upper part of its range away, only in an
//! insertion of an entry that no reader sees yet; at this moment it holds all
//! older entries of the range it had until then. A reader came by links that led
//! to nodes in the tree when it loaded them, or that were frozen when their node
//! left the tree, and at that moment led to nodes in the tree; and it loaded the
//! first of them, the root's, after `S` was complete. So each node it stands in
//! left the tree after `S` was complete, if at all, and has all of its range that
//! `S` can see. Neighbours meet without a gap: a link to the next leaf leads to
//! one that begins where this one's range ends, links to the previous leaf alike,
//! whichever of them has left the tree. `Inner::descend` deals with the one place
//! where a link could lead to less than was sought.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use super::node::{Branch, Inner, Leaf, skip_between};
use super::raw::{Arena, Child, ChildLink, Entry, LeafLink, Writer};
use super::sync::SLOTS;

/// Levels of inner nodes at most. Every node but the last of its level has at
/// least two children, so this is not reached below 2^32 entries.
const LEVELS: usize = 32;

/// See the module.
pub(crate) struct Memtable {
    root: ChildLink,
    /// The leaf with the highest keys: keys in order need no search.
    last: LeafLink,
    /// Keys ever written.
    keys: AtomicU64,
    arena: Arena,
}

/// The inner nodes above a leaf, the root first, with the places gone through.
struct Path<'a> {
    steps: [Option<(&'a Inner, usize)>; LEVELS],
    len: usize,
}

impl<'a> Path<'a> {
    /// The bounds of what stands below the first `len` steps: from the first, below
    /// the second.
    fn fences(&self, len: usize) -> (Option<Entry<'a>>, Option<Entry<'a>>) {
        let (mut lo, mut hi) = (None, None);
        for (inner, place) in self.steps[..len].iter().rev().flatten() {
            let order = inner.order();
            lo = lo.or_else(|| inner.separator(order, place.checked_sub(1)?));
            hi = hi.or_else(|| inner.separator(order, *place));
        }
        (lo, hi)
    }
}

/// A node was split: `right` has its keys from `separator` on; `left` is what has
/// the others, the node itself or, if `moved`, another one.
struct Split<'a> {
    separator: Entry<'a>,
    left: Child<'a>,
    moved: bool,
    right: Child<'a>,
}

impl Memtable {
    pub(crate) fn empty() -> Self {
        Memtable {
            root: ChildLink::none(),
            last: LeafLink::none(),
            keys: AtomicU64::new(0),
            arena: Arena::new(),
        }
    }

    /// Bytes of memory held, allocated and not yet used ones included.
    #[inline]
    pub(crate) fn bytes(&self) -> usize {
        size_of::<Memtable>() + self.arena.bytes()
    }

    /// How many keys were written, seen or not.
    pub(crate) fn keys(&self) -> u64 {
        self.keys.load(Relaxed)
    }

    /// About which share of the keys is below `key`: by its place in each node on the
    /// way down, as if all children of a node were as large.
    pub(crate) fn share_below(&self, key: &[u8]) -> f64 {
        let (mut share, mut width) = (0.0, 1.0);
        let mut at = self.root.load();
        loop {
            match at {
                None => return 0.0,
                Some(Child::Inner(inner)) => {
                    let (place, child) = inner.descend(key);
                    width /= (inner.order().count() + 1) as f64;
                    share += width * place as f64;
                    at = Some(child);
                }
                Some(Child::Leaf(leaf)) => {
                    let order = leaf.order();
                    let (rank, _) = leaf.find(order, key);
                    return share + width * rank as f64 / order.count().max(1) as f64;
                }
            }
        }
    }

    /// Adds a version of `key`: `None` says it is deleted. Its LSN is not below
    /// that of any other version. Returns the bytes of memory newly allocated.
    pub(crate) fn insert(&self, key: &[u8], lsn: u64, value: Option<&[u8]>) -> usize {
        let before = self.arena.bytes();
        let mut writer = self.arena.writer();
        let place = self.place(key);
        if !matches!(place, Some((_, _, true))) {
            // One writer: nothing comes in between.
            self.keys.store(self.keys() + 1, Relaxed);
        }
        match place {
            None => {
                let entry = writer.entry(key, lsn, value, None);
                let leaf = writer.leaf(Leaf::new(&[], (0, 0), None, None));
                leaf.add(0, entry);
                self.last.store(leaf);
                self.root.store(Child::Leaf(leaf));
            }
            Some((leaf, at, true)) => {
                let older = leaf.entry(leaf.order(), at);
                debug_assert!(older.is_none_or(|older| older.lsn() <= lsn), "LSNs fall");
                leaf.renew(at, writer.entry(key, lsn, value, older));
            }
            Some((leaf, at, false)) => {
                let entry = writer.entry(key, lsn, value, None);
                if leaf.order().count() < SLOTS {
                    leaf.add(at, entry);
                } else {
                    self.split(&mut writer, leaf, at, entry);
                }
            }
        }
        self.arena.bytes() - before
    }

    /// For the writer: the leaf where `key` belongs, its rank there, and whether it
    /// is there.
    #[inline]
    fn place(&self, key: &[u8]) -> Option<(&Leaf, usize, bool)> {
        let last = self.last.load()?;
        let order = last.order();
        if let Some(highest) = last.entry(order, order.count().wrapping_sub(1))
            && highest.key() < key
        {
            return Some((last, order.count(), false));
        }
        let leaf = self.leaf(key)?;
        let (at, found) = leaf.find(leaf.order(), key);
        Some((leaf, at, found))
    }

    /// Makes room in a full leaf by splitting it, and adds `entry` as the `at`-th.
    #[cold]
    fn split<'a>(&'a self, writer: &mut Writer<'a>, leaf: &'a Leaf, at: usize, entry: Entry<'a>) {
        let path = self.path(entry.key());
        let (lo, hi) = path.fences(path.len);
        let (prev, next) = (leaf.prev.load(), leaf.next.load());
        let was = leaf.skip();
        let items = leaf.items_with(at, entry);
        // Behind all others: the leaf stays full, as keys in order want it. (Unless
        // its keys are hard to tell apart, and now that it has an end can be told
        // apart better.)
        let alone = at == SLOTS;
        let (low, high) = items.split_at(if alone { SLOTS } else { SLOTS.div_ceil(2) });
        let separator = high[0].1;
        let left_skip = skip_between(was, lo, Some(separator));
        let right_skip = skip_between(was, Some(separator), hi);
        let right = writer.leaf(Leaf::new(high, (was, right_skip), next, None));
        let moved = !(alone && left_skip == was);
        let left = if moved {
            writer.leaf(Leaf::new(low, (was, left_skip), Some(right), prev))
        } else {
            leaf
        };
        right.prev.store(left);
        // Until here nobody knows of them. The tree first, then the neighbours:
        // in any order each reader finds either the old leaf, which has all, or
        // both new ones.
        let split = Split { separator, left: Child::Leaf(left), moved, right: Child::Leaf(right) };
        self.raise(writer, &path, split);
        match prev {
            Some(prev) if moved => prev.next.store(left),
            _ => left.next.store(right),
        }
        match next {
            Some(next) => next.prev.store(right),
            None => self.last.store(right),
        }
    }

    /// Tells the inner nodes, from the lowest up, of a split below them.
    fn raise<'a>(&'a self, writer: &mut Writer<'a>, path: &Path<'a>, mut split: Split<'a>) {
        for depth in (0..path.len).rev() {
            let Some((inner, place)) = path.steps[depth] else { continue };
            let left = split.moved.then_some(split.left);
            if !inner.is_full() {
                inner.add(place, split.separator, split.right, left);
                return;
            }
            let (lo, hi) = path.fences(depth);
            let was = inner.skip();
            let (first, branches) =
                inner.branches_with(place, split.separator, split.right, split.left);
            let alone = place == SLOTS;
            let (low, high) = branches.split_at(if alone { SLOTS } else { SLOTS / 2 });
            let [Branch { separator, child, .. }, high @ ..] = high else { return };
            let left_skip = skip_between(was, lo, Some(*separator));
            let right_skip = skip_between(was, Some(*separator), hi);
            // A node whose child is replaced in the same step is replaced too: a
            // reader in it would not learn of the child's upper half.
            let moved = split.moved || !alone || left_skip != was;
            let left =
                if moved { writer.inner(Inner::new(first, low, (was, left_skip))) } else { inner };
            let right = writer.inner(Inner::new(*child, high, (was, right_skip)));
            let (left, right) = (Child::Inner(left), Child::Inner(right));
            split = Split { separator: *separator, left, moved, right };
        }
        let Split { separator, left, right, .. } = split;
        let branch = Branch::new(separator, right);
        self.root.store(Child::Inner(writer.inner(Inner::new(left, &[branch], (0, 0)))));
    }

    /// The way down to the leaf where `key` belongs.
    fn path(&self, key: &[u8]) -> Path<'_> {
        let mut path = Path { steps: [None; LEVELS], len: 0 };
        let mut at = self.root.load();
        while let Some(Child::Inner(inner)) = at {
            let (place, child) = inner.descend(key);
            path.steps[path.len] = Some((inner, place));
            path.len += 1;
            at = Some(child);
        }
        path
    }

    /// The leaf where `key` belongs; `None` if nothing was written.
    #[inline]
    pub(super) fn leaf(&self, key: &[u8]) -> Option<&Leaf> {
        let mut at = self.root.load()?;
        loop {
            match at {
                Child::Leaf(leaf) => return Some(leaf),
                Child::Inner(inner) => at = inner.descend(key).1,
            }
        }
    }

    /// The leaf with the lowest keys.
    pub(super) fn first_leaf(&self) -> Option<&Leaf> {
        let mut at = self.root.load()?;
        loop {
            match at {
                Child::Leaf(leaf) => return Some(leaf),
                Child::Inner(inner) => at = inner.lowest()?,
            }
        }
    }

    /// The leaf with the highest keys.
    pub(super) fn last_leaf(&self) -> Option<&Leaf> {
        self.last.load()
    }

    /// The newest version of `key` with an LSN not above `at`.
    #[inline]
    pub(crate) fn get(&self, key: &[u8], at: u64) -> Option<Entry<'_>> {
        let leaf = self.leaf(key)?;
        let order = leaf.order();
        match leaf.find(order, key) {
            (rank, true) => leaf.entry(order, rank)?.as_of(at),
            _ => None,
        }
    }
}
