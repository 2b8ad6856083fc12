//! What a power cut, a kill and a fault may and may not do to the simulated disk.
//!
//! Invariant: "always" is checked over many seeds, and each "may" is seen to
//! happen in at least one of them; a disk that never tears proves nothing.

use std::collections::BTreeSet;
use std::io;

use platform::sim::{Fault, SimDisk, Times};
use platform::{Disk, Open};
use proptest::prelude::*;

const PAGE: usize = 4096;

/// `path`, synced with `bytes` in it, its name durable.
fn synced(disk: &SimDisk, path: &str, bytes: &[u8]) -> io::Result<()> {
    let file = disk.open(path, Open::CreateNew)?;
    file.append(bytes)?;
    file.sync()?;
    disk.sync_dir(path.rsplit_once('/').map_or("", |(dir, _)| dir))
}

#[test]
fn a_synced_file_always_survives_and_an_unsynced_one_every_way_there_is() {
    let (old, new) = (vec![1; 3 * PAGE], vec![2; 3 * PAGE]);
    let mut seen = BTreeSet::new();
    for seed in 0..400 {
        // given: a synced file, and another whose overwrite was never synced
        let disk = SimDisk::new(seed);
        synced(&disk, "safe", &old).unwrap();
        synced(&disk, "risky", &old).unwrap();
        disk.open("risky", Open::Write).unwrap().write_at(&new, 0).unwrap();
        // when
        let found = disk.restart();
        // then
        assert!(found.file_bytes("safe").unwrap() == old, "seed {seed}");
        let risky = found.file_bytes("risky").unwrap();
        assert_eq!(risky.len(), old.len());
        let whole =
            |page: usize| risky[page * PAGE..(page + 1) * PAGE].iter().all(|byte| *byte == 2);
        let none =
            |page: usize| risky[page * PAGE..(page + 1) * PAGE].iter().all(|byte| *byte == 1);
        if risky == old {
            seen.insert("all lost");
        }
        if risky == new {
            seen.insert("all kept");
        }
        if (0..3).any(|page| !whole(page) && !none(page)) {
            seen.insert("torn inside a page");
        }
        if none(0) && whole(2) {
            seen.insert("a later page without an earlier one");
        }
        if whole(0) && none(2) {
            seen.insert("an earlier page without a later one");
        }
    }
    assert_eq!(seen.len(), 5, "{seen:?}");
}

#[test]
fn an_unsynced_append_may_leave_zeros_or_half_of_itself() {
    let mut seen = BTreeSet::new();
    for seed in 0..600 {
        let disk = SimDisk::new(seed);
        synced(&disk, "log", b"head").unwrap();
        disk.open("log", Open::Write).unwrap().append(b"tail").unwrap();
        let found = disk.restart().file_bytes("log").unwrap();
        assert!(found.starts_with(b"head"), "seed {seed}: {found:?}");
        seen.insert(found);
    }
    for possible in [&b"head"[..], b"headtail", b"headta", b"head\0\0\0\0", b"head\0\0il"] {
        assert!(seen.contains(possible), "never saw {possible:?}");
    }
}

#[test]
fn a_sync_saves_a_cut_that_was_grown_over_again() {
    let disk = SimDisk::new(1);
    synced(&disk, "f", &[9; 2 * PAGE]).unwrap();
    let file = disk.open("f", Open::Write).unwrap();
    file.set_len(3).unwrap();
    file.set_len(2 * PAGE as u64).unwrap();
    file.sync().unwrap();
    let found = disk.durable_bytes("f").unwrap();
    assert_eq!(found[..5], [9, 9, 9, 0, 0]);
    assert!(found[5..].iter().all(|byte| *byte == 0));
}

#[test]
fn names_are_old_or_new_until_their_directory_is_synced() {
    let mut seen = BTreeSet::new();
    for seed in 0..200 {
        let disk = SimDisk::new(seed);
        disk.create_dir("d").unwrap();
        synced(&disk, "d/kept", b"k").unwrap();
        synced(&disk, "d/removed", b"r").unwrap();
        // when: a file made and synced, another removed, no name synced
        let made = disk.open("d/made", Open::CreateNew).unwrap();
        made.append(b"m").unwrap();
        made.sync().unwrap();
        disk.remove("d/removed").unwrap();
        let found = disk.restart();
        // then: a name that is there has its synced bytes
        for path in found.files() {
            assert_eq!(found.file_bytes(&path).unwrap(), &path.as_bytes()[2..3], "seed {seed}");
        }
        seen.insert(found.list("d").unwrap().join(" "));
    }
    let every = ["kept", "kept made", "kept made removed", "kept removed"];
    assert!(seen.iter().eq(every), "{seen:?}");
}

