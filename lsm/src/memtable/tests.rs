//! The memtable against a `BTreeMap`, one writer against many readers.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use proptest::prelude::*;

use super::*;

fn put(table: &Memtable, key: &[u8], lsn: Lsn, value: Option<u8>) -> usize {
    table.insert(key, lsn, value.map(|v| [v; 3]).as_ref().map(|v| &v[..]))
}

/// Newest version of each key at `lsn`, deletes included.
fn model_at(
    model: &BTreeMap<(Vec<u8>, Lsn), Option<u8>>,
    lsn: Lsn,
    floor: Lsn,
) -> BTreeMap<Vec<u8>, Option<u8>> {
    let mut out = BTreeMap::new();
    for ((key, at), value) in model {
        // LSNs ascend within a key: the last one not above `lsn` stays.
        if *at <= lsn {
            if *at >= floor {
                out.insert(key.clone(), *value);
            } else {
                out.remove(key);
            }
        }
    }
    out
}

fn taken(walk: &Walk) -> Option<(Vec<u8>, Option<u8>)> {
    let key = walk.key()?.to_vec();
    Some((key, walk.stored()?.value().map(|v| v[0])))
}

/// Keys on both sides of the 16-byte head, with zeros to confuse the padding.
fn key() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        prop::collection::vec(0u8..3, 1..4),
        (0usize..4, prop::collection::vec(0u8..2, 0..3)).prop_map(|(n, tail)| {
            let mut key = vec![0; 14 + n];
            key.extend(tail);
            key
        }),
    ]
}

proptest! {
    #[test]
    fn it_answers_as_a_sorted_map_of_versions(
        writes in prop::collection::vec((key(), prop::option::of(any::<u8>())), 1..80),
        lsn in 0u64..90,
        floor in prop_oneof![Just(0u64), 0u64..60],
        probe in key(),
    ) {
        let table = Arc::new(Memtable::empty());
        let mut model = BTreeMap::new();
        for (i, (key, value)) in writes.iter().enumerate() {
            // Two writes share an LSN now and then: the later one counts.
            let lsn = i as u64 / 2 + 1;
            put(&table, key, lsn, *value);
            model.insert((key.clone(), lsn), *value);
        }
        let seen = model_at(&model, lsn, floor);

        let got = table.get(&probe, lsn).filter(|entry| entry.lsn() >= floor);
        let got = got.map(|entry| entry.value().map(|v| v[0]));
        prop_assert_eq!(got, seen.get(&probe).copied());

        let mut walk = Walk::new(Arc::clone(&table), lsn, floor);
        let mut up = Vec::new();
        walk.first();
        while let Some(entry) = taken(&walk) {
            up.push(entry);
            walk.forward();
        }
        prop_assert_eq!(&up, &seen.clone().into_iter().collect::<Vec<_>>());

        let mut down = Vec::new();
        walk.last();
        while let Some(entry) = taken(&walk) {
            down.push(entry);
            walk.back();
        }
        down.reverse();
        prop_assert_eq!(down, up);

        for inclusive in [false, true] {
            walk.seek_from(&probe, inclusive);
            let want = seen.iter().find(|(k, _)| **k > probe || (inclusive && **k == probe));
            prop_assert_eq!(taken(&walk), want.map(|(k, v)| (k.clone(), *v)));
            walk.seek_until(&probe, inclusive);
            let want = seen.iter().rfind(|(k, _)| **k < probe || (inclusive && **k == probe));
            prop_assert_eq!(taken(&walk), want.map(|(k, v)| (k.clone(), *v)));
        }
    }
}

#[test]
fn many_versions_of_one_key_are_stepped_over() {
    // Given a hot key of 1000 versions between two others,
    let table = Arc::new(Memtable::empty());
    put(&table, b"a", 1, Some(1));
    put(&table, b"c", 2, Some(3));
    for lsn in 3..1003 {
        put(&table, b"b", lsn, Some(lsn as u8));
    }
    // when walked at an LSN in the middle, then it shows one of them.
    let mut walk = Walk::new(table, 500, 0);
    walk.first();
    let mut seen = Vec::new();
    while let Some(entry) = taken(&walk) {
        seen.push(entry);
        walk.forward();
    }
    let want = [(b"a", 1), (b"b", 500u64 as u8), (b"c", 3)];
    assert_eq!(seen, want.map(|(k, v)| (k.to_vec(), Some(v))));
}

#[test]
fn readers_see_a_sorted_list_while_it_grows() {
    // Given a writer inserting in a scattered order and publishing a count,
    let table = Arc::new(Memtable::empty());
    let published = AtomicU64::new(0);
    let key = |n: u64| n.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_be_bytes();
    const N: u64 = 20_000;
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let mut round = 0u64;
                while published.load(Ordering::Acquire) < N {
                    // when readers look up what is published, then it is there,
                    let upto = published.load(Ordering::Acquire);
                    if upto > 0 {
                        round += 1;
                        let n = round.wrapping_mul(0x2545_F491_4F6C_DD1D) % upto + 1;
                        assert!(table.get(&key(n), upto).is_some(), "{n} of {upto}");
                    }
                    // and a walk is sorted and holds just the published.
                    if round % 512 == 1 {
                        let mut walk = Walk::new(Arc::clone(&table), upto, 0);
                        walk.first();
                        let (mut count, mut last) = (0, Vec::new());
                        while let Some(at) = walk.key() {
                            assert!(last.as_slice() < at);
                            last = at.to_vec();
                            count += 1;
                            walk.forward();
                        }
                        assert_eq!(count, upto);
                    }
                }
            });
        }
        for n in 1..=N {
            put(&table, &key(n), n, Some(1));
            published.store(n, Ordering::Release);
        }
    });
}

#[test]
fn memory_is_accounted() {
    // Given an empty table, then it has allocated nothing.
    let table = Memtable::empty();
    assert_eq!(table.bytes(), size_of::<Memtable>());
    // When a first entry comes, then it takes the first chunk of nodes and of
    // entries, and the list of chunks.
    let grown = put(&table, &[1; 16], 1, Some(1));
    let list = 4 * 24;
    assert_eq!(grown, 2 * 512 + list);
    // When another comes that fits, then it takes nothing.
    assert_eq!(put(&table, &[2; 16], 1, Some(1)), 0);
    // When a huge one comes, then it takes just what it needs.
    assert_eq!(table.insert(&[3; 16], 2, Some(&[0; 100_000])), 16 + 16 + 100_000);
    assert_eq!(table.bytes(), size_of::<Memtable>() + 1024 + list + 100_032);
}
