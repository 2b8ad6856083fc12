//! Restores to a moment, over a clock that was set back.

use std::sync::Arc;

use lsm::{BackupError, BackupOptions, LogArchive, Lsm, Options, Until};
use platform::sim::SimDisk;

use crate::kit::*;

const ARCHIVE: &str = "log";
/// Ten o'clock, by the right clock.
const TEN: u64 = 36_000_000_000;
const MINUTE: u64 = 60_000_000;

/// How the mistake comes into the trees of the second backup.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Way {
    Flushed,
    /// Replayed from the log, then flushed.
    Replayed,
    /// Flushed, and then others, which were made earlier by the clock.
    Before,
    /// Only in its frames.
    NotYet,
}

#[test]
fn who_goes_back_to_before_a_mistake_does_not_find_it_though_the_clock_was_set_back() {
    for way in [Way::Flushed, Way::Replayed, Way::Before, Way::NotYet] {
        // Given a backup at 9:50, and a mistake made at 9:55 by a clock an hour ahead,
        let (backups, archive) = (SimDisk::new(9), SimDisk::new(8));
        let mut world = World::new(3);
        drop(world.lsm);
        world.disk = SimDisk::new(3);
        let to = Some(LogArchive::new(as_disk(&archive), ARCHIVE));
        let options = Options { archive: to, ..options() };
        let disk = Arc::clone(&world.disk);
        let clock = Arc::clone(&world.clock);
        let open = || Lsm::open(as_disk(&disk), Arc::clone(&clock) as _, options.clone()).unwrap();
        world.lsm = open();
        let backup = |world: &World| {
            let backup = world.lsm.backup(&as_disk(&backups), DIR, BackupOptions::default());
            backup.unwrap().run(&mut |_| {}).unwrap()
        };
        world.clock.set_wall_micros(TEN - 10 * MINUTE);
        world.work(10);
        let first = backup(&world);
        let good = world.lsn();
        world.clock.set_wall_micros(TEN + 55 * MINUTE);
        world.commit();
        let mistake = world.lsn();
        // whose clock is put right, so that a backup begins at 10:05,
        world.clock.set_wall_micros(TEN);
        match way {
            Way::Flushed => drop(world.lsm.flush().unwrap()),
            Way::Replayed => {
                drop(std::mem::replace(&mut world.lsm, World::new(1).lsm));
                world.lsm = open();
                world.lsm.flush().unwrap();
            }
            Way::Before => {
                for _ in 0..3 {
                    world.lsm.flush().unwrap();
                    world.commit();
                    drop(std::mem::replace(&mut world.lsm, World::new(1).lsm));
                    world.lsm = open();
                }
                world.lsm.flush().unwrap();
            }
            Way::NotYet => {}
        }
        world.clock.set_wall_micros(TEN + 5 * MINUTE);
        let second = backup(&world);
        assert_eq!(second.first_lsn < mistake, way == Way::NotYet, "{way:?}");
        world.commit();
        world.lsm.archive_now().unwrap();
        // when half past ten is asked for, then the mistake is not there,
        let mut what = from(&backups, Until::Wall(TEN + 30 * MINUTE));
        let done = assert_restores(&what, &world.states);
        assert_eq!(done.lsn, good, "{way:?}: {done}");
        // with the archive neither, and it is told what comes next.
        what.archive = Some((as_disk(&archive), ARCHIVE.into()));
        let done = assert_restores(&what, &world.states);
        assert_eq!(done.lsn, good, "{way:?}: {done}");
        assert_eq!(done.left_out.map(|next| next.0), Some(mistake));
        assert_eq!(done.backup == first.number, way != Way::NotYet);
        // A backup that has it in its trees cannot go back to before it, and says how
        // to ask for what came after it;
        what.number = Some(second.number);
        if way != Way::NotYet {
            let error = restore_to(&what, &SimDisk::new(1)).unwrap_err();
            assert!(matches!(error, BackupError::Unreachable { .. }), "{error}");
            assert!(error.to_string().contains("by its number"), "{error}");
        }
        // which works, by number, and by a moment later than any.
        for until in [Until::Lsn(world.lsn()), Until::Wall(TEN + 57 * MINUTE)] {
            what.until = until;
            let done = assert_restores(&what, &world.states);
            assert_eq!((done.lsn, done.backup), (world.lsn(), second.number), "{way:?}");
        }
    }
}
