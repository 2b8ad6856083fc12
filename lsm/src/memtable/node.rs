//! Nodes of the memtable's tree: fat, append-only, ordered by one word.
//!
//! What must stay true:
//! * a slot is written once, before the order word that names it is stored
//!   (Release); a reader that loads the word (Acquire) finds these slots whole.
//!   (A leaf's slot leads to the newest version of its key and may be led to a
//!   newer one; an inner node's child may be replaced by its lower half.)
//! * slots are published from 0 up: of the slots at or behind the count nothing
//!   is to be believed;
//! * the keys of a node share their first `skip` bytes, and so does every key
//!   that is sought in it: see [`skip_between`];
//! * a head is the eight key bytes behind these, as a big-endian number without its
//!   last bit: unequal heads stand as their keys do, equal ones say nothing.
//!
//! ```text
//!  order word:  bits 0-3: count   4-7: slot of the 1st   8-11: slot of the 2nd ...
//! ```

use std::cmp::Ordering as Order;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use super::raw::{Child, ChildLink, Entry, EntryLink, LeafLink};
use super::sync::{AtomicU64, SLOTS};

const _: () = assert!(SLOTS >= 3 && SLOTS <= 14);

/// Slots 0, 1, 2, ... in this order, and a count of 0.
const IDENTITY: u64 = 0xEDCB_A987_6543_2100;

/// Which slots count, and in which order their keys stand.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Ordered(u64);

impl Ordered {
    fn first(count: usize) -> Self {
        Ordered((IDENTITY & ((1 << (4 + 4 * count)) - 1)) | count as u64)
    }

    #[inline]
    pub(super) fn count(self) -> usize {
        (self.0 & 15) as usize
    }

    /// The slot of the `at`-th key.
    #[inline]
    fn slot(self, at: usize) -> usize {
        (self.0 >> (4 + 4 * at)) as usize & 15
    }

    /// The next free slot becomes the `at`-th.
    fn insert(self, at: usize) -> Self {
        let bits = 4 + 4 * at;
        let (low, high) = (self.0 & ((1 << bits) - 1), self.0 >> bits);
        let slot = self.count() as u64;
        Ordered((((high << 4) | slot) << bits | low) + 1)
    }
}

/// The head of an empty slot: none is higher.
const NONE: u64 = u64::MAX >> 1;

/// Eight bytes of a key behind `skip`, zero-padded, but for their last bit: the
/// sign of the difference of two heads is their order. Padding cannot put two keys
/// into the wrong order: where a key ended, the other one has zeros (equal) or
/// more (greater, as the longer key is).
#[inline]
fn head_of(key: &[u8], skip: usize) -> u64 {
    if let Some(bytes) = key.get(skip..skip + 8) {
        return u64::from_be_bytes(bytes.try_into().expect("eight bytes")) >> 1;
    }
    let mut head = [0; 8];
    let rest = key.get(skip..).unwrap_or_default();
    head[..rest.len()].copy_from_slice(rest);
    u64::from_be_bytes(head) >> 1
}

/// How many bytes all keys from `lo` on and below `hi` have in common: as many as
/// `lo` and `hi` have. A bound that is not there has none.
fn common(lo: Option<Entry<'_>>, hi: Option<Entry<'_>>) -> usize {
    let (Some(lo), Some(hi)) = (lo, hi) else { return 0 };
    lo.key().iter().zip(hi.key()).take_while(|(a, b)| a == b).count()
}

/// The skip of a node that is made out of one with skip `old` for the keys from
/// `lo` on and below `hi`. A new one means reading all keys again, so it changes
/// only for half a head or more.
pub(super) fn skip_between(old: usize, lo: Option<Entry<'_>>, hi: Option<Entry<'_>>) -> usize {
    let now = common(lo, hi);
    if now >= old + 4 { now } else { old }
}

/// A key's head, and where it leads.
struct Slot<L> {
    head: AtomicU64,
    to: L,
}

/// The slots of a node.
struct Slots<L>([Slot<L>; SLOTS]);

impl<L> Slots<L> {
    #[inline]
    fn head(&self, order: Ordered, at: usize) -> u64 {
        self.0[order.slot(at)].head.load(Relaxed)
    }

    #[inline]
    fn to(&self, order: Ordered, at: usize) -> &L {
        &self.0[order.slot(at)].to
    }

    /// How many keys of `order` have a head below `head`.
    #[inline]
    fn below(&self, order: Ordered, head: u64) -> usize {
        // All slots, without a branch. Empty ones have the highest head. One that
        // was filled after `order` was stored may be counted too: then the key at
        // the rank so found is not below.
        let mut rank = 0;
        for slot in &self.0 {
            rank += (slot.head.load(Relaxed).wrapping_sub(head) >> 63) as usize;
        }
        if rank == 0 || (rank <= order.count() && self.head(order, rank - 1) < head) {
            return rank;
        }
        (0..order.count()).take_while(|at| self.head(order, *at) < head).count()
    }

