//! Segments used again: what stands in them from before is never read, never a
//! proof, never damage.

use super::*;
use crate::frame::{self, Place};
use crate::segment::Kind;
use crate::{SyncMode, segment};
use platform::sim::{Fault, Times};
use platform::{Disk, Open};

const REUSED: Options = Options { spare_segments: 2, ..SMALL };

/// Fills segments with frames of 120 bytes, three to each, truncating behind:
/// each but the first two is made of a spare that holds frames at the same places.
fn turned(disk: &Arc<SimDisk>, opts: Options, frames: u64) -> Wal {
    let (wal, _) = open_from(disk, opts, 1, 0).unwrap();
    for _ in 0..frames {
        let lsn = wal.append(1, &[7; 56]).unwrap();
        wal.wait_durable(lsn).unwrap();
        wal.truncate_below(lsn).unwrap();
    }
    wal
}

fn spare_path(number: u64) -> String {
    Kind::Spare.path("wal", number)
}

#[test]
fn truncated_segments_are_used_again_and_a_bounded_few_are_kept() {
    let disk = SimDisk::new(1);
    let (wal, _) = open_from(&disk, REUSED, 1, 0).unwrap();
    for _ in 0..15 {
        wal.append(1, &[7; 56]).unwrap(); // segments 1 to 5
    }
    wal.sync().unwrap();
    assert_eq!(wal.truncate_below(13).unwrap(), 4);
    assert_eq!(wal.spare_segments(), 2);
    let names: Vec<_> = files(&disk).into_iter().map(|f| f.0).collect();
    assert_eq!(names, [spare_path(1), spare_path(2), segment_path(5)]);
    for _ in 0..4 {
        wal.append(1, &[8; 56]).unwrap(); // 6 and 7, of the spares
    }
    assert_eq!(wal.spare_segments(), 0);
    let names: Vec<_> = files(&disk).into_iter().map(|f| f.0).collect();
    assert_eq!(names, [segment_path(5), segment_path(6), segment_path(7)]);
    // Stale frames stand behind the new ones, and nobody is fooled.
    wal.sync().unwrap();
    let tail = disk.file_bytes(&segment_path(7)).unwrap();
    assert_eq!(&tail[64 + 120..64 + 124], b"PLKF");
    let (wal, found) = open_from(&disk.restart_worst(), REUSED, 13, 0).unwrap();
    assert_eq!(lsns(&found), [13, 14, 15, 16, 17, 18, 19]);
    assert_eq!(wal.recovery().torn_tail, None, "stale frames are no torn tail");
}

#[test]
fn a_stale_frame_at_the_very_place_of_the_next_is_never_taken_for_it() {
    // The same salt, epoch, offsets and lengths, the LSNs as they come: only the
    // segment's number in the checksum tells a stale frame from the next.
    for sync in [SyncMode::Async, SyncMode::Sync] {
        let opts = Options { sync, ..REUSED };
        for frames in 7..30 {
            let disk = SimDisk::new(frames);
            let wal = turned(&disk, opts, frames);
            let first = wal.segments()[0].first_lsn;
            // Alive, killed, cut from power: always the same frames.
            let mut cursor = wal.cursor(first).unwrap();
            let mut seen = Vec::new();
            while let Some(frame) = cursor.next().unwrap() {
                seen.push(frame.lsn);
            }
            assert_eq!(seen, (first..=frames).collect::<Vec<_>>());
            for after in [disk.snapshot().kill(), disk.restart_worst()] {
                let (wal, found) = open_from(&after, opts, first, frames).unwrap();
                assert_eq!(lsns(&found), seen);
                assert_eq!(wal.recovery().torn_tail, None);
                assert_eq!(wal.append(1, b"next").unwrap(), frames + 1);
            }
        }
    }
}

