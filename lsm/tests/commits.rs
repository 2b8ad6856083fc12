//! Commits: what they require, what they share, who is told, and numbers that are
//! given out once.

#![allow(clippy::unwrap_used)]

mod gate;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use gate::{GateDisk, until};
use lsm::{Batch, BatchError, Error, Expect, KeyspaceId, Lsm, Lsn, Options, SyncMode, Unmet};
use platform::Disk;
use platform::sim::{SimClock, SimDisk};

const A: KeyspaceId = KeyspaceId(1);
const B: KeyspaceId = KeyspaceId(2);

fn open(disk: Arc<dyn Disk>, sync: SyncMode) -> Lsm {
    try_open(disk, sync).unwrap()
}

fn try_open(disk: Arc<dyn Disk>, sync: SyncMode) -> Result<Lsm, Error> {
    let options = Options {
        sync,
        memtable_bytes: 4 << 10,
        max_frozen: 1,
        wal_segment_bytes: 4 << 10,
        ..Options::default()
    };
    Lsm::open(disk, Arc::new(SimClock::new(0)), options)
}

fn put(keyspace: KeyspaceId, key: &[u8], value: &[u8]) -> Batch {
    let mut batch = Batch::new();
    batch.put(keyspace, key, value);
    batch
}

#[test]
fn a_batch_is_written_only_if_what_it_requires_holds() {
    // Given a key in memory, or in the trees, or with a value in the value log,
    for (flushed, value) in [(false, vec![7; 10]), (true, vec![7; 10]), (true, vec![7; 500])] {
        let disk = SimDisk::new(1);
        let lsm = open(disk.clone(), SyncMode::Async);
        lsm.commit(&put(A, b"there", &value)).unwrap();
        if flushed {
            lsm.flush().unwrap();
        }
        let before = (disk.digest(), lsm.last_lsn());
        // when a batch over two keyspaces requires what does not hold,
        for (key, expect, what, words) in [
            (&b"there"[..], Expect::Absent, Unmet::IsPresent, "was to have none"),
            (b"there", Expect::Value(b"7"), Unmet::Differs, "another value"),
            (b"not", Expect::Present, Unmet::IsAbsent, "was to have one"),
            (b"not", Expect::Value(b""), Unmet::IsAbsent, "was to have one"),
        ] {
            let mut batch = put(B, b"k", b"never");
            batch.require(A, b"there", Expect::Present);
            batch.require(A, key, expect);
            // (what it does itself does not count)
            batch.put(A, b"not", b"");
            batch.delete(A, b"there");
            let error = lsm.commit(&batch).unwrap_err();
            // then it is refused, the error names the key,
            match &error {
                Error::Unmet { keyspace: A, key: at, what: why } => {
                    assert_eq!((&**at, *why), (key, what));
                }
                other => panic!("another error: {other}"),
            }
            let (text, key) = (error.to_string(), key.escape_ascii().to_string());
            assert!(text.contains("keyspace 1") && text.contains(&key), "{text}");
            assert!(text.contains(words), "{text}");
            // and nothing changed.
            assert_eq!((disk.digest(), lsm.last_lsn()), before);
            assert_eq!(lsm.snapshot().unwrap().get(B, b"k").unwrap(), None);
        }
        // When all holds, it is written, and the requirements are no part of it.
        let mut batch = put(B, b"k", b"v");
        batch.require(A, b"there", Expect::Value(&value));
        batch.require(A, b"there", Expect::Present);
        batch.require(B, b"k", Expect::Absent);
        assert_eq!(batch.bytes(), put(B, b"k", b"v").bytes());
        assert_eq!(lsm.commit(&batch).unwrap(), 2);
        // An empty batch only looks. A cleared one requires nothing.
        let mut look = Batch::new();
        look.require(B, b"k", Expect::Value(b"v"));
        assert_eq!(lsm.commit(&look).unwrap(), 2);
        look.require(B, b"k", Expect::Absent);
        assert!(matches!(lsm.commit(&look), Err(Error::Unmet { .. })));
        look.clear();
        assert_eq!(lsm.commit(&look).unwrap(), 2);
        // After a kill it is there, and required of no one.
        drop(lsm);
        let lsm = open(disk.kill(), SyncMode::Async);
        assert_eq!(lsm.last_lsn(), 2);
        assert_eq!(lsm.snapshot().unwrap().get(B, b"k").unwrap().as_deref(), Some(&b"v"[..]));
    }
}