#[test]
fn a_rename_is_atomic() {
    let mut seen = BTreeSet::new();
    for seed in 0..200 {
        for crash in [false, true] {
            let disk = SimDisk::new(seed);
            synced(&disk, "now", b"old").unwrap();
            synced(&disk, "tmp", b"new").unwrap();
            if crash {
                disk.crash_after(1);
            }
            assert_eq!(disk.rename("tmp", "now").is_err(), crash);
            let found = disk.restart();
            let state = (found.file_bytes("now").unwrap(), found.file_bytes("tmp"));
            match (&*state.0, state.1.as_deref()) {
                (b"old", Some(b"new")) => seen.insert("before"),
                (b"new", None) => seen.insert("after"),
                other => panic!("seed {seed}: neither before nor after: {other:?}"),
            };
        }
        let disk = SimDisk::new(seed);
        synced(&disk, "now", b"old").unwrap();
        synced(&disk, "tmp", b"new").unwrap();
        disk.rename("tmp", "now").unwrap();
        disk.sync_dir("").unwrap();
        assert_eq!(disk.restart().file_bytes("now").unwrap(), b"new", "seed {seed}");
    }
    assert_eq!(seen.len(), 2, "{seen:?}");
}

#[test]
fn a_directory_is_durable_when_made_and_a_synced_file_without_a_synced_name_is_not() {
    let disk = SimDisk::new(1);
    disk.create_dir("a/b").unwrap();
    let file = disk.open("a/b/f", Open::CreateNew).unwrap();
    file.append(b"x").unwrap();
    file.sync().unwrap();
    let found = disk.restart_worst();
    assert_eq!(found.list("a/b").unwrap(), [""; 0]);
}

/// A log of three records, each synced, then a swap of `current`. Returns how
/// many steps were acknowledged.
fn workload(disk: &SimDisk, acknowledged: &mut u32) -> io::Result<()> {
    disk.create_dir("log")?;
    let log = disk.open("log/1", Open::CreateNew)?;
    disk.sync_dir("log")?;
    for record in 1..=3u8 {
        log.append(&[record; 600])?;
        log.sync()?;
        *acknowledged += 1;
    }
    let tmp = disk.open("current.tmp", Open::CreateNew)?;
    tmp.append(b"log/1")?;
    tmp.sync()?;
    disk.rename("current.tmp", "current")?;
    disk.sync_dir("")?;
    *acknowledged += 1;
    Ok(())
}

#[test]
fn crashing_at_each_call_loses_nothing_acknowledged() {
    let mut crashes = 0;
    for n in 1.. {
        for seed in 0..20 {
            let disk = SimDisk::new(seed);
            disk.crash_after(n);
            let mut acknowledged = 0;
            let done = workload(&disk, &mut acknowledged);
            for found in [disk.restart(), disk.restart_worst(), disk.kill()] {
                let log = found.file_bytes("log/1").unwrap_or_default();
                let records = acknowledged.min(3) as usize;
                assert!(log.len() >= records * 600, "call {n}, seed {seed}");
                for record in 0..records {
                    assert!(
                        log[record * 600..][..600].iter().all(|b| usize::from(*b) == record + 1)
                    );
                }
                let current = found.file_bytes("current");
                assert!(current.as_deref().is_none_or(|bytes| bytes == b"log/1"));
                assert!(acknowledged < 4 || current.is_some());
            }
            match done {
                Ok(()) => {
                    // create_dir, open, sync_dir, 3 x (append, sync), open, append, sync, rename, sync_dir
                    assert_eq!((n, disk.calls()), (15, 14));
                    assert_eq!(crashes, 14 * 20);
                    return;
                }
                Err(e) => assert!(SimDisk::is_crash(&e), "{e}"),
            }
            crashes += 1;
        }
    }
}

