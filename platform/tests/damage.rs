//! Damage, and want of room or descriptors, on the simulated disk.
//!
//! Invariant: each fault acts as a medium or a kernel would, is counted where it
//! acts, and follows from the seed.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::io::ErrorKind;

use platform::sim::{Fault, SimDisk, Times, Verb};
use platform::{Disk, Open};

const PAGE: usize = 4096;

fn synced(disk: &SimDisk, path: &str, bytes: &[u8]) {
    let file = disk.open(path, Open::CreateNew).unwrap();
    file.append(bytes).unwrap();
    file.sync().unwrap();
    disk.sync_dir("").unwrap();
}

#[test]
fn a_lost_write_is_never_there_again_after_a_restart_however_often_synced() {
    let mut shown = BTreeSet::new();
    for seed in 0..40 {
        // given
        let disk = SimDisk::new(seed);
        synced(&disk, "f", &[1; 2 * PAGE]);
        disk.fail(Fault::LostWrite, "f", Times::Next);
        // when
        let file = disk.open("f", Open::Write).unwrap();
        file.write_at(&[2; 8], 100).unwrap();
        file.append(&[3; 4]).unwrap();
        file.sync().unwrap();
        shown.insert(disk.file_bytes("f").unwrap()[100]);
        // then: the append is there, the write is not
        let found = disk.restart().file_bytes("f").unwrap();
        assert_eq!((found.len(), found[100], found[2 * PAGE]), (2 * PAGE + 4, 1, 3));
        assert_eq!(disk.tally().lost_writes, 1);
    }
    assert_eq!(shown, BTreeSet::from([1, 2]), "the cache shows it, or not");
}

#[test]
fn a_lost_append_leaves_zeros() {
    let disk = SimDisk::new(1);
    synced(&disk, "f", b"head");
    disk.fail(Fault::LostWrite, "", Times::Next);
    let file = disk.open("f", Open::Write).unwrap();
    file.append(b"lost").unwrap();
    file.sync().unwrap();
    assert_eq!(disk.restart().file_bytes("f").unwrap(), b"head\0\0\0\0");
}

#[test]
fn a_misdirected_write_lands_in_a_sector_of_some_file_and_not_in_its_own() {
    let mut hit = BTreeSet::new();
    for seed in 0..60 {
        let disk = SimDisk::new(seed);
        synced(&disk, "a", &[1; 3 * PAGE]);
        synced(&disk, "b", &[1; 3 * PAGE]);
        disk.fail(Fault::Misdirected, "a", Times::Next);
        // when
        let file = disk.open("a", Open::Write).unwrap();
        file.write_at(&[2; 8], 1000).unwrap();
        file.sync().unwrap();
        // then
        let found = disk.restart();
        for path in ["a", "b"] {
            let bytes = found.file_bytes(path).unwrap();
            assert_eq!(bytes.len(), 3 * PAGE);
            if let Some(at) = bytes.iter().position(|byte| *byte == 2) {
                assert_eq!((at % 512, bytes[at..at + 8] == [2; 8]), (1000 % 512, true));
                assert!((path, at) != ("a", 1000));
                hit.insert(path);
            }
        }
    }
    assert_eq!(hit.len(), 2);
}

#[test]
fn rot_flips_as_many_bits_as_asked_and_a_restart_does_not_mend_them() {
    let disk = SimDisk::new(3);
    synced(&disk, "a", &[0; PAGE]);
    synced(&disk, "b", &[0; PAGE]);
    let flipped = disk.rot("a", 5);
    assert_eq!((flipped.len(), disk.tally().rotten_bits), (5, 5));
    let found = disk.restart();
    let ones = |path| found.file_bytes(path).unwrap().iter().map(|b| b.count_ones()).sum::<u32>();
    assert!((1..=5).contains(&ones("a")));
    assert_eq!(ones("b"), 0);
    assert!(disk.rot("nothing", 3).is_empty());
}

#[test]
fn a_full_disk_takes_overwrites_and_has_room_again_when_a_file_is_gone() {
    // given: room for three pages
    let disk = SimDisk::new(1);
    disk.set_capacity(Some(3 * PAGE as u64));
    synced(&disk, "a", &[1; PAGE]);
    synced(&disk, "b", &[2; PAGE + 1]);
    // when
    let file = disk.open("a", Open::Write).unwrap();
    file.write_at(&[3; PAGE], 0).unwrap();
    let full = file.write_at(&[4; PAGE], 1).unwrap_err();
    // then
    assert_eq!(full.kind(), ErrorKind::StorageFull);
    assert_eq!(file.len().unwrap(), PAGE as u64, "what fits is written");
    assert!(disk.open("c", Open::Create).is_err());
    // and when a file goes
    disk.remove("b").unwrap();
    disk.sync_dir("").unwrap();
    file.write_at(&[4; PAGE], 1).unwrap();
    let tally = disk.tally();
    assert_eq!((tally.no_space, tally.short_writes, disk.used()), (2, 1, 2 * PAGE as u64));
}

