//! Runs beside the trees: every read, count, collection, drop, verify and recovery
//! against a model, with trees so small that nearly every flush writes one.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::ops::Bound::Unbounded;
use std::sync::Arc;

use lsm::{Batch, Direction, KeyspaceId, Lsm, Options, Step, SyncMode};
use platform::Disk;
use platform::sim::{SimClock, SimDisk};
use proptest::prelude::*;

/// Keyspace and key.
type Model = BTreeMap<(u32, u8), Vec<u8>>;

fn options(run_percent: u32, gc_step_bytes: usize) -> Options {
    Options {
        sync: SyncMode::Sync,
        memtable_bytes: 4 << 10,
        max_frozen: 2,
        wal_segment_bytes: 4 << 10,
        vlog_segment_bytes: 4 << 10,
        vlog_buffer_bytes: 512,
        gc_dead_ratio: 10,
        gc_step_bytes,
        inline_max: 16,
        run_leaves: 1,
        run_percent,
        ..Options::default()
    }
}

fn open_with(disk: &Arc<SimDisk>, options: Options) -> Result<Lsm, lsm::Error> {
    Lsm::open(Arc::clone(disk) as _, Arc::new(SimClock::new(1)), options)
}

fn open(disk: &Arc<SimDisk>) -> Result<Lsm, lsm::Error> {
    open_with(disk, options(100, 1 << 10))
}

/// Sound in every page, record and count of dead bytes; and collecting knows whose
/// each record is.
fn verify(lsm: &Lsm) {
    let skipped = lsm.stats().unwrap().gc_skipped;
    assert!(skipped.is_empty(), "{skipped:?}");
    let mut verify = lsm.verify().unwrap();
    while !verify.step().unwrap() {}
    let report = verify.into_report();
    assert!(report.faults.is_empty(), "{:?}", report.faults);
}

fn put(batch: &mut Batch, model: &mut Model, space: u32, key: u8, value: Vec<u8>) {
    match model.insert((space, key), value.clone()) {
        None => batch.put_new(KeyspaceId(space), &[key], &value),
        Some(_) => batch.put(KeyspaceId(space), &[key], &value),
    }
}

fn delete(batch: &mut Batch, model: &mut Model, space: u32, key: u8) {
    match model.remove(&(space, key)) {
        Some(_) => batch.delete_present(KeyspaceId(space), &[key]),
        None => batch.delete(KeyspaceId(space), &[key]),
    }
}

/// Every way of reading says what the model says.
fn agrees(lsm: &Lsm, model: &Model) {
    agrees_on(lsm, model, 1);
}

/// Of single reads one in so many.
fn agrees_on(lsm: &Lsm, model: &Model, stride: usize) {
    let snapshot = lsm.snapshot().unwrap();
    for space in 1..3 {
        let id = KeyspaceId(space);
        let want: Vec<(Vec<u8>, Vec<u8>)> = model
            .iter()
            .filter(|((of, _), _)| *of == space)
            .map(|((_, key), value)| (vec![*key], value.clone()))
            .collect();
        assert_eq!(lsm.count(id), want.len() as u64, "count of {space}");
        for direction in [Direction::Forward, Direction::Reverse] {
            let mut cursor = snapshot.range(id, Unbounded, Unbounded, direction).unwrap();
            let mut found = Vec::new();
            while let Some((key, value)) = cursor.next().unwrap() {
                found.push((key.to_vec(), value.to_vec()));
            }
            if direction == Direction::Reverse {
                found.reverse();
            }
            assert_eq!(found, want, "{direction:?} over {space}");
        }
        let keys: Vec<[u8; 1]> = (0..=255).step_by(stride).map(|key| [key]).collect();
        let many = snapshot.multi_get(id, &keys).unwrap();
        for (key, many) in keys.iter().zip(many) {
            let want = model.get(&(space, key[0])).map(Vec::as_slice);
            assert_eq!(many.as_deref(), want, "many: {space} {key:?}");
            assert_eq!(snapshot.get(id, key).unwrap().as_deref(), want, "get: {space} {key:?}");
            assert_eq!(snapshot.contains(id, key).unwrap(), want.is_some());
        }
    }
}

/// A tree large beside what a flush brings.
fn filled(lsm: &Lsm, model: &mut Model) {
    for key in 0..200u8 {
        let mut batch = Batch::new();
        put(&mut batch, model, 1, key, vec![key; 40]);
        lsm.commit(&batch).unwrap();
    }
    lsm.flush().unwrap();
}

