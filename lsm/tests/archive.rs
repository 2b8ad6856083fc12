//! The log's archive: what is rotated is archived and then cut; never a hole.
//!
//! What is proven: at every moment, after every crash at any call on the data disk
//! or the archive's, archive and log together have every commit from the first on,
//! bit for bit; failing copies hold the log back, not the commits.

#![allow(clippy::unwrap_used)]

mod gate;
mod logkit;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use gate::{GateDisk, until};
use logkit::*;
use lsm::{ArchiveError, Error, LogArchive, Lsm, Lsn, Options, Step, SyncMode, WalError};
use platform::sim::{Fault, SimClock, SimDisk, Times};

#[test]
fn rotated_segments_are_archived_and_then_leave_the_log() {
    // Given a store with an archive on another disk, when much is committed,
    let world = World::new(1);
    let lsm = world.open().unwrap();
    for _ in 0..100 {
        puts(&lsm, 3);
        lsm.step().unwrap();
    }
    settle(&lsm);
    // then all rotated segments are archived, those flushed are cut, no frame lacks,
    let stats = lsm.stats().unwrap();
    let archive = stats.archive.clone().unwrap();
    assert!(archive.archived_lsn > 250 && archive.files > 10, "{archive:?}");
    assert_eq!((archive.first_lsn, archive.holes, archive.error), (Some(1), 0, None));
    assert!(stats.wal_bytes < 30 << 10, "{stats:?}");
    assert!(matches!(lsm.frames(1), Err(Error::Wal(WalError::Gone { .. }))));
    assert_eq!(assert_covered(&world, &lsm), 1);
    // and a summary of each file tells the store.
    let archive = world.archive();
    let summary = archive.summary(&archive.files()[0]).unwrap();
    assert_eq!(summary.store.0, lsm.store_id().0);
}

#[test]
fn what_is_committed_now_is_archived_on_demand() {
    let world = World::new(1);
    let lsm = world.open().unwrap();
    assert_eq!(lsm.archive_now().unwrap(), 0, "nothing to archive");
    puts(&lsm, 3);
    assert_eq!(lsm.stats().unwrap().archive.unwrap().archived_lsn, 0);
    assert_eq!(lsm.archive_now().unwrap(), 3);
    assert_eq!(lsm.archive_now().unwrap(), 3, "again: nothing new");
    puts(&lsm, 1);
    assert_eq!(lsm.archive_now().unwrap(), 4);
    assert_eq!(world.archive().files().len(), 2);
    assert_covered(&world, &lsm);
    let error = world_without().archive_now().unwrap_err();
    assert!(matches!(error, Error::NotArchived), "{error}");
}

fn world_without() -> Lsm {
    World::new(2).open_with(options(None)).unwrap()
}

