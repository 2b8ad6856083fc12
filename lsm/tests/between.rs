//! Keys between two bounds, counted without reading them: against a model, through
//! flushes into trees and runs, merges, drops, restarts, and in old snapshots.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::ops::Bound::{self, Excluded, Included, Unbounded};
use std::sync::Arc;

use lsm::{Batch, KeyspaceId, Lsm, Options, RangeCount, Snapshot, SyncMode};
use platform::sim::{SimClock, SimDisk};
use proptest::prelude::*;

const SPACE: KeyspaceId = KeyspaceId(3);

type Model = BTreeSet<u16>;

/// `run_percent`: what runs may come to beside the tree; 0: there are none.
fn options(run_percent: u32) -> Options {
    Options {
        sync: SyncMode::Sync,
        memtable_bytes: 256 << 10,
        max_frozen: 2,
        inline_max: 16,
        gc_step_bytes: 4 << 10,
        run_leaves: u32::from(run_percent > 0),
        run_percent: run_percent.max(1),
        ..Options::default()
    }
}

fn open(disk: &Arc<SimDisk>, run_percent: u32) -> Lsm {
    Lsm::open(Arc::clone(disk) as _, Arc::new(SimClock::new(1)), options(run_percent)).unwrap()
}

#[derive(Clone, Debug)]
enum Act {
    /// So many keys from one on, with a step.
    Put(u16, u16, u16),
    Delete(u16, u16, u16),
    Drop(u16),
    Flush,
    Step,
    Reopen,
}

fn act() -> impl Strategy<Value = Act> {
    let keys = (0u16..1500, 1u16..150, 1u16..20);
    prop_oneof![
        6 => keys.clone().prop_map(|(from, n, step)| Act::Put(from, n, step)),
        4 => keys.prop_map(|(from, n, step)| Act::Delete(from, n, step)),
        1 => (0u16..1500).prop_map(Act::Drop),
        4 => Just(Act::Flush),
        3 => Just(Act::Step),
        1 => Just(Act::Reopen),
    ]
}

fn keys(from: u16, n: u16, step: u16) -> impl Iterator<Item = u16> {
    (0..n).map(move |i| from + i * step)
}

fn commit(lsm: &Lsm, model: &mut Model, act: &Act) {
    let mut batch = Batch::new();
    match *act {
        Act::Put(from, n, step) => {
            for key in keys(from, n, step) {
                match model.insert(key) {
                    true => batch.put_new(SPACE, &key.to_be_bytes(), b"v"),
                    false => batch.put(SPACE, &key.to_be_bytes(), b"w"),
                }
            }
        }
        Act::Delete(from, n, step) => {
            for key in keys(from, n, step) {
                match model.remove(&key) {
                    true => batch.delete_present(SPACE, &key.to_be_bytes()),
                    false => batch.delete(SPACE, &key.to_be_bytes()),
                }
            }
        }
        Act::Drop(key) => {
            batch.drop_keyspace(SPACE);
            batch.put_new(SPACE, &key.to_be_bytes(), b"");
            *model = Model::from([key]);
        }
        Act::Flush | Act::Step | Act::Reopen => return,
    }
    lsm.commit(&batch).unwrap();
}

fn bound(of: Bound<u16>) -> Bound<[u8; 2]> {
    of.map(u16::to_be_bytes)
}

fn count(snapshot: &Snapshot, low: Bound<u16>, high: Bound<u16>) -> RangeCount {
    let (low, high) = (bound(low), bound(high));
    let low = low.as_ref().map(|key| &key[..]);
    snapshot.count_range(SPACE, low, high.as_ref().map(|key| &key[..])).unwrap()
}

fn in_model(model: &Model, low: Bound<u16>, high: Bound<u16>) -> u64 {
    let inside = |key: &&u16| {
        (match low {
            Unbounded => true,
            Included(low) => **key >= low,
            Excluded(low) => **key > low,
        }) && (match high {
            Unbounded => true,
            Included(high) => **key <= high,
            Excluded(high) => **key < high,
        })
    };
    model.iter().filter(inside).count() as u64
}

fn end() -> impl Strategy<Value = Bound<u16>> {
    prop_oneof![
        1 => Just(Unbounded),
        4 => (0u16..4500).prop_map(Included),
        4 => (0u16..4500).prop_map(Excluded),
    ]
}

