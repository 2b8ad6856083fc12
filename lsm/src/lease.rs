//! Leases: who reads which version, and how an old one is taken away.
//!
//! A version is held by one lease, a lease by the snapshots of that version. The
//! current version's lease is never taken away. An old one pins what is gone from
//! the current version: memtable sets that were flushed, and pages that were
//! written anew. When the old leases together pin more than their share, the
//! oldest is *expired*: its version is dropped out of it, and out of the readers
//! (cursors, backups, verifications) opened on it, there and then, whether or not
//! their owners ever come back. Their next read fails by name.
//!
//! What must stay true:
//! * a reader takes no lock that a writer holds: it loads the version out of the
//!   lease by one atomic load. A reader's own lock is held by itself, while it reads
//!   a bounded piece ahead, and once by who expires it;
//! * no reader keeps a version that was expired: who expires empties the lease
//!   first and sweeps the readers then; who opens a reader lists it first and
//!   looks at the lease then. One of them sees the other: both pass through the
//!   list's lock;
//! * a lease that a backup holds is none of the readers' share: it has a bound of
//!   its own, since a backup cannot be read again in smaller pieces. Which bound
//!   counts is decided under the lock of `old`.

use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::{Arc, Weak};

use platform::Clock;

use crate::health::Health;
use crate::prims::{
    ArcSwap, ArcSwapOption, AtomicBool, AtomicU64, AtomicUsize, Guard, Mutex, SHARDS,
};
use crate::registry::hint;
use crate::set::MemSet;
use crate::version::Version;
use crate::{Error, Lsn};

/// What reads a version piece by piece, and holds parts of it in between.
pub(crate) trait Reader: Send + Sync {
    /// Lets go of all of it: the next piece fails by name. Waits for the piece that is
    /// being read, never for anything that is done with it.
    fn empty(&self);
}

/// See the module.
pub(crate) struct Lease {
    /// `None`: expired.
    version: ArcSwapOption<Version>,
    /// Set before the version is taken out: what cursors look at, each step.
    taken: AtomicBool,
    flushed: Lsn,
    readers: [Mutex<Readers>; SHARDS],
    /// When another version became the current one; 0: not yet. Nanoseconds of
    /// the monotonic clock, plus one.
    replaced: AtomicU64,
    /// Backups that hold it.
    backups: AtomicUsize,
    health: Arc<Health>,
}

/// The readers of one shard; free places are used again.
#[derive(Default)]
struct Readers {
    cells: Vec<Option<Weak<dyn Reader>>>,
    free: Vec<usize>,
}

/// A version in use for one operation.
pub(crate) struct Held(Guard<Option<Arc<Version>>>);

impl Deref for Held {
    type Target = Version;

    fn deref(&self) -> &Version {
        self.0.as_deref().expect("it was looked at when this was made, and cannot change")
    }
}

impl Lease {
    fn new(version: Arc<Version>, health: &Arc<Health>) -> Arc<Self> {
        Arc::new(Lease {
            flushed: version.flushed,
            version: ArcSwapOption::new(Some(version)),
            taken: AtomicBool::new(false),
            readers: Default::default(),
            replaced: AtomicU64::new(0),
            backups: AtomicUsize::new(0),
            health: Arc::clone(health),
        })
    }

    /// All commits up to this one are in its trees.
    pub(crate) fn flushed(&self) -> Lsn {
        self.flushed
    }

    /// The version, unless it was taken away.
    #[inline]
    pub(crate) fn version(&self) -> Option<Held> {
        let version = self.version.load();
        version.is_some().then_some(Held(version))
    }

    /// Whether the version was taken away, or is just being.
    #[inline]
    pub(crate) fn is_taken(&self) -> bool {
        self.taken.load(Acquire)
    }

    /// What reads count their errors in.
    pub(crate) fn health(&self) -> &Health {
        &self.health
    }

    /// Lists a reader, so that it is emptied with the lease. `None`: what it reads was
    /// taken away before, and nobody would empty it.
    pub(crate) fn list(self: &Arc<Self>, cell: &Arc<impl Reader + 'static>) -> Option<Listed> {
        let listed = self.entered(cell);
        self.version().is_some().then_some(listed)
    }