    /// The rank of the first key not below `key`, and whether it is that key;
    /// `entry` gives the entry with the key of a rank.
    #[inline]
    fn find<'a>(
        &self,
        order: Ordered,
        skip: usize,
        key: &[u8],
        entry: impl Fn(usize) -> Option<Entry<'a>>,
    ) -> (usize, bool) {
        let head = head_of(key, skip);
        let mut lo = self.below(order, head);
        let ties = |at| at < order.count() && self.head(order, at) == head;
        if !ties(lo) {
            return (lo, false);
        }
        let mut hi = lo + 1;
        while ties(hi) {
            hi += 1;
        }
        let rest = key.get(skip..).unwrap_or_default();
        while lo < hi {
            let mid = lo.midpoint(hi);
            // Every rank below the count has its entry.
            let at = entry(mid).map_or(&[][..], |entry| entry.key());
            match at.get(skip..).unwrap_or_default().cmp(rest) {
                Order::Less => lo = mid + 1,
                Order::Equal => return (mid, true),
                Order::Greater => hi = mid,
            }
        }
        (lo, false)
    }
}

/// Keys with their newest versions.
#[repr(C, align(64))]
pub(super) struct Leaf {
    order: AtomicU64,
    skip: u16,
    slots: Slots<EntryLink>,
    /// The leaf with the keys above: it begins where this one ended when it was
    /// last in the tree.
    pub(super) next: LeafLink,
    /// The leaf with the keys below.
    pub(super) prev: LeafLink,
}

/// A key on its way into a new leaf.
pub(super) type Item<'a> = (u64, Entry<'a>);

impl Leaf {
    /// A leaf of at most [`SLOTS`] items in order, whose heads were made with
    /// skip `was`.
    pub(super) fn new(
        items: &[Item<'_>],
        (was, skip): (usize, usize),
        next: Option<&Leaf>,
        prev: Option<&Leaf>,
    ) -> Self {
        let slot = |i| {
            let item: Option<&Item<'_>> = items.get(i);
            let head =
                item.map_or(
                    NONE,
                    |(head, entry)| {
                        if skip == was { *head } else { head_of(entry.key(), skip) }
                    },
                );
            let to = EntryLink::new(item.map(|(_, entry)| *entry));
            Slot { head: AtomicU64::new(head), to }
        };
        Leaf {
            order: AtomicU64::new(Ordered::first(items.len()).0),
            skip: skip as u16,
            slots: Slots(std::array::from_fn(slot)),
            next: LeafLink::new(next),
            prev: LeafLink::new(prev),
        }
    }

    pub(super) fn skip(&self) -> usize {
        usize::from(self.skip)
    }

    #[inline]
    pub(super) fn order(&self) -> Ordered {
        Ordered(self.order.load(Acquire))
    }

    /// The newest version of the `at`-th key.
    #[inline]
    pub(super) fn entry(&self, order: Ordered, at: usize) -> Option<Entry<'_>> {
        if at >= order.count() {
            return None;
        }
        self.slots.to(order, at).load()
    }

    /// The newest versions of all its keys will be read soon.
    #[inline]
    pub(super) fn prefetch(&self, order: Ordered) {
        for at in 0..order.count() {
            self.slots.to(order, at).prefetch();
        }
    }

    /// The rank of the first key not below `key`, and whether it is that key.
    #[inline]
    pub(super) fn find(&self, order: Ordered, key: &[u8]) -> (usize, bool) {
        self.slots.find(order, self.skip(), key, |at| self.entry(order, at))
    }

    /// Adds a key as the `at`-th. The writer, if there is a free slot.
    pub(super) fn add(&self, at: usize, entry: Entry<'_>) {
        let order = self.order();
        let slot = &self.slots.0[order.count()];
        slot.head.store(head_of(entry.key(), self.skip()), Relaxed);
        slot.to.store(entry);
        self.order.store(order.insert(at).0, Release);
    }

    /// The `at`-th key has a newer version.
    pub(super) fn renew(&self, at: usize, entry: Entry<'_>) {
        self.slots.to(self.order(), at).store(entry);
    }

    /// What it holds, with one more as the `at`-th. Full leaves only.
    pub(super) fn items_with<'a>(&'a self, at: usize, new: Entry<'a>) -> [Item<'a>; SLOTS + 1] {
        let order = self.order();
        let item = |i| Some((self.slots.head(order, i), self.entry(order, i)?));
        let new = (head_of(new.key(), self.skip()), new);
        std::array::from_fn(|i| match i.cmp(&at) {
            Order::Less => item(i).unwrap_or(new),
            Order::Equal => new,
            Order::Greater => item(i - 1).unwrap_or(new),
        })
    }
}

/// A separator (the least key that may stand below its child) on its way into a
/// new inner node.
#[derive(Clone, Copy)]
pub(super) struct Branch<'a> {
    head: u64,
    pub(super) separator: Entry<'a>,
    pub(super) child: Child<'a>,
}

impl<'a> Branch<'a> {
    /// One for a node with skip 0.
    pub(super) fn new(separator: Entry<'a>, child: Child<'a>) -> Self {
        Branch { head: head_of(separator.key(), 0), separator, child }
    }
}

