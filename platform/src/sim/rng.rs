//! splitmix64: small, seeded, good enough to choose fates.
//!
//! Invariant: the sequence never changes, or recorded seeds lose their meaning.

/// The odd constant splitmix64 counts by.
pub(crate) const STEP: u64 = 0x9E37_79B9_7F4A_7C15;

/// splitmix64's finisher: every input bit reaches every output bit.
pub(crate) fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// A stream of numbers fixed by its seed.
#[derive(Clone, Debug)]
pub(crate) struct Rng(u64);

impl Rng {
    /// The stream for `seed` at point `salt`: other salts give unrelated streams.
    pub(crate) fn new(seed: u64, salt: u64) -> Self {
        Self(mix(seed.wrapping_add(mix(salt.wrapping_add(STEP)))))
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(STEP);
        mix(self.0)
    }

    /// A number in `0..bound`; 0 when `bound` is 0. The modulo's bias is far
    /// below what a test could notice.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next().checked_rem(bound).unwrap_or(0)
    }

    /// A length in `0..=max`.
    pub(crate) fn up_to(&mut self, max: usize) -> usize {
        usize::try_from(self.below((max as u64).saturating_add(1))).unwrap_or(max)
    }

    pub(crate) fn coin(&mut self) -> bool {
        self.below(2) == 0
    }
}
