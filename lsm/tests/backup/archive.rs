//! Restores that go on with the archive of the log, and histories that fork.

use std::sync::Arc;

use lsm::{BackupError, BackupOptions, LogArchive, Lsm, Options, Until};
use platform::Disk;
use platform::sim::SimDisk;

use crate::kit::*;

const ARCHIVE: &str = "log";

fn archiving(disk: &Arc<SimDisk>) -> Options {
    let archive = LogArchive::new(as_disk(disk), ARCHIVE);
    Options { archive: Some(archive), ..options() }
}

fn with_archive(seed: u64, archive: &Arc<SimDisk>) -> World {
    let mut world = World::new(seed);
    drop(world.lsm);
    world.disk = SimDisk::new(seed);
    let (disk, clock) = (as_disk(&world.disk), Arc::clone(&world.clock));
    world.lsm = Lsm::open(disk, clock as _, archiving(archive)).unwrap();
    world
}

fn backup(world: &World, disk: &Arc<SimDisk>) -> lsm::BackupInfo {
    let backup = world.lsm.backup(&as_disk(disk), DIR, BackupOptions::default()).unwrap();
    backup.run(&mut |_| {}).unwrap()
}

#[test]
fn a_backup_and_the_archive_restore_to_any_commit_and_second_since() {
    // Given a backup, and a log archived since,
    let (backups, archive) = (SimDisk::new(9), SimDisk::new(8));
    let mut world = with_archive(1, &archive);
    world.work(25);
    let base = backup(&world, &backups);
    world.work(40);
    world.lsm.archive_now().unwrap();
    let end = world.lsn();
    // when each commit since is asked for, by number or by second,
    for lsn in base.lsn..=end {
        let mut what = from(&backups, Until::Lsn(lsn));
        what.archive = Some((as_disk(&archive), ARCHIVE.into()));
        let done = assert_restores(&what, &world.states);
        // then that is what there is,
        assert_eq!((done.lsn, done.from_archive), (lsn, lsn - base.lsn));
        what.until = Until::Wall((lsn + 1) * 1_000_000 + 999_999);
        let done = assert_restores(&what, &world.states);
        assert_eq!(done.lsn, lsn);
        let next = (lsn < end).then_some((lsn + 1, (lsn + 2) * 1_000_000));
        assert_eq!(done.left_out, next, "{done}");
        if done.from_archive > 0 {
            assert_eq!(done.wall_micros, Some((lsn + 1) * 1_000_000));
        }
    }
    // and the latest is the last of the archive; behind it there is nothing.
    let mut what = from(&backups, Until::Latest);
    what.archive = Some((as_disk(&archive), ARCHIVE.into()));
    assert_eq!(assert_restores(&what, &world.states).lsn, end);
    what.until = Until::Lsn(end + 1);
    let error = restore_to(&what, &SimDisk::new(1)).unwrap_err();
    assert!(matches!(error, BackupError::Unreachable { .. }), "{error}");
    // Without the archive, the backup ends at its own last commit.
    assert_eq!(assert_restores(&from(&backups, Until::Latest), &world.states).lsn, base.lsn);
}

