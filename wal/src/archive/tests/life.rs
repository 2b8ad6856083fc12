//! What the archive holds, and what it refuses.

use super::*;
use platform::Disk;
use platform::sim::{Call, Verb};

#[test]
fn sealed_segments_come_back_frame_by_frame() {
    // Given a log of some segments, archived,
    let (disk, wal, archiver) = archived_60();
    let sealed = wal.segments().last().unwrap().first_lsn - 1;
    // then exactly its sealed segments are there, one file each,
    assert_eq!(archiver.archived(), sealed);
    assert!(sealed > 20 && sealed < 60, "{sealed}");
    let archive = archive(&disk);
    assert_eq!(archive.files().len(), wal.segments().len() - 1);
    assert_eq!(archive.files(), archiver.files());
    assert_eq!(archive.bounds(), Some((1, sealed)));
    // and every frame can be read from any place to any other.
    for from in 1..=sealed {
        assert_eq!(read(&archive, from, Until::End).unwrap(), sealed);
        let until = from + (sealed - from) / 2;
        assert_eq!(read(&archive, from, Until::Lsn(until)).unwrap(), until);
    }
    assert_eq!(read(&archive, sealed + 1, Until::End).unwrap(), sealed, "nothing is no error");
    assert!(archive.verify(Some(STORE), &mut |_, _, _| {}).is_empty());
    archive.covers(1, sealed).unwrap();
    assert!(matches!(archive.covers(1, sealed + 1), Err(Error::NotThere { .. })));
    assert!(matches!(archive.frames(sealed + 2, Until::End, None), Err(Error::NotThere { .. })));
}

#[test]
fn the_summary_tells_what_is_in_a_file() {
    let (disk, _, _) = archived_60();
    let archive = archive(&disk);
    let file = &archive.files()[1];
    let summary = archive.summary(file).unwrap();
    assert_eq!((summary.store, summary.first_epoch, summary.last_epoch), (STORE, 1, 1));
    assert_eq!((summary.first_lsn, summary.last_lsn), (file.first_lsn, file.last_lsn));
    assert_eq!(summary.first_wall, wall(file.first_lsn));
    assert_eq!(
        (summary.last_wall, summary.newest_wall),
        (wall(file.last_lsn), wall(file.last_lsn))
    );
    assert_eq!((summary.oldest_wall, summary.blocks), (wall(file.first_lsn), 1));
}

#[test]
fn reading_stops_before_the_first_frame_that_is_too_late() {
    // Given an archive whose clock stepped back at frame 4,
    let disk = SimDisk::new(1);
    let wal = log(&disk);
    for at in [10, 20, 30, 25, 40] {
        wal.append(at, b"x").unwrap();
    }
    append(&wal, 60);
    let mut archiver = archiver(&disk, &wal).unwrap();
    catch_up(&mut archiver, &wal).unwrap();
    let archive = archive(&disk);
    for (until, last, stopped) in [(5, 0, (1, 10)), (25, 2, (3, 30)), (30, 4, (5, 40))] {
        let mut frames = archive.frames(1, Until::Wall(until), None).unwrap();
        let mut count = 0;
        while frames.next().unwrap().is_some() {
            count += 1;
        }
        assert_eq!((count, frames.stopped_at()), (last, Some(stopped)), "until {until}");
        assert!(frames.next().unwrap().is_none(), "and stays there");
    }
    let mut all = archive.frames(1, Until::Wall(u64::MAX), None).unwrap();
    while all.next().unwrap().is_some() {}
    assert_eq!(all.last().unwrap().0, archiver.archived());
    assert_eq!((all.stopped_at(), all.store()), (None, Some(STORE)));
}

#[test]
fn a_frame_larger_than_a_block_and_one_that_cannot_be_compressed() {
    // Given frames of 700 KB, random and not, between small ones,
    let disk = SimDisk::new(1);
    let wal = log(&disk);
    let mut x = 1_u64;
    let mut noise = || {
        x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (x >> 33) as u8
    };
    let large: Vec<Vec<u8>> =
        vec![vec![1; 10], (0..700_000).map(|_| noise()).collect(), vec![9; 700_000], vec![2; 3000]];
    for payload in &large {
        wal.append(5, payload).unwrap();
    }
    wal.append(5, &[0; 2000]).unwrap();
    // when they are archived, then they come back, and only the noise takes room.
    let mut archiver = archiver(&disk, &wal).unwrap();
    catch_up(&mut archiver, &wal).unwrap();
    let archive = archive(&disk);
    let mut frames = archive.frames(1, Until::End, None).unwrap();
    for payload in &large {
        assert_eq!(frames.next().unwrap().unwrap().payload, payload);
    }
    assert!(frames.next().unwrap().is_none());
    let paths = archive.files().iter().map(|file| format!("{DIR}/{}", file.name));
    let bytes: usize = paths.map(|path| disk.file_bytes(&path).unwrap().len()).sum();
    assert!((700_000..710_000).contains(&bytes), "{bytes}");
}

