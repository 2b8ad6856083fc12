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
        let mut number = 0u64;
        self.fill(bytemuck::bytes_of_mut(&mut number));
        u64::from_le(number)
    }
}
