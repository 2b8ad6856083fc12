//! Salvage: only true values, and every missing one named; directory faults.

#![allow(clippy::unwrap_used)]

#[path = "backup/kit.rs"]
#[allow(dead_code)]
mod kit;

use std::sync::Arc;

use kit::*;
use lsm::{BackupError, Error, Lost, Options, Salvaged};
use platform::Disk;
use platform::sim::{SimClock, SimDisk};

fn salvage(from: &Arc<SimDisk>, to: &Arc<SimDisk>) -> Result<Salvaged, BackupError> {
    let clock = Arc::new(SimClock::new(9));
    lsm::salvage(&as_disk(from), &as_disk(to), clock, &options(), &mut |_| {})
}

fn is_lost(report: &Salvaged, keyspace: u32, key: &[u8], in_new: &Model) -> bool {
    report.lost.iter().any(|lost| match lost {
        Lost::Value { keyspace: of, key: lost } => *of == keyspace && lost == key,
        Lost::Range { keyspace: of, low, high } => {
            let known = in_new.keys().any(|(there, _)| *there == keyspace);
            of.is_none_or(|of| of == keyspace)
                && (of.is_some() || !known || low.is_empty())
                && key >= low
                && high.as_ref().is_none_or(|high| key < high)
        }
    })
}

/// What salvage made of a damaged store holds nothing but the truth as of one
/// commit, and its report the rest.
fn assert_true(damaged: &Arc<SimDisk>, states: &[Model], hint: &str) -> Salvaged {
    let before = damaged.digest();
    let target = SimDisk::new(4);
    let report = salvage(damaged, &target).unwrap();
    assert_eq!(damaged.digest(), before, "{hint}: the damaged store was changed");
    let lsm = open(&target).unwrap();
    assert_eq!(lsm.store_id(), report.store);
    let found = contents(&lsm);
    assert_new_versions(&lsm, &found, states.len());
    let truth = report.as_of.map(|lsn| &states[lsn as usize]).cloned().unwrap_or_default();
    for ((keyspace, key), value) in &found {
        let right = truth.get(&(*keyspace, key.clone()));
        assert!(
            right == Some(value),
            "{hint}: {keyspace} {} is a lie\n{report}",
            key.escape_ascii()
        );
    }
    for (keyspace, key) in truth.keys() {
        let there = found.contains_key(&(*keyspace, key.clone()));
        let named = is_lost(&report, *keyspace, key, &found);
        assert!(there || named, "{hint}: {keyspace} {} is gone\n{report}", key.escape_ascii());
    }
    drop(lsm);
    assert!(lsm::verify(&as_disk(&target), &mut |_, _| {}).unwrap().is_clean());
    report
}

/// What was saved has versions that nothing of the damaged store ever had.
fn assert_new_versions(lsm: &lsm::Lsm, found: &Model, commits: usize) {
    let snapshot = lsm.snapshot().unwrap();
    for (keyspace, key) in found.keys().filter(|(keyspace, _)| *keyspace == VERSIONED) {
        let found = snapshot.get_versioned(lsm::KeyspaceId(*keyspace), key).unwrap();
        let (_, version) = found.unwrap();
        assert!(version as usize > commits && version <= lsm.last_lsn(), "{version}");
    }
}

/// With runs beside nearly every tree.
fn with_runs() -> Options {
    Options { run_leaves: 1, run_percent: 100, ..options() }
}

fn stores() -> Vec<World> {
    (1..=5)
        .map(|seed| {
            let mut world = World::with(seed, if seed > 3 { with_runs() } else { options() });
            world.work(if seed > 3 { 120 } else { 40 });
            if seed > 3 {
                while world.lsm.stats().unwrap().runs == 0 {
                    world.commit();
                    world.lsm.flush().unwrap();
                }
            }
            if seed == 2 {
                world.lsm.flush().unwrap();
            }
            for _ in 0..3 {
                world.commit();
            }
            world.lsm.sync().unwrap();
            world
        })
        .collect()
}

#[test]
fn a_sound_store_is_saved_whole() {
    for world in stores() {
        let disk = world.disk.snapshot();
        let report = assert_true(&disk, &world.states, "sound");
        assert!(report.is_whole() && report.faults.is_empty(), "{report}");
        assert_eq!(report.as_of, Some(world.lsn()));
    }
}