#[test]
fn archiving_goes_on_where_it_ended_over_restarts() {
    // Given a log that is archived and truncated again and again, and opened anew,
    let disk = SimDisk::new(1);
    let mut archived = 0;
    for round in 0..6 {
        let wal = try_log_from(&disk, archived).unwrap();
        let mut archiver = archiver(&disk, &wal).unwrap();
        assert_eq!(archiver.archived(), archived);
        append(&wal, 25);
        archived = catch_up(&mut archiver, &wal).unwrap();
        wal.truncate_below(archived + 1).unwrap();
        assert!(round == 0 || wal.segments()[0].first_lsn > 1);
    }
    // then it has all of it without a hole, from all those lives.
    let archive = archive(&disk);
    assert_eq!(read(&archive, 1, Until::End).unwrap(), archived);
    assert!(archived > 120);
    let last = archive.summary(archive.files().last().unwrap()).unwrap();
    assert!(last.last_epoch >= 5, "{last:?}");
}

#[test]
fn on_a_real_disk_in_its_root() {
    // Given a log and an archive in directories of their own, as the process has them,
    let (data, far) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let open = |dir: &tempfile::TempDir| -> Arc<dyn Disk> {
        Arc::new(platform::real::RealDisk::new(dir.path()).unwrap()) as _
    };
    let opts = crate::Options { segment_bytes: 64 << 10, ..crate::Options::default() };
    let mut archived = 0;
    for _ in 0..2 {
        let wal =
            Wal::open(open(&data), "wal", opts, archived + 1, archived, &mut |_| Ok(())).unwrap();
        for _ in 0..3000 {
            let lsn = wal.last_lsn() + 1;
            wal.append(wall(lsn), &payload(lsn)).unwrap();
        }
        wal.rotate_now().unwrap();
        let mut archiver = Archiver::open(open(&far), "", STORE, &wal).unwrap();
        assert_eq!(archiver.archived(), archived);
        archived = catch_up(&mut archiver, &wal).unwrap();
        assert_eq!(archived, wal.last_lsn());
        wal.truncate_below(archived + 1).unwrap();
    }
    // then all of it comes back from there.
    let archive = Archive::open(open(&far), "").unwrap();
    assert_eq!((read(&archive, 1, Until::End).unwrap(), archived), (6000, 6000));
}

#[test]
fn an_archive_begun_late_begins_with_the_oldest_frame_there_is() {
    let disk = SimDisk::new(1);
    let wal = log(&disk);
    append(&wal, 60);
    wal.truncate_below(30).unwrap();
    let oldest = wal.segments()[0].first_lsn;
    assert!(oldest > 1);
    let mut archiver = archiver(&disk, &wal).unwrap();
    catch_up(&mut archiver, &wal).unwrap();
    assert_eq!(archive(&disk).bounds(), Some((oldest, archiver.archived())));
}

#[test]
fn a_hole_before_the_log_is_refused_and_named() {
    // Given an archive, and a log that was truncated beyond it,
    let (disk, wal, archiver) = archived_60();
    let archived = archiver.archived();
    append(&wal, 60);
    wal.truncate_below(archived + 40).unwrap();
    let oldest = wal.segments()[0].first_lsn;
    // when it is to go on, then it says which frames are in neither.
    for mut archiver in [archiver, super::archiver(&disk, &wal).unwrap()] {
        let error = catch_up(&mut archiver, &wal).unwrap_err();
        let Error::Hole { first, last, .. } = error else { panic!("{error}") };
        assert_eq!((first, last), (archived + 1, oldest - 1));
    }
}

#[test]
fn a_hole_between_files_ends_the_reading_and_is_named() {
    let (disk, _, archiver) = archived_60();
    let lost = archiver.files()[1].clone();
    disk.remove(&format!("{DIR}/{}", lost.name)).unwrap();
    let archive = archive(&disk);
    assert_eq!(archive.holes(), [(lost.first_lsn, lost.last_lsn)]);
    // What lies before it, and behind it, can be read; nothing across it.
    assert_eq!(read(&archive, 1, Until::Lsn(lost.first_lsn - 1)).unwrap(), lost.first_lsn - 1);
    read(&archive, lost.last_lsn + 1, Until::End).unwrap();
    for error in [
        read(&archive, 1, Until::End).unwrap_err(),
        read(&archive, 1, Until::Wall(u64::MAX)).unwrap_err(),
        read(&archive, lost.first_lsn, Until::End).unwrap_err(),
        archive.covers(1, archiver.archived()).unwrap_err(),
        archive.verify(None, &mut |_, _, _| {}).remove(0),
    ] {
        let Error::Hole { first, last, .. } = error else { panic!("{error}") };
        assert_eq!((first, last), (lost.first_lsn, lost.last_lsn));
    }
}

