//! The locks and atomics that `turn.rs` is built on. A test gives it loom's.

pub(crate) use parking_lot::{Condvar, Mutex, MutexGuard as Guard};
pub(crate) use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// How often one who waits looks before he sleeps.
pub(crate) const SPINS: u32 = 100;

/// Between two looks.
pub(crate) fn pause() {
    std::hint::spin_loop();
}
