//! One suite, both disks: what every [`Disk`] does when nothing goes wrong.
//!
//! Invariant: a case gets an empty disk and knows nothing else about it; the
//! last test lets random calls loose on both and compares every answer.

use std::io::ErrorKind::{
    AlreadyExists, InvalidInput, IsADirectory, NotADirectory, NotFound, UnexpectedEof, WouldBlock,
};
use std::io::{self, ErrorKind};
use std::sync::Arc;

use platform::real::RealDisk;
use platform::sim::SimDisk;
use platform::{BLOCK, Disk, File, Open};
use proptest::prelude::*;

fn kind<T>(result: io::Result<T>) -> ErrorKind {
    result.err().expect("the call should be refused").kind()
}

fn all(file: &dyn File) -> io::Result<Vec<u8>> {
    let len = usize::try_from(file.len()?).expect("test files are small");
    let mut bytes = vec![0; len];
    file.read_exact_at(&mut bytes, 0)?;
    Ok(bytes)
}

/// Mounts each case once per disk.
macro_rules! suite {
    ($($case:ident),+ $(,)?) => {
        mod real {
            $(#[test] fn $case() {
                let dir = tempfile::tempdir().unwrap();
                super::$case(&super::RealDisk::new(dir.path()).unwrap()).unwrap();
            })+
        }
        mod sim {
            $(#[test] fn $case() {
                super::$case(&*super::SimDisk::new(1)).unwrap();
            })+
        }
    };
}

suite! {
    reads_and_writes_at_any_offset,
    a_hole_and_a_longer_length_read_as_zeros,
    a_cut_file_grows_back_with_zeros,
    opens_as_asked,
    a_reader_cannot_write,
    paths_stay_inside,
    directories_and_files_are_not_mixed_up,
    lists_only_the_files_of_one_directory_sorted,
    a_rename_replaces_and_open_handles_follow_the_file,
    a_removed_file_lives_on_in_its_handles,
    a_lock_has_one_holder,
    lengths_beyond_the_kernels_are_refused,
    an_allocation_adds_zeros_and_keeps_what_is_there,
    a_write_through_handle_takes_whole_blocks,
    a_hole_punched_reads_as_zeros_and_can_be_filled,
}

fn a_hole_punched_reads_as_zeros_and_can_be_filled(disk: &dyn Disk) -> io::Result<()> {
    let file = disk.open("f", Open::Create)?;
    file.write_at(&[7; 40_000], 0)?;
    // (where the file system cannot, nothing happens)
    let can = file.punch(8192, 16_384)?;
    let hole = if can { 0 } else { 7 };
    let mut want = vec![7; 40_000];
    want[8192..8192 + 16_384].fill(hole);
    assert_eq!(all(&*file)?, want);
    file.sync()?;
    file.write_at(&[9; 100], 10_000)?;
    want[10_000..10_100].fill(9);
    assert_eq!(all(&*file)?, want);
    assert!(disk.open("f", Open::Read)?.punch(0, 4096).is_err());
    Ok(())
}

fn an_allocation_adds_zeros_and_keeps_what_is_there(disk: &dyn Disk) -> io::Result<()> {
    let file = disk.open("f", Open::CreateNew)?;
    file.append(b"kept")?;
    file.allocate(700_001)?;
    assert_eq!(file.len()?, 700_001);
    file.allocate(10)?; // never shorter
    // Inside, across pages, over its end, and large: all are plain writes.
    file.write_at(&[1; 100], 4090)?;
    file.write_at(&[2; 8], 699_997)?;
    file.write_at(&[3; 200_000], 100_000)?;
    let mut expected = vec![0; 700_005];
    expected[..4].copy_from_slice(b"kept");
    expected[4090..4190].fill(1);
    expected[699_997..].fill(2);
    expected[100_000..300_000].fill(3);
    assert!(all(&*file)? == expected);
    assert!(all(&*disk.open("f", Open::Read)?)? == expected, "another handle sees it");
    file.sync()?;
    // Grown and written again; renamed; cut and grown: the handle follows.
    file.allocate(1_000_000)?;
    file.write_at(b"far", 900_000)?;
    disk.rename("f", "g")?;
    file.write_at(b"near", 4)?;
    expected.resize(1_000_000, 0);
    expected[4..8].copy_from_slice(b"near");
    expected[900_000..900_003].copy_from_slice(b"far");
    assert!(all(&*disk.open("g", Open::Read)?)? == expected);
    file.set_len(6)?;
    assert_eq!(all(&*file)?, b"keptne");
    file.write_at(b"!", 6)?;
    file.allocate(9)?;
    assert_eq!(all(&*file)?, b"keptne!\0\0");
    assert!(disk.open("g", Open::Read)?.allocate(20).is_err());
    assert!(file.allocate(u64::MAX).is_err());
    Ok(())
}

