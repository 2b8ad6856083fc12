//! What collecting has moved waits for the trees to name it: how a store is closed then,
//! what flushes wait for, what counts as garbage, what a full disk and damage leave behind.

#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use lsm::{Batch, KeyspaceId, Lsm, Options, Step};
use platform::Clock;
use platform::sim::{SimClock, SimDisk};

const KS: KeyspaceId = KeyspaceId(1);
const KEYS: u64 = 1000;
const BYTES: usize = 400;

fn options() -> Options {
    Options {
        memtable_bytes: 4 << 20,
        vlog_segment_bytes: 16 << 10,
        vlog_buffer_bytes: 8 << 10,
        gc_step_bytes: 2 << 10,
        ..Options::default()
    }
}

fn open(disk: &Arc<SimDisk>, options: Options) -> Lsm {
    Lsm::open(Arc::clone(disk) as _, Arc::new(SimClock::new(0)), options).unwrap()
}

/// Spreads numbers as random ones would be.
fn spread(n: u64) -> u64 {
    let n = (n ^ n >> 31).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    (n ^ n >> 29).wrapping_mul(0xBF58_476D_1CE4_E5B9)
}

fn put(lsm: &Lsm, n: u64, round: u8) {
    let mut batch = Batch::new();
    batch.put(KS, &spread(n).to_be_bytes(), &[round; BYTES]);
    lsm.commit(&batch).unwrap();
}

/// A store half of whose values are dead, in every segment, and nothing collected yet.
fn half_dead(disk: &Arc<SimDisk>, options: &Options) -> Lsm {
    let lsm = open(disk, Options { gc_dead_ratio: 100, ..options.clone() });
    (0..KEYS).for_each(|n| put(&lsm, n, 0));
    lsm.flush().unwrap();
    (0..KEYS).step_by(2).for_each(|n| put(&lsm, n, 1));
    lsm.flush().unwrap();
    drop(lsm);
    open(disk, options.clone())
}

fn waiting(lsm: &Lsm) -> u64 {
    lsm.stats().unwrap().gc_waiting_bytes
}

/// Steps until at least so many bytes wait: how many do.
fn until_waiting(lsm: &Lsm, bytes: u64) -> u64 {
    for _ in 0..10_000 {
        if waiting(lsm) >= bytes {
            return waiting(lsm);
        }
        lsm.step().unwrap();
    }
    panic!("{:?}", lsm.stats());
}

/// Steps until nothing is left to do. What was moved, and the most that waited.
fn settle(lsm: &Lsm) -> (u64, u64) {
    let (mut idle, mut moved, mut most) = (0, 0, 0);
    for _ in 0..10_000 {
        match lsm.step().unwrap() {
            Step::Idle => idle += 1,
            Step::Collected { moved_bytes, .. } => (idle, moved) = (0, moved + moved_bytes),
            _ => idle = 0,
        }
        most = most.max(waiting(lsm));
        if idle == 2 {
            return (moved, most);
        }
    }
    panic!("it never settles: {:?}", lsm.stats());
}

/// All is there, and what is dead is counted exactly.
fn assert_whole(disk: &Arc<SimDisk>, lsm: Lsm) {
    let snapshot = lsm.snapshot().unwrap();
    for n in 0..KEYS {
        let value = snapshot.get(KS, &spread(n).to_be_bytes()).unwrap();
        assert_eq!(value.as_deref(), Some(&[u8::from(n % 2 == 0); BYTES][..]), "{n}");
    }
    drop((snapshot, lsm));
    let disk: Arc<dyn platform::Disk> = disk.clone();
    let report = lsm::verify(&disk, &mut |_, _| {}).unwrap();
    assert!(report.is_clean(), "{report}");
}

/// What is moved after an opening, until there is nothing left to collect.
fn moved_later(disk: &Arc<SimDisk>) -> u64 {
    let lsm = open(disk, options());
    let (moved, _) = settle(&lsm);
    assert_whole(disk, lsm);
    moved
}

