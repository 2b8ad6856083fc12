//! The state of a store: full disks refuse writes until there is space, and lose
//! nothing; damage is never served, is named and counted; a read that fails is only
//! that.

#![allow(clippy::unwrap_used)]

use std::ops::Bound;
use std::sync::Arc;

use lsm::{Batch, Direction, Error, KeyspaceId, Lsm, Lsn, Options, State, SyncMode};
use platform::sim::{Fault, SimClock, SimDisk, Times};
use platform::{Disk, Shortage};

const KS: KeyspaceId = KeyspaceId(1);

fn open_in(disk: &Arc<SimDisk>, sync: SyncMode) -> Lsm {
    let options = Options {
        sync,
        memtable_bytes: 16 << 10,
        max_frozen: 1,
        wal_segment_bytes: 16 << 10,
        vlog_segment_bytes: 32 << 10,
        cache_bytes: 0,
        ..Options::default()
    };
    Lsm::open(Arc::clone(disk) as _, Arc::new(SimClock::new(0)), options).unwrap()
}

fn open(disk: &Arc<SimDisk>) -> Lsm {
    open_in(disk, SyncMode::Async)
}

fn put(lsm: &Lsm, n: u64) -> Result<Lsn, Error> {
    let mut batch = Batch::new();
    batch.put(KS, &n.to_be_bytes(), &[n as u8; 100]);
    lsm.commit(&batch)
}

/// Exactly these keys, by gets and a scan.
fn assert_has(lsm: &Lsm, keys: u64) {
    let snapshot = lsm.snapshot().unwrap();
    let all = (Bound::Unbounded, Bound::Unbounded);
    let mut cursor = snapshot.range(KS, all.0, all.1, Direction::Forward).unwrap();
    for n in 0..keys {
        let (key, value) = (n.to_be_bytes(), [n as u8; 100]);
        assert_eq!(snapshot.get(KS, &key).unwrap().as_deref(), Some(&value[..]), "key {n}");
        assert_eq!(cursor.next().unwrap(), Some((&key[..], &value[..])));
    }
    assert_eq!(cursor.next().unwrap(), None);
}

/// Puts until a put is refused; returns how many keys there are, and the refusal.
fn fill(lsm: &Lsm, mut n: u64, flush: bool) -> (u64, Error) {
    loop {
        match put(lsm, n) {
            Ok(lsn) => {
                n += 1;
                assert_eq!(lsn, n, "each key is one commit");
            }
            Err(error) => return (n, error),
        }
        if flush {
            // It may fail: the store goes on.
            lsm.step().ok();
        }
    }
}

#[test]
fn a_full_disk_refuses_writes_until_there_is_space_and_loses_nothing() {
    for sync in [SyncMode::Async, SyncMode::Sync] {
        for stepped in [false, true] {
            // Given a store on a disk with little room,
            let mut disk = SimDisk::new(5);
            let mut lsm = open_in(&disk, sync);
            let mut n = 0;
            for round in 1..=4u64 {
                disk.set_capacity(Some(disk.used() + (90 << 10) + round * 1000));
                // when it is written to until there is none,
                let (reached, error) = fill(&lsm, n, stepped);
                assert!(reached > n, "round {round}: {error}");
                n = reached;
                // then the commit is refused for that, and says which file and what
                // to do,
                let text = error.to_string();
                assert!(matches!(error, Error::NoSpace { short: Shortage::Space, .. }), "{text}");
                assert!(
                    ["wal/", "vlog/", "trees.pages"].iter().any(|f| text.contains(f)),
                    "{text}"
                );
                assert!(text.contains("by themselves"), "{text}");
                match lsm.state() {
                    State::ReadOnly { why, since_lsn } => assert_eq!((why, since_lsn), (text, n)),
                    other => panic!("round {round}: {other:?}"),
                }
                // again and again, as all else that writes is; reads go on;
                for _ in 0..3 {
                    assert!(matches!(put(&lsm, n), Err(Error::NoSpace { .. })));
                    lsm.step().ok();
                    lsm.flush().ok();
                    assert_has(&lsm, n);
                }
                assert_eq!((lsm.last_lsn(), lsm.poisoned()), (n, None));
                let stats = lsm.stats().unwrap();
                assert!(stats.refused_for_space >= 4 && stats.poisoned.is_none(), "{stats:?}");
                // and when there is space, the next commit goes through by itself.
                disk.set_capacity(None);
                if round == 3 {
                    // (a restart in the middle finds the same)
                    drop(lsm);
                    disk = disk.kill();
                    lsm = open_in(&disk, sync);
                    assert_has(&lsm, n);
                }
                assert_eq!(put(&lsm, n).unwrap(), n + 1);
                n += 1;
                assert_eq!(lsm.state(), State::Healthy);
                assert_has(&lsm, n);
                lsm.flush().unwrap();
                assert_eq!(lsm.stats().unwrap().flush_error, None);
                assert_has(&lsm, n);
            }
        }
    }
}

