//! The version of a value is the commit that wrote it, wherever the value lies: in a
//! memtable, in a leaf, in the value log, in a run; moved, merged, opened again.
//! (Crashes: `crash.rs`. Backups: `backup/`. Salvage: `salvage.rs`.)

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::ops::Bound::Unbounded;
use std::sync::Arc;

use lsm::{Batch, Direction, KeyspaceId, Lsm, Lsn, Options, Snapshot, Step};
use platform::Disk;
use platform::sim::{SimClock, SimDisk};

const KS: KeyspaceId = KeyspaceId(4);
const PLAIN: KeyspaceId = KeyspaceId(5);
const INLINE: usize = 64;

fn options() -> Options {
    Options {
        memtable_bytes: 32 << 10,
        max_frozen: 2,
        wal_segment_bytes: 32 << 10,
        vlog_segment_bytes: 48 << 10,
        vlog_buffer_bytes: 8 << 10,
        gc_step_bytes: 8 << 10,
        inline_max: INLINE,
        ..Options::default()
    }
}

fn open(disk: &Arc<SimDisk>, options: Options) -> Lsm {
    Lsm::open(Arc::clone(disk) as _, Arc::new(SimClock::new(0)), options).unwrap()
}

/// What each key has, and which commit wrote it.
type Model = BTreeMap<Vec<u8>, (Vec<u8>, Lsn)>;

/// Lengths on both sides of what lies in a leaf.
fn value(n: u64) -> Vec<u8> {
    vec![n as u8; [0, 8, INLINE - 1, INLINE, INLINE + 1, 400][n as usize % 6]]
}

fn put(lsm: &Lsm, model: &mut Model, key: u64, n: u64) {
    let mut batch = Batch::new();
    let key = key.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_be_bytes();
    batch.put_versioned(KS, &key, &value(n), !model.contains_key(&key[..]));
    let lsn = lsm.commit(&batch).unwrap();
    model.insert(key.to_vec(), (value(n), lsn));
}

/// Every way to read gives the value, and the one that asks gives the version.
fn assert_versions(snapshot: &Snapshot, model: &Model) {
    let keys: Vec<_> = model.keys().collect();
    let many = snapshot.multi_get(KS, &keys).unwrap();
    let mut cursor = snapshot.range(KS, Unbounded, Unbounded, Direction::Forward).unwrap();
    for (number, (key, (value, lsn))) in model.iter().enumerate() {
        let (found, version) = snapshot.get_versioned(KS, key).unwrap().unwrap();
        assert_eq!((&*found, version), (&value[..], *lsn), "{key:?}");
        assert_eq!(snapshot.get(KS, key).unwrap().as_deref(), Some(&value[..]));
        assert_eq!(many[number].as_deref(), Some(&value[..]));
        assert_eq!(cursor.next().unwrap().unwrap(), (&key[..], &value[..]));
    }
    assert!(cursor.next().unwrap().is_none());
    assert!(snapshot.get_versioned(KS, b"none").unwrap().is_none());
}

fn settle(lsm: &Lsm) {
    let mut idle = 0;
    while idle < 2 {
        idle = if lsm.step().unwrap() == Step::Idle { idle + 1 } else { 0 };
    }
}

#[test]
fn a_version_is_the_last_commit_of_its_key_wherever_the_value_lies() {
    // Given a store where values lie in memtables, leaves and the value log,
    let (disk, mut model) = (SimDisk::new(1), Model::new());
    let lsm = open(&disk, options());
    for n in 0..600 {
        put(&lsm, &mut model, n % 100, n / 7);
        if n == 300 {
            lsm.flush().unwrap();
        }
    }
    assert_versions(&lsm.snapshot().unwrap(), &model);
    let (old, then) = (lsm.snapshot().unwrap(), model.clone());
    // then each has its version, after a flush, in what was taken before it,
    lsm.flush().unwrap();
    assert_versions(&lsm.snapshot().unwrap(), &model);
    // after another write of the very same bytes,
    let (key, (value, before)) = model.iter().next().map(|(k, v)| (k.clone(), v.clone())).unwrap();
    let mut batch = Batch::new();
    batch.put_versioned(KS, &key, &value, false);
    let lsn = lsm.commit(&batch).unwrap();
    assert!(lsn > before);
    model.insert(key, (value, lsn));
    assert_versions(&lsm.snapshot().unwrap(), &model);
    assert_versions(&old, &then);
    // and when it is opened again, from the log and from the trees.
    drop((old, lsm));
    let lsm = open(&disk, options());
    assert_versions(&lsm.snapshot().unwrap(), &model);
    lsm.flush().unwrap();
    drop(lsm);
    assert_versions(&open(&disk, options()).snapshot().unwrap(), &model);
}

#[test]
fn it_stays_when_garbage_is_collected_and_runs_are_merged() {
    let many = Options { run_leaves: 1, run_percent: 100, ..options() };
    let (disk, mut model) = (SimDisk::new(2), Model::new());
    let lsm = open(&disk, many.clone());
    for n in 0..20_000 {
        // Some keys are written once, between those that make their segments garbage.
        let key = if n % 20 == 0 { 10_000 + n } else { n * 31 % 700 };
        put(&lsm, &mut model, key, n * 13 / 7);
        if n % 3 == 0 {
            lsm.step().unwrap();
        }
    }
    settle(&lsm);
    let stats = lsm.stats().unwrap();
    assert!(
        stats.gc_moved_bytes > 0 && stats.runs_written > 0 && stats.run_merges > 0,
        "{stats:?}"
    );
    assert_versions(&lsm.snapshot().unwrap(), &model);
    drop(lsm);
    assert_versions(&open(&disk, many).snapshot().unwrap(), &model);
}