    fn entered(self: &Arc<Self>, cell: &Arc<impl Reader + 'static>) -> Listed {
        let shard = hint() % SHARDS;
        let mut readers = self.readers[shard].lock();
        let place = readers.free.pop().unwrap_or_else(|| {
            readers.cells.push(None);
            readers.cells.len() - 1
        });
        let weak = Arc::downgrade(cell);
        let weak: Weak<dyn Reader> = weak;
        readers.cells[place] = Some(weak);
        Listed { lease: Arc::clone(self), shard, place }
    }

    /// Empties the readers of a lease whose version was taken out. Waits for those
    /// that are in the middle of a piece.
    fn sweep(&self) {
        for shard in &self.readers {
            let cells = shard.lock().cells.clone();
            for cell in cells.iter().flatten().filter_map(Weak::upgrade) {
                cell.empty();
            }
        }
    }
}

/// A reader's place in its lease's list.
pub(crate) struct Listed {
    lease: Arc<Lease>,
    shard: usize,
    place: usize,
}

impl Drop for Listed {
    fn drop(&mut self) {
        let mut readers = self.lease.readers[self.shard].lock();
        readers.cells[self.place] = None;
        readers.free.push(self.place);
    }
}

/// Says that a backup holds the lease.
pub(crate) struct OfBackup(Arc<Lease>);

impl Drop for OfBackup {
    fn drop(&mut self) {
        self.0.backups.fetch_sub(1, Release);
    }
}

/// What the old leases hold back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Pinned {
    /// Bytes of memtable sets.
    pub(crate) memory: u64,
    /// Bytes of pages and value log segments.
    pub(crate) disk: u64,
    /// Of both, bytes that backups hold back.
    pub(crate) backups: u64,
    /// For how long the oldest lease has been an old one, microseconds.
    pub(crate) micros: u64,
}

/// Bytes on the disk that only views of this epoch or older need, by epoch.
pub(crate) type DiskPins = BTreeMap<u64, u64>;

/// The current version, and the leases of those before it.
pub(crate) struct Current {
    lease: ArcSwap<Lease>,
    /// Oldest first; those without a snapshot fall away.
    old: Mutex<Vec<Weak<Lease>>>,
    expired: AtomicU64,
    expired_backups: AtomicU64,
    clock: Arc<dyn Clock>,
    health: Arc<Health>,
}

impl Current {
    pub(crate) fn new(version: Version, clock: Arc<dyn Clock>, health: Arc<Health>) -> Self {
        Current {
            lease: ArcSwap::new(Lease::new(Arc::new(version), &health)),
            old: Mutex::default(),
            expired: AtomicU64::new(0),
            expired_backups: AtomicU64::new(0),
            clock,
            health,
        }
    }

    /// The current version's lease.
    pub(crate) fn lease(&self) -> Arc<Lease> {
        self.lease.load_full()
    }

    /// The current version.
    pub(crate) fn load_full(&self) -> Arc<Version> {
        loop {
            // Gone only if it was replaced since the first look, and expired.
            if let Some(version) = self.lease.load().version.load_full() {
                return version;
            }
        }
    }

    /// As [`Current::load_full`].
    pub(crate) fn load(&self) -> Arc<Version> {
        self.load_full()
    }

    /// A commit, and the lease of a version that shows exactly the commits up to it: why,
    /// stands in `version.rs`.
    pub(crate) fn snapshot(&self, visible: &AtomicU64) -> (Lsn, Arc<Lease>) {
        loop {
            let lsn = visible.load(Acquire);
            let lease = self.lease();
            if lease.flushed() <= lsn {
                return (lsn, lease);
            }
        }
    }

    /// As [`Current::snapshot`], for one look at the version.
    #[inline]
    pub(crate) fn look(&self, visible: &AtomicU64) -> (Lsn, Held) {
        loop {
            let lsn = visible.load(Acquire);
            let lease = self.lease.load();
            // Replaced since, and even taken away: there is a newer one.
            if lease.flushed() <= lsn
                && let Some(version) = lease.version()
            {
                return (lsn, version);
            }
        }
    }

    /// As [`Current::snapshot`], under the bound of backups.
    pub(crate) fn backup_snapshot(&self, visible: &AtomicU64) -> (Lsn, Arc<Lease>, OfBackup) {
        loop {
            let lsn = visible.load(Acquire);
            let (lease, of_backup) = self.of_backup();
            if lease.flushed() <= lsn {
                return (lsn, lease, of_backup);
            }
        }
    }

    /// Makes `next` the current version.
    pub(crate) fn store(&self, next: Arc<Version>) {
        drop(self.swap(next));
    }