fn a_write_through_handle_takes_whole_blocks(disk: &dyn Disk) -> io::Result<()> {
    assert_eq!(kind(disk.open_write_through("f")), NotFound);
    let file = disk.open("f", Open::CreateNew)?;
    file.allocate(5 * BLOCK as u64)?;
    file.sync()?;
    let through = disk.open_write_through("f")?;
    through.write_at(&[7; 2 * BLOCK], BLOCK as u64)?;
    // An odd address is the implementation's own affair.
    let odd = vec![8; BLOCK + 1];
    through.write_at(&odd[1..], 4 * BLOCK as u64)?;
    through.sync()?;
    assert_eq!(kind(through.write_at(&[1; 10], 0)), InvalidInput);
    assert_eq!(kind(through.write_at(&[1; BLOCK], 8)), InvalidInput);
    let mut expected = vec![0; 5 * BLOCK];
    expected[BLOCK..3 * BLOCK].fill(7);
    expected[4 * BLOCK..].fill(8);
    assert!(all(&*file)? == expected);
    assert!(all(&*through)? == expected, "and it reads any range");
    assert_eq!(through.len()?, 5 * BLOCK as u64);
    Ok(())
}

fn reads_and_writes_at_any_offset(disk: &dyn Disk) -> io::Result<()> {
    let file = disk.open("f", Open::CreateNew)?;
    assert!(file.is_empty()?);
    assert_eq!(file.append(b"hello ")?, 0);
    assert_eq!(file.append(b"world")?, 6);
    file.write_at(b"J", 0)?;
    file.write_at(b"", 100)?;
    assert_eq!(all(&*file)?, b"Jello world");
    // Across a page boundary, and seen by another handle.
    file.write_at(&[7; 5000], 4000)?;
    let other = disk.open("f", Open::Read)?;
    let mut buf = [0; 8];
    assert_eq!(other.read_at(&mut buf, 4092)?, 8);
    assert_eq!(buf, [7; 8]);
    // Short only at the end.
    assert_eq!(other.read_at(&mut buf, 8997)?, 3);
    assert_eq!(other.read_at(&mut buf, 9000)?, 0);
    assert_eq!(kind(other.read_exact_at(&mut buf, 8997)), UnexpectedEof);
    file.sync()?;
    other.sync()?;
    disk.sync_dir("")
}

fn a_hole_and_a_longer_length_read_as_zeros(disk: &dyn Disk) -> io::Result<()> {
    let file = disk.open("f", Open::Create)?;
    file.write_at(b"x", 10_000)?;
    file.set_len(20_000)?;
    let bytes = all(&*file)?;
    assert_eq!(bytes.len(), 20_000);
    assert_eq!(bytes[10_000], b'x');
    assert_eq!(bytes.iter().filter(|byte| **byte != 0).count(), 1);
    Ok(())
}

fn a_cut_file_grows_back_with_zeros(disk: &dyn Disk) -> io::Result<()> {
    let file = disk.open("f", Open::Create)?;
    file.append(&[9; 10_000])?;
    file.sync()?;
    file.set_len(3)?;
    file.set_len(6)?;
    file.sync()?;
    assert_eq!(all(&*file)?, [9, 9, 9, 0, 0, 0]);
    Ok(())
}