#[test]
fn of_values_put_without_it_no_leaf_keeps_a_version() {
    let disk = SimDisk::new(3);
    let lsm = open(&disk, options());
    let mut batch = Batch::new();
    batch.put(PLAIN, b"short", b"s");
    batch.put(PLAIN, b"long", &[7; INLINE + 1]);
    batch.put_versioned(KS, b"short", b"s", true);
    let lsn = lsm.commit(&batch).unwrap();
    let version = |keyspace, key: &[u8]| {
        lsm.snapshot().unwrap().get_versioned(keyspace, key).unwrap().map(|(_, version)| version)
    };
    assert_eq!(version(PLAIN, b"short"), Some(lsn), "in a memtable");
    lsm.flush().unwrap();
    assert_eq!(version(PLAIN, b"short"), Some(0));
    assert_eq!(version(PLAIN, b"long"), Some(lsn), "the value log has it anyway");
    assert_eq!(version(KS, b"short"), Some(lsn));
    // A keyspace that was dropped has no versions, and new ones.
    let mut batch = Batch::new();
    batch.drop_keyspace(KS);
    batch.put_versioned(KS, b"other", b"o", true);
    let lsn = lsm.commit(&batch).unwrap();
    assert_eq!((version(KS, b"short"), version(KS, b"other")), (None, Some(lsn)));
    lsm.flush().unwrap();
    assert_eq!((version(KS, b"short"), version(KS, b"other")), (None, Some(lsn)));
}

#[test]
fn what_a_transaction_wrote_has_its_commit_for_a_version_and_none_before() {
    let disk = SimDisk::new(4);
    let lsm = open(&disk, options());
    let mut batch = Batch::new();
    batch.put_versioned(KS, b"a", b"1", true);
    let first = lsm.commit(&batch).unwrap();
    let mut transaction = lsm.begin().unwrap();
    let version = |view: &Snapshot, key: &[u8]| {
        view.get_versioned(KS, key).unwrap().map(|(_, version)| version)
    };
    assert_eq!(version(&transaction.view(), b"a"), Some(first));
    for (key, is_new) in [(b"a", false), (b"b", true)] {
        let mut batch = Batch::new();
        batch.put_versioned(KS, key, b"2", is_new);
        transaction.write(&batch).unwrap();
    }
    assert_eq!(version(&transaction.view(), b"a"), Some(0));
    let lsn = lsm.commit_transaction(transaction, || Ok::<_, lsm::Error>(())).unwrap();
    for flushed in [false, true] {
        let now = lsm.snapshot().unwrap();
        assert_eq!((version(&now, b"a"), version(&now, b"b")), (Some(lsn), Some(lsn)), "{flushed}");
        lsm.flush().unwrap();
    }
    assert_eq!(lsm.count(KS), 2);
    // A version that was read is a read.
    let mut transaction = lsm.begin().unwrap();
    assert_eq!(version(&transaction.view(), b"a"), Some(lsn));
    let mut batch = Batch::new();
    batch.put_versioned(KS, b"a", b"2", false);
    lsm.commit(&batch).unwrap();
    let mut batch = Batch::new();
    batch.put_versioned(KS, b"c", b"3", true);
    transaction.write(&batch).unwrap();
    let refused = lsm.commit_transaction(transaction, || Ok::<_, lsm::Error>(())).unwrap_err();
    assert!(matches!(refused, lsm::Error::Conflict { .. }), "{refused}");
}

#[test]
fn a_version_above_what_was_flushed_is_damage() {
    // Given a leaf whose checksums hold, that names a commit that never was,
    let disk = SimDisk::new(5);
    let lsm = open(&disk, options());
    let mut batch = Batch::new();
    batch.put_versioned(KS, b"a", b"1", true);
    lsm.commit(&batch).unwrap();
    lsm.flush().unwrap();
    drop(lsm);
    let dynamic: Arc<dyn Disk> = disk.clone();
    assert!(lsm::verify(&dynamic, &mut |_, _| {}).unwrap().is_clean());
    let pages =
        btree::PageFile::open(Arc::clone(&dynamic), "trees.pages", btree::Options::default());
    let pages = pages.unwrap();
    let cell = |lsn: u8| [3, lsn, 0, 0, 0, 0, 0, 0, 0, b'1'];
    for (lsn, what) in [(2, "is of commit 2"), (0, "neither a value nor")] {
        let mut write = pages.begin();
        let ops = [(b"a".to_vec(), btree::Op::Put(cell(lsn).to_vec()))];
        write.apply(KS.0, ops, &mut |_, _| {}).unwrap();
        write.commit().unwrap();
        // then verifying says so.
        let report = lsm::verify(&dynamic, &mut |_, _| {}).unwrap();
        assert!(report.to_string().contains(what), "{report}");
    }
}