    /// Makes `next` the current version. Returns what was, so that it is not
    /// freed under the caller's lock.
    pub(crate) fn swap(&self, next: Arc<Version>) -> Option<Arc<Version>> {
        let next = Lease::new(next, &self.health);
        let mut old = self.old.lock();
        let last = self.lease.swap(next);
        last.replaced.store(self.clock.monotonic_nanos().max(1), Relaxed);
        old.retain(|lease| lease.strong_count() > 0);
        old.push(Arc::downgrade(&last));
        drop(old);
        let version = last.version.load_full();
        drop(last);
        version
    }

    /// The current version, under the bound of backups.
    fn of_backup(&self) -> (Arc<Lease>, OfBackup) {
        let _old = self.old.lock();
        let lease = self.lease();
        lease.backups.fetch_add(1, Acquire);
        (Arc::clone(&lease), OfBackup(lease))
    }

    /// How many leases were expired since the store was opened: of readers, and of
    /// backups.
    pub(crate) fn expired(&self) -> (u64, u64) {
        (self.expired.load(Relaxed), self.expired_backups.load(Relaxed))
    }

    /// What all old leases pin.
    pub(crate) fn pinned(&self, disk: &DiskPins) -> Pinned {
        let old = self.old.lock();
        let live = self.shares(&old, disk);
        drop(old);
        let now = self.clock.monotonic_nanos();
        let since = live.first().map_or(now, |share| share.lease.replaced.load(Relaxed));
        Pinned {
            memory: live.iter().map(|share| share.memory).sum(),
            disk: live.iter().map(|share| share.disk).sum(),
            backups: live.iter().filter(|s| s.is_of_backup()).map(Share::bytes).sum(),
            micros: now.saturating_sub(since) / 1000,
        }
    }

    /// Expires leases, oldest first, until the rest pins at most `most` bytes; and
    /// those of backups until the rest of them pins at most `most_of_backups`.
    pub(crate) fn bound(&self, most: u64, most_of_backups: u64, disk: &DiskPins) {
        let old = self.old.lock();
        let shares = self.shares(&old, disk);
        let mut taken = Vec::new();
        for (of_backups, most, count) in
            [(false, most, &self.expired), (true, most_of_backups, &self.expired_backups)]
        {
            let is_one = |share: &&Share| share.is_of_backup() == of_backups;
            let mut pinned: u64 = shares.iter().filter(is_one).map(Share::bytes).sum();
            for share in shares.iter().filter(is_one) {
                if pinned <= most {
                    break;
                }
                pinned -= share.bytes();
                count.fetch_add(1, Relaxed);
                share.lease.taken.store(true, Release);
                taken.push((Arc::clone(&share.lease), share.lease.version.swap(None)));
            }
        }
        // A commit may wait for this lock. What follows waits for readers, and
        // frees what was pinned.
        drop(old);
        for (lease, _) in &taken {
            lease.sweep();
        }
    }

    /// The old leases with a snapshot, oldest first, and what each pins that no
    /// younger one does: it is free once all up to that one have gone.
    fn shares(&self, old: &[Weak<Lease>], disk: &DiskPins) -> Vec<Share> {
        let now = self.load_full();
        let mut seen: Vec<Arc<MemSet>> = now.sets().cloned().collect();
        let mut disk = disk.clone();
        // Of leases with the same trees, the youngest pins the pages.
        drop(disk.split_off(&now.view.epoch()));
        let mut shares = Vec::new();
        for lease in old.iter().rev().filter_map(Weak::upgrade) {
            let Some(version) = lease.version.load_full() else { continue };
            let mut memory = 0;
            for set in version.sets() {
                if !seen.iter().any(|other| Arc::ptr_eq(other, set)) {
                    memory += set.bytes() as u64;
                    seen.push(Arc::clone(set));
                }
            }
            // All that was let go between this version and the next younger one held.
            let disk = disk.split_off(&version.view.epoch()).values().sum();
            shares.push(Share { lease, memory, disk });
        }
        shares.reverse();
        shares
    }
}

struct Share {
    lease: Arc<Lease>,
    memory: u64,
    disk: u64,
}

impl Share {
    fn bytes(&self) -> u64 {
        self.memory + self.disk
    }

    fn is_of_backup(&self) -> bool {
        self.lease.backups.load(Acquire) > 0
    }
}

/// What a read of an expired lease is told.
pub(crate) fn expired(lsn: Lsn) -> Error {
    Error::SnapshotExpired { lsn }
}
