//! What a value log does in its life: append, roll over, read, scan, remove, be
//! poisoned; and that damage is never served.

use super::*;
use crate::{Pointer, SegmentInfo};
use platform::sim::{Fault, Times};
use platform::{Disk, Open};

#[test]
fn records_read_back_by_pointer_before_and_after_a_restart() {
    let disk = SimDisk::new(1);
    let log = open(&disk, Tail::EMPTY);
    assert_eq!(log.sync().unwrap(), Tail::EMPTY);
    let a = log.append(9, b"key a", 1, b"value a").unwrap();
    let b = log.append(10, b"", 2, b"").unwrap();
    assert_eq!(a, Pointer { segment: 1, len: 32 + 5 + 7, offset: 32 });
    assert_eq!(b, Pointer { segment: 1, len: 32, offset: 32 + 44 });
    let tail = log.sync().unwrap();
    assert_eq!(tail, Tail { segment: 1, len: 32 + 44 + 32 });

    for restarted in [false, true] {
        let after = restarted.then(|| open(&disk.restart_worst(), tail));
        let log = after.as_ref().unwrap_or(&log);
        let record = log.read(a).unwrap();
        assert_eq!((record.keyspace, record.lsn), (9, 1));
        assert_eq!((record.key(), record.value()), (&b"key a"[..], &b"value a"[..]));
        assert_eq!(record.into_value(), b"value a");
        let mut buf = vec![1, 2, 3];
        let record = log.read_into(b, &mut buf).unwrap();
        assert_eq!((record.key, record.value, record.lsn), (&b""[..], &b""[..], 2));
    }
}

#[test]
fn a_record_cannot_be_read_before_the_sync() {
    let disk = SimDisk::new(1);
    let log = open(&disk, Tail::EMPTY);
    let small = log.append(1, b"k", 1, b"in the buffer").unwrap();
    let large = log.append(1, b"k", 2, &[7; 300]).unwrap(); // past the buffer
    for at in [small, large] {
        let error = log.read(at).unwrap_err();
        assert!(matches!(error, Error::Misuse { segment: 1, .. }), "{error}");
    }
    log.sync().unwrap();
    assert_eq!(log.read(small).unwrap().value(), b"in the buffer");
    assert_eq!(log.read(large).unwrap().value(), [7; 300]);
}

#[test]
fn the_buffer_is_bounded_and_large_values_go_past_it() {
    let disk = SimDisk::new(1);
    let log = open(&disk, Tail::EMPTY);
    let on_disk = || disk.file_bytes(&segment_path(1)).unwrap().len();
    log.append(1, b"k", 1, &[1; 80]).unwrap(); // 113 of 128
    assert_eq!(on_disk(), 32);
    log.append(1, b"k", 2, &[2; 10]).unwrap(); // 43 more: the first is written
    assert_eq!(on_disk(), 32 + 113);
    log.append(1, b"k", 3, &[3; 200]).unwrap(); // 233: nothing stays buffered
    assert_eq!(on_disk(), 32 + 113 + 43 + 233);
}

#[test]
fn a_segment_ends_before_it_grows_over_its_bound() {
    let disk = SimDisk::new(1);
    let log = open(&disk, Tail::EMPTY);
    let mut at = Vec::new();
    for (i, len) in [200, 200, 200, 2000, 10].into_iter().enumerate() {
        at.push((log.append(1, b"k", i as u64, &vec![i as u8; len]).unwrap(), len));
    }
    let tail = log.sync().unwrap();
    let segments: Vec<u32> = at.iter().map(|(p, _)| p.segment).collect();
    assert_eq!(segments, [1, 1, 2, 3, 4]);
    let info = |id, bytes, sealed| SegmentInfo { id, bytes, sealed };
    let want = [info(1, 466, true), info(2, 233, true), info(3, 2033, true), info(4, 43, false)];
    assert_eq!(log.segments(), want);
    let disk = disk.restart_worst();
    let log = open(&disk, tail);
    assert_eq!(log.segments(), want);
    for (i, (at, len)) in at.iter().enumerate() {
        assert_eq!(log.read(*at).unwrap().value(), vec![i as u8; *len]);
    }
}