#[test]
fn a_requirement_that_cannot_hold_is_a_fault_of_the_batch() {
    let mut batch = Batch::new();
    batch.require(A, &[0; 1025], Expect::Absent);
    assert_eq!(batch.check(), Err(BatchError::Key(1025)));
    batch.clear();
    batch.require(KeyspaceId(u32::MAX), b"k", Expect::Absent);
    assert_eq!(batch.check(), Err(BatchError::Keyspace(u32::MAX)));
    batch.clear();
    let half = vec![0; lsm::MAX_BATCH_BYTES / 2];
    batch.require(A, b"k", Expect::Value(&half));
    assert_eq!(batch.check(), Ok(()));
    batch.require(A, b"k", Expect::Value(&half));
    assert!(matches!(batch.check(), Err(BatchError::TooLarge(_))));
}

#[test]
fn of_those_who_require_the_same_one_wins() {
    // Given threads that count up a key, each by what it has read,
    let lsm = open(SimDisk::new(1), SyncMode::Sync);
    lsm.commit(&put(A, b"n", &0u64.to_le_bytes())).unwrap();
    let refused = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut done = 0;
                while done < 50 {
                    let now = lsm.snapshot().unwrap().get(A, b"n").unwrap().unwrap();
                    std::thread::yield_now();
                    let next = u64::from_le_bytes((*now).try_into().unwrap()) + 1;
                    let mut batch = put(A, b"n", &next.to_le_bytes());
                    batch.require(A, b"n", Expect::Value(&now));
                    match lsm.commit(&batch) {
                        Ok(_) => done += 1,
                        Err(Error::Unmet { .. }) => drop(refused.fetch_add(1, Ordering::Relaxed)),
                        Err(other) => panic!("{other}"),
                    }
                }
            });
        }
    });
    // then none is lost.
    let n = lsm.snapshot().unwrap().get(A, b"n").unwrap().unwrap();
    assert_eq!(*n, 200u64.to_le_bytes());
    assert_eq!(lsm.last_lsn(), 201);
}

#[test]
fn commits_that_wait_share_a_sync_and_appends_go_on_meanwhile() {
    // Given a commit that waits for its sync,
    let disk = GateDisk::new(SimDisk::new(1));
    let lsm = open(disk.clone(), SyncMode::Sync);
    let told = Arc::new(AtomicU64::new(0));
    let watch = lsm.watch_durable({
        let told = Arc::clone(&told);
        move |lsn| _ = told.fetch_max(lsn, Ordering::SeqCst)
    });
    disk.close(Some("wal"));
    let before = disk.syncs();
    std::thread::scope(|scope| {
        let commit = |n: u8| {
            let lsn = lsm.commit(&put(A, &[n], b"v")).unwrap();
            // then who returns finds its commit durable and visible,
            assert!(lsm.durable_lsn() >= lsn);
            assert!(lsm.snapshot().unwrap().lsn() >= lsn);
        };
        scope.spawn(move || commit(0));
        until("the first waits", || disk.waiting() == 1);
        // when seven others commit: the lock is free, the log takes them,
        for n in 1..8 {
            scope.spawn(move || commit(n));
        }
        until("all are in the log", || lsm.last_lsn() == 8);
        // (nothing is visible, nobody is told, and a refusal waits as well)
        assert_eq!(lsm.snapshot().unwrap().lsn(), 0);
        assert_eq!(told.load(Ordering::SeqCst), 0);
        scope.spawn(|| {
            let mut batch = put(A, b"k", b"v");
            batch.require(A, &[0], Expect::Absent);
            assert!(matches!(lsm.commit(&batch), Err(Error::Unmet { .. })));
            assert_eq!(lsm.durable_lsn(), 8, "it rests on what is durable");
        });
        disk.close(None);
    });
    // and all eight took two syncs: the first one's, and one for the rest.
    assert_eq!(disk.syncs() - before, 2);
    assert_eq!(told.load(Ordering::SeqCst), 8);
    // A single one when all is quiet takes one, at once.
    lsm.commit(&put(A, b"9", b"v")).unwrap();
    assert_eq!(disk.syncs() - before, 3);
    assert_eq!(told.load(Ordering::SeqCst), 9);
    drop(watch);
    lsm.commit(&put(A, b"10", b"v")).unwrap();
    assert_eq!(told.load(Ordering::SeqCst), 9, "nobody is told any more");
}