#[test]
fn descriptors_run_out_and_come_back() {
    let disk = SimDisk::new(1);
    disk.set_max_handles(Some(1));
    let held = disk.open("a", Open::Create).unwrap();
    let refused = disk.open("b", Open::Create).err().unwrap();
    assert_eq!(refused.raw_os_error(), Some(24));
    drop(held);
    let held = disk.open("b", Open::Create).unwrap();
    disk.set_max_handles(None);
    disk.fail(Fault::Descriptors, "a", Times::Next);
    assert!(disk.open("a", Open::Read).is_err());
    assert!(disk.open("a", Open::Read).is_ok());
    assert_eq!(disk.tally().no_descriptors, 2);
    drop(held);
}

#[test]
fn sectors_of_an_unsynced_page_survive_each_for_itself() {
    // given a page of eight sectors, then in some restart a hole between two that survive
    let seen = (0..400).any(|seed| {
        let disk = SimDisk::new(seed);
        synced(&disk, "f", &[1; PAGE]);
        disk.open("f", Open::Write).unwrap().write_at(&[2; PAGE], 0).unwrap();
        let found = disk.restart().file_bytes("f").unwrap();
        let sector = |n: usize| found[n * 512];
        (1..7).any(|n| sector(n) == 1 && (0..n).any(|k| sector(k) == 2) && sector(7) == 2)
    });
    assert!(seen);
}

#[test]
fn the_trace_is_a_function_of_seed_and_calls_and_the_last_calls_are_kept() {
    let run = |seed, byte| {
        let disk = SimDisk::new(seed);
        disk.record(2);
        synced(&disk, "a", &[byte; 10]);
        let after = disk.restart();
        synced(&after, "b", &[byte; 10]);
        (after.trace(), after.take_calls())
    };
    assert_eq!(run(1, 1), run(1, 1));
    assert_ne!(run(1, 1).0, run(1, 2).0);
    let calls: Vec<_> = run(1, 1).1.iter().map(|call| (call.verb, call.ok)).collect();
    assert_eq!(calls, [(Verb::Sync, true), (Verb::SyncDir, true)]);
}

#[test]
fn what_was_allocated_needs_no_room_later() {
    // given: a file with two pages allocated on a disk of two
    let disk = SimDisk::new(1);
    disk.set_capacity(Some(2 * PAGE as u64));
    let file = disk.open("a", Open::Create).unwrap();
    file.allocate(2 * PAGE as u64).unwrap();
    file.sync().unwrap();
    disk.sync_dir("").unwrap();
    assert_eq!(disk.used(), 2 * PAGE as u64);
    // when: it is written, before and after a restart
    file.write_at(&[1; 10], 4000).unwrap();
    let found = disk.restart();
    found.set_capacity(Some(2 * PAGE as u64));
    let file = found.open("a", Open::Write).unwrap();
    file.write_at(&[1; 2 * PAGE], 0).unwrap();
    // then: only more than that is refused
    assert!(file.allocate(2 * PAGE as u64 + 1).is_err());
}

#[test]
fn a_spoilt_sector_is_unreadable_until_it_is_written_whole() {
    // Given a file with a bad sector, the third,
    let disk = SimDisk::new(1);
    synced(&disk, "f", &[1; 2 * PAGE + 10]);
    disk.spoil("f", 1100, 1).unwrap();
    assert!(disk.spoil("f", 2 * PAGE as u64 + 10, 1).is_err());
    for disk in [disk.snapshot(), disk.snapshot().kill(), disk.snapshot().restart_worst()] {
        let file = disk.open("f", Open::Write).unwrap();
        let read = |at: u64, len: usize| file.read_at(&mut vec![0; len], at);
        // then reads fail if they touch it, and only those,
        assert_eq!((read(0, 1024).unwrap(), read(1536, PAGE).unwrap()), (1024, PAGE));
        for (at, len) in [(0, 1025), (1024, 1), (1535, 1), (0, 3 * PAGE)] {
            assert!(read(at, len).is_err(), "{at} {len}");
        }
        assert_eq!(disk.tally().failed_reads, 4);
        // a write of a part of it mends nothing, one of the whole does.
        file.write_at(&[2; 511], 1024).unwrap();
        assert!(read(1024, 1).is_err());
        file.write_at(&[2; 512], 1024).unwrap();
        assert_eq!(read(0, 2 * PAGE).unwrap(), 2 * PAGE);
    }
    // The last sector is whole as far as the file goes.
    disk.spoil("f", 2 * PAGE as u64, 10).unwrap();
    let file = disk.open("f", Open::Write).unwrap();
    assert!(file.read_at(&mut [0; 1], 2 * PAGE as u64).is_err());
    file.write_at(&[3; 10], 2 * PAGE as u64).unwrap();
    assert_eq!(file.read_at(&mut [0; 20], 2 * PAGE as u64).unwrap(), 10);
}
