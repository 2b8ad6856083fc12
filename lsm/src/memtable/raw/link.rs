//! Links between what lies in an arena: see the module above, 2 and 3.

use std::ptr::{self, NonNull};
use std::sync::atomic::Ordering::{Acquire, Release};

use super::super::node::{Inner, Leaf};
use super::super::sync::AtomicPtr;
use super::Entry;

/// Tells the processor that the cache line at `at` will be read soon. Nothing is
/// read: `at` may be any address.
#[inline]
fn prefetch(at: *const u8) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a hint, which every x86-64 has; it faults on no address.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(at.cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = at;
}

/// A link to an entry.
pub(in super::super) struct EntryLink(AtomicPtr<u8>);

impl EntryLink {
    pub(in super::super) fn new(to: Option<Entry<'_>>) -> Self {
        EntryLink(AtomicPtr::new(to.map_or(ptr::null_mut(), |to| to.0.as_ptr())))
    }

    #[inline]
    pub(in super::super) fn load(&self) -> Option<Entry<'_>> {
        // SAFETY: null, or an entry placed in the arena this link belongs to, alive
        // while the link is borrowed (2), and written before (3).
        NonNull::new(self.0.load(Acquire)).map(|at| unsafe { Entry::from_place(at) })
    }

    /// What it leads to will be read soon: its first two cache lines.
    #[inline]
    pub(in super::super) fn prefetch(&self) {
        let at = self.0.load(Acquire);
        prefetch(at);
        prefetch(at.wrapping_add(64));
    }

    #[inline]
    pub(in super::super) fn store(&self, to: Entry<'_>) {
        self.0.store(to.0.as_ptr(), Release);
    }
}

/// A link to a leaf.
pub(in super::super) struct LeafLink(AtomicPtr<Leaf>);

impl LeafLink {
    pub(in super::super) fn none() -> Self {
        LeafLink(AtomicPtr::new(ptr::null_mut()))
    }

    pub(in super::super) fn new(to: Option<&Leaf>) -> Self {
        LeafLink(AtomicPtr::new(to.map_or(ptr::null_mut(), |to| ptr::from_ref(to).cast_mut())))
    }

    #[inline]
    pub(in super::super) fn load(&self) -> Option<&Leaf> {
        // SAFETY: null, or a leaf placed in the arena this link belongs to: written
        // before (3), never moved, alive while the link is borrowed (2), and only
        // ever shared.
        unsafe { self.0.load(Acquire).as_ref() }
    }

    #[inline]
    pub(in super::super) fn store(&self, to: &Leaf) {
        self.0.store(ptr::from_ref(to).cast_mut(), Release);
    }
}

/// A node below an inner one.
#[derive(Clone, Copy)]
pub(in super::super) enum Child<'a> {
    Leaf(&'a Leaf),
    Inner(&'a Inner),
}

/// A link to a node of either kind: the lowest bit says which (set: a leaf).
pub(in super::super) struct ChildLink(AtomicPtr<u8>);

const LEAF: usize = 1;
const _: () = assert!(align_of::<Leaf>() > LEAF && align_of::<Inner>() > LEAF);

impl ChildLink {
    pub(in super::super) fn none() -> Self {
        ChildLink(AtomicPtr::new(ptr::null_mut()))
    }

    pub(in super::super) fn new(to: Option<Child<'_>>) -> Self {
        ChildLink(AtomicPtr::new(to.map_or(ptr::null_mut(), Self::tagged)))
    }

    fn tagged(to: Child<'_>) -> *mut u8 {
        match to {
            Child::Leaf(leaf) => {
                ptr::from_ref(leaf).cast_mut().cast::<u8>().map_addr(|at| at | LEAF)
            }
            Child::Inner(inner) => ptr::from_ref(inner).cast_mut().cast(),
        }
    }

    #[inline]
    pub(in super::super) fn load(&self) -> Option<Child<'_>> {
        let at = self.0.load(Acquire);
        // SAFETY: null, or a node as for `LeafLink::load`; its kind was put into
        // the lowest bit, which the alignment of nodes leaves free.
        unsafe {
            if at.addr() & LEAF != 0 {
                at.map_addr(|at| at & !LEAF).cast::<Leaf>().as_ref().map(Child::Leaf)
            } else {
                at.cast::<Inner>().as_ref().map(Child::Inner)
            }
        }
    }

    #[inline]
    pub(in super::super) fn store(&self, to: Child<'_>) {
        self.0.store(Self::tagged(to), Release);
    }
}