fn opens_as_asked(disk: &dyn Disk) -> io::Result<()> {
    assert_eq!(kind(disk.open("f", Open::Read)), NotFound);
    assert_eq!(kind(disk.open("f", Open::Write)), NotFound);
    disk.open("f", Open::Create)?.append(b"1")?;
    assert_eq!(kind(disk.open("f", Open::CreateNew)), AlreadyExists);
    // `Create` and `Write` keep what is there.
    disk.open("f", Open::Create)?.append(b"2")?;
    disk.open("f", Open::Write)?.append(b"3")?;
    assert_eq!(all(&*disk.open("f", Open::Read)?)?, b"123");
    assert_eq!(kind(disk.open("no/f", Open::Create)), NotFound);
    Ok(())
}

fn a_reader_cannot_write(disk: &dyn Disk) -> io::Result<()> {
    disk.open("f", Open::CreateNew)?.append(b"safe")?;
    let reader = disk.open("f", Open::Read)?;
    assert!(reader.write_at(b"x", 0).is_err());
    assert!(reader.append(b"x").is_err());
    assert!(reader.set_len(0).is_err());
    assert_eq!(all(&*reader)?, b"safe");
    Ok(())
}

fn paths_stay_inside(disk: &dyn Disk) -> io::Result<()> {
    disk.create_dir("d")?;
    for bad in ["../f", "/f", "d/../../f", "d//f", "./f", "d/", "f\0"] {
        assert_eq!(kind(disk.open(bad, Open::Create)), InvalidInput, "open {bad:?}");
        assert_eq!(kind(disk.remove(bad)), InvalidInput, "remove {bad:?}");
        assert_eq!(kind(disk.rename(bad, "f")), InvalidInput, "rename {bad:?}");
        assert_eq!(kind(disk.rename("f", bad)), InvalidInput, "rename to {bad:?}");
        assert_eq!(kind(disk.list(bad)), InvalidInput, "list {bad:?}");
        assert_eq!(kind(disk.create_dir(bad)), InvalidInput, "create_dir {bad:?}");
        assert_eq!(kind(disk.sync_dir(bad)), InvalidInput, "sync_dir {bad:?}");
        assert_eq!(kind(disk.lock(bad)), InvalidInput, "lock {bad:?}");
    }
    assert_eq!(kind(disk.open("", Open::Read)), InvalidInput);
    Ok(())
}

fn directories_and_files_are_not_mixed_up(disk: &dyn Disk) -> io::Result<()> {
    disk.create_dir("d/e")?;
    disk.create_dir("d/e")?;
    disk.create_dir("")?;
    disk.open("f", Open::Create)?;
    for how in [Open::Read, Open::Write, Open::Create] {
        assert_eq!(kind(disk.open("d", how)), IsADirectory, "{how:?}");
    }
    assert_eq!(kind(disk.open("d", Open::CreateNew)), AlreadyExists);
    assert_eq!(kind(disk.remove("d")), IsADirectory);
    assert_eq!(kind(disk.rename("d", "g")), IsADirectory);
    assert_eq!(kind(disk.rename("f", "d")), IsADirectory);
    disk.open("d/e/f", Open::Create)?;
    assert_eq!(kind(disk.rename("d/e/f", "d/e")), IsADirectory);
    assert_eq!(kind(disk.open("f/g", Open::Create)), NotADirectory);
    assert_eq!(kind(disk.create_dir("f")), NotADirectory);
    assert_eq!(kind(disk.create_dir("f/g")), NotADirectory);
    assert_eq!(kind(disk.list("f")), NotADirectory);
    assert_eq!(kind(disk.sync_dir("f")), NotADirectory);
    assert_eq!(kind(disk.list("no")), NotFound);
    assert_eq!(kind(disk.sync_dir("no")), NotFound);
    Ok(())
}

fn lists_only_the_files_of_one_directory_sorted(disk: &dyn Disk) -> io::Result<()> {
    disk.create_dir("d/inner")?;
    for path in ["d/b", "d/a", "d/inner/c", "top", "d-not"] {
        disk.open(path, Open::CreateNew)?;
    }
    assert_eq!(disk.list("d")?, ["a", "b"]);
    assert_eq!(disk.list("")?, ["d-not", "top"]);
    assert_eq!(disk.list("d/inner")?, ["c"]);
    Ok(())
}

