//! The data directory with something missing, foreign, newer, in use or copied
//! while it was written: refused by name, or a consistent prefix.

#![allow(clippy::unwrap_used)]

#[path = "backup/kit.rs"]
#[allow(dead_code)]
mod kit;

use std::ops::Bound;
use std::sync::Arc;

use kit::*;
use lsm::{Direction, Error, KeyspaceId, Lsm};
use platform::real::RealDisk;
use platform::sim::{SimClock, SimDisk};
use platform::{Disk, Open};

/// Opens and reads all; an error of either.
fn read_all(disk: &Arc<SimDisk>) -> Result<(u64, Model), Error> {
    let lsm = open(disk)?;
    let snapshot = lsm.snapshot()?;
    let mut found = Model::new();
    for keyspace in 0..KEYSPACES {
        let all = (Bound::Unbounded, Bound::Unbounded);
        let mut cursor = snapshot.range(KeyspaceId(keyspace), all.0, all.1, Direction::Forward)?;
        while let Some((key, value)) = cursor.next()? {
            found.insert((keyspace, key.to_vec()), value.to_vec());
        }
    }
    Ok((lsm.last_lsn(), found))
}

fn put(disk: &Arc<SimDisk>, path: &str, bytes: &[u8]) {
    if let Some((dir, _)) = path.rsplit_once('/') {
        disk.create_dir(dir).unwrap();
    }
    let file = disk.open(path, Open::Create).unwrap();
    file.set_len(0).unwrap();
    file.write_at(bytes, 0).unwrap();
    file.sync().unwrap();
}

fn worked() -> World {
    let mut world = World::new(6);
    world.work(40);
    world.lsm.flush().unwrap();
    world.commit();
    world.lsm.sync().unwrap();
    world
}

#[test]
fn a_lost_page_file_is_refused_again_and_again_and_nothing_is_made() {
    let world = worked();
    let disk = world.disk.snapshot();
    disk.remove("trees.pages").unwrap();
    disk.lock("LOCK").unwrap();
    let before = disk.files();
    for _ in 0..3 {
        let error = open(&disk).map(drop).unwrap_err();
        assert!(matches!(&error, Error::Missing { file, .. } if file == "trees.pages"), "{error}");
        assert_eq!(disk.files(), before);
    }
    // Of a store that was never flushed as well: its commits are in the log.
    let mut young = World::new(1);
    young.commit();
    let disk = young.disk.snapshot();
    disk.remove("trees.pages").unwrap();
    assert!(matches!(open(&disk).map(drop), Err(Error::Missing { .. })));
}

#[test]
fn a_lost_log_is_refused_even_of_a_store_never_flushed() {
    for mut world in [worked(), World::new(1)] {
        world.commit();
        let disk = world.disk.snapshot();
        for file in disk.files() {
            if file.starts_with("wal/") {
                disk.remove(&file).unwrap();
            }
        }
        for _ in 0..3 {
            let error = open(&disk).map(drop).unwrap_err();
            assert!(error.to_string().contains("wal/"), "{error}");
            assert!(!disk.files().iter().any(|f| f.starts_with("wal/")), "{:?}", disk.files());
        }
    }
}

#[test]
fn each_lost_segment_is_named_or_was_not_needed() {
    let world = worked();
    let mut named = 0;
    for lost in world.disk.files() {
        if !lost.contains('/') {
            continue;
        }
        let disk = world.disk.snapshot();
        disk.remove(&lost).unwrap();
        match read_all(&disk) {
            Ok((lsn, found)) => {
                assert!(found == world.states[lsn as usize], "{lost}");
                assert!(lost.starts_with("wal/"), "{lost} is not missed");
            }
            Err(error) => {
                let (dir, _) = lost.split_once('/').unwrap();
                assert!(error.to_string().contains(dir), "{lost}: {error}");
                named += 1;
            }
        }
    }
    assert!(named >= 1, "{named}");
}

#[test]
fn a_file_of_a_newer_version_is_refused_by_name() {
    let world = worked();
    for file in world.disk.files() {
        let disk = world.disk.snapshot();
        let mut bytes = disk.file_bytes(&file).unwrap();
        match () {
            // Magic, then the version; the checksum is the last 8 bytes of the header.
            () if file.ends_with(".wal") || file.ends_with(".vlog") => {
                bytes[8] = 9;
                let at = if file.ends_with(".wal") { 56 } else { 24 };
                let sum = crc_fast::checksum(crc_fast::CrcAlgorithm::Crc64Nvme, &bytes[..at]);
                bytes[at..at + 8].copy_from_slice(&sum.to_le_bytes());
            }
            () if file == "trees.pages" => {
                for page in 0..2u64 {
                    let meta = &mut bytes[page as usize * 4096..][..4096];
                    meta[16] = 9;
                    let mut sum = crc_fast::Digest::new(crc_fast::CrcAlgorithm::Crc64Nvme);
                    sum.update(&page.to_le_bytes());
                    sum.update(&meta[8..]);
                    let sum = sum.finalize();
                    meta[..8].copy_from_slice(&sum.to_le_bytes());
                }
            }
            () => continue,
        }
        put(&disk, &file, &bytes);
        let error = open(&disk).map(drop).unwrap_err().to_string();
        assert!(error.contains(&file) && error.contains("format 9"), "{file}: {error}");
    }
}

