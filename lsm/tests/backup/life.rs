//! What backups hold and cost, restores to a commit or a second, pruning.

use std::sync::Arc;

use lsm::{BackupError, BackupInfo, BackupOptions, Progress, Until};
use platform::Disk;
use platform::sim::SimDisk;

use crate::kit::*;

fn backup(world: &World, disk: &Arc<SimDisk>) -> BackupInfo {
    let backup = world.lsm.backup(&as_disk(disk), DIR, BackupOptions::default()).unwrap();
    backup.run(&mut |_| {}).unwrap()
}

#[test]
fn backups_under_random_work_equal_the_model_at_their_commit() {
    for seed in 1..=6 {
        // Given a store at work, and backups taken step by step in between,
        let mut world = World::new(seed);
        let backups = SimDisk::new(9);
        world.work(30);
        let mut taken = Vec::new();
        for round in 0..6 {
            let options = BackupOptions { full: round == 3 };
            let before = world.lsn();
            let disk = as_disk(&backups);
            // (moved out: the backup borrows the store, the work needs it too)
            let World { disk: data, clock, lsm, mut states, mut rng } = world;
            let mut backup = lsm.backup(&disk, DIR, options).unwrap();
            let mut steps = 0;
            let info = loop {
                match backup.step().unwrap() {
                    Progress::Done(info) => break info,
                    Progress::Copying { .. } => {
                        steps += 1;
                        if steps < 12 {
                            let mut model = states[states.len() - 1].clone();
                            let lsn = states.len() as lsm::Lsn;
                            let batch = random_batch(&mut rng, &mut model, lsn);
                            states.push(model);
                            lsm.commit(&batch).unwrap();
                            lsm.step().unwrap();
                        }
                    }
                }
            };
            drop(backup);
            world = World { disk: data, clock, lsm, states, rng };
            assert!(info.lsn >= before, "all that was committed before it began is in it");
            assert_eq!(info.parent.is_none(), round == 0 || round == 3);
            taken.push(info);
            world.work(15);
            if round == 2 {
                world = world.reopen();
            }
        }
        // then each of them is the store as of its commit,
        for info in &taken {
            let mut what = from(&backups, Until::Latest);
            what.number = Some(info.number);
            let done = assert_restores(&what, &world.states);
            assert_eq!((done.lsn, done.from), (info.lsn, world.lsm.store_id()));
            lsm::check_backup(&*backups, DIR, Some(info.number), &mut |_, _| {}).unwrap();
        }
        let found = lsm::backups(&*backups, DIR).unwrap();
        assert_eq!((found.list, found.unreadable), (taken, vec![]));
        // and the store is as sound as before.
        assert!(contents(&world.lsm) == *world.states.last().unwrap());
    }
}

#[test]
fn any_commit_since_the_trees_of_a_backup_can_be_restored_and_none_else() {
    // Given backups with frames behind their trees,
    let mut world = World::new(3);
    let backups = SimDisk::new(9);
    world.work(40);
    world.lsm.flush().unwrap();
    for _ in 0..4 {
        world.commit();
    }
    let first = backup(&world, &backups);
    world.work(30);
    let second = backup(&world, &backups);
    assert!(first.lsn < second.lsn);
    // when each commit is asked for, by number or by its second,
    for lsn in 1..=second.lsn + 1 {
        let (until, wall) = (Until::Lsn(lsn), Until::Wall(1_000_000 + lsn * 1_000_000 + 500_000));
        let in_first = lsn >= first.first_lsn && lsn <= first.lsn;
        let in_second = lsn >= second.first_lsn && lsn <= second.lsn;
        if in_first || in_second {
            // then that is what is restored,
            let done = assert_restores(&from(&backups, until), &world.states);
            assert_eq!(done.lsn, lsn);
            if lsn < second.lsn && in_second {
                assert_eq!(done.left_out, Some((lsn + 1, (lsn + 2) * 1_000_000)));
            }
            if lsn > second.first_lsn {
                let done = assert_restores(&from(&backups, wall), &world.states);
                if in_second && done.backup == second.number {
                    assert_eq!(done.lsn, lsn, "{done}");
                    assert_eq!(done.wall_micros, Some((lsn + 1) * 1_000_000));
                }
            }
        } else {
            // or it is refused by what there is, and nothing is made.
            let target = SimDisk::new(1);
            let error = restore_to(&from(&backups, until), &target).unwrap_err();
            assert!(matches!(error, BackupError::Unreachable { .. }), "{lsn}: {error}");
            assert!(target.files().iter().all(|f| f == "LOCK"), "{:?}", target.files());
        }
    }
    let error = restore_to(&from(&backups, Until::Wall(5)), &SimDisk::new(1)).unwrap_err();
    assert!(error.to_string().contains("cannot restore to wall time 5"), "{error}");
}

