//! Figures of a running store.

use crate::Lsn;

/// A picture of a store; the figures are read one after the other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// The last commit.
    pub last_lsn: Lsn,
    /// The last commit that survives a power cut.
    pub durable_lsn: Lsn,
    /// The last commit in the trees: replay starts behind it.
    pub flushed_lsn: Lsn,
    /// Bytes of memory of all memtable sets of the current version.
    pub memtable_bytes: usize,
    /// Frozen sets waiting for their flush.
    pub frozen: usize,
    /// Snapshots alive.
    pub snapshots: usize,
    /// The LSN of the oldest of them.
    pub oldest_snapshot: Option<Lsn>,
}
