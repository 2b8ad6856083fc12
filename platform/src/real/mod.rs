//! The operating system's disk, clock and entropy.
//!
//! Invariant: this folder is the one place below `net` and `bins` that touches
//! files, clocks and randomness; each lint it lifts says why, item by item.

mod direct;
mod disk;
mod file;
mod mapped;
mod reading;

use std::time::{SystemTime, UNIX_EPOCH};

pub use disk::RealDisk;
use rustix::time::{ClockId, clock_gettime};

use crate::{Clock, Entropy};

/// The kernel's clocks.
#[derive(Clone, Copy, Debug)]
pub struct RealClock {
    /// What [`now`] was when the clock began.
    start: u64,
}

/// Nanoseconds of the kernel's monotonic clock. Not by `Instant`, whose differences
/// take twice the instructions: a request reads the clock some twenty times.
fn now() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    // Since the machine began: 64 bits hold 584 years of it.
    now.tv_sec.cast_unsigned() * 1_000_000_000 + now.tv_nsec.cast_unsigned()
}

impl RealClock {
    /// A clock whose monotonic time starts at 0 now.
    #[must_use]
    pub fn new() -> Self {
        Self { start: now() }
    }
}

/// Milliseconds of the kernel's monotonic clock at its last tick, so up to some ten late:
/// for what counts seconds, and asks so often that reading the processor's counter tells.
#[must_use]
pub fn coarse_millis() -> u64 {
    let now = clock_gettime(ClockId::MonotonicCoarse);
    now.tv_sec.cast_unsigned() * 1_000 + now.tv_nsec.cast_unsigned() / 1_000_000
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
        now().saturating_sub(self.start)
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
        let (first, tick) = (clock.monotonic_nanos(), coarse_millis());
        while coarse_millis() < tick + 50 {
            std::hint::spin_loop();
        }
        // It is behind the other by a tick at most, so by one they may differ.
        assert!(clock.monotonic_nanos() - first >= 30_000_000);
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
