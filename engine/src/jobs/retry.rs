//! When a job that failed is tried again: later each time, up to a bound.
//!
//! What must stay true: the pause never passes its bound, and follows from the job and the
//! attempt alone, so that a history can be done again; jobs that failed together do not all
//! come back at once.

use proto::Key;

/// Milliseconds that whoever was called may ask for before the next attempt.
pub(super) const MOST_ASKED: u64 = 24 * 3600 * 1000;

/// How often a job is tried, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retry {
    /// Attempts until it is given up, where it does not say itself.
    pub max_attempts: u32,
    /// Milliseconds before the second attempt, at most; doubled with each.
    pub base_millis: u64,
    /// Milliseconds before any, at most.
    pub most_millis: u64,
}

impl Default for Retry {
    fn default() -> Self {
        Retry { max_attempts: 10, base_millis: 1000, most_millis: 600_000 }
    }
}

impl Retry {
    /// Milliseconds until a job is tried again, of which `attempts` have failed: between
    /// three quarters of what is due and all of it.
    pub fn pause(&self, key: Key, attempts: u32) -> u64 {
        let doubled = 1u64.checked_shl(attempts.saturating_sub(1)).unwrap_or(u64::MAX);
        let whole = self.base_millis.saturating_mul(doubled).min(self.most_millis);
        let quarter = whole / 4;
        whole - scattered(key, attempts) % (quarter + 1)
    }
}

/// A number that follows from both, and looks as if it did not.
fn scattered(key: Key, attempts: u32) -> u64 {
    let (high, low) = ((key.0 >> 64) as u64, key.0 as u64);
    let mut n = high ^ low.rotate_left(31) ^ u64::from(attempts);
    for factor in [0xbf58_476d_1ce4_e5b9, 0x94d0_49bb_1331_11eb] {
        n = (n ^ (n >> 30)).wrapping_mul(factor);
    }
    n ^ (n >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_their_bound_and_are_not_all_alike() {
        let retry = Retry { max_attempts: 99, base_millis: 1000, most_millis: 60_000 };
        for (attempts, whole) in
            [(0, 1000), (1, 1000), (2, 2000), (3, 4000), (6, 32_000), (7, 60_000), (500, 60_000)]
        {
            let pauses: Vec<u64> = (0..64).map(|n| retry.pause(Key(n << 70), attempts)).collect();
            assert!(pauses.iter().all(|p| (whole * 3 / 4..=whole).contains(p)), "{pauses:?}");
            assert!(pauses.iter().any(|p| *p != pauses[0]), "{attempts}: {pauses:?}");
            let again: Vec<u64> = (0..64).map(|n| retry.pause(Key(n << 70), attempts)).collect();
            assert_eq!(pauses, again);
        }
        let at_once = Retry { base_millis: 0, ..retry };
        assert_eq!(at_once.pause(Key(1), 5), 0);
    }
}
