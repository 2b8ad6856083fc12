//! Segments of one life that were made without a sync: what a power cut may take
//! of them, and what only damage can.

use super::*;
use crate::SyncMode;
use platform::{Disk, Open};

const ASYNC: Options = Options { sync: SyncMode::Async, spare_segments: 2, ..SMALL };

/// Frames 1 to 11 in segments 1 to 4; synced up to `synced`.
fn four_segments(disk: &Arc<SimDisk>, synced: Lsn) -> Wal {
    let (wal, _) = open_from(disk, ASYNC, 1, 0).unwrap();
    for lsn in 1..=11 {
        wal.append(1, &[lsn as u8; 56]).unwrap();
        if lsn == synced {
            wal.sync().unwrap();
        }
    }
    assert_eq!(wal.segments().len(), 4);
    assert_eq!(wal.durable_lsn(), synced);
    wal
}

#[test]
fn a_power_cut_takes_a_suffix_and_what_lies_behind_it_is_removed() {
    let mut seen = std::collections::BTreeSet::new();
    for seed in 0..300 {
        let disk = SimDisk::new(seed);
        let wal = four_segments(&disk, 4);
        let cut = disk.restart();
        drop(wal);
        let (wal, found) = open_from(&cut, ASYNC, 1, 0).unwrap();
        let last = found.len() as Lsn;
        assert!(last >= 4, "seed {seed}: frame 4 was durable");
        assert!(found.iter().zip(1..).all(|(f, lsn)| f.lsn == lsn && f.payload == [lsn as u8; 56]));
        seen.insert(last);
        // What is left is a log like any other, whatever was behind.
        assert_eq!(wal.append(1, b"next").unwrap(), last + 1);
        wal.sync().unwrap();
        let (_, found) = open_from(&cut.restart_worst(), ASYNC, 1, last + 1).unwrap();
        assert_eq!(found.len() as Lsn, last + 1);
    }
    assert!(seen.len() > 4, "{seen:?}");
}

#[test]
fn damage_in_any_of_them_is_named_once_a_later_frame_vouches() {
    // given: everything synced, and one more frame that says so, synced too
    let disk = SimDisk::new(1);
    let wal = four_segments(&disk, 11);
    wal.append(1, b"says 11").unwrap();
    wal.sync().unwrap();
    let disk = disk.snapshot().kill();
    let refused = |harm: &dyn Fn(&SimDisk), file: u64| {
        let disk = disk.snapshot();
        harm(&disk);
        let before = disk.digest();
        match open_from(&disk, ASYNC, 1, 0) {
            Err(Error::Corrupt { file: named, .. }) => assert_eq!(named, segment_path(file)),
            other => panic!("segment {file}: {other:?}"),
        }
        assert_eq!(disk.digest(), before);
    };
    for segment in 1..=4 {
        // The header; a frame in the middle; the first frame.
        refused(&|d| d.corrupt(&segment_path(segment), 40, 1).unwrap(), segment);
        refused(&|d| d.corrupt(&segment_path(segment), 64 + 120 + 70, 1).unwrap(), segment);
        refused(&|d| d.corrupt(&segment_path(segment), 64 + 8, 1).unwrap(), segment);
    }
    for gone in 2..=3 {
        // Named by where the chain breaks.
        refused(&|d| d.remove(&segment_path(gone)).unwrap(), gone - 1);
    }
    refused(&|d| d.rename(&segment_path(4), &segment_path(7)).unwrap(), 7);
    let zero = |d: &SimDisk| {
        let file = d.open(&segment_path(3), Open::Write).unwrap();
        file.write_at(&[0; 4096], 0).unwrap();
    };
    refused(&zero, 3);
}

#[test]
fn a_later_life_is_never_overlooked_for_a_rotten_header() {
    // The salt of each life is another: nothing in it checks for the one before.
    for harm in [8, 20, 48, 60] {
        let disk = SimDisk::new(1);
        let (wal, _) = open_from(&disk, Options { salt: 1, ..ASYNC }, 1, 0).unwrap();
        wal.append(1, b"one").unwrap();
        wal.sync().unwrap();
        std::mem::forget(wal);
        let disk = disk.kill();
        let (wal, _) = open_from(&disk, Options { salt: 2, ..ASYNC }, 1, 0).unwrap();
        wal.append(1, b"two").unwrap();
        wal.sync().unwrap();
        drop(wal);
        disk.corrupt(&segment_path(2), harm, 0x10).unwrap();
        match open_from(&disk, ASYNC, 1, 0) {
            Err(Error::Corrupt { file, .. } | Error::OtherFormat { file, .. }) => {
                assert_eq!(file, segment_path(2));
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_segment_is_truncated_only_when_the_next_will_outlive_a_power_cut() {
    let disk = SimDisk::new(1);
    let (wal, _) = open_from(&disk, ASYNC, 1, 0).unwrap();
    for _ in 0..3 {
        wal.append(1, &[7; 56]).unwrap();
    }
    wal.sync().unwrap();
    wal.append(1, &[7; 56]).unwrap(); // a new segment that nobody synced
    assert_eq!(wal.truncate_below(4).unwrap(), 0);
    let (_, found) = open_from(&disk.snapshot().restart_worst(), ASYNC, 4, 3).unwrap();
    assert_eq!(found, []);
    wal.sync().unwrap();
    assert_eq!(wal.truncate_below(4).unwrap(), 1);
    let (_, found) = open_from(&disk.restart_worst(), ASYNC, 4, 4).unwrap();
    assert_eq!(lsns(&found), [4]);
}

#[test]
fn so_many_unsynced_segments_and_no_more() {
    let disk = SimDisk::new(1);
    let (wal, _) = open_from(&disk, ASYNC, 1, 0).unwrap();
    for _ in 0..60 {
        wal.append(1, &[7; 56]).unwrap();
        let behind = wal.segments().iter().filter(|s| !s.sealed).count();
        assert!(behind <= 9, "{behind}");
    }
    assert!(wal.durable_lsn() > 0, "an append synced by itself");
}

#[test]
fn another_life_behind_it_vouches_for_the_last_frame_of_a_life() {
    // given: a life whose newest frame no other frame vouches for, and behind it
    // another life that has no frame yet
    let disk = SimDisk::new(1);
    let wal = four_segments(&disk, 11);
    std::mem::forget(wal);
    let disk = disk.kill();
    std::mem::forget(open_from(&disk, ASYNC, 1, 0).unwrap());
    let disk = disk.kill();
    // when: that frame rots
    disk.corrupt(&segment_path(4), 64 + 120 + 70, 1).unwrap();
    // then: it was durable before the other life began
    match open_from(&disk, ASYNC, 1, 0) {
        Err(Error::Corrupt { file, lsn: 11, why, .. }) => {
            assert_eq!(file, segment_path(4));
            assert!(why.contains("begins another life"), "{why}");
        }
        other => panic!("{other:?}"),
    }
}