#[test]
fn a_crashed_disk_and_its_handles_fail_for_ever() {
    let disk = SimDisk::new(3);
    synced(&disk, "f", b"hello").unwrap();
    let file = disk.open("f", Open::Write).unwrap();
    let _lock = disk.lock("lock").unwrap();
    disk.crash_after(2);
    file.append(b"one").unwrap();
    let crash = |result: io::Result<()>| SimDisk::is_crash(&result.unwrap_err());
    assert!(crash(file.append(b"two").map(drop)));
    assert!(disk.is_crashed());
    let calls = disk.calls();
    // when: restarted, the new machine works and the old one does not
    let found = disk.restart();
    found.open("f", Open::Write).unwrap().append(b"new").unwrap();
    let _again = found.lock("lock").unwrap();
    assert!(crash(file.read_at(&mut [0; 4], 0).map(drop)));
    assert!(crash(file.len().map(drop)));
    assert!(crash(file.write_at(b"x", 0)));
    assert!(crash(file.set_len(0)));
    assert!(crash(file.sync()));
    assert!(crash(disk.open("f", Open::Read).map(drop)));
    assert!(crash(disk.rename("f", "g")));
    assert!(crash(disk.remove("f")));
    assert!(crash(disk.list("").map(drop)));
    assert!(crash(disk.create_dir("d")));
    assert!(crash(disk.sync_dir("")));
    assert!(crash(disk.lock("other").map(drop)));
    assert_eq!(disk.calls(), calls);
    assert!(!SimDisk::is_crash(&found.open("no", Open::Read).err().unwrap()));
}

#[test]
fn a_killed_process_loses_nothing_but_the_power_may_still_go() {
    let disk = SimDisk::new(1);
    synced(&disk, "f", b"safe").unwrap();
    disk.open("f", Open::Write).unwrap().append(b" risky").unwrap();
    disk.open("g", Open::CreateNew).unwrap();
    let killed = disk.kill();
    assert!(SimDisk::is_crash(&disk.list("").unwrap_err()));
    assert_eq!(killed.file_bytes("f").unwrap(), b"safe risky");
    assert_eq!(killed.files(), ["f", "g"]);
    assert_eq!((killed.unsynced("f"), killed.unsynced("")), (1, 1));
    assert_eq!(killed.durable_bytes("f").unwrap(), b"safe");
    let cut = killed.restart_worst();
    assert_eq!(cut.file_bytes("f").unwrap(), b"safe");
    assert_eq!(cut.files(), ["f"]);
}

#[test]
fn the_part_a_dying_write_did_differs_by_seed() {
    let lengths: BTreeSet<usize> = (0..100)
        .map(|seed| {
            let disk = SimDisk::new(seed);
            let file = disk.open("f", Open::CreateNew).unwrap();
            disk.crash_after(1);
            file.append(b"0123456789").unwrap_err();
            disk.kill().file_bytes("f").unwrap().len()
        })
        .collect();
    assert_eq!(lengths, (0..=10).collect());
}

#[test]
fn same_seed_same_calls_same_bytes() {
    let run = |seed: u64| -> Vec<u64> {
        (1..15)
            .map(|n| {
                let disk = SimDisk::new(seed);
                disk.crash_after(n);
                workload(&disk, &mut 0).unwrap_err();
                let (first, again) = (disk.restart(), disk.restart());
                first.digest() ^ again.digest().rotate_left(1)
            })
            .collect()
    };
    assert_eq!(run(1), run(1));
    assert_ne!(run(1), run(2));
}

#[test]
fn a_snapshot_goes_its_own_way() {
    let disk = SimDisk::new(1);
    synced(&disk, "f", &[1; 3 * PAGE]).unwrap();
    let file = disk.open("f", Open::Write).unwrap();
    file.write_at(&[2; 10], 0).unwrap();
    let copy = disk.snapshot();
    assert_eq!((copy.digest(), copy.calls(), copy.unsynced("f")), (disk.digest(), 0, 1));
    file.write_at(&[3; 10], 0).unwrap();
    copy.open("f", Open::Write).unwrap().write_at(&[4; 10], PAGE as u64).unwrap();
    assert_eq!(disk.file_bytes("f").unwrap()[..10], [3; 10]);
    assert_eq!(disk.file_bytes("f").unwrap()[PAGE], 1);
    assert_eq!(copy.file_bytes("f").unwrap()[..10], [2; 10]);
    assert_eq!(copy.restart_worst().file_bytes("f").unwrap(), [1; 3 * PAGE]);
    assert!(!disk.is_crashed());
}

#[test]
fn what_a_failed_sync_lost_no_later_sync_saves() {
    let mut seen = BTreeSet::new();
    for seed in 0..100 {
        let disk = SimDisk::new(seed);
        synced(&disk, "1", b"head").unwrap();
        let file = disk.open("1", Open::Write).unwrap();
        file.append(b"tail").unwrap();
        disk.fail_sync("1");
        let error = file.sync().unwrap_err();
        assert!(!SimDisk::is_crash(&error), "{error}");
        // Reads still show it, and the second sync claims success.
        assert_eq!(disk.file_bytes("1").unwrap(), b"headtail");
        file.sync().unwrap();
        seen.insert(disk.restart().file_bytes("1").unwrap());
    }
    assert!(seen.iter().any(|bytes| bytes == b"headtail"));
    assert!(seen.iter().any(|bytes| bytes != b"headtail"), "a retried sync saved everything");
}

