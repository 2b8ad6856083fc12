//! Leases: who reads which version, and how an old one is taken away.
//!
//! A version is held by one lease, a lease by the snapshots of that version. The
//! current version's lease is never taken away. An old one pins what is gone from
//! the current version: memtable sets that were flushed, and pages that were
//! written anew. When the old leases together pin more than their share, the
//! oldest is *expired*: its version is dropped out of it, and out of the cursors
//! opened on it, there and then, whether or not their owners ever come back. Their
//! next read fails by name.
//!
//! What must stay true:
//! * a reader takes no lock that a writer holds: it loads the version out of the
//!   lease by one atomic load. A cursor's own lock is held by itself, while it reads
//!   a block of entries ahead, and once by who expires it;
//! * no cursor keeps a version that was expired: who expires empties the lease
//!   first and sweeps the cursors then; who opens a cursor lists it first and
//!   looks at the lease then. One of them sees the other: both pass through the
//!   list's lock;
//! * a lease that is exempt (a backup) is never expired: both are decided under
//!   the lock of `old`.

use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};
use std::sync::{Arc, Weak};

use arc_swap::{ArcSwap, ArcSwapOption, Guard};
use parking_lot::Mutex;
use platform::Clock;

use crate::cursor::CursorCell;
use crate::health::Health;
use crate::registry::hint;
use crate::set::MemSet;
use crate::version::Version;
use crate::{Error, Lsn};

/// Lists of cursors of a lease: threads apart do not meet.
const SHARDS: usize = 8;

/// See the module.
pub(crate) struct Lease {
    /// `None`: expired.
    version: ArcSwapOption<Version>,
    /// Set before the version is taken out: what cursors look at, each step.
    taken: AtomicBool,
    flushed: Lsn,
    cursors: [Mutex<Cursors>; SHARDS],
    /// When another version became the current one; 0: not yet. Nanoseconds of
    /// the monotonic clock, plus one.
    replaced: AtomicU64,
    exempt: AtomicUsize,
    health: Arc<Health>,
}

/// The cursors of one shard; free places are used again.
#[derive(Default)]
struct Cursors {
    cells: Vec<Weak<CursorCell>>,
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
            cursors: Default::default(),
            replaced: AtomicU64::new(0),
            exempt: AtomicUsize::new(0),
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

    /// Lists a cursor, so that it is emptied with the lease.
    pub(crate) fn list(self: &Arc<Self>, cell: &Arc<CursorCell>) -> Listed {
        let shard = hint() % SHARDS;
        let mut cursors = self.cursors[shard].lock();
        let place = cursors.free.pop().unwrap_or_else(|| {
            cursors.cells.push(Weak::new());
            cursors.cells.len() - 1
        });
        cursors.cells[place] = Arc::downgrade(cell);
        Listed { lease: Arc::clone(self), shard, place }
    }

    /// Empties the cursors of a lease whose version was taken out. Waits for those
    /// that are in the middle of a step.
    fn sweep(&self) {
        for shard in &self.cursors {
            let cells = shard.lock().cells.clone();
            for cell in cells.iter().filter_map(Weak::upgrade) {
                cell.empty();
            }
        }
    }
}

/// A cursor's place in its lease's list.
pub(crate) struct Listed {
    lease: Arc<Lease>,
    shard: usize,
    place: usize,
}

impl Drop for Listed {
    fn drop(&mut self) {
        let mut cursors = self.lease.cursors[self.shard].lock();
        cursors.cells[self.place] = Weak::new();
        cursors.free.push(self.place);
    }
}

/// Keeps a lease from being expired.
pub(crate) struct Exempt(Arc<Lease>);

impl Drop for Exempt {
    fn drop(&mut self) {
        self.0.exempt.fetch_sub(1, Release);
    }
}

/// What the old leases hold back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Pinned {
    /// Bytes of memtable sets.
    pub(crate) memory: u64,
    /// Bytes of pages and value log segments.
    pub(crate) disk: u64,
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
    clock: Arc<dyn Clock>,
    health: Arc<Health>,
}

impl Current {
    pub(crate) fn new(version: Version, clock: Arc<dyn Clock>, health: Arc<Health>) -> Self {
        Current {
            lease: ArcSwap::new(Lease::new(Arc::new(version), &health)),
            old: Mutex::default(),
            expired: AtomicU64::new(0),
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

    /// The current version, never to be taken away.
    pub(crate) fn exempt(&self) -> (Arc<Lease>, Exempt) {
        let _old = self.old.lock();
        let lease = self.lease();
        lease.exempt.fetch_add(1, Acquire);
        (Arc::clone(&lease), Exempt(lease))
    }

    /// How many leases were expired since the store was opened.
    pub(crate) fn expired(&self) -> u64 {
        self.expired.load(Relaxed)
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
            micros: now.saturating_sub(since) / 1000,
        }
    }

    /// Expires leases, oldest first, until the rest pins at most `most` bytes,
    /// exempt ones apart.
    pub(crate) fn bound(&self, most: u64, disk: &DiskPins) {
        let old = self.old.lock();
        let shares = self.shares(&old, disk);
        let bytes = |share: &Share| share.memory + share.disk;
        let expirable = |share: &&Share| share.lease.exempt.load(Acquire) == 0;
        let mut pinned: u64 = shares.iter().filter(expirable).map(bytes).sum();
        let mut taken = Vec::new();
        for share in shares.iter().filter(expirable) {
            if pinned <= most {
                break;
            }
            pinned -= bytes(share);
            share.lease.taken.store(true, Release);
            taken.push((Arc::clone(&share.lease), share.lease.version.swap(None)));
        }
        // A commit may wait for this lock. What follows waits for cursors, and
        // frees what was pinned.
        drop(old);
        self.expired.fetch_add(taken.len() as u64, Relaxed);
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
        assert_eq!(lsm.version.expired(), 1);
    }

    #[test]
    fn an_exempt_snapshot_stays_and_an_older_one_expires_beside_it() {
        let clock = Arc::new(SimClock::new(0));
        let options = Options { max_pinned_bytes: 0, ..Options::default() };
        let lsm = Lsm::open(SimDisk::new(1), clock.clone(), options).unwrap();
        put(&lsm, b"1");
        let older = lsm.snapshot().unwrap();
        put(&lsm, b"2");
        lsm.flush().unwrap();
        put(&lsm, b"3");
        let backup = lsm.exempt_snapshot().unwrap();
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
