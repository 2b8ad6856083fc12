//! Collecting garbage: space comes back, nothing is lost, readers go on, damage
//! is left alone, dropped keyspaces go piece by piece. (Crashes: `crash.rs`.)

#![allow(clippy::unwrap_used)]

use std::ops::Bound;
use std::sync::Arc;

use lsm::{Batch, Direction, KeyspaceId, Lsm, Options, Snapshot, Step};
use platform::sim::{SimClock, SimDisk};

const KS: KeyspaceId = KeyspaceId(1);
const KEYS: u64 = 1000;
const BYTES: usize = 400;

fn options() -> Options {
    Options {
        memtable_bytes: 32 << 10,
        max_frozen: 2,
        wal_segment_bytes: 32 << 10,
        vlog_segment_bytes: 48 << 10,
        vlog_buffer_bytes: 8 << 10,
        gc_step_bytes: 8 << 10,
        ..Options::default()
    }
}

fn open(disk: &Arc<SimDisk>) -> Lsm {
    Lsm::open(Arc::clone(disk) as _, Arc::new(SimClock::new(0)), options()).unwrap()
}

/// Spreads keys as random ones would be.
fn key(n: u64) -> [u8; 16] {
    let spread = n.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    (u128::from(spread) << 64 | u128::from(n)).to_be_bytes()
}

fn value(n: u64, round: u8) -> Vec<u8> {
    let mut value = vec![round; BYTES];
    value[..8].copy_from_slice(&n.to_be_bytes());
    value
}

fn put(lsm: &Lsm, keyspace: KeyspaceId, n: u64, round: u8) {
    let mut batch = Batch::new();
    batch.put(keyspace, &key(n), &value(n, round));
    lsm.commit(&batch).unwrap();
}

/// Writes all keys, in an order of the round's own, taking a step now and then.
fn overwrite(lsm: &Lsm, round: u8) {
    let stride = [7, 331, 577, 941][usize::from(round)];
    for i in 0..KEYS {
        put(lsm, KS, i * stride % KEYS, round);
        if i % 5 == 0 {
            lsm.step().unwrap();
        }
    }
}

/// Steps until nothing is left to do. Gives what was moved and how often.
fn settle(lsm: &Lsm) -> (u64, usize) {
    let (mut idle, mut moved, mut steps) = (0, 0, 0);
    while idle < 2 {
        steps += 1;
        assert!(steps < 10_000, "it never settles: {:?}", lsm.stats());
        match lsm.step().unwrap() {
            Step::Idle => idle += 1,
            Step::Collected { moved_bytes, .. } => (idle, moved) = (0, moved + moved_bytes),
            _ => idle = 0,
        }
    }
    (moved, steps)
}

fn assert_all(snapshot: &Snapshot, keyspace: KeyspaceId, keys: u64, round: u8) {
    let all = (Bound::Unbounded, Bound::Unbounded);
    let mut cursor = snapshot.range(keyspace, all.0, all.1, Direction::Forward).unwrap();
    let mut found = 0;
    while let Some((k, v)) = cursor.next().unwrap() {
        let n = u128::from_be_bytes(k.try_into().unwrap()) as u64;
        assert_eq!(v, value(n, round), "key {n}");
        found += 1;
    }
    assert_eq!(found, keys);
}

/// Verifies the file, recounts what is dead from nothing, and closes.
fn assert_exact(disk: &Arc<SimDisk>, lsm: Lsm) {
    drop(lsm);
    let disk: Arc<dyn platform::Disk> = disk.clone();
    let report = lsm::verify(&disk, &mut |_, _| {}).unwrap();
    assert!(report.is_clean(), "{report}");
}

fn bytes_of(disk: &SimDisk, dir: &str) -> u64 {
    let files = disk.files().into_iter().filter(|file| file.starts_with(dir));
    files.map(|file| disk.file_bytes(&file).unwrap().len() as u64).sum()
}

