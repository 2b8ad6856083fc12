//! Shared by the backup tests: a store, a model at every LSN, random work.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use lsm::{Batch, Direction, KeyspaceId, Lsm, Lsn, Options, Restore, Restored, SyncMode, Until};
use platform::Disk;
use platform::sim::{SimClock, SimDisk};

/// Keyspace and key to value.
pub type Model = BTreeMap<(u32, Vec<u8>), Vec<u8>>;

pub const KEYSPACES: u32 = 3;
/// Its values begin with the commit that wrote them, and keep it beside them too.
pub const VERSIONED: u32 = 2;
/// Where the backups are on their disk.
pub const DIR: &str = "backups";

pub fn options() -> Options {
    Options {
        sync: SyncMode::Async,
        memtable_bytes: 6 << 10,
        max_frozen: 1,
        wal_segment_bytes: 3 << 10,
        vlog_segment_bytes: 8 << 10,
        vlog_buffer_bytes: 512,
        cache_bytes: 64 << 10,
        inline_max: 24,
        ..Options::default()
    }
}

pub fn open(disk: &Arc<SimDisk>) -> Result<Lsm, lsm::Error> {
    Lsm::open(Arc::clone(disk) as _, Arc::new(SimClock::new(1_000)), options())
}

pub struct Rng(pub u64);

impl Rng {
    pub fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (x ^ (x >> 31)) % n
    }
}

/// A store with the state after each of its commits.
pub struct World {
    pub disk: Arc<SimDisk>,
    pub clock: Arc<SimClock>,
    pub lsm: Lsm,
    pub states: Vec<Model>,
    pub rng: Rng,
}

impl World {
    pub fn new(seed: u64) -> Self {
        World::with(seed, options())
    }

    pub fn with(seed: u64, options: Options) -> Self {
        let (disk, clock) = (SimDisk::new(seed), Arc::new(SimClock::new(1_000_000)));
        let lsm = Lsm::open(Arc::clone(&disk) as _, Arc::clone(&clock) as _, options).unwrap();
        World { disk, clock, lsm, states: vec![Model::new()], rng: Rng(seed) }
    }

    /// One random commit, one second after the one before: commit n at n seconds
    /// after the first second.
    pub fn commit(&mut self) {
        self.clock.advance(std::time::Duration::from_secs(1));
        let mut model = self.states[self.states.len() - 1].clone();
        let lsn = self.states.len() as Lsn;
        let batch = random_batch(&mut self.rng, &mut model, lsn);
        self.states.push(model);
        assert_eq!(self.lsm.commit(&batch).unwrap(), self.lsn());
    }

    /// Commits, and whatever else a store does.
    pub fn work(&mut self, commits: usize) {
        for _ in 0..commits {
            self.commit();
            match self.rng.below(12) {
                0 => drop(self.lsm.flush().unwrap()),
                1..=3 => drop(self.lsm.step().unwrap()),
                4 => drop(self.lsm.sync().unwrap()),
                _ => {}
            }
        }
    }

    pub fn lsn(&self) -> Lsn {
        self.states.len() as Lsn - 1
    }

    pub fn reopen(mut self) -> Self {
        drop(self.lsm);
        self.lsm = Lsm::open(Arc::clone(&self.disk) as _, Arc::clone(&self.clock) as _, options())
            .unwrap();
        self
    }
}

pub fn random_batch(rng: &mut Rng, model: &mut Model, lsn: Lsn) -> Batch {
    let mut batch = Batch::new();
    if rng.below(25) == 0 {
        let keyspace = rng.below(u64::from(KEYSPACES)) as u32;
        batch.drop_keyspace(KeyspaceId(keyspace));
        model.retain(|(ks, _), _| *ks != keyspace);
    }
    for _ in 0..=rng.below(8) {
        let keyspace = rng.below(u64::from(KEYSPACES)) as u32;
        let key = format!("key{:03}", rng.below(60)).into_bytes();
        if rng.below(5) == 0 {
            batch.delete(KeyspaceId(keyspace), &key);
            model.remove(&(keyspace, key));
        } else {
            let len = [4, 24, 25, 300, 900][rng.below(5) as usize];
            let mut value = vec![rng.below(256) as u8; len];
            if keyspace == VERSIONED {
                value.splice(..len.min(8), lsn.to_le_bytes());
                batch.put_versioned(KeyspaceId(keyspace), &key, &value, false);
            } else {
                batch.put(KeyspaceId(keyspace), &key, &value);
            }
            model.insert((keyspace, key), value);
        }
    }
    batch
}

pub fn contents(lsm: &Lsm) -> Model {
    let snapshot = lsm.snapshot().unwrap();
    let mut found = Model::new();
    for keyspace in 0..KEYSPACES {
        let all = (Bound::Unbounded, Bound::Unbounded);
        let ks = KeyspaceId(keyspace);
        let mut cursor = snapshot.range(ks, all.0, all.1, Direction::Forward).unwrap();
        while let Some((key, value)) = cursor.next().unwrap() {
            found.insert((keyspace, key.to_vec()), value.to_vec());
        }
    }
    found
}

/// Each value of [`VERSIONED`] is of the commit that it says wrote it; how many there are.
pub fn assert_versions(lsm: &Lsm) -> usize {
    let (snapshot, found) = (lsm.snapshot().unwrap(), contents(lsm));
    let versioned = found.iter().filter(|((keyspace, _), _)| *keyspace == VERSIONED);
    versioned
        .map(|((keyspace, key), value)| {
            let (_, version) = snapshot.get_versioned(KeyspaceId(*keyspace), key).unwrap().unwrap();
            assert_eq!(value[..8], version.to_le_bytes(), "of another commit");
        })
        .count()
}

pub fn as_disk(disk: &Arc<SimDisk>) -> Arc<dyn Disk> {
    Arc::clone(disk) as _
}

pub fn from(backups: &Arc<SimDisk>, until: Until) -> Restore {
    Restore { disk: as_disk(backups), dir: DIR.into(), number: None, archive: None, until }
}

pub fn restore_to(what: &Restore, target: &Arc<SimDisk>) -> Result<Restored, lsm::BackupError> {
    lsm::restore(what, &as_disk(target), &SimClock::new(77), &options(), &mut |_, _| {})
}

/// Restores into an empty disk and compares with the model.
pub fn assert_restores(what: &Restore, states: &[Model]) -> Restored {
    let target = SimDisk::new(5);
    let done = restore_to(what, &target).unwrap();
    let lsm = open(&target).unwrap();
    assert_eq!(lsm.last_lsn(), done.lsn);
    assert_eq!(lsm.store_id(), done.store);
    assert!(contents(&lsm) == states[done.lsn as usize], "restored to {}", done.lsn);
    assert_versions(&lsm);
    done
}
