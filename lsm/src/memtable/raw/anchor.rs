//! What lies in an arena, kept together with the arena's owner.

use std::fmt;
use std::ops::Deref;
use std::ptr::NonNull;
use std::sync::Arc;

use super::super::node::{Leaf, Ordered};
use super::Entry;

/// A place in a leaf as one order word has it, and the version shown there.
#[derive(Clone, Copy)]
pub(in super::super) struct Spot<'a> {
    pub(in super::super) leaf: &'a Leaf,
    pub(in super::super) order: Ordered,
    pub(in super::super) rank: usize,
    entry: Option<Entry<'a>>,
}

impl<'a> Spot<'a> {
    /// In `leaf` as it is now, at nothing yet.
    #[inline]
    pub(in super::super) fn of(leaf: &'a Leaf) -> Self {
        Spot { leaf, order: leaf.order(), rank: 0, entry: None }
    }

    /// At a version of the `rank`-th key.
    #[inline]
    pub(in super::super) fn at(self, rank: usize, entry: Entry<'a>) -> Self {
        Spot { rank, entry: Some(entry), ..self }
    }
}

/// A [`Spot`] in what `owner` owns, kept alive by it; at first nowhere.
pub(in super::super) struct Anchor<O> {
    /// [`Spot::leaf`], [`Spot::entry`], without their lifetime.
    leaf: Option<NonNull<Leaf>>,
    entry: Option<NonNull<u8>>,
    order: Ordered,
    rank: usize,
    owner: Arc<O>,
}

// SAFETY: a leaf (atomics), an entry that nobody writes, and an `Arc`.
unsafe impl<O: Send + Sync> Send for Anchor<O> {}
// SAFETY: as above.
unsafe impl<O: Send + Sync> Sync for Anchor<O> {}

impl<O> Anchor<O> {
    pub(in super::super) fn new(owner: Arc<O>) -> Self {
        Anchor { leaf: None, entry: None, order: Ordered::default(), rank: 0, owner }
    }

    /// The version stood on.
    #[inline]
    pub(in super::super) fn entry(&self) -> Option<Entry<'_>> {
        // SAFETY: lent by the owner, as in `go`.
        self.entry.map(|at| unsafe { Entry::from_place(at) })
    }

    /// Goes where `step` says, from where it stands. `step` must do for any
    /// lifetime, so the spot it gives is the owner's.
    #[inline]
    pub(in super::super) fn go(
        &mut self,
        step: impl for<'a> FnOnce(&'a O, Option<Spot<'a>>) -> Option<Spot<'a>>,
    ) {
        let spot = self.leaf.map(|leaf| Spot {
            // SAFETY: `step` was lent it by `*owner`, which does not move in its
            // `Arc`, lives while we hold that, and is not borrowed mutably while
            // it is shared: it may be lent again for as long as `self` is.
            leaf: unsafe { leaf.as_ref() },
            order: self.order,
            rank: self.rank,
            // SAFETY: as above.
            entry: self.entry.map(|at| unsafe { Entry::from_place(at) }),
        });
        match step(&self.owner, spot) {
            Some(spot) => {
                self.leaf = Some(NonNull::from(spot.leaf));
                self.entry = spot.entry.map(|entry| entry.0);
                (self.order, self.rank) = (spot.order, spot.rank);
            }
            None => (self.leaf, self.entry) = (None, None),
        }
    }
}

/// Bytes that lie in what `owner` owns, kept alive by it.
pub(crate) struct Held<O> {
    bytes: NonNull<[u8]>,
    owner: Arc<O>,
}

// SAFETY: shared bytes that nobody writes, and an `Arc`.
unsafe impl<O: Send + Sync> Send for Held<O> {}
// SAFETY: as above.
unsafe impl<O: Send + Sync> Sync for Held<O> {}

impl<O> Held<O> {
    /// What `find` finds in the owner, with the owner; `None` where it finds none.
    /// `find` must do for any lifetime, so what it gives is the owner's or static.
    #[inline]
    pub(crate) fn find(
        owner: &Arc<O>,
        find: impl for<'a> FnOnce(&'a O) -> Option<&'a [u8]>,
    ) -> Option<Held<O>> {
        let bytes = NonNull::from(find(owner)?);
        Some(Held { bytes, owner: Arc::clone(owner) })
    }
}

impl<O> Clone for Held<O> {
    fn clone(&self) -> Self {
        Held { bytes: self.bytes, owner: Arc::clone(&self.owner) }
    }
}

impl<O> Deref for Held<O> {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        // SAFETY: borrowed from `*owner`, which does not move in its `Arc`, lives
        // while we hold that, and is not borrowed mutably while it is shared.
        unsafe { self.bytes.as_ref() }
    }
}

impl<O> fmt::Debug for Held<O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}