#[test]
fn what_lies_beyond_the_tail_is_cut_and_its_place_used_again() {
    let disk = SimDisk::new(1);
    let log = open(&disk, Tail::EMPTY);
    let kept = log.append(1, b"k", 1, b"kept").unwrap();
    let tail = log.sync().unwrap();
    let lost = log.append(1, b"k", 2, b"lost").unwrap();
    for _ in 0..6 {
        log.append(1, b"k", 3, &[7; 300]).unwrap();
    }
    log.sync().unwrap();
    drop(log);
    assert_eq!(disk.files().len(), 6);

    let disk = disk.restart();
    let log = open(&disk, tail);
    assert_eq!(disk.files(), [segment_path(1)]);
    assert_eq!(disk.file_bytes(&segment_path(1)).unwrap().len() as u64, tail.len);
    assert_eq!(log.read(kept).unwrap().value(), b"kept");
    let again = log.append(1, b"k", 2, b"new!").unwrap();
    assert_eq!(again, lost);
    log.sync().unwrap();
    assert_eq!(log.read(lost).unwrap().value(), b"new!");
    // An empty tail: nothing was ever committed.
    let disk = disk.restart();
    open(&disk, Tail::EMPTY);
    assert_eq!(disk.restart_worst().files(), [] as [String; 0]);
}

#[test]
fn pointers_that_lead_nowhere_are_errors() {
    let disk = SimDisk::new(1);
    let log = open(&disk, Tail::EMPTY);
    let good = log.append(1, b"key", 1, b"value").unwrap();
    log.append(1, b"key", 1, b"value").unwrap();
    log.sync().unwrap();
    for bad in [
        Pointer { offset: good.offset + 1, ..good },
        Pointer { offset: 0, ..good },
        Pointer { offset: u64::MAX, ..good },
        Pointer { len: good.len - 1, ..good },
        Pointer { len: good.len + 1, ..good },
        Pointer { len: 0, ..good },
        Pointer { len: u32::MAX, ..good },
    ] {
        let error = log.read(bad).unwrap_err();
        let named = matches!(&error, Error::Corrupt { file, .. } if *file == segment_path(1));
        assert!(named || matches!(error, Error::Misuse { .. }), "{bad:?}: {error}");
    }
    let error = log.read(Pointer { segment: 7, ..good }).unwrap_err();
    assert!(matches!(&error, Error::Missing { file } if *file == segment_path(7)), "{error}");
    assert!(error.to_string().contains("vlog/0000000007.vlog is missing"), "{error}");

    let mut buf = Vec::new();
    assert!(log.read_of(good, 1, b"key", &mut buf).is_ok());
    assert!(matches!(log.read_of(good, 2, b"key", &mut buf), Err(Error::Corrupt { .. })));
    assert!(matches!(log.read_of(good, 1, b"kex", &mut buf), Err(Error::Corrupt { .. })));
}

#[test]
fn a_tail_that_is_not_there_is_refused_unchanged() {
    let disk = SimDisk::new(1);
    let log = open(&disk, Tail::EMPTY);
    log.append(1, b"k", 1, &[7; 400]).unwrap();
    log.append(1, b"k", 1, &[7; 400]).unwrap();
    let tail = log.sync().unwrap();
    drop(log);
    let before = disk.digest();
    for bad in
        [Tail { len: tail.len + 1, ..tail }, Tail { len: 31, ..tail }, Tail { segment: 3, len: 32 }]
    {
        let error = try_open(&disk, bad).unwrap_err();
        assert!(matches!(error, Error::Corrupt { .. } | Error::Missing { .. }), "{error}");
    }
    assert_eq!(disk.digest(), before);
    for (version, todo) in [(1, "planctl export"), (3, "run the release that wrote it")] {
        let mut header = disk.file_bytes(&segment_path(1)).unwrap()[..32].to_vec();
        header[8] = version;
        let sum = crc_fast::checksum(crc_fast::CrcAlgorithm::Crc64Nvme, &header[..24]);
        header[24..].copy_from_slice(&sum.to_le_bytes());
        let file = disk.open(&segment_path(1), Open::Write).unwrap();
        file.write_at(&header, 0).unwrap();
        let before = disk.digest();
        let error = try_open(&disk, tail).unwrap_err();
        let of = u32::from(version);
        let named = matches!(&error, Error::OtherFormat { found, known: 2, .. } if *found == of);
        assert!(named && error.to_string().contains(todo), "{error}");
        assert_eq!(disk.digest(), before);
    }
}

