//! To any commit or second: a base backup and the log's archive, end to end.
//!
//! What is proven: from any backup the store comes back as it was after each commit
//! that the archive has, and at each wall-clock second; what cannot be reached is
//! refused by name and leaves the directory empty; the restored store is a store of
//! its own, which another archive takes up where it stands.

#![allow(clippy::unwrap_used)]

mod logkit;

use std::sync::Arc;
use std::time::Duration;

use logkit::*;
use lsm::{
    ArchiveError, BackupError, BackupOptions, Error, Lsn, Options, Restore, Restored, Until,
};
use platform::sim::{SimClock, SimDisk};
use platform::{Clock, Disk};

const BACKUPS: &str = "backups";

/// A store with an archive, commits a second apart, backed up at some of them.
struct Past {
    world: World,
    shelf: Arc<SimDisk>,
    /// Where each backup stood.
    backups: Vec<Lsn>,
    last: Lsn,
}

fn past() -> Past {
    let world = World::new(1);
    let shelf = SimDisk::new(2);
    let lsm = world.open().unwrap();
    let mut backups = Vec::new();
    for n in 1..=190 {
        world.clock.advance(Duration::from_secs(1));
        puts(&lsm, 1);
        lsm.step().unwrap();
        if n % 60 == 20 {
            lsm.flush().unwrap();
            let to = Arc::clone(&shelf) as Arc<dyn Disk>;
            lsm.backup(&to, BACKUPS, BackupOptions::default()).unwrap().run(&mut |_| {}).unwrap();
            backups.push(n);
        }
    }
    let last = lsm.archive_now().unwrap();
    assert_eq!((last, backups.len()), (190, 3));
    Past { world, shelf, backups, last }
}

impl Past {
    fn restore(&self, until: Until, number: Option<u64>) -> (World, Result<Restored, BackupError>) {
        self.restore_from(&self.world.far, until, number)
    }

    fn restore_from(
        &self,
        far: &Arc<SimDisk>,
        until: Until,
        number: Option<u64>,
    ) -> (World, Result<Restored, BackupError>) {
        let new = World {
            data: SimDisk::new(5),
            far: SimDisk::new(6),
            clock: Arc::new(SimClock::new(self.world.clock.wall_micros() * 2)),
        };
        let what = Restore {
            disk: Arc::clone(&self.shelf) as _,
            dir: BACKUPS.to_owned(),
            number,
            archive: Some((Arc::clone(far) as _, DIR.to_owned())),
            until,
        };
        let target = Arc::clone(&new.data) as Arc<dyn Disk>;
        let done = lsm::restore(&what, &target, &*new.clock, &options(None), &mut |_, _| {});
        (new, done)
    }
}

#[test]
fn every_commit_and_every_second_can_be_gone_back_to() {
    // Given backups at some commits and an archive of all,
    let past = past();
    let first = past.backups[0];
    for lsn in first..=past.last {
        // when the store is restored to a commit, or to the second it was made in,
        let second = 1_000 + lsn * 1_000_000;
        for until in [Until::Lsn(lsn), Until::Wall(second), Until::Wall(second + 999_999)] {
            let (new, done) = past.restore(until, None);
            let done = done.unwrap_or_else(|e| panic!("{until}: {e}"));
            // then it says where it ended,
            assert_eq!((done.lsn, done.wall_micros.unwrap_or(second)), (lsn, second), "{until}");
            let next = (lsn < past.last).then_some((lsn + 1, second + 1_000_000));
            if !matches!(until, Until::Lsn(_)) {
                assert_eq!(done.left_out, next, "{until}");
            }
            // and is as it was then.
            let lsm = new.open_with(options(None)).unwrap();
            assert_eq!(lsm.last_lsn(), lsn);
            assert_has_all(&lsm);
        }
    }
    // From the oldest backup as well as from the newest:
    for number in 1..=3 {
        let (new, done) = past.restore(Until::Latest, Some(number));
        assert_eq!(done.unwrap().lsn, past.last);
        assert_has_all(&new.open_with(options(None)).unwrap());
    }
}

