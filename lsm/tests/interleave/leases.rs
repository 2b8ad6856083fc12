//! Snapshots, and versions that are taken away (`lease.rs`).

use std::sync::Arc;
use std::sync::atomic::Ordering::{Acquire, Release};

use loom::thread;
use platform::sim::SimClock;

use crate::health::Health;
use crate::lease::{Current, Reader};
use crate::prims::{AtomicU64, Mutex};
use crate::set::MemSet;
use crate::version::{Version, View};
use crate::{Lsn, explore};

/// A store of which commits are only counted; each step is done in the order in which
/// `commit.rs` and `flush.rs` do it.
struct Store {
    current: Current,
    commit: Mutex<()>,
    applied: AtomicU64,
    visible: AtomicU64,
}

impl Store {
    fn new() -> Arc<Store> {
        let sets = vec![(Arc::new(MemSet::default()), 0)];
        let version = Version { sets, view: View(0), flushed: 0 };
        let clock = Arc::new(SimClock::new(1));
        Arc::new(Store {
            current: Current::new(version, clock, Arc::new(Health)),
            commit: Mutex::new(()),
            applied: AtomicU64::new(0),
            visible: AtomicU64::new(0),
        })
    }

    fn commit(&self) {
        let lock = self.commit.lock();
        let lsn = self.applied.load(Acquire) + 1;
        self.current.load().sets[0].0.write(lsn);
        self.applied.store(lsn, Release);
        drop(lock);
        self.visible.fetch_max(lsn, Release);
    }

    /// A new active set; the one before it is frozen.
    fn freeze(&self) {
        let _lock = self.commit.lock();
        let now = self.current.load();
        let mut sets = now.sets.clone();
        sets[0].1 = self.applied.load(Acquire);
        sets.insert(0, (Arc::new(MemSet::default()), 0));
        self.current.store(Arc::new(Version { sets, ..*now }));
    }

    /// The oldest set goes into the trees.
    fn publish(&self) {
        let _lock = self.commit.lock();
        let now = self.current.load();
        let mut sets = now.sets.clone();
        let (_, boundary) = sets.pop().unwrap();
        self.visible.fetch_max(boundary, Release);
        let next = Version { sets, view: View(now.view.epoch() + 1), flushed: boundary };
        drop(self.current.swap(Arc::new(next)));
    }
}

/// A snapshot at `lsn` of this version shows the commits up to `lsn`, and no others.
fn shows(version: &Version, lsn: Lsn) {
    assert!(version.flushed <= lsn, "the trees hold what came after {lsn}");
    for commit in version.flushed + 1..=lsn {
        assert!(version.sets().any(|set| set.has(commit)), "commit {commit} is not seen at {lsn}");
    }
}

fn writes_and_flushes(store: &Arc<Store>) -> [thread::JoinHandle<()>; 2] {
    let (writer, flusher) = (Arc::clone(store), Arc::clone(store));
    [
        thread::spawn(move || writer.commit()),
        thread::spawn(move || {
            flusher.freeze();
            flusher.publish();
        }),
    ]
}

#[test]
fn a_snapshot_shows_the_commits_up_to_it_and_no_others() {
    explore(|| {
        let store = Store::new();
        store.commit();
        let others = writes_and_flushes(&store);
        let (lsn, lease) = store.current.snapshot(&store.visible);
        assert!(lsn >= 1, "what had returned before is seen");
        shows(&lease.version().unwrap(), lsn);
        others.into_iter().for_each(|thread| thread.join().unwrap());
        // However late it is read.
        shows(&lease.version().unwrap(), lsn);
    });
}

#[test]
fn a_look_without_a_snapshot_shows_as_much() {
    explore(|| {
        let store = Store::new();
        store.commit();
        let others = writes_and_flushes(&store);
        let expirer = Arc::clone(&store);
        let (lsn, version) = store.current.look(&store.visible);
        shows(&version, lsn);
        others.into_iter().for_each(|thread| thread.join().unwrap());
        expirer.current.bound(0, 0, &Default::default());
    });
}

/// What a cursor holds of a version.
struct Cell(Mutex<Option<Arc<Version>>>);

impl Reader for Cell {
    fn empty(&self) {
        drop(self.0.lock().take());
    }
}

#[test]
fn no_reader_keeps_what_was_expired() {
    explore(|| {
        let store = Store::new();
        store.commit();
        let (_, lease) = store.current.snapshot(&store.visible);
        let expirer = {
            let store = Arc::clone(&store);
            thread::spawn(move || {
                store.freeze();
                store.publish();
                store.current.bound(0, 0, &Default::default());
            })
        };
        // As `Cursor::open`: what is to be read is gathered, then listed.
        let gathered = store.current.load();
        let is_old = gathered.flushed == 0 && gathered.sets.len() == 1;
        if lease.version().is_some() && is_old {
            let cell = Arc::new(Cell(Mutex::new(Some(gathered))));
            let listed = lease.list(&cell);
            expirer.join().unwrap();
            assert!(lease.is_taken() && lease.version().is_none());
            if listed.is_some() {
                assert!(cell.0.lock().is_none(), "a listed reader keeps an expired version");
            }
        } else {
            expirer.join().unwrap();
        }
    });
}

#[test]
fn a_backup_is_under_its_own_bound_from_the_start() {
    explore(|| {
        let store = Store::new();
        store.commit();
        let expirer = {
            let store = Arc::clone(&store);
            thread::spawn(move || {
                store.freeze();
                store.publish();
                store.current.bound(0, u64::MAX, &Default::default());
            })
        };
        let (_, lease, of_backup) = store.current.backup_snapshot(&store.visible);
        assert!(lease.version().is_some(), "just taken");
        expirer.join().unwrap();
        assert!(lease.version().is_some(), "a backup was expired by the readers' bound");
        drop(of_backup);
    });
}
