//! The locks and atomics of what is tried in every interleaving: `lsm/tests/interleave`
//! compiles the same text on loom's, and with smaller numbers.

pub(crate) use arc_swap::{ArcSwap, ArcSwapOption, Guard};
pub(crate) use parking_lot::Mutex;
pub(crate) use std::sync::atomic::{AtomicBool, AtomicU64};

/// Files kept open for reading.
pub(crate) const MAX_OPEN_FILES: usize = 128;