#[test]
fn space_stays_near_what_is_alive() {
    // Given all keys overwritten three times, with a step now and then,
    let disk = SimDisk::new(1);
    let lsm = open(&disk);
    for round in 0..4 {
        overwrite(&lsm, round);
    }
    // then right after it the value log holds little garbage,
    lsm.flush().unwrap();
    let live = KEYS * (BYTES as u64 + 16);
    let stats = lsm.stats().unwrap();
    let dirs = ["vlog/", "trees.pages", "wal/"];
    let space = dirs.map(|dir| bytes_of(&disk, dir));
    let total = |space: [u64; 3]| space.iter().sum::<u64>() as f64 / live as f64;
    println!("after: value log, pages, log {space:?} over {live}: {:.2}", total(space));
    assert!(space[0] * 10 < live * 16, "{space:?}, {stats:?}");
    assert!(stats.gc_moved_bytes > 0 && stats.gc_segments > 10, "{stats:?}");
    // and once there is nothing else to do, hardly any.
    settle(&lsm);
    let settled = dirs.map(|dir| bytes_of(&disk, dir));
    println!("settled: {settled:?}: {:.2}; {:?}", total(settled), lsm.stats().unwrap());
    let stats = lsm.stats().unwrap();
    assert!(stats.dead_value_bytes * 20 <= stats.value_bytes, "{stats:?}");
    assert!(settled[0] * 100 < live * 115, "{settled:?}, {stats:?}");
    assert_all(&lsm.snapshot().unwrap(), KS, KEYS, 3);
    assert_exact(&disk, lsm);
}

#[test]
fn the_whole_store_comes_near_what_is_alive() {
    // Given values of 4 KiB, all overwritten three times in other orders,
    let disk = SimDisk::new(8);
    let larger = Options {
        memtable_bytes: 1 << 20,
        vlog_segment_bytes: 1 << 20,
        gc_step_bytes: 256 << 10,
        ..options()
    };
    let lsm = Lsm::open(Arc::clone(&disk) as _, Arc::new(SimClock::new(0)), larger).unwrap();
    let (keys, bytes) = (6000, 4096);
    for (round, stride) in [7, 331, 577, 941].into_iter().enumerate() {
        let value = vec![round as u8 + 1; bytes];
        for i in 0..keys {
            let mut batch = Batch::new();
            batch.put(KS, &key(i * stride % keys), &value);
            lsm.commit(&batch).unwrap();
        }
    }
    // when it is flushed and all that is worth it is collected,
    lsm.flush().unwrap();
    settle(&lsm);
    // then log, pages and value log, holes left out, take at most 1.15 of keys and values.
    // (Of smaller values it is more: a record has 32 bytes of its own, an entry of a tree
    // some 70; and a megabyte of free pages is kept however small a store is.)
    let live = keys * (16 + bytes as u64);
    let blocks = |file: &String| {
        let bytes = disk.file_bytes(file).unwrap();
        bytes.chunks(4096).filter(|block| block.iter().any(|b| *b != 0)).count() as u64
    };
    let space: u64 = disk.files().iter().map(|file| blocks(file) * 4096).sum();
    println!("{:.3}", space as f64 / live as f64);
    assert!(space * 100 < live * 115, "{space} over {live}, {:?}", lsm.stats());
    assert_exact(&disk, lsm);
}

#[test]
fn survivors_are_moved_and_readers_of_before_go_on() {
    // Given a snapshot and a cursor half-way, when all that it sees is moved or dead,
    let disk = SimDisk::new(2);
    let lsm = open(&disk);
    overwrite(&lsm, 0);
    lsm.flush().unwrap();
    settle(&lsm);
    let before = lsm.snapshot().unwrap();
    let all = (Bound::Unbounded, Bound::Unbounded);
    let mut cursor = before.range(KS, all.0, all.1, Direction::Forward).unwrap();
    assert!(cursor.next().unwrap().is_some());
    for n in 0..KEYS {
        // Half of each segment lives on.
        if n % 2 == 0 {
            put(&lsm, KS, n, 1);
        }
    }
    lsm.flush().unwrap();
    let (moved, _) = settle(&lsm);
    assert!(moved > 0);
    // then they read on,
    assert_all(&before, KS, KEYS, 0);
    let mut left = 0;
    while cursor.next().unwrap().is_some() {
        left += 1;
    }
    assert_eq!(left, KEYS - 1);
    let now = lsm.snapshot().unwrap();
    for n in 0..KEYS {
        let round = u8::from(n % 2 == 0);
        assert_eq!(now.get(KS, &key(n)).unwrap().as_deref(), Some(&value(n, round)[..]));
    }
    let held = lsm.stats().unwrap().value_bytes;
    // and the segments go when they are gone.
    drop((before, cursor, now));
    settle(&lsm);
    let stats = lsm.stats().unwrap();
    assert!(stats.value_bytes * 10 < held * 8, "{held}, {stats:?}");
    assert_exact(&disk, lsm);
}