#[test]
fn every_number_and_epoch_a_stale_frame_may_have_is_passed_over() {
    // given: a log of one frame in a recycled file, behind it a whole frame as
    // another use of the file could have left it: any LSN, any witness
    for (salt, number, lsn, epoch, durable) in
        [(77, 1, 2, 1, 1), (77, 1, 9, 1, 8), (77, 9, 2, 1, 1), (1, 3, 2, 1, 1), (77, 3, 5, 2, 4)]
    {
        let disk = SimDisk::new(1);
        let wal = turned(&disk, REUSED, 7);
        let tail = *wal.segments().last().unwrap();
        assert_eq!(tail.number, 3);
        let place = Place { salt, segment: number, epoch, offset: tail.bytes };
        let stale = frame::whole(place, lsn + 6, 1, 1, durable + 6, &[9; 56]);
        let path = segment_path(tail.number);
        std::mem::forget(wal); // a kill: nothing is cut
        disk.open(&path, Open::Write).unwrap().write_at(&stale, tail.bytes).unwrap();
        // when, then
        let (_, found) = open_from(&disk, REUSED, 7, 7).unwrap();
        assert_eq!(lsns(&found), [7]);
    }
}

#[test]
fn damage_in_a_recycled_segment_is_damage_and_a_torn_tail_is_one() {
    damage_and_torn_tails(SyncMode::Async);
    damage_and_torn_tails(SyncMode::Sync);
}

fn damage_and_torn_tails(sync: SyncMode) {
    // given: a recycled tail with three frames, each vouched for by the next
    let disk = SimDisk::new(1);
    let wal = turned(&disk, Options { sync, ..REUSED }, 9);
    let tail = *wal.segments().last().unwrap();
    assert_eq!((tail.first_lsn, tail.last_lsn), (7, 9));
    let path = segment_path(tail.number);
    assert!(
        segment::SegmentHeader::check(&disk.file_bytes(&path).unwrap(), tail.number)
            .is_ok_and(|h| h.recycled)
    );
    let frame = |i: u64| 64 + i * 120;
    for (lsn, offset, xor) in [(7, frame(0) + 3, 1), (7, frame(0) + 64, 1), (8, frame(1) + 56, 9)] {
        let disk = disk.snapshot();
        disk.corrupt(&path, offset, xor).unwrap();
        match open_from(&disk, REUSED, 7, 0) {
            Err(Error::Corrupt { lsn: named, .. }) => assert_eq!(named, lsn),
            other => panic!("{other:?}"),
        }
    }
    // The last one is vouched for by nobody: torn, in its payload or its header.
    for offset in [frame(2) + 70, frame(2) + 40] {
        let disk = disk.snapshot();
        disk.corrupt(&path, offset, 1).unwrap();
        let (wal, found) = open_from(&disk, REUSED, 7, 0).unwrap();
        assert_eq!(lsns(&found), [7, 8]);
        let (file, at, bytes) = wal.recovery().torn_tail.clone().unwrap();
        assert_eq!((file, at), (path.clone(), frame(2)));
        assert!(bytes >= 64, "{bytes}");
        assert_eq!(wal.append(1, b"again").unwrap(), 9);
    }
}

#[test]
fn a_cursor_in_a_segment_that_is_used_again_is_told_that_its_frames_are_gone() {
    let disk = SimDisk::new(1);
    let (wal, _) = open_from(&disk, REUSED, 1, 0).unwrap();
    for _ in 0..5 {
        wal.append(1, &[7; 56]).unwrap();
    }
    wal.sync().unwrap();
    let mut cursor = wal.cursor(1).unwrap();
    assert_eq!(cursor.next().unwrap().unwrap().lsn, 1);
    // The file of 1 to 3 becomes the segment of 7 to 9, under the cursor's feet.
    for _ in 5..9 {
        let lsn = wal.append(1, &[7; 56]).unwrap();
        wal.wait_durable(lsn).unwrap();
        wal.truncate_below(4).unwrap();
    }
    assert_eq!(wal.segments().last().unwrap().number, 3);
    // What it has read already is good; then it says so, and never hands out more.
    loop {
        match cursor.next() {
            Ok(Some(frame)) => assert!(frame.lsn <= 3, "{}", frame.lsn),
            Err(Error::Gone { wanted, oldest: 4 }) => {
                assert!(wanted <= 3);
                break;
            }
            // All three had been read ahead, and 4 still exists.
            Ok(None) => break,
            other => panic!("{other:?}"),
        }
        if cursor.position() == 4 {
            break;
        }
    }
}

