//! Verify: clean where all is well, and every fault by name where it is not.

#![allow(clippy::unwrap_used)]

#[path = "../backup/kit.rs"]
#[allow(dead_code)]
mod kit;

use std::sync::Arc;

use kit::*;
use lsm::{Error, Options, Report, SyncMode};
use platform::Disk;
use platform::sim::SimDisk;

fn verify(disk: &Arc<SimDisk>) -> Report {
    lsm::verify(&as_disk(disk), &mut |_, _| {}).unwrap()
}

#[test]
fn a_store_closed_or_killed_at_any_moment_verifies_clean_and_is_not_touched() {
    for seed in 1..=8 {
        let mut world = World::new(seed);
        for _ in 0..6 {
            // Given a store at work, when it is verified as it lives,
            world.work(12);
            let mut verify_living = world.lsm.verify().unwrap();
            while !verify_living.step().unwrap() {}
            let report = verify_living.into_report();
            assert!(report.is_clean(), "{report}");
            // and as it would be found after a kill and after a power cut,
            for disk in [world.disk.snapshot(), world.disk.snapshot().restart()] {
                let before = disk.digest();
                let report = verify(&disk);
                // then all is well, nothing was changed, and what is there is counted.
                assert!(report.is_clean(), "seed {seed}: {report}");
                assert_eq!(disk.digest(), before);
                let lsm = open(&disk).unwrap();
                assert_eq!(report.last_lsn, lsm.last_lsn());
                assert_eq!(report.flushed_lsn, lsm.flushed_lsn());
            }
        }
        let stats = world.lsm.stats().unwrap();
        let disk = world.disk.snapshot();
        let report = verify(&disk);
        assert_eq!(report.dead_bytes, stats.dead_value_bytes, "{report}");
        assert!(report.records > 0 && report.values > 0 && report.frames > 0, "{report}");
    }
}

#[test]
fn the_living_one_goes_on_while_it_is_verified() {
    let mut world = World::new(3);
    world.work(60);
    let World { lsm, mut rng, mut states, .. } = world;
    let mut verify = lsm.verify().unwrap();
    loop {
        let mut model = states[states.len() - 1].clone();
        lsm.commit(&random_batch(&mut rng, &mut model, states.len() as lsm::Lsn)).unwrap();
        states.push(model);
        lsm.flush().unwrap();
        if verify.step().unwrap() {
            break;
        }
    }
    let report = verify.into_report();
    assert!(report.is_clean(), "{report}");
    assert!(contents(&lsm) == *states.last().unwrap());
}

#[test]
fn what_cannot_be_verified_is_said() {
    let disk = SimDisk::new(1);
    let error = lsm::verify(&as_disk(&disk), &mut |_, _| {}).unwrap_err();
    assert!(matches!(error, Error::Missing { .. }), "{error}");
    assert!(disk.files().is_empty());
    let lsm = open(&disk).unwrap();
    let error = lsm::verify(&as_disk(&disk), &mut |_, _| {}).unwrap_err();
    assert!(matches!(error, Error::InUse { .. }), "{error}");
    drop(lsm);
    assert!(verify(&disk).is_clean());
}

/// A small closed store with a bit of everything.
fn small() -> World {
    let mut world = World::new(5);
    world.work(14);
    world.lsm.flush().unwrap();
    world.commit();
    world.commit();
    world.lsm.sync().unwrap();
    world
}

#[test]
fn every_flipped_byte_of_a_small_store_is_found_or_means_nothing() {
    // Given a small closed store,
    let world = small();
    let states = world.states;
    let disk = world.disk;
    drop(world.lsm);
    assert!(verify(&disk).is_clean(), "{}", verify(&disk));
    let (mut found, mut unused) = (0, 0);
    for file in disk.files() {
        let len = disk.file_bytes(&file).unwrap().len() as u64;
        let stride = match () {
            () if file.starts_with("trees") => 211,
            () => 13,
        };
        for offset in (0..len).step_by(stride) {
            // when any byte of it rots,
            let flip = 1 << (offset % 8);
            disk.corrupt(&file, offset, flip).unwrap();
            let report = verify(&disk);
            if report.is_clean() && report.notes.is_empty() {
                // then verify says nothing only where nothing is lost by it,
                let copy = disk.snapshot();
                let lsm = open(&copy).unwrap();
                let last = lsm.last_lsn() as usize;
                assert!(contents(&lsm) == states[last], "{file} {offset}");
                // (A log's very last frame may look as if it never was: `wal`.)
                assert!(last + 1 >= states.len() - usize::from(file.starts_with("wal")));
                unused += 1;
            } else {
                // or names the file.
                let named =
                    report.faults.iter().chain(&report.notes).any(|fault| fault.file == file);
                assert!(named, "{file} {offset}: {report}");
                found += 1;
            }
            disk.corrupt(&file, offset, flip).unwrap();
        }
    }
    assert!(found > 300, "{found} found, {unused} unused");
}