#[test]
fn a_collection_in_the_middle_goes_on_after_a_restart() {
    // Given a store closed while victims were half-way, small steps,
    let disk = SimDisk::new(3);
    let small = Options { gc_step_bytes: 2 << 10, ..options() };
    let open = |disk: &Arc<SimDisk>| {
        Lsm::open(Arc::clone(disk) as _, Arc::new(SimClock::new(0)), small.clone()).unwrap()
    };
    let mut lsm = open(&disk);
    overwrite(&lsm, 0);
    for n in (0..KEYS).step_by(2) {
        put(&lsm, KS, n, 1);
    }
    lsm.flush().unwrap();
    let (mut victims, mut pieces, mut idle) = (Vec::new(), 0, 0);
    // when it is closed and opened a dozen times, after every third piece that was
    // named (each time copies that no tree names yet are left as garbage),
    while idle < 2 {
        idle += 1;
        match lsm.step().unwrap() {
            Step::Idle => {}
            Step::Collected { segment, moved_bytes: 1.., .. } => {
                (idle, pieces) = (0, pieces + 1);
                assert!(pieces < 200, "{victims:?}");
                if pieces % 3 == 0 && victims.len() < 12 {
                    victims.push(segment);
                    assert_exact(&disk, lsm);
                    lsm = open(&disk);
                }
            }
            _ => idle = 0,
        }
    }
    // then it comes to an end, and all is there: victims were taken up again.
    assert!(victims.windows(2).any(|pair| pair[0] == pair[1]), "{victims:?}");
    settle(&lsm);
    let stats = lsm.stats().unwrap();
    assert!(stats.gc_skipped.is_empty() && stats.gc_waiting_bytes == 0, "{stats:?}");
    let snapshot = lsm.snapshot().unwrap();
    for n in 0..KEYS {
        let round = u8::from(n % 2 == 0);
        assert_eq!(snapshot.get(KS, &key(n)).unwrap().as_deref(), Some(&value(n, round)[..]));
    }
    drop(snapshot);
    assert_exact(&disk, lsm);
}

#[test]
fn a_damaged_victim_is_left_alone_and_named() {
    // Given a flipped bit in a living record of a segment, half of which dies,
    let disk = SimDisk::new(4);
    let lsm = open(&disk);
    overwrite(&lsm, 0);
    lsm.flush().unwrap();
    settle(&lsm);
    let victim = disk.files().into_iter().find(|file| file.starts_with("vlog/")).unwrap();
    let id: u32 = victim[5..15].parse().unwrap();
    let bytes = disk.file_bytes(&victim).unwrap();
    let odd = (0..KEYS).find(|n| {
        let value = value(*n, 0);
        n % 2 == 1 && bytes.windows(BYTES).any(|w| w == value)
    });
    let lost = odd.unwrap();
    let at = bytes.windows(BYTES).position(|w| w == value(lost, 0)).unwrap() as u64;
    disk.corrupt(&victim, at + 100, 1).unwrap();
    for n in (0..KEYS).step_by(2) {
        put(&lsm, KS, n, 1);
    }
    // when all is collected,
    lsm.flush().unwrap();
    settle(&lsm);
    // then that one is there, named, counted, and everything but the record is read.
    let stats = lsm.stats().unwrap();
    let named: Vec<_> = stats.gc_skipped.iter().map(|(id, _)| *id).collect();
    assert_eq!(named, [id], "{stats:?}");
    assert!(stats.gc_skipped[0].1.contains(&victim), "{stats:?}");
    assert!(stats.damage.records > 0 && disk.files().contains(&victim));
    let assert_read = |lsm: &Lsm| {
        let snapshot = lsm.snapshot().unwrap();
        for n in (0..KEYS).filter(|n| *n != lost) {
            let round = u8::from(n % 2 == 0);
            assert_eq!(snapshot.get(KS, &key(n)).unwrap().as_deref(), Some(&value(n, round)[..]));
        }
        assert!(snapshot.get(KS, &key(lost)).unwrap_err().is_damage());
    };
    assert_read(&lsm);
    // After a restart it is looked at again; mended, it goes.
    drop(lsm);
    disk.corrupt(&victim, at + 100, 1).unwrap();
    let lsm = open(&disk);
    settle(&lsm);
    assert!(lsm.stats().unwrap().gc_skipped.is_empty());
    assert!(!disk.files().contains(&victim));
    assert_eq!(lsm.snapshot().unwrap().get(KS, &key(lost)).unwrap().unwrap()[8], 0);
    assert_exact(&disk, lsm);
}

