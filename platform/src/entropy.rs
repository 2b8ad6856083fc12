//! Randomness as a parameter.

/// A source of bytes: unpredictable in production, seeded in simulation.
pub trait Entropy: Send + Sync + 'static {
    /// Fills `out` whole.
    ///
    /// # Panics
    /// The real source panics if the operating system has no entropy to give:
    /// a key made without it would be a lie.
    fn fill(&self, out: &mut [u8]);

    /// Eight bytes as a number.
    fn next_u64(&self) -> u64 {
        let mut bytes = [0; 8];
        self.fill(&mut bytes);
        u64::from_le_bytes(bytes)
    }
}