#[test]
fn random_damage_leaves_only_true_values_and_names_the_rest() {
    let (mut whole, mut partly, mut scanned, mut doubtful) = (0, 0, 0, 0);
    for world in stores() {
        let files: Vec<_> = world.disk.files().into_iter().filter(|file| file != "LOCK").collect();
        let mut rng = Rng(77);
        for round in 0..60 {
            // Given a store with some bytes rotten, blocks overwritten, files gone,
            let disk = world.disk.snapshot();
            let mut hint = format!("round {round}:");
            for _ in 0..=rng.below(6) {
                let file = &files[rng.below(files.len() as u64) as usize];
                let Some(bytes) = disk.file_bytes(file) else { continue };
                let at = rng.below(bytes.len().max(1) as u64);
                match rng.below(12) {
                    0 => disk.remove(file).unwrap(),
                    1 => {
                        let file = disk.open(file, platform::Open::Write).unwrap();
                        file.set_len(at).unwrap();
                    }
                    2 => {
                        let file = disk.open(file, platform::Open::Write).unwrap();
                        file.write_at(&[0xa5; 5000][..rng.below(5000) as usize], at).unwrap();
                    }
                    _ if bytes.is_empty() => {}
                    _ => disk.corrupt(file, at, 1 << rng.below(8)).unwrap(),
                }
                hint += &format!(" {file}@{at}");
            }
            // then what is saved is true, what is not is named.
            let report = assert_true(&disk, &world.states, &hint);
            whole += usize::from(report.is_whole());
            partly += usize::from(!report.is_whole());
            scanned += report.from_scan;
            doubtful += report.doubtful.len();
        }
    }
    assert!(whole > 5 && partly > 50, "{whole} {partly}");
    assert!(scanned > 0 && doubtful > 0, "{scanned} {doubtful}");
}

#[test]
fn every_single_lost_page_costs_only_its_keys_and_scanning_brings_some_back() {
    let mut back = 0;
    for world in stores() {
        let pages = world.disk.file_bytes("trees.pages").unwrap().len() as u64 / 4096;
        for page in 0..pages {
            let disk = world.disk.snapshot();
            disk.corrupt("trees.pages", page * 4096 + 100, 1).unwrap();
            let report = assert_true(&disk, &world.states, &format!("page {page}"));
            back += report.from_scan;
            assert_eq!(report.as_of, Some(world.lsn()), "page {page}: the log is whole");
        }
    }
    assert!(back > 0);
}

#[test]
fn a_store_with_its_trees_lost_is_saved_from_a_log_that_was_never_cut() {
    // Given a store that never trimmed its log, and lost its page file,
    let mut world = World::new(8);
    for _ in 0..12 {
        world.commit();
    }
    world.lsm.sync().unwrap();
    let disk = world.disk.snapshot();
    disk.remove("trees.pages").unwrap();
    // then the log alone gives all of it back.
    let report = assert_true(&disk, &world.states, "no trees");
    assert_eq!((report.as_of, report.commits), (Some(12), 12), "{report}");
    assert!(report.lost.is_empty(), "{report}");
}

#[test]
fn behind_a_lost_commit_nothing_is_replayed() {
    let mut world = World::new(8);
    for _ in 0..12 {
        world.commit();
    }
    world.lsm.sync().unwrap();
    let logs: Vec<_> = world.disk.files().into_iter().filter(|f| f.ends_with(".wal")).collect();
    let mut behind = 0;
    for log in logs {
        let len = world.disk.file_bytes(&log).unwrap().len() as u64;
        for at in (0..len).step_by(61) {
            let disk = world.disk.snapshot();
            disk.corrupt(&log, at, 1).unwrap();
            let report = assert_true(&disk, &world.states, &format!("{log}@{at}"));
            let as_of = report.as_of.unwrap();
            assert!(as_of + report.commits_left <= 12, "{report}");
            if report.commits_left > 0 {
                assert!(as_of < 11 && !report.is_whole(), "{report}");
                behind += 1;
            }
        }
    }
    assert!(behind > 5, "{behind}");
}

#[test]
fn salvage_cut_off_anywhere_is_no_store_or_the_whole_one() {
    let world = stores().remove(0);
    let calm = SimDisk::new(1);
    let report = salvage(&world.disk.snapshot(), &calm).unwrap();
    let calls = calm.calls();
    let after = open(&calm.snapshot().restart_worst()).unwrap();
    assert!(contents(&after) == world.states[report.as_of.unwrap() as usize]);
    for n in (1..=calls).step_by(3) {
        let target = SimDisk::new(n);
        target.crash_after(n);
        salvage(&world.disk.snapshot(), &target).unwrap_err();
        let target = target.restart();
        let begun = target.files().iter().any(|f| f != "LOCK");
        match open(&target) {
            Ok(lsm) if begun => {
                let truth = &world.states[report.as_of.unwrap() as usize];
                assert!(contents(&lsm) == *truth, "call {n} of {calls}");
            }
            Ok(lsm) => assert_eq!(lsm.last_lsn(), 0),
            Err(error) => assert!(matches!(error, Error::Unfinished { .. }), "{n}: {error}"),
        }
    }
    // And it wants a directory of its own, and a store nobody has open.
    let error = salvage(&world.disk.snapshot(), &world.disk).unwrap_err();
    assert!(matches!(error, BackupError::NotEmpty { .. }), "{error}");
    let error = salvage(&world.disk, &SimDisk::new(1)).unwrap_err();
    assert!(matches!(error, BackupError::Store(Error::InUse { .. })), "{error}");
}