#[test]
fn misnamed_overlapping_foreign_and_newer_files_are_refused_by_name() {
    let (disk, wal, archiver) = archived_60();
    let files = archiver.files().to_vec();
    let last = files.last().unwrap();
    let path = |name: &str| format!("{DIR}/{name}");
    // A file under the name of another range:
    let other = disk.snapshot();
    let name = super::super::format::name(last.first_lsn, last.last_lsn + 1);
    other.rename(&path(&last.name), &path(&name)).unwrap();
    let error = read(&archive(&other), last.first_lsn, Until::End).unwrap_err();
    assert!(matches!(&error, Error::Misnamed { file, .. } if file.contains(&name)), "{error}");
    let error = super::archiver(&other, &wal).map(drop).unwrap_err();
    assert!(matches!(&error, Error::Misnamed { file, .. } if file.contains(&name)), "{error}");
    // two files for the same frame:
    let other = disk.snapshot();
    let bytes = other.file_bytes(&path(&last.name)).unwrap();
    put(&other, &path(&name), &bytes);
    let error = Archive::open(Arc::clone(&other) as _, DIR).map(drop).unwrap_err();
    assert!(matches!(&error, Error::Overlap { .. }), "{error}");
    // another store's archive:
    let stranger = StoreId([8; 16]);
    let error = Archiver::open(disk.snapshot() as _, DIR, stranger, &wal).map(drop).unwrap_err();
    assert!(matches!(&error, Error::OtherStore { wanted, .. } if *wanted == stranger), "{error}");
    assert!(error.to_string().contains("0808"), "{error}");
    assert!(archive(&disk).frames(1, Until::End, Some(stranger)).unwrap().next().is_err());
    // a newer version's file:
    let other = disk.snapshot();
    other.corrupt(&path(&last.name), 8, 1 ^ 9).unwrap();
    let error = super::archiver(&other, &wal).map(drop).unwrap_err();
    assert!(matches!(error, Error::NewerFormat { found: 9, known: 1, .. }), "{error}");
    // And files that are none of the archive's are left alone.
    put(&disk, &path("notes.txt"), b"hello");
    put(&disk, &path("x.arc"), b"hello");
    assert_eq!(archive(&disk).files(), files);
}

#[test]
fn an_archive_that_is_not_of_this_log_is_refused() {
    // Given an archive, and its data directory put back from an older copy,
    let disk = SimDisk::new(1);
    let wal = log(&disk);
    append(&wal, 10);
    drop(wal);
    let copy = disk.snapshot();
    let wal = log(&disk);
    append(&wal, 60);
    let mut first = archiver(&disk, &wal).unwrap();
    catch_up(&mut first, &wal).unwrap();
    for file in first.files() {
        let path = format!("{DIR}/{}", file.name);
        copy.create_dir(DIR).unwrap();
        put(&copy, &path, &disk.file_bytes(&path).unwrap());
    }
    // when the archive is ahead of it, then it is refused,
    let wal = log(&copy);
    append(&wal, 1);
    let error = archiver(&copy, &wal).map(drop).unwrap_err();
    assert!(matches!(error, Error::Ahead { log: 11, .. }), "{error}");
    // and when the log has grown past it with other frames, too.
    for n in 0..100 {
        wal.append(n, b"another history").unwrap();
    }
    wal.sync().unwrap();
    let error = archiver(&copy, &wal).map(drop).unwrap_err();
    assert!(matches!(&error, Error::Differs { lsn, .. } if *lsn == first.archived()), "{error}");
}

#[test]
fn a_range_archived_by_a_try_that_was_not_counted_is_counted_once() {
    // Given two archivers of one log on one directory (the first did not live to
    // see its file counted),
    let disk = SimDisk::new(1);
    let wal = log(&disk);
    append(&wal, 60);
    let mut first = archiver(&disk, &wal).unwrap();
    let mut second = archiver(&disk, &wal).unwrap();
    catch_up(&mut first, &wal).unwrap();
    let before = disk.files();
    // when the second archives the same, then nothing changes;
    catch_up(&mut second, &wal).unwrap();
    assert_eq!(disk.files(), before);
    assert_eq!(first.files(), second.files());
    // when the file there has other frames, then it is refused by name.
    let other = SimDisk::new(2);
    let theirs = log(&other);
    for n in 0..60 {
        theirs.append(n, &payload(n + 1)).unwrap();
    }
    theirs.sync().unwrap();
    let mut third = archiver(&other, &theirs).unwrap();
    let name = disk.files().into_iter().find(|f| f.starts_with(DIR)).unwrap();
    put(&other, &name, &disk.file_bytes(&name).unwrap());
    let error = catch_up(&mut third, &theirs).unwrap_err();
    assert!(matches!(&error, Error::Differs { lsn: 1, .. } | Error::Overlap { .. }), "{error}");
    assert_eq!(third.archived(), 0);
}