#[test]
fn who_is_told_of_a_commit_finds_it() {
    // Given writers whose commits share syncs, and one who is told,
    let lsm = open(SimDisk::new(1), SyncMode::Sync);
    let told = Arc::new(AtomicU64::new(0));
    let _watch = lsm.watch_durable({
        let told = Arc::clone(&told);
        move |lsn| _ = told.fetch_max(lsn, Ordering::SeqCst)
    });
    std::thread::scope(|scope| {
        for writer in 0..4u8 {
            let lsm = &lsm;
            scope.spawn(move || {
                for n in 0..400u16 {
                    lsm.commit(&put(A, &[writer, n as u8], &n.to_le_bytes())).unwrap();
                }
            });
        }
        // then what he was told of is durable, and every snapshot taken after shows it.
        while told.load(Ordering::SeqCst) < 1600 {
            let lsn = told.load(Ordering::SeqCst);
            assert!(lsm.snapshot().unwrap().lsn() >= lsn && lsm.durable_lsn() >= lsn);
        }
    });
}

#[test]
fn in_async_mode_who_waits_makes_it_durable_and_watchers_are_told() {
    let disk = SimDisk::new(1);
    let lsm = open(disk.clone(), SyncMode::Async);
    let told = Arc::new(AtomicU64::new(u64::MAX));
    let _watch = lsm.watch_durable({
        let told = Arc::clone(&told);
        move |lsn| told.store(lsn, Ordering::SeqCst)
    });
    assert_eq!(told.load(Ordering::SeqCst), 0, "it is told what is, at once");
    // Commits are visible, and not durable,
    for n in 1..=3u8 {
        lsm.commit(&put(A, &[n], b"v")).unwrap();
    }
    assert_eq!((lsm.snapshot().unwrap().lsn(), lsm.durable_lsn()), (3, 0));
    // until somebody waits for one, or the timer comes, or a flush.
    lsm.wait_durable(2).unwrap();
    assert_eq!((lsm.durable_lsn(), told.load(Ordering::SeqCst)), (3, 3));
    lsm.commit(&put(A, b"4", b"v")).unwrap();
    assert_eq!(lsm.sync().unwrap(), 4);
    assert_eq!(told.load(Ordering::SeqCst), 4);
    lsm.commit(&put(A, b"5", b"v")).unwrap();
    lsm.flush().unwrap();
    assert_eq!(told.load(Ordering::SeqCst), 5);
    // One that was never made cannot be waited for.
    assert!(lsm.wait_durable(6).is_err());
    // A power cut leaves what was told.
    assert_eq!(open(disk.restart_worst(), SyncMode::Async).last_lsn(), 5);
}

#[test]
fn a_counter_begins_at_one_and_has_an_end() {
    let lsm = open(SimDisk::new(1), SyncMode::Async);
    assert_eq!(lsm.reserve(A, b"c", 3).unwrap(), 1..4);
    assert_eq!(lsm.reserve(A, b"c", 0).unwrap(), 4..4);
    assert_eq!(lsm.reserve(A, b"c", 1).unwrap(), 4..5);
    assert_eq!(lsm.reserve(B, b"c", 1).unwrap(), 1..2, "each has its own");
    let rest = u64::MAX - 5;
    assert_eq!(lsm.reserve(A, b"c", rest).unwrap(), 5..u64::MAX);
    let error = lsm.reserve(A, b"c", 1).unwrap_err();
    assert!(matches!(error, Error::Counter { .. }), "{error}");
    // What is no counter is left alone.
    lsm.commit(&put(A, b"text", b"words")).unwrap();
    let error = lsm.reserve(A, b"text", 1).unwrap_err().to_string();
    assert!(error.contains("keyspace 1") && error.contains("\"text\""), "{error}");
    let text = lsm.snapshot().unwrap().get(A, b"text").unwrap();
    assert_eq!(text.as_deref(), Some(&b"words"[..]));
}

/// Takes numbers, commits and flushes until the end or the crash; returns those it
/// was given.
fn take_numbers(disk: &Arc<SimDisk>, sync: SyncMode) -> Vec<u64> {
    let mut got = Vec::new();
    let mut run = || -> Result<(), Error> {
        let mut lsm = try_open(disk.clone(), sync)?;
        for round in 0..12u64 {
            got.extend(lsm.reserve(A, b"seq", 1 + round % 3)?);
            lsm.commit(&put(B, &round.to_le_bytes(), &[1; 400]))?;
            match round {
                3 => drop(lsm.flush()?),
                5 | 9 => drop(lsm.step()?),
                7 => {
                    drop(lsm);
                    lsm = try_open(disk.clone(), sync)?;
                }
                _ => {}
            }
        }
        Ok(())
    };
    if let Err(error) = run() {
        assert!(disk.is_crashed(), "only a crash may fail: {error}");
    }
    got
}

