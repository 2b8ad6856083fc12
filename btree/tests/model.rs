//! Any sequence of commits over several trees behaves like a `BTreeMap` of
//! `BTreeMap`s, reopened or not, and leaves a file without a fault.

#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::ops::Bound;

use btree::Direction::{Forward, Reverse};
use btree::{MAX_KEY, MAX_VALUE, Op};
use common::*;
use platform::sim::SimDisk;
use proptest::prelude::*;

/// Keys that split, share prefixes, and differ in length only.
fn key() -> impl Strategy<Value = Key> {
    prop_oneof![
        4 => (0u32..3000).prop_map(|n| n.to_be_bytes().to_vec()),
        2 => "[ab]{0,6}".prop_map(String::into_bytes),
        1 => (0u8..40, 900..MAX_KEY).prop_map(|(b, n)| [vec![7; n - 1], vec![b]].concat()),
        1 => (0u8..200).prop_map(|b| vec![b; MAX_KEY]),
    ]
}

fn value() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => (0u8..255, 0usize..20).prop_map(|(b, n)| vec![b; n]),
        1 => (0u8..255).prop_map(|b| vec![b; MAX_VALUE]),
    ]
}

#[derive(Clone, Debug)]
enum Step {
    Commit(Change),
    /// Deletes a share of what is there, from a point on.
    Thin {
        tree: u32,
        from: u16,
        keep_every: usize,
    },
    Drop(u32),
    /// Gives a tree another number, if that one is free.
    Rename(u32, u32),
    /// Removes leaves from the front.
    Trim(u32, u32),
    Abort(Change),
    Reopen,
}

fn change() -> impl Strategy<Value = Change> {
    let op = (key(), prop_oneof![3 => value().prop_map(Some), 1 => Just(None)]);
    prop::collection::btree_map(
        1u32..4,
        prop_oneof![
            prop::collection::btree_map(key(), value().prop_map(Some), 0..400),
            prop::collection::vec(op, 0..30).prop_map(|ops| ops.into_iter().collect()),
        ],
        1..3,
    )
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => change().prop_map(Step::Commit),
        3 => (1u32..4, any::<u16>(), 1usize..60)
            .prop_map(|(tree, from, keep_every)| Step::Thin { tree, from, keep_every }),
        1 => (1u32..4).prop_map(Step::Drop),
        2 => (1u32..4, 1u32..4).prop_map(|(from, to)| Step::Rename(from, to)),
        2 => (1u32..4, 0u32..12).prop_map(|(tree, leaves)| Step::Trim(tree, leaves)),
        1 => change().prop_map(Step::Abort),
        1 => Just(Step::Reopen),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn commits_behave_like_maps(
        steps in prop::collection::vec(step(), 1..14),
        probes in prop::collection::vec(key(), 8),
    ) {
        let disk = SimDisk::new(1);
        let mut file = open(disk.clone()).unwrap();
        let mut model = Trees::new();
        for (n, step) in steps.into_iter().enumerate() {
            match step {
                Step::Commit(change) => {
                    commit(&file, &change, n as u8, &model).unwrap();
                    apply_to_model(&mut model, &change);
                }
                Step::Thin { tree, from, keep_every } => {
                    let contents = model.get(&tree).cloned().unwrap_or_default();
                    let skip = usize::from(from) % (contents.len() + 1);
                    let ops = contents.keys().enumerate().skip(skip)
                        .filter(|(i, _)| keep_every == 1 || i % keep_every != 0)
                        .map(|(_, k)| (k.clone(), None)).collect();
                    let change = Change::from([(tree, ops)]);
                    commit(&file, &change, n as u8, &model).unwrap();
                    apply_to_model(&mut model, &change);
                }
                Step::Drop(tree) => {
                    let mut write = file.begin();
                    let pages = write.drop_tree(tree).unwrap();
                    write.set_user([n as u8; 64]);
                    write.commit().unwrap();
                    prop_assert_eq!(pages > 0, model.remove(&tree).is_some());
                }
                Step::Rename(from, to) => {
                    let mut write = file.begin();
                    let there = model.contains_key(&from);
                    let outcome = write.rename_tree(from, to);
                    if there && from != to && model.contains_key(&to) {
                        prop_assert!(outcome.unwrap_err().to_string().contains("it has keys"));
                        prop_assert!(write.commit().is_err());
                    } else {
                        prop_assert_eq!(outcome.unwrap(), there);
                        write.commit().unwrap();
                        if let Some(contents) = model.remove(&from) {
                            model.insert(to, contents);
                        }
                    }
                }
                Step::Trim(tree, leaves) => {
                    let mut write = file.begin();
                    let mut removed = Vec::new();
                    let mut note = |k: &[u8], v: &[u8]| removed.push((k.to_vec(), v.to_vec()));
                    let trimmed = write.trim_tree(tree, leaves, &mut note).unwrap();
                    let contents = model.entry(tree).or_default();
                    prop_assert_eq!(removed.len() as u64, trimmed.entries);
                    prop_assert_eq!(contents.len() as u64, trimmed.left + trimmed.entries);
                    prop_assert!(leaves == 0 || contents.is_empty() || trimmed.pages > 0);
                    for entry in removed {
                        prop_assert_eq!(contents.pop_first(), Some(entry));
                    }
                    prop_assert_eq!(write.len(tree), contents.len() as u64);
                    if contents.is_empty() {
                        model.remove(&tree);
                    }
                    write.commit().unwrap();
                }
                Step::Abort(change) => {
                    let mut write = file.begin();
                    for (tree, ops) in &change {
                        let ops = ops.iter().map(|(k, v)| (k, v.as_ref().map_or(Op::Delete, Op::Put)));
                        write.apply(*tree, ops, &mut |_, _| {}).unwrap();
                    }
                    drop(write);
                }
                Step::Reopen => {
                    drop(file);
                    file = open(disk.clone()).unwrap();
                }
            }
            let view = file.view();
            prop_assert_eq!(&contents(&view).unwrap(), &model);
            assert_clean(&file);
            assert_probes(&view, &model, &probes);
        }
        drop(file);
        let file = open(disk.restart()).unwrap();
        prop_assert_eq!(&contents(&file.view()).unwrap(), &model);
        assert_clean(&file);
    }
}