/// What is called exact is exact, whatever lies where; how much of it was.
fn agrees(snapshot: &Snapshot, model: &Model, ends: &[(Bound<u16>, Bound<u16>)]) -> (u32, u32) {
    let (mut exact, mut near) = (0, 0);
    for (low, high) in ends {
        let counted = count(snapshot, *low, *high);
        let found = in_model(model, *low, *high);
        if counted.exact {
            assert_eq!(counted.entries, found, "{low:?} to {high:?}");
            exact += 1;
        } else {
            near += 1;
        }
    }
    (exact, near)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn what_is_called_exact_is_what_a_model_has(
        acts in prop::collection::vec(act(), 1..50),
        ends in prop::collection::vec((end(), end()), 24),
        run_percent in prop_oneof![Just(0u32), Just(60)],
    ) {
        let mut disk = SimDisk::new(1);
        let mut lsm = open(&disk, run_percent);
        let mut model = Model::new();
        let mut old = None;
        for (n, act) in acts.iter().enumerate() {
            match act {
                Act::Flush => drop(lsm.flush().unwrap()),
                Act::Step => drop(lsm.step().unwrap()),
                Act::Reopen => {
                    old = None;
                    drop(lsm);
                    disk = disk.restart();
                    lsm = open(&disk, run_percent);
                }
                _ => commit(&lsm, &mut model, act),
            }
            agrees(&lsm.snapshot().unwrap(), &model, &ends);
            if let Some((snapshot, model)) = &old {
                agrees(snapshot, model, &ends);
            }
            if n % 5 == 0 {
                old = Some((lsm.snapshot().unwrap(), model.clone()));
            }
        }
        // With nothing above the tree everything is.
        lsm.flush().unwrap();
        let (_, near) = agrees(&lsm.snapshot().unwrap(), &model, &ends);
        prop_assert!(near == 0 || lsm.stats().unwrap().runs > 0);
    }
}

/// The bound of what is looked at one by one, at its edge.
#[test]
fn so_many_cells_above_the_tree_are_counted_exactly_and_one_more_is_not() {
    let lsm = open(&SimDisk::new(1), 0);
    let mut model = Model::new();
    commit(&lsm, &mut model, &Act::Put(0, 1000, 2));
    lsm.flush().unwrap();
    // Half of them new, a quarter there before, a quarter deleted.
    commit(&lsm, &mut model, &Act::Put(1, 64, 2));
    commit(&lsm, &mut model, &Act::Put(0, 32, 2));
    commit(&lsm, &mut model, &Act::Delete(64, 32, 2));
    let snapshot = lsm.snapshot().unwrap();
    let counted = count(&snapshot, Included(0), Excluded(128));
    assert_eq!(counted, RangeCount { entries: 64 + 32, exact: true });
    assert_eq!(agrees(&snapshot, &model, &[(Unbounded, Unbounded)]), (1, 0));
    // What comes later is not the snapshot's.
    commit(&lsm, &mut model, &Act::Put(129, 1, 2));
    assert!(count(&snapshot, Included(0), Excluded(200)).exact);
    let now = lsm.snapshot().unwrap();
    let more = count(&now, Included(0), Excluded(200));
    assert!(!more.exact, "{more:?}");
    let off = more.entries.abs_diff(in_model(&model, Included(0), Excluded(200)));
    assert!(off <= 129, "no further off than cells are above the tree: {more:?}");
    assert!(count(&now, Included(0), Excluded(128)).exact, "elsewhere it is");
}

/// Entries that are added and removed, never replaced, as an index has them: near the
/// number though none of it is in the tree, or half of it in runs.
#[test]
fn what_is_not_counted_is_judged_well() {
    for (flushes, run_percent) in [(false, 0), (true, 100)] {
        let lsm = open(&SimDisk::new(1), run_percent);
        let mut model = Model::new();
        let mut random = 7u64;
        for n in 0..80u32 {
            let mut batch = Batch::new();
            for _ in 0..100 {
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                let key = (random >> 33) as u16;
                if model.insert(key) {
                    batch.put_new(SPACE, &key.to_be_bytes(), b"sixteen bytes ..");
                } else if random >> 60 == 0 {
                    model.remove(&key);
                    batch.delete_present(SPACE, &key.to_be_bytes());
                }
            }
            lsm.commit(&batch).unwrap();
            // A large tree first, then what is small beside it.
            if flushes && n >= 60 && n % 3 == 0 {
                lsm.flush().unwrap();
            }
        }
        assert_eq!(lsm.stats().unwrap().runs > 0, flushes, "{run_percent}");
        let snapshot = lsm.snapshot().unwrap();
        let mut judged = 0;
        for (low, high) in [(0u16, 30_000), (1000, 9000), (20_000, 65_000), (60_000, 65_535)] {
            let counted = count(&snapshot, Included(low), Excluded(high));
            let found = in_model(&model, Included(low), Excluded(high));
            judged += u32::from(!counted.exact);
            let off = counted.entries.abs_diff(found);
            assert!(off * 4 < found, "{low} to {high}: {counted:?}, {found} are there");
        }
        assert!(judged >= 3, "{judged}");
    }
}