#[test]
fn a_failing_archive_holds_the_log_back_and_nothing_else() {
    for (fault, full) in [(Fault::Write, false), (Fault::Sync, false), (Fault::Name, true)] {
        // Given a store whose archive's disk fails or is full,
        let world = World::new(1);
        let lsm = world.open().unwrap();
        if full {
            world.far.set_budget(Some(1500));
        } else {
            world.far.fail(fault, "", Times::Every);
        }
        // when it is written to and flushed for long,
        let (mut errors, mut last) = (0, None);
        for _ in 0..200 {
            puts(&lsm, 2);
            if lsm.step().unwrap() == Step::ArchiveFailed {
                errors += 1;
                last = lsm.stats().unwrap().archive.unwrap().error;
            }
        }
        lsm.flush().unwrap();
        // then commits and flushes went on, each failure was told, tries paused,
        let stats = lsm.stats().unwrap();
        let archive = stats.archive.clone().unwrap();
        assert_eq!((stats.last_lsn, stats.flushed_lsn), (400, 400));
        assert_eq!((errors, archive.failures, archive.failures_total), (1, 1, 1));
        assert!(last.is_some() && archive.error == last, "{last:?}");
        // and the log has every commit that the archive has not.
        assert!(stats.wal_bytes > 20 << 10, "{stats:?}");
        assert_eq!(assert_covered(&world, &lsm), 1);
        // The pause doubles, up to a minute:
        let mut pauses = vec![];
        for second in 1..200_u64 {
            world.clock.advance(Duration::from_nanos(SECOND));
            if lsm.step().unwrap() == Step::ArchiveFailed {
                pauses.push(second);
            }
        }
        assert_eq!(pauses, [1, 3, 7, 15, 31, 63, 123, 183]);
        assert_eq!(lsm.stats().unwrap().archive.unwrap().failures, 9);
        // Asked for at once, it is tried at once.
        assert!(matches!(lsm.archive_now(), Err(Error::Archive(_))));
        // When the disk is well again, then it goes on by itself, and the log is cut.
        world.far.clear_faults();
        world.far.set_budget(None);
        world.clock.advance(Duration::from_nanos(61 * SECOND));
        settle(&lsm);
        let stats = lsm.stats().unwrap();
        let archive = stats.archive.clone().unwrap();
        assert_eq!((archive.error, archive.failures, archive.failures_total), (None, 0, 10));
        assert!(archive.archived_lsn >= 380 && stats.wal_bytes < 16 << 10, "{stats:?}");
        assert_eq!(assert_covered(&world, &lsm), 1);
        assert_has_all(&lsm);
    }
}

#[test]
fn neither_a_busy_store_nor_a_long_archive_starves_the_other() {
    // Given a long log to archive, and a store with something to flush at each step,
    let world = World::new(1);
    let lsm = world.open().unwrap();
    world.far.fail(Fault::Write, "", Times::Every);
    puts(&lsm, 300);
    while lsm.stats().unwrap().archive.unwrap().error.is_none() {
        lsm.step().unwrap();
    }
    world.far.clear_faults();
    world.clock.advance(Duration::from_secs(2));
    let behind = lsm.last_lsn();
    // when it is stepped while it is written to, then both go on, turn by turn.
    let (mut copied, mut flushed) = (0, 0);
    for _ in 0..120 {
        while lsm.stats().unwrap().frozen == 0 {
            puts(&lsm, 1);
        }
        match lsm.step().unwrap() {
            Step::Archiving | Step::Archived { .. } => copied += 1,
            Step::Idle | Step::ArchiveFailed => panic!("there was something to do"),
            _ => flushed += 1,
        }
    }
    assert!(copied >= 50 && flushed >= 50, "{copied} {flushed}");
    assert!(lsm.last_lsn() > behind);
    assert!(lsm.stats().unwrap().archive.unwrap().archived_lsn > 50);
}

