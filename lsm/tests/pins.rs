//! What old snapshots may hold back: a bound on their number, a bound on memory
//! and disk, and an error that says so, while writes go on.

#![allow(clippy::unwrap_used)]

use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use lsm::{Batch, Cursor, Direction, Error, KeyspaceId, Lsm, Options, Snapshot};
use platform::sim::{SimClock, SimDisk};

const KS: KeyspaceId = KeyspaceId(1);
const KEYS: u64 = 60;

fn open(max_pinned_bytes: u64) -> Lsm {
    open_with(Options { max_pinned_bytes, ..options() })
}

fn options() -> Options {
    Options { memtable_bytes: 24 << 10, max_frozen: 1, ..Options::default() }
}

fn open_with(options: Options) -> Lsm {
    Lsm::open(SimDisk::new(1), Arc::new(SimClock::new(0)), options).unwrap()
}

/// Puts `round` under every key, and into the trees.
fn overwrite(lsm: &Lsm, round: u8) {
    for n in 0..KEYS {
        let mut batch = Batch::new();
        batch.put(KS, &n.to_be_bytes(), &[round; 50]);
        lsm.commit(&batch).unwrap();
    }
    lsm.flush().unwrap();
}

fn all(snapshot: &Snapshot) -> Result<Cursor, Error> {
    snapshot.range(KS, Bound::Unbounded, Bound::Unbounded, Direction::Forward)
}

/// Asserts that a snapshot shows `round` under every key, by gets and by a scan.
fn assert_shows(snapshot: &Snapshot, round: u8) {
    let mut cursor = all(snapshot).unwrap();
    for n in 0..KEYS {
        let value = snapshot.get(KS, &n.to_be_bytes()).unwrap().unwrap();
        assert_eq!(*value, [round; 50]);
        assert_eq!(cursor.next().unwrap(), Some((&n.to_be_bytes()[..], &[round; 50][..])));
    }
    assert_eq!(cursor.next().unwrap(), None);
}

fn assert_expired<T>(outcome: Result<T, Error>) {
    match outcome {
        Err(Error::SnapshotExpired { .. }) => {}
        Err(other) => panic!("another error: {other}"),
        Ok(_) => panic!("it was answered"),
    }
}

#[test]
fn as_many_snapshots_as_may_be_and_no_more() {
    // Given as many snapshots as may be,
    let lsm = open_with(Options { max_snapshots: 3, ..options() });
    overwrite(&lsm, 1);
    let mut held: Vec<_> = (0..3).map(|_| lsm.snapshot().unwrap()).collect();
    // when another is wanted, then it is refused, and the error says what to do,
    let error = lsm.snapshot().map(drop).unwrap_err();
    assert!(matches!(error, Error::TooManySnapshots { live: 3 }), "{error}");
    assert!(error.to_string().contains("max_snapshots"), "{error}");
    // those held can be read, cloned, walked, and writers go on,
    assert_shows(&held[2].clone(), 1);
    let looked = lsm.commit_with(|latest| {
        let mut batch = Batch::new();
        batch.put(KS, b"count", &latest.get(KS, &[0; 8])?.unwrap());
        Ok::<_, Error>((batch, ()))
    });
    looked.unwrap();
    assert_eq!(lsm.stats().unwrap().snapshots, 3);
    // and when one is let go of, another takes its place. A cursor holds its own.
    let cursor = all(&held.swap_remove(0)).unwrap();
    assert!(lsm.snapshot().is_err());
    drop(cursor);
    held.push(lsm.snapshot().unwrap());
    assert!(lsm.snapshot().is_err());
}