#[test]
fn a_disk_full_of_flushed_data_takes_writes_while_memory_lasts() {
    // Given a store whose value log finds no space, but its log does,
    let disk = SimDisk::new(5);
    let lsm = open(&disk);
    put(&lsm, 0).unwrap();
    lsm.flush().unwrap();
    disk.fail(Fault::Write, "vlog", Times::Every);
    // when it is written to, then failing steps do not stop writes,
    put(&lsm, 1).unwrap();
    assert!(lsm.flush().is_err());
    assert_eq!(lsm.state(), State::Healthy);
    put(&lsm, 2).unwrap();
    // and when the fault is gone, the flush goes through, each value once.
    disk.clear_faults();
    lsm.flush().unwrap();
    assert_eq!(lsm.flushed_lsn(), 3);
    assert_has(&lsm, 3);
    let stats = lsm.stats().unwrap();
    assert_eq!((stats.flush_error, stats.dead_value_bytes), (None, 0));
}

#[test]
fn a_want_of_descriptors_refuses_writes_until_there_are_some() {
    for place in ["wal", "vlog"] {
        let disk = SimDisk::new(5);
        let lsm = open(&disk);
        // Given a store that can open no more files,
        disk.fail(Fault::Descriptors, place, Times::Every);
        disk.fail(Fault::Name, place, Times::Every);
        // when it needs one,
        let (n, error) = fill(&lsm, 0, true);
        let short = error.shortage();
        disk.clear_faults();
        if short.is_none() {
            // (a segment could not be made at all: not what this is about)
            assert!(matches!(error, Error::Full(_)), "{place}: {error}");
        } else {
            assert_eq!(short, Some(Shortage::Descriptors), "{place}: {error}");
            assert!(error.to_string().contains("limit of open files"), "{error}");
        }
        // then it is told apart, nothing is lost, and it goes on.
        assert_has(&lsm, n);
        put(&lsm, n).unwrap();
        lsm.flush().unwrap();
        assert_eq!(lsm.state(), State::Healthy);
        assert_has(&lsm, n + 1);
    }
}

#[test]
fn a_failed_sync_poisons_and_says_so() {
    for part in ["wal", "vlog", "trees.pages"] {
        let disk = SimDisk::new(5);
        let lsm = open(&disk);
        put(&lsm, 0).unwrap();
        lsm.flush().unwrap();
        put(&lsm, 1).unwrap();
        assert_eq!(lsm.state(), State::Healthy);
        disk.fail_sync(part);
        lsm.flush().unwrap_err();
        match lsm.state() {
            State::Poisoned { why } => {
                assert!(why.contains(part) && why.contains("restart"), "{part}: {why}");
            }
            other => panic!("{part}: {other:?}"),
        }
        assert_has(&lsm, 2);
    }
}

#[test]
fn damage_is_not_served_is_named_and_counted() {
    // Given a store with values in the value log and small ones in the trees,
    let disk = SimDisk::new(5);
    let lsm = open(&disk);
    for n in 0..50 {
        put(&lsm, n).unwrap();
    }
    lsm.flush().unwrap();
    assert_eq!(lsm.stats().unwrap().damage, lsm::Damage::default());
    // when a record rots, then the read of it fails, by file and place,
    let segment = disk.files().into_iter().find(|file| file.starts_with("vlog/")).unwrap();
    let bytes = disk.file_bytes(&segment).unwrap();
    let at = bytes.windows(100).position(|w| w == [7; 100]).unwrap() as u64;
    disk.corrupt(&segment, at + 50, 1).unwrap();
    let snapshot = lsm.snapshot().unwrap();
    let read = |n: u64| snapshot.get(KS, &n.to_be_bytes());
    let error = read(7).unwrap_err();
    assert!(error.is_damage() && error.to_string().contains(&segment), "{error}");
    // all others are served,
    for n in (0..50).filter(|n| *n != 7) {
        assert_eq!(read(n).unwrap().as_deref(), Some(&[n as u8; 100][..]));
    }
    // a scan stops at it and can go on behind it,
    let all = (Bound::Unbounded, Bound::Unbounded);
    let mut cursor = snapshot.range(KS, all.0, all.1, Direction::Forward).unwrap();
    for _ in 0..7 {
        assert!(cursor.next().unwrap().is_some());
    }
    assert!(cursor.next().unwrap_err().is_damage());
    cursor.seek(&8u64.to_be_bytes()).unwrap();
    assert!(cursor.next().unwrap().is_some());
    // and it is counted and remembered.
    let damage = lsm.stats().unwrap().damage;
    assert_eq!((damage.pages, damage.records, damage.frames, damage.read_errors), (0, 2, 0, 0));
    assert!(damage.last.unwrap().contains(&segment));
    // When a page rots, likewise.
    let pages = disk.file_bytes("trees.pages").unwrap().len() as u64;
    for page in 2..pages / 4096 {
        disk.corrupt("trees.pages", page * 4096 + 100, 1).unwrap();
    }
    let error = read(1).unwrap_err();
    assert!(error.is_damage() && error.to_string().contains("trees.pages"), "{error}");
    let damage = lsm.stats().unwrap().damage;
    assert_eq!((damage.pages, damage.records), (1, 2));
    // Writes go on: nothing they rest on is damaged.
    put(&lsm, 50).unwrap();
    assert_eq!(lsm.state(), State::Healthy);
    // A flush that meets it says so, and is no more than that.
    assert!(lsm.flush().unwrap_err().is_damage());
    assert!(lsm.stats().unwrap().damage.pages > 1);
}