#[test]
fn an_archive_disk_that_does_not_answer_holds_the_log_back_and_nobody_else() {
    // Given a store whose archive has a thread of its own, and a disk that hangs,
    let world = World::new(1);
    let far = GateDisk::new(Arc::clone(&world.far));
    let mut archive = LogArchive::new(Arc::clone(&far) as _, DIR);
    archive.step_bytes = 700;
    let lsm = world.open_with(Options { archive: Some(archive), ..options(None) }).unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let handle = lsm.archive_stepper().unwrap();
        puts(&lsm, 60);
        while lsm.step().unwrap() != Step::Idle {}
        assert_eq!(world.far.files(), [""; 0], "steps leave the archive alone");
        far.close(Some(""));
        scope.spawn(|| {
            let _handle = handle;
            while !done.load(Ordering::SeqCst) {
                drop(lsm.step_archive());
                std::thread::yield_now();
            }
        });
        until("the archive's disk hangs", || far.waiting() == 1);
        // when it is written to, flushed and collected for long,
        let stepper = lsm.stepper();
        let writer = scope.spawn(|| puts(&lsm, 1500));
        let mut seen = [0; 2];
        while !writer.is_finished() {
            match lsm.step().unwrap() {
                Step::Flushed(_) => seen[0] += 1,
                Step::Collected { .. } => seen[1] += 1,
                Step::Archiving | Step::Archived { .. } | Step::ArchiveFailed => panic!("a step"),
                _ => {}
            }
        }
        drop(stepper);
        lsm.flush().unwrap();
        // then all that went on, and the log has every commit, which is shown;
        assert!(seen[0] > 10 && seen[1] > 10, "{seen:?}");
        let stats = lsm.stats().unwrap();
        let archive = stats.archive.clone().unwrap();
        assert_eq!((far.waiting(), archive.archived_lsn, stats.flushed_lsn), (1, 0, 1560));
        assert!(archive.waiting_bytes > 100 << 10, "{stats:?}");
        let tail = stats.wal_bytes.checked_sub(archive.waiting_bytes).unwrap();
        assert!((1..=4 << 10).contains(&tail), "{stats:?}");
        lsm.frames(1).unwrap();
        // and when the disk answers, the archive catches up, and the log is cut.
        far.close(None);
        until("it has caught up", || lsm.stats().unwrap().archive.unwrap().waiting_bytes == 0);
        while lsm.step().unwrap() != Step::Idle {}
        assert!(lsm.stats().unwrap().wal_bytes < 30 << 10, "{:?}", lsm.stats());
        done.store(true, Ordering::SeqCst);
    });
    assert_eq!(assert_covered(&world, &lsm), 1);
    // Without the thread, steps archive again.
    puts(&lsm, 100);
    let archives = |_| matches!(lsm.step().unwrap(), Step::Archiving | Step::Archived { .. });
    assert!((0..100).any(archives));
}

#[test]
fn a_hole_holds_the_log_back_until_a_new_archive_is_begun() {
    // Given a store that ran for a while without its archive,
    let world = World::new(1);
    let lsm = world.open().unwrap();
    puts(&lsm, 100);
    settle(&lsm);
    drop(lsm);
    let lsm = world.open_with(options(None)).unwrap();
    puts(&lsm, 300);
    settle(&lsm);
    drop(lsm);
    // when it is to archive again,
    let lsm = world.open().unwrap();
    let error = lsm.archive_now().unwrap_err();
    let Error::Archive(ArchiveError::Hole { first, last, .. }) = error else { panic!("{error}") };
    assert!(first <= 101 && last >= 250, "{first} to {last}");
    // then the log grows, and that is shown;
    for _ in 0..200 {
        puts(&lsm, 2);
        lsm.step().unwrap();
    }
    let stats = lsm.stats().unwrap();
    let archive = stats.archive.unwrap();
    assert!(archive.waiting_bytes > 30 << 10 && archive.error.unwrap().contains("empty directory"));
    drop(lsm);
    // and a new archive in an empty directory, as the error says, mends it.
    let mut opts = options(Some(&world.far));
    opts.archive.as_mut().unwrap().dir = "new-archive".to_owned();
    let lsm = world.open_with(opts).unwrap();
    settle(&lsm);
    let stats = lsm.stats().unwrap();
    let archive = stats.archive.unwrap();
    assert_eq!((archive.error, archive.waiting_bytes), (None, 0));
    assert!(stats.wal_bytes < 30 << 10 && archive.first_lsn == Some(last + 1));
}

#[test]
fn the_archive_of_another_store_is_refused_and_the_log_kept() {
    // Given an archive directory that another store has begun,
    let world = World::new(1);
    let other = World {
        data: SimDisk::new(3),
        far: Arc::clone(&world.far),
        clock: Arc::new(SimClock::new(77)),
    };
    let theirs = other.open().unwrap();
    puts(&theirs, 50);
    theirs.archive_now().unwrap();
    let files = world.far.files();
    // when a store is told to archive there,
    let lsm = world.open().unwrap();
    puts(&lsm, 200);
    let error = lsm.archive_now().unwrap_err();
    // then it says whose it is, writes nothing there, and keeps its log.
    assert!(
        matches!(&error, Error::Archive(ArchiveError::OtherStore { wanted, .. })
        if wanted.0 == lsm.store_id().0),
        "{error}"
    );
    assert_eq!(world.far.files(), files);
    lsm.flush().unwrap();
    lsm.frames(1).unwrap();
    assert!(lsm.stats().unwrap().archive.unwrap().error.is_some());
}

