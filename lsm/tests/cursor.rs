//! Reads against a `BTreeMap`: point reads and cursors, forward, reverse,
//! bounded, by prefix, with seeks, many at once, over whatever mix of memtables and trees a random
//! workload leaves.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use lsm::{Batch, Direction, Error, KeyspaceId, Lsm, Options};
use platform::sim::{SimClock, SimDisk};
use proptest::prelude::*;

const KS: [KeyspaceId; 2] = [KeyspaceId(0), KeyspaceId(7)];

type Model = BTreeMap<Vec<u8>, Vec<u8>>;

/// Small enough for sets to be frozen and for leaves to split.
fn options() -> Options {
    Options { memtable_bytes: 4 << 10, wal_segment_bytes: 4 << 10, ..Options::default() }
}

#[derive(Clone, Debug)]
enum Step {
    Put(usize, Vec<u8>, usize),
    Delete(usize, Vec<u8>),
    Drop(usize),
    Snapshot,
    /// After this batch: a flush of the oldest frozen set, or of everything.
    Flush(bool),
}

fn key() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        3 => prop::collection::vec(prop_oneof![0u8..4, Just(0xFF)], 1..4),
        1 => (15usize..19, 0u8..3).prop_map(|(n, last)| [vec![1; n], vec![last]].concat()),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => (0..2usize, key(), 0usize..200).prop_map(|(ks, k, n)| Step::Put(ks, k, n)),
        4 => (0..2usize, key()).prop_map(|(ks, k)| Step::Delete(ks, k)),
        1 => (0..2usize).prop_map(Step::Drop),
        1 => Just(Step::Snapshot),
        1 => any::<bool>().prop_map(Step::Flush),
    ]
}

fn bound(of: (u8, Vec<u8>)) -> Bound<Vec<u8>> {
    match of.0 {
        0 => Bound::Unbounded,
        1 => Bound::Included(of.1),
        _ => Bound::Excluded(of.1),
    }
}

fn slice(bound: &Bound<Vec<u8>>) -> Bound<&[u8]> {
    bound.as_ref().map(Vec::as_slice)
}

fn inside(key: &[u8], lo: &Bound<Vec<u8>>, hi: &Bound<Vec<u8>>) -> bool {
    (match lo {
        Bound::Unbounded => true,
        Bound::Included(lo) => key >= lo.as_slice(),
        Bound::Excluded(lo) => key > lo.as_slice(),
    }) && (match hi {
        Bound::Unbounded => true,
        Bound::Included(hi) => key <= hi.as_slice(),
        Bound::Excluded(hi) => key < hi.as_slice(),
    })
}