#[test]
fn a_read_that_the_disk_refuses_is_only_that() {
    for part in ["vlog", "trees.pages"] {
        // Given a store in the trees,
        let disk = SimDisk::new(5);
        let lsm = open(&disk);
        put(&lsm, 0).unwrap();
        lsm.flush().unwrap();
        // when the disk refuses a read,
        disk.fail(Fault::Read, part, Times::Next);
        let snapshot = lsm.snapshot().unwrap();
        let error = snapshot.get(KS, &[0; 8]).unwrap_err();
        // then that one is answered with an error, and counted,
        assert!(error.to_string().contains(part) && !error.is_damage(), "{error}");
        let stats = lsm.stats().unwrap();
        assert_eq!((stats.damage.read_errors, stats.state), (1, State::Healthy));
        // the next is right, and writes and flushes go on.
        assert_has(&lsm, 1);
        put(&lsm, 1).unwrap();
        lsm.flush().unwrap();
        assert_has(&lsm, 2);
    }
}

#[test]
fn a_store_opens_on_a_full_disk_is_read_and_takes_writes_once_there_is_space() {
    let mut read_only = 0;
    for sync in [SyncMode::Async, SyncMode::Sync] {
        for commits in (1..140).step_by(3) {
            for ended in ["in order", "killed", "power cut"] {
                for room in [0, 4096] {
                    // Given a store, some of it flushed, that ended on a disk that is
                    // full to the last block, or but for one,
                    let disk = SimDisk::new(commits);
                    let lsm = open_in(&disk, sync);
                    for n in 0..commits {
                        put(&lsm, n).unwrap();
                        if n == commits / 2 {
                            lsm.flush().unwrap();
                        }
                    }
                    lsm.sync().unwrap();
                    drop(lsm);
                    let disk = match ended {
                        "in order" => disk,
                        "killed" => disk.kill(),
                        _ => disk.restart_worst(),
                    };
                    disk.set_capacity(Some(disk.used() + room));
                    let hint = format!("{sync:?}, {commits} commits, {ended}, room {room}");
                    // when it is opened, then all is read,
                    let lsm = open_in(&disk, sync);
                    assert_has(&lsm, commits);
                    // writes go on as far as there is room, then are refused by name,
                    let (reached, error) = fill(&lsm, commits, false);
                    let text = error.to_string();
                    assert!(matches!(error, Error::NoSpace { .. }), "{hint}: {text}");
                    let named = ["wal/", "vlog/", "trees.pages"].iter().any(|f| text.contains(f));
                    assert!(named && text.contains("by themselves"), "{text}");
                    assert!(lsm.step().is_ok() || lsm.poisoned().is_none(), "{hint}");
                    lsm.flush().ok();
                    assert_has(&lsm, reached);
                    drop(lsm);
                    // also after the next opening, which finds no block at all.
                    disk.set_capacity(Some(disk.used()));
                    let lsm = open_in(&disk, sync);
                    assert_has(&lsm, reached);
                    if let State::ReadOnly { why, since_lsn } = lsm.state() {
                        assert!(why.contains("wal/"), "{why}");
                        assert_eq!(
                            (since_lsn, lsm.stats().unwrap().refused_for_space),
                            (reached, 0)
                        );
                        assert!(matches!(put(&lsm, reached), Err(Error::NoSpace { .. })));
                        assert_has(&lsm, reached);
                        read_only += 1;
                    } else {
                        // (what the life before had prepared was room enough to begin)
                        match put(&lsm, reached) {
                            Ok(_) => assert_has(&lsm, reached + 1),
                            Err(error) => {
                                assert!(matches!(error, Error::NoSpace { .. }), "{hint}: {error}");
                                assert_has(&lsm, reached);
                            }
                        }
                        continue;
                    }
                    // With space it takes writes by itself, and nothing is lost.
                    disk.set_capacity(None);
                    assert_eq!(put(&lsm, reached).unwrap(), reached + 1, "{hint}");
                    assert_eq!(lsm.state(), State::Healthy);
                    lsm.flush().unwrap();
                    lsm.sync().unwrap();
                    drop(lsm);
                    assert_has(&open_in(&disk.restart_worst(), sync), reached + 1);
                }
            }
        }
    }
    assert!(read_only > 100, "{read_only} openings without a block");
}