#[test]
fn a_removed_segment_is_gone_and_the_one_being_written_stays() {
    let disk = SimDisk::new(1);
    let log = open(&disk, Tail::EMPTY);
    let old = log.append(1, b"k", 1, &[7; 400]).unwrap();
    log.append(1, b"k", 2, &[7; 400]).unwrap();
    let tail = log.sync().unwrap();
    assert!(matches!(log.remove(2), Err(Error::Misuse { segment: 2, .. })));
    log.read(old).unwrap(); // an open handle is no reason to go on serving it
    log.remove(1).unwrap();
    assert!(matches!(log.read(old), Err(Error::Missing { .. })));
    assert!(matches!(log.remove(1), Err(Error::Missing { .. })));
    let disk = disk.restart_worst();
    assert_eq!(disk.files(), [segment_path(2)]);
    assert_eq!(open(&disk, tail).segments().len(), 1);
}

#[test]
fn what_an_earlier_life_cut_does_not_come_back_behind_a_sealed_segment() {
    // given: a log killed after it had cut its segment back, in the kernel only
    let disk = SimDisk::new(1);
    let log = open(&disk, Tail::EMPTY);
    log.append(1, b"k", 1, &[1; 200]).unwrap();
    let tail = log.sync().unwrap();
    log.append(1, b"k", 2, &[2; 200]).unwrap();
    // (its bytes are on the disk; the name of the next segment is not to be had)
    disk.fail(Fault::Name, &segment_path(2), Times::Next);
    log.append(1, b"k", 3, &[3; 200]).unwrap_err();
    assert_eq!(disk.file_bytes(&segment_path(1)).unwrap().len() as u64, tail.len);
    assert!(disk.durable_bytes(&segment_path(1)).unwrap().len() as u64 > tail.len);
    std::mem::forget(log);
    // when: the next life goes over to another segment at once, and power is cut
    let disk = disk.kill();
    let log = open(&disk, tail);
    log.roll().unwrap();
    log.append(1, b"k", 3, &[3; 200]).unwrap();
    assert_eq!(log.sync().unwrap().segment, 2);
    // then: the sealed segment ends where it did.
    assert_eq!(disk.restart_worst().file_bytes(&segment_path(1)).unwrap().len() as u64, tail.len);
}

#[test]
fn a_segment_whose_file_is_gone_already_counts_as_removed() {
    // given: a sealed segment whose file somebody else has removed
    let disk = SimDisk::new(1);
    let log = open(&disk, Tail::EMPTY);
    for n in 0..3 {
        log.append(1, b"k", n, &[1; 300]).unwrap();
    }
    log.sync().unwrap();
    disk.remove(&segment_path(1)).unwrap();
    // when it is removed, then: that is so, durably, and it is listed no more
    log.remove(1).unwrap();
    assert_eq!(log.segments().iter().map(|s| s.id).collect::<Vec<_>>(), [2, 3]);
    assert!(!disk.restart_worst().files().contains(&segment_path(1)));
    assert!(matches!(log.remove(1), Err(Error::Missing { .. })));
}

#[test]
fn a_scan_walks_the_synced_records_in_order() {
    let disk = SimDisk::new(1);
    let log = open(&disk, Tail::EMPTY);
    let mut want = Vec::new();
    for i in 0..5u8 {
        want.push((log.append(3, &[i], i.into(), &vec![i; i as usize * 20]).unwrap(), i));
    }
    log.sync().unwrap();
    log.append(3, b"not synced", 9, b"").unwrap();
    let mut scan = log.scan(1).unwrap();
    let mut seen = Vec::new();
    while let Some((at, record)) = scan.next().unwrap() {
        assert_eq!((record.keyspace, record.value.len()), (3, record.key[0] as usize * 20));
        seen.push((at, record.key[0]));
    }
    assert_eq!(seen, want);
}

