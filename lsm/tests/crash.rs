//! The crash test: a seeded workload on the simulated disk, crashed at every
//! single disk call, reopened, and compared with a model.
//!
//! What is proven at each crash, where `acked` is the last commit that returned
//! `Ok`, `durable` what the store said was durable, `tried` the last commit
//! called:
//! * what is found is the state after exactly `found` commits: each batch whole
//!   or absent, no hole (the states of all LSNs are precomputed);
//! * power cut, sync mode: `acked <= found <= tried`;
//! * power cut, async mode: `durable <= found <= tried`;
//! * process killed, both modes: `acked <= found <= tried`;
//! * a value of the keyspace [`VERSIONED`] is of the commit that it says wrote it;
//! * the store goes on: the rest of the workload runs, and another opening finds
//!   it; the page file verifies; dead bytes are exact to the byte.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use lsm::{Batch, Direction, KeyspaceId, Lsm, Lsn, Options, SyncMode};
use platform::sim::{SimClock, SimDisk};

/// Keyspace and key to value.
type Model = BTreeMap<(u32, Vec<u8>), Vec<u8>>;

const KEYSPACES: u32 = 3;
/// Its values begin with the commit that wrote them, and keep it beside them too.
const VERSIONED: u32 = 2;

fn options(sync: SyncMode) -> Options {
    Options {
        sync,
        memtable_bytes: 6 << 10,
        max_frozen: 1,
        wal_segment_bytes: 3 << 10,
        vlog_segment_bytes: 8 << 10,
        vlog_buffer_bytes: 512,
        cache_bytes: 64 << 10,
        inline_max: 24,
        gc_step_bytes: 1 << 10,
        ..Options::default()
    }
}

fn open(disk: &Arc<SimDisk>, sync: SyncMode) -> Result<Lsm, lsm::Error> {
    Lsm::open(Arc::clone(disk) as _, Arc::new(SimClock::new(1_000)), options(sync))
}

enum Action {
    Commit(Batch),
    Step,
    /// Steps until nothing is left to do: flush, trim, collect, tidy up.
    Settle,
    Flush,
    Sync,
    Reopen,
}

struct Rng(u64);

impl Rng {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (x ^ (x >> 31)) % n
    }
}

struct Workload {
    actions: Vec<Action>,
    /// The state after each LSN.
    states: Vec<Model>,
}

impl Workload {
    fn new(seed: u64, commits: usize) -> Self {
        let mut rng = Rng(seed);
        let mut actions = Vec::new();
        let mut states = vec![Model::new()];
        while states.len() <= commits {
            let mut model = states[states.len() - 1].clone();
            actions.push(match rng.below(20) {
                0..=1 => Action::Step,
                6 => Action::Settle,
                2 => Action::Flush,
                3..=4 => Action::Sync,
                5 => Action::Reopen,
                _ => {
                    let batch = random_batch(&mut rng, &mut model, states.len() as Lsn);
                    states.push(model);
                    Action::Commit(batch)
                }
            });
        }
        Workload { actions, states }
    }

    fn batch(&self, lsn: Lsn) -> &Batch {
        let mut batches = self.actions.iter().filter_map(|action| match action {
            Action::Commit(batch) => Some(batch),
            _ => None,
        });
        batches.nth(lsn as usize - 1).unwrap()
    }
}

fn random_batch(rng: &mut Rng, model: &mut Model, lsn: Lsn) -> Batch {
    let mut batch = Batch::new();
    for _ in 0..=rng.below(6) {
        let keyspace = rng.below(KEYSPACES.into()) as u32;
        let id = KeyspaceId(keyspace);
        let mut key = rng.below(24).to_be_bytes()[6..].to_vec();
        if rng.below(8) == 0 {
            key.extend([7; 20]);
        }
        match rng.below(40) {
            0 => {
                batch.drop_keyspace(id);
                model.retain(|(of, _), _| *of != keyspace);
            }
            1..=9 => {
                batch.delete(id, &key);
                model.remove(&(keyspace, key));
            }
            _ => {
                let mut value = vec![rng.below(256) as u8; rng.below(300) as usize];
                if keyspace == VERSIONED {
                    value.splice(..value.len().min(8), lsn.to_le_bytes());
                    batch.put_versioned(id, &key, &value, false);
                } else {
                    batch.put(id, &key, &value);
                }
                model.insert((keyspace, key), value);
            }
        }
    }
    batch
}