#[test]
fn two_processes_on_one_directory_are_refused() {
    // As two disks on one directory, which share nothing else.
    let dir = tempfile::tempdir().unwrap();
    let open = || {
        let disk = Arc::new(RealDisk::new(dir.path()).unwrap());
        Lsm::open(disk, Arc::new(SimClock::new(1)), options())
    };
    let first = open().unwrap();
    let second = open().map(drop).unwrap_err();
    assert!(matches!(second, Error::InUse { .. }), "{second}");
    drop(first);
    open().unwrap();
}

#[test]
fn files_of_another_store_are_refused_or_make_no_difference() {
    let (mine, other) = (worked(), worked().reopen());
    let mut other = other;
    other.work(10);
    for part in ["trees.pages", "wal/", "vlog/"] {
        let disk = mine.disk.snapshot();
        for file in disk.files() {
            if file.starts_with(part) {
                disk.remove(&file).unwrap();
            }
        }
        for file in other.disk.files() {
            if file.starts_with(part) {
                put(&disk, &file, &other.disk.file_bytes(&file).unwrap());
            }
        }
        if let Ok((lsn, found)) = read_all(&disk) {
            let truth = &other.states[lsn as usize];
            assert!(found == *truth, "{part}");
        }
    }
}

#[test]
fn a_directory_copied_while_it_was_written_is_refused_or_a_prefix() {
    // Given pictures of a store at many moments of its work,
    let (mut opened, mut refused) = (0, 0);
    for seed in 1..=4 {
        let mut world = World::new(seed);
        let mut moments = vec![world.disk.snapshot()];
        for n in 0..12 {
            world.work(5);
            moments.push(world.disk.snapshot());
            if n == 6 {
                world = world.reopen();
            }
        }
        let mut rng = Rng(seed);
        for round in 0..150 {
            // when a copy takes each file as of one of a few moments, or its first
            // part as of one and the rest as of a later one,
            let first = rng.below(moments.len() as u64 - 1) as usize;
            let span = 1 + rng.below(3);
            let later = |rng: &mut Rng| {
                let n = first + rng.below(span + 1) as usize;
                moments[n.min(moments.len() - 1)].clone()
            };
            let copy = SimDisk::new(1);
            let listed = later(&mut rng);
            for file in listed.files() {
                let (a, b) = (later(&mut rng), later(&mut rng));
                let Some(from) = a.file_bytes(&file) else { continue };
                let mut bytes = from;
                if rng.below(3) == 0
                    && let Some(rest) = b.file_bytes(&file)
                {
                    let at = rng.below(bytes.len().min(rest.len()).max(1) as u64) as usize;
                    bytes.truncate(at);
                    bytes.extend_from_slice(rest.get(at..).unwrap_or_default());
                }
                put(&copy, &file, &bytes);
            }
            // then it opens to a state the store once had, or says what is wrong.
            match read_all(&copy) {
                Ok((lsn, found)) => {
                    assert!(found == world.states[lsn as usize], "seed {seed}, round {round}");
                    opened += 1;
                }
                Err(error) => {
                    let text = error.to_string();
                    assert!(
                        ["trees.pages", "wal", "vlog"].iter().any(|name| text.contains(name)),
                        "{text}"
                    );
                    refused += 1;
                }
            }
        }
    }
    assert!(opened > 50 && refused > 50, "{opened} opened, {refused} refused");
}

#[test]
fn the_log_of_an_earlier_life_is_refused_however_often_it_is_tried() {
    // Given a store whose page file rests on the log of its second life,
    let disk = SimDisk::new(1);
    let lsm = open(&disk).unwrap();
    for n in 0..20u8 {
        let mut batch = lsm::Batch::new();
        batch.put(KeyspaceId(1), &[n], &[n; 40]);
        lsm.commit(&batch).unwrap();
    }
    lsm.sync().unwrap();
    drop(lsm);
    let first: Vec<_> = disk.files().into_iter().filter(|f| f.starts_with("wal/")).collect();
    let first: Vec<_> = first.into_iter().map(|f| (disk.file_bytes(&f).unwrap(), f)).collect();
    let lsm = open(&disk).unwrap();
    lsm.flush().unwrap();
    drop(lsm);
    // when somebody puts the first life's log in its place,
    for file in disk.files().into_iter().filter(|f| f.starts_with("wal/")) {
        disk.remove(&file).unwrap();
    }
    for (bytes, path) in &first {
        put(&disk, path, bytes);
    }
    // then it is refused by name, the first time as the third, and nothing is made.
    let before = disk.files();
    for _ in 0..3 {
        let error = open(&disk).err().expect("a log of another life");
        assert!(error.to_string().contains("do not belong together"), "{error}");
        assert_eq!(disk.files(), before);
    }
}