#[test]
fn what_waits_when_a_store_is_closed_is_named_and_not_moved_again() {
    // Given a store in which moved values wait to be named,
    let disk = SimDisk::new(1);
    let lsm = half_dead(&disk, &options());
    let waited = until_waiting(&lsm, 30 << 10);
    let killed = disk.snapshot();
    // when it is closed, and another one just like it is killed,
    lsm.close().unwrap();
    // then it has less to move when it is opened again: just what had waited.
    let (killed, closed) = (moved_later(&killed), moved_later(&disk));
    assert!(closed > 0 && closed + waited <= killed, "{closed} + {waited} of {killed}");
}

/// Each look at it takes a second.
struct Slow(AtomicU64);

impl Clock for Slow {
    fn wall_micros(&self) -> u64 {
        0
    }

    fn monotonic_nanos(&self) -> u64 {
        self.0.fetch_add(1_000_000_000, Ordering::Relaxed)
    }
}

#[test]
fn closing_ends_soon_however_much_waits() {
    // Given the same, and a machine where everything takes long,
    let calls_of_close = |clock: Arc<dyn Clock>| {
        let disk = SimDisk::new(2);
        drop(half_dead(&disk, &options()));
        let lsm = Lsm::open(Arc::clone(&disk) as _, clock, options()).unwrap();
        until_waiting(&lsm, 30 << 10);
        let before = disk.calls();
        lsm.close().unwrap();
        let calls = disk.calls() - before;
        // (what was not named is moved again)
        moved_later(&disk);
        calls
    };
    let quick = calls_of_close(Arc::new(SimClock::new(0)));
    // when it is closed, then only a first piece is named.
    let slow = calls_of_close(Arc::new(Slow(AtomicU64::new(0))));
    assert!(slow > 0 && slow * 8 < quick, "{slow} calls, of {quick}");
}

#[test]
fn a_machine_that_ends_while_a_store_is_closed_loses_nothing() {
    // Given moved values that wait,
    let disk = SimDisk::new(7);
    drop(half_dead(&disk, &options()));
    let close = |disk: &Arc<SimDisk>, crash: Option<u64>| {
        let lsm = open(disk, options());
        until_waiting(&lsm, 4 << 10);
        let before = disk.calls();
        if let Some(call) = crash {
            disk.crash_after(call);
        }
        drop(lsm.close());
        disk.calls() - before
    };
    let calls = close(&disk.snapshot(), None);
    assert!(calls > 20, "{calls}");
    for call in 1..=calls {
        let ended = disk.snapshot();
        ended.reseed(call);
        // when the machine ends at any call of closing,
        close(&ended, Some(call));
        assert!(ended.is_crashed(), "call {call} of {calls}");
        // then all is there, and counted.
        let found = ended.restart();
        assert_whole(&found, open(&found, options()));
    }
}

#[test]
fn a_flush_that_is_due_waits_for_one_piece_of_naming() {
    // Given a store written to as fast as it can flush, collecting in small pieces,
    let disk = SimDisk::new(3);
    let small = Options { memtable_bytes: 32 << 10, max_frozen: 2, ..options() };
    let lsm = open(&disk, small);
    let stepper = lsm.stepper();
    let (mut row, mut most, mut pieces, mut garbage) = (0, 0, 0, 0);
    for n in 0..12_000 {
        // when a flush is due,
        while lsm.debt().frozen == 2 {
            match lsm.step().unwrap() {
                Step::Collected { moved_bytes: 1.., .. } => (row, pieces) = (row + 1, pieces + 1),
                _ => row = 0,
            }
            most = most.max(row);
        }
        put(&lsm, spread(n) % KEYS, 1);
        if n > 6000 {
            let stats = lsm.stats().unwrap();
            garbage = garbage.max(stats.dead_value_bytes * 100 / stats.value_bytes);
        }
    }
    // then it is not kept waiting by what there is to name, and garbage is freed all the same.
    println!("{most} in a row of {pieces}, {garbage} percent");
    assert!(pieces > 100 && most <= 2, "{most} in a row of {pieces}");
    assert!(garbage < 45, "{garbage} percent");
    drop(stepper);
    (0..KEYS).for_each(|n| put(&lsm, n, u8::from(n % 2 == 0)));
    lsm.flush().unwrap();
    assert_whole(&disk, lsm);
}

