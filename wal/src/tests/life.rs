//! What a log does in its life: append, rotate, truncate, be read, be poisoned.

use super::*;
use crate::{SegmentInfo, SyncMode};
use platform::{Disk, Open};

#[test]
fn frames_come_back_in_order_with_what_they_were_given() {
    let disk = SimDisk::new(1);
    let (wal, found) = open(&disk);
    assert_eq!((found.len(), wal.last_lsn(), wal.epoch()), (0, 0, 1));
    assert_eq!(wal.append(100, b"one").unwrap(), 1);
    assert_eq!(wal.append(90, b"").unwrap(), 2);
    assert_eq!((wal.last_lsn(), wal.durable_lsn()), (2, 0));
    assert_eq!(wal.sync().unwrap(), 2);
    drop(wal);

    let (wal, found) = open(&disk.restart_worst());
    let kept = |lsn, wall, payload: &[u8]| Kept { lsn, wall, epoch: 1, payload: payload.to_vec() };
    assert_eq!(found, [kept(1, 100, b"one"), kept(2, 90, b"")]);
    assert_eq!((wal.last_lsn(), wal.durable_lsn(), wal.epoch()), (2, 2, 2));
    assert_eq!(wal.append(110, b"three").unwrap(), 3);
    assert_eq!(wal.recovery().frames, 2);
    assert_eq!(wal.recovery().torn_tail, None);
}

#[test]
fn a_killed_process_loses_nothing_and_what_was_replayed_is_durable() {
    let disk = SimDisk::new(1);
    let (wal, _) = open(&disk);
    wal.append(1, b"in the kernel only").unwrap();
    let disk = disk.kill();
    let (_, found) = open(&disk);
    assert_eq!(lsns(&found), [1]);
    // The first life never synced; the second one's opening did.
    let (_, found) = open(&disk.restart_worst());
    assert_eq!(lsns(&found), [1]);
}

#[test]
fn every_open_is_a_new_epoch_and_empty_segments_do_not_pile_up() {
    let disk = SimDisk::new(1);
    for epoch in 1..=5 {
        let (wal, _) = open(&disk);
        assert_eq!(wal.epoch(), epoch);
        assert_eq!(wal.segments().len(), 1);
        assert_eq!(wal.total_bytes(), 64);
    }
    assert_eq!(files(&disk), [(segment_path(5), 64)]);
}

#[test]
fn a_segment_ends_before_it_grows_over_its_bound() {
    ends_before_its_bound(SyncMode::Async);
    ends_before_its_bound(SyncMode::Sync);
}

fn ends_before_its_bound(sync: SyncMode) {
    let disk = SimDisk::new(1);
    let (wal, _) = open_from(&disk, Options { sync, ..SMALL }, 1, 0).unwrap();
    // 64 of header, then frames of 64 + 56 = 120: three fit in 512, not four.
    for _ in 0..7 {
        wal.append(1, &[7; 56]).unwrap();
    }
    wal.append(1, &[8; 1000]).unwrap(); // larger than a segment: one of its own
    wal.append(1, &[9; 8]).unwrap();
    // Sealed is what is ended and durable.
    let ended = sync == SyncMode::Sync;
    let segment = |number, first_lsn, last_lsn, bytes, sealed| SegmentInfo {
        number,
        first_lsn,
        last_lsn,
        bytes,
        sealed,
    };
    assert_eq!(
        wal.segments(),
        [
            segment(1, 1, 3, 64 + 3 * 120, ended),
            segment(2, 4, 6, 64 + 3 * 120, ended),
            segment(3, 7, 7, 64 + 120, ended),
            segment(4, 8, 8, 64 + 1064, ended),
            segment(5, 9, 9, 64 + 72, false),
        ]
    );
    assert_eq!(wal.total_bytes(), 2 * 424 + 184 + 1128 + 136);
    // Each file is prepared in whole blocks.
    let lens: Vec<_> = files(&disk).into_iter().map(|f| f.1).collect();
    assert_eq!(lens, [4096; 5]);
    // In sync mode rotation made all but the tail durable.
    let durable = if sync == SyncMode::Sync { 8 } else { 0 };
    assert_eq!(wal.durable_lsn(), durable);
    let found = open(&disk.restart_worst()).1;
    assert_eq!(lsns(&found), (1..=durable).collect::<Vec<_>>());
}

