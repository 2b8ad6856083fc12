//! The locks and atomics of what is tried in every interleaving: `tests/interleave`
//! compiles the same text on loom's, and with smaller numbers.

pub(crate) use arc_swap::{ArcSwap, ArcSwapOption, Guard};
pub(crate) use parking_lot::Mutex;
pub(crate) use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};

/// Places of snapshots that are taken without a lock.
pub(crate) const SLOTS: usize = 256;
/// Places tried before giving up and taking the lock.
pub(crate) const TRIES: usize = 64;
/// Lists of readers of a lease: threads apart do not meet.
pub(crate) const SHARDS: usize = 8;
