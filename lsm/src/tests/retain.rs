//! How far the log may be cut.

use wal::SegmentInfo;

use crate::retain::Retain;
use crate::{Error, WalError};

/// Segments of 100 bytes and 10 frames each: 1 to 10, 11 to 20, ...
fn segments() -> Vec<SegmentInfo> {
    let segment = |i: u64| {
        let (first_lsn, last_lsn) = (i * 10 + 1, i * 10 + 10);
        SegmentInfo { number: i + 1, first_lsn, last_lsn, bytes: 100, sealed: i < 5 }
    };
    (0..6).map(segment).collect()
}

#[test]
fn the_lowest_of_all_is_the_limit() {
    let of = Retain::new(30);
    let segments = segments();
    // Nothing goes before it is known what the older meta page has:
    assert_eq!(of.limit(None, &segments, 1000, 0), 0);
    assert!(of.older_holds(&segments));
    of.committed(45);
    assert_eq!(of.limit(None, &segments, 1000, 0), 30);
    assert!(of.older_holds(&segments), "31 to 40");
    of.committed(45);
    assert_eq!(of.limit(None, &segments, 1000, 0), 45, "both meta pages have 45");
    assert!(!of.older_holds(&segments));
    of.committed(55);
    assert_eq!(of.limit(None, &segments, 1000, 0), 45);
    assert_eq!(of.limit(Some(40), &segments, 1000, 0), 40);
    assert_eq!(of.limit(Some(0), &segments, 1000, 0), 0);
    let one = of.hold_anyway(32);
    let two = of.hold_anyway(60);
    assert_eq!(of.limit(None, &segments, 1000, 0), 31);
    one.advance(44).unwrap();
    assert_eq!(of.limit(None, &segments, 1000, 0), 43);
    one.advance(33).unwrap();
    assert_eq!(of.limit(None, &segments, 1000, 0), 43, "never back");
    drop(one);
    assert_eq!(of.limit(None, &segments, 1000, 0), 45);
    assert_eq!((two.from(), of.figures().oldest, of.figures().holders), (Some(60), Some(60), 1));
}

#[test]
fn the_newest_bytes_are_kept_for_who_comes_back() {
    let segments = segments();
    for (keep, limit) in
        [(0, 45), (1, 45), (100, 45), (101, 40), (200, 40), (201, 30), (600, 0), (601, 0)]
    {
        let of = Retain::new(45);
        of.committed(60);
        assert_eq!(of.limit(None, &segments, 1000, keep), limit, "{keep}");
    }
}

#[test]
fn who_holds_back_too_much_is_let_go_and_told_where_the_log_begins() {
    // Given two holders, all flushed up to 45,
    let segments = segments();
    let of = Retain::new(45);
    of.committed(60);
    let (far, near) = (of.hold_anyway(5), of.hold_anyway(25));
    // 1..=10 to 31..=40 could go, were it not for them: 4 segments, and 2.
    assert_eq!(of.limit(None, &segments, 400, 0), 4);
    // when only 3 may be held back, then the further one goes,
    assert_eq!(of.limit(None, &segments, 399, 0), 24);
    assert_eq!(far.from(), None);
    let error = far.advance(12).unwrap_err();
    let Error::Wal(WalError::Gone { wanted, oldest }) = error else { panic!("{error}") };
    assert_eq!((wanted, oldest), (12, 21));
    // stays so, stays visible,
    assert_eq!(of.limit(None, &segments, 1000, 0), 24);
    assert_eq!((of.figures().holders, of.figures().let_go), (2, 1));
    // and one that holds back nothing that could go is never let go.
    near.advance(46).unwrap();
    assert_eq!(of.limit(None, &segments, 0, 0), 45);
    assert_eq!(near.from(), Some(46));
    // Nor is one blamed for what the archive holds back.
    let slow = of.hold_anyway(21);
    assert_eq!(of.limit(Some(22), &segments, 0, 0), 20);
    assert_eq!(slow.from(), Some(21));
}
