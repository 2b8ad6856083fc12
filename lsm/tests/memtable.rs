//! The memtable's own sources in nodes of three slots, so that small inputs make
//! deep trees, and every entry and node in an allocation of its own, so that a
//! sanitizer sees who leaves his (`scripts/sanitize`): against a map of versions, and
//! with real threads against the writer's history.

#![allow(clippy::unwrap_used)]

#[path = "../src/memtable"]
#[allow(dead_code, unused_imports, unreachable_pub)]
mod memtable {
    pub mod sync {
        pub(super) use std::sync::atomic::{AtomicPtr, AtomicU64};
        pub(super) const SLOTS: usize = 3;
        pub(super) const APART: bool = true;
        pub(super) struct Mark;
        thread_local! {
            /// How often this thread has looked at an entry.
            pub static LOOKS: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
        }
        impl Mark {
            pub(super) fn new() -> Self {
                Mark
            }
            pub(super) fn write(&self) {}
            pub(super) fn read(&self) {
                LOOKS.set(LOOKS.get() + 1);
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
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Acquire, Release};

use memtable::sync::LOOKS;
use memtable::table::Memtable;
use memtable::walk::Walk;
use proptest::prelude::*;

type Lsn = u64;
type Value = Option<u64>;

/// Each key's versions, oldest first.
#[derive(Default)]
struct History(BTreeMap<Vec<u8>, Vec<(Lsn, Value)>>);

impl History {
    fn write(&mut self, key: &[u8], lsn: Lsn, value: Value) {
        self.0.entry(key.to_vec()).or_default().push((lsn, value));
    }

    fn get(&self, key: &[u8], lsn: Lsn, floor: Lsn) -> Option<Value> {
        let versions = self.0.get(key)?;
        let (at, value) = versions.iter().rfind(|(at, _)| *at <= lsn)?;
        (*at >= floor).then_some(*value)
    }