#[test]
fn truncation_removes_whole_segments_and_never_the_tail() {
    let disk = SimDisk::new(1);
    let (wal, _) = open(&disk);
    for _ in 0..7 {
        wal.append(1, &[7; 56]).unwrap(); // segments 1..=3, 4..=6, 7
    }
    wal.sync().unwrap();
    for (below, removed) in [(0, 0), (3, 0), (4, 1), (4, 0), (7, 1), (8, 0), (100, 0)] {
        assert_eq!(wal.truncate_below(below).unwrap(), removed, "below {below}");
    }
    assert_eq!(files(&disk), [(segment_path(3), 4096)]);
    drop(wal);
    assert_eq!(files(&disk), [(segment_path(3), 64 + 120)], "a clean end cuts what was prepared");

    let disk = disk.restart_worst();
    let (wal, found) = open_from(&disk, SMALL, 7, 6).unwrap();
    assert_eq!(lsns(&found), [7]);
    assert_eq!(wal.append(1, b"next").unwrap(), 8);
    // Frames from before the cut are asked for: they are gone, and that is said.
    let error = open_from(&disk, SMALL, 5, 0).unwrap_err().to_string();
    assert!(error.contains("starts at frame 7, frames from 5 on are needed"), "{error}");
}

#[test]
fn only_frames_from_the_asked_one_on_are_replayed() {
    let disk = SimDisk::new(1);
    let (wal, _) = open(&disk);
    for _ in 0..7 {
        wal.append(1, &[7; 56]).unwrap();
    }
    let (wal, found) = open_from(&disk, SMALL, 6, 0).unwrap();
    assert_eq!(lsns(&found), [6, 7]);
    assert_eq!(wal.last_lsn(), 7);
}

#[test]
fn a_log_that_ends_too_early_is_refused_unchanged() {
    let disk = SimDisk::new(1);
    let (wal, _) = open(&disk);
    wal.append(1, b"one").unwrap();
    drop(wal);
    let before = disk.digest();
    for (from, must_have) in [(1, 2), (3, 0)] {
        let error = open_from(&disk, SMALL, from, must_have).unwrap_err().to_string();
        let place = format!("{} at offset 136, where frame 2 should be", segment_path(1));
        assert!(error.contains(&place), "{error}");
        assert!(error.contains("planck restore --from"), "{error}");
    }
    assert_eq!(disk.digest(), before);
    // An empty directory where a log should be.
    let error = open_from(&SimDisk::new(1), SMALL, 1, 9).unwrap_err();
    assert!(matches!(error, Error::Corrupt { lsn: 1, .. }), "{error}");
}

#[test]
fn a_replay_that_fails_stops_recovery_and_changes_nothing() {
    let disk = SimDisk::new(1);
    let (wal, _) = open(&disk);
    wal.append(1, b"one").unwrap();
    drop(wal);
    let before = disk.digest();
    let error = Wal::open(disk.clone(), "wal", SMALL, 1, 0, &mut |_| Err("no such store".into()));
    assert_eq!(error.unwrap_err().to_string(), "frame 1 could not be replayed: no such store");
    assert_eq!(disk.digest(), before);
}