fn one_flush(lsm: &Lsm, model: &mut Model, n: u8) {
    let mut batch = Batch::new();
    put(&mut batch, model, 1, n, vec![n; 30]);
    put(&mut batch, model, 1, n + 50, vec![n; 3]);
    delete(&mut batch, model, 1, n + 100);
    put(&mut batch, model, 1, 210 + n, vec![1; 60]);
    lsm.commit(&batch).unwrap();
    lsm.flush().unwrap();
}

#[test]
fn flushes_become_runs_runs_are_joined_and_go_into_the_tree() {
    let disk = SimDisk::new(1);
    let lsm = open_with(&disk, options(10, 1 << 20)).unwrap();
    let mut model = Model::new();
    filled(&lsm, &mut model);
    let mut most = 0;
    for n in 0..20 {
        one_flush(&lsm, &mut model, n);
        most = most.max(lsm.stats().unwrap().runs);
        agrees(&lsm, &model);
        verify(&lsm);
    }
    let stats = lsm.stats().unwrap();
    assert!(most == 4 && stats.runs_joined > 0 && stats.run_merges > 0, "{most} {stats:?}");
    // A snapshot of before a merge reads on.
    while lsm.step().unwrap() != Step::Idle {}
    agrees(&lsm, &model);
    verify(&lsm);
}

#[test]
fn what_is_appended_goes_to_the_tree() {
    let disk = SimDisk::new(1);
    let lsm = open_with(&disk, Options { inline_max: 64, run_leaves: 4, ..options(100, 1 << 20) })
        .unwrap();
    let id = KeyspaceId(1);
    for round in 0..8u32 {
        for n in 0..200u32 {
            let mut batch = Batch::new();
            batch.put_new(id, &(round * 200 + n).to_be_bytes(), &[7; 60]);
            lsm.commit(&batch).unwrap();
        }
        lsm.flush().unwrap();
    }
    assert_eq!(lsm.stats().unwrap().runs_written, 0);
}

#[test]
fn filters_come_back_in_steps_after_an_opening() {
    let disk = SimDisk::new(1);
    let lsm = open(&disk).unwrap();
    let mut model = Model::new();
    filled(&lsm, &mut model);
    one_flush(&lsm, &mut model, 1);
    one_flush(&lsm, &mut model, 2);
    assert_eq!(lsm.stats().unwrap().runs, 2);
    drop(lsm);
    let lsm = open(&disk.restart()).unwrap();
    agrees(&lsm, &model);
    let mut filtered = 0;
    loop {
        match lsm.step().unwrap() {
            Step::Idle => break,
            Step::Filtered { entries } => filtered += entries,
            _ => {}
        }
    }
    assert_eq!((filtered, lsm.stats().unwrap().runs), (8, 2));
    agrees(&lsm, &model);
}

#[test]
fn a_store_that_shall_have_no_runs_merges_those_it_has() {
    let disk = SimDisk::new(1);
    let lsm = open(&disk).unwrap();
    let mut model = Model::new();
    filled(&lsm, &mut model);
    one_flush(&lsm, &mut model, 1);
    drop(lsm);
    let lsm = open_with(&disk.restart(), Options { run_leaves: 0, ..options(100, 1 << 10) });
    let lsm = lsm.unwrap();
    one_flush(&lsm, &mut model, 2);
    while lsm.step().unwrap() != Step::Idle {}
    assert_eq!(lsm.stats().unwrap().runs, 0);
    agrees(&lsm, &model);
    verify(&lsm);
}

#[test]
fn a_drop_takes_runs_along() {
    let disk = SimDisk::new(1);
    let lsm = open(&disk).unwrap();
    let mut model = Model::new();
    filled(&lsm, &mut model);
    one_flush(&lsm, &mut model, 1);
    one_flush(&lsm, &mut model, 2);
    let mut batch = Batch::new();
    batch.drop_keyspace(KeyspaceId(1));
    model.clear();
    put(&mut batch, &mut model, 1, 9, vec![9; 99]);
    lsm.commit(&batch).unwrap();
    agrees(&lsm, &model);
    lsm.flush().unwrap();
    agrees(&lsm, &model);
    verify(&lsm);
    assert_eq!(lsm.stats().unwrap().runs, 0);
    while lsm.step().unwrap() != Step::Idle {}
    verify(&lsm);
    let stats = lsm.stats().unwrap();
    assert!(stats.value_bytes - stats.dead_value_bytes < 200, "{stats:?}");
}

