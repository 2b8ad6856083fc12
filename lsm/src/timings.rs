//! How long what everybody waits for takes: syncs of the log, and flushes.

use platform::Histogram;

use crate::Lsm;

/// In nanoseconds, since the store was opened.
#[derive(Debug, Default)]
pub(crate) struct Timings {
    /// What a commit, or the timer, waited until the log was durable. A wait that found
    /// it so is none.
    pub(crate) syncs: Histogram,
    /// From the first piece of a flush to the version that holds it.
    pub(crate) flushes: Histogram,
}

impl Lsm {
    /// Does what waits for the log to be durable, and takes the time.
    pub(crate) fn timed_sync<T>(&self, wait: impl FnOnce() -> T) -> T {
        let (durable, begun) = (self.wal.durable_lsn(), self.clock.monotonic_nanos());
        let outcome = wait();
        if self.wal.durable_lsn() > durable {
            self.timings.syncs.record(self.clock.monotonic_nanos().saturating_sub(begun));
        }
        outcome
    }
}