#[test]
fn files_are_kept_open_within_a_bound() {
    let disk = SimDisk::new(1);
    let log = open(&disk, Tail::EMPTY);
    let at: Vec<_> = (0..200).map(|i| log.append(1, b"k", i, &[i as u8; 400]).unwrap()).collect();
    log.sync().unwrap();
    for round in 0..2 {
        for (i, at) in at.iter().enumerate() {
            assert_eq!(log.read(*at).unwrap().lsn, i as u64, "round {round}");
            assert!(log.open_files() <= 128);
        }
    }
    assert_eq!(log.open_files(), 128);
}

#[test]
fn a_failed_sync_poisons_with_one_message_and_reads_go_on() {
    let disk = SimDisk::new(1);
    let log = open(&disk, Tail::EMPTY);
    let good = log.append(1, b"k", 1, b"good").unwrap();
    let tail = log.sync().unwrap();
    log.append(1, b"k", 2, b"never").unwrap();
    disk.fail_sync("vlog/");
    let first = log.sync().unwrap_err().to_string();
    assert!(first.contains("takes no more writes: could not sync vlog/0000000001.vlog"), "{first}");
    let calls = disk.calls();
    assert_eq!(log.sync().unwrap_err().to_string(), first);
    assert_eq!(log.append(1, b"k", 3, b"x").unwrap_err().to_string(), first);
    assert_eq!(log.poisoned().unwrap(), first);
    assert_eq!(disk.calls(), calls, "nothing is retried");
    assert_eq!(log.read(good).unwrap().value(), b"good");

    let disk = disk.kill();
    let log = open(&disk, tail);
    assert_eq!(log.read(good).unwrap().value(), b"good");
    log.append(1, b"k", 2, b"again").unwrap();
    log.sync().unwrap();
}

#[test]
fn a_full_disk_voids_what_was_not_synced_and_nothing_else() {
    for room in [0, 1, 40, 100, 250, 400, 700, 1100] {
        // given: a synced record, and appends until the disk is full
        let disk = SimDisk::new(1);
        let log = open(&disk, Tail::EMPTY);
        let good = log.append(1, b"k", 1, b"good").unwrap();
        let tail = log.sync().unwrap();
        let length = disk.file_bytes(&segment_path(1)).unwrap().len();
        disk.set_budget(Some(room));
        let failed = (0..9).find_map(|i| log.append(1, b"k", 2 + i, &[7; 200]).err()).unwrap();
        // then: the error says so, and nothing is left of them but what was synced
        assert!(failed.is_no_space(), "{failed}");
        assert!(log.poisoned().is_none());
        assert_eq!(log.read(good).unwrap().value(), b"good");
        assert_eq!(log.segments().len(), 1);
        assert_eq!(disk.files(), [segment_path(1)]);
        assert_eq!(disk.file_bytes(&segment_path(1)).unwrap().len(), length);
        assert_eq!(log.sync().unwrap(), tail);
        // when: there is space again
        disk.set_budget(None);
        let again: Vec<_> =
            (0..9).map(|i| log.append(1, b"k", 2 + i, &[7; 200]).unwrap()).collect();
        let tail = log.sync().unwrap();
        // then: it goes on where it was, here and after the worst restart
        assert_eq!(again[0].offset, good.offset + u64::from(good.len));
        let log = open(&disk.restart_worst(), tail);
        for (i, at) in again.iter().enumerate() {
            assert_eq!(log.read(*at).unwrap().lsn, 2 + i as u64);
        }
        assert_eq!(log.read(good).unwrap().value(), b"good");
        assert!(log.scan(1).unwrap().next().unwrap().is_some());
    }
}

