//! Backpressure: who writes faster than flushes go waits, first a little, then
//! wholly; nobody waits for ever.

#![allow(clippy::unwrap_used)]

mod gate;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use gate::{GateDisk, until};
use lsm::{Batch, Error, KeyspaceId, Lsm, Lsn, Options, Stats};
use platform::Disk;
use platform::sim::{SimClock, SimDisk};

const KS: KeyspaceId = KeyspaceId(1);
const MEMTABLE: usize = 32 << 10;

struct Store {
    lsm: Lsm,
    clock: Arc<SimClock>,
}

fn open(disk: Arc<dyn Disk>, max_frozen: usize) -> Store {
    let clock = Arc::new(SimClock::new(0));
    let options =
        Options { memtable_bytes: MEMTABLE, max_frozen, inline_max: 16, ..Options::default() };
    Store { lsm: Lsm::open(disk, clock.clone(), options).unwrap(), clock }
}

impl Store {
    fn put(&self, n: u64) -> Result<Lsn, Error> {
        let mut batch = Batch::new();
        batch.put(KS, &n.to_be_bytes(), &[n as u8; 200]);
        self.lsm.commit(&batch)
    }

    fn stats(&self) -> Stats {
        self.lsm.stats().unwrap()
    }

    fn assert_has(&self, keys: u64) {
        let snapshot = self.lsm.snapshot().unwrap();
        for n in 0..keys {
            let value = snapshot.get(KS, &n.to_be_bytes()).unwrap();
            assert_eq!(value.as_deref(), Some(&[n as u8; 200][..]), "key {n}");
        }
    }
}

/// What the debt stays below: a set takes memory in blocks, so it is found full a
/// little late.
fn most(stats: &Stats) -> u64 {
    stats.debt_bound_bytes * 5 / 4
}

#[test]
fn commits_are_spread_over_the_time_a_flush_takes() {
    // Given a store that has seen a flush take 100 ms,
    let store = open(SimDisk::new(1), 2);
    let stepper = store.lsm.stepper();
    let mut n = 0;
    let mut freeze = |sets: usize| {
        while store.stats().frozen < sets {
            store.put(n).unwrap();
            n += 1;
        }
        n
    };
    freeze(1);
    assert!(stepper.rest(Duration::from_secs(60)), "there is work");
    store.clock.advance(Duration::from_millis(100));
    store.lsm.flush().unwrap();
    // and another set that waits: nobody is slowed,
    freeze(1);
    assert_eq!(store.stats().delayed_commits, 0);
    // when as many wait as may,
    let start = freeze(2);
    let committed = AtomicU64::new(start);
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            for n in start..start + 400 {
                store.put(n).unwrap();
                committed.store(n + 1, Ordering::SeqCst);
            }
        });
        // then commits wait well before the set is full,
        let delayed = |times| until("it is slowed", || store.stats().delayed_commits == times);
        delayed(1);
        store.assert_has(committed.load(Ordering::SeqCst));
        // each until its time has come,
        for times in 2..8 {
            let before = committed.load(Ordering::SeqCst);
            store.clock.advance(Duration::from_millis(4));
            delayed(times);
            let more = committed.load(Ordering::SeqCst) - before;
            assert!((1..30).contains(&more), "{more} in 4 of 100 ms, of about 100 that fit");
        }
        assert_eq!(store.stats().stalled_commits, 0);
        // and all at once when the oldest is flushed.
        while !writer.is_finished() {
            store.lsm.step().unwrap();
        }
    });
    let stats = store.stats();
    assert!(stats.stalled_micros >= 24_000, "{stats:?}");
    assert_eq!((stats.waiting_commits, stats.commits_that_flushed), (0, 0), "{stats:?}");
    store.assert_has(start + 400);
}

#[test]
fn at_the_bound_a_commit_waits_for_room() {
    // Given a store with a stepper, and batches as large as a memtable,
    let store = open(SimDisk::new(1), 1);
    let put = |n: u64| {
        let mut batch = Batch::new();
        batch.put(KS, &n.to_be_bytes(), &vec![n as u8; MEMTABLE]);
        store.lsm.commit(&batch).unwrap();
    };
    std::thread::scope(|scope| {
        let stepper = store.lsm.stepper();
        put(0);
        put(1);
        // when the active set is full and so is the number of frozen ones,
        let third = scope.spawn(|| put(2));
        // then the next commit waits,
        until("it waits", || store.stats().waiting_commits == 1);
        assert_eq!((store.stats().frozen, store.lsm.last_lsn()), (1, 2));
        assert!(!third.is_finished());
        // and goes on when a set was flushed.
        assert!(stepper.rest(Duration::from_secs(60)));
        store.lsm.step().unwrap();
        until("it goes on", || third.is_finished());
    });
    let stats = store.stats();
    assert!(stats.stalled_commits + stats.delayed_commits >= 1, "{stats:?}");
    assert_eq!((stats.last_lsn, stats.commits_that_flushed), (3, 0));
}

