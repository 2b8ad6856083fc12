//! Views stay what they are while commits go on, and hold no more than they need.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::ops::Bound::Unbounded;
use std::sync::atomic::{AtomicBool, Ordering};

use btree::{Direction, Op, Options, PageFile, View};
use common::*;
use platform::sim::SimDisk;

const KEYS: u32 = 600;

/// Every key gets the round as its value.
fn write_round(file: &PageFile, round: u32) -> View {
    let mut write = file.begin();
    let ops = (0..KEYS).map(|k| (k.to_be_bytes(), Op::Put(round.to_be_bytes())));
    write.apply(1, ops, &mut |_, _| {}).unwrap();
    // A second tree that comes and goes.
    if round.is_multiple_of(2) {
        let ops = (0..KEYS / 2).map(|k| (k.to_be_bytes(), Op::Put(round.to_be_bytes())));
        write.apply(2, ops, &mut |_, _| {}).unwrap();
    } else {
        write.drop_tree(2).unwrap();
    }
    let mut user = [0; 64];
    user[..4].copy_from_slice(&round.to_be_bytes());
    write.set_user(user);
    write.commit().unwrap()
}

fn assert_is_one_round(view: &View) -> u32 {
    let round = u32::from_be_bytes(view.user()[..4].try_into().unwrap());
    let mut cursor = view.range(1, Unbounded, Unbounded, Direction::Forward);
    let mut n = 0u32;
    while let Some((key, value)) = cursor.next().unwrap() {
        assert_eq!((key, value), (&n.to_be_bytes()[..], &round.to_be_bytes()[..]));
        n += 1;
    }
    assert_eq!(n, if round == 0 { 0 } else { KEYS });
    let second = if round > 0 && round.is_multiple_of(2) { KEYS / 2 } else { 0 };
    assert_eq!(view.len(2), u64::from(second));
    round
}

#[test]
fn readers_see_their_version_while_commits_go_on() {
    // given: a cache of a few pages, so that readers meet the disk
    let disk = SimDisk::new(2);
    let options = Options { cache_bytes: 40 << 10, dirty_bytes: 16 << 10 };
    let file = PageFile::open(disk, PATH, options).unwrap();
    let done = AtomicBool::new(false);
    let (file, done) = (&file, &done);
    std::thread::scope(|scope| {
        for reader in 0..3 {
            scope.spawn(move || {
                let mut seen = 0;
                while !done.load(Ordering::Acquire) {
                    let view = file.view();
                    let round = assert_is_one_round(&view);
                    assert!(round >= seen, "versions only go forward");
                    seen = round;
                    // Hold some views over several commits, then look again.
                    if reader > 0 {
                        std::thread::yield_now();
                        assert_eq!(assert_is_one_round(&view), round);
                    }
                }
            });
        }
        let mut held = Vec::new();
        for round in 1..=60 {
            let view = write_round(file, round);
            if round % 20 == 0 {
                held.push(view);
            }
        }
        for (i, view) in held.iter().enumerate() {
            assert_eq!(assert_is_one_round(view) as usize, 20 * (i + 1));
        }
        done.store(true, Ordering::Release);
    });
    assert_clean(file);
    let stats = file.cache_stats();
    assert!(stats.bytes <= stats.capacity && stats.capacity <= 40 << 10, "{stats:?}");
}

#[test]
fn an_old_view_holds_its_own_pages_only() {
    // given: a view of the first version, held while 100 more are committed
    let file = open(SimDisk::new(2)).unwrap();
    let old = write_round(&file, 1);
    let pages = |round| write_round(&file, round).file_pages();
    let early = (2..8).map(pages).max().unwrap();
    let late = (8..100).map(pages).max().unwrap();
    // then: the file has not grown beyond what the first rounds needed
    assert_eq!(late, early);
    assert_eq!(assert_is_one_round(&old), 1);
    assert_clean(&file);
    // and without it, its pages are taken again
    drop(old);
    let after = (100..110).map(pages).max().unwrap();
    assert_eq!(after, early);
}

#[test]
fn a_value_and_a_cursor_outlive_their_view() {
    let file = open(SimDisk::new(2)).unwrap();
    let view = write_round(&file, 1);
    let value = view.get(1, &3u32.to_be_bytes()).unwrap().unwrap();
    let mut cursor = view.range(1, Unbounded, Unbounded, Direction::Reverse);
    drop(view);
    for round in 2..6 {
        write_round(&file, round);
    }
    assert_eq!(&*value, &1u32.to_be_bytes());
    let (key, value) = cursor.next().unwrap().unwrap();
    assert_eq!((key, value), (&(KEYS - 1).to_be_bytes()[..], &1u32.to_be_bytes()[..]));
}

#[test]
fn the_cache_is_filled_to_its_bound_and_no_further() {
    let disk = SimDisk::new(2);
    let options = Options { cache_bytes: 200 << 10, dirty_bytes: 64 << 10 };
    let file = PageFile::open(disk, PATH, options).unwrap();
    let mut write = file.begin();
    let ops = (0..20_000u32).map(|k| (k.to_be_bytes(), Op::Put([0; 40])));
    write.apply(1, ops, &mut |_, _| {}).unwrap();
    let view = write.commit().unwrap();
    for k in 0..20_000u32 {
        assert!(view.get(1, &k.to_be_bytes()).unwrap().is_some());
    }
    let stats = file.cache_stats();
    assert_eq!(stats.bytes, stats.capacity);
    assert!(stats.capacity <= 200 << 10 && stats.capacity > 120 << 10, "{stats:?}");
    assert!(stats.hits > stats.misses, "{stats:?}");
}

#[test]
fn a_commit_without_changes_writes_nothing() {
    let disk = SimDisk::new(2);
    let file = open(disk.clone()).unwrap();
    let epoch = write_round(&file, 1).epoch();
    let calls = disk.calls();
    let mut write = file.begin();
    write.apply(1, [(b"absent", Op::<&[u8]>::Delete)], &mut |_, _| {}).unwrap();
    write.apply(1, [(0u32.to_be_bytes(), Op::Put(1u32.to_be_bytes()))], &mut |_, _| {}).unwrap();
    assert_eq!(write.commit().unwrap().epoch(), epoch);
    assert_eq!(disk.calls(), calls);
}

#[test]
fn what_lies_ahead_of_a_cursor_is_what_it_gives_next() {
    let file = open(SimDisk::new(1)).unwrap();
    let mut write = file.begin();
    let ops = (0..KEYS).map(|k| (k.to_be_bytes(), Op::Put(k.to_le_bytes())));
    write.apply(1, ops, &mut |_, _| {}).unwrap();
    let view = write.commit().unwrap();
    for direction in [Direction::Forward, Direction::Reverse] {
        let mut cursor = view.range(1, Unbounded, Unbounded, direction);
        assert!(cursor.ahead(0).is_none(), "nothing was read yet");
        let (mut promised, mut kept) = (None, 0);
        while let Some((_, value)) = cursor.next().unwrap() {
            if let Some(promised) = promised {
                assert_eq!(value, promised);
                kept += 1;
            }
            promised = cursor.ahead(0).map(<[u8]>::to_vec);
            // further ahead is further on, and never past the leaf
            assert!(cursor.ahead(1).is_none() || promised.is_some());
            assert!(cursor.ahead(usize::MAX).is_none());
        }
        assert!(kept > KEYS as usize * 9 / 10, "all but at the ends of leaves: {kept}");
    }
}