#[test]
fn an_old_snapshot_expires_and_a_younger_one_stays() {
    // Given a snapshot and a cursor in the middle of it,
    let lsm = open(100 << 10);
    overwrite(&lsm, 1);
    let old = lsm.snapshot().unwrap();
    let (mut cursor, mut untouched) = (all(&old).unwrap(), all(&old).unwrap());
    assert!(cursor.next().unwrap().is_some() && untouched.advance().unwrap());
    // when everything is overwritten, they go on as long as they hold back little,
    overwrite(&lsm, 2);
    assert_shows(&old, 1);
    assert!(cursor.next().unwrap().is_some());
    let stats = lsm.stats().unwrap();
    assert!(stats.pinned_memory_bytes > 8 << 10, "{stats:?}");
    assert_eq!((stats.expired_versions, stats.oldest_snapshot), (0, Some(KEYS)));
    // and when more is, until it is too much,
    let young = lsm.snapshot().unwrap();
    let mut round = 2;
    while !old.is_expired() {
        round += 1;
        assert!(round < 100, "it never expires: {:?}", lsm.stats().unwrap());
        let between = lsm.snapshot().unwrap();
        overwrite(&lsm, round);
        assert_shows(&between, round - 1);
        std::mem::forget(between);
    }
    // then every read of it says so, and what to do,
    assert_expired(old.get(KS, b"k"));
    assert_expired(all(&old));
    assert_expired(cursor.next());
    assert_expired(cursor.seek(b"k"));
    assert_expired(untouched.value());
    // (an entry read ahead is at hand)
    assert_expired(untouched.advance());
    assert!(cursor.next().unwrap_err().to_string().contains("max_pinned_bytes"));
    // and the younger one stays, since that was enough.
    assert_shows(&young, 2);
    assert_shows(&lsm.snapshot().unwrap(), round);
    let stats = lsm.stats().unwrap();
    assert!(stats.pinned_memory_bytes + stats.pinned_disk_bytes <= 100 << 10, "{stats:?}");
    assert_eq!(stats.expired_versions, 1, "{stats:?}");
}

#[test]
fn what_an_expired_snapshot_held_is_given_back_without_its_owner() {
    // Given a snapshot and a cursor that nobody ever touches again,
    let file_after = |max_pinned_bytes| {
        let lsm = open(max_pinned_bytes);
        let mut held = Vec::new();
        for round in 0..60 {
            overwrite(&lsm, round);
            // when there is one more of them after each flush of everything,
            let snapshot = lsm.snapshot().unwrap();
            held.push((all(&snapshot).unwrap(), snapshot));
        }
        let stats = lsm.stats().unwrap();
        let pinned = stats.pinned_memory_bytes + stats.pinned_disk_bytes;
        assert!(pinned <= max_pinned_bytes, "{stats:?}");
        assert_eq!(stats.snapshots, 60);
        stats.page_file_bytes
    };
    // then with a bound the page file does not grow, without one it does.
    let (bounded, unbounded) = (file_after(0), file_after(u64::MAX));
    assert!(bounded * 3 < unbounded, "{bounded} and {unbounded}");
}

#[test]
fn pages_held_back_count_as_memory_does() {
    // Given a snapshot of a tree larger than all memtables, and a bound that only its
    // pages can pass,
    let lsm = open(120 << 10);
    let overwrite = |round: u8| {
        for n in 0..6000u64 {
            let mut batch = Batch::new();
            batch.put(KS, &n.to_be_bytes(), &[round; 40]);
            lsm.commit(&batch).unwrap();
        }
        lsm.flush().unwrap();
    };
    overwrite(1);
    let snapshot = lsm.snapshot().unwrap();
    // when all of the tree is written anew, then it expires.
    overwrite(2);
    lsm.flush().unwrap();
    overwrite(3);
    assert!(snapshot.is_expired(), "{:?}", lsm.stats().unwrap());
}

#[test]
fn a_read_is_right_or_refused_while_snapshots_expire_under_it() {
    // Given readers who keep snapshots and cursors longer than they may,
    let lsm = open(0);
    overwrite(&lsm, 1);
    let (done, refused, right) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    let read = || -> Result<(), Error> {
        let snapshot = lsm.snapshot()?;
        let first = snapshot.get(KS, &[0; 8])?.unwrap().into_vec();
        let (mut cursor, mut n) = (all(&snapshot)?, 0);
        while let Some((_, value)) = cursor.next()? {
            // then each entry is of one state: all keys from the last whole round
            // and some of the round being written.
            let (newest, this) = (first[0], value[0]);
            assert!(this == newest || this + 1 == newest, "{this} beside {newest}");
            assert_eq!(value.len(), 50);
            n += 1;
            std::thread::yield_now();
        }
        assert_eq!(n, KEYS);
        Ok(())
    };
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    match read() {
                        Ok(()) => right.fetch_add(1, Ordering::Relaxed),
                        Err(Error::SnapshotExpired { .. }) => {
                            refused.fetch_add(1, Ordering::Relaxed)
                        }
                        Err(other) => panic!("{other}"),
                    };
                }
            });
        }
        // when everything is overwritten and flushed all the time.
        for round in 2..=250 {
            overwrite(&lsm, round);
            let enough = |n: &AtomicU64| n.load(Ordering::Relaxed) > 20;
            if round > 20 && enough(&refused) && enough(&right) {
                break;
            }
        }
        done.store(true, Ordering::Relaxed);
    });
    assert!(refused.into_inner() > 0, "none expired");
    let stats = lsm.stats().unwrap();
    assert_eq!((stats.snapshots, stats.pinned_memory_bytes), (0, 0));
}