fn a_rename_replaces_and_open_handles_follow_the_file(disk: &dyn Disk) -> io::Result<()> {
    disk.create_dir("d")?;
    let old = disk.open("now", Open::CreateNew)?;
    old.append(b"old")?;
    let new = disk.open("d/tmp", Open::CreateNew)?;
    new.append(b"new")?;
    disk.rename("d/tmp", "now")?;
    new.append(b"er")?;
    assert_eq!(all(&*disk.open("now", Open::Read)?)?, b"newer");
    assert_eq!(all(&*old)?, b"old");
    assert_eq!(disk.list("d")?, [""; 0]);
    disk.rename("now", "now")?;
    assert_eq!(disk.list("")?, ["now"]);
    assert_eq!(kind(disk.rename("gone", "now")), NotFound);
    assert_eq!(kind(disk.rename("now", "no/now")), NotFound);
    Ok(())
}

fn a_removed_file_lives_on_in_its_handles(disk: &dyn Disk) -> io::Result<()> {
    let file = disk.open("f", Open::CreateNew)?;
    file.append(b"ghost")?;
    disk.remove("f")?;
    disk.sync_dir("")?;
    assert_eq!(kind(disk.open("f", Open::Read)), NotFound);
    assert_eq!(kind(disk.remove("f")), NotFound);
    file.append(b"!")?;
    file.sync()?;
    assert_eq!(all(&*file)?, b"ghost!");
    // A new file of that name is another file.
    assert!(disk.open("f", Open::CreateNew)?.is_empty()?);
    Ok(())
}

fn a_lock_has_one_holder(disk: &dyn Disk) -> io::Result<()> {
    let held = disk.lock("lock")?;
    assert_eq!(kind(disk.lock("lock")), WouldBlock);
    let _other = disk.lock("other")?;
    drop(held);
    let _again = disk.lock("lock")?;
    assert_eq!(disk.list("")?, ["lock", "other"]);
    Ok(())
}

fn lengths_beyond_the_kernels_are_refused(disk: &dyn Disk) -> io::Result<()> {
    let file = disk.open("f", Open::CreateNew)?;
    assert!(file.set_len(u64::MAX).is_err());
    assert!(file.write_at(b"xy", u64::MAX - 1).is_err());
    assert!(file.is_empty()?);
    Ok(())
}

#[test]
fn two_real_disks_on_one_root_share_the_lock() {
    let dir = tempfile::tempdir().unwrap();
    let (one, two) = (RealDisk::new(dir.path()).unwrap(), RealDisk::new(dir.path()).unwrap());
    let held = one.lock("lock").unwrap();
    let error = two.lock("lock").err().unwrap();
    assert_eq!(error.kind(), WouldBlock);
    assert!(error.to_string().contains("stop it first"), "{error}");
    drop(held);
    two.lock("lock").unwrap();
}