fn check(
    snapshot: &lsm::Snapshot,
    models: &[Model; 2],
    lo: &Bound<Vec<u8>>,
    hi: &Bound<Vec<u8>>,
    seeks: &[Vec<u8>],
) {
    for (ks, model) in KS.iter().zip(models) {
        for probe in seeks {
            let got = snapshot.get(*ks, probe).unwrap();
            assert_eq!(got.as_deref(), model.get(probe).map(Vec::as_slice), "get {probe:?}");
        }
        // All at once, in any order, some twice, some that are not there.
        let mut probes: Vec<&[u8]> = seeks.iter().chain(model.keys()).map(Vec::as_slice).collect();
        probes.extend(seeks.iter().map(Vec::as_slice));
        probes.reverse();
        let got = snapshot.multi_get(*ks, &probes).unwrap();
        assert_eq!(got.len(), probes.len());
        for (probe, got) in probes.iter().zip(got) {
            assert_eq!(got.as_deref(), model.get(*probe).map(Vec::as_slice), "many {probe:?}");
        }
        // A few at a time, as many as are short enough together.
        let (mut values, mut left) = (lsm::Values::default(), &probes[..]);
        while let Some(first) = left.first() {
            let enough = model.get(*first).map_or(0, Vec::len) + 100;
            snapshot.read_many(*ks, left, enough, &mut values).unwrap();
            assert!((1..=left.len()).contains(&values.len()), "some are read, and no others");
            for (at, probe) in left[..values.len()].iter().enumerate() {
                assert_eq!(values.get(at), model.get(*probe).map(Vec::as_slice), "{probe:?}");
            }
            left = &left[values.len()..];
        }
        if snapshot.is_vacant(*ks).unwrap() {
            assert!(model.is_empty(), "what is vacant has nothing");
        }
        for direction in [Direction::Forward, Direction::Reverse] {
            for prefix in seeks.iter().map(|key| &key[..1]).chain([&seeks[0][..], &[]]) {
                let mut want: Vec<_> =
                    model.iter().filter(|(k, _)| k.starts_with(prefix)).collect();
                if direction == Direction::Reverse {
                    want.reverse();
                }
                let mut cursor = snapshot.prefix(*ks, prefix, direction).unwrap();
                for (k, v) in want {
                    assert_eq!(cursor.next().unwrap(), Some((&k[..], &v[..])), "{prefix:?}");
                }
                assert_eq!(cursor.next().unwrap(), None, "{prefix:?} {direction:?}");
            }
            let mut want: Vec<_> = model
                .iter()
                .filter(|(k, _)| inside(k, lo, hi))
                .map(|(k, v)| (k.clone(), v.clone()))
                .collect();
            if direction == Direction::Reverse {
                want.reverse();
            }
            let mut cursor = snapshot.range(*ks, slice(lo), slice(hi), direction).unwrap();
            let mut got = Vec::new();
            while let Some((k, v)) = cursor.next().unwrap() {
                got.push((k.to_vec(), v.to_vec()));
            }
            assert_eq!(got, want, "{ks} {direction:?} {lo:?} {hi:?}");
            assert!(!cursor.advance().unwrap(), "it stays at the end");
            assert!(cursor.key().is_empty() && cursor.value().unwrap().is_empty());
            // Keys alone, and a value now and then: whatever was read ahead.
            for every in [2, 7, usize::MAX] {
                let mut cursor = snapshot.range(*ks, slice(lo), slice(hi), direction).unwrap();
                for (i, (k, v)) in want.iter().enumerate() {
                    assert!(cursor.advance().unwrap());
                    assert_eq!(cursor.key(), k);
                    if i % every == 1 {
                        assert_eq!(cursor.value().unwrap(), v);
                        assert_eq!(cursor.value().unwrap(), v);
                    }
                }
                assert!(!cursor.advance().unwrap());
            }
            for probe in seeks {
                cursor.seek(probe).unwrap();
                let want = want.iter().find(|(k, _)| match direction {
                    Direction::Forward => k >= probe,
                    Direction::Reverse => k <= probe,
                });
                let got = cursor.next().unwrap().map(|(k, v)| (k.to_vec(), v.to_vec()));
                assert_eq!(got.as_ref(), want, "seek {probe:?} {direction:?}");
            }
            // A seek in the middle of what was read ahead, and on from there.
            for (probe, steps) in seeks.iter().zip([0, 1, 3, 40]) {
                let mut cursor = snapshot.range(*ks, slice(lo), slice(hi), direction).unwrap();
                for _ in 0..steps {
                    cursor.next().unwrap();
                }
                cursor.seek(probe).unwrap();
                let mut got = Vec::new();
                while let Some((k, v)) = cursor.next().unwrap() {
                    got.push((k.to_vec(), v.to_vec()));
                }
                let behind = |k: &Vec<u8>| match direction {
                    Direction::Forward => k >= probe,
                    Direction::Reverse => k <= probe,
                };
                let want: Vec<_> = want.iter().filter(|(k, _)| behind(k)).cloned().collect();
                assert_eq!(got, want, "after {steps}, seek {probe:?} {direction:?}");
            }
        }
    }
}

