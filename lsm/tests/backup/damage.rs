//! Backups with a flipped byte: refused, or the same store; and what becomes of the
//! others beside one whose manifest cannot be read.

use std::sync::Arc;

use lsm::{BackupError, BackupInfo, BackupOptions, Until};
use platform::sim::{Fault, SimDisk, Times};

use crate::kit::*;

#[test]
fn every_flipped_byte_of_a_small_backup_is_refused_by_name() {
    // Given a full backup and an incremental one of a small store,
    let mut world = World::new(7);
    let backups = SimDisk::new(9);
    for _ in 0..2 {
        world.work(3);
        world.lsm.flush().unwrap();
        world.commit();
        let backup = world.lsm.backup(&as_disk(&backups), DIR, BackupOptions::default()).unwrap();
        backup.run(&mut |_| {}).unwrap();
    }
    // The second does not need what only the first has.
    let needless = |file: &str| file.ends_with("1.frames") || file.ends_with("1.manifest");
    let mut tried = 0;
    for file in backups.files() {
        let len = backups.file_bytes(&file).unwrap().len() as u64;
        // Every byte of what is small, every 7th of the pages.
        let stride = if len > 4096 { 7 } else { 1 };
        for offset in (0..len).step_by(stride) {
            // when any byte of it rots,
            backups.corrupt(&file, offset, 1 << (offset % 8)).unwrap();
            // then checking it says so, naming the file,
            let check = lsm::check_backup(&*backups, DIR, Some(2), &mut |_, _| {});
            match check {
                Err(error) => {
                    assert!(error.to_string().contains(&file), "{file} {offset}: {error}");
                    assert!(
                        matches!(error, BackupError::Damaged { .. } | BackupError::Version { .. }),
                        "{error}"
                    );
                }
                // unless the second backup does not need it.
                Ok(_) => assert!(needless(&file), "{file} {offset}"),
            }
            // and it is not restored.
            if tried % 97 == 0 || file.ends_with("manifest") {
                let mut what = from(&backups, Until::Latest);
                what.number = Some(2);
                let target = SimDisk::new(1);
                match restore_to(&what, &target) {
                    Err(_) => assert!(target.files().iter().all(|f| f == "LOCK")),
                    Ok(done) => {
                        assert!(needless(&file), "{file} {offset}");
                        assert_eq!((done.backup, done.unreadable), (2, vec![]));
                    }
                }
            }
            tried += 1;
            backups.corrupt(&file, offset, 1 << (offset % 8)).unwrap();
        }
    }
    assert!(tried > 3000, "{tried}");
    assert_restores(&from(&backups, Until::Latest), &world.states);
}

/// Three backups of a store at work.
fn three() -> (World, Arc<SimDisk>) {
    let mut world = World::new(7);
    let backups = SimDisk::new(9);
    for _ in 0..3 {
        world.work(20);
        run(&world, &backups);
    }
    (world, backups)
}

fn run(world: &World, disk: &Arc<SimDisk>) -> BackupInfo {
    let backup = world.lsm.backup(&as_disk(disk), DIR, BackupOptions::default()).unwrap();
    backup.run(&mut |_| {}).unwrap()
}

fn manifest(number: u64) -> String {
    format!("{DIR}/{number:010}.manifest")
}

