//! The bound on snapshots (`registry.rs`), and who holds the log back (`retain.rs`).

use std::sync::Arc;

use loom::thread;
use wal::SegmentInfo;

use crate::explore;
use crate::registry::Registry;
use crate::retain::Retain;

#[test]
fn never_more_snapshots_than_the_bound_and_none_too_few() {
    // With one slot; with as many as the bound; with one that finds no slot.
    for most in [1, 2, 3] {
        explore(move || {
            let registry = Registry::new(most);
            let held: Vec<_> = (1..most as u64).map(|lsn| registry.register(lsn)).collect();
            assert!(held.iter().all(Option::is_some));
            let other = {
                let registry = Arc::clone(&registry);
                thread::spawn(move || registry.register(8))
            };
            let mine = registry.register(9);
            let theirs = other.join().unwrap();
            assert!(mine.is_some() != theirs.is_some(), "one place for two");
            assert_eq!(registry.live().0, most);
            // A place that was given back is one for the next.
            drop((mine, theirs));
            assert_eq!(registry.live().0, most - 1);
            assert!(registry.register(9).is_some());
        });
    }
}

#[test]
fn a_place_given_back_meanwhile_is_no_second_one() {
    explore(|| {
        let registry = Registry::new(1);
        let first = registry.register(1);
        let other = {
            let registry = Arc::clone(&registry);
            thread::spawn(move || registry.register(8))
        };
        drop(first);
        let mine = registry.register(9);
        let theirs = other.join().unwrap();
        assert!(mine.is_none() || theirs.is_none(), "two where one may be");
        let live = usize::from(mine.is_some()) + usize::from(theirs.is_some());
        assert_eq!(registry.live().0, live);
    });
}

/// Segments of 100 bytes and 10 frames each: 1 to 10, 11 to 20, ...
fn segments() -> Vec<SegmentInfo> {
    let segment = |i: u64| {
        let (first_lsn, last_lsn) = (i * 10 + 1, i * 10 + 10);
        SegmentInfo { number: i + 1, first_lsn, last_lsn, bytes: 100, sealed: i < 5 }
    };
    (0..6).map(segment).collect()
}

#[test]
fn a_holder_that_is_not_gone_finds_its_frames_and_one_that_has_come_far_stays() {
    explore(|| {
        let retain = Retain::new(45);
        retain.committed(60);
        let holder = retain.hold("x", 5, || 1).unwrap();
        let cutter = {
            let retain = Arc::clone(&retain);
            // Nothing may be held back: who is behind is let go.
            thread::spawn(move || retain.limit(None, &segments(), 0, 0))
        };
        let advanced = holder.advance(46).is_ok();
        let before = holder.from();
        let limit = cutter.join().unwrap();
        let from = holder.from();
        assert_eq!(advanced, from.is_some(), "who was told that it may go on was let go");
        assert!(before == from, "let go, or not: once and for all");
        assert!(from.is_none_or(|from| from > limit), "frames that are needed are cut");
    });
}

#[test]
fn who_is_taken_in_finds_the_frames_it_was_promised() {
    explore(|| {
        let retain = Retain::new(45);
        retain.committed(60);
        let cutter = {
            let retain = Arc::clone(&retain);
            thread::spawn(move || retain.limit(None, &segments(), u64::MAX, 0))
        };
        // The log has all frames until they are cut.
        let holder = retain.hold("x", 5, || 1);
        let limit = cutter.join().unwrap();
        assert!(holder.is_err() || limit < 5, "taken in for frames that are cut");
    });
}
