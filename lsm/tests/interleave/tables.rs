//! The memtable's own sources under loom: every interleaving of one writer and
//! one reader (up to so many preemptions), and every value that the memory model
//! lets a load see, in nodes of three slots, so that few insertions reach every
//! kind of split.
//!
//! What is checked is the contract of `memtable/table.rs`: a reader who learned
//! that `S` commits are done sees exactly these, by get and by walks in both
//! directions, wherever the writer stands; also in a walk begun before.

#[path = "../../src/memtable"]
#[allow(dead_code, unused_imports, unreachable_pub)]
mod memtable {
    pub mod sync {
        pub(super) use loom::sync::atomic::{AtomicPtr, AtomicU64};
        pub(super) const SLOTS: usize = 3;
        pub(super) const APART: bool = false;
        /// Stands for the bytes of an entry: loom sees who reads them without
        /// having seen that they were written.
        pub(super) struct Mark(loom::cell::UnsafeCell<()>);
        impl Mark {
            pub(super) fn new() -> Self {
                Mark(loom::cell::UnsafeCell::new(()))
            }
            pub(super) fn write(&self) {
                self.0.with_mut(|_| ());
            }
            pub(super) fn read(&self) {
                self.0.with(|_| ());
            }
        }
    }
    #[path = "node.rs"]
    mod node;
    #[path = "raw/mod.rs"]
    mod raw;
    #[path = "table.rs"]
    pub mod table;
    #[path = "walk.rs"]
    pub mod walk;
}

use std::collections::BTreeMap;
use std::sync::Arc;

use loom::sync::atomic::AtomicU64;
use loom::sync::atomic::Ordering::{Acquire, Release};
use memtable::table::Memtable;
use memtable::walk::Walk;

type Lsn = u64;

/// What the reader does.
#[derive(Clone, Copy)]
enum Reader {
    Get,
    Up,
    Down,
    /// Walks that stand on the first entry they show when the writer begins.
    UpFromBefore,
    DownFromBefore,
}

/// Commit n (from 1) writes key n-1 of `keys`, with value n.
fn model_at(keys: &[u8], lsn: Lsn) -> BTreeMap<u8, u8> {
    keys.iter().zip(1..=lsn).map(|(key, n)| (*key, n as u8)).collect()
}

fn insert(table: &Memtable, key: u8, lsn: Lsn) {
    table.insert(&[key], lsn, Some(&[lsn as u8]));
}

fn walked(mut walk: Walk, up: bool) -> Vec<(u8, u8)> {
    let mut seen = Vec::new();
    while let (Some(key), Some(value)) = (walk.key(), walk.value()) {
        seen.push((key[0], value[0]));
        if up { walk.forward() } else { walk.back() }
    }
    seen
}

/// Writes `before`, then `during` while a reader reads.
fn check(before: &'static [u8], during: &'static [u8], reader: Reader) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(2);
    builder.max_branches = 100_000;
    builder.check(move || {
        let keys: Vec<u8> = before.iter().chain(during).copied().collect();
        let done = before.len() as Lsn;
        let table = Arc::new(Memtable::empty());
        for (key, lsn) in before.iter().zip(1..) {
            insert(&table, *key, lsn);
        }
        let visible = Arc::new(AtomicU64::new(done));
        let early = match reader {
            Reader::UpFromBefore => {
                let mut walk = Walk::new(Arc::clone(&table), done, 0);
                walk.first();
                Some(walk)
            }
            Reader::DownFromBefore => {
                let mut walk = Walk::new(Arc::clone(&table), done, 0);
                walk.last();
                Some(walk)
            }
            _ => None,
        };
        let writer = {
            let (table, visible) = (Arc::clone(&table), Arc::clone(&visible));
            loom::thread::spawn(move || {
                for (key, n) in during.iter().zip(1..) {
                    insert(&table, *key, done + n);
                    visible.store(done + n, Release);
                }
            })
        };
        let lsn = if early.is_some() { done } else { visible.load(Acquire) };
        let want = model_at(&keys, lsn);
        match (reader, early) {
            (Reader::Get, _) => {
                for key in &keys {
                    let got = table.get(&[*key], lsn).and_then(|entry| Some(entry.value()?[0]));
                    assert_eq!(got, want.get(key).copied(), "key {key} at {lsn}");
                }
            }
            (Reader::UpFromBefore, Some(walk)) => {
                assert!(walked(walk, true).into_iter().eq(want), "up from before, at {lsn}");
            }
            (Reader::DownFromBefore, Some(walk)) => {
                assert!(walked(walk, false).into_iter().eq(want.into_iter().rev()), "at {lsn}");
            }
            (Reader::Down | Reader::DownFromBefore, _) => {
                let mut walk = Walk::new(Arc::clone(&table), lsn, 0);
                walk.last();
                assert!(walked(walk, false).into_iter().eq(want.into_iter().rev()), "at {lsn}");
            }
            (Reader::Up | Reader::UpFromBefore, _) => {
                let mut walk = Walk::new(Arc::clone(&table), lsn, 0);
                walk.first();
                assert!(walked(walk, true).into_iter().eq(want), "up, at {lsn}");
            }
        }
        writer.join().unwrap();
    });
}

fn check_all(before: &'static [u8], during: &'static [u8]) {
    for reader in
        [Reader::Get, Reader::Up, Reader::Down, Reader::UpFromBefore, Reader::DownFromBefore]
    {
        check(before, during, reader);
    }
}

#[test]
fn a_first_key_and_keys_into_a_leaf_with_room() {
    check_all(&[], &[5, 3]);
    check_all(&[5], &[3]);
}

#[test]
fn newer_versions_of_a_key() {
    check_all(&[5, 3, 5], &[5, 3]);
}

#[test]
fn a_root_leaf_splits_in_the_middle_and_at_its_end() {
    check_all(&[10, 20, 30], &[15]);
    check_all(&[10, 20, 30], &[40]);
}

/// Keys in order fill their leaves: 10 20 30 | 40 50 60 | 70 80 90 | ...
const TENS: [u8; 15] = [10, 20, 30, 40, 50, 60, 70, 80, 90, 100, 110, 120, 130, 140, 150];

#[test]
fn a_leaf_below_an_inner_node_splits() {
    // The first one, one in the middle, the last one at its end.
    check_all(&TENS[..4], &[15]);
    check_all(&TENS[..6], &[45]);
    check_all(&TENS[..6], &[70]);
}

#[test]
fn an_inner_node_splits() {
    // Four leaves below the root: by its second, by its last in the middle and at
    // its end.
    check_all(&TENS[..12], &[45]);
    check_all(&TENS[..12], &[105]);
    check_all(&TENS[..12], &[130]);
}

#[test]
fn an_inner_node_below_another_splits() {
    check_all(&TENS, &[45]);
}