#[test]
fn a_manifest_that_cannot_be_read_hides_only_its_own_backup() {
    let (world, backups) = three();
    for spoilt in 1..=3 {
        for rots in [true, false] {
            // Given one manifest of three that has rotted, or that the disk cannot give,
            let disk = backups.snapshot();
            match rots {
                true => disk.corrupt(&manifest(spoilt), 60, 4).unwrap(),
                false => disk.fail(Fault::Read, &manifest(spoilt), Times::Every),
            }
            // then it is named beside the others,
            let found = lsm::backups(&*disk, DIR).unwrap();
            let numbers: Vec<_> = found.list.iter().map(|info| info.number).collect();
            let sound: Vec<_> = (1..=3).filter(|number| *number != spoilt).collect();
            assert_eq!(numbers, sound);
            let [unreadable] = &found.unreadable[..] else { panic!("{found:?}") };
            assert_eq!(unreadable.number, spoilt);
            assert!(unreadable.why.contains(&manifest(spoilt)), "{unreadable}");
            // (with all of the archive kept for it)
            assert_eq!(found.keep_from(), Some(1));
            // the newest that can be read is restored, and says so,
            let mut what = from(&disk, Until::Latest);
            let done = assert_restores(&what, &world.states);
            assert_eq!(done.backup, *sound.last().unwrap());
            assert_eq!(done.unreadable, found.unreadable);
            assert!(done.to_string().contains(&manifest(spoilt)), "{done}");
            let newest = lsm::check_backup(&*disk, DIR, None, &mut |_, _| {}).unwrap();
            assert_eq!(newest.number, done.backup);
            // one asked for is that one,
            for number in &sound {
                what.number = Some(*number);
                let done = assert_restores(&what, &world.states);
                assert_eq!((done.backup, done.unreadable), (*number, vec![]));
                lsm::check_backup(&*disk, DIR, Some(*number), &mut |_, _| {}).unwrap();
            }
            // or none.
            what.number = Some(spoilt);
            let target = SimDisk::new(1);
            let error = restore_to(&what, &target).unwrap_err();
            assert!(error.to_string().contains(&manifest(spoilt)), "{error}");
            assert!(target.files().iter().all(|f| f == "LOCK"), "{:?}", target.files());
            let error = restore_to(&from(&disk, Until::Lsn(0)), &target).unwrap_err();
            assert!(matches!(error, BackupError::Unreachable { .. }), "{error}");
            assert!(error.to_string().contains(&manifest(spoilt)), "{error}");
        }
    }
    let found = lsm::backups(&*backups, DIR).unwrap();
    assert_eq!(found.keep_from(), Some(found.list[0].first_lsn));
    assert!(found.list[0].first_lsn > 1);
    // Of none there is nothing to restore, and the first is named.
    for number in 1..=3 {
        backups.corrupt(&manifest(number), 60, 4).unwrap();
    }
    let error = restore_to(&from(&backups, Until::Latest), &SimDisk::new(1)).unwrap_err();
    assert!(matches!(error, BackupError::NoneReadable { .. }), "{error}");
    assert!(error.to_string().contains(&manifest(1)), "{error}");
    assert_eq!(lsm::backups(&*backups, DIR).unwrap().unreadable.len(), 3);
}

#[test]
fn a_want_of_descriptors_makes_no_backup_unreadable() {
    let (world, backups) = three();
    backups.set_max_handles(Some(0));
    let error = lsm::backups(&*backups, DIR).unwrap_err();
    assert!(matches!(error, BackupError::Io { .. }), "{error}");
    let error = restore_to(&from(&backups, Until::Latest), &SimDisk::new(1)).unwrap_err();
    assert!(matches!(error, BackupError::Io { .. }), "{error}");
    backups.set_max_handles(None);
    assert_eq!(assert_restores(&from(&backups, Until::Latest), &world.states).backup, 3);
}

