//! What a store can be told, with defaults and bounds.

use std::time::Duration;

use crate::{Error, LogArchive};

/// The bound of [`Options::inline_max`].
pub const MAX_INLINE: usize = 256;

/// The bound of [`Options::memtable_bytes`].
pub(crate) const MAX_MEMTABLE_BYTES: usize = 64 << 30;

/// How a store is opened. Every field has a default.
#[derive(Clone, Debug)]
pub struct Options {
    /// When a commit is acknowledged. Default: once its frame is in the kernel.
    pub sync: wal::SyncMode,
    /// Bytes of a WAL segment. Default 16 MiB.
    pub wal_segment_bytes: u64,
    /// Goes into every checksum of the log: a number from `platform::Entropy`, so
    /// that no client can put bytes into a value that pass for a frame. The
    /// default 0 is for tests.
    pub wal_salt: u64,
    /// Bytes of memory of the active memtable set before it is frozen. Default
    /// 16 MiB, 1 KiB to 64 GiB; at most `max_frozen + 1` times this is held, and
    /// a batch each.
    pub memtable_bytes: usize,
    /// Frozen sets waiting for their flush before a commit flushes one itself.
    /// Default 2, 1 to 64.
    pub max_frozen: usize,
    /// Bytes of a value log segment. Default 1 GiB.
    pub vlog_segment_bytes: u64,
    /// Bytes of the value log's write buffer. Default 4 MiB.
    pub vlog_buffer_bytes: usize,
    /// Percent of a value log segment that must be dead before the rest of it is
    /// written again to free it. Default 30, 1 to 100.
    pub gc_dead_ratio: u32,
    /// For how long nothing must have been committed before the store is at rest: then
    /// garbage is collected down to a twentieth, whatever that costs for each byte, and
    /// files kept for the next burst of writes are given back. Default: not at all, two
    /// steps that find nothing to do are enough.
    pub rest_after: Duration,
    /// Bytes of a segment looked through in one step of collecting garbage; twice
    /// as many of living records are written again together. Default 4 MiB, 1 KiB
    /// to 1 GiB.
    pub gc_step_bytes: usize,
    /// Bytes of the page cache. Default 64 MiB.
    pub cache_bytes: usize,
    /// Values up to this long stay in the leaf, longer ones go to the value log.
    /// Default 64, at most [`MAX_INLINE`].
    pub inline_max: usize,
    /// Leaves of a keyspace's tree that a flush would have to write anew, for a few keys
    /// in each, from which on it writes a run beside the tree instead. Default 4096
    /// (16 MiB of pages); 0: never, and runs there are go into the trees.
    pub run_leaves: u32,
    /// Percent of the keys of a keyspace's tree that its runs may have before they are
    /// merged into it. Default 25, 1 to 100.
    pub run_percent: u32,
    /// Snapshots alive at a time (a cursor keeps its own); one more is refused with
    /// [`Error::TooManySnapshots`]. Default 4096, 1 to 2^20.
    pub max_snapshots: usize,
    /// Bytes of memory and disk that old snapshots may hold back: memtable sets
    /// flushed since, pages written anew since. Beyond it the oldest expire
    /// ([`Error::SnapshotExpired`]). Default 1 GiB; 0: as soon as they hold back
    /// anything.
    pub max_pinned_bytes: u64,
    /// As `max_pinned_bytes`, for a backup being taken, which is none of those: beyond
    /// it the backup fails ([`BackupError::HeldTooMuch`](crate::BackupError)), so that
    /// a slow or silent disk of backups cannot fill that of the store. Default 16 GiB;
    /// 0: as soon as it holds back anything.
    pub max_backup_pinned_bytes: u64,
    /// Bytes of the log that replicas and watchers may hold back
    /// ([`Lsm::retain`](crate::Lsm::retain)); whoever holds back more is let go.
    /// Default 1 GiB.
    pub wal_retain_bytes: u64,
    /// Bytes of the newest log that are kept even if nobody holds them, so that a
    /// replica or a watcher that was away for a while, or over a restart, finds its
    /// place again. Default 0.
    pub wal_keep_bytes: u64,
    /// Where the log is archived to before it is cut. Default: nowhere.
    pub archive: Option<LogArchive>,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            sync: wal::SyncMode::Async,
            wal_segment_bytes: 16 << 20,
            wal_salt: 0,
            memtable_bytes: 16 << 20,
            max_frozen: 2,
            vlog_segment_bytes: 1 << 30,
            vlog_buffer_bytes: 4 << 20,
            gc_dead_ratio: 30,
            rest_after: Duration::ZERO,
            gc_step_bytes: 4 << 20,
            cache_bytes: 64 << 20,
            inline_max: 64,
            run_leaves: 4096,
            run_percent: 25,
            max_snapshots: 4096,
            max_pinned_bytes: 1 << 30,
            max_backup_pinned_bytes: 16 << 30,
            wal_retain_bytes: 1 << 30,
            wal_keep_bytes: 0,
            archive: None,
        }
    }
}

impl Options {
    pub(crate) fn check(&self) -> Result<(), Error> {
        let bound = |name, value: usize, holds: bool, must| {
            if holds { Ok(()) } else { Err(Error::Option { name, value: value as u64, must }) }
        };
        let memtable = (1 << 10..=MAX_MEMTABLE_BYTES).contains(&self.memtable_bytes);
        bound("memtable_bytes", self.memtable_bytes, memtable, "1 KiB to 64 GiB")?;
        bound("max_frozen", self.max_frozen, (1..=64).contains(&self.max_frozen), "1 to 64")?;
        let snapshots = (1..=1 << 20).contains(&self.max_snapshots);
        bound("max_snapshots", self.max_snapshots, snapshots, "1 to 1048576")?;
        let ratio = (1..=100).contains(&self.gc_dead_ratio);
        bound("gc_dead_ratio", self.gc_dead_ratio as usize, ratio, "1 to 100")?;
        let percent = (1..=100).contains(&self.run_percent);
        bound("run_percent", self.run_percent as usize, percent, "1 to 100")?;
        let step = (1 << 10..=1 << 30).contains(&self.gc_step_bytes);
        bound("gc_step_bytes", self.gc_step_bytes, step, "1 KiB to 1 GiB")?;
        bound("inline_max", self.inline_max, self.inline_max <= MAX_INLINE, "at most 256")
    }

    pub(crate) fn wal(&self) -> wal::Options {
        wal::Options {
            segment_bytes: self.wal_segment_bytes,
            sync: self.sync,
            salt: self.wal_salt,
            ..wal::Options::default()
        }
    }

    pub(crate) fn vlog(&self) -> vlog::Options {
        vlog::Options {
            segment_bytes: self.vlog_segment_bytes,
            buffer_bytes: self.vlog_buffer_bytes,
        }
    }

    pub(crate) fn pages(&self) -> btree::Options {
        btree::Options { cache_bytes: self.cache_bytes, ..btree::Options::default() }
    }
}