#[test]
fn a_rotten_frame_is_named_and_counted_once_whoever_meets_it() {
    // Given a store with an archive, whose log has a rotten frame in an ended segment,
    let (disk, vault) = (SimDisk::new(5), SimDisk::new(6));
    let clock = Arc::new(SimClock::new(0));
    let options = Options {
        wal_segment_bytes: 4 << 10,
        archive: Some(lsm::LogArchive::new(vault.clone(), "archive")),
        ..Options::default()
    };
    let lsm = Lsm::open(disk.clone(), clock.clone(), options).unwrap();
    for n in 0..100 {
        put(&lsm, n).unwrap();
    }
    lsm.sync().unwrap();
    let log = disk.files().into_iter().find(|file| file.starts_with("wal/")).unwrap();
    disk.corrupt(&log, 1000, 1).unwrap();
    let frames = || lsm.stats().unwrap().damage.frames;
    assert_eq!(frames(), 0);
    // when who follows the log meets it, again and again,
    let mut cursor = lsm.frames(1).unwrap();
    for _ in 0..3 {
        let error = loop {
            match cursor.next() {
                Ok(frame) => assert!(frame.is_some()),
                Err(error) => break error,
            }
        };
        assert!(error.is_damage(), "{error}");
        // then it is counted, once, and named with file, offset and frame, and with what
        // to do;
        let damage = lsm.stats().unwrap().damage;
        assert_eq!((damage.frames, damage.last.as_ref()), (1, Some(&error.to_string())));
        for part in [&log[..], "at offset", "frame", "planck verify --dir", "planck restore --from"]
        {
            assert!(error.to_string().contains(part), "{part}: {error}");
        }
    }
    // nor is it by the archive, nor by a backup.
    for _ in 0..3 {
        assert!(lsm.archive_now().is_err());
    }
    let backups = SimDisk::new(7);
    let take = || {
        let backup = lsm.backup(
            &(Arc::clone(&backups) as Arc<dyn Disk>),
            "b",
            lsm::BackupOptions::default(),
        );
        backup.unwrap().run(&mut |_| ()).map(drop).unwrap_err()
    };
    take();
    assert_eq!(frames(), 1);
    // Another one, that only the archive meets first, is another.
    disk.corrupt(&log, 1000, 1).unwrap();
    disk.corrupt(&log, 3000, 1).unwrap();
    clock.advance(std::time::Duration::from_secs(3600));
    assert!(lsm.archive_now().is_err());
    assert_eq!(frames(), 2);
    take();
    assert_eq!((frames(), lsm.state()), (2, State::Healthy));
}

#[test]
fn damage_met_by_a_backup_is_counted() {
    let disk = SimDisk::new(5);
    let lsm = open(&disk);
    for n in 0..50 {
        put(&lsm, n).unwrap();
    }
    lsm.flush().unwrap();
    let pages = disk.file_bytes("trees.pages").unwrap().len() as u64;
    for page in 2..pages / 4096 {
        disk.corrupt("trees.pages", page * 4096 + 100, 1).unwrap();
    }
    let backups = SimDisk::new(7);
    let mut counted = Vec::new();
    for _ in 0..2 {
        let backup = lsm.backup(
            &(Arc::clone(&backups) as Arc<dyn Disk>),
            "b",
            lsm::BackupOptions::default(),
        );
        assert!(backup.and_then(|b| b.run(&mut |_| ())).is_err());
        counted.push(lsm.stats().unwrap().damage);
    }
    assert!(counted[0].pages > 0 && counted[0] == counted[1], "{counted:?}");
    assert!(counted[0].last.as_ref().unwrap().contains("trees.pages"));
}
