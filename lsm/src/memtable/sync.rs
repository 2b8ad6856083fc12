//! The atomics of the memtable. `tests/interleave` includes the same sources with the
//! atomics of a model checker, `tests/memtable.rs` with memory that a sanitizer can
//! watch; both with smaller nodes.

pub(super) use std::sync::atomic::{AtomicPtr, AtomicU64};

/// Keys in a leaf, separators in an inner node. The order word (`node.rs`) has
/// place for 15; with 14 a leaf is four cache lines.
pub(super) const SLOTS: usize = 14;

/// Whether each entry and node has an allocation of its own. Then a sanitizer sees who
/// leaves his, which in a chunk of many it could not.
pub(super) const APART: bool = false;

/// Tells a model checker when the bytes of an entry are written and read.
pub(super) struct Mark;

impl Mark {
    #[inline]
    pub(super) fn new() -> Self {
        Mark
    }

    #[inline]
    pub(super) fn write(&self) {}

    #[inline]
    pub(super) fn read(&self) {}
}

#[cfg(target_pointer_width = "64")]
const _: () = {
    use super::node::{Inner, Leaf};
    assert!(size_of::<super::raw::Header>() == 16);
    assert!(size_of::<Leaf>() == 256 && size_of::<Inner>() == 384);
};
