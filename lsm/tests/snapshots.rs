//! Snapshots under fire: readers, a writer and a flusher at once; each snapshot
//! shows exactly one LSN, for as long as it lives.

#![allow(clippy::unwrap_used)]

use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use lsm::{Batch, Direction, Error, KeyspaceId, Lsm, Options, Snapshot, Step, SyncMode};
use platform::sim::{SimClock, SimDisk};

const A: KeyspaceId = KeyspaceId(1);
const B: KeyspaceId = KeyspaceId(2);

fn open(disk: &Arc<SimDisk>, sync: SyncMode) -> Lsm {
    let options = Options {
        sync,
        memtable_bytes: 24 << 10,
        max_frozen: 2,
        wal_segment_bytes: 32 << 10,
        inline_max: 4,
        ..Options::default()
    };
    Lsm::open(Arc::clone(disk) as _, Arc::new(SimClock::new(0)), options).unwrap()
}

fn number(value: &[u8]) -> u64 {
    u64::from_le_bytes(value.try_into().unwrap())
}

fn sum(snapshot: &Snapshot, keyspace: KeyspaceId, direction: Direction) -> u64 {
    let mut cursor =
        snapshot.range(keyspace, Bound::Unbounded, Bound::Unbounded, direction).unwrap();
    let mut sum = 0;
    while let Some((_, value)) = cursor.next().unwrap() {
        sum += number(value);
    }
    sum
}

/// Each commit adds one in each keyspace: at LSN n both sums are n.
fn assert_one_lsn(snapshot: &Snapshot) {
    assert_eq!(sum(snapshot, A, Direction::Forward), snapshot.lsn());
    assert_eq!(sum(snapshot, B, Direction::Reverse), snapshot.lsn());
    let by_get: u64 =
        (0..50u8).filter_map(|k| snapshot.get(A, &[k]).unwrap()).map(|value| number(&value)).sum();
    assert_eq!(by_get, snapshot.lsn());
}

#[test]
fn each_snapshot_shows_one_lsn_while_commits_and_flushes_go_on() {
    for sync in [SyncMode::Async, SyncMode::Sync] {
        // Given a writer, a flusher, and readers who keep some snapshots,
        let lsm = open(&SimDisk::new(3), sync);
        let done = AtomicBool::new(false);
        let taken = AtomicU64::new(0);
        let flushed = AtomicU64::new(0);
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    let mut kept: Vec<Snapshot> = Vec::new();
                    let mut last = 0;
                    while !done.load(Ordering::Relaxed) {
                        let snapshot = lsm.snapshot().unwrap();
                        // when one is taken, then it is not behind the one before,
                        assert!(snapshot.lsn() >= last, "time goes forward");
                        last = snapshot.lsn();
                        // and shows one LSN, now and later.
                        assert_one_lsn(&snapshot);
                        if taken.fetch_add(1, Ordering::Relaxed).is_multiple_of(16) {
                            kept.push(snapshot);
                        }
                        if kept.len() > 4 {
                            assert_one_lsn(&kept.remove(0));
                        }
                    }
                    kept.iter().for_each(assert_one_lsn);
                });
            }
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    if let Step::Flushed(_) = lsm.step().unwrap() {
                        flushed.fetch_add(1, Ordering::Relaxed);
                    }
                    std::thread::yield_now();
                }
            });
            let mut counts = [[0u64; 50]; 2];
            // At least so many commits, and until the readers have had a look.
            for n in 1.. {
                let mut batch = Batch::new();
                for (i, ks, k) in [(0, A, n * 7 % 50), (1, B, n * 13 % 50)] {
                    let count = &mut counts[i][k];
                    *count += 1;
                    batch.put(ks, &[k as u8], &count.to_le_bytes());
                }
                assert_eq!(lsm.commit(&batch).unwrap(), n as u64);
                if n >= 4000 && taken.load(Ordering::Relaxed) >= 200 {
                    break;
                }
            }
            done.store(true, Ordering::Relaxed);
        });
        assert_one_lsn(&lsm.snapshot().unwrap());
        let stats = lsm.stats().unwrap();
        assert!(stats.flushed_lsn > 1000, "{stats:?}");
        assert_eq!((stats.snapshots, stats.oldest_snapshot), (0, None));
    }
}

#[test]
fn no_snapshot_is_older_than_the_trees_it_reads() {
    // Given more readers than processors, stopped anywhere, even between the
    // two looks a snapshot takes,
    let lsm = open(&SimDisk::new(3), SyncMode::Async);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    let snapshot = lsm.snapshot().unwrap();
                    let value = snapshot.get(A, b"n").unwrap();
                    // then each reads its own LSN,
                    assert_eq!(value.map_or(0, |value| number(&value)), snapshot.lsn());
                }
            });
        }
        // when each commit goes to the trees at once.
        for n in 1..=1000u64 {
            let mut batch = Batch::new();
            batch.put(A, b"n", &n.to_le_bytes());
            lsm.commit(&batch).unwrap();
            lsm.flush().unwrap();
        }
        done.store(true, Ordering::Relaxed);
    });
}

#[test]
fn a_kept_snapshot_outlives_overwrites_flushes_and_a_drop() {
    // Given a snapshot of a value that lies in the tree,
    let lsm = open(&SimDisk::new(1), SyncMode::Async);
    let mut batch = Batch::new();
    batch.put(A, b"k", b"first value");
    lsm.commit(&batch).unwrap();
    lsm.flush().unwrap();
    let first = lsm.snapshot().unwrap();
    // when it is overwritten, flushed, dropped, flushed, and pages are reused,
    batch.put(A, b"k", b"second value");
    lsm.commit(&batch).unwrap();
    let second = lsm.snapshot().unwrap();
    lsm.flush().unwrap();
    batch.clear();
    batch.drop_keyspace(A);
    lsm.commit(&batch).unwrap();
    for n in 0..20u8 {
        batch.clear();
        batch.put(B, &[n], &[n; 100]);
        lsm.commit(&batch).unwrap();
        lsm.flush().unwrap();
    }
    // then each shows what it showed, and the stats know the oldest.
    assert_eq!(first.get(A, b"k").unwrap().as_deref(), Some(&b"first value"[..]));
    assert_eq!(second.get(A, b"k").unwrap().as_deref(), Some(&b"second value"[..]));
    assert_eq!(lsm.snapshot().unwrap().get(A, b"k").unwrap(), None);
    let stats = lsm.stats().unwrap();
    assert_eq!((stats.snapshots, stats.oldest_snapshot), (2, Some(1)));
}

#[test]
fn read_modify_write_is_one_step() {
    // Given threads that count up together with `commit_with`,
    let lsm = open(&SimDisk::new(1), SyncMode::Sync);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..100 {
                    let counted = lsm.commit_with(|now| {
                        let count = now.get(A, b"n")?.map_or(0, |value| number(&value)) + 1;
                        // Others get their chance to come in between.
                        std::thread::yield_now();
                        let mut batch = Batch::new();
                        batch.put(A, b"n", &count.to_le_bytes());
                        Ok::<_, Error>((batch, count))
                    });
                    let (lsn, count) = counted.unwrap();
                    // then each count is seen once,
                    assert_eq!(lsn, count);
                }
            });
        }
    });
    // and none is lost.
    let value = lsm.snapshot().unwrap().get(A, b"n").unwrap().unwrap();
    assert_eq!(number(&value), 400);
    // And a refusal changes nothing.
    let refused = lsm.commit_with(|_| Err::<(Batch, ()), _>(Error::Cursor));
    assert!(matches!(refused, Err(Error::Cursor)));
    assert_eq!(lsm.last_lsn(), 400);
}