#[test]
fn no_crash_gives_a_number_out_twice() {
    for sync in [SyncMode::Async, SyncMode::Sync] {
        let calm = SimDisk::new(3);
        let numbers = take_numbers(&calm, sync);
        assert_eq!(numbers, (1..25).collect::<Vec<_>>());
        let calls = calm.calls();
        for n in 1..=calls {
            // Given a store that is crashed at some call, three times over,
            let mut disk = SimDisk::new(n);
            let mut all = BTreeSet::new();
            for crash in 0..3 {
                disk.crash_after(if crash == 0 { n } else { 1 + (n * 7 + crash * 13) % calls });
                // when numbers are taken, then each was never given out before.
                for number in take_numbers(&disk, sync) {
                    assert!(number > 0 && all.insert(number), "{number} again, call {n}");
                }
                disk = match crash {
                    0 => disk.restart_worst(),
                    1 => disk.restart(),
                    _ => disk.kill(),
                };
            }
            let lsm = open(disk, sync);
            let next: Lsn = lsm.reserve(A, b"seq", 1).unwrap().start;
            assert!(all.last().is_none_or(|last| *last < next), "{next} after {all:?}, call {n}");
        }
    }
}

#[test]
fn syncs_flushes_and_what_they_move_are_counted() {
    // Given commits that are each synced,
    let lsm = open(SimDisk::new(1), SyncMode::Sync);
    for n in 0..3u8 {
        lsm.commit(&put(A, &[n], b"v")).unwrap();
    }
    // then each sync made one durable,
    let stats = lsm.stats().unwrap();
    assert_eq!((stats.sync_groups.count(), stats.sync_groups.sum()), (3, 3));
    assert_eq!((stats.syncs.count(), stats.flushes.count()), (3, 0));
    assert!(stats.wal_appended_bytes > 0 && stats.wal_appended_bytes < stats.wal_bytes);
    // and where a timer syncs, one sync many; one that finds nothing to do is none.
    let lsm = open(SimDisk::new(1), SyncMode::Async);
    for n in 0..3u8 {
        lsm.commit(&put(A, &[n], b"v")).unwrap();
    }
    assert_eq!(lsm.stats().unwrap().sync_groups.count(), 0);
    lsm.sync().unwrap();
    lsm.sync().unwrap();
    let stats = lsm.stats().unwrap();
    assert_eq!((stats.sync_groups.count(), stats.sync_groups.sum()), (1, 3));
    assert_eq!(stats.syncs.count(), 1);
    lsm.flush().unwrap();
    assert_eq!(lsm.stats().unwrap().flushes.count(), 1);
    lsm.flush().unwrap();
    assert_eq!(lsm.stats().unwrap().flushes.count(), 1, "there was nothing to flush");
}

#[test]
fn what_a_thread_commits_is_told_to_who_watches_it() {
    let clock = Arc::new(SimClock::new(0));
    let lsm = Lsm::open(SimDisk::new(1), clock.clone(), Options::default()).unwrap();
    lsm.commit(&put(A, b"before", b"v")).unwrap();
    clock.advance(std::time::Duration::from_nanos(7));
    let (lsn, committed) = lsm::watched(|| {
        std::thread::scope(|scope| {
            scope.spawn(|| lsm.commit(&put(A, b"elsewhere", b"v")).unwrap());
        });
        lsm.commit(&put(A, b"here", b"v")).unwrap();
        let refused = lsm.commit_with(|_| Err::<(Batch, ()), _>(Error::InUse { file: "".into() }));
        assert!(refused.is_err());
        lsm.commit_with(|_| Ok::<_, Error>((put(A, b"too", b"v"), ()))).unwrap().0
    });
    let seen: Vec<_> = committed.iter().map(|seen| (seen.lsn, seen.begun, seen.ended)).collect();
    assert_eq!(seen, [(lsn - 1, 7, 7), (lsn, 7, 7)]);
    assert_eq!(lsm::watched(|| ()).1, []);
}
