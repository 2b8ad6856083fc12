//! The log is kept for who needs it: holders find their frames or are told that
//! they are gone; a store whose newest meta page rotted opens with the one before
//! and has everything.

#![allow(clippy::unwrap_used)]

mod logkit;

use std::sync::Arc;

use logkit::*;
use lsm::{Error, Options, Step, WalError};
use platform::Disk;
use platform::sim::{Fault, Times};

#[test]
fn a_holder_finds_its_frames_until_it_holds_back_too_much() {
    // Given a store that lets holders keep 30 KiB of the log,
    let world = World::new(1);
    let lsm = world.open_with(Options { wal_retain_bytes: 30 << 10, ..options(None) }).unwrap();
    puts(&lsm, 5);
    let replica = lsm.retain("replica", 3).unwrap();
    let watcher = lsm.retain("watcher", 5).unwrap();
    // when it is written to and flushed, then the frames are there,
    puts(&lsm, 60);
    lsm.flush().unwrap();
    puts(&lsm, 60);
    lsm.flush().unwrap();
    puts(&lsm, 1);
    lsm.flush().unwrap();
    let mut frames = lsm.frames(replica.from().unwrap()).unwrap();
    for lsn in 3..=126 {
        assert_eq!(frames.next().unwrap().unwrap().lsn, lsn);
    }
    watcher.advance(126).unwrap();
    let stats = lsm.stats().unwrap();
    assert_eq!((stats.log_holders, stats.oldest_held, stats.holders_let_go), (2, Some(3), 0));
    // and when one lags too far behind, it is let go, and the other is not.
    for _ in 0..10 {
        puts(&lsm, 40);
        lsm.flush().unwrap();
        watcher.advance(lsm.last_lsn()).unwrap();
    }
    let stats = lsm.stats().unwrap();
    assert!(stats.wal_bytes < 50 << 10, "{stats:?}");
    assert_eq!((stats.log_holders, stats.holders_let_go), (2, 1));
    assert_eq!(stats.oldest_held, watcher.from());
    assert_eq!(replica.from(), None);
    let error = replica.advance(130).unwrap_err();
    let Error::Wal(WalError::Gone { wanted: 130, oldest }) = error else { panic!("{error}") };
    assert!(oldest > 130);
    assert_eq!(lsm.holders()[0].from, None);
    // It may begin anew from there, not from before.
    assert!(matches!(
        lsm.retain("replica", oldest - 1),
        Err(Error::Wal(WalError::Gone { oldest: o, .. })) if o == oldest
    ));
    drop(replica);
    let again = lsm.retain("replica", oldest).unwrap();
    assert_eq!(lsm.frames(again.from().unwrap()).unwrap().next().unwrap().unwrap().lsn, oldest);
    drop((again, watcher));
    assert_eq!(lsm.stats().unwrap().log_holders, 0);
}

#[test]
fn a_rotten_newest_meta_page_costs_nothing() {
    // Given a store with several flushes, and commits after the last,
    for flushes in 1..8 {
        for archived in [false, true] {
            let world = World::new(1);
            let lsm = world.open_with(options(archived.then_some(&world.far))).unwrap();
            for n in 0..flushes {
                puts(&lsm, 30 + 7 * n);
                lsm.flush().unwrap();
                while lsm.step().unwrap() != Step::Idle {}
            }
            puts(&lsm, 5);
            let last = lsm.last_lsn();
            drop(lsm);
            // when either of its meta pages rots,
            for page in 0..2 {
                let data = world.data.snapshot();
                data.corrupt("trees.pages", page * 4096 + 100, 1).unwrap();
                let world =
                    World { data, far: world.far.snapshot(), clock: Arc::clone(&world.clock) };
                // then it opens, has everything, and says so,
                let lsm = world.open_with(options(archived.then_some(&world.far))).unwrap();
                assert_eq!(lsm.last_lsn(), last);
                assert_has_all(&lsm);
                let damage = lsm.stats().unwrap().damaged_meta.unwrap();
                assert!(damage.contains(&format!("meta page {page}")), "{damage}");
                // goes on, and is whole after it.
                puts(&lsm, 30);
                lsm.flush().unwrap();
                puts(&lsm, 30);
                lsm.flush().unwrap();
                drop(lsm);
                let lsm = world.open_with(options(None)).unwrap();
                assert_has_all(&lsm);
                assert_eq!(lsm.stats().unwrap().damaged_meta, None);
            }
        }
    }
}

