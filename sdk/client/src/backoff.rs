//! Pauses between attempts: each twice the one before, up to a bound, half by chance.
//!
//! Invariant: a pause is never longer than the longest asked for, nor shorter than
//! half of what is due.

use crate::options::RetryOptions;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

/// The pause behind attempt `attempt` (the first is 1); `chance` is any number.
pub(crate) fn pause(options: &RetryOptions, attempt: u32, chance: u64) -> Duration {
    let doubled = 2u32.saturating_pow(attempt.saturating_sub(1));
    let due = options.first_pause.saturating_mul(doubled).min(options.longest_pause);
    let half = due / 2;
    half + half.mul_f64(chance as f64 / u64::MAX as f64)
}

/// A number nobody can foresee, good enough to spread clients by.
pub(crate) fn chance() -> u64 {
    RandomState::new().build_hasher().finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest_and_half_of_each_is_chance() {
        let options = RetryOptions {
            first_pause: Duration::from_millis(100),
            longest_pause: Duration::from_millis(700),
            ..RetryOptions::default()
        };
        let pauses = |chance| [1, 2, 3, 4, 40, u32::MAX].map(|n| pause(&options, n, chance));
        let millis = |all: [u64; 6]| all.map(Duration::from_millis);
        assert_eq!(pauses(0), millis([50, 100, 200, 350, 350, 350]));
        assert_eq!(pauses(u64::MAX), millis([100, 200, 400, 700, 700, 700]));
    }

    #[test]
    fn chance_differs() {
        let first = chance();
        assert!((0..8).any(|_| chance() != first));
    }
}