#[test]
fn a_full_disk_gives_back_what_is_wholly_dead() {
    // Given garbage that a reader holds, and a disk that gets full,
    let disk = SimDisk::new(5);
    let lsm = open(&disk);
    overwrite(&lsm, 0);
    lsm.flush().unwrap();
    let reader = lsm.snapshot().unwrap();
    overwrite(&lsm, 1);
    lsm.flush().unwrap();
    settle(&lsm);
    let held = bytes_of(&disk, "vlog/");
    disk.set_budget(Some(0));
    // when the reader is gone, then steps remove it without writing a byte,
    drop(reader);
    while let Ok(Step::Collected { freed_bytes: 1.., .. }) = lsm.step() {}
    assert!(bytes_of(&disk, "vlog/") * 10 < held * 7, "{held}");
    // and with room again all goes on.
    disk.set_budget(None);
    overwrite(&lsm, 2);
    settle(&lsm);
    assert_all(&lsm.snapshot().unwrap(), KS, KEYS, 2);
    assert_exact(&disk, lsm);
}

#[test]
fn a_dropped_keyspace_goes_piece_by_piece_and_gives_its_space_back() {
    // Given a keyspace with many leaves beside another,
    let (disk, other) = (SimDisk::new(6), KeyspaceId(2));
    let mut lsm = open(&disk);
    let keys = 40_000;
    for n in 0..keys / 100 {
        let mut batch = Batch::new();
        for n in n * 100..(n + 1) * 100 {
            batch.put(KS, &key(n), &[7; 40]);
        }
        lsm.commit(&batch).unwrap();
    }
    overwrite(&lsm, 0);
    for n in 0..50 {
        put(&lsm, other, n, 1);
    }
    lsm.flush().unwrap();
    settle(&lsm);
    let (pages, values) = (lsm.stats().unwrap(), bytes_of(&disk, "vlog/"));
    // when it is dropped and begun anew,
    let before = lsm.snapshot().unwrap();
    let mut batch = Batch::new();
    batch.drop_keyspace(KS);
    lsm.commit(&batch).unwrap();
    lsm.flush().unwrap();
    assert_all(&lsm.snapshot().unwrap(), KS, 0, 0);
    for n in 0..10 {
        put(&lsm, KS, n, 2);
    }
    // then it goes in pieces, over a restart, while both are read,
    let mut pieces = Vec::new();
    let mut held = Some(before);
    loop {
        match lsm.step().unwrap() {
            Step::Idle => break,
            Step::Cleared { entries, .. } => {
                pieces.push(entries);
                assert_all(&lsm.snapshot().unwrap(), KS, 10, 2);
                if let Some(before) = held.take() {
                    assert_eq!(before.get(KS, &key(1)).unwrap().unwrap()[..8], 1u64.to_be_bytes());
                    drop(before);
                    assert_exact(&disk, lsm);
                    lsm = open(&disk);
                }
            }
            _ => {}
        }
    }
    assert!(pieces.len() > 1 && pieces.iter().sum::<u64>() == keys, "{pieces:?}");
    // and pages and segments come back.
    settle(&lsm);
    let stats = lsm.stats().unwrap();
    let used = |stats: &lsm::Stats| stats.page_file_bytes - stats.free_page_bytes;
    assert!(used(&stats) * 4 < used(&pages), "{stats:?}");
    assert!(bytes_of(&disk, "vlog/") * 4 < values, "{values}, {stats:?}");
    assert_all(&lsm.snapshot().unwrap(), KS, 10, 2);
    assert_all(&lsm.snapshot().unwrap(), other, 50, 1);
    assert_exact(&disk, lsm);
}