#[test]
fn unreadable_sectors_cost_what_lies_in_them_and_end_nothing() {
    let (mut whole, mut partly) = (0, 0);
    for world in stores() {
        let files: Vec<_> = world.disk.files().into_iter().filter(|file| file != "LOCK").collect();
        for file in files {
            let len = world.disk.file_bytes(&file).unwrap().len() as u64;
            for (n, at) in (0..len).step_by(4096).enumerate() {
                // Given a store with a sector, a page or some that cannot be read: of a
                // meta page, a tree, a segment, the log,
                let bytes = [1, 4096, 9000][n % 3];
                let disk = world.disk.snapshot();
                disk.spoil(&file, at + (n as u64 * 700) % (len - at).min(4096), bytes).unwrap();
                // then what is saved is true, what is not is named; one meta page costs
                // nothing.
                let report = assert_true(&disk, &world.states, &format!("{file}@{at} {bytes}"));
                let one_meta = file == "trees.pages" && at < 4096 && bytes == 1;
                if one_meta {
                    assert!(report.is_whole() && report.as_of == Some(world.lsn()), "{report}");
                }
                if file == "trees.pages" {
                    assert_eq!(report.as_of, Some(world.lsn()), "{file}@{at}: the log is whole");
                }
                whole += usize::from(report.is_whole());
                partly += usize::from(!report.is_whole());
                // A closed store is verified likewise: it goes on to the end, and is
                // honest about what it could not look at.
                let found = lsm::verify(&as_disk(&disk), &mut |_, _| {}).unwrap();
                let text = found.to_string();
                assert!(!text.contains("nothing whole follows\n"), "{text}");
            }
        }
    }
    assert!(whole > 5 && partly > 5, "{whole} {partly}");
}

#[test]
fn a_segment_is_salvaged_on_both_sides_of_an_unreadable_stretch() {
    // Given a store whose trees are lost in part, and a bad sector in its value log,
    let mut world = World::new(3);
    world.work(60);
    world.lsm.flush().unwrap();
    let segment = world.disk.files().into_iter().find(|file| file.ends_with(".vlog")).unwrap();
    let len = world.disk.file_bytes(&segment).unwrap().len() as u64;
    let disk = world.disk.snapshot();
    disk.spoil(&segment, len / 2, 1).unwrap();
    let pages = disk.file_bytes("trees.pages").unwrap().len() as u64 / 4096;
    for page in (2..pages).step_by(2) {
        disk.spoil("trees.pages", page * 4096, 4096).unwrap();
    }
    // then both are named, and the rest is true.
    let report = assert_true(&disk, &world.states, "both");
    let named = |what: &str| report.faults.iter().any(|fault| fault.file.contains(what));
    assert!(named("trees.pages") && named(&segment), "{report}");
}

#[test]
fn the_store_of_another_version_is_refused_and_not_called_lost() {
    let mut world = World::new(8);
    for _ in 0..12 {
        world.commit();
    }
    world.lsm.sync().unwrap();
    let refused = |disk: &Arc<SimDisk>, todo: &str| {
        let (before, target) = (disk.digest(), SimDisk::new(4));
        let error = salvage(disk, &target).unwrap_err().to_string();
        assert!(error.contains(todo), "{error}");
        assert!(target.files().is_empty() && disk.digest() == before);
        let error = open(disk).map(drop).unwrap_err();
        assert!(error.to_string().contains(todo) && !error.is_damage(), "{error}");
        // Nothing is changed but for what every opening writes anew, byte for byte.
        assert_eq!(disk.digest(), before);
    };
    for (step, todo) in [(-1, "planctl export"), (1, "run the release that wrote it")] {
        // Given the store's part of the meta page of another format,
        let disk = world.disk.snapshot();
        let file = btree::PageFile::open(disk.clone(), "trees.pages", btree::Options::default());
        let file = file.unwrap();
        let mut user = *file.view().user();
        user[4] = user[4].checked_add_signed(step).unwrap();
        let mut write = file.begin();
        write.set_user(user);
        write.commit().unwrap();
        drop(file);
        refused(&disk, todo);
        // a batch in the log,
        let disk = world.disk.snapshot();
        let log =
            wal::Wal::open(disk.clone(), "wal", wal::Options::default(), 1, 0, &mut |_| Ok(()));
        let log = log.unwrap();
        // Of the two that are read the one before, and the one behind.
        let version = if step < 0 { 2 } else { 5 };
        log.append(1, &[version, 0, 0, 0, 0, 0, 0, 0]).unwrap();
        log.sync().unwrap();
        drop(log);
        refused(&disk, todo);
        // or a segment of the log.
        let disk = world.disk.snapshot();
        let path = disk.files().into_iter().find(|file| file.ends_with(".wal")).unwrap();
        let mut header = disk.file_bytes(&path).unwrap()[..64].to_vec();
        header[8] = header[8].checked_add_signed(step).unwrap();
        let sum = crc_fast::checksum(crc_fast::CrcAlgorithm::Crc64Nvme, &header[..56]);
        header[56..].copy_from_slice(&sum.to_le_bytes());
        disk.open(&path, platform::Open::Write).unwrap().write_at(&header, 0).unwrap();
        refused(&disk, todo);
    }
}