#[test]
fn either_meta_page_may_rot_after_any_step() {
    // Given a store that is written to, flushed, collected and cut, step by step,
    for archived in [false, true] {
        let world = World::new(1);
        let lsm = world.open_with(options(archived.then_some(&world.far))).unwrap();
        let (mut removed, mut segments) = (0, 0);
        for n in 0..260 {
            if n % 20 < 15 {
                puts(&lsm, 3);
            }
            lsm.step().unwrap();
            let now = world.data.files().iter().filter(|f| f.starts_with("vlog/")).count();
            removed += usize::from(now < segments);
            segments = now;
            // when after any step either of its meta pages rots, or cannot be read,
            for page in 0..2 {
                let data = world.data.snapshot();
                let at = page * 4096 + 100;
                match n % 2 {
                    0 => data.corrupt("trees.pages", at, 1).unwrap(),
                    _ => data.spoil("trees.pages", at, 1).unwrap(),
                }
                let rotten =
                    World { data, far: world.far.snapshot(), clock: Arc::clone(&world.clock) };
                // then it opens and has everything.
                let found = rotten
                    .open_with(options(archived.then_some(&rotten.far)))
                    .unwrap_or_else(|e| panic!("step {n}, page {page}: {e}"));
                assert_eq!(found.last_lsn(), lsm.last_lsn(), "step {n}, page {page}");
                if n % 5 == 0 {
                    assert_has_all(&found);
                }
            }
        }
        assert!(removed >= 5, "segments of values were to be removed: {removed}");
    }
}

#[test]
fn a_meta_page_passed_over_once_does_not_come_back() {
    // Given a store in the middle of its life,
    let world = World::new(1);
    let lsm = world.open_with(options(None)).unwrap();
    for n in 0..4 {
        puts(&lsm, 30 + n);
        lsm.flush().unwrap();
        settle(&lsm);
    }
    puts(&lsm, 5);
    let last = lsm.last_lsn();
    drop(lsm);
    for page in 0..2 {
        // whose one meta page the disk does not give this time, and is worked with,
        let work = |world: &World| -> Result<(), Error> {
            world.data.fail(Fault::Read, "trees.pages", Times::After(page));
            let lsm = world.open_with(options(None))?;
            for _ in 0..20 {
                put(&lsm)?;
            }
            lsm.flush()?;
            Ok(())
        };
        let of = |data| World { data, far: world.far.snapshot(), clock: Arc::clone(&world.clock) };
        let calm = of(world.data.snapshot());
        work(&calm).unwrap();
        for call in 1..=calm.data.calls() {
            // when the machine ends at any call of that,
            let ended = of(world.data.snapshot());
            ended.data.reseed(call);
            ended.data.crash_after(call);
            drop(work(&ended)); // closing makes calls too
            assert!(ended.data.is_crashed());
            // then all is there, whichever of the two is found.
            let found = of(ended.data.restart());
            let lsm = found.open_with(options(None));
            let lsm = lsm.unwrap_or_else(|e| panic!("page {page}, call {call}: {e}"));
            assert!(lsm.last_lsn() >= last, "page {page}, call {call}");
            assert_has_all(&lsm);
            drop(lsm);
            let report =
                lsm::verify(&(Arc::clone(&found.data) as Arc<dyn Disk>), &mut |_, _| {}).unwrap();
            assert!(report.is_clean(), "page {page}, call {call}: {report}");
        }
    }
}