/// Lookups, ranges both ways and seeks at the probes, against the model.
fn assert_probes(view: &btree::View, model: &Trees, probes: &[Key]) {
    let empty = Contents::new();
    for tree in 1..4 {
        let map = model.get(&tree).unwrap_or(&empty);
        for pair in probes.chunks(2) {
            let (a, b) = (pair[0].as_slice(), pair[1].as_slice());
            assert_eq!(view.get(tree, a).unwrap().as_deref(), map.get(a).map(Vec::as_slice));
            for low in [Bound::Included(a), Bound::Excluded(a), Bound::Unbounded] {
                for high in [Bound::Included(b), Bound::Excluded(b), Bound::Unbounded] {
                    let inside = |k: &Key| {
                        (match low {
                            Bound::Included(l) => k.as_slice() >= l,
                            Bound::Excluded(l) => k.as_slice() > l,
                            Bound::Unbounded => true,
                        }) && (match high {
                            Bound::Included(h) => k.as_slice() <= h,
                            Bound::Excluded(h) => k.as_slice() < h,
                            Bound::Unbounded => true,
                        })
                    };
                    let mut expected: Vec<_> = map
                        .iter()
                        .filter(|(k, _)| inside(k))
                        .map(|(k, v)| (k.clone(), v.clone()))
                        .collect();
                    let found = range(view, tree, low, high, Forward).unwrap();
                    let counted = view.count_range(tree, low, high).unwrap();
                    assert_eq!(counted, expected.len() as u64, "{low:?} {high:?}");
                    assert_eq!(found, expected, "{low:?} {high:?}");
                    // A seek lands on the next entry in the direction, within the range.
                    for probe in probes {
                        let mut up = view.range(tree, low, high, Forward);
                        up.seek(probe);
                        let at = up.next().unwrap().map(|(k, _)| k.to_vec());
                        let next = expected.iter().find(|(k, _)| k >= probe);
                        assert_eq!(at.as_ref(), next.map(|(k, _)| k), "seek up");
                        let mut down = view.range(tree, low, high, Reverse);
                        down.seek(probe);
                        let at = down.next().unwrap().map(|(k, _)| k.to_vec());
                        let next = expected.iter().rfind(|(k, _)| k <= probe);
                        assert_eq!(at.as_ref(), next.map(|(k, _)| k), "seek down");
                    }
                    expected.reverse();
                    assert_eq!(range(view, tree, low, high, Reverse).unwrap(), expected);
                }
            }
        }
    }
}