#[test]
fn another_format_is_refused_by_name_and_nothing_is_changed() {
    for (version, todo) in [(1, "planctl export"), (3, "run the release that wrote it")] {
        let disk = SimDisk::new(1);
        drop(open(&disk));
        // Given a segment of that version, which checks,
        let file = disk.open(&segment_path(1), Open::Write).unwrap();
        let mut header = disk.file_bytes(&segment_path(1)).unwrap()[..64].to_vec();
        header[8] = version;
        let sum = crc_fast::checksum(crc_fast::CrcAlgorithm::Crc64Nvme, &header[..56]);
        header[56..].copy_from_slice(&sum.to_le_bytes());
        file.write_at(&header, 0).unwrap();
        let before = disk.digest();
        // then it is refused by its name, and what to do is said;
        let error = open_from(&disk, SMALL, 1, 0).unwrap_err();
        let of = u32::from(version);
        let named = matches!(&error, Error::OtherFormat { found, known: 2, .. } if *found == of);
        assert!(named && error.to_string().contains(todo), "{error}");
        assert_eq!(disk.digest(), before);
        // a version that is only rotten is damage.
        disk.corrupt(&segment_path(1), 63, 1).unwrap();
        let error = open_from(&disk, SMALL, 1, 0).unwrap_err();
        assert!(matches!(error, Error::Corrupt { .. }), "{error}");
    }
}

#[test]
fn files_of_others_are_left_alone() {
    let disk = SimDisk::new(1);
    disk.create_dir("wal").unwrap();
    disk.open("wal/notes.txt", Open::CreateNew).unwrap();
    drop(open(&disk));
    drop(open(&disk));
    assert!(disk.file_bytes("wal/notes.txt").is_some());
}

#[test]
fn the_cursor_hands_out_durable_frames_only_and_follows_the_log() {
    let disk = SimDisk::new(1);
    let (wal, _) = open(&disk);
    let mut cursor = wal.cursor(2).unwrap();
    let mut take = || {
        let mut seen = Vec::new();
        while let Some(frame) = cursor.next().unwrap() {
            seen.push(Kept::from(frame));
        }
        lsns(&seen)
    };
    for _ in 0..3 {
        wal.append(1, &[7; 56]).unwrap(); // 1..=3: segment 1 is full
    }
    assert_eq!(take(), [] as [Lsn; 0]);
    wal.wait_durable(3).unwrap();
    assert_eq!(take(), [2, 3]);
    wal.append(1, &[7; 56]).unwrap();
    assert_eq!(take(), [] as [Lsn; 0]);
    wal.append(1, &[7; 56]).unwrap();
    wal.sync().unwrap();
    assert_eq!(take(), [4, 5]); // from the next segment
    wal.append(1, &[7; 300]).unwrap();
    wal.sync().unwrap();
    wal.truncate_below(6).unwrap();
    assert_eq!(take(), [6]);
}

#[test]
fn a_cursor_behind_the_truncation_is_told_so() {
    let disk = SimDisk::new(1);
    let (wal, _) = open(&disk);
    let mut late = wal.cursor(1).unwrap();
    for _ in 0..4 {
        wal.append(1, &[7; 56]).unwrap();
    }
    wal.sync().unwrap();
    wal.truncate_below(4).unwrap();
    assert!(matches!(wal.cursor(3), Err(Error::Gone { wanted: 3, oldest: 4 })));
    assert!(matches!(late.next(), Err(Error::Gone { wanted: 1, oldest: 4 })));
}

#[test]
fn a_cursor_reads_frames_of_earlier_lives() {
    let disk = SimDisk::new(1);
    for payload in [b"a", b"b", b"c"] {
        let (wal, _) =
            open_from(&disk, Options { salt: payload[0].into(), ..SMALL }, 1, 0).unwrap();
        wal.append(1, payload).unwrap();
    }
    let (wal, _) = open(&disk);
    let mut cursor = wal.cursor(1).unwrap();
    for (lsn, payload) in [(1, b"a"), (2, b"b"), (3, b"c")] {
        let frame = cursor.next().unwrap().unwrap();
        assert_eq!((frame.lsn, frame.epoch, frame.payload), (lsn, lsn, &payload[..]));
    }
    assert!(cursor.next().unwrap().is_none());
}

