//! A clock that stands still until it is told otherwise.
//!
//! Invariant: monotonic time moves only by [`SimClock::advance`], never back.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::Clock;

/// A clock stepped by hand. Share it as `Arc<SimClock>`.
#[derive(Debug, Default)]
pub struct SimClock {
    wall_micros: AtomicU64,
    nanos: AtomicU64,
}

impl SimClock {
    /// A clock showing `wall_micros` (microseconds since 1970) and monotonic 0.
    #[must_use]
    pub fn new(wall_micros: u64) -> Self {
        Self { wall_micros: AtomicU64::new(wall_micros), nanos: AtomicU64::new(0) }
    }

    /// Moves both times forward. The monotonic time counts nanoseconds, the wall
    /// time whole microseconds of `by`.
    pub fn advance(&self, by: Duration) {
        let nanos = u64::try_from(by.as_nanos()).unwrap_or(u64::MAX);
        self.nanos.fetch_add(nanos, Ordering::SeqCst);
        self.wall_micros.fetch_add(nanos / 1000, Ordering::SeqCst);
    }

    /// Sets the wall time, back as well: what NTP or an operator may do.
    pub fn set_wall_micros(&self, wall_micros: u64) {
        self.wall_micros.store(wall_micros, Ordering::SeqCst);
    }
}

impl Clock for SimClock {
    fn wall_micros(&self) -> u64 {
        self.wall_micros.load(Ordering::SeqCst)
    }

    fn monotonic_nanos(&self) -> u64 {
        self.nanos.load(Ordering::SeqCst)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_moves_only_when_told_and_the_wall_may_step_back() {
        let clock = SimClock::new(5_000_000);
        assert_eq!((clock.wall_micros(), clock.monotonic_nanos()), (5_000_000, 0));
        clock.advance(Duration::from_millis(3));
        assert_eq!((clock.wall_micros(), clock.monotonic_nanos()), (5_003_000, 3_000_000));
        clock.set_wall_micros(7);
        assert_eq!((clock.wall_micros(), clock.monotonic_nanos()), (7, 3_000_000));
    }
}
