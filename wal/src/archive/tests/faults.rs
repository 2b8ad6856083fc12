//! Disks that fail: the archive is tried again, and nothing counts too early.

use super::*;
use platform::sim::{Fault, Times};

#[test]
fn a_failed_copy_counts_for_nothing_and_is_tried_again() {
    for fault in [Fault::Read, Fault::ShortRead, Fault::Write, Fault::Sync, Fault::Name] {
        // Given a log with some archived and some sealed segments,
        let (disk, wal, mut archiver) = archived_60();
        let before = archiver.archived();
        append(&wal, 60);
        // when a call on the archive fails once,
        disk.fail(fault, DIR, Times::Next);
        let error = catch_up(&mut archiver, &wal).unwrap_err();
        let named = match &error {
            Error::Io { file, .. } => file.starts_with(DIR),
            other => panic!("{fault:?}: {other}"),
        };
        assert!(named, "{fault:?}: {error}");
        // then nothing new counts, what counted is whole,
        assert_eq!(archiver.archived(), before, "{fault:?}");
        assert_eq!(read(&archive(&disk), 1, Until::Lsn(before)).unwrap(), before);
        // and the next try does it.
        let after = catch_up(&mut archiver, &wal).unwrap();
        assert!(after > before);
        assert_eq!(read(&archive(&disk), 1, Until::End).unwrap(), after);
        assert!(!disk.files().iter().any(|f| f.ends_with(".new")), "{fault:?}");
    }
}

#[test]
fn every_call_may_fail_while_the_archive_is_on_another_disk() {
    // Given a log on one disk and its archive on another that fails for a while,
    for fault in [Fault::Write, Fault::Sync, Fault::Name, Fault::Read] {
        let (data, far) = (SimDisk::new(1), SimDisk::new(2));
        let wal = log(&data);
        append(&wal, 60);
        let mut archiver = archiver(&far, &wal).unwrap();
        far.fail(fault, "", Times::Every);
        for _ in 0..5 {
            catch_up(&mut archiver, &wal).unwrap_err();
            assert_eq!(archiver.archived(), 0);
            append(&wal, 1);
        }
        far.clear_faults();
        let after = catch_up(&mut archiver, &wal).unwrap();
        assert_eq!(read(&archive(&far), 1, Until::End).unwrap(), after);
        assert_eq!(wal.poisoned(), None);
    }
}

#[test]
fn a_full_archive_disk_is_waited_out() {
    // Given an archive disk that is full after any number of bytes,
    let (data, calm) = (SimDisk::new(1), SimDisk::new(2));
    let wal = log(&data);
    append(&wal, 60);
    let mut whole = archiver(&calm, &wal).unwrap();
    let last = catch_up(&mut whole, &wal).unwrap();
    for budget in (0..4000).step_by(97) {
        let far = SimDisk::new(2);
        let mut archiver = archiver(&far, &wal).unwrap();
        far.set_budget(Some(budget));
        let error = catch_up(&mut archiver, &wal).unwrap_err();
        let full = matches!(&error, Error::Io { source, .. }
            if source.kind() == std::io::ErrorKind::StorageFull);
        assert!(full, "{error}");
        // then what counts is whole, nothing lies about,
        let counted = archiver.archived();
        if counted > 0 {
            assert_eq!(read(&archive(&far), 1, Until::End).unwrap(), counted);
        }
        assert!(!far.files().iter().any(|f| f.ends_with(".new")), "{budget}");
        // and once there is room it goes on by itself.
        far.set_budget(None);
        assert_eq!(catch_up(&mut archiver, &wal).unwrap(), last);
        assert_eq!(read(&archive(&far), 1, Until::End).unwrap(), last);
    }
}

#[test]
fn a_copy_that_rots_on_its_way_is_not_counted() {
    // Given a copy being written, when a byte of it turns before it is read back,
    let disk = SimDisk::new(1);
    let wal = log(&disk);
    append(&wal, 60);
    let mut archiver = archiver(&disk, &wal).unwrap();
    assert_eq!(archiver.step(&wal, u64::MAX).unwrap(), Progress::More);
    let aside = disk.files().into_iter().find(|f| f.ends_with(".new")).unwrap();
    disk.corrupt(&aside, 300, 1).unwrap();
    // then it is refused by name, and the next try is whole.
    let error = archiver.step(&wal, u64::MAX).unwrap_err();
    assert!(matches!(&error, Error::Corrupt { file, .. } if *file == aside), "{error}");
    assert_eq!(archiver.archived(), 0);
    let last = catch_up(&mut archiver, &wal).unwrap();
    assert_eq!(read(&archive(&disk), 1, Until::End).unwrap(), last);
}

#[test]
fn a_rotten_newest_file_is_named_at_opening() {
    let (disk, wal, archiver) = archived_60();
    let path = format!("{DIR}/{}", archiver.files().last().unwrap().name);
    disk.corrupt(&path, 250, 4).unwrap();
    let error = super::archiver(&disk, &wal).map(drop).unwrap_err();
    assert!(matches!(&error, Error::Corrupt { file, .. } if *file == path), "{error}");
}

#[test]
fn a_poisoned_log_is_archived_as_far_as_it_is_durable() {
    // Given sealed segments and a tail whose sync fails,
    let (disk, wal, mut archiver) = archived_60();
    let before = archiver.archived();
    append(&wal, 30);
    disk.fail_sync("wal");
    wal.append(wall(91), &payload(91)).unwrap();
    wal.sync().unwrap_err();
    // then the sealed ones are archived all the same.
    let after = catch_up(&mut archiver, &wal).unwrap();
    assert!(after > before && after <= wal.durable_lsn());
    assert_eq!(read(&archive(&disk), 1, Until::End).unwrap(), after);
}