#[test]
fn a_failed_sync_poisons_with_one_message_and_reads_go_on() {
    let disk = SimDisk::new(1);
    let (wal, _) = open(&disk);
    wal.append(1, b"one").unwrap();
    wal.sync().unwrap();
    wal.append(1, b"two").unwrap();
    disk.fail_sync("wal/");

    let first = wal.wait_durable(2).unwrap_err().to_string();
    assert!(first.contains("frames 2 to 2 could not be synced"), "{first}");
    // The disk is well again; nothing is retried all the same.
    let calls = disk.calls();
    assert_eq!(wal.wait_durable(2).unwrap_err().to_string(), first);
    assert_eq!(wal.sync().unwrap_err().to_string(), first);
    assert_eq!(wal.append(1, b"three").unwrap_err().to_string(), first);
    assert_eq!(wal.poisoned().unwrap(), first);
    assert_eq!(disk.calls(), calls);
    // What was durable stays so, and is read.
    wal.wait_durable(1).unwrap();
    assert_eq!((wal.durable_lsn(), wal.last_lsn()), (1, 2));
    assert_eq!(wal.cursor(1).unwrap().next().unwrap().unwrap().payload, b"one");
}

#[test]
fn after_a_failed_sync_a_restart_makes_durable_what_it_replays() {
    // A kernel may hold pages of a failed sync as clean: another sync does
    // nothing. What the next life replays must not hang on them.
    let mut replayed = 0;
    for seed in 0..50 {
        let disk = SimDisk::new(seed);
        // Over several pages: what recovery writes beside the frame must not save it.
        let opts = Options { segment_bytes: 1 << 16, ..SMALL };
        let (wal, _) = open_from(&disk, opts, 1, 0).unwrap();
        wal.append(1, b"one").unwrap();
        wal.sync().unwrap();
        wal.append(1, &[2; 20_000]).unwrap();
        disk.fail_sync("wal/");
        wal.sync().unwrap_err();

        let disk = disk.kill();
        let (_, found) = open(&disk);
        replayed += found.len();
        let (_, after) = open(&disk.restart_worst());
        assert_eq!(found, after, "seed {seed}");
    }
    assert!(replayed > 50, "no failed frame was ever replayed: the test tests nothing");
}

#[test]
fn a_failed_sync_at_rotation_poisons() {
    let disk = SimDisk::new(1);
    let (wal, _) = open_from(&disk, Options { sync: SyncMode::Sync, ..SMALL }, 1, 0).unwrap();
    for _ in 0..3 {
        wal.append(1, &[7; 56]).unwrap();
    }
    disk.fail_sync("wal/");
    wal.append(1, &[7; 56]).unwrap_err();
    assert_eq!(wal.durable_lsn(), 0);
    wal.sync().unwrap_err();
    assert_eq!(files(&disk).len(), 1, "no segment after one that is not durable");
}

#[test]
fn a_payload_too_large_is_refused_and_nothing_else_happens() {
    let disk = SimDisk::new(1);
    let (wal, _) = open(&disk);
    let error = wal.append(1, &vec![0; crate::MAX_PAYLOAD_BYTES + 1]).unwrap_err();
    assert!(matches!(error, Error::TooLarge { bytes: 67_108_865, max: 67_108_864 }));
    assert_eq!(wal.append(1, b"one").unwrap(), 1);
}

#[test]
fn waiting_follows_the_mode() {
    for (sync, durable) in [(SyncMode::Sync, 1), (SyncMode::Async, 0)] {
        let disk = SimDisk::new(1);
        let (wal, _) = open_from(&disk, Options { sync, ..SMALL }, 1, 0).unwrap();
        wal.append(1, b"one").unwrap();
        wal.acknowledge(1).unwrap();
        assert_eq!(wal.durable_lsn(), durable);
        assert!(matches!(wal.wait_durable(2), Err(Error::NotWritten { wanted: 2, last: 1 })));
    }
}

#[test]
fn syncing_with_nothing_to_sync_calls_nothing() {
    let disk = SimDisk::new(1);
    let (wal, _) = open(&disk);
    wal.append(1, b"one").unwrap();
    wal.sync().unwrap();
    let calls = disk.calls();
    assert_eq!(wal.sync().unwrap(), 1);
    wal.wait_durable(1).unwrap();
    assert_eq!(disk.calls(), calls);
}