#[derive(Clone, Debug)]
enum Act {
    Put(u32, u8, u8),
    Delete(u32, u8),
    Drop(u32),
    Fill(u32),
    Flush,
    Step(u8),
    Reopen,
}

fn act() -> impl Strategy<Value = Act> {
    let (space, key) = (1u32..3, any::<u8>());
    prop_oneof![
        10 => (space.clone(), key, 0u8..120).prop_map(|(s, k, l)| Act::Put(s, k, l)),
        4 => (space.clone(), key).prop_map(|(s, k)| Act::Delete(s, k)),
        1 => space.clone().prop_map(Act::Drop),
        2 => space.prop_map(Act::Fill),
        6 => Just(Act::Flush),
        5 => (1u8..9).prop_map(Act::Step),
        1 => Just(Act::Reopen),
    ]
}

fn batch(act: &Act, model: &mut Model) -> Batch {
    let mut batch = Batch::new();
    match *act {
        Act::Put(space, key, len) => put(&mut batch, model, space, key, vec![key; len.into()]),
        Act::Delete(space, key) => delete(&mut batch, model, space, key),
        Act::Drop(space) => {
            batch.drop_keyspace(KeyspaceId(space));
            model.retain(|(of, _), _| *of != space);
        }
        Act::Fill(space) => {
            (0..250).step_by(2).for_each(|key| put(&mut batch, model, space, key, vec![key; 20]));
        }
        Act::Flush | Act::Step(_) | Act::Reopen => {}
    }
    batch
}

/// Does all of it, and compares with a model after each act.
fn carry_out(acts: &[Act], percent: u32, piece: usize) {
    let mut disk = SimDisk::new(1);
    let mut lsm = open_with(&disk, options(percent, piece)).unwrap();
    let mut model = Model::new();
    for act in [Act::Fill(1), Act::Fill(2), Act::Flush].iter().chain(acts) {
        match act {
            Act::Flush => drop(lsm.flush().unwrap()),
            Act::Step(steps) => (0..*steps).for_each(|_| assert!(lsm.step().is_ok())),
            Act::Reopen => {
                drop(lsm);
                disk = disk.restart();
                lsm = open_with(&disk, options(percent, piece)).unwrap();
            }
            _ => drop(lsm.commit(&batch(act, &mut model)).unwrap()),
        }
        agrees(&lsm, &model);
    }
    verify(&lsm);
    lsm.flush().unwrap();
    while lsm.step().unwrap() != Step::Idle {}
    agrees(&lsm, &model);
    verify(&lsm);
    // The trees too count what the writers said.
    drop(lsm);
    let lsm = open_with(&disk.restart(), Options { run_leaves: 0, ..options(1, piece) });
    let lsm = lsm.unwrap();
    while lsm.step().unwrap() != Step::Idle {}
    assert_eq!(lsm.stats().unwrap().runs, 0);
    agrees(&lsm, &model);
    verify(&lsm);
}

#[test]
fn a_keyspace_that_is_dropped_while_what_was_moved_waits_makes_no_segment_look_damaged() {
    use Act::{Drop, Flush, Put, Step};
    let before = [Put(1, 0, 0), Put(1, 0, 22), Put(1, 1, 72), Drop(1), Put(1, 0, 0), Flush];
    carry_out(&[&before[..], &[Step(5), Drop(2), Flush]].concat(), 5, 1 << 10);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn reads_and_counts_are_those_of_a_model(
        acts in prop::collection::vec(act(), 1..70),
        percent in prop::sample::select(vec![5u32, 30, 100]),
        piece in prop::sample::select(vec![1usize << 10, 4 << 10]),
    ) {
        carry_out(&acts, percent, piece);
    }
}

