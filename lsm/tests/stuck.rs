//! One kind of background work that fails or is long keeps no other from its turn:
//! commits that wait for flushes are not left waiting, and what ails is told.

#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use lsm::{Batch, Error, KeyspaceId, Lsm, Lsn, Options, Step};
use platform::sim::{Fault, SimClock, SimDisk, Times};

const KS: KeyspaceId = KeyspaceId(1);
const OTHER: KeyspaceId = KeyspaceId(2);

fn options() -> Options {
    Options {
        memtable_bytes: 32 << 10,
        max_frozen: 2,
        inline_max: 128,
        vlog_segment_bytes: 16 << 10,
        vlog_buffer_bytes: 8 << 10,
        gc_step_bytes: 8 << 10,
        ..Options::default()
    }
}

fn open_with(disk: &Arc<SimDisk>, options: Options) -> Lsm {
    Lsm::open(Arc::clone(disk) as _, Arc::new(SimClock::new(0)), options).unwrap()
}

fn open(disk: &Arc<SimDisk>) -> Lsm {
    open_with(disk, options())
}

/// Commits key n with 200 bytes of `round`: a record of the value log.
fn put(lsm: &Lsm, n: u64, round: u64) -> Result<Lsn, Error> {
    let mut batch = Batch::new();
    batch.put(KS, &n.to_be_bytes(), &[round as u8; 200]);
    lsm.commit(&batch)
}

/// Commits `batches` of 500 values that stay in the tree, flushed.
fn fill_inline(lsm: &Lsm, keyspace: KeyspaceId, batches: u64) {
    for n in 0..batches {
        let mut batch = Batch::new();
        for i in n * 500..(n + 1) * 500 {
            batch.put(keyspace, &i.to_be_bytes(), &[7; 100]);
        }
        lsm.commit(&batch).unwrap();
    }
    lsm.flush().unwrap();
}

fn drop_keyspace(lsm: &Lsm, keyspace: KeyspaceId) {
    let mut batch = Batch::new();
    batch.drop_keyspace(keyspace);
    lsm.commit(&batch).unwrap();
    lsm.flush().unwrap();
}

fn segments(disk: &SimDisk) -> Vec<String> {
    disk.files().into_iter().filter(|file| file.starts_with("vlog/")).collect()
}

/// Steps until there is nothing left, whatever fails; the last error.
fn settle(lsm: &Lsm) -> Option<Error> {
    let (mut idle, mut last) = (0, None);
    for _ in 0..10_000 {
        match lsm.step() {
            Ok(Step::Idle) => idle += 1,
            Ok(_) => idle = 0,
            Err(error) => (idle, last) = (idle + 1, Some(error)),
        }
        if idle == 3 {
            return last;
        }
    }
    panic!("it never settles: {:?}", lsm.stats());
}

fn assert_clean(disk: &Arc<SimDisk>, lsm: Lsm) {
    drop(lsm);
    let disk: Arc<dyn platform::Disk> = disk.clone();
    let report = lsm::verify(&disk, &mut |_, _| {}).unwrap();
    assert!(report.is_clean(), "{report}");
}

