//! Keys counted without reading them: against a model through flushes, drops,
//! restarts, and a crash at every disk call.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::sync::Arc;

use lsm::{Batch, KeyspaceId, Lsm, Options, Step, SyncMode};
use platform::sim::{SimClock, SimDisk};
use proptest::prelude::*;

/// Keyspace and key.
type Model = BTreeMap<(u32, u8), ()>;

fn open(disk: &Arc<SimDisk>) -> Result<Lsm, lsm::Error> {
    let options = Options {
        sync: SyncMode::Sync,
        memtable_bytes: 3 << 10,
        max_frozen: 2,
        wal_segment_bytes: 4 << 10,
        vlog_segment_bytes: 8 << 10,
        vlog_buffer_bytes: 512,
        inline_max: 16,
        ..Options::default()
    };
    Lsm::open(Arc::clone(disk) as _, Arc::new(SimClock::new(1)), options)
}

#[derive(Clone, Debug)]
enum Act {
    Put(u32, u8),
    Delete(u32, u8),
    /// Dropped, and in the same batch a key put before and one behind.
    Drop(u32, u8),
    Flush,
    Step,
    Reopen,
}

fn act() -> impl Strategy<Value = Act> {
    let (space, key) = (1u32..3, 0u8..12);
    prop_oneof![
        8 => (space.clone(), key.clone()).prop_map(|(s, k)| Act::Put(s, k)),
        4 => (space.clone(), key.clone()).prop_map(|(s, k)| Act::Delete(s, k)),
        1 => (space, key).prop_map(|(s, k)| Act::Drop(s, k)),
        1 => Just(Act::Flush),
        2 => Just(Act::Step),
        1 => Just(Act::Reopen),
    ]
}

/// The batch of an act, as the writer of `model` makes it; the model moves on.
fn batch(act: &Act, model: &mut Model) -> Batch {
    let mut batch = Batch::new();
    match *act {
        Act::Put(space, key) => {
            let value = vec![key; usize::from(key) * 9];
            match model.insert((space, key), ()) {
                None => batch.put_new(KeyspaceId(space), &[key], &value),
                Some(()) => batch.put(KeyspaceId(space), &[key], &value),
            }
        }
        Act::Delete(space, key) => match model.remove(&(space, key)) {
            Some(()) => batch.delete_present(KeyspaceId(space), &[key]),
            None => batch.delete(KeyspaceId(space), &[key]),
        },
        Act::Drop(space, key) => {
            batch.put_new(KeyspaceId(space), &[200], b"hidden by the drop");
            batch.drop_keyspace(KeyspaceId(space));
            batch.put_new(KeyspaceId(space), &[key], b"");
            model.retain(|(of, _), ()| *of != space);
            model.insert((space, key), ());
        }
        Act::Flush | Act::Step | Act::Reopen => {}
    }
    batch
}

fn agrees(lsm: &Lsm, model: &Model) {
    for space in 1..3 {
        let keys = model.keys().filter(|(of, _)| *of == space).count() as u64;
        assert_eq!(lsm.count(KeyspaceId(space)), keys, "keyspace {space}");
        let snapshot = lsm.snapshot().unwrap();
        assert_eq!(snapshot.count(KeyspaceId(space)).unwrap(), keys);
        assert_eq!(snapshot.count_seen(KeyspaceId(space)).unwrap(), Some(keys));
    }
}

/// A snapshot, and how many keys each keyspace had when it was taken.
type Taken = (lsm::Snapshot, [u64; 2]);

fn taken(lsm: &Lsm, model: &Model) -> Taken {
    let keys = |space| model.keys().filter(|(of, _)| *of == space).count() as u64;
    (lsm.snapshot().unwrap(), [keys(1), keys(2)])
}

