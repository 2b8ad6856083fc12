//! For tests: ways chosen by whim instead of by cost, so that each is taken that could be.

use std::cell::Cell;

thread_local! {
    static SEED: Cell<Option<u64>> = const { Cell::new(None) };
}

/// From now on, on this thread, ways have random prices; with `None` their costs.
pub(crate) fn set(seed: Option<u64>) {
    SEED.set(seed);
}

/// Whether ways are chosen by whim.
pub(super) fn is_set() -> bool {
    SEED.get().is_some()
}

/// A random price, below that of a scan.
pub(super) fn next() -> Option<u64> {
    let seed = SEED.get()?;
    let next = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    SEED.set(Some(next));
    Some(next >> 8)
}