#[test]
fn archived_files_age_and_go_but_not_what_a_backup_needs() {
    // Given an archive that keeps a day, with a file for each of three days,
    let world = World::new(1);
    let day = 86_400 * SECOND;
    let mut opts = options(Some(&world.far));
    opts.archive.as_mut().unwrap().retain_micros = Some(day / 1000);
    opts.archive.as_mut().unwrap().keep_from = Some(1);
    let lsm = world.open_with(opts).unwrap();
    for _ in 0..3 {
        puts(&lsm, 3);
        lsm.archive_now().unwrap();
        world.clock.advance(Duration::from_nanos(day));
    }
    let first = |lsm: &Lsm| lsm.stats().unwrap().archive.unwrap().first_lsn;
    // then nothing goes that the backup at commit 0 needs,
    settle(&lsm);
    assert_eq!(first(&lsm), Some(1));
    // when a backup at commit 3 is the oldest, the first day's go,
    lsm.keep_archive_from(Some(4));
    world.clock.advance(Duration::from_nanos(61 * SECOND));
    settle(&lsm);
    assert_eq!(first(&lsm), Some(4));
    // and when there is none, all that is older than a day, but the newest.
    lsm.keep_archive_from(None);
    world.clock.advance(Duration::from_nanos(day));
    assert!(matches!(lsm.step().unwrap(), Step::ArchivePruned { to: 6 }));
    settle(&lsm);
    assert_eq!((first(&lsm), world.archive().files().len()), (Some(7), 1));
    assert_eq!(assert_covered(&world, &lsm), 7);
}

struct Rng(u64);

impl Rng {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (x ^ (x >> 31)) % n
    }
}

/// One run: commits, steps, flushes, holders, reopenings, as the seed says.
/// Ends at the first crash, or after `actions`.
/// In async mode only what is durable counts as acknowledged, as after a power cut.
fn run(
    world: &World,
    seed: u64,
    actions: u64,
    sync: SyncMode,
    acked: &mut Lsn,
) -> Result<(), Error> {
    let open = || world.open_with(Options { sync, ..options(Some(&world.far)) });
    let mut rng = Rng(seed);
    let mut lsm = open()?;
    assert!(lsm.last_lsn() >= *acked);
    let mut held = None;
    for _ in 0..actions {
        match rng.below(24) {
            0 => lsm.flush().map(drop)?,
            1..=9 => drop(lsm.step()?),
            10 => drop(told(world, lsm.archive_now())?),
            11 => {
                held = None;
                drop(lsm);
                lsm = open()?;
            }
            12 => held = lsm.retain("x", lsm.last_lsn().saturating_sub(9)).ok(),
            13 => {
                let kinds = [Fault::Write, Fault::Sync, Fault::Name, Fault::Read, Fault::ShortRead];
                world.far.fail(kinds[rng.below(5) as usize], "", Times::Next);
            }
            14 => world.clock.advance(Duration::from_nanos(30 * SECOND)),
            15 => assert_covered_unless(world, &lsm),
            16 => drop(lsm.sync()?),
            _ => drop(put(&lsm)?),
        }
        *acked = lsm.durable_lsn().max(*acked);
        if let Some(from) = held.as_ref().and_then(lsm::Retention::from) {
            assert!(world.data.is_crashed() || lsm.frames(from).is_ok(), "held {from}");
        }
    }
    Ok(())
}