/// What an old snapshot has does not change; says how often it was known.
fn still(old: &[Taken]) -> u64 {
    let mut known = 0;
    for (snapshot, keys) in old {
        for (space, keys) in (1..3).zip(keys) {
            match snapshot.count_seen(KeyspaceId(space)) {
                Ok(Some(seen)) => {
                    assert_eq!(seen, *keys, "keyspace {space} of {:?}", snapshot.lsn());
                    known += 1;
                }
                Ok(None) | Err(lsm::Error::SnapshotExpired { .. }) => {}
                Err(error) => panic!("{error}"),
            }
        }
    }
    known
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn counts_are_those_of_a_model(acts in prop::collection::vec(act(), 1..120)) {
        let mut disk = SimDisk::new(1);
        let mut lsm = open(&disk).unwrap();
        let mut model = Model::new();
        let mut old = Vec::new();
        for act in &acts {
            match act {
                Act::Flush => drop(lsm.flush().unwrap()),
                Act::Step => drop(lsm.step().unwrap()),
                Act::Reopen => {
                    old.clear();
                    drop(lsm);
                    disk = disk.restart();
                    lsm = open(&disk).unwrap();
                }
                _ => drop(lsm.commit(&batch(act, &mut model)).unwrap()),
            }
            agrees(&lsm, &model);
            still(&old);
            old.push(taken(&lsm, &model));
            if old.len() > 8 {
                old.remove(0);
            }
            let snapshot = lsm.snapshot().unwrap();
            for (space, key) in (1..3).flat_map(|s| (0..12).map(move |k| (s, k))) {
                let there = snapshot.contains(KeyspaceId(space), &[key]).unwrap();
                prop_assert_eq!(there, model.contains_key(&(space, key)));
            }
        }
        // What the trees counted is what the writers said.
        lsm.flush().unwrap();
        while lsm.step().unwrap() != Step::Idle {}
        agrees(&lsm, &model);
    }
}

#[test]
fn a_count_of_before_is_known_for_so_many_commits() {
    let lsm = Lsm::open(SimDisk::new(1), Arc::new(SimClock::new(1)), Options::default()).unwrap();
    let put = |n: u32| {
        let mut batch = Batch::new();
        batch.put_new(KeyspaceId(1), &n.to_be_bytes(), b"");
        batch.put_new(KeyspaceId(1), &(n + 100_000).to_be_bytes(), b"");
        lsm.commit(&batch).unwrap();
    };
    (0..10).for_each(put);
    let old = [(lsm.snapshot().unwrap(), [20, 0])];
    (10..1034).for_each(put);
    assert_eq!(still(&old), 2);
    assert_eq!(lsm.snapshot().unwrap().count_seen(KeyspaceId(1)).unwrap(), Some(2068));
    // One more, and what it moved is forgotten.
    put(1034);
    assert_eq!(old[0].0.count_seen(KeyspaceId(1)).unwrap(), None);
    assert_eq!(lsm.snapshot().unwrap().count_seen(KeyspaceId(1)).unwrap(), Some(2070));
    // A flush makes a new set: the old snapshot keeps what it had.
    lsm.flush().unwrap();
    assert_eq!(lsm.snapshot().unwrap().count_seen(KeyspaceId(1)).unwrap(), Some(2070));
}

/// A life that ends at the first error; the states after each commit tried.
fn live(disk: &Arc<SimDisk>) -> Vec<Model> {
    let mut states = vec![Model::new()];
    let Ok(lsm) = open(disk) else { return states };
    for n in 0..60u8 {
        let act = match n % 10 {
            9 => Act::Drop(2, n),
            5 => Act::Delete(1, n - 3),
            4 => Act::Put(1, 2),
            _ => Act::Put(1 + u32::from(n % 3 == 0), n),
        };
        let mut model = states.last().unwrap().clone();
        let batch = batch(&act, &mut model);
        states.push(model);
        if lsm.commit(&batch).is_err() {
            break;
        }
        if n % 7 == 6 && lsm.step().is_err() {
            break;
        }
    }
    states
}

#[test]
fn a_power_cut_at_any_call_leaves_exact_counts() {
    let whole = SimDisk::new(3);
    assert_eq!(live(&whole).len(), 61);
    for cut in 1..=whole.calls() {
        let disk = SimDisk::new(cut);
        disk.crash_after(cut);
        let states = live(&disk);
        let lsm = open(&disk.restart()).unwrap();
        // Each commit is one LSN: what is found says which state it is.
        agrees(&lsm, &states[lsm.last_lsn() as usize]);
    }
}
