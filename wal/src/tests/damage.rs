//! Damage: bits flipped, files gone, cut, moved or zeroed. What was vouched for
//! is refused by place; wrong bytes are never replayed; a refusal changes nothing.

use super::*;
use crate::SyncMode;
use crate::frame::{self, Place};
use crate::segment::HEADER_LEN;
use platform::{Disk, Open};

/// Two lives, three segments, ten frames; for each frame (from 1) its file,
/// offset, bytes, and the durable LSN it carries.
struct Sample {
    disk: Arc<SimDisk>,
    frames: Vec<Kept>,
    places: Vec<(String, u64, u64, Lsn)>,
}

fn sample() -> Sample {
    sample_in(SyncMode::Sync)
}

fn sample_in(sync: SyncMode) -> Sample {
    let disk = SimDisk::new(3);
    let opts = Options { sync, ..SMALL };
    let mut places = Vec::new();
    let mut append = |wal: &Wal, len: usize| {
        let durable = wal.durable_lsn();
        let lsn = wal.append(lsns_wall(wal.last_lsn() + 1), &vec![lsn_byte(wal); len]).unwrap();
        let tail = *wal.segments().last().unwrap();
        let bytes = frame::frame_len(len);
        // In sync mode the durable LSN rises at rotation, before the frame is written.
        let rises = sync == SyncMode::Sync && tail.first_lsn == lsn;
        let durable = if rises { lsn - 1 } else { durable };
        places.push((segment_path(tail.number), tail.bytes - bytes, bytes, durable));
    };
    let (wal, _) = open_from(&disk, opts, 1, 0).unwrap();
    for len in [56, 10, 90, 40, 100] {
        append(&wal, len); // segments 1 and 2
    }
    wal.sync().unwrap();
    drop(wal);
    let (wal, _) = open_from(&disk, opts, 1, 0).unwrap(); // segment 3
    append(&wal, 10);
    append(&wal, 70);
    wal.sync().unwrap();
    append(&wal, 3);
    append(&wal, 0);
    append(&wal, 20);
    wal.sync().unwrap();
    drop(wal);
    let frames = open(&disk.snapshot()).1;
    assert_eq!(frames.len(), 10);
    Sample { disk, frames, places }
}

fn lsns_wall(lsn: Lsn) -> u64 {
    1000 + lsn
}

fn lsn_byte(wal: &Wal) -> u8 {
    wal.last_lsn() as u8 + 1
}

/// Whether a later frame of the last segment says that `lsn` was durable.
fn vouched(sample: &Sample, lsn: Lsn) -> bool {
    let last_file = &sample.places.last().unwrap().0;
    let (file, ..) = &sample.places[lsn as usize - 1];
    file != last_file || sample.places[lsn as usize..].iter().any(|p| p.3 >= lsn)
}

#[test]
fn every_flipped_byte_is_refused_or_cuts_frames_nobody_vouched_for() {
    every_flipped_byte(&sample_in(SyncMode::Async));
    every_flipped_byte(&sample_in(SyncMode::Sync));
}

/// Segment 3 holds all that is needed: the other two are not read, whatever stands in
/// their frames, and who follows the log is told of it, or of the right frames.
#[test]
fn damage_in_applied_segments_is_for_those_who_read_them() {
    let sample = sample();
    let from = 6;
    let needed = &sample.frames[from as usize - 1..];
    let (mut sound, mut told) = (0, 0);
    for (file, len) in files(&sample.disk).into_iter().filter(|f| f.0 != segment_path(3)) {
        for offset in 0..len as u64 {
            let disk = sample.disk.snapshot();
            disk.corrupt(&file, offset, 0x10).unwrap();
            let opened = open_from(&disk, SMALL, from, from - 1);
            if offset < HEADER_LEN {
                // Headers are read: they say which segments there are.
                assert!(opened.is_err(), "{file} at {offset}");
                continue;
            }
            let (wal, found) = opened.unwrap();
            assert_eq!(found, needed, "{file} at {offset}");
            let mut cursor = wal.cursor(1).unwrap();
            let mut followed = Vec::new();
            let error = loop {
                match cursor.next() {
                    Ok(Some(frame)) => followed.push(Kept::from(frame)),
                    Ok(None) => break None,
                    Err(error) => break Some(error),
                }
            };
            assert_eq!(followed, sample.frames[..followed.len()], "{file} at {offset}");
            match error {
                None => sound += 1,
                Some(Error::Corrupt { file: named, lsn, .. }) => {
                    assert_eq!((named, lsn), (file.clone(), followed.len() as Lsn + 1));
                    told += 1;
                    continue;
                }
                Some(other) => panic!("{file} at {offset}: {other}"),
            }
            assert_eq!(followed.len(), 10, "{file} at {offset}");
        }
    }
    // Behind the frames of a segment stands anything.
    assert!(told > 500 && sound > 0, "{told} {sound}");
}