#[test]
fn a_large_batch_and_its_removal() {
    // given: 30,000 keys in one batch
    let disk = SimDisk::new(1);
    let file = open(disk.clone()).unwrap();
    let mut random = Seeded(5);
    let mut model = Trees::new();
    let insert: Change = Change::from([(
        1,
        (0..30_000).map(|_| (random.number().to_be_bytes().repeat(2), Some(vec![1; 16]))).collect(),
    )]);
    commit(&file, &insert, 1, &model).unwrap();
    apply_to_model(&mut model, &insert);
    assert_clean(&file);
    let full = file.verify();
    assert!(full.used_bytes * 10 > full.tree_pages * 4064 * 9, "bulk loads fill pages: {full:?}");
    // when: every 50th is kept
    let thin: Change = Change::from([(
        1,
        insert[&1]
            .keys()
            .enumerate()
            .filter(|(i, _)| i % 50 != 0)
            .map(|(_, k)| (k.clone(), None))
            .collect(),
    )]);
    commit(&file, &thin, 2, &model).unwrap();
    apply_to_model(&mut model, &thin);
    // then: the tree has shrunk with it, in pages and in height
    assert_clean(&file);
    let thinned = file.verify();
    assert!(thinned.used_bytes * 5 > thinned.tree_pages * 4064 * 2, "merged: {thinned:?}");
    assert_eq!(file.view().trees().next().unwrap().height, 2);
    assert_eq!(contents(&file.view()).unwrap(), model);
    // when: all goes
    let gone: Change = Change::from([(1, model[&1].keys().map(|k| (k.clone(), None)).collect())]);
    commit(&file, &gone, 3, &model).unwrap();
    // then: no tree, no root, every page free but the list's
    assert_eq!(file.view().trees().count(), 0);
    assert_clean(&file);
    let empty = file.verify();
    assert_eq!((empty.tree_pages, empty.entries), (0, 0));
    assert_eq!(u64::from(empty.pages), 2 + empty.list_pages + empty.free_pages);
}

#[test]
fn a_tall_tree_thinned_out_stays_dense() {
    // given: separators so long that inner pages hold few of them, so a tall tree
    let file = open(SimDisk::new(1)).unwrap();
    let mut model = Trees::new();
    let key = |group: u16, i: u8| [&group.to_be_bytes()[..], &[0; 900], &[i]].concat();
    let keys = (0..200u16).flat_map(|g| (0..12u8).map(move |i| key(g, i)));
    let all = Change::from([(1, keys.map(|k| (k, Some(vec![1; 400]))).collect())]);
    commit(&file, &all, 1, &model).unwrap();
    apply_to_model(&mut model, &all);
    let height = file.view().trees().next().unwrap().height;
    assert!(height >= 5, "{height}");
    // when: of each 8 groups one key is left, so that pages lose all siblings
    let thin = all[&1].keys().enumerate().filter(|(i, _)| i % 96 != 1);
    let thin = Change::from([(1, thin.map(|(_, k)| (k.clone(), None)).collect())]);
    commit(&file, &thin, 2, &model).unwrap();
    apply_to_model(&mut model, &thin);
    // then: what is left shares pages, and the tree is low
    assert_eq!(contents(&file.view()).unwrap(), model);
    assert_clean(&file);
    let report = file.verify();
    assert!(report.tree_pages <= 16, "{} keys: {report:?}", model[&1].len());
    assert!(file.view().trees().next().unwrap().height <= 3);
}

#[test]
fn appends_fill_pages() {
    // given: keys that only ever grow, committed few at a time
    let file = open(SimDisk::new(1)).unwrap();
    let mut model = Trees::new();
    for batch in 0u64..60 {
        let ops = (0..40).map(|i| ((batch * 40 + i).to_be_bytes().to_vec(), Some(vec![0; 16])));
        let change = Change::from([(1, ops.collect())]);
        commit(&file, &change, 1, &model).unwrap();
        apply_to_model(&mut model, &change);
    }
    // then: leaves are full, not half full
    let report = file.verify();
    assert!(report.is_clean());
    let leaves_before_the_last = report.tree_pages - 2;
    assert!(report.used_bytes * 100 > leaves_before_the_last * 4064 * 95, "{report:?}");
}