proptest! {
    #[test]
    fn reads_answer_as_a_sorted_map(
        batches in prop::collection::vec(prop::collection::vec(step(), 1..6), 1..40),
        lo in (0u8..3, key()).prop_map(bound),
        hi in (0u8..3, key()).prop_map(bound),
        seeks in prop::collection::vec(key(), 4),
    ) {
        let disk = SimDisk::new(1);
        let lsm = Lsm::open(disk, Arc::new(SimClock::new(0)), options()).unwrap();
        let mut models = [Model::new(), Model::new()];
        let mut kept = Vec::new();
        for steps in batches {
            let mut batch = Batch::new();
            let (mut keep, mut flush) = (false, None);
            for (i, step) in steps.into_iter().enumerate() {
                match step {
                    Step::Put(ks, key, len) => {
                        let value = vec![i as u8; len];
                        batch.put(KS[ks], &key, &value);
                        models[ks].insert(key, value);
                    }
                    Step::Delete(ks, key) => {
                        batch.delete(KS[ks], &key);
                        models[ks].remove(&key);
                    }
                    Step::Drop(ks) => {
                        batch.drop_keyspace(KS[ks]);
                        models[ks].clear();
                    }
                    Step::Snapshot => keep = true,
                    Step::Flush(all) => flush = Some(all),
                }
            }
            lsm.commit(&batch).unwrap();
            match flush {
                Some(true) => drop(lsm.flush().unwrap()),
                Some(false) => drop(lsm.step().unwrap()),
                None => {}
            }
            if keep {
                kept.push((lsm.snapshot().unwrap(), models.clone()));
            }
        }
        check(&lsm.snapshot().unwrap(), &models, &lo, &hi, &seeks);
        for (ks, model) in KS.iter().zip(&models) {
            for key in seeks.iter().chain(model.keys()) {
                let got = lsm.get(*ks, key).unwrap();
                prop_assert_eq!(got.as_deref(), model.get(key).map(Vec::as_slice));
            }
        }
        // Old snapshots see what they saw.
        for (snapshot, models) in &kept {
            check(snapshot, models, &lo, &hi, &seeks);
        }
        prop_assert_eq!(lsm.stats().unwrap().snapshots, kept.len());
    }
}

#[test]
fn damage_is_told_where_it_is_and_not_before() {
    // Given a hundred values in the value log, one of them damaged,
    let disk = SimDisk::new(1);
    let lsm = Lsm::open(disk.clone(), Arc::new(SimClock::new(0)), Options::default()).unwrap();
    let mut batch = Batch::new();
    for n in 0..100u8 {
        batch.put(KS[0], &[n], &[n; 300]);
    }
    lsm.commit(&batch).unwrap();
    lsm.flush().unwrap();
    let path = "vlog/0000000001.vlog";
    let bytes = disk.file_bytes(path).unwrap();
    let at = bytes.windows(300).position(|bytes| bytes == [57; 300]).unwrap();
    disk.corrupt(path, at as u64 + 9, 1).unwrap();
    let snapshot = lsm.snapshot().unwrap();
    for direction in [Direction::Forward, Direction::Reverse] {
        let all = || snapshot.range(KS[0], Bound::Unbounded, Bound::Unbounded, direction).unwrap();
        // then a scan gives all before it, an error for it, and all behind it,
        let mut cursor = all();
        for i in 0..100u8 {
            let n = if direction == Direction::Forward { i } else { 99 - i };
            match cursor.next() {
                Ok(Some((key, value))) => assert_eq!((key, value), (&[n][..], &[n; 300][..])),
                Err(Error::Values(error)) if n == 57 => {
                    assert!(error.to_string().contains(path), "{error}");
                    assert!(cursor.value().is_err());
                }
                other => panic!("{n}: {other:?}"),
            }
            assert_eq!(cursor.key(), [n]);
        }
        assert_eq!(cursor.next().unwrap(), None);
        // and one that asks for keys only does not meet it.
        let mut cursor = all();
        for _ in 0..100 {
            assert!(cursor.advance().unwrap());
        }
        assert!(!cursor.advance().unwrap());
    }
    assert_eq!(lsm.stats().unwrap().damage.records, 4);
}

#[test]
fn a_cursor_stays_within_its_block_of_memory() {
    // Given values of a size that a block of many would be large,
    let disk = SimDisk::new(1);
    let lsm = Lsm::open(disk, Arc::new(SimClock::new(0)), Options::default()).unwrap();
    for place in ["memory", "value log"] {
        let mut batch = Batch::new();
        for n in 0..50u8 {
            batch.put(KS[0], &[n], &vec![n; 20_000]);
        }
        lsm.commit(&batch).unwrap();
        if place == "value log" {
            lsm.flush().unwrap();
        }
        // then all are given, whole.
        let snapshot = lsm.snapshot().unwrap();
        let mut cursor = snapshot.prefix(KS[0], b"", Direction::Forward).unwrap();
        for n in 0..50u8 {
            let (key, value) = cursor.next().unwrap().unwrap();
            assert!(key == [n] && value == vec![n; 20_000], "{place} {n}");
        }
        assert!(cursor.next().unwrap().is_none());
    }
}
