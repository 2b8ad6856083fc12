//! The key-value engine: memtables, snapshots, atomic batches, flush, recovery.
//!
//! What must stay true:
//! * every change is a WAL frame before it is anything else (`commit.rs`);
//! * a snapshot sees exactly the commits up to its LSN (`version.rs`);
//! * persistent state moves by one meta page write (`flush.rs`);
//! * nothing grows without bound: a full memory makes the committing thread
//!   flush; old snapshots expire when they hold back too much (`lease.rs`).
//!
//! On the disk: `LOCK`, `trees.pages` (the page file), `wal/`, `vlog/`.

mod apply;
mod archive;
mod backup;
mod batch;
#[doc(hidden)]
pub mod bench;
mod between;
mod block;
mod commit;
mod count;
mod counter;
mod cursor;
mod directory;
mod durable;
mod error;
mod expect;
mod flush;
mod follow;
#[doc(hidden)]
pub mod fuzz;
mod gc;
mod health;
mod lease;
mod many;
mod memtable;
mod merge;
mod meta;
mod open;
mod options;
mod pace;
mod prims;
mod recent;
mod registry;
mod retain;
mod runs;
mod salvage;
mod segments;
mod set;
mod ship;
mod since;
mod small;
mod stats;
mod step;
#[cfg(test)]
mod tests;
mod timings;
mod transaction;
mod tree;
mod value;
mod verify;
mod version;
mod watched;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Acquire;

use btree::PageFile;
use parking_lot::Mutex;
use platform::{Clock, Disk, Lock};
use vlog::Vlog;
use wal::Wal;

pub use archive::{ArchiveStats, ArchiveStepper, LogArchive};
pub use backup::{
    Backup, BackupError, BackupInfo, BackupOptions, Backups, Progress, Pruned, Restore, Restored,
    Unreadable, Until, backups, check_backup, prune, restore,
};
pub use batch::{
    Batch, BatchError, KeyspaceId, MAX_BATCH_BYTES, MAX_KEY, MAX_KEYSPACE, Op, Ops, Told, decode,
};
pub use between::RangeCount;
pub use btree::Direction;
pub use cursor::{Cursor, Entry};
pub use directory::{StoreId, clear, is_store};
pub use durable::DurableWatch;
pub use error::Error;
pub use expect::{Expect, Unmet};
pub use follow::LogCursor;
pub use health::{Damage, State};
pub use many::Values;
pub use options::{MAX_INLINE, Options};
pub use pace::Stepper;
pub use retain::{Holder, Retention};
pub use salvage::{Doubtful, Lost, Salvaged, salvage};
pub use ship::{MAX_SHIPPED_BYTES, ShipError, Shipped, ship, shipped};
pub use since::Since;
pub use stats::Stats;
pub use step::{Debt, Step};
pub use transaction::{Footprint, Savepoint, Transaction};
pub use value::Value;
pub use verify::{At, Fault, Report, Verify, verify};
pub use version::Snapshot;
pub use wal::archive::Error as ArchiveError;
pub use wal::{Frame, SyncMode};
pub use watched::{Committed, watched};
// What `Error` holds, for who must tell the kinds apart.
pub use {btree::Error as PagesError, vlog::Error as ValuesError, wal::Error as WalError};

use durable::Watchers;
use flush::Flusher;
use health::Health;
use lease::{Current, DiskPins};
use pace::Pace;
use registry::{Registration, Registry};

/// The dense number of a commit; the first is 1.
pub type Lsn = u64;

const LOCK: &str = "LOCK";
const PAGES: &str = "trees.pages";
const WAL_DIR: &str = "wal";
const VLOG_DIR: &str = "vlog";

const _: () = assert!(MAX_BATCH_BYTES <= wal::MAX_PAYLOAD_BYTES);
const _: () = assert!(MAX_KEY <= btree::MAX_KEY && MAX_KEY <= vlog::MAX_KEY_BYTES);
const _: () = assert!(MAX_INLINE < btree::MAX_VALUE && MAX_BATCH_BYTES <= vlog::MAX_VALUE_BYTES);

/// A store. All methods take `&self` and may be called from any thread.
///
/// Lock order: `flusher`, then `commit`. A reader takes neither.
pub struct Lsm {
    /// One writer at a time.
    commit: Mutex<()>,
    version: Current,
    /// The last commit in the memtables. Written under the commit lock.
    applied: AtomicU64,
    /// The last commit new snapshots see: in async mode the last applied, in
    /// sync mode the last durable, so that nobody reads what a power cut undoes.
    visible: AtomicU64,
    /// Whether somebody else's commits are applied, and none are made.
    follows: apply::Follows,
    /// Who is told of what became durable.
    watchers: Watchers,
    health: Arc<Health>,
    /// Who waits for flushes.
    pace: Arc<Pace>,
    /// One flush at a time.
    flusher: Mutex<Flusher>,
    /// Bytes of values of the oldest frozen set that are written.
    flushed_bytes: AtomicU64,
    gc: gc::Figures,
    runs: runs::Figures,
    timings: timings::Timings,
    flush_error: Mutex<Option<String>>,
    trim_error: Mutex<Option<String>>,
    registry: Arc<Registry>,
    retain: Arc<retain::Retain>,
    /// What the last commits wrote, while there are transactions.
    recent: Arc<recent::Recent>,
    archiving: archive::Archiving,
    wal: Wal,
    pages: PageFile,
    values: Arc<Vlog>,
    clock: Arc<dyn Clock>,
    options: Options,
    store: StoreId,
    /// Where the files are: backup and verify read them as such.
    disk: Arc<dyn Disk>,
    /// Released when all else is gone: fields drop in their order.
    _lock: Box<dyn Lock>,
}