#[test]
fn what_cannot_be_undone_at_once_is_undone_before_the_next_write() {
    let disk = SimDisk::new(1);
    let log = open(&disk, Tail::EMPTY);
    let good = log.append(1, b"k", 1, b"good").unwrap();
    let tail = log.sync().unwrap();
    // given: records over two more segments, then every change of the disk fails
    for i in 0..4 {
        log.append(1, b"k", 2 + i, &[7; 300]).unwrap();
    }
    log.append(1, b"k", 8, b"buffered").unwrap();
    assert_eq!(disk.files().len(), 4);
    disk.fail(Fault::Write, "vlog", Times::Every);
    disk.fail(Fault::Name, "vlog", Times::Every);
    let failed = log.sync().unwrap_err();
    assert!(matches!(failed, Error::Io { .. }) && !failed.is_no_space(), "{failed}");
    // then: each further call says so and gives nothing, reads go on
    for _ in 0..3 {
        assert!(matches!(log.append(1, b"k", 9, b"x"), Err(Error::Io { .. })));
        assert!(matches!(log.sync(), Err(Error::Io { .. })));
        assert_eq!(log.read(good).unwrap().value(), b"good");
    }
    // when: the disk is well again, then: the log ends where it ended
    disk.clear_faults();
    assert_eq!(log.sync().unwrap(), tail);
    assert_eq!(disk.files(), [segment_path(1)]);
    let at = log.append(1, b"k", 2, b"next").unwrap();
    assert_eq!(at.offset, good.offset + u64::from(good.len));
    let tail = log.sync().unwrap();
    let log = open(&disk.restart_worst(), tail);
    assert_eq!(log.read(at).unwrap().value(), b"next");
}

#[test]
fn a_key_or_value_too_large_is_refused_and_nothing_else_happens() {
    let disk = SimDisk::new(1);
    let log = open(&disk, Tail::EMPTY);
    let error = log.append(1, &[0; 1025], 1, b"").unwrap_err();
    assert!(matches!(error, Error::TooLarge { what: "key", bytes: 1025, max: 1024 }), "{error}");
    let error = log.append(1, b"k", 1, &vec![0; crate::MAX_VALUE_BYTES + 1]).unwrap_err();
    assert!(matches!(error, Error::TooLarge { what: "value", .. }), "{error}");
    assert_eq!(log.append(1, &[0; 1024], 1, b"").unwrap().offset, 32);
}

#[test]
fn every_flipped_byte_is_refused() {
    let disk = SimDisk::new(1);
    let log = open(&disk, Tail::EMPTY);
    let mut at = Vec::new();
    for (i, len) in [7, 0, 100, 300, 50].into_iter().enumerate() {
        let value = vec![i as u8; len];
        at.push((log.append(1, b"key", i as u64, &value).unwrap(), value));
    }
    let tail = log.sync().unwrap();
    drop(log);
    for file in disk.files() {
        let id = crate::segment::number_of(file.strip_prefix("vlog/").unwrap()).unwrap();
        for offset in 0..disk.file_bytes(&file).unwrap().len() as u64 {
            for xor in [0x01, 0x80, 0xff] {
                let disk = disk.snapshot();
                disk.corrupt(&file, offset, xor).unwrap();
                if offset < 32 {
                    assert!(try_open(&disk, tail).is_err(), "{file} at {offset}");
                    continue;
                }
                let log = open(&disk, tail);
                for (at, value) in &at {
                    let hit = at.segment == id
                        && (at.offset..at.offset + u64::from(at.len)).contains(&offset);
                    match log.read(*at) {
                        Ok(record) => {
                            assert!(!hit, "{file} at {offset}: not seen");
                            assert_eq!(record.value(), value);
                        }
                        Err(Error::Corrupt { file: named, offset: begin, .. }) => {
                            assert!(hit, "{file} at {offset}");
                            assert_eq!((named, begin), (file.clone(), at.offset));
                        }
                        Err(other) => panic!("{other}"),
                    }
                }
                // A walk stops at the damage, too.
                let mut scan = log.scan(id).unwrap();
                let outcome = loop {
                    match scan.next() {
                        Ok(Some(_)) => {}
                        Ok(None) => break Ok(()),
                        Err(e) => break Err(e),
                    }
                };
                assert!(matches!(outcome, Err(Error::Corrupt { .. })), "{file} at {offset}");
            }
        }
    }
}

