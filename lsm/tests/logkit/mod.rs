//! What the tests of the log's life share: a store on one disk, its archive on
//! another, commits that can be told from their number, and the look at archive
//! and log together.

#![allow(dead_code, unreachable_pub)] // each test file uses a part

use std::sync::Arc;

use lsm::{Batch, Error, KeyspaceId, LogArchive, Lsm, Lsn, Options, Step, SyncMode};
use platform::Disk;
use platform::sim::{SimClock, SimDisk};
use wal::archive::{Archive, Until};

pub const KS: KeyspaceId = KeyspaceId(1);
pub const DIR: &str = "log-archive";
pub const SECOND: u64 = 1_000_000_000;

pub fn options(far: Option<&Arc<SimDisk>>) -> Options {
    let archive = far.map(|far| {
        let mut archive = LogArchive::new(Arc::clone(far) as _, DIR);
        archive.step_bytes = 700;
        archive
    });
    Options {
        sync: SyncMode::Sync,
        memtable_bytes: 6 << 10,
        max_frozen: 1,
        wal_segment_bytes: 2 << 10,
        vlog_segment_bytes: 8 << 10,
        vlog_buffer_bytes: 512,
        archive,
        ..Options::default()
    }
}

pub struct World {
    pub data: Arc<SimDisk>,
    pub far: Arc<SimDisk>,
    pub clock: Arc<SimClock>,
}

impl World {
    pub fn new(seed: u64) -> World {
        World {
            data: SimDisk::new(seed),
            far: SimDisk::new(!seed),
            clock: Arc::new(SimClock::new(1_000)),
        }
    }

    pub fn open(&self) -> Result<Lsm, Error> {
        self.open_with(options(Some(&self.far)))
    }

    pub fn open_with(&self, options: Options) -> Result<Lsm, Error> {
        Lsm::open(Arc::clone(&self.data) as _, Arc::clone(&self.clock) as _, options)
    }

    pub fn archive(&self) -> Archive {
        Archive::open(Arc::clone(&self.far) as _, DIR).unwrap()
    }
}

/// The one batch of commit `lsn`.
pub fn batch(lsn: Lsn) -> Batch {
    let mut batch = Batch::new();
    batch.put(KS, &(lsn % 50).to_be_bytes(), &vec![lsn as u8; 40 + lsn as usize % 90]);
    batch
}

pub fn put(lsm: &Lsm) -> Result<Lsn, Error> {
    lsm.commit(&batch(lsm.last_lsn() + 1))
}

pub fn puts(lsm: &Lsm, n: u64) {
    for _ in 0..n {
        put(lsm).unwrap();
    }
}

/// A frame holds what was committed.
pub fn assert_payload(lsn: Lsn, payload: &[u8]) {
    let ops: Vec<_> = lsm::decode(payload).unwrap().collect();
    let (key, value) = ((lsn % 50).to_be_bytes(), vec![lsn as u8; 40 + lsn as usize % 90]);
    assert!(matches!(ops[..], [lsm::Op::Put(KS, k, v)] if k == key && v == value));
}

/// Steps until nothing is left to do.
pub fn settle(lsm: &Lsm) {
    while lsm.step().unwrap() != Step::Idle {}
}

/// Every commit from 1 (or from where the archive begins) to the last is in the
/// archive or the log, and is what was committed. Returns where it begins.
pub fn assert_covered(world: &World, lsm: &Lsm) -> Lsn {
    let mut next = None;
    if world.far.list(DIR).is_ok() {
        let archive = world.archive();
        if let Some((first, last)) = archive.bounds() {
            let mut frames = archive.frames(first, Until::End, None).unwrap();
            let mut lsn = first;
            while let Some(frame) = frames.next().unwrap() {
                assert_eq!(frame.lsn, lsn);
                assert_payload(lsn, frame.payload);
                lsn += 1;
            }
            assert_eq!(lsn, last + 1);
            next = Some((first, lsn));
        }
    }
    let (first, mut lsn) = next.unwrap_or((1, 1));
    if lsn <= lsm.durable_lsn() {
        let mut frames = lsm.frames(lsn).unwrap_or_else(|e| panic!("a hole at {lsn}: {e}"));
        while let Some(frame) = frames.next().unwrap() {
            assert_eq!(frame.lsn, lsn);
            assert_payload(lsn, frame.payload);
            lsn += 1;
        }
    }
    assert_eq!(lsn, lsm.durable_lsn() + 1);
    first
}

/// All that was committed can be read.
pub fn assert_has_all(lsm: &Lsm) {
    let last = lsm.last_lsn();
    let snapshot = lsm.snapshot().unwrap();
    for key in 0..50 {
        let newest = (1..=last).rev().find(|lsn| lsn % 50 == key);
        let value = snapshot.get(KS, &key.to_be_bytes()).unwrap();
        let want = newest.map(|lsn| vec![lsn as u8; 40 + lsn as usize % 90]);
        assert_eq!(value.as_deref(), want.as_deref(), "key {key}");
    }
}