impl Lsm {
    /// The store as it is now. Lock-free; why it is right: `version.rs`.
    ///
    /// # Errors
    /// [`Error::TooManySnapshots`]: let go of some.
    pub fn snapshot(&self) -> Result<Snapshot, Error> {
        let (lsn, lease) = self.version.snapshot(&self.visible);
        Ok(Snapshot::new(lease, lsn, self.register(lsn)?, None))
    }

    /// The value of `key` now, or `None`: what a [`Lsm::snapshot`] taken for this one
    /// read would show, without its price.
    ///
    /// # Errors
    /// A page or value that cannot be read or fails its checksum.
    pub fn get(&self, keyspace: KeyspaceId, key: &[u8]) -> Result<Option<Value>, Error> {
        let (lsn, version) = self.version.look(&self.visible);
        self.health.look(version.get(keyspace, key, lsn))
    }

    /// As [`Lsm::snapshot`], but it expires by the bound of backups
    /// ([`Options::max_backup_pinned_bytes`]).
    ///
    /// # Errors
    /// As [`Lsm::snapshot`].
    pub(crate) fn backup_snapshot(&self) -> Result<Snapshot, Error> {
        let (lsn, lease, of_backup) = self.version.backup_snapshot(&self.visible);
        Ok(Snapshot::new(lease, lsn, self.register(lsn)?, Some(of_backup)))
    }

    fn register(&self, lsn: Lsn) -> Result<Registration, Error> {
        let live = self.registry.register(lsn);
        live.ok_or(Error::TooManySnapshots { live: self.registry.most() })
    }

    /// Keeps what old snapshots hold back within its bound. After each version
    /// that left something behind, outside the commit lock.
    pub(crate) fn bound_pins(&self) {
        let most = (self.options.max_pinned_bytes, self.options.max_backup_pinned_bytes);
        self.version.bound(most.0, most.1, &self.disk_pins());
    }

    /// Bytes of the page file, and of segments of the value log, that only old
    /// versions need, by epoch of their view.
    pub(crate) fn disk_pins(&self) -> DiskPins {
        let pages = self.pages.pinned_pages();
        let mut pins: DiskPins = pages
            .into_iter()
            .map(|(epoch, pages)| (epoch, pages * btree::PAGE_BYTES as u64))
            .collect();
        let oldest = self.pages.oldest_epoch();
        for (epoch, bytes) in self.gc.retired.lock().range(oldest..) {
            *pins.entry(*epoch).or_default() += bytes;
        }
        pins
    }

    /// The timer's part: makes everything committed durable; returns how far.
    ///
    /// # Errors
    /// The log's disk failed: writes are refused from now on, reads go on.
    pub fn sync(&self) -> Result<Lsn, Error> {
        let outcome = self.timed_sync(|| self.wal.sync());
        self.tell_durable();
        Ok(outcome?)
    }

    /// The last commit.
    pub fn last_lsn(&self) -> Lsn {
        self.applied.load(Acquire)
    }

    /// The last commit that survives a power cut.
    pub fn durable_lsn(&self) -> Lsn {
        self.wal.durable_lsn()
    }

    /// The last commit in the trees: replay starts behind it.
    pub fn flushed_lsn(&self) -> Lsn {
        self.version.load().flushed
    }

    /// The store's own number: made with it, kept by no other. A restored store is
    /// another one: its commits are numbered anew from where it was restored to.
    pub fn store_id(&self) -> StoreId {
        self.store
    }

    /// Why writes are refused, if they are: a write or sync of the log failed. Cheap.
    pub fn poisoned(&self) -> Option<String> {
        self.wal.poisoned()
    }

    /// Why flushes fail until the store is opened again, if they do: a write or sync
    /// of the page file or the value log failed. Waits for a flush that runs.
    pub fn flush_poisoned(&self) -> Option<String> {
        self.pages.poisoned().or_else(|| self.values.poisoned())
    }

    /// Syncs and closes; the next open replays what was not flushed. Takes a few seconds at
    /// most, for what collecting has moved and the trees do not name yet.
    ///
    /// # Errors
    /// As [`Lsm::sync`].
    pub fn close(self) -> Result<(), Error> {
        self.sync()?;
        self.name_rest();
        Ok(())
    }
}