    fn all(&self, lsn: Lsn, floor: Lsn) -> Vec<(Vec<u8>, Value)> {
        let seen = self.0.keys().filter_map(|key| Some((key.clone(), self.get(key, lsn, floor)?)));
        seen.collect()
    }
}

fn put(table: &Memtable, key: &[u8], lsn: Lsn, value: Value) {
    table.insert(key, lsn, value.map(u64::to_be_bytes).as_ref().map(|bytes| &bytes[..]));
}

fn number(value: Option<&[u8]>) -> Value {
    value.map(|bytes| u64::from_be_bytes(bytes.try_into().unwrap()))
}

fn on(walk: &Walk) -> Option<(Vec<u8>, Value)> {
    Some((walk.key()?.to_vec(), number(walk.value())))
}

fn walked(walk: &mut Walk, up: bool) -> Vec<(Vec<u8>, Value)> {
    let mut seen = Vec::new();
    if up {
        walk.first()
    } else {
        walk.last()
    }
    while let Some(entry) = on(walk) {
        seen.push(entry);
        if up { walk.forward() } else { walk.back() }
    }
    if !up {
        seen.reverse();
    }
    seen
}

/// Short ones, ones with prefixes about as long as one or two heads, ones that
/// are prefixes of others, and zeros to confuse the padding.
fn key() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        prop::collection::vec(0u8..4, 1..6),
        (0usize..20, prop::collection::vec(0u8..3, 1..4)).prop_map(|(n, tail)| {
            let mut key = vec![7; n];
            key.extend(tail);
            key
        }),
        any::<u16>().prop_map(|n| u128::from(n).to_be_bytes().to_vec()),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]
    #[test]
    fn deep_trees_answer_as_a_map_of_versions(
        writes in prop::collection::vec((key(), prop::option::of(any::<u64>())), 1..300),
        sorted in 0..4,
        lsn in 0u64..200,
        floor in prop_oneof![Just(0u64), 0u64..100],
        probes in prop::collection::vec(key(), 1..20),
    ) {
        let mut writes = writes;
        match sorted {
            0 => writes.sort(),
            1 => writes.sort_by(|a, b| b.cmp(a)),
            _ => {}
        }
        let (table, mut history) = (Arc::new(Memtable::empty()), History::default());
        for (i, (key, value)) in writes.iter().enumerate() {
            let lsn = i as u64 / 2 + 1;
            put(&table, key, lsn, *value);
            history.write(key, lsn, *value);
        }
        let want = history.all(lsn, floor);
        let mut walk = Walk::new(Arc::clone(&table), lsn, floor);
        prop_assert_eq!(&walked(&mut walk, true), &want);
        prop_assert_eq!(&walked(&mut walk, false), &want);
        for probe in probes.iter().chain(history.0.keys()) {
            let got = table.get(probe, lsn).filter(|entry| entry.lsn() >= floor);
            let got = got.map(|entry| number(entry.value()));
            prop_assert_eq!(got, history.get(probe, lsn, floor));
            for inclusive in [false, true] {
                walk.seek_from(probe, inclusive);
                let found = want.iter().find(|(k, _)| k > probe || (inclusive && k == probe));
                prop_assert_eq!(on(&walk), found.cloned());
                walk.seek_until(probe, inclusive);
                let found = want.iter().rfind(|(k, _)| k < probe || (inclusive && k == probe));
                prop_assert_eq!(on(&walk), found.cloned());
            }
        }
    }
}

#[test]
fn any_version_of_a_hot_key_is_found_in_a_few_steps() {
    // Given a key with many versions, two and two with the same LSN,
    let table = Memtable::empty();
    for n in 1..=6_000u64 {
        put(&table, b"hot", n.div_ceil(2) * 2, Some(n));
    }
    assert!(table.get(b"hot", 1).is_none());
    for lsn in 2..=6_000 {
        // when one is read, then it is the last one not above,
        LOOKS.set(0);
        let entry = table.get(b"hot", lsn).unwrap();
        let looks = LOOKS.get();
        assert_eq!((entry.lsn(), number(entry.value())), (lsn & !1, Some(lsn & !1)));
        // and the steps to it grow with the logarithm of their number.
        assert!(looks < 200, "{looks} looks for {lsn}");
    }
}

fn mix(n: u64) -> u64 {
    let x = n.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    (x ^ (x >> 29)).wrapping_mul(0xBF58_476D_1CE4_E5B9) >> 7
}

/// What a reader saw at an LSN.
enum Seen {
    One(Lsn, Vec<u8>, Option<Value>),
    All(Lsn, Vec<(Vec<u8>, Value)>),
}

#[test]
fn readers_see_the_writers_history() {
    const COMMITS: u64 = 6_000;
    // Given a writer of commits of one to three keys, new ones and old ones,
    let key = |n: u64| mix(n % 900).to_be_bytes()[..5].to_vec();
    let writes = |lsn: u64| {
        (0..mix(lsn) % 3 + 1).map(move |i| {
            let n = mix(lsn * 4 + i);
            (key(n >> 8), (!n.is_multiple_of(5)).then_some(lsn * 4 + i))
        })
    };
    let table = Arc::new(Memtable::empty());
    let visible = AtomicU64::new(0);
    let reader = |seed: u64| {
        let mut seen = Vec::new();
        let mut round = seed;
        loop {
            // when readers note what they see at the LSN they learned,
            let lsn = visible.load(Acquire);
            let mut walk = Walk::new(Arc::clone(&table), lsn, 0);
            for _ in 0..30 {
                round += 2;
                let key = key(mix(round));
                let got = table.get(&key, lsn).map(|entry| number(entry.value()));
                seen.push(Seen::One(lsn, key, got));
            }
            seen.push(Seen::All(lsn, walked(&mut walk, round & 2 == 0)));
            if lsn == COMMITS {
                return seen;
            }
        }
    };
    let seen = std::thread::scope(|scope| {
        let readers = [scope.spawn(|| reader(0)), scope.spawn(|| reader(1))];
        for lsn in 1..=COMMITS {
            for (key, value) in writes(lsn) {
                put(&table, &key, lsn, value);
            }
            visible.store(lsn, Release);
            if lsn % 64 == 0 {
                std::thread::yield_now();
            }
        }
        readers.map(|reader| reader.join().unwrap())
    });
    // then each of them is what the history has at that LSN.
    let mut history = History::default();
    for lsn in 1..=COMMITS {
        for (key, value) in writes(lsn) {
            history.write(&key, lsn, value);
        }
    }
    for seen in seen.into_iter().flatten() {
        match seen {
            Seen::One(lsn, key, got) => assert_eq!(got, history.get(&key, lsn, 0), "at {lsn}"),
            Seen::All(lsn, got) => assert_eq!(got, history.all(lsn, 0), "at {lsn}"),
        }
    }
}