#[test]
fn leftovers_of_an_earlier_life_are_removed_or_used_and_never_read() {
    let disk = SimDisk::new(1);
    drop(turned(&disk, REUSED, 7));
    for number in [70, 80] {
        disk.open(&spare_path(number), Open::CreateNew).unwrap().append(&[1; 10]).unwrap();
        let new = Kind::New.path("wal", number);
        disk.open(&new, Open::CreateNew).unwrap().append(&[2; 10]).unwrap();
    }
    let (wal, found) = open_from(&disk, REUSED, 7, 7).unwrap();
    assert_eq!(lsns(&found), [7]);
    assert_eq!(wal.spare_segments(), 1, "of two kept, one is the new segment");
    let left: Vec<_> = files(&disk).into_iter().map(|f| f.0).collect();
    assert_eq!(left.iter().filter(|f| f.ends_with(".new")).count(), 0);
    assert_eq!(left.iter().filter(|f| f.ends_with(".spare")).count(), 1);
    for _ in 0..9 {
        wal.append(1, &[7; 56]).unwrap();
    }
    wal.sync().unwrap();
    let (_, found) = open_from(&disk.restart_worst(), REUSED, 7, 0).unwrap();
    assert_eq!(lsns(&found), (7..=16).collect::<Vec<_>>());
}

#[test]
fn a_sync_mode_log_can_be_opened_in_async_mode_and_back() {
    let disk = SimDisk::new(1);
    let mut disk = disk;
    for life in 0..6 {
        let sync = if life % 2 == 0 { SyncMode::Sync } else { SyncMode::Async };
        let (wal, found) = open_from(&disk, Options { sync, ..REUSED }, 1, 0).unwrap();
        assert_eq!(found.len() as u64, life * 5);
        for _ in 0..5 {
            let lsn = wal.append(1, &[7; 56]).unwrap();
            wal.wait_durable(lsn).unwrap();
        }
        drop(wal);
        disk = disk.restart_worst();
    }
}

#[test]
fn a_spare_whose_header_could_pass_for_a_later_segment_is_not_kept() {
    // A power cut may leave a spare with the header of a segment that never got
    // its name; under its next name, whose header is lost too, it would look like
    // a file in the wrong place.
    let disk = SimDisk::new(1);
    drop(turned(&disk, REUSED, 7));
    let (number, first_lsn, epoch, salt) = (90, 100, 1, 77);
    let header = segment::SegmentHeader { number, first_lsn, epoch, salt, recycled: true };
    for name in [60, 61] {
        let file = disk.open(&spare_path(name), Open::CreateNew).unwrap();
        file.append(&header.encode()).unwrap();
        file.allocate(4096).unwrap();
    }
    let (wal, _) = open_from(&disk, REUSED, 7, 7).unwrap();
    assert_eq!(wal.spare_segments(), 0, "the one good spare is the new segment");
    assert!(files(&disk).iter().all(|f| f.0 != spare_path(60) && f.0 != spare_path(61)));
}

#[test]
fn after_a_failed_sync_of_the_directory_no_other_segment_goes() {
    // Given a log of which four segments can go, and a directory that fails to sync,
    let disk = SimDisk::new(1);
    let (wal, _) = open_from(&disk, REUSED, 1, 0).unwrap();
    for _ in 0..15 {
        wal.append(1, &[7; 56]).unwrap();
    }
    wal.sync().unwrap();
    disk.fail(Fault::Sync, "wal", Times::Next);
    assert!(matches!(wal.truncate_below(13), Err(Error::Poisoned(_))));
    // when it is asked again, then no other name goes: who knows whether the first has?
    let before = files(&disk);
    assert_eq!(wal.truncate_below(13).unwrap(), 0);
    assert_eq!(files(&disk), before);
}

#[test]
fn a_spare_that_is_gone_keeps_nobody_from_the_next_segment() {
    let disk = SimDisk::new(1);
    let wal = turned(&disk, REUSED, 15);
    assert!(wal.spare_segments() > 0);
    // Given spares that somebody has removed,
    for (path, _) in files(&disk).into_iter().filter(|(path, _)| path.ends_with(".spare")) {
        disk.remove(&path).unwrap();
    }
    // when the log rests, then they count as removed,
    assert!(wal.keep_spares(0).unwrap() > 0);
    assert_eq!(wal.spare_segments(), 0);
    // and the log goes on.
    for _ in 0..9 {
        wal.append(1, &[7; 56]).unwrap();
    }
    wal.sync().unwrap();
}