#[test]
fn faults_strike_their_prefix_once_or_until_cleared() {
    let disk = SimDisk::new(1);
    disk.create_dir("wal").unwrap();
    let wal = disk.open("wal/1", Open::CreateNew).unwrap();
    let other = disk.open("data", Open::CreateNew).unwrap();
    disk.fail_every_sync("wal/");
    wal.sync().unwrap_err();
    wal.sync().unwrap_err();
    other.sync().unwrap();
    disk.sync_dir("wal").unwrap();
    disk.clear_faults();
    wal.sync().unwrap();
    disk.fail_sync("wal");
    disk.sync_dir("wal").unwrap_err();
    disk.sync_dir("wal").unwrap();

    other.append(b"0123456789").unwrap();
    disk.fail(Fault::Read, "data", Times::Next);
    other.read_at(&mut [0; 4], 0).unwrap_err();
    disk.fail(Fault::ShortRead, "data", Times::Next);
    assert!(other.read_at(&mut [0; 4], 0).unwrap() < 4);
    assert_eq!(other.read_at(&mut [0; 4], 0).unwrap(), 4);

    disk.fail(Fault::Write, "", Times::Next);
    other.write_at(&[9; 10], 10).unwrap_err();
    assert!(disk.file_bytes("data").unwrap().len() <= 20);
    disk.fail(Fault::Name, "", Times::Every);
    disk.remove("data").unwrap_err();
    disk.rename("data", "x").unwrap_err();
    disk.open("new", Open::Create).err().unwrap();
    disk.create_dir("d").unwrap_err();
    disk.clear_faults();
    assert_eq!(disk.files(), ["data", "wal/1"]);
}

#[test]
fn a_full_disk_takes_what_fits_and_says_so() {
    let disk = SimDisk::new(1);
    let file = disk.open("f", Open::CreateNew).unwrap();
    disk.set_budget(Some(7));
    file.append(b"12345").unwrap();
    let full = |result: io::Result<()>| result.unwrap_err().kind() == io::ErrorKind::StorageFull;
    assert!(full(file.append(b"67890").map(drop)));
    assert_eq!(disk.file_bytes("f").unwrap(), b"1234567");
    assert!(full(disk.open("g", Open::Create).map(drop)));
    file.sync().unwrap();
    disk.set_budget(None);
    file.append(b"8").unwrap();
    disk.open("g", Open::Create).unwrap();
}

#[test]
fn corruption_is_read_and_survives_a_restart() {
    let disk = SimDisk::new(1);
    synced(&disk, "f", b"abc").unwrap();
    disk.corrupt("f", 1, 0x01).unwrap();
    assert_eq!(disk.file_bytes("f").unwrap(), b"acc");
    assert_eq!(disk.durable_bytes("f").unwrap(), b"acc");
    disk.open("f", Open::Write).unwrap().append(b"lost").unwrap();
    assert_eq!(disk.restart_worst().file_bytes("f").unwrap(), b"acc");
    let disk = disk.kill();
    assert_eq!(disk.corrupt("f", 7, 1).unwrap_err().kind(), io::ErrorKind::InvalidInput);
    assert_eq!(disk.corrupt("g", 0, 1).unwrap_err().kind(), io::ErrorKind::NotFound);
}

#[derive(Clone, Debug)]
enum Step {
    Write(usize, usize, u8),
    SetLen(usize),
    Sync,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (0usize..9000, 1usize..5000, 1u8..).prop_map(|(at, n, byte)| Step::Write(at, n, byte)),
        2 => (0usize..12_000).prop_map(Step::SetLen),
        2 => Just(Step::Sync),
    ];
    prop::collection::vec(step, 1..10)
}

/// For each byte, every value it had since the last sync; and every length.
struct Possible {
    bytes: Vec<BTreeSet<u8>>,
    lengths: (usize, usize),
}

impl Possible {
    fn after_sync(live: &[u8]) -> Self {
        let bytes = live.iter().map(|byte| BTreeSet::from([*byte])).collect();
        Self { bytes, lengths: (live.len(), live.len()) }
    }