/// Children, and keys that separate them.
#[repr(C, align(64))]
pub(super) struct Inner {
    order: AtomicU64,
    skip: u16,
    slots: Slots<ChildLink>,
    /// The child below the first separator.
    first: ChildLink,
    separators: [EntryLink; SLOTS],
}

impl Inner {
    /// A node of at most [`SLOTS`] branches in order and the child before them,
    /// whose heads were made with skip `was`.
    pub(super) fn new(
        first: Child<'_>,
        branches: &[Branch<'_>],
        (was, skip): (usize, usize),
    ) -> Self {
        let slot = |i| {
            let branch: Option<&Branch<'_>> = branches.get(i);
            let head = branch.map_or(NONE, |b| {
                if skip == was { b.head } else { head_of(b.separator.key(), skip) }
            });
            Slot {
                head: AtomicU64::new(head),
                to: ChildLink::new(branch.map(|branch| branch.child)),
            }
        };
        let separator = |i| {
            let branch: Option<&Branch<'_>> = branches.get(i);
            EntryLink::new(branch.map(|branch| branch.separator))
        };
        Inner {
            order: AtomicU64::new(Ordered::first(branches.len()).0),
            skip: skip as u16,
            slots: Slots(std::array::from_fn(slot)),
            first: ChildLink::new(Some(first)),
            separators: std::array::from_fn(separator),
        }
    }

    pub(super) fn skip(&self) -> usize {
        usize::from(self.skip)
    }

    #[inline]
    pub(super) fn order(&self) -> Ordered {
        Ordered(self.order.load(Acquire))
    }

    /// The `at`-th separator.
    #[inline]
    pub(super) fn separator(&self, order: Ordered, at: usize) -> Option<Entry<'_>> {
        if at >= order.count() {
            return None;
        }
        self.separators[order.slot(at)].load()
    }

    /// How many separators are not above `key`: the place of its child.
    #[inline]
    pub(super) fn place(&self, order: Ordered, key: &[u8]) -> usize {
        let (at, equal) = self.slots.find(order, self.skip(), key, |at| self.separator(order, at));
        at + usize::from(equal)
    }

    #[inline]
    fn link(&self, order: Ordered, place: usize) -> &ChildLink {
        match place.checked_sub(1) {
            None => &self.first,
            Some(at) => self.slots.to(order, at),
        }
    }

    /// The child below which `key` stands, if anywhere; for the writer, its place
    /// too. A child is replaced by its lower half after the upper half was
    /// published here: who saw the lower half sees the new order now, and looks
    /// again. At most [`SLOTS`] times: a node takes no more.
    #[inline]
    pub(super) fn descend(&self, key: &[u8]) -> (usize, Child<'_>) {
        loop {
            let order = self.order();
            let place = self.place(order, key);
            let child = self.link(order, place).load();
            if self.order.load(Relaxed) == order.0
                && let Some(child) = child
            {
                return (place, child);
            }
        }
    }

    /// The child with the lowest keys: no other half of it is ever below.
    #[inline]
    pub(super) fn lowest(&self) -> Option<Child<'_>> {
        self.first.load()
    }

    pub(super) fn is_full(&self) -> bool {
        self.order().count() == SLOTS
    }

    /// The child at `place` was split: `right` has its keys from `separator` on,
    /// and `left`, if it is another one, those before. The writer, if it is not
    /// full.
    pub(super) fn add(
        &self,
        place: usize,
        separator: Entry<'_>,
        right: Child<'_>,
        left: Option<Child<'_>>,
    ) {
        let order = self.order();
        let slot = order.count();
        self.slots.0[slot].head.store(head_of(separator.key(), self.skip()), Relaxed);
        self.slots.0[slot].to.store(right);
        self.separators[slot].store(separator);
        // First the upper half, then the lower one instead of the whole: in
        // between the whole still has all. `descend` rests on this order.
        self.order.store(order.insert(place).0, Release);
        if let Some(left) = left {
            self.link(order, place).store(left);
        }
    }

    /// The first child and all branches as after [`Inner::add`]. Full nodes only.
    pub(super) fn branches_with<'a>(
        &'a self,
        place: usize,
        separator: Entry<'a>,
        right: Child<'a>,
        left: Child<'a>,
    ) -> (Child<'a>, [Branch<'a>; SLOTS + 1]) {
        let order = self.order();
        let new = Branch { head: head_of(separator.key(), self.skip()), separator, child: right };
        let old = |at: usize| {
            let child = if at + 1 == place { left } else { self.slots.to(order, at).load()? };
            let head = self.slots.head(order, at);
            Some(Branch { head, separator: self.separator(order, at)?, child })
        };
        let first = if place == 0 { Some(left) } else { self.first.load() };
        let branches = std::array::from_fn(|i| match i.cmp(&place) {
            Order::Less => old(i).unwrap_or(new),
            Order::Equal => new,
            Order::Greater => old(i - 1).unwrap_or(new),
        });
        (first.unwrap_or(left), branches)
    }
}
