//! Time as a parameter.

/// The time. Implementations never block.
pub trait Clock: Send + Sync + 'static {
    /// Wall time in microseconds since 1970-01-01T00:00:00Z. May step back.
    fn wall_micros(&self) -> u64;

    /// Monotonic time in nanoseconds since an unspecified start. Never steps back.
    fn monotonic_nanos(&self) -> u64;
}