    fn also(&mut self, live: &[u8]) {
        // Beyond what was synced a hole may show before any byte does.
        let longest = self.bytes.len().max(live.len());
        self.bytes.resize(longest, BTreeSet::from([0]));
        for (at, possible) in self.bytes.iter_mut().enumerate() {
            possible.insert(live.get(at).copied().unwrap_or(0));
        }
        self.lengths = (self.lengths.0.min(live.len()), self.lengths.1.max(live.len()));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..Default::default() })]
    #[test]
    fn each_byte_after_a_power_cut_is_one_it_had_since_the_last_sync(steps in steps(), seed: u64) {
        let disk = SimDisk::new(seed);
        synced(&disk, "f", b"").unwrap();
        let file = disk.open("f", Open::Write).unwrap();
        let mut live = Vec::new();
        let (mut durable, mut possible) = (Vec::new(), Possible::after_sync(&[]));
        for step in steps {
            match step {
                Step::Write(at, n, byte) => {
                    file.write_at(&vec![byte; n], at as u64).unwrap();
                    live.resize(live.len().max(at + n), 0);
                    live[at..at + n].fill(byte);
                    possible.also(&live);
                }
                Step::SetLen(len) => {
                    file.set_len(len as u64).unwrap();
                    live.resize(len, 0);
                    possible.also(&live);
                }
                Step::Sync => {
                    file.sync().unwrap();
                    durable = live.clone();
                    possible = Possible::after_sync(&live);
                }
            }
            prop_assert!(disk.durable_bytes("f").unwrap() == durable);
            for _ in 0..3 {
                let found = disk.snapshot().restart().file_bytes("f").unwrap();
                prop_assert!((possible.lengths.0..=possible.lengths.1).contains(&found.len()));
                let strange = found.iter().zip(&possible.bytes).position(|(byte, set)| !set.contains(byte));
                prop_assert_eq!(strange, None);
                disk.reseed(seed.wrapping_add(found.len() as u64 + 1));
            }
        }
        prop_assert!(disk.file_bytes("f").unwrap() == live);
        prop_assert!(disk.restart_worst().file_bytes("f").unwrap() == durable);
    }
}

#[test]
fn what_was_allocated_never_meets_a_full_disk_and_the_rest_does() {
    // given: a disk with room for ten bytes, six of them allocated
    let disk = SimDisk::new(1);
    disk.set_budget(Some(10));
    let file = disk.open("f", Open::CreateNew).unwrap();
    file.append(b"ab").unwrap();
    file.allocate(8).unwrap();
    // when the rest is taken by another file
    disk.open("other", Open::CreateNew).unwrap().append(b"xy").unwrap();
    // then writes inside go on, one over the end does its paid part, a growth fails
    file.write_at(b"012345", 2).unwrap();
    file.write_at(b"ABCDEFGH", 0).unwrap();
    let error = file.write_at(b"wxyz", 6).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    assert_eq!(disk.file_bytes("f").unwrap(), b"ABCDEFwx");
    assert_eq!(file.allocate(9).unwrap_err().kind(), io::ErrorKind::StorageFull);
    disk.set_budget(Some(3));
    assert_eq!(file.allocate(20).unwrap_err().kind(), io::ErrorKind::StorageFull);
    assert_eq!(file.len().unwrap(), 11, "what fits was done");
    assert_eq!(platform::shortage(&error), Some(platform::Shortage::Space));
}

#[test]
fn an_unsynced_allocation_may_be_lost_and_a_synced_one_is_not() {
    let mut seen = BTreeSet::new();
    for seed in 0..100 {
        let disk = SimDisk::new(seed);
        synced(&disk, "f", b"kept").unwrap();
        let file = disk.open("f", Open::Write).unwrap();
        file.allocate(10).unwrap();
        seen.insert(disk.snapshot().restart().file_bytes("f").unwrap().len());
        file.sync().unwrap();
        assert_eq!(disk.restart_worst().file_bytes("f").unwrap(), b"kept\0\0\0\0\0\0");
    }
    assert_eq!(seen, BTreeSet::from([4, 10]));
}

#[test]
fn a_write_through_write_is_durable_when_it_returns() {
    let disk = SimDisk::new(1);
    synced(&disk, "f", &vec![0; PAGE]).unwrap();
    let file = disk.open_write_through("f").unwrap();
    file.write_at(&[9; PAGE], 0).unwrap();
    assert!(disk.restart_worst().file_bytes("f").unwrap() == [9; PAGE]);
}