#[test]
fn an_archive_with_a_hole_a_rotten_byte_or_of_another_store_is_refused_by_name() {
    let (backups, archive) = (SimDisk::new(9), SimDisk::new(8));
    let mut world = with_archive(1, &archive);
    world.work(25);
    backup(&world, &backups);
    world.work(40);
    world.lsm.archive_now().unwrap();
    let restore = |archive: &Arc<SimDisk>| {
        let mut what = from(&backups, Until::Latest);
        what.archive = Some((as_disk(archive), ARCHIVE.into()));
        let target = SimDisk::new(1);
        let outcome = restore_to(&what, &target);
        if outcome.is_err() {
            assert!(target.files().iter().all(|f| f == "LOCK"), "{:?}", target.files());
        }
        outcome
    };
    let files: Vec<_> = archive.files().into_iter().filter(|f| !f.ends_with("LOCK")).collect();
    assert!(files.len() > 3, "{files:?}");
    let needed = &files[files.len() - 2];
    let hole = archive.snapshot();
    hole.remove(needed).unwrap();
    assert!(restore(&hole).unwrap_err().to_string().contains("hole"));
    let rotten = archive.snapshot();
    rotten.corrupt(needed, 100, 1).unwrap();
    assert!(restore(&rotten).unwrap_err().to_string().contains(needed));
    // Of another store: its commits have the same numbers.
    let other = SimDisk::new(7);
    let mut stranger = with_archive(2, &other);
    stranger.clock.set_wall_micros(5);
    drop(stranger.lsm);
    stranger.disk = SimDisk::new(2);
    let (disk, clock) = (as_disk(&stranger.disk), Arc::clone(&stranger.clock));
    other.files().iter().for_each(|f| other.remove(f).unwrap());
    stranger.lsm = Lsm::open(disk, clock as _, archiving(&other)).unwrap();
    stranger.work(70);
    stranger.lsm.archive_now().unwrap();
    let error = restore(&other).unwrap_err();
    assert!(error.to_string().contains("another store"), "{error}");
}

#[test]
fn backups_of_a_data_directory_that_was_put_back_are_those_of_what_it_is_now() {
    for seed in 1..=5 {
        // Given a store, a copy of its directory, and a backup of what came later,
        let mut world = World::new(seed);
        let backups = SimDisk::new(9);
        world.work(30);
        world.lsm.flush().unwrap();
        let (past, states) = (world.disk.snapshot(), world.states.clone());
        world.work(25);
        world.lsm.flush().unwrap();
        backup(&world, &backups);
        // when the copy is put back, goes another way, and is backed up beside it,
        let mut fork = World::new(seed);
        drop(fork.lsm);
        fork.lsm = Lsm::open(as_disk(&past), Arc::clone(&fork.clock) as _, options()).unwrap();
        assert_eq!(fork.lsm.store_id(), world.lsm.store_id());
        (fork.disk, fork.states, fork.rng) = (past, states, Rng(seed + 100));
        fork.states.truncate(fork.lsm.last_lsn() as usize + 1);
        fork.work(25);
        fork.lsm.flush().unwrap();
        let second = backup(&fork, &backups);
        assert_eq!(second.parent, Some(1));
        // then each restores to its own history.
        let mut what = from(&backups, Until::Latest);
        assert_restores(&what, &fork.states);
        what.number = Some(1);
        assert_restores(&what, &world.states);
    }
}

#[test]
fn a_data_disk_that_goes_during_a_backup_loses_nothing_and_the_backup_is_whole_or_none() {
    let mut world = World::new(3);
    world.work(30);
    let clean = world.disk.snapshot();
    for n in 0..6 {
        // Given a store with commits not yet synced, whose disk goes at the n-th call,
        let disk = clean.snapshot();
        let lsm = open(&disk).unwrap();
        let mut states = world.states.clone();
        let mut model = states.last().unwrap().clone();
        let lsn = world.lsn() + 1;
        lsm.commit(&random_batch(&mut world.rng, &mut model, lsn)).unwrap();
        states.push(model);
        let backups = SimDisk::new(n);
        disk.crash_after(n);
        let outcome = lsm
            .backup(&as_disk(&backups), DIR, BackupOptions::default())
            .and_then(|backup| backup.run(&mut |_| {}));
        drop(lsm);
        // then a backup that was reported done is what it says it is,
        if let Ok(info) = outcome {
            assert!(info.lsn + 1 >= world.lsn());
            assert_restores(&from(&backups, Until::Latest), &states);
        } else {
            assert_eq!(lsm::backups(&*backups, DIR).unwrap(), lsm::Backups::default());
        }
        // and the store opens.
        let found = open(&disk.restart()).unwrap();
        assert!(contents(&found) == states[found.last_lsn() as usize]);
    }
}