#[test]
fn every_missing_or_cut_file_is_named() {
    let world = small();
    let disk = world.disk;
    drop(world.lsm);
    for file in disk.files() {
        if file == "LOCK" || file.contains("spare") {
            continue;
        }
        let gone = disk.snapshot();
        gone.remove(&file).unwrap();
        let report = verify(&gone);
        let dir = file.split('/').next().unwrap();
        if report.is_clean() {
            // A segment all of whose values are dead. Kept for the older meta page only; or the log's newest segment, which
            // looks as if it never was (`directory.rs`): a prefix at least.
            assert!(file.starts_with("wal") || file.starts_with("vlog"), "{file}: {report}");
            let lsm = open(&gone).unwrap();
            assert!(contents(&lsm) == world.states[lsm.last_lsn() as usize]);
        } else {
            assert!(report.faults.iter().any(|f| f.file.starts_with(dir)), "{file}: {report}");
        }
        let cut = disk.snapshot();
        let len = cut.file_bytes(&file).unwrap().len() as u64;
        cut.open(&file, platform::Open::Write).unwrap().set_len(len / 2).unwrap();
        let report = verify(&cut);
        assert!(!report.is_clean() || file.starts_with("wal"), "{file}: {report}");
    }
}

#[test]
fn all_faults_are_named_not_only_the_first() {
    let world = small();
    let disk = world.disk;
    drop(world.lsm);
    disk.corrupt("trees.pages", 2 * 4096 + 9, 1).unwrap();
    let segments: Vec<_> = disk.files().into_iter().filter(|f| f.starts_with("vlog")).collect();
    for segment in &segments {
        disk.corrupt(segment, 60, 1).unwrap();
        disk.corrupt(segment, 2000, 1).unwrap();
    }
    let report = verify(&disk);
    for segment in &segments {
        let mine = report.faults.iter().filter(|fault| fault.file == *segment).count();
        assert!(mine >= 2, "{segment}: {report}");
    }
}

#[test]
fn lies_that_check_are_found_too() {
    use btree::{Op, PageFile};
    const SEGMENTS: u32 = lsm::MAX_KEYSPACE;
    let world = small();
    let disk = world.disk;
    drop(world.lsm);
    let clean = verify(&disk);
    assert!(clean.is_clean() && clean.values > 2, "{clean}");
    // Given pages that are whole and say something that is not so:
    let lie = |tree: u32, key: &[u8], cell: &[u8]| {
        let disk = disk.snapshot();
        let pages = PageFile::open(as_disk(&disk), "trees.pages", btree::Options::default());
        let pages = pages.unwrap();
        let mut write = pages.begin();
        write.apply(tree, [(key, Op::Put(cell))], &mut |_, _| {}).unwrap();
        write.commit().unwrap();
        drop(pages);
        verify(&disk)
    };
    let pages = PageFile::open(as_disk(&disk.snapshot()), "trees.pages", btree::Options::default());
    let view = pages.unwrap().view();
    let all = (std::ops::Bound::Unbounded, std::ops::Bound::Unbounded);
    let mut pointers = Vec::new();
    for tree in 0..KEYSPACES {
        let mut cursor = view.range(tree, all.0, all.1, lsm::Direction::Forward);
        while let Some((key, cell)) = cursor.next().unwrap() {
            if cell[0] == 1 {
                pointers.push((tree, key.to_vec(), cell.to_vec()));
            }
        }
    }
    let (a, b) = (&pointers[0], pointers.iter().find(|b| b.1 != pointers[0].1).unwrap());
    let other_key = lie(a.0, &a.1, &b.2);
    assert!(other_key.to_string().contains("the record there is of keyspace"), "{other_key}");
    let other_keyspace = lie((a.0 + 1) % KEYSPACES, &a.1, &a.2);
    assert!(other_keyspace.to_string().contains("the record there is of"), "{other_keyspace}");
    let mut behind = a.2.clone();
    behind[1] = 77;
    let behind = lie(a.0, &a.1, &behind);
    assert!(behind.to_string().contains("the value log ends"), "{behind}");
    let no_cell = lie(a.0, &a.1, &[7, 7]);
    assert!(no_cell.to_string().contains("neither a value nor"), "{no_cell}");
    let unnamed = lie(a.0, &a.1, &[0, 7]);
    assert!(unnamed.to_string().contains("the table says"), "{unnamed}");
    let mut cursor = view.range(SEGMENTS, all.0, all.1, lsm::Direction::Forward);
    let (id, row) = cursor.next().unwrap().unwrap();
    let mut row = row.to_vec();
    let at = row.len() - 8;
    row[at.min(8)] ^= 1;
    let dead = lie(SEGMENTS, id, &row);
    assert!(dead.to_string().contains("the table says"), "{dead}");
}

