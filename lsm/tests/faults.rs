//! What happens when the disk fails, files are missing, or memory is full: an
//! error that names it, nothing half-there, reads go on.

#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use lsm::{Batch, Error, KeyspaceId, Lsm, Lsn, Options, SyncMode};
use platform::Disk;
use platform::sim::{SimClock, SimDisk};

const KS: KeyspaceId = KeyspaceId(1);

fn options() -> Options {
    Options {
        memtable_bytes: 6 << 10,
        max_frozen: 1,
        wal_segment_bytes: 8 << 10,
        ..Options::default()
    }
}

fn open_with(disk: &Arc<SimDisk>, options: Options) -> Result<Lsm, Error> {
    Lsm::open(Arc::clone(disk) as _, Arc::new(SimClock::new(0)), options)
}

fn open(disk: &Arc<SimDisk>) -> Lsm {
    open_with(disk, options()).unwrap()
}

/// Commits key n with 100 bytes of n.
fn put(lsm: &Lsm, n: u64) -> Result<Lsn, Error> {
    let mut batch = Batch::new();
    batch.put(KS, &n.to_be_bytes(), &[n as u8; 100]);
    lsm.commit(&batch)
}

fn assert_has(lsm: &Lsm, keys: std::ops::Range<u64>) {
    let snapshot = lsm.snapshot().unwrap();
    for n in keys.clone() {
        let value = snapshot.get(KS, &n.to_be_bytes()).unwrap();
        assert_eq!(value.as_deref(), Some(&[n as u8; 100][..]), "key {n}");
    }
    assert_eq!(snapshot.get(KS, &keys.end.to_be_bytes()).unwrap(), None);
}

#[test]
fn a_directory_is_opened_once() {
    let disk = SimDisk::new(1);
    let lsm = open(&disk);
    let second = open_with(&disk, options()).map(drop).unwrap_err();
    assert!(matches!(&second, Error::InUse { file } if file == "LOCK"), "{second}");
    drop(lsm);
    open(&disk);
}

#[test]
fn options_out_of_bounds_are_refused_by_name() {
    for (bad, name) in [
        (Options { max_frozen: 0, ..options() }, "max_frozen"),
        (Options { memtable_bytes: 0, ..options() }, "memtable_bytes"),
        (Options { inline_max: 257, ..options() }, "inline_max"),
    ] {
        let error = open_with(&SimDisk::new(1), bad).map(drop).unwrap_err();
        assert!(error.to_string().contains(name), "{error}");
    }
}

#[test]
fn memory_is_bounded_without_any_background_work() {
    // Given a store nobody calls `step` on, when much is written to it,
    let lsm = open(&SimDisk::new(1));
    let mut most = 0;
    for n in 0..2000 {
        put(&lsm, n).unwrap();
        most = most.max(lsm.stats().unwrap().memtable_bytes);
    }
    // then memory, log and sets stay within bounds, and all is there.
    assert!(most <= 2 * (6 << 10) + (12 << 10), "{most}");
    let stats = lsm.stats().unwrap();
    assert!(stats.frozen <= 1 && stats.wal_bytes < 64 << 10, "{stats:?}");
    assert_has(&lsm, 0..2000);
}

#[test]
fn a_failed_log_sync_makes_nothing_visible_and_refuses_writes() {
    // Given a store in sync mode with one commit,
    let disk = SimDisk::new(1);
    let lsm = open_with(&disk, Options { sync: SyncMode::Sync, ..options() }).unwrap();
    put(&lsm, 0).unwrap();
    // when the sync of the next one fails,
    disk.fail_sync("wal");
    let error = put(&lsm, 1).unwrap_err();
    assert!(matches!(error, Error::Wal(_)), "{error}");
    // then it is not visible, nor does the latest state rest on it for long:
    assert_has(&lsm, 0..1);
    assert!(lsm.poisoned().is_some());
    // writes and flushes are refused, reads go on,
    assert!(put(&lsm, 2).is_err());
    assert!(lsm.flush().is_err());
    let stats = lsm.stats().unwrap();
    assert!(stats.flush_error.is_some() && stats.poisoned.is_some());
    assert_eq!((stats.visible_lsn, stats.flushed_lsn), (1, 0));
    assert_has(&lsm, 0..1);
    // and an opening finds what was acknowledged, and the failed one whole or not.
    drop(lsm);
    let lsm = open(&disk.restart_worst());
    let found = lsm.last_lsn();
    assert!((1..=2).contains(&found), "found {found}");
    assert_has(&lsm, 0..found);
}

