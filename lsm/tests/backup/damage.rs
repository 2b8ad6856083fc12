//! Backups with a flipped byte: refused, or the same store.

use lsm::{BackupError, BackupOptions, Until};
use platform::sim::SimDisk;

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
                Ok(_) => assert!(file.ends_with("1.frames"), "{file} {offset}"),
            }
            // and it is not restored.
            if tried % 97 == 0 || file.ends_with("manifest") {
                let mut what = from(&backups, Until::Latest);
                what.number = Some(2);
                let target = SimDisk::new(1);
                match restore_to(&what, &target) {
                    Err(_) => assert!(target.files().iter().all(|f| f == "LOCK")),
                    Ok(_) => assert!(file.ends_with("1.frames"), "{file} {offset}"),
                }
            }
            tried += 1;
            backups.corrupt(&file, offset, 1 << (offset % 8)).unwrap();
        }
    }
    assert!(tried > 3000, "{tried}");
    assert_restores(&from(&backups, Until::Latest), &world.states);
}

#[test]
fn a_part_that_is_missing_or_short_is_named_and_the_next_backup_is_full() {
    let mut world = World::new(7);
    let backups = SimDisk::new(9);
    world.work(30);
    let run = |world: &World, disk: &std::sync::Arc<SimDisk>| {
        let backup = world.lsm.backup(&as_disk(disk), DIR, BackupOptions::default()).unwrap();
        backup.run(&mut |_| {}).unwrap()
    };
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
        assert!(lsm::backups(&*backups, DIR).unwrap().is_empty());
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