/// An error of the archive is told and gone on from; a crash is the end.
fn told<T>(world: &World, outcome: Result<T, Error>) -> Result<Option<T>, Error> {
    match outcome {
        Ok(done) => Ok(Some(done)),
        Err(Error::Archive(error)) if !world.far.is_crashed() && !world.data.is_crashed() => {
            assert!(matches!(error, ArchiveError::Io { .. }), "{error}");
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

fn assert_covered_unless(world: &World, lsm: &Lsm) {
    if !world.far.is_crashed() && !world.data.is_crashed() {
        world.far.clear_faults();
        assert_covered(world, lsm);
    }
}

#[test]
fn archive_and_log_have_every_commit_whatever_happens() {
    let (mut crashes, mut archived) = (0, 0);
    for seed in 0..60 {
        // Given a world that goes through several lives, each ended by a crash of the
        // data disk's machine, or of the archive's, or of both,
        let mut rng = Rng(seed);
        let mut world = World::new(seed);
        let mut acked = 0;
        for life in 0..4 {
            if rng.below(4) > 0 {
                world.data.crash_after(1 + rng.below(400))
            }
            if rng.below(4) > 0 {
                world.far.crash_after(1 + rng.below(150))
            }
            let sync = if seed % 3 == 0 { SyncMode::Async } else { SyncMode::Sync };
            match run(&world, seed * 10 + life, 150, sync, &mut acked) {
                Ok(()) => {}
                Err(error) => {
                    let crashed = world.data.is_crashed() || world.far.is_crashed();
                    assert!(crashed, "seed {seed}, life {life}: {error}");
                    crashes += 1;
                }
            }
            let end = |disk: &Arc<SimDisk>, how: u64| match how {
                0 => disk.restart(),
                1 => disk.restart_worst(),
                _ => disk.kill(),
            };
            let (data, far) = (rng.below(3), rng.below(3));
            world = World {
                data: end(&world.data, data),
                far: end(&world.far, far),
                clock: world.clock,
            };
            // then nothing acknowledged is lost and there is no hole,
            let lsm = world.open().unwrap_or_else(|e| panic!("seed {seed}, life {life}: {e}"));
            assert!(lsm.last_lsn() >= acked, "seed {seed}, life {life}");
            assert_eq!(assert_covered(&world, &lsm), 1, "seed {seed}, life {life}");
            assert_has_all(&lsm);
        }
        // and all of it can be archived.
        let lsm = world.open().unwrap();
        assert_eq!(lsm.archive_now().unwrap(), lsm.last_lsn(), "seed {seed}");
        assert_covered(&world, &lsm);
        archived += lsm.last_lsn();
    }
    assert!(crashes > 100 && archived > 2_000, "{crashes} crashes, {archived} commits");
}

#[test]
fn a_crash_at_every_call_of_either_disk() {
    for crash_far in [false, true] {
        let calm = World::new(9);
        run(&calm, 4, 200, SyncMode::Sync, &mut 0).unwrap();
        let calls = if crash_far { calm.far.calls() } else { calm.data.calls() };
        assert!(calls > 100, "{calls}");
        for n in 1..=calls {
            let world = World::new(9 ^ (n << 20));
            let disk = if crash_far { &world.far } else { &world.data };
            disk.crash_after(n);
            let mut acked = 0;
            if let Err(error) = run(&world, 4, 200, SyncMode::Sync, &mut acked) {
                assert!(disk.is_crashed(), "call {n}: {error}");
            }
            let (data, far) = if n % 2 == 0 {
                (world.data.restart_worst(), world.far.restart_worst())
            } else {
                (world.data.restart(), world.far.restart())
            };
            let world = World { data, far, clock: world.clock };
            let lsm = world.open().unwrap_or_else(|e| panic!("call {n}: {e}"));
            assert!(lsm.last_lsn() >= acked, "call {n}");
            assert_eq!(assert_covered(&world, &lsm), 1, "call {n}");
            lsm.archive_now().unwrap();
            settle(&lsm);
            assert_covered(&world, &lsm);
            assert_has_all(&lsm);
        }
    }
}