#[test]
fn a_file_that_lost_its_end_after_the_open_is_damage() {
    let disk = SimDisk::new(1);
    let log = open(&disk, Tail::EMPTY);
    let at = log.append(1, b"k", 1, &[7; 100]).unwrap();
    log.sync().unwrap();
    disk.open(&segment_path(1), Open::Write).unwrap().set_len(100).unwrap();
    let error = log.read(at).unwrap_err();
    assert!(matches!(error, Error::Corrupt { offset: 32, .. }), "{error}");
    assert!(matches!(log.scan(1).unwrap().next(), Err(Error::Corrupt { .. })));
}

#[test]
fn a_segment_file_is_read_on_both_sides_of_damage() {
    // Given a segment of ten records, one of them rotten in its header,
    let disk = platform::sim::SimDisk::new(1);
    let vlog = crate::Vlog::open(disk.clone(), "v", crate::Options::default(), crate::Tail::EMPTY);
    let vlog = vlog.unwrap();
    let value = |n: u8| vec![n; 300_000 * usize::from(n % 2) + 50];
    let at: Vec<_> = (0..10).map(|n| vlog.append(1, &[n], 1, &value(n)).unwrap()).collect();
    vlog.sync().unwrap();
    disk.corrupt("v/0000000001.vlog", at[4].offset + 20, 1).unwrap();
    // when it is scanned,
    assert_eq!(crate::SegmentFile::ids(&*disk, "v").unwrap(), [1]);
    let file = crate::SegmentFile::open(&*disk, "v", 1).unwrap();
    file.check_header().unwrap();
    let end = file.len();
    let mut scan = file.scan(crate::SegmentFile::FIRST, end);
    let before = std::iter::from_fn(|| scan.next().ok().flatten().map(|(at, _)| at)).count();
    assert_eq!(before, 4);
    // then what follows the damage is found again, and is read.
    let whole = |at| crate::Whole { at, unread: 0 };
    assert_eq!(file.find(at[4].offset, end), whole(Some(at[5].offset)));
    let mut scan = file.scan(at[5].offset, end);
    let after = std::iter::from_fn(|| scan.next().unwrap().map(|(at, _)| at)).collect::<Vec<_>>();
    assert_eq!(after, at[5..]);
    let mut buf = Vec::new();
    assert_eq!(file.read(at[7], &mut buf).unwrap().value, value(7));
    assert!(file.read(at[4], &mut buf).is_err());
    assert_eq!(file.find(at[9].offset + 1, end), whole(None));
}

#[test]
fn an_unreadable_stretch_costs_the_records_in_it_and_no_others() {
    // Given a segment of records of all lengths,
    let disk = SimDisk::new(1);
    let log = Vlog::open(disk.clone(), "v", Options::default(), Tail::EMPTY).unwrap();
    let value = |n: u8| vec![n; usize::from(n) * 37];
    let at: Vec<_> = (0..200).map(|n| log.append(1, &[n], 1, &value(n)).unwrap()).collect();
    log.sync().unwrap();
    let len = crate::SegmentFile::open(&*disk, "v", 1).unwrap().len();
    let end_of = |at: &Pointer| at.offset + u64::from(at.len);
    for (from, bytes) in [(4096 * 9, 4096), (70_000, 1), (len - 100, 1), (33, 9000), (0, 1)] {
        // when a stretch of it cannot be read (in sectors of 512 bytes),
        let disk = disk.snapshot();
        disk.spoil("v/0000000001.vlog", from, bytes).unwrap();
        let (bad, good) = (from / 512 * 512, (from + bytes).next_multiple_of(512));
        let lost = |at: &Pointer| at.offset < good && end_of(at) > bad;
        let file = crate::SegmentFile::open(&*disk, "v", 1).unwrap();
        let mut found = Vec::new();
        let mut unread = 0;
        let mut scan = file.scan(crate::SegmentFile::FIRST, len);
        loop {
            let place = scan.offset();
            match scan.next() {
                Ok(Some((at, record))) => {
                    assert_eq!(record.value, value(record.key[0]));
                    found.push(at);
                }
                Ok(None) => break,
                Err(Error::Io { .. } | Error::Corrupt { .. }) => {
                    let whole = file.find(place + 1, len);
                    unread += whole.unread;
                    let Some(at) = whole.at else { break };
                    scan = file.scan(at, len);
                }
                Err(error) => panic!("{error}"),
            }
        }
        // then a scan gives all others: those too whose block it shares, if they can be
        // had without it (searching goes by whole blocks),
        let near = |at: &Pointer| lost(at) || at.offset / 4096 == (good - 1) / 4096;
        let want: Vec<Pointer> = at.iter().copied().filter(|at| !lost(at)).collect();
        let sure: Vec<Pointer> = at.iter().copied().filter(|at| !near(at)).collect();
        assert!(found.iter().all(|at| want.contains(at)), "{from}");
        assert!(sure.iter().all(|at| found.contains(at)), "{from}: {} found", found.len());
        // and what could not be looked at is told.
        assert_eq!(unread > 0, want.len() < at.len(), "{from}: {unread}");
    }
}