#[test]
fn what_waits_is_no_garbage() {
    // Given moved values that wait, behind the tail that the meta page names,
    let disk = SimDisk::new(4);
    let lsm = half_dead(&disk, &options());
    let stepper = lsm.stepper();
    let waits = until_waiting(&lsm, 20 << 10);
    let before = lsm.stats().unwrap();
    // when the flush of something else moves the tail,
    let mut batch = Batch::new();
    batch.put(KeyspaceId(2), b"short", b"stays in the leaf");
    lsm.commit(&batch).unwrap();
    lsm.flush().unwrap();
    // then they are there, and nothing more is dead;
    let stats = lsm.stats().unwrap();
    assert_eq!(stats.gc_waiting_bytes, waits);
    assert_eq!(stats.value_bytes, before.value_bytes + waits);
    assert_eq!(stats.dead_value_bytes, before.dead_value_bytes);
    // in the table they are, for who is killed now.
    let killed = disk.snapshot();
    let reopened = open(&killed, options());
    assert_eq!(reopened.stats().unwrap().dead_value_bytes, before.dead_value_bytes + waits);
    assert_whole(&killed, reopened);
    // Of those that are overwritten meanwhile each is dead once.
    (0..KEYS).for_each(|n| put(&lsm, n, u8::from(n % 2 == 0)));
    lsm.flush().unwrap();
    drop(stepper);
    settle(&lsm);
    assert_eq!(waiting(&lsm), 0);
    let stats = lsm.stats().unwrap();
    let (live, dead) = (before.value_bytes - before.dead_value_bytes, stats.dead_value_bytes);
    assert_eq!(stats.value_bytes - dead, live, "{stats:?}");
    drop(lsm);
    let lsm = open(&disk, options());
    assert_eq!(lsm.stats().unwrap().dead_value_bytes, dead);
    assert_whole(&disk, lsm);
}

#[test]
fn a_disk_that_was_full_does_not_keep_naming_slow() {
    // Given hundreds of moved values, and a disk that is full when they are to be named,
    let disk = SimDisk::new(5);
    let lsm = half_dead(&disk, &Options { gc_step_bytes: 256 << 10, ..options() });
    until_waiting(&lsm, 50 << 10);
    disk.set_budget(Some(0));
    let mut tries = 0;
    while lsm.step().is_ok() {
        tries += 1;
        assert!(tries < 200, "{:?}", lsm.stats());
    }
    disk.set_budget(None);
    // when there is room again,
    let mut steps = 0;
    assert!(waiting(&lsm) > 0);
    while waiting(&lsm) > 0 {
        lsm.step().unwrap();
        steps += 1;
    }
    // then they are soon named as many at a time as before.
    assert!(steps < 20, "{steps} steps");
    settle(&lsm);
    assert_whole(&disk, lsm);
}

#[test]
fn victims_go_together_again_after_damage_that_was_mended() {
    // Given moved values of several victims that are named next, by a page file that is
    // read from the disk,
    let disk = SimDisk::new(6);
    let options = Options { cache_bytes: 0, ..options() };
    let lsm = half_dead(&disk, &options);
    let same = open(&disk.snapshot(), options);
    let named = |lsm: &Lsm| matches!(lsm.step(), Ok(Step::Collected { moved_bytes: 1.., .. }));
    let steps = (0..10_000).take_while(|_| !named(&same)).count();
    for _ in 0..steps {
        lsm.step().unwrap();
    }
    let waited = waiting(&lsm);
    assert!(waited > 30 << 10);
    // when its pages are damaged just then, and mended,
    let pages = disk.file_bytes("trees.pages").unwrap().len() as u64 / 4096;
    let flip = || (2..pages).for_each(|p| disk.corrupt("trees.pages", p * 4096 + 100, 1).unwrap());
    flip();
    lsm.step().unwrap();
    flip();
    // then all that waited is dropped,
    assert_eq!(waiting(&lsm), 0);
    // its victims go one by one,
    let mut most = 0;
    while lsm.stats().unwrap().gc_moved_bytes < waited {
        lsm.step().unwrap();
        most = most.max(waiting(&lsm));
    }
    assert!(most < 16 << 10, "{most}");
    // and the others together, as before. None is left alone.
    let (_, most) = settle(&lsm);
    assert!(most > waited / 2, "{most} of {waited}");
    assert!(lsm.stats().unwrap().gc_skipped.is_empty(), "{:?}", lsm.stats());
    assert_whole(&disk, lsm);
}