fn every_flipped_byte(sample: &Sample) {
    let (mut refused, mut cut) = (0, 0);
    for (file, len) in files(&sample.disk) {
        let used = sample.places.iter().filter(|p| p.0 == file).map(|p| p.1 + p.2).max().unwrap();
        for offset in 0..len as u64 {
            // Behind the frames of a segment stands anything: a few bytes will do.
            if offset > used && !offset.is_multiple_of(509) {
                continue;
            }
            for xor in [0x01, 0x80, 0xff] {
                let disk = sample.disk.snapshot();
                disk.corrupt(&file, offset, xor).unwrap();
                let before = disk.digest();
                match open_from(&disk, SMALL, 1, 0) {
                    Ok((_, found)) if offset >= used => {
                        assert_eq!(found, sample.frames, "{file} at {offset}");
                        continue;
                    }
                    Err(
                        Error::Corrupt { file: named, .. } | Error::OtherFormat { file: named, .. },
                    ) => {
                        assert_eq!(named, file, "offset {offset}");
                        assert_eq!(disk.digest(), before, "a refusal changes nothing");
                        refused += 1;
                    }
                    Err(other) => panic!("{file} at {offset}: {other}"),
                    Ok((wal, found)) => {
                        let kept = found.len();
                        assert_eq!(found, sample.frames[..kept], "{file} at {offset}");
                        assert!(kept < 10, "{file} at {offset}: the flip was not seen");
                        assert!(!vouched(sample, kept as Lsn + 1), "{file} at {offset}");
                        assert!(wal.recovery().torn_tail.is_some());
                        cut += 1;
                    }
                }
                // When the page file has seen all ten, nothing is cut any more.
                let error = open_from(&disk, SMALL, 1, 10);
                if let Ok((_, found)) = error {
                    panic!("{file} at {offset}: {} frames of 10", found.len());
                }
            }
        }
    }
    assert!(refused > 1000 && cut > 100, "{refused} {cut}");
}