#[test]
fn an_incremental_backup_copies_only_what_is_new() {
    // Given a store with some hundred values, backed up,
    let mut world = World::new(1);
    let backups = SimDisk::new(9);
    world.work(60);
    world.lsm.flush().unwrap();
    let first = backup(&world, &backups);
    assert!(first.copied < first.bytes && first.bytes < first.copied * 11 / 10, "{first}");
    // when nothing happened, then the next copies the meta page and no more;
    let idle = backup(&world, &backups);
    assert_eq!((idle.copied, idle.lsn), (4096, first.lsn), "{idle}");
    // when one small commit happened, a frame more;
    world.commit();
    let small = backup(&world, &backups);
    assert!(small.copied > 4096 && small.copied < 4096 + 9000, "{small}");
    // when it was flushed, the value log's new bytes and the pages on the way.
    let written = || {
        let stats = world.lsm.stats().unwrap();
        stats.value_bytes + stats.gc_freed_bytes
    };
    let values = written();
    world.lsm.flush().unwrap();
    let values = written() - values;
    let flushed = backup(&world, &backups);
    let pages = flushed.copied - values;
    assert!(pages.is_multiple_of(4096) || pages % 4096 == 32, "{flushed}, values {values}");
    assert!(pages <= 12 * 4096, "{flushed}");
    assert!(flushed.bytes > 20 * flushed.copied / 10, "{flushed}");
    assert_restores(&from(&backups, Until::Latest), &world.states);
}

#[test]
fn the_chain_of_pages_begins_anew_when_it_grew_too_long() {
    let mut world = World::new(4);
    let backups = SimDisk::new(9);
    let mut chains = Vec::new();
    for _ in 0..12 {
        world.work(12);
        world.lsm.flush().unwrap();
        let info = backup(&world, &backups);
        lsm::prune(&*backups, DIR, 1).unwrap();
        chains.push(backups.files().iter().filter(|f| f.ends_with(".pages")).count());
        assert_eq!(info.number, chains.len() as u64);
        assert_restores(&from(&backups, Until::Latest), &world.states);
    }
    assert!(chains.iter().skip(1).any(|n| *n == 1), "{chains:?}");
    assert!(chains.iter().any(|n| *n > 1), "{chains:?}");
}