/// A life with every kind of work on runs that ends at the first error; the states
/// after each commit tried.
fn live(disk: &Arc<SimDisk>) -> (Vec<Model>, Option<lsm::Stats>) {
    let mut states = vec![Model::new()];
    let Ok(lsm) = open_with(disk, options(26, 1 << 10)) else { return (states, None) };
    for n in 0..34u8 {
        let mut model = states.last().unwrap().clone();
        let batch = match n {
            0 => batch(&Act::Fill(1), &mut model),
            30 => batch(&Act::Drop(1), &mut model),
            _ => {
                let mut batch = Batch::new();
                for k in 0..3 {
                    let key = n.wrapping_mul(67).wrapping_add(k * 80);
                    match n % 4 {
                        3 => delete(&mut batch, &mut model, 1, key),
                        _ => put(&mut batch, &mut model, 1, key, vec![n; 20 + usize::from(k)]),
                    }
                }
                batch
            }
        };
        states.push(model);
        if lsm.commit(&batch).is_err() {
            return (states, None);
        }
        if n % 2 == 0 && lsm.flush().is_err() {
            return (states, None);
        }
        for _ in 0..4 {
            if lsm.step().is_err() {
                return (states, None);
            }
        }
    }
    let stats = lsm.stats().unwrap();
    (states, Some(stats))
}

#[test]
fn a_power_cut_at_any_call_loses_nothing() {
    let whole = SimDisk::new(3);
    let stats = live(&whole).1.unwrap();
    assert!(stats.runs_joined > 0 && stats.run_merges > 3 && stats.gc_moved_bytes > 0, "{stats:?}");
    for cut in 1..=whole.calls() {
        let disk = SimDisk::new(cut);
        disk.crash_after(cut);
        let (states, _) = live(&disk);
        let disk = disk.restart();
        let found = lsm::verify(&(Arc::clone(&disk) as Arc<dyn Disk>), &mut |_, _| {});
        let lsm = open_with(&disk, options(26, 1 << 10)).unwrap();
        // Each commit is one LSN: what is found says which state it is.
        agrees_on(&lsm, &states[lsm.last_lsn() as usize], 9);
        if let Ok(report) = found {
            assert!(report.faults.is_empty(), "cut {cut}: {:?}", report.faults);
        }
        verify(&lsm);
        while lsm.step().unwrap() != Step::Idle {}
        agrees_on(&lsm, &states[lsm.last_lsn() as usize], 16);
    }
}

#[test]
fn a_flush_is_not_followed_by_a_whole_pass() {
    // Given runs that are far beyond what they may come to, in pieces of 8 cells,
    let disk = SimDisk::new(1);
    let lsm = open(&disk).unwrap();
    let mut model = Model::new();
    filled(&lsm, &mut model);
    for n in 0..40 {
        one_flush(&lsm, &mut model, n);
    }
    drop(lsm);
    let lsm = open_with(&disk.restart(), options(1, 1 << 10)).unwrap();
    let merged = || lsm.stats().unwrap().run_merges;
    // when somebody flushes while another takes the steps, then he merges nothing,
    let stepper = lsm.stepper();
    one_flush(&lsm, &mut model, 41);
    assert_eq!(merged(), 0);
    // and where nobody does, a few pieces.
    drop(stepper);
    one_flush(&lsm, &mut model, 42);
    assert!((1..=8).contains(&merged()), "{}", merged());
    while lsm.step().unwrap() != Step::Idle {}
    assert!(merged() > 8, "a pass has more pieces: {}", merged());
    agrees(&lsm, &model);
    verify(&lsm);
}

#[test]
fn flushes_do_not_wait_for_all_filters() {
    // Given a store opened with runs, and sets to flush,
    let disk = SimDisk::new(1);
    let lsm = open(&disk).unwrap();
    let mut model = Model::new();
    filled(&lsm, &mut model);
    one_flush(&lsm, &mut model, 1);
    one_flush(&lsm, &mut model, 2);
    drop(lsm);
    let lsm = open(&disk.restart()).unwrap();
    let _stepper = lsm.stepper();
    let mut n = 0;
    while lsm.debt().frozen == 0 {
        let mut batch = Batch::new();
        put(&mut batch, &mut model, 2, n, vec![n; 200]);
        lsm.commit(&batch).unwrap();
        n += 1;
    }
    // when it is stepped, then a flush has its turn before the second filter.
    let mut filtered = 0;
    loop {
        match lsm.step().unwrap() {
            Step::Filtered { .. } => filtered += 1,
            Step::Flushing { .. } | Step::Flushed(_) => break,
            _ => {}
        }
    }
    assert!(filtered <= 1, "{filtered} filters came first");
}
