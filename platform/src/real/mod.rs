//! The operating system's disk, clock and entropy.
//!
//! Invariant: this folder is the one place below `net` and `bins` that touches
//! files, clocks and randomness; each lint it lifts says why, item by item.

mod direct;
mod disk;
mod file;
mod mapped;
mod reading;

use std::time::{Instant, SystemTime, UNIX_EPOCH};

pub use disk::RealDisk;

use crate::{Clock, Entropy};

/// The kernel's clocks.
#[derive(Clone, Copy, Debug)]
pub struct RealClock {
    start: Instant,
}

impl RealClock {
    /// A clock whose monotonic time starts at 0 now.
    #[expect(clippy::disallowed_methods, reason = "the one door to the monotonic clock")]
    #[must_use]
    pub fn new() -> Self {
        Self { start: Instant::now() }
    }
}

impl Default for RealClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for RealClock {
    #[expect(clippy::disallowed_methods, reason = "the one door to the wall clock")]
    fn wall_micros(&self) -> u64 {
        // A clock set before 1970 reads as 1970: callers only need a number.
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
    }

    fn monotonic_nanos(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

/// The kernel's randomness (getrandom).
#[derive(Clone, Copy, Debug, Default)]
pub struct RealEntropy;

impl Entropy for RealEntropy {
    fn fill(&self, out: &mut [u8]) {
        getrandom::fill(out).expect("the operating system gives entropy, or no key may be made");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clocks_run() {
        let clock = RealClock::new();
        // 2020-01-01: a wall clock in the wrong unit would miss it by far.
        let year_2020 = 1_577_836_800_000_000;
        assert!(clock.wall_micros() > year_2020 && clock.wall_micros() < year_2020 * 10);
        let first = clock.monotonic_nanos();
        assert!(clock.monotonic_nanos() >= first);
    }

    #[test]
    fn entropy_fills_all_and_differs() {
        let (mut a, mut b) = ([0; 64], [0; 64]);
        RealEntropy.fill(&mut a);
        RealEntropy.fill(&mut b);
        assert_ne!(a, b);
        assert_ne!(a[56..], [0; 8], "the last bytes were filled too");
    }
}
