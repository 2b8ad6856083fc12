//! Backups and restores crashed at every call of either disk.

use std::sync::Arc;

use lsm::{BackupError, BackupInfo, BackupOptions, Error, Until};
use platform::sim::SimDisk;

use crate::kit::*;

fn try_backup(world: &World, disk: &Arc<SimDisk>) -> Result<BackupInfo, BackupError> {
    let backup = world.lsm.backup(&as_disk(disk), DIR, BackupOptions::default())?;
    backup.run(&mut |_| {})
}

#[test]
fn a_backup_cut_off_anywhere_is_there_whole_or_not_at_all() {
    // Given a backup, work after it, and the calls another backup makes,
    let mut world = World::new(3);
    let backups = SimDisk::new(9);
    world.work(25);
    let first = try_backup(&world, &backups).unwrap();
    world.work(12);
    let calm = backups.snapshot();
    try_backup(&world, &calm).unwrap();
    let mut whole = 0;
    for n in 1..=calm.calls() {
        // when the backup's disk goes at any of them,
        let disk = backups.snapshot();
        disk.reseed(n);
        disk.crash_after(n);
        let outcome = try_backup(&world, &disk);
        for disk in [disk.restart(), disk.restart_worst()] {
            // then what is listed restores: the first always, the second if it is.
            let found = lsm::backups(&*disk, DIR).unwrap();
            assert_eq!(found.unreadable, []);
            let found = found.list;
            assert_eq!(found[0], first);
            assert!(found.len() == 2 || outcome.is_err(), "call {n}: a finished one is gone");
            whole += usize::from(found.len() == 2);
            assert_restores(&from(&disk, Until::Latest), &world.states);
            // And the next one goes through and sweeps up.
            let next = try_backup(&world, &disk).unwrap();
            assert_eq!(next.number, found.len() as u64 + 1);
            assert_restores(&from(&disk, Until::Latest), &world.states);
            let named = lsm::prune(&*disk, DIR, 9).unwrap();
            assert_eq!(named.bytes, 0, "call {n}: something was left over");
        }
    }
    assert!(whole >= 1, "the last calls come after the switch");
}

#[test]
fn pruning_cut_off_anywhere_harms_nothing_that_is_kept() {
    let mut world = World::new(2);
    let backups = SimDisk::new(9);
    for _ in 0..4 {
        world.work(12);
        try_backup(&world, &backups).unwrap();
    }
    let calm = backups.snapshot();
    lsm::prune(&*calm, DIR, 2).unwrap();
    for n in 1..=calm.calls() {
        let disk = backups.snapshot();
        disk.reseed(n);
        disk.crash_after(n);
        drop(lsm::prune(&*disk, DIR, 2));
        let disk = disk.restart();
        for info in lsm::backups(&*disk, DIR).unwrap().list {
            let mut what = from(&disk, Until::Latest);
            what.number = Some(info.number);
            assert_restores(&what, &world.states);
        }
        lsm::prune(&*disk, DIR, 2).unwrap();
        assert_eq!(lsm::backups(&*disk, DIR).unwrap().list.len(), 2);
    }
}

#[test]
fn a_restore_cut_off_anywhere_is_no_store_or_the_whole_one() {
    let mut world = World::new(1);
    let backups = SimDisk::new(9);
    world.work(25);
    try_backup(&world, &backups).unwrap();
    world.work(9);
    let last = try_backup(&world, &backups).unwrap();
    let calm = SimDisk::new(3);
    restore_to(&from(&backups, Until::Latest), &calm).unwrap();
    // One that has returned survives the cruellest power cut.
    let after = open(&calm.snapshot().restart_worst()).unwrap();
    assert!(contents(&after) == world.states[last.lsn as usize]);
    let (mut none, mut unfinished, mut whole) = (0, 0, 0);
    for n in 1..=calm.calls() {
        // Given a restore whose disk goes at any call,
        let target = SimDisk::new(n);
        target.crash_after(n);
        restore_to(&from(&backups, Until::Latest), &target).unwrap_err();
        for target in [target.restart(), target.restart_worst(), target.kill()] {
            // then there is nothing (and a new store may begin), or an unfinished
            // restore that says so each time, or all of it.
            let begun = target.files().iter().any(|f| f != "LOCK");
            match open(&target) {
                Ok(lsm) if begun => {
                    assert_eq!(lsm.last_lsn(), last.lsn);
                    assert!(contents(&lsm) == world.states[last.lsn as usize]);
                    whole += 1;
                }
                Ok(lsm) => {
                    assert_eq!(lsm.last_lsn(), 0);
                    none += 1;
                }
                Err(error) => {
                    assert!(matches!(error, Error::Unfinished { .. }), "call {n}: {error}");
                    let again = restore_to(&from(&backups, Until::Latest), &target).unwrap_err();
                    assert!(matches!(again, BackupError::NotEmpty { .. }), "{again}");
                    unfinished += 1;
                }
            }
        }
    }
    assert!(none > 0 && unfinished > 30 && whole > 0, "{none} {unfinished} {whole}");
}

#[test]
fn a_backup_disk_that_fails_at_a_restore_leaves_no_store() {
    // Reading does not count as a call: fail reads of each file of the backup.
    let mut world = World::new(1);
    let backups = SimDisk::new(9);
    world.work(25);
    try_backup(&world, &backups).unwrap();
    for file in backups.files() {
        if file.ends_with("LOCK") {
            continue;
        }
        let disk = backups.snapshot();
        disk.fail(platform::sim::Fault::Read, &file, platform::sim::Times::Every);
        let target = SimDisk::new(2);
        let error = restore_to(&from(&disk, Until::Latest), &target).unwrap_err();
        assert!(error.to_string().contains(&file), "{error}");
        assert!(target.files().iter().all(|f| f == "LOCK"), "{:?}", target.files());
    }
}