#[test]
fn pruning_keeps_what_the_kept_ones_need_and_nothing_else() {
    // Given five backups that share parts,
    let mut world = World::new(2);
    let backups = SimDisk::new(9);
    for _ in 0..5 {
        world.work(20);
        backup(&world, &backups);
    }
    let before = backups.files().len();
    // when all but two are pruned,
    let pruned = lsm::prune(&*backups, DIR, 2).unwrap();
    // then they are gone with what only they had; the others restore.
    assert_eq!(pruned.removed, [1, 2, 3]);
    assert!(backups.files().len() < before);
    let left = lsm::backups(&*backups, DIR).unwrap().list;
    assert_eq!(left.iter().map(|info| info.number).collect::<Vec<_>>(), [4, 5]);
    assert_eq!(pruned.first_lsn, Some(left[0].first_lsn));
    for number in [4, 5] {
        let mut what = from(&backups, Until::Latest);
        what.number = Some(number);
        assert_restores(&what, &world.states);
    }
    // One is kept whatever is asked, and another pruning finds nothing.
    assert_eq!(lsm::prune(&*backups, DIR, 0).unwrap().removed, [4]);
    assert_eq!(
        lsm::prune(&*backups, DIR, 0).unwrap(),
        lsm::Pruned { first_lsn: Some(left[1].first_lsn), ..Default::default() }
    );
    // The next backup goes on from the one that is left.
    let next = backup(&world, &backups);
    assert_eq!((next.number, next.parent), (6, Some(5)));
    assert_restores(&from(&backups, Until::Latest), &world.states);
}

#[test]
fn a_restored_store_is_another_store() {
    // Given a backup and the store restored from it,
    let mut world = World::new(2);
    let backups = SimDisk::new(9);
    world.work(20);
    backup(&world, &backups);
    let target = SimDisk::new(5);
    let done = restore_to(&from(&backups, Until::Latest), &target).unwrap();
    assert_ne!(done.store, done.from);
    let restored = open(&target).unwrap();
    // when it backs up beside the old one's, then it is refused, and named.
    let error = restored.backup(&as_disk(&backups), DIR, BackupOptions::default()).err().unwrap();
    assert!(matches!(error, BackupError::OtherStore { .. }), "{error}");
    // In a directory of its own it goes.
    let own = restored.backup(&as_disk(&backups), "other", BackupOptions::default()).unwrap();
    assert_eq!(own.run(&mut |_| {}).unwrap().store, done.store);
    // And it goes on writing, flushing, reopening.
    let mut batch = lsm::Batch::new();
    batch.put(lsm::KeyspaceId(1), b"new", &[7; 400]);
    assert_eq!(restored.commit(&batch).unwrap(), done.lsn + 1);
    restored.flush().unwrap();
    drop(restored);
    assert_eq!(open(&target).unwrap().last_lsn(), done.lsn + 1);
}

#[test]
fn two_at_once_and_targets_in_use_are_refused() {
    let mut world = World::new(2);
    let backups = SimDisk::new(9);
    world.work(20);
    let first = world.lsm.backup(&as_disk(&backups), DIR, BackupOptions::default()).unwrap();
    let second = world.lsm.backup(&as_disk(&backups), DIR, BackupOptions::default());
    assert!(matches!(second.err().unwrap(), BackupError::Busy { .. }));
    assert!(matches!(lsm::prune(&*backups, DIR, 1), Err(BackupError::Busy { .. })));
    // One that is given up leaves nothing that the next one minds.
    drop(first);
    assert_eq!(lsm::backups(&*backups, DIR).unwrap(), lsm::Backups::default());
    backup(&world, &backups);
    assert_restores(&from(&backups, Until::Latest), &world.states);
    // Restores want an empty directory.
    let files = world.disk.files();
    let error = restore_to(&from(&backups, Until::Latest), &world.disk).unwrap_err();
    assert!(matches!(&error, BackupError::NotEmpty { file } if file == "trees.pages"), "{error}");
    assert_eq!(world.disk.files(), files);
    let half = SimDisk::new(1);
    half.create_dir("vlog").unwrap();
    half.open("vlog/x", platform::Open::CreateNew).unwrap();
    let error = restore_to(&from(&backups, Until::Latest), &half).unwrap_err();
    assert!(error.to_string().contains("vlog/x"), "{error}");
    // And backups to restore.
    let error = restore_to(&from(&SimDisk::new(1), Until::Latest), &SimDisk::new(1)).unwrap_err();
    assert!(matches!(error, BackupError::NoBackup { .. }), "{error}");
}