#[derive(Default)]
struct Outcome {
    acked: Lsn,
    durable: Lsn,
    tried: Lsn,
}

/// Runs until the end or the first error, which must be the crash.
fn run(disk: &Arc<SimDisk>, workload: &Workload, sync: SyncMode) -> Outcome {
    let mut out = Outcome::default();
    if let Err(error) = run_into(disk, workload, sync, &mut out) {
        assert!(disk.is_crashed(), "only a crash may fail: {error}");
    }
    out
}

fn run_into(
    disk: &Arc<SimDisk>,
    workload: &Workload,
    sync: SyncMode,
    out: &mut Outcome,
) -> Result<(), lsm::Error> {
    let mut lsm = open(disk, sync)?;
    for action in &workload.actions {
        let done = match action {
            Action::Commit(batch) => {
                out.tried += 1;
                lsm.commit(batch).map(|lsn| {
                    assert_eq!(lsn, out.tried);
                    out.acked = lsn;
                })
            }
            Action::Step => lsm.step().map(drop),
            Action::Settle => settle(&lsm),
            Action::Flush => lsm.flush().map(drop),
            Action::Sync => lsm.sync().map(drop),
            Action::Reopen => {
                drop(lsm);
                lsm = open(disk, sync)?;
                assert_eq!(lsm.last_lsn(), out.acked, "an orderly reopening finds all");
                Ok(())
            }
        };
        out.durable = lsm.durable_lsn();
        done?;
    }
    Ok(())
}

/// Twice idle: the first idle step only sees that nothing was committed since.
fn settle(lsm: &Lsm) -> Result<(), lsm::Error> {
    let mut idle = 0;
    for n in 0.. {
        let step = lsm.step()?;
        idle = if step == lsm::Step::Idle { idle + 1 } else { 0 };
        if idle == 2 {
            break;
        }
        assert!(n < 1000, "it never settles: {step:?}, {:?}", lsm.stats());
    }
    Ok(())
}

/// All that a fresh snapshot shows.
fn contents(lsm: &Lsm) -> Model {
    let snapshot = lsm.snapshot().unwrap();
    let mut all = Model::new();
    for keyspace in 0..KEYSPACES {
        let id = KeyspaceId(keyspace);
        let mut cursor =
            snapshot.range(id, Bound::Unbounded, Bound::Unbounded, Direction::Forward).unwrap();
        while let Some((key, value)) = cursor.next().unwrap() {
            all.insert((keyspace, key.to_vec()), value.to_vec());
            if keyspace == VERSIONED {
                let (again, version) = snapshot.get_versioned(id, key).unwrap().unwrap();
                assert_eq!(*again, *value);
                assert_eq!(again[..8], version.to_le_bytes(), "of another commit");
            }
        }
    }
    all
}

/// Opens what a crash left, checks it against the model, and goes on.
fn check(disk: &Arc<SimDisk>, workload: &Workload, sync: SyncMode, least: Lsn, out: &Outcome) {
    let lsm = open(disk, sync).unwrap_or_else(|e| panic!("it must open after a crash: {e}"));
    let found = lsm.last_lsn();
    assert!((least..=out.tried).contains(&found), "found {found}, not {least}..={}", out.tried);
    assert_eq!(lsm.durable_lsn(), found, "what was replayed is durable");
    assert_same(&lsm, workload, found);

    // It goes on: commits, a flush, another opening.
    let last = (found + 4).min(workload.states.len() as Lsn - 1);
    for lsn in found + 1..=last {
        assert_eq!(lsm.commit(workload.batch(lsn)).unwrap(), lsn);
    }
    assert_eq!(lsm.flush().unwrap(), last);
    assert_same(&lsm, workload, last);
    assert_whole(disk, lsm);
    let lsm = open(disk, sync).unwrap();
    assert_same(&lsm, workload, last);
}

fn assert_same(lsm: &Lsm, workload: &Workload, lsn: Lsn) {
    let (got, want) = (contents(lsm), &workload.states[lsn as usize]);
    if got != *want {
        let lost: Vec<_> = want.iter().filter(|(k, v)| got.get(*k) != Some(v)).collect();
        let extra: Vec<_> = got.keys().filter(|k| !want.contains_key(*k)).collect();
        panic!("state {lsn} is another: lost or changed {lost:?}, too many {extra:?}");
    }
}

