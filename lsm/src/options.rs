//! What a store can be told, with defaults and bounds.

/// When a commit is acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum SyncMode {
    /// After fdatasync, shared by all commits waiting.
    Sync,
    /// Once the frame is in the kernel; [`crate::Lsm::sync`] is the timer's part.
    #[default]
    Async,
}

/// How a store is opened. Every field has a default.
#[derive(Clone, Debug)]
pub struct Options {
    /// When a commit is acknowledged.
    pub sync: SyncMode,
    /// Bytes of a WAL segment. Default 16 MiB.
    pub wal_segment_bytes: u64,
    /// Bytes of memory of the active memtable set before it is frozen. Default
    /// 16 MiB; at most `(max_frozen + 1)` times this is held, and one batch.
    pub memtable_bytes: usize,
    /// Frozen sets waiting for their flush before a commit flushes one itself.
    /// Default 2, at least 1.
    pub max_frozen: usize,
    /// Bytes of a value log segment. Default 1 GiB.
    pub vlog_segment_bytes: u64,
    /// Bytes of the value log's write buffer. Default 4 MiB.
    pub vlog_buffer_bytes: usize,
    /// Bytes of the page cache. Default 64 MiB.
    pub cache_bytes: usize,
    /// Values up to this long stay in the leaf, longer ones go to the value log.
    /// Default 64, at most [`MAX_INLINE`].
    pub inline_max: usize,
}

/// The bound of [`Options::inline_max`].
pub const MAX_INLINE: usize = 256;

impl Default for Options {
    fn default() -> Self {
        Options {
            sync: SyncMode::Async,
            wal_segment_bytes: 16 << 20,
            memtable_bytes: 16 << 20,
            max_frozen: 2,
            vlog_segment_bytes: 1 << 30,
            vlog_buffer_bytes: 4 << 20,
            cache_bytes: 64 << 20,
            inline_max: 64,
        }
    }
}
