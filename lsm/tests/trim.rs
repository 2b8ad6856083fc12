//! The log gives its space back: while flushes are behind, and at rest.

#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::time::Duration;

use lsm::{Batch, KeyspaceId, Lsm, Options, Step};
use platform::Disk;
use platform::sim::{SimClock, SimDisk};

const KS: KeyspaceId = KeyspaceId(1);
const SEGMENT: u64 = 16 << 10;
const MEMTABLE: usize = 32 << 10;

fn options() -> Options {
    Options {
        memtable_bytes: MEMTABLE,
        wal_segment_bytes: SEGMENT,
        max_frozen: 2,
        ..Options::default()
    }
}

fn open(disk: &Arc<SimDisk>) -> Lsm {
    Lsm::open(disk.clone(), Arc::new(SimClock::new(0)), options()).unwrap()
}

fn put(lsm: &Lsm, n: u64) {
    let mut batch = Batch::new();
    batch.put(KS, &(n % 500).to_be_bytes(), &[n as u8; 200]);
    lsm.commit(&batch).unwrap();
}

/// Files in the log's directory.
fn files(disk: &SimDisk) -> usize {
    disk.list("wal").unwrap().len()
}

#[test]
fn a_log_is_cut_while_there_is_always_a_set_to_flush() {
    // Given a store whose flushes never catch up,
    let disk = SimDisk::new(1);
    let lsm = open(&disk);
    let _stepper = lsm.stepper();
    let mut most = 0;
    for n in 0..6000 {
        // when a frozen set always waits,
        while lsm.debt().frozen == 2 || (n % 4 == 0 && lsm.debt().frozen > 1) {
            lsm.step().unwrap();
        }
        put(&lsm, n);
        assert!(n < 1000 || lsm.debt().frozen > 0, "flushes have caught up at {n}");
        most = most.max(lsm.stats().unwrap().wal_bytes);
    }
    // then the log has what is not flushed (three sets), what the older meta page
    // wants (one more), and the segments that these begin and end in.
    let bound = 4 * 2 * MEMTABLE as u64 + 4 * SEGMENT;
    assert!(most < bound, "the log had {most} bytes, of at most {bound}");
}

#[test]
fn a_store_at_rest_keeps_one_segment_with_nothing_in_it() {
    // Given a store much was written to,
    let disk = SimDisk::new(1);
    let lsm = open(&disk);
    (0..3000).for_each(|n| put(&lsm, n));
    lsm.flush().unwrap();
    assert!(files(&disk) > 3, "{:?}", disk.list("wal"));
    // when it has nothing to do for a while,
    for _ in 0..1000 {
        if lsm.step().unwrap() == Step::Idle && lsm.step().unwrap() == Step::Idle {
            break;
        }
    }
    // then the log is what the next commit needs,
    assert_eq!(files(&disk), 1, "{:?}", disk.list("wal"));
    assert!(lsm.stats().unwrap().wal_bytes < 1024);
    // it does no more for that,
    assert_eq!(lsm.step().unwrap(), Step::Idle);
    // and nothing is missing, after a restart neither.
    drop(lsm);
    let lsm = open(&disk);
    let snapshot = lsm.snapshot().unwrap();
    for n in 2500..3000u64 {
        let value = snapshot.get(KS, &(n % 500).to_be_bytes()).unwrap();
        assert_eq!(value.as_deref(), Some(&[n as u8; 200][..]), "{n}");
    }
}

#[test]
fn rest_lets_nobody_go_who_is_behind() {
    // Given holders that may keep next to nothing of the log, and one of them behind,
    let disk = SimDisk::new(3);
    let options = Options { wal_retain_bytes: 1, ..options() };
    let lsm = Lsm::open(disk.clone(), Arc::new(SimClock::new(0)), options).unwrap();
    (0..10).for_each(|n| put(&lsm, n));
    lsm.flush().unwrap();
    let behind = lsm.retain("watcher", 2).unwrap();
    let rest = || assert!((0..100).filter(|_| lsm.step().unwrap() == Step::Idle).count() > 50);
    // when the store rests, then nothing is held against him;
    rest();
    assert_eq!((behind.from(), lsm.stats().unwrap().holders_let_go), (Some(2), 0));
    let mut frames = lsm.frames(2).unwrap();
    assert_eq!(frames.next().unwrap().unwrap().lsn, 2);
    drop(frames);
    // and once he has read all, the log is what the next commit needs.
    behind.advance(lsm.last_lsn() + 1).unwrap();
    rest();
    assert!(lsm.stats().unwrap().wal_bytes < 1024, "{:?}", lsm.stats());
    assert_eq!((behind.from(), files(&disk)), (Some(11), 1));
}

#[test]
fn rest_begins_when_nothing_was_written_for_long_enough() {
    // Given a store that rests after ten seconds, a tenth of it dead,
    let (disk, clock) = (SimDisk::new(2), Arc::new(SimClock::new(0)));
    let rest_after = Duration::from_secs(10);
    let options = Options { rest_after, ..options() };
    let lsm = Lsm::open(Arc::clone(&disk) as _, Arc::clone(&clock) as _, options).unwrap();
    let idle = |lsm: &Lsm| (0..1000).any(|_| lsm.step().unwrap() == Step::Idle);
    (0..500).for_each(|n| put(&lsm, n));
    (0..50).for_each(|n| put(&lsm, n));
    lsm.flush().unwrap();
    // when it has nothing to do, but for less than that since the last commit,
    for _ in 0..3 {
        assert!(idle(&lsm) && idle(&lsm));
        clock.advance(Duration::from_millis(9_900));
        assert!(idle(&lsm));
        put(&lsm, 499);
    }
    lsm.flush().unwrap();
    assert!(idle(&lsm) && idle(&lsm));
    // then what is dead stays, and files for the next burst of writes;
    let dead = |lsm: &Lsm| {
        let stats = lsm.stats().unwrap();
        (stats.dead_value_bytes * 100 / stats.value_bytes, stats.gc_moved_bytes)
    };
    assert!(dead(&lsm).0 >= 5 && dead(&lsm).1 == 0, "{:?}", lsm.stats());
    assert!(files(&disk) > 1, "{:?}", disk.list("wal"));
    // and when the time is over, both go.
    clock.advance(rest_after);
    assert!(idle(&lsm));
    assert!(dead(&lsm).0 < 5, "{:?}", lsm.stats());
    assert_eq!(files(&disk), 1, "{:?}", disk.list("wal"));
}