#[test]
fn space_is_reused() {
    // given: the same keys written again and again
    let file = open(SimDisk::new(1)).unwrap();
    let write = |round: u32| {
        let mut write = file.begin();
        let ops = (0u32..2000).map(|i| (i.to_be_bytes(), Op::Put(round.to_be_bytes())));
        write.apply(1, ops, &mut |_, _| {}).unwrap();
        write.commit().unwrap().file_pages()
    };
    let first = write(0);
    let sizes: Vec<u32> = (1..30).map(write).collect();
    // then: three versions' worth of pages is all it takes
    assert!(sizes[28] <= 3 * first + 8, "{first} {sizes:?}");
    assert_clean(&file);
}

#[test]
fn misuse_is_refused_by_name() {
    let file = open(SimDisk::new(1)).unwrap();
    let put = |v: &[u8]| Op::Put(v.to_vec());
    let refused = |tree, ops: Vec<(Vec<u8>, Op<Vec<u8>>)>| {
        let mut write = file.begin();
        let error = write.apply(tree, ops, &mut |_, _| {}).unwrap_err().to_string();
        assert!(write.commit().is_err(), "a failed transaction is not committed");
        error
    };
    let long_key = refused(1, vec![(vec![0; MAX_KEY + 1], put(b""))]);
    assert!(long_key.contains("a key has 1025 bytes, at most 1024 fit"), "{long_key}");
    let long_value = refused(1, vec![(vec![0], put(&[0; MAX_VALUE + 1]))]);
    assert!(long_value.contains("a value has 513 bytes, at most 512 fit"), "{long_value}");
    let twice = refused(1, vec![(vec![5], put(b"")), (vec![5], put(b""))]);
    assert!(twice.contains("strictly ascending"), "{twice}");
    let reserved = refused(u32::MAX, vec![]);
    assert!(reserved.contains("4294967295"), "{reserved}");
    // then: nothing of it is there, and the next one works
    assert_eq!(file.view().trees().count(), 0);
    let mut write = file.begin();
    write.apply(1, [(b"k", Op::Put(b"v"))], &mut |_, _| {}).unwrap();
    assert_eq!(write.commit().unwrap().get(1, b"k").unwrap().as_deref(), Some(&b"v"[..]));
    assert_clean(&file);
}

#[test]
fn a_large_tree_goes_in_bounded_steps_under_another_number() {
    // given: a tree of three levels, renamed, and a new one under its number
    let disk = SimDisk::new(1);
    let file = open(disk.clone()).unwrap();
    let mut write = file.begin();
    let ops = (0u32..60_000).map(|i| (i.to_be_bytes(), Op::Put([1; 30])));
    write.apply(7, ops, &mut |_, _| {}).unwrap();
    let view = write.commit().unwrap();
    assert_eq!(view.trees().next().unwrap().height, 3);
    let calls = disk.calls();
    let mut write = file.begin();
    assert!(write.rename_tree(7, 99).unwrap());
    write.apply(7, [(b"new", Op::Put(b"tree"))], &mut |_, _| {}).unwrap();
    let renamed = write.commit().unwrap();
    // then: that cost what a small commit costs
    assert!(disk.calls() - calls <= 8, "{} calls", disk.calls() - calls);
    assert_eq!((renamed.len(7), renamed.len(99)), (1, 60_000));
    assert_eq!(renamed.get(99, &5u32.to_be_bytes()).unwrap().as_deref(), Some(&[1; 30][..]));
    // when: it is freed forty leaves at a time
    let (mut next, mut steps) = (0u32, 0);
    while !file.view().is_empty(99) {
        let mut write = file.begin();
        let mut removed = |key: &[u8], _: &[u8]| {
            assert_eq!(key, next.to_be_bytes());
            next += 1;
        };
        let trimmed = write.trim_tree(99, 40, &mut removed).unwrap();
        write.commit().unwrap();
        // then: each step is bounded, and what is left is whole
        assert!(trimmed.pages <= 40 + 3 && trimmed.entries > 0, "{trimmed:?}");
        assert_eq!(u64::from(next) + trimmed.left, 60_000);
        steps += 1;
        if steps % 4 == 0 {
            assert_clean(&file);
        }
    }
    assert_eq!(next, 60_000);
    // then: all its pages are free, the other tree and the old view are whole
    assert_clean(&file);
    assert_eq!(file.verify().tree_pages, 2);
    assert_eq!(contents(&view).unwrap()[&7].len(), 60_000);
    assert_eq!(file.view().get(7, b"new").unwrap().as_deref(), Some(&b"tree"[..]));
}
