//! The key-value engine: memtables, snapshots, atomic batches, flush, recovery.
//!
//! What must stay true:
//! * every change is a WAL frame before it is anything else (`commit.rs`);
//! * a snapshot sees exactly the commits up to its LSN (`version.rs`);
//! * persistent state moves by one meta page write (`flush.rs`);
//! * nothing grows without bound: a full memory makes the committing thread
//!   flush.

#![allow(dead_code)] // Until the log and the trees are wired in.

mod batch;
mod commit;
mod cursor;
mod error;
mod memtable;
mod options;
mod registry;
mod set;
mod stats;
mod value;
mod version;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Acquire;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use platform::{Clock, Disk};

pub use batch::{
    Batch, BatchError, KeyspaceId, MAX_BATCH_BYTES, MAX_KEY, MAX_KEYSPACE, Op, Ops, decode,
};
pub use cursor::{Cursor, Direction, Entry};
pub use error::Error;
pub use options::{MAX_INLINE, Options, SyncMode};
pub use stats::Stats;
pub use value::Value;
pub use version::Snapshot;

use registry::Registry;
use set::MemSet;
use version::Version;

/// The dense number of a commit; the first is 1.
pub type Lsn = u64;

/// A store. All methods take `&self` and may be called from any thread.
pub struct Lsm {
    /// One writer at a time.
    commit: Mutex<()>,
    version: ArcSwap<Version>,
    /// The last commit in the memtables. Written under the commit lock.
    applied: AtomicU64,
    /// The last commit new snapshots see: in async mode the last applied, in
    /// sync mode the last durable, so that nobody reads what a power cut undoes.
    visible: AtomicU64,
    registry: Arc<Registry>,
}

impl Lsm {
    /// Opens the store in `disk`'s root, making it if there is none.
    ///
    /// # Errors
    /// An option out of bounds.
    pub fn open(
        _disk: Arc<dyn Disk>,
        _clock: Arc<dyn Clock>,
        _options: Options,
    ) -> Result<Lsm, Error> {
        let version = Version { active: Arc::new(MemSet::new()), frozen: Vec::new(), flushed: 0 };
        Ok(Lsm {
            commit: Mutex::new(()),
            version: ArcSwap::from_pointee(version),
            applied: AtomicU64::new(0),
            visible: AtomicU64::new(0),
            registry: Registry::new(),
        })
    }

    /// The store as it is now. Lock-free; why it is right: `version.rs`.
    pub fn snapshot(&self) -> Snapshot {
        loop {
            let lsn = self.visible.load(Acquire);
            let version = self.version.load_full();
            if version.flushed <= lsn {
                return Snapshot::new(version, lsn, self.registry.register(lsn));
            }
        }
    }

    /// The last commit.
    pub fn last_lsn(&self) -> Lsn {
        self.applied.load(Acquire)
    }

    /// Figures for a dashboard.
    pub fn stats(&self) -> Stats {
        let version = self.version.load();
        let (snapshots, oldest_snapshot) = self.registry.live();
        Stats {
            last_lsn: self.last_lsn(),
            durable_lsn: 0,
            flushed_lsn: version.flushed,
            memtable_bytes: version.sets().map(|set| set.bytes()).sum(),
            frozen: version.frozen.len(),
            snapshots,
            oldest_snapshot,
        }
    }
}