#[test]
fn a_failing_flush_stops_writes_only_when_memory_is_full() {
    for part in ["vlog", "trees.pages"] {
        // Given a store whose flushes will fail,
        let disk = SimDisk::new(1);
        let lsm = open(&disk);
        put(&lsm, 0).unwrap();
        lsm.flush().unwrap();
        disk.fail_every_sync(part);
        // when it is written to until memory is full,
        let mut n = 1;
        let error = loop {
            match put(&lsm, n) {
                Ok(_) => n += 1,
                Err(error) => break error,
            }
        };
        // then the commit is refused with the reason, nothing of it is there,
        assert!(matches!(error, Error::Full(_)), "{part}: {error}");
        assert!(error.to_string().contains(part), "{part}: {error}");
        assert!(lsm.stats().unwrap().flush_error.is_some());
        assert_eq!(lsm.poisoned(), None, "the log is sound");
        // the flushed LSN did not move, reads go on,
        assert_eq!(lsm.flushed_lsn(), 1);
        assert_has(&lsm, 0..n);
        // again and again,
        disk.clear_faults();
        assert!(put(&lsm, n).is_err(), "what failed once is not trusted again");
        assert!(lsm.step().is_err());
        assert_has(&lsm, 0..n);
        // and an opening finds everything, and flushes.
        drop(lsm);
        let lsm = open(&disk.kill());
        assert_has(&lsm, 0..n);
        put(&lsm, n).unwrap();
        lsm.flush().unwrap();
        assert_has(&lsm, 0..n + 1);
        assert_eq!(lsm.stats().unwrap().flush_error, None);
    }
}

#[test]
fn a_flush_that_could_not_read_is_tried_again_without_waste() {
    // Given a frozen set with values, and a tree whose leaf cannot be read,
    let disk = SimDisk::new(1);
    let lsm = open_with(&disk, Options { cache_bytes: 0, ..options() }).unwrap();
    put(&lsm, 0).unwrap();
    lsm.flush().unwrap();
    put(&lsm, 0).unwrap();
    put(&lsm, 1).unwrap();
    let pages = disk.file_bytes("trees.pages").unwrap().len() as u64;
    for page in 2..pages / 4096 {
        disk.corrupt("trees.pages", page * 4096 + 100, 1).unwrap();
    }
    // when its flush fails twice,
    for _ in 0..2 {
        assert!(matches!(lsm.flush(), Err(Error::Pages(btree::Error::Corrupt { .. }))));
    }
    // and the page is mended,
    for page in 2..pages / 4096 {
        disk.corrupt("trees.pages", page * 4096 + 100, 1).unwrap();
    }
    // then it goes through, and the values were written once: three records,
    // the overwritten one dead.
    lsm.flush().unwrap();
    assert_has(&lsm, 0..2);
    let stats = lsm.stats().unwrap();
    assert_eq!(stats.dead_value_bytes * 3, stats.value_bytes, "{stats:?}");
    assert_eq!(stats.flush_error, None);
}

#[test]
fn files_that_do_not_belong_together_are_refused_by_name() {
    // Given a store with flushed and unflushed commits,
    let disk = SimDisk::new(1);
    let lsm = open(&disk);
    for n in 0..300 {
        put(&lsm, n).unwrap();
    }
    assert!(lsm.flushed_lsn() > 0);
    drop(lsm);
    for lost in ["trees.pages", "wal/", "vlog/"] {
        // when a part of it is lost, then opening refuses, and names it.
        let disk = disk.snapshot();
        for file in disk.files() {
            if file.starts_with(lost) {
                disk.remove(&file).unwrap();
            }
        }
        for _ in 0..2 {
            let error = open_with(&disk, options()).map(drop).unwrap_err().to_string();
            let name = if lost == "trees.pages" { "wal/" } else { lost };
            assert!(error.contains(name.trim_end_matches('/')), "{lost}: {error}");
        }
    }
}

#[test]
fn a_long_log_is_replayed_in_bounded_memory() {
    // Given a log many times the memory of the options it is opened with,
    let disk = SimDisk::new(1);
    let large = Options { memtable_bytes: 1 << 20, ..options() };
    let lsm = open_with(&disk, large).unwrap();
    for n in 0..400 {
        put(&lsm, n).unwrap();
    }
    lsm.sync().unwrap();
    assert_eq!(lsm.flushed_lsn(), 0);
    drop(lsm);
    // when it is opened, then it is flushed as it goes,
    let calm = disk.snapshot();
    let lsm = open(&calm);
    let stats = lsm.stats().unwrap();
    assert!(stats.memtable_bytes < 24 << 10 && stats.flushed_lsn > 200, "{stats:?}");
    assert_has(&lsm, 0..400);
    let calls = calm.calls();
    drop(lsm);
    // and a power cut at any call of that opening loses nothing.
    for n in 1..=calls {
        let disk = disk.snapshot();
        disk.reseed(n);
        disk.crash_after(n);
        drop(open_with(&disk, options()));
        let lsm = open(&disk.restart());
        assert_eq!(lsm.last_lsn(), 400, "crashed at call {n} of {calls}");
        assert_has(&lsm, 399..400);
        assert_has(&lsm, 0..400);
    }
}

#[test]
fn the_same_calls_leave_the_same_bytes() {
    let run = || {
        let disk = SimDisk::new(9);
        let lsm = open(&disk);
        for n in 0..300 {
            put(&lsm, n * 7919 % 100).unwrap();
        }
        lsm.flush().unwrap();
        drop(lsm);
        disk.digest()
    };
    assert_eq!(run(), run());
}