#[test]
fn a_batch_larger_than_the_bound_is_waited_for_and_no_longer() {
    // Given a small frozen set, and behind it one batch larger than the whole bound,
    let store = open(SimDisk::new(1), 1);
    let mut n = 0;
    while store.stats().frozen == 0 {
        store.put(n).unwrap();
        n += 1;
    }
    std::thread::scope(|scope| {
        let _stepper = store.lsm.stepper();
        let mut huge = Batch::new();
        huge.put(KS, b"huge", &vec![1; 10 * MEMTABLE]);
        store.lsm.commit(&huge).unwrap();
        let writer = scope.spawn(|| store.put(n).unwrap());
        until("it waits", || store.stats().waiting_commits == 1);
        // when the set is flushed, and nothing else is frozen that could be,
        while store.lsm.step().unwrap() != lsm::Step::Idle {}
        // then the next commit is not left waiting for more.
        until("it goes on", || writer.is_finished());
    });
}

#[test]
fn who_waits_flushes_himself_when_the_stepper_goes_or_never_was() {
    // Given a store nobody steps, then a commit that finds no room flushes.
    let store = open(SimDisk::new(1), 1);
    for n in 0..500 {
        store.put(n).unwrap();
    }
    let stats = store.stats();
    assert!(stats.commits_that_flushed > 0, "{stats:?}");
    assert_eq!((stats.delayed_commits, stats.stalled_commits), (0, 0));
    // Given one that waits for a stepper,
    std::thread::scope(|scope| {
        let stepper = store.lsm.stepper();
        let writer = scope.spawn(|| {
            for n in 500..1000 {
                store.put(n).unwrap();
            }
        });
        until("it waits", || store.stats().waiting_commits == 1);
        // when he goes, then it goes on.
        drop(stepper);
        until("it goes on", || writer.is_finished());
    });
    assert!(store.stats().commits_that_flushed > stats.commits_that_flushed);
    store.assert_has(1000);
}

#[test]
fn who_waits_is_told_when_flushing_fails() {
    // Given a store whose steps fail, and a writer who waits,
    let disk = SimDisk::new(1);
    let store = open(disk.clone(), 1);
    store.put(0).unwrap();
    store.lsm.flush().unwrap();
    disk.fail_every_sync("vlog");
    std::thread::scope(|scope| {
        let _stepper = store.lsm.stepper();
        let writer = scope.spawn(|| (1..).find_map(|n| store.put(n).err().map(|e| (n, e))));
        until("it waits", || store.stats().waiting_commits == 1);
        // when a step fails, then the writer is not left waiting: it goes on while
        // there is memory, and is told why when there is none.
        store.lsm.step().unwrap_err();
        let (n, error) = writer.join().unwrap().unwrap();
        assert!(matches!(error, Error::Full(_)), "{error}");
        store.assert_has(n);
    });
}

#[test]
fn writers_and_a_stepper_at_full_speed_lose_nothing_and_never_hang() {
    // Given a stepper that rests when there is nothing to do, and four writers,
    let disk = GateDisk::new(SimDisk::new(1));
    let store = open(disk, 2);
    let done = AtomicBool::new(false);
    let highest = AtomicU64::new(0);
    // (before anybody writes: its thread may come late)
    let stepper = store.lsm.stepper();
    std::thread::scope(|scope| {
        let (store, done) = (&store, &done);
        scope.spawn(move || {
            while !done.load(Ordering::SeqCst) {
                // (no time-out is needed: it is called whenever there is work)
                stepper.rest(Duration::from_secs(60));
                while store.lsm.step().unwrap() != lsm::Step::Idle {}
            }
        });
        let writers: Vec<_> = (0..4u64)
            .map(|writer| {
                let highest = &highest;
                scope.spawn(move || {
                    for n in 0..1500 {
                        store.put(n * 4 + writer).unwrap();
                        if n % 16 == 0 {
                            highest.fetch_max(store.stats().debt_bytes, Ordering::SeqCst);
                        }
                    }
                })
            })
            .collect();
        for writer in writers {
            writer.join().unwrap();
        }
        // First: the scope waits for the stepper however this ends.
        done.store(true, Ordering::SeqCst);
        assert_eq!(store.stats().commits_that_flushed, 0);
        // One more set for the stepper to come round.
        store.lsm.flush().unwrap();
        for n in 6000..6400 {
            store.put(n).unwrap();
        }
    });
    // then the debt was bounded, and all is there.
    let stats = store.stats();
    assert!(highest.into_inner() < most(&stats), "{stats:?}");
    store.assert_has(6400);
}
