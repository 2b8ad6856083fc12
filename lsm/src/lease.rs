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
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};
use std::sync::{Arc, Weak};

use arc_swap::{ArcSwap, ArcSwapOption, Guard};
use parking_lot::Mutex;
use platform::Clock;

use crate::health::Health;
use crate::registry::hint;
use crate::set::MemSet;
use crate::version::Version;
use crate::{Error, Lsn};

/// Lists of readers of a lease: threads apart do not meet.
const SHARDS: usize = 8;

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

    /// Lists a reader, so that it is emptied with the lease.
    pub(crate) fn list(self: &Arc<Self>, cell: &Arc<impl Reader + 'static>) -> Listed {
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

    /// The current version's lease, for one look.
    #[inline]
    pub(crate) fn peek(&self) -> Guard<Arc<Lease>> {
        self.lease.load()
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
    pub(crate) fn of_backup(&self) -> (Arc<Lease>, OfBackup) {
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::ops::Bound;
    use std::sync::Arc;
    use std::time::Duration;

    use btree::Direction;
    use platform::sim::{SimClock, SimDisk};

    use crate::{Batch, Error, KeyspaceId, Lsm, Options};

    const KS: KeyspaceId = KeyspaceId(1);

    fn put(lsm: &Lsm, value: &[u8]) {
        let mut batch = Batch::new();
        batch.put(KS, b"key", value);
        lsm.commit(&batch).unwrap();
    }

    #[test]
    fn an_expired_version_is_freed_there_and_then() {
        // Given a snapshot and cursors of it, some of a place given back before,
        let clock = Arc::new(SimClock::new(0));
        let options = Options { max_pinned_bytes: 0, ..Options::default() };
        let lsm = Lsm::open(SimDisk::new(1), clock.clone(), options).unwrap();
        put(&lsm, b"old");
        let snapshot = lsm.snapshot().unwrap();
        let all = (Bound::Unbounded, Bound::Unbounded);
        let mut cursors = Vec::new();
        for n in 0..10 {
            cursors.push(snapshot.range(KS, all.0, all.1, Direction::Forward).unwrap());
            if n % 3 == 2 {
                cursors.remove(0);
            }
            cursors.last_mut().unwrap().next().unwrap();
        }
        let version = Arc::downgrade(&lsm.version.load_full());
        let set = Arc::downgrade(&lsm.version.load_full().active);
        // when what it holds back is over the bound,
        clock.advance(Duration::from_micros(7));
        lsm.flush().unwrap();
        // then nothing of it is left, but for its owners.
        assert!(version.upgrade().is_none() && set.upgrade().is_none());
        assert!(snapshot.is_expired());
        for cursor in &mut cursors {
            assert!(matches!(cursor.next(), Err(Error::SnapshotExpired { lsn: 1 })));
        }
        assert_eq!(lsm.version.expired(), (1, 0));
    }

    #[test]
    fn a_backups_snapshot_stays_and_an_older_one_expires_beside_it() {
        let clock = Arc::new(SimClock::new(0));
        let options = Options { max_pinned_bytes: 0, ..Options::default() };
        let lsm = Lsm::open(SimDisk::new(1), clock.clone(), options).unwrap();
        put(&lsm, b"1");
        let older = lsm.snapshot().unwrap();
        put(&lsm, b"2");
        lsm.flush().unwrap();
        put(&lsm, b"3");
        let backup = lsm.backup_snapshot().unwrap();
        for _ in 0..3 {
            put(&lsm, b"4");
            clock.advance(Duration::from_micros(5));
            lsm.flush().unwrap();
        }
        assert!(older.is_expired());
        assert_eq!(backup.get(KS, b"key").unwrap().as_deref(), Some(&b"3"[..]));
        // It is not hidden, and its age is known.
        let stats = lsm.stats().unwrap();
        assert!(stats.pinned_memory_bytes > 0 && stats.oldest_pin_micros == 10, "{stats:?}");
        // One beside it is not taken for it: once it is over, nothing is pinned.
        let late = backup.clone();
        drop(backup);
        assert!(!late.is_expired());
        drop(late);
        assert_eq!(lsm.stats().unwrap().pinned_memory_bytes, 0);
    }
}