#[derive(Clone, Debug)]
enum Call {
    Open(&'static str, Open),
    Write(usize, u64, usize, u8),
    Read(usize, u64, usize),
    SetLen(usize, u64),
    Allocate(usize, u64),
    Sync(usize),
    Close(usize),
    Rename(&'static str, &'static str),
    Remove(&'static str),
    List(&'static str),
    CreateDir(&'static str),
    SyncDir(&'static str),
}

fn calls() -> impl Strategy<Value = Vec<Call>> {
    // Some are files, some directories, some either, some under a file.
    let path = || prop::sample::select(vec!["a", "b", "d", "d/a", "d/b", "a/x", "e/a"]);
    let how = prop::sample::select(vec![
        Open::Read,
        Open::Write,
        Open::CreateNew,
        Open::Create,
        Open::Create,
    ]);
    let at = || 0u64..9000;
    let call = prop_oneof![
        5 => (path(), how).prop_map(|(p, how)| Call::Open(p, how)),
        6 => (0usize..4, at(), 0usize..6000, any::<u8>()).prop_map(|(f, at, n, b)| Call::Write(f, at, n, b)),
        4 => (0usize..4, at(), 0usize..6000).prop_map(|(f, at, n)| Call::Read(f, at, n)),
        2 => (0usize..4, at()).prop_map(|(f, len)| Call::SetLen(f, len)),
        2 => (0usize..4, at()).prop_map(|(f, len)| Call::Allocate(f, len)),
        1 => (0usize..4).prop_map(Call::Sync),
        1 => (0usize..4).prop_map(Call::Close),
        3 => (path(), path()).prop_map(|(from, to)| Call::Rename(from, to)),
        2 => path().prop_map(Call::Remove),
        2 => prop::sample::select(vec!["", "d", "a", "no"]).prop_map(Call::List),
        2 => path().prop_map(Call::CreateDir),
        1 => prop::sample::select(vec!["", "d"]).prop_map(Call::SyncDir),
    ];
    prop::collection::vec(call, 1..40)
}

/// The answer to one call, in a form that two disks can be compared by.
fn answer(
    disk: &dyn Disk,
    files: &mut Vec<(Arc<dyn File>, Open)>,
    call: &Call,
) -> Result<String, ErrorKind> {
    let with = |f: usize, run: &dyn Fn(&dyn File) -> io::Result<String>| match files.get(f) {
        Some((file, _)) => run(&**file).map_err(|e| e.kind()),
        None => Ok("no such handle".to_owned()),
    };
    // The kernel has no portable kind for "not opened for writing".
    let writes = |f: usize, run: &dyn Fn(&dyn File) -> io::Result<String>| {
        let refused = files.get(f).is_some_and(|(_, how)| *how == Open::Read);
        with(f, run).map_err(|kind| if refused { ErrorKind::PermissionDenied } else { kind })
    };
    let done = |result: io::Result<()>| result.map(|()| String::new()).map_err(|e| e.kind());
    match call {
        Call::Open(path, how) => {
            let file = disk.open(path, *how).map_err(|e| e.kind())?;
            files.push((file, *how));
            Ok(String::new())
        }
        Call::Write(f, at, n, byte) => writes(*f, &|file| {
            file.write_at(&vec![*byte; *n], *at).map(|()| format!("{:?}", file.len()))
        }),
        Call::Read(f, at, n) => with(*f, &|file| {
            let mut buf = vec![0; *n];
            let got = file.read_at(&mut buf, *at)?;
            Ok(format!("{:?}", &buf[..got]))
        }),
        Call::SetLen(f, len) => writes(*f, &|file| file.set_len(*len).map(|()| String::new())),
        Call::Allocate(f, len) => {
            writes(*f, &|file| file.allocate(*len).map(|()| format!("{:?}", file.len())))
        }
        Call::Sync(f) => with(*f, &|file| file.sync().map(|()| String::new())),
        Call::Close(f) => {
            if *f < files.len() {
                files.remove(*f);
            }
            Ok(String::new())
        }
        Call::Rename(from, to) => done(disk.rename(from, to)),
        Call::Remove(path) => done(disk.remove(path)),
        Call::List(dir) => disk.list(dir).map(|names| names.join(",")).map_err(|e| e.kind()),
        Call::CreateDir(dir) => done(disk.create_dir(dir)),
        Call::SyncDir(dir) => done(disk.sync_dir(dir)),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..Default::default() })]
    #[test]
    fn the_simulated_disk_answers_as_the_real_one(calls in calls()) {
        let dir = tempfile::tempdir().unwrap();
        let (real, sim) = (RealDisk::new(dir.path()).unwrap(), SimDisk::new(0));
        let (mut real_files, mut sim_files) = (Vec::new(), Vec::new());
        for (n, call) in calls.iter().enumerate() {
            let expected = answer(&real, &mut real_files, call);
            let got = answer(&*sim, &mut sim_files, call);
            prop_assert_eq!(expected, got, "call {}: {:?}", n, call);
        }
    }
}