#[test]
fn a_log_of_an_earlier_life_is_told_from_its_epoch() {
    // Given a store, and its log as it was some lives ago,
    let mut world = World::new(11);
    world.work(20);
    world.lsm.flush().unwrap();
    let disk = Arc::clone(&world.disk);
    drop(world);
    let old = disk.snapshot();
    for n in 0..3u8 {
        let lsm = open(&disk).unwrap();
        let mut batch = lsm::Batch::new();
        batch.put(lsm::KeyspaceId(1), b"epoch", &[n]);
        lsm.commit(&batch).unwrap();
        lsm.flush().unwrap();
    }
    assert!(verify(&disk).is_clean());
    // when that log is put beside the trees of now,
    let log = |disk: &SimDisk| disk.files().into_iter().filter(|f| f.starts_with("wal/"));
    for file in log(&disk).collect::<Vec<_>>() {
        disk.remove(&file).unwrap();
    }
    for file in log(&old).collect::<Vec<_>>() {
        let new = disk.open(&file, platform::Open::CreateNew).unwrap();
        new.write_at(&old.file_bytes(&file).unwrap(), 0).unwrap();
    }
    // then verify says so, as an opening would.
    let report = verify(&disk).to_string();
    assert!(report.contains("they do not belong together"), "{report}");
}

#[test]
fn the_living_one_is_held_by_a_snapshot_that_can_expire() {
    // Given a store that is verified, whose readers may hold nothing back,
    let mut world = World::with(3, Options { max_pinned_bytes: 0, ..options() });
    world.work(60);
    let mut verify = world.lsm.verify().unwrap();
    let stats = world.lsm.stats().unwrap();
    assert_eq!((stats.snapshots, stats.oldest_snapshot), (1, Some(world.lsn())));
    // when what it looks at is written anew,
    world.work(40);
    world.lsm.flush().unwrap();
    // then it ends by name, and holds nothing back.
    let stats = world.lsm.stats().unwrap();
    assert_eq!((stats.pinned_disk_bytes, stats.pinned_memory_bytes), (0, 0));
    let used = || -> usize {
        while world.lsm.step().unwrap() != lsm::Step::Idle {}
        let disk = &world.disk;
        disk.files().iter().filter_map(|file| disk.file_bytes(file)).map(|b| b.len()).sum()
    };
    used();
    let held = used();
    let error = verify.step().unwrap_err();
    assert!(matches!(error, Error::SnapshotExpired { .. }), "{error}");
    drop(verify);
    assert_eq!(used(), held);
    assert_eq!(world.lsm.stats().unwrap().snapshots, 0);
}

#[test]
fn every_damaged_frame_is_counted_however_many() {
    // Given a log of 4,200 frames, every other one with a rotten bit,
    let disk = SimDisk::new(1);
    let options =
        Options { sync: SyncMode::Sync, wal_segment_bytes: 32 << 10, ..Options::default() };
    let clock = std::sync::Arc::new(platform::sim::SimClock::new(1_000));
    let lsm = lsm::Lsm::open(as_disk(&disk), clock, options).unwrap();
    let key = |n: u64| format!("frame{n:06}");
    for n in 0..4200 {
        let mut batch = lsm::Batch::new();
        batch.put(lsm::KeyspaceId(1), key(n).as_bytes(), b"value");
        lsm.commit(&batch).unwrap();
    }
    lsm.close().unwrap();
    let mut rotten = 0;
    for file in disk.files().iter().filter(|file| file.starts_with("wal/")) {
        let bytes = disk.file_bytes(file).unwrap();
        let mut at = 0;
        while let Some(found) = bytes[at..].windows(5).position(|w| w == b"frame") {
            at += found + 5;
            if bytes[at + 5].is_multiple_of(2) {
                disk.corrupt(file, at as u64, 1).unwrap();
                rotten += 1;
            }
        }
    }
    assert_eq!(rotten, 2100);
    // then each is counted, a thousand are named.
    let report = verify(&disk);
    assert_eq!((report.count(), report.faults.len()), (2100, 1000), "{report}");
}