#[test]
fn what_a_mapping_gives_is_verified_and_the_disk_asked_when_it_does_not_check() {
    use platform::real::RealDisk;
    // given: records on a real disk, read once, so that their segments are mapped
    let dir = tempfile::tempdir().unwrap();
    let disk = Arc::new(RealDisk::new(dir.path()).unwrap());
    let opts = Options { segment_bytes: 64 << 10, buffer_bytes: 1000 };
    let log = Vlog::open(disk.clone(), "vlog", opts, Tail::EMPTY).unwrap();
    let mut put = |i: u32| log.append(1, &i.to_be_bytes(), i.into(), &vec![i as u8; 400]).unwrap();
    let mut at: Vec<Pointer> = (0..200).map(&mut put).collect();
    log.sync().unwrap();
    let mut buf = Vec::new();
    let mut read = |i: usize, at: Pointer| -> Result<(), Error> {
        let record = log.read_of(at, 1, &(i as u32).to_be_bytes(), &mut buf)?;
        assert_eq!(record.value, vec![i as u8; 400]);
        Ok(())
    };
    for (i, at) in at.iter().enumerate() {
        read(i, *at).unwrap();
    }
    // when: more is appended to a mapped segment, then: it is read
    at.extend((200..400).map(&mut put));
    log.sync().unwrap();
    for (i, at) in at.iter().enumerate() {
        read(i, *at).unwrap();
    }
    // a record past the bound of a segment, so past its mapping
    let large = log.append(1, b"large", 9, &[3; 100_000]).unwrap();
    log.sync().unwrap();
    assert_eq!(log.read(large).unwrap().value(), [3; 100_000]);
    // when: a byte rots, then: that record is refused, by file and offset
    let file = disk.open(&segment_path(1), Open::Write).unwrap();
    let place = at[7].offset + 100;
    let mut byte = [0];
    file.read_exact_at(&mut byte, place).unwrap();
    file.write_at(&[byte[0] ^ 1], place).unwrap();
    let error = read(7, at[7]).unwrap_err();
    assert!(matches!(error, Error::Corrupt { offset, .. } if offset == at[7].offset), "{error}");
    read(6, at[6]).unwrap();
    // when: the file is cut under the mapping, then: that is told, nothing ends us
    file.set_len(at[20].offset + 10).unwrap();
    let error = read(20, at[20]).unwrap_err();
    assert!(error.to_string().contains("cut short"), "{error}");
    assert!(matches!(read(60, at[60]), Err(Error::Corrupt { .. })));
    read(19, at[19]).unwrap();
    assert!(at[399].segment > 1);
    read(399, at[399]).unwrap();
}

#[test]
fn a_root_directory_that_cannot_be_synced_has_a_name() {
    let disk = SimDisk::new(1);
    disk.fail(Fault::Sync, "", Times::Next);
    let error = try_open(&disk, Tail::EMPTY).unwrap_err().to_string();
    assert!(error.contains("sync the data directory:"), "{error}");
}
