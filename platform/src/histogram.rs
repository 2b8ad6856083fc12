//! How long things take, or how many there are at a time: counted without a lock, in
//! memory of a fixed size.
//!
//! What must stay true:
//! * recording is two additions, whoever reads meanwhile, and needs no clock: the caller
//!   says the nanoseconds;
//! * each power of two is cut into four, so that a quantile is never told too low, and
//!   by at most a quarter too high;
//! * a bucket ends with its bound included, as Prometheus reads `le`;
//! * how often there was anything is the sum of the buckets: the two cannot differ.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Buckets of a power of two, as a power of two.
const CUT: u32 = 2;
/// Values up to two to this power are told apart: 137 s, in nanoseconds.
const LARGEST: u32 = 37;
/// And one for all that is larger.
const BUCKETS: usize = (((LARGEST - CUT + 1) as usize) << CUT) + 1;

/// See the top of the file.
pub struct Histogram {
    buckets: [AtomicU64; BUCKETS],
    sum: AtomicU64,
}

impl Histogram {
    /// An empty one.
    pub const fn new() -> Histogram {
        Histogram { buckets: [const { AtomicU64::new(0) }; BUCKETS], sum: AtomicU64::new(0) }
    }

    /// Counts a value: nanoseconds, or how many.
    pub fn record(&self, value: u64) {
        self.buckets[bucket(value)].fetch_add(1, Relaxed);
        self.sum.fetch_add(value, Relaxed);
    }

    /// What was recorded so far.
    pub fn read(&self) -> Distribution {
        let counts = self.buckets.iter().map(|bucket| bucket.load(Relaxed)).collect();
        Distribution { counts, sum: self.sum.load(Relaxed) }
    }
}

impl Default for Histogram {
    fn default() -> Self {
        Histogram::new()
    }
}

impl std::fmt::Debug for Histogram {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.read().fmt(f)
    }
}

/// What a [`Histogram`] had recorded at one moment. The default is of none.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Distribution {
    /// Of every bucket, or of none.
    counts: Vec<u64>,
    sum: u64,
}

impl Distribution {
    /// How many values there were.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// All values together.
    pub fn sum(&self) -> u64 {
        self.sum
    }

    /// How many values were at most two to the power of `power`.
    pub fn at_most(&self, power: u32) -> u64 {
        let end = if power < CUT { 1 << power } else { ((power - CUT + 1) as usize) << CUT };
        self.counts.iter().take(end).sum()
    }

    /// A value that so many of a thousand do not pass; never less than the true one, and
    /// at most a quarter more, up to 137 s. 0 if there was none.
    pub fn quantile(&self, per_mille: u64) -> u64 {
        let rank = (self.count().saturating_mul(per_mille.min(1000))).div_ceil(1000).max(1);
        let mut seen = 0;
        for (index, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= rank {
                return bound(index);
            }
        }
        0
    }

    /// With what another had recorded.
    #[must_use]
    pub fn and(mut self, other: &Distribution) -> Distribution {
        if self.counts.is_empty() {
            return other.clone();
        }
        self.counts.iter_mut().zip(&other.counts).for_each(|(mine, theirs)| *mine += theirs);
        self.sum = self.sum.wrapping_add(other.sum);
        self
    }
}

impl std::fmt::Debug for Distribution {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [p50, p99] = [500, 990].map(|per_mille| self.quantile(per_mille));
        write!(f, "{} values, half up to {p50}, 99 of 100 up to {p99}", self.count())
    }
}

/// Where a value is counted.
fn bucket(value: u64) -> usize {
    // A bound belongs to the bucket it ends.
    let below = value.saturating_sub(1);
    if below < 1 << CUT {
        return below as usize;
    }
    let power = below.ilog2();
    let quarter = (below >> (power - CUT)) as usize & ((1 << CUT) - 1);
    ((((power - CUT + 1) as usize) << CUT) | quarter).min(BUCKETS - 1)
}

/// The largest value of a bucket. The last has none: it is told as a little more than
/// where it begins.
fn bound(index: usize) -> u64 {
    if index < 1 << CUT {
        return index as u64 + 1;
    }
    let (power, quarter) = ((index >> CUT) - 1, (index & ((1 << CUT) - 1)) as u64);
    ((1 << CUT) + quarter + 1) << power
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(values: impl IntoIterator<Item = u64>) -> Distribution {
        let histogram = Histogram::new();
        values.into_iter().for_each(|value| histogram.record(value));
        histogram.read()
    }

    #[test]
    fn of_nothing_there_is_nothing() {
        for none in [Distribution::default(), of([])] {
            assert_eq!((none.count(), none.sum(), none.at_most(LARGEST)), (0, 0, 0));
            assert_eq!((none.quantile(0), none.quantile(500), none.quantile(1000)), (0, 0, 0));
        }
    }

    #[test]
    fn a_bound_is_within_what_it_bounds_at_every_power() {
        for power in 0..=LARGEST {
            let value = 1 << power;
            let seen = of([value, value + 1]);
            assert_eq!(seen.at_most(power), 1, "2^{power} and one more");
            assert_eq!(seen.quantile(500), value, "2^{power}");
        }
        let beyond = of([(1 << LARGEST) + 1, u64::MAX]);
        assert_eq!((beyond.count(), beyond.at_most(LARGEST)), (2, 0));
        assert!(beyond.quantile(1000) > 1 << LARGEST);
    }

    #[test]
    fn two_are_one_whichever_was_empty() {
        let (few, none) = (of([1, 900]), Distribution::default());
        assert_eq!(none.clone().and(&few), few);
        assert_eq!(few.clone().and(&none), few);
        assert_eq!(few.clone().and(&few), of([1, 900, 1, 900]));
    }

    #[test]
    fn nothing_is_lost_between_threads() {
        let histogram = Histogram::new();
        std::thread::scope(|scope| {
            for thread in 1..=4 {
                let histogram = &histogram;
                scope.spawn(move || (0..10_000).for_each(|_| histogram.record(thread)));
            }
        });
        let seen = histogram.read();
        assert_eq!((seen.count(), seen.sum()), (40_000, 100_000));
        assert_eq!((seen.at_most(0), seen.at_most(1)), (10_000, 20_000));
    }

    proptest! {
        #[test]
        fn a_quantile_is_not_too_low_and_at_most_a_quarter_too_high(
            mut values in proptest::collection::vec(1u64..1 << LARGEST, 1..200),
            per_mille in 0u64..=1000,
        ) {
            let seen = of(values.iter().copied());
            values.sort_unstable();
            let rank = (values.len() as u64 * per_mille).div_ceil(1000).max(1);
            let truth = values[rank as usize - 1];
            let told = seen.quantile(per_mille);
            prop_assert!(told >= truth && told <= truth + truth / 4, "{told} of {truth}");
            prop_assert_eq!(seen.sum(), values.iter().sum::<u64>());
        }
    }
}