#[test]
fn damage_is_named_by_file_offset_and_lsn() {
    let sample = sample();
    let (file, offset, ..) = sample.places[6].clone(); // frame 7, vouched for by 8
    sample.disk.corrupt(&file, offset + 64, 1).unwrap();
    match open_from(&sample.disk, SMALL, 1, 0) {
        Err(e @ Error::Corrupt { lsn: 7, .. }) => {
            let text = e.to_string();
            assert!(text.contains(&format!("{file} at offset {offset}, where frame 7")), "{text}");
            assert!(text.contains("frames up to 7 were durable"), "{text}");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn damage_to_the_last_frame_is_named_when_the_page_file_has_applied_it() {
    let sample = sample();
    let (file, offset, ..) = sample.places[9].clone();
    sample.disk.corrupt(&file, offset + 64, 1).unwrap();
    match open_from(&sample.disk, SMALL, 1, 10) {
        Err(Error::Corrupt { lsn: 10, offset: at, why, .. }) => {
            assert_eq!(at, offset);
            assert!(why.contains("payload does not match its checksum"), "{why}");
            assert!(why.contains("frames up to 10 have been applied"), "{why}");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_log_cut_at_any_byte_of_its_last_segment_keeps_the_whole_frames_before() {
    let sample = sample();
    let last_file = sample.places.last().unwrap().0.clone();
    let len = sample.disk.file_bytes(&last_file).unwrap().len() as u64;
    for cut in 64..len {
        let disk = sample.disk.snapshot();
        disk.open(&last_file, Open::Write).unwrap().set_len(cut).unwrap();
        let whole = sample.places.iter().filter(|p| p.0 != last_file || p.1 + p.2 <= cut).count();
        let (_, found) = open_from(&disk, SMALL, 1, 0).unwrap();
        assert_eq!(found, sample.frames[..whole], "cut at {cut}");
    }
}

#[test]
fn an_earlier_segment_cut_zeroed_or_gone_is_damage() {
    let sample = sample();
    let (first, second) = (segment_path(1), segment_path(2));
    type Harm<'a> = &'a dyn Fn(&SimDisk);
    let cases: [(&str, Harm<'_>); 5] = [
        ("cut at a frame", &|d| {
            let at = sample.places[1].1;
            d.open(&first, Open::Write).unwrap().set_len(at).unwrap();
        }),
        ("cut in a frame", &|d| d.open(&first, Open::Write).unwrap().set_len(200).unwrap()),
        ("zeroed from a frame on", &|d| {
            let file = d.open(&first, Open::Write).unwrap();
            let at = sample.places[1].1;
            let rest = (file.len().unwrap() - at) as usize;
            file.write_at(&vec![0; rest], at).unwrap();
        }),
        ("gone", &|d| d.remove(&second).unwrap()),
        ("under another number", &|d| d.rename(&second, &segment_path(3)).unwrap()),
    ];
    for (name, harm) in cases {
        let disk = sample.disk.snapshot();
        harm(&disk);
        let before = disk.digest();
        let opened = open_from(&disk, SMALL, 1, 0);
        assert!(matches!(opened, Err(Error::Corrupt { .. })), "{name}: {opened:?}");
        assert_eq!(disk.digest(), before, "{name}");
    }
}

#[test]
fn the_last_segment_renamed_is_damage_and_not_a_torn_creation() {
    let sample = sample();
    let last = sample.places.last().unwrap().0.clone();
    sample.disk.rename(&last, &segment_path(9)).unwrap();
    let opened = open_from(&sample.disk, SMALL, 1, 0);
    assert!(matches!(opened, Err(Error::Corrupt { offset: 0, .. })), "{opened:?}");
    assert!(sample.disk.file_bytes(&segment_path(9)).is_some());
}

#[test]
fn zeros_behind_the_last_frame_are_a_clean_end_and_are_cut() {
    let sample = sample();
    let (last, ..) = sample.places.last().unwrap();
    let file = sample.disk.open(last, Open::Write).unwrap();
    let len = file.len().unwrap();
    file.set_len(len + 1000).unwrap();
    let (_, found) = open(&sample.disk);
    assert_eq!(found, sample.frames);
    assert_eq!(file.len().unwrap(), len + 64, "and the end is marked");
}

#[test]
fn a_sound_frame_with_the_wrong_number_or_epoch_is_damage() {
    for (lsn, epoch, durable) in [(3, 1, 0), (1, 1, 0), (2, 2, 0), (2, 1, 2)] {
        let disk = SimDisk::new(1);
        let (wal, _) = open(&disk);
        wal.append(1, b"one").unwrap();
        drop(wal);
        let place = Place { salt: SMALL.salt, segment: 1, epoch: 1, offset: 136 };
        let bytes = frame::whole(place, lsn, 1, epoch, durable, b"two");
        disk.open(&segment_path(1), Open::Write).unwrap().append(&bytes).unwrap();
        let opened = open_from(&disk, SMALL, 1, 0);
        assert!(matches!(opened, Err(Error::Corrupt { lsn: 2, offset: 136, .. })), "{opened:?}");
    }
}

#[test]
fn a_document_cannot_hold_a_frame_that_vouches() {
    // Frame 2 is torn; its payload holds a frame header that says "2 was durable".
    let torn = |salt_guess: u64| {
        let disk = SimDisk::new(1);
        let (wal, _) = open(&disk);
        wal.append(1, b"one").unwrap();
        let place = Place { salt: salt_guess, segment: 1, epoch: 1, offset: 136 + 64 };
        let forged = frame::whole(place, 4, 1, 1, 3, b"");
        wal.append(1, &forged).unwrap();
        drop(wal);
        disk.corrupt(&segment_path(1), 136, 1).unwrap();
        open_from(&disk, SMALL, 1, 0).map(|(_, found)| found.len())
    };
    assert!(matches!(torn(0), Ok(1)), "a guessed salt");
    assert!(matches!(torn(SMALL.salt), Err(Error::Corrupt { .. })), "the salt is what protects");
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(64))]
    #[test]
    fn random_bytes_as_a_segment_never_panic(
        bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..600),
        keep_header: bool,
    ) {
        let disk = SimDisk::new(1);
        drop(open(&disk));
        let file = disk.open(&segment_path(1), Open::Write).unwrap();
        file.write_at(&bytes, if keep_header { 64 } else { 0 }).unwrap();
        if let Ok((_, found)) = open_from(&disk, SMALL, 1, 0) {
            proptest::prop_assert!(found.is_empty());
        }
    }
}

#[test]
fn an_unreadable_stretch_is_a_fault_and_both_sides_of_it_are_read() {
    // Given a segment of many frames that ends in order, and another life behind it,
    let disk = SimDisk::new(1);
    let opts = Options { segment_bytes: 1 << 20, ..SMALL };
    let (wal, _) = open_from(&disk, opts, 1, 0).unwrap();
    for n in 0..200u64 {
        wal.append(1, &vec![n as u8; n as usize % 9 * 30]).unwrap();
    }
    wal.sync().unwrap();
    drop(wal);
    drop(open_from(&disk, opts, 1, 0).unwrap());
    let len = disk.file_bytes(&segment_path(1)).unwrap().len() as u64;
    for (at, bytes) in [(9000, 1), (4096, 4096), (0, 1), (len - 600, 1), (100, 12_000)] {
        // when a stretch of it cannot be read,
        let disk = disk.snapshot();
        disk.spoil(&segment_path(1), at, bytes).unwrap();
        let (bad, good) = (at / 512 * 512, (at + bytes).next_multiple_of(512));
        // then opening is refused by name, and nothing is changed,
        let before = disk.digest();
        let error = open_from(&disk, opts, 1, 0).unwrap_err();
        assert!(error.to_string().contains(&segment_path(1)), "{error}");
        assert_eq!(disk.digest(), before);
        let (mut frames, mut gaps, mut faults) = (Vec::new(), 0, Vec::new());
        crate::check(
            &*disk,
            "wal",
            1,
            0,
            &mut |frame, gap| {
                assert_eq!(frame.payload, vec![(frame.lsn - 1) as u8; frame.payload.len()]);
                frames.push(frame.lsn);
                gaps += u64::from(gap);
            },
            &mut |fault| faults.push(fault),
        )
        .unwrap();
        // and who reads what there is gets all before it and, but for what shares its
        // block, all behind it, told that frames are missing before those.
        assert!(faults.iter().any(|f| !f.torn && f.file == segment_path(1)), "{at}: {faults:?}");
        let header = bad == 0;
        let mut place = 64;
        let (mut sure, mut lost) = (Vec::new(), 0);
        for lsn in 1..=200u64 {
            let end = place + frame::frame_len((lsn as usize - 1) % 9 * 30);
            let touched = place < good && end > bad;
            lost += u64::from(touched);
            let shares = place / 4096 == (good - 1) / 4096 && place >= bad;
            if !touched && !shares && !header {
                sure.push(lsn);
            }
            assert!(!touched || !frames.contains(&lsn), "{at}: frame {lsn}");
            place = end;
        }
        assert!(lost > 0 && sure.iter().all(|lsn| frames.contains(lsn)), "{at}: {frames:?}");
        let behind = frames.iter().filter(|lsn| sure.contains(lsn)).count() as u64;
        assert!(header || behind == sure.len() as u64);
        assert!(gaps > 0 || header || (good - 1) / 4096 == (len - 1) / 4096, "{at}");
    }
}