/// After a flush: the page file verifies, and each byte of the value log is
/// either named by a tree or counted as dead.
fn assert_whole(disk: &Arc<SimDisk>, lsm: Lsm) {
    let stats = lsm.stats().unwrap();
    drop(lsm);
    let pages =
        btree::PageFile::open(Arc::clone(disk) as _, "trees.pages", btree::Options::default())
            .unwrap();
    let report = pages.verify();
    assert!(report.is_clean(), "{:?}", report.faults);
    let view = pages.view();
    let mut live = 0;
    // Trees of dropped keyspaces too, but not the table of segments.
    for keyspace in view.trees().map(|t| t.tree).filter(|t| *t != lsm::MAX_KEYSPACE) {
        let all = (Bound::Unbounded, Bound::Unbounded);
        let mut cursor = view.range(keyspace, all.0, all.1, btree::Direction::Forward);
        while let Some((_, cell)) = cursor.next().unwrap() {
            if cell[0] == 1 {
                live += u64::from(vlog::Pointer::from_bytes(&cell[1..]).unwrap().len);
            }
        }
    }
    assert_eq!(live + stats.dead_value_bytes, stats.value_bytes, "live and dead make all");
}

enum End {
    PowerCut,
    WorstPowerCut,
    Kill,
}

/// Crashes the workload at each of its calls.
fn crash_everywhere(seed: u64, commits: usize, sync: SyncMode, end: &End) {
    let workload = Workload::new(seed, commits);
    let calm = SimDisk::new(seed);
    let out = run(&calm, &workload, sync);
    assert_eq!(out.acked, commits as Lsn);
    let calls = calm.calls();

    for n in 1..=calls {
        let disk = SimDisk::new(seed ^ (n << 20));
        disk.crash_after(n);
        let out = run(&disk, &workload, sync);
        let (found, least) = match (end, sync) {
            (End::Kill, _) => (disk.kill(), out.acked),
            (End::PowerCut, SyncMode::Sync) => (disk.restart(), out.acked),
            (End::PowerCut, SyncMode::Async) => (disk.restart(), out.durable),
            (End::WorstPowerCut, SyncMode::Sync) => (disk.restart_worst(), out.acked),
            (End::WorstPowerCut, SyncMode::Async) => (disk.restart_worst(), out.durable),
        };
        let crash = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            check(&found, &workload, sync, least, &out);
        }));
        if let Err(panic) = crash {
            eprintln!("seed {seed}, {sync:?}: crashed at call {n} of {calls}");
            std::panic::resume_unwind(panic);
        }
    }
}

#[test]
fn the_workload_flushes_rotates_truncates_and_spills() {
    // Given the workload of the tests below, then it does what they are about.
    let workload = Workload::new(1, 40);
    let disk = SimDisk::new(1);
    run(&disk, &workload, SyncMode::Sync);
    let files = disk.files();
    let segments = |dir: &str| files.iter().filter(|f| f.starts_with(dir)).collect::<Vec<_>>();
    assert!(!segments("vlog/").iter().any(|f| f.ends_with("001.vlog")), "collected: {files:?}");
    assert!(!segments("wal/").iter().any(|f| f.ends_with("01.wal")), "truncated: {files:?}");
    let lsm = open(&disk, SyncMode::Sync).unwrap();
    let stats = lsm.stats().unwrap();
    assert!(stats.flushed_lsn > 20 && stats.dead_value_bytes > 0, "{stats:?}");
    assert_same(&lsm, &workload, 40);
}

#[test]
fn power_cut_in_sync_mode() {
    crash_everywhere(1, 40, SyncMode::Sync, &End::PowerCut);
    crash_everywhere(2, 20, SyncMode::Sync, &End::PowerCut);
    crash_everywhere(3, 20, SyncMode::Sync, &End::WorstPowerCut);
}

#[test]
fn power_cut_in_async_mode() {
    crash_everywhere(4, 40, SyncMode::Async, &End::PowerCut);
    crash_everywhere(5, 20, SyncMode::Async, &End::PowerCut);
    crash_everywhere(6, 20, SyncMode::Async, &End::WorstPowerCut);
}

#[test]
fn process_killed() {
    crash_everywhere(7, 20, SyncMode::Sync, &End::Kill);
    crash_everywhere(8, 30, SyncMode::Async, &End::Kill);
}