#[test]
fn what_cannot_be_reached_is_refused_by_name_and_nothing_is_left() {
    let past = past();
    let unreachable = |until, number, far: &Arc<SimDisk>| {
        let (new, done) = past.restore_from(far, until, number);
        let error = done.unwrap_err();
        let left: Vec<_> = new.data.files().into_iter().filter(|f| f != "LOCK").collect();
        assert!(left.is_empty(), "{left:?}");
        assert!(matches!(error, BackupError::Unreachable { .. }), "{error}");
        error.to_string()
    };
    let far = &past.world.far;
    // Before the first backup, behind the last commit:
    unreachable(Until::Lsn(past.backups[0] - 1), None, far);
    unreachable(Until::Wall(1_000), None, far);
    let why = unreachable(Until::Lsn(past.last + 1), None, far);
    assert!(why.contains("190"), "{why}");
    // over a hole, a rotten file, one of another name:
    let files = past.world.archive().files().to_vec();
    let at = files.iter().position(|file| file.first_lsn > past.backups[2] + 5).unwrap();
    let (before, file) = (files[at].first_lsn - 1, format!("{DIR}/{}", files[at].name));
    type Spoil<'a> = &'a dyn Fn(&SimDisk);
    let spoilt: [(&str, Spoil<'_>); 3] = [
        ("hole", &|disk| disk.remove(&file).unwrap()),
        ("damaged", &|disk| disk.corrupt(&file, 200, 1).unwrap()),
        ("name", &|disk| {
            let other = format!("{DIR}/{:020}-{:020}.arc", before + 1, files[at].last_lsn - 1);
            disk.rename(&file, &other).unwrap();
        }),
    ];
    for (word, spoil) in spoilt {
        let far = far.snapshot();
        spoil(&far);
        let why = unreachable(Until::Lsn(past.last), None, &far);
        assert!(why.contains(word), "{word}: {why}");
        unreachable(Until::Latest, None, &far);
        // but what lies before it can be had.
        let (new, done) = past.restore_from(&far, Until::Lsn(before), None);
        assert_eq!(done.unwrap().lsn, before, "{word}");
        assert_has_all(&new.open_with(options(None)).unwrap());
    }
}

#[test]
fn a_restored_store_goes_on_in_an_archive_of_its_own() {
    // Given a store restored to a commit in the middle,
    let past = past();
    let (new, done) = past.restore(Until::Lsn(100), None);
    let done = done.unwrap();
    // when it is told to archive where the old one did, then it is refused,
    let same = World {
        data: Arc::clone(&new.data),
        far: past.world.far.snapshot(),
        clock: Arc::clone(&new.clock),
    };
    let lsm = same.open().unwrap();
    let error = lsm.archive_now().unwrap_err();
    let Error::Archive(ArchiveError::OtherStore { wanted, found, .. }) = error else {
        panic!("{error}")
    };
    assert_eq!((wanted.0, found.0), (done.store.0, done.from.0));
    drop(lsm);
    // and in a directory of its own it goes on from there: another history, which
    // can be gone back to as well.
    let lsm = new.open().unwrap();
    let shelf = SimDisk::new(7);
    let to = Arc::clone(&shelf) as Arc<dyn Disk>;
    lsm.backup(&to, BACKUPS, BackupOptions::default()).unwrap().run(&mut |_| {}).unwrap();
    puts(&lsm, 40);
    assert_eq!(lsm.archive_now().unwrap(), 140);
    drop(lsm);
    let next = Past { world: new, shelf, backups: vec![100], last: 140 };
    for until in [Until::Lsn(120), Until::Latest] {
        let (newest, done) = next.restore(until, None);
        let done = done.unwrap();
        assert_eq!(done.lsn, if until == Until::Latest { 140 } else { 120 });
        assert_ne!(done.store, done.from);
        assert_has_all(&newest.open_with(options(None)).unwrap());
    }
}

#[test]
fn an_archive_cut_by_age_still_has_what_the_oldest_backup_needs() {
    // Given an archive of which only the last second is to be kept,
    let past = past();
    let mut opts = options(Some(&past.world.far));
    opts.archive.as_mut().unwrap().retain_micros = Some(1_000_000);
    let data = past.world.data.restart();
    past.world.clock.advance(Duration::from_secs(100));
    let world =
        World { data, far: Arc::clone(&past.world.far), clock: Arc::clone(&past.world.clock) };
    let lsm = world.open_with(Options { ..opts }).unwrap();
    // when the oldest backup is given up, and the archive cut to what the next needs,
    let kept = lsm::prune(&*past.shelf, BACKUPS, 2).unwrap();
    lsm.keep_archive_from(kept.first_lsn);
    settle(&lsm);
    let (begins, _) = world.archive().bounds().unwrap();
    assert!(begins > past.backups[0] && begins <= past.backups[1] + 1, "{begins}");
    // then every commit from the oldest backup on can still be gone back to.
    for lsn in past.backups[1]..=past.last {
        assert_eq!(past.restore(Until::Lsn(lsn), Some(2)).1.unwrap().lsn, lsn);
    }
}