#[test]
fn a_segment_that_cannot_be_unlinked_keeps_no_flush_waiting() {
    // Given a store whose first segments are all garbage, and cannot be unlinked,
    let disk = SimDisk::new(1);
    let lsm = open(&disk);
    for n in 0..400 {
        put(&lsm, n % 100, 0).unwrap();
    }
    let stuck = segments(&disk);
    assert!(stuck.len() > 2, "{stuck:?}");
    for file in &stuck[..2] {
        disk.fail(Fault::Name, file, Times::Every);
    }
    lsm.flush().unwrap();
    let own_flushes = lsm.stats().unwrap().commits_that_flushed;
    // when somebody steps through all errors, and another writes as fast as he can,
    let done = AtomicBool::new(false);
    let errors = std::thread::scope(|scope| {
        let stepper = lsm.stepper();
        let steps = scope.spawn(|| {
            // Ends in any case, so that a fault of the store is no hanging test.
            let stepper = stepper;
            let mut errors = 0u64;
            while !done.load(Ordering::SeqCst) {
                if lsm.step().is_err() {
                    errors += 1;
                    assert!(errors < 3000, "nothing but errors");
                    stepper.rest(Duration::from_millis(1));
                }
            }
            errors
        });
        for n in 0..2000 {
            put(&lsm, n % 100, 1).unwrap();
        }
        done.store(true, Ordering::SeqCst);
        steps.join().unwrap()
    });
    // then he comes to his end, and every commit waited for steps only.
    let stats = lsm.stats().unwrap();
    assert_eq!(stats.commits_that_flushed, own_flushes, "{stats:?}, {errors} errors");
    // It is told, while what can be unlinked is;
    let error = settle(&lsm).unwrap();
    assert!(stuck[..2].iter().any(|file| error.to_string().contains(file)), "{error}");
    let left = segments(&disk);
    assert_eq!(left[..2], stuck[..2]);
    assert!(left.len() <= 4, "{left:?}");
    // and it goes when it can.
    disk.clear_faults();
    assert!(settle(&lsm).is_none());
    assert!(!segments(&disk).iter().any(|file| stuck[..2].contains(file)));
    assert_clean(&disk, lsm);
}

#[test]
fn a_large_dropped_keyspace_of_short_values_keeps_no_flush_waiting() {
    // Given a dropped keyspace of many leaves and no record of the value log,
    let disk = SimDisk::new(2);
    let lsm = open(&disk);
    fill_inline(&lsm, OTHER, 120);
    settle(&lsm);
    drop_keyspace(&lsm, OTHER);
    // when somebody steps, and another writes as fast as he can,
    let done = AtomicBool::new(false);
    let (most, pieces) = std::thread::scope(|scope| {
        let stepper = lsm.stepper();
        let steps = scope.spawn(|| {
            let stepper = stepper;
            let (mut row, mut most, mut pieces) = (0, 0, 0);
            while !done.load(Ordering::SeqCst) {
                let waits = lsm.debt().frozen > 0;
                match lsm.step().unwrap() {
                    Step::Cleared { .. } if waits => (row, pieces) = (row + 1, pieces + 1),
                    Step::Idle => drop(stepper.rest(Duration::from_millis(1))),
                    Step::Cleared { .. } | Step::Flushing { .. } => {}
                    _ => row = 0,
                }
                most = most.max(row);
            }
            (most, pieces)
        });
        for n in 0..2000 {
            put(&lsm, n, 1).unwrap();
        }
        done.store(true, Ordering::SeqCst);
        steps.join().unwrap()
    });
    // then he waits for two pieces of it in a row at most; there was more of it.
    assert!(pieces >= 1 && most <= 2, "{most} in a row of {pieces}");
    assert!(settle(&lsm).is_none());
    assert_clean(&disk, lsm);
}

#[test]
fn a_dropped_keyspace_that_cannot_be_read_is_left_alone_and_the_rest_collected() {
    // Given a dropped keyspace, and much garbage,
    let disk = SimDisk::new(3);
    let lsm = open_with(&disk, Options { cache_bytes: 0, ..options() });
    fill_inline(&lsm, OTHER, 20);
    for n in 0..400 {
        put(&lsm, n, 0).unwrap();
    }
    lsm.flush().unwrap();
    settle(&lsm);
    let before = segments(&disk);
    for n in (0..400).filter(|n| n % 4 > 0) {
        put(&lsm, n, 1).unwrap();
    }
    drop_keyspace(&lsm, OTHER);
    // when the disk refuses the first read of the keyspace's tree,
    disk.fail(Fault::Read, "trees.pages", Times::Next);
    let mut cleared = 0;
    let mut left_alone = false;
    for _ in 0..1000 {
        if let Step::Cleared { entries, .. } = lsm.step().unwrap() {
            cleared += entries;
            left_alone |= entries == 0;
        }
    }
    // then it is left alone, that is counted, and the garbage goes all the same.
    let stats = lsm.stats().unwrap();
    assert!(left_alone && cleared == 0, "{cleared}, {stats:?}");
    assert_eq!(stats.damage.read_errors, 1, "{stats:?}");
    assert!(stats.gc_segments > 5 && stats.dead_value_bytes * 2 < stats.value_bytes, "{stats:?}");
    assert!(before.iter().any(|file| !disk.files().contains(file)));
    // An opening takes it up again.
    drop(lsm);
    let lsm = open(&disk);
    let pages = lsm.stats().unwrap().free_page_bytes;
    assert!(settle(&lsm).is_none());
    assert!(lsm.stats().unwrap().free_page_bytes != pages);
    assert_clean(&disk, lsm);
}