#[test]
fn a_reader_that_holds_too_many_segments_expires() {
    // Given a snapshot, and little that old snapshots may hold back,
    let disk = SimDisk::new(7);
    let most = Options { max_pinned_bytes: 300 << 10, ..options() };
    let lsm = Lsm::open(Arc::clone(&disk) as _, Arc::new(SimClock::new(0)), most).unwrap();
    overwrite(&lsm, 0);
    lsm.flush().unwrap();
    settle(&lsm);
    let before = lsm.snapshot().unwrap();
    // when all it sees is dead,
    overwrite(&lsm, 1);
    lsm.flush().unwrap();
    settle(&lsm);
    // then it has expired, and the segments are gone.
    assert!(matches!(before.get(KS, &key(1)), Err(lsm::Error::SnapshotExpired { .. })));
    let stats = lsm.stats().unwrap();
    assert!(stats.value_bytes * 10 < KEYS * BYTES as u64 * 13, "{stats:?}");
    assert_all(&lsm.snapshot().unwrap(), KS, KEYS, 1);
    assert_exact(&disk, lsm);
}

#[test]
fn what_was_written_anew_is_named_when_there_is_no_room_for_more() {
    // Given half of everything dead, and little room: less than what lives in all the
    // segments worth collecting before the trees would name it,
    const ROOM: u64 = 24 << 10;
    let disk = SimDisk::new(9);
    let larger = Options {
        memtable_bytes: 4 << 20,
        vlog_segment_bytes: 16 << 10,
        gc_step_bytes: 2 << 10,
        ..options()
    };
    let open = |gc_dead_ratio| {
        let options = Options { gc_dead_ratio, ..larger.clone() };
        Lsm::open(Arc::clone(&disk) as _, Arc::new(SimClock::new(0)), options).unwrap()
    };
    let lsm = open(100);
    (0..KEYS).for_each(|n| put(&lsm, KS, n, 0));
    lsm.flush().unwrap();
    (0..KEYS).step_by(2).for_each(|n| put(&lsm, KS, n, 1));
    // (pages freed by a commit can be used again two later)
    for _ in 0..3 {
        lsm.flush().unwrap();
        put(&lsm, KS, 0, 1);
    }
    lsm.flush().unwrap();
    drop(lsm);
    let lsm = open(30);
    let before = bytes_of(&disk, "vlog/");
    assert_eq!(lsm.stats().unwrap().gc_moved_bytes, 0);
    let pages = |file: &String| disk.file_bytes(file).unwrap().len().div_ceil(4096) as u64;
    let used: u64 = disk.files().iter().map(|file| pages(file) * 4096).sum();
    disk.set_capacity(Some(used + ROOM));
    // when it collects,
    for _ in 0..2000 {
        drop(lsm.step());
    }
    // then it does so with what room there is, and comes to its end.
    let stats = lsm.stats().unwrap();
    assert!(bytes_of(&disk, "vlog/") * 4 < before * 3, "{before}, {stats:?}");
    assert_eq!((stats.gc_waiting_bytes, stats.gc_skipped.len()), (0, 0), "{stats:?}");
    disk.set_capacity(None);
    settle(&lsm);
    assert_exact(&disk, lsm);
}

#[test]
fn places_are_named_a_few_at_a_time_when_there_is_no_room_for_more() {
    // Given half of everything dead, and a disk that takes hardly more than two leaves and the
    // moment on when something waits to be named,
    let disk = SimDisk::new(10);
    let open = |gc_dead_ratio| {
        let larger = Options { memtable_bytes: 4 << 20, gc_step_bytes: 256 << 10, ..options() };
        let options = Options { gc_dead_ratio, ..larger };
        Lsm::open(Arc::clone(&disk) as _, Arc::new(SimClock::new(0)), options).unwrap()
    };
    let lsm = open(100);
    (0..KEYS).for_each(|n| put(&lsm, KS, n, 0));
    lsm.flush().unwrap();
    (0..KEYS).step_by(2).for_each(|n| put(&lsm, KS, n, 1));
    lsm.flush().unwrap();
    drop(lsm);
    let lsm = open(30);
    // when it collects,
    let mut failed = 0;
    for _ in 0..2000 {
        let waits = lsm.stats().unwrap().gc_waiting_bytes > 0;
        disk.set_budget(waits.then_some(48 << 10));
        failed += u32::from(lsm.step().is_err());
    }
    disk.set_budget(None);
    // then all that waited was named all the same.
    let stats = lsm.stats().unwrap();
    assert!(stats.gc_moved_bytes > 0 && stats.gc_waiting_bytes == 0, "{failed}, {stats:?}");
    println!("{failed} failed, {} moved", stats.gc_moved_bytes);
    assert_exact(&disk, lsm);
}
