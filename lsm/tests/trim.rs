//! The log gives its space back: while flushes are behind, and at rest.

#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use lsm::{Batch, KeyspaceId, Lsm, Options, Step};
use platform::Disk;
use platform::sim::{SimClock, SimDisk};

const KS: KeyspaceId = KeyspaceId(1);
const SEGMENT: u64 = 16 << 10;
const MEMTABLE: usize = 32 << 10;

fn open(disk: &Arc<SimDisk>) -> Lsm {
    let options = Options {
        memtable_bytes: MEMTABLE,
        wal_segment_bytes: SEGMENT,
        max_frozen: 2,
        ..Options::default()
    };
    Lsm::open(disk.clone(), Arc::new(SimClock::new(0)), options).unwrap()
}

fn put(lsm: &Lsm, n: u64) {
    let mut batch = Batch::new();
    batch.put(KS, &(n % 500).to_be_bytes(), &[n as u8; 200]);
    lsm.commit(&batch).unwrap();
}

/// Files in the log's directory.
fn files(disk: &SimDisk) -> usize {
    disk.list("wal").unwrap().len()
}

#[test]
fn a_log_is_cut_while_there_is_always_a_set_to_flush() {
    // Given a store whose flushes never catch up,
    let disk = SimDisk::new(1);
    let lsm = open(&disk);
    let _stepper = lsm.stepper();
    let mut most = 0;
    for n in 0..6000 {
        // when a frozen set always waits,
        while lsm.debt().frozen == 2 || (n % 4 == 0 && lsm.debt().frozen > 1) {
            lsm.step().unwrap();
        }
        put(&lsm, n);
        assert!(n < 1000 || lsm.debt().frozen > 0, "flushes have caught up at {n}");
        most = most.max(lsm.stats().unwrap().wal_bytes);
    }
    // then the log has what is not flushed (three sets), what the older meta page
    // wants (one more), and the segments that these begin and end in.
    let bound = 4 * 2 * MEMTABLE as u64 + 4 * SEGMENT;
    assert!(most < bound, "the log had {most} bytes, of at most {bound}");
}

#[test]
fn a_store_at_rest_keeps_one_segment_and_one_spare() {
    // Given a store much was written to,
    let disk = SimDisk::new(1);
    let lsm = open(&disk);
    (0..3000).for_each(|n| put(&lsm, n));
    lsm.flush().unwrap();
    assert!(files(&disk) > 3, "{:?}", disk.list("wal"));
    // when it has nothing to do for a while,
    for _ in 0..1000 {
        if lsm.step().unwrap() == Step::Idle && lsm.step().unwrap() == Step::Idle {
            break;
        }
    }
    // then the log is what the next commit needs,
    assert!(files(&disk) <= 3, "{:?}", disk.list("wal"));
    assert!(lsm.stats().unwrap().wal_bytes <= 2 * SEGMENT);
    // it does no more for that,
    assert_eq!(lsm.step().unwrap(), Step::Idle);
    // and nothing is missing, after a restart neither.
    drop(lsm);
    let lsm = open(&disk);
    let snapshot = lsm.snapshot().unwrap();
    for n in 2500..3000u64 {
        let value = snapshot.get(KS, &(n % 500).to_be_bytes()).unwrap();
        assert_eq!(value.as_deref(), Some(&[n as u8; 200][..]), "{n}");
    }
}