#[test]
fn a_want_of_descriptors_leaves_no_victim_alone_for_good() {
    // Given segments half dead in a store just opened, so that none is held open,
    let disk = SimDisk::new(4);
    let lsm = open(&disk);
    for (step, round) in [(1, 0), (2, 1)] {
        for n in (0..800).step_by(step) {
            put(&lsm, n, round).unwrap();
        }
        lsm.flush().unwrap();
    }
    drop(lsm);
    let lsm = open(&disk);
    let before = lsm.stats().unwrap();
    assert!(before.dead_value_bytes * 5 > before.value_bytes, "{before:?}");
    // when there are no file descriptors,
    disk.fail(Fault::Descriptors, "vlog/", Times::Every);
    // then that is told, and no segment given up;
    let error = settle(&lsm).unwrap();
    assert_eq!(error.shortage(), Some(platform::Shortage::Descriptors), "{error}");
    let stats = lsm.stats().unwrap();
    assert_eq!((&stats.gc_skipped[..], stats.damage.read_errors), (&[][..], 0), "{stats:?}");
    // and with some again the garbage goes.
    disk.clear_faults();
    assert!(settle(&lsm).is_none());
    let stats = lsm.stats().unwrap();
    assert!(stats.dead_value_bytes * 10 < stats.value_bytes, "{stats:?}");
    assert_clean(&disk, lsm);
}

#[test]
fn a_cut_of_the_log_that_ended_early_is_made_good() {
    // Given a log of two segments in async mode, all of the first flushed, and the
    // second not durable yet,
    let disk = SimDisk::new(5);
    let lsm = open_with(&disk, Options { wal_segment_bytes: 4 << 10, ..options() });
    let log = || disk.files().into_iter().filter(|file| file.ends_with(".wal")).count();
    let mut n = 0;
    loop {
        put(&lsm, n, 0).unwrap();
        lsm.flush().unwrap();
        n += 1;
        // The next one begins a segment.
        if lsm.stats().unwrap().wal_bytes + 300 > 4 << 10 {
            break;
        }
    }
    assert_eq!(log(), 1);
    while log() == 1 {
        put(&lsm, n, 0).unwrap();
        n += 1;
    }
    // when the log is cut as far as it can be, that is not at all,
    settle(&lsm);
    assert_eq!(log(), 2);
    // then it is cut once the second is durable.
    lsm.sync().unwrap();
    settle(&lsm);
    assert_eq!(log(), 1);
    assert_clean(&disk, lsm);
}

#[test]
fn a_segment_that_no_table_knows_goes_when_the_store_is_opened() {
    // Given a file that was removed, its row too, and that is there again,
    let disk = SimDisk::new(6);
    let lsm = open(&disk);
    for n in 0..200 {
        put(&lsm, n, 0).unwrap();
    }
    lsm.flush().unwrap();
    let first = segments(&disk).remove(0);
    let bytes = disk.file_bytes(&first).unwrap();
    for n in 0..200 {
        put(&lsm, n, 1).unwrap();
    }
    lsm.flush().unwrap();
    settle(&lsm);
    put(&lsm, 0, 2).unwrap();
    lsm.flush().unwrap();
    drop(lsm);
    assert!(!disk.files().contains(&first));
    let file = platform::Disk::open(&*disk, &first, platform::Open::CreateNew).unwrap();
    file.write_at(&bytes, 0).unwrap();
    drop(file);
    // when the store is opened, then it goes.
    let lsm = open(&disk);
    assert!(!disk.files().contains(&first));
    assert_clean(&disk, lsm);
}