#[test]
fn what_an_interrupted_copy_left_is_removed_and_nothing_else() {
    let (disk, wal, archiver) = archived_60();
    let left = super::super::format::name(3, 1000) + ".new";
    for name in [&left[..], "notes.new", "x.arc.new"] {
        put(&disk, &format!("{DIR}/{name}"), b"whatever");
    }
    let opened = super::archiver(&disk, &wal).unwrap();
    assert_eq!(opened.files(), archiver.files());
    let files = disk.list(DIR).unwrap();
    assert!(!files.contains(&left), "{files:?}");
    assert!(files.contains(&"notes.new".to_owned()) && files.contains(&"x.arc.new".to_owned()));
}

#[test]
fn a_file_that_another_put_across_the_next_one_is_refused() {
    // Given an archiver, and files of others that reach into what comes next,
    for (first, last) in [(2, 4), (9, 12), (1, 60), (3, 3)] {
        let (disk, wal, mut archiver) = archived_60();
        let archived = archiver.archived();
        append(&wal, 60);
        let name = super::super::format::name(archived + first, archived + last);
        put(&disk, &format!("{DIR}/{name}"), b"whatever");
        // when it gets there, then it names both, and counts nothing.
        let error = loop {
            match archiver.step(&wal, 200) {
                Ok(Progress::Idle) => panic!("went over {first} to {last}"),
                Ok(_) => {}
                Err(error) => break error,
            }
        };
        assert!(matches!(&error, Error::Overlap { other, .. } if other.contains(&name)), "{error}");
        assert!(archiver.archived() < archived + first);
    }
}

#[test]
fn old_files_are_removed_oldest_first_but_not_what_a_backup_needs() {
    let (disk, wal, mut archiver) = archived_60();
    let files = archiver.files().to_vec();
    let age = |i: usize| wall(files[i].last_lsn);
    // Nothing is old yet:
    assert_eq!(archiver.prune(age(0), None).unwrap(), None);
    // the first is, but a backup needs a frame of it:
    assert_eq!(archiver.prune(age(0) + 1, Some(files[0].last_lsn)).unwrap(), None);
    assert_eq!(archiver.prune(age(0) + 1, Some(1)).unwrap(), None);
    // none does:
    let keep = Some(files[0].last_lsn + 1);
    assert_eq!(archiver.prune(age(0) + 1, keep).unwrap().as_ref(), Some(&files[0]));
    assert_eq!(archiver.prune(age(0) + 1, keep).unwrap(), None);
    // all are: the newest stays.
    while archiver.prune(u64::MAX, None).unwrap().is_some() {}
    assert_eq!(archiver.files(), &files[files.len() - 1..]);
    assert_eq!(archive(&disk).files(), archiver.files());
    assert_eq!(archiver.first(), Some(files.last().unwrap().first_lsn));
    // And an opening goes on from there.
    append(&wal, 30);
    let mut archiver = super::archiver(&disk, &wal).unwrap();
    catch_up(&mut archiver, &wal).unwrap();
    read(&archive(&disk), files.last().unwrap().first_lsn, Until::End).unwrap();
}

#[test]
fn a_clock_that_ran_ahead_once_does_not_keep_a_file_for_ever() {
    // Given a file with a frame from the year 2100, and later ones of now,
    let disk = SimDisk::new(1);
    let wal = log(&disk);
    wal.append(4_102_444_800_000_000, b"x").unwrap();
    append(&wal, 60);
    let mut archiver = archiver(&disk, &wal).unwrap();
    catch_up(&mut archiver, &wal).unwrap();
    // when its time has come, by the time of the file after it, it goes.
    let second = wall(archiver.files()[1].last_lsn);
    assert_eq!(archiver.prune(second, None).unwrap(), None);
    assert_eq!(archiver.prune(second + 1, None).unwrap().unwrap().first_lsn, 1);
}

#[test]
fn the_name_of_a_directory_that_stands_is_made_durable_before_an_archive_counts_in_it() {
    let disk = SimDisk::new(1);
    let wal = log(&disk);
    for deep in ["archive", "far/away/archive"] {
        // Given a directory made by who was killed before its name was durable,
        disk.create_dir(deep).unwrap();
        // when an archive is opened there, then the name is made durable.
        disk.record(100);
        Archiver::open(Arc::clone(&disk) as _, deep, STORE, &wal).unwrap();
        let above = deep.strip_suffix("archive").unwrap().trim_end_matches('/');
        let synced = |call: &Call| call.verb == Verb::SyncDir && &*call.path == above && call.ok;
        assert!(disk.take_calls().iter().any(synced), "{deep}");
    }
}