#[test]
fn beside_a_manifest_that_cannot_be_read_nothing_is_removed_and_the_next_backup_is_full() {
    for spoilt in 1..=3 {
        // Given such a manifest,
        let (mut world, backups) = three();
        backups.corrupt(&manifest(spoilt), 60, 4).unwrap();
        let before = backups.files();
        let all_there = |disk: &Arc<SimDisk>| {
            let now = disk.files();
            before.iter().all(|file| now.contains(file))
        };
        // when old backups are to be removed, then none is, and it is said why and
        // what to do.
        let error = lsm::prune(&*backups, DIR, 1).unwrap_err();
        assert!(matches!(error, BackupError::NothingRemoved { .. }), "{error}");
        assert!(error.to_string().contains(&manifest(spoilt)), "{error}");
        assert!(all_there(&backups));
        // Backups go on, one that was given up among them: the first takes everything,
        drop(world.lsm.backup(&as_disk(&backups), DIR, BackupOptions::default()).unwrap());
        let full = run(&world, &backups);
        assert_eq!((full.number, full.parent), (5, None));
        assert_eq!(full.files, backups.files().iter().filter(|f| f.contains("05.")).count() - 1);
        assert!(all_there(&backups));
        // the next ones only what is new.
        world.work(10);
        let next = run(&world, &backups);
        assert_eq!((next.number, next.parent), (6, Some(5)));
        assert!(all_there(&backups));
        assert_eq!(assert_restores(&from(&backups, Until::Latest), &world.states).lsn, next.lsn);
        // With the manifest given up, all that nothing names goes.
        platform::Disk::remove(&*backups, &manifest(spoilt)).unwrap();
        let kept: Vec<_> = (1..=3).filter(|number| *number != spoilt).collect();
        assert_eq!(lsm::prune(&*backups, DIR, 2).unwrap().removed, kept);
        let left = backups.files();
        assert!(left.iter().all(|f| f.contains("05.") || f.contains("06.") || f.ends_with("LOCK")));
        assert_restores(&from(&backups, Until::Latest), &world.states);
    }
}

#[test]
fn a_part_that_is_missing_or_short_is_named_and_the_next_backup_is_full() {
    let mut world = World::new(7);
    let backups = SimDisk::new(9);
    world.work(30);
    run(&world, &backups);
    for file in backups.files() {
        let disk = backups.snapshot();
        if file.ends_with("LOCK") || file.ends_with("manifest") {
            continue;
        }
        platform::Disk::remove(&*disk, &file).unwrap();
        let error = restore_to(&from(&disk, Until::Latest), &SimDisk::new(1)).unwrap_err();
        assert!(error.to_string().contains(&file), "{error}");
        let next = run(&world, &disk);
        assert_eq!(next.parent, None);
        assert_restores(&from(&disk, Until::Latest), &world.states);
    }
}

#[test]
fn a_rotten_page_or_record_of_the_store_stops_a_backup_by_name() {
    let mut world = World::new(7);
    world.work(30);
    world.lsm.flush().unwrap();
    let pages = world.disk.file_bytes("trees.pages").unwrap().len() as u64 / 4096;
    let files = world.disk.files();
    let values = files.iter().rfind(|file| file.starts_with("vlog/")).unwrap().as_str();
    for (file, from, count) in [(values, 500, 1), ("trees.pages", 8242, pages - 2)] {
        // Given rot in a record, or in all pages,
        let flip = || {
            for page in 0..count {
                world.disk.corrupt(file, from + page * 4096, 1).unwrap();
            }
        };
        flip();
        // when a backup comes to it, then it ends there, and is none.
        let backups = SimDisk::new(9);
        let backup = world.lsm.backup(&as_disk(&backups), DIR, BackupOptions::default());
        let error = backup.and_then(|backup| backup.run(&mut |_| {})).unwrap_err();
        assert!(error.to_string().contains(file), "{error}");
        assert_eq!(lsm::backups(&*backups, DIR).unwrap(), lsm::Backups::default());
        flip();
    }
}

#[test]
fn a_lost_segment_of_the_store_stops_a_backup_by_name() {
    let mut world = World::new(7);
    world.work(30);
    world.lsm.flush().unwrap();
    let lost: Vec<_> = world.disk.files().into_iter().filter(|f| f.starts_with("vlog")).collect();
    platform::Disk::remove(&*world.disk, &lost[0]).unwrap();
    let backups = SimDisk::new(9);
    let backup = world.lsm.backup(&as_disk(&backups), DIR, BackupOptions::default());
    let error = backup.and_then(|backup| backup.run(&mut |_| {})).unwrap_err();
    assert!(error.to_string().contains(&lost[0]), "{error}");
}
