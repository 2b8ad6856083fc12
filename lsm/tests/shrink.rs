//! What is dropped leaves the page file, and the file gets shorter.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use lsm::{Batch, KeyspaceId, Lsm, Options, Step};
use platform::sim::{SimClock, SimDisk};

#[test]
fn a_dropped_keyspace_gives_its_pages_back_to_the_file_system() {
    // given: a large keyspace of values that stay in the leaves, and a small one
    let disk = SimDisk::new(1);
    let open = |disk: &Arc<SimDisk>| {
        Lsm::open(Arc::clone(disk) as _, Arc::new(SimClock::new(0)), Options::default()).unwrap()
    };
    let length = |disk: &SimDisk| disk.file_bytes("trees.pages").unwrap().len();
    let lsm = open(&disk);
    let mut batch = Batch::new();
    batch.put(KeyspaceId(1), b"kept", b"kept");
    for i in 0..30_000u32 {
        batch.put(KeyspaceId(2), &i.to_be_bytes(), &[7; 60]);
    }
    lsm.commit(&batch).unwrap();
    lsm.flush().unwrap();
    let before = length(&disk);
    assert!(before > 2 << 20);
    // when: it is dropped, and background work goes on until nothing is left to do
    let mut batch = Batch::new();
    batch.drop_keyspace(KeyspaceId(2));
    lsm.commit(&batch).unwrap();
    lsm.flush().unwrap();
    let (mut given_back, mut idle) = (0, 0);
    for _ in 0..200 {
        match lsm.step().unwrap() {
            Step::Shrunk(bytes) => given_back += bytes as usize,
            Step::Idle => idle += 1,
            _ => idle = 0,
        }
        if idle == 3 {
            break;
        }
    }
    // then: the file is short, now and after a restart, and nothing else is gone
    assert_eq!(idle, 3, "background work ends");
    assert!(given_back > before / 2 && length(&disk) < before / 2, "{before} {given_back}");
    let read = |lsm: &Lsm| {
        let snapshot = lsm.snapshot().unwrap();
        assert_eq!(snapshot.get(KeyspaceId(1), b"kept").unwrap().as_deref(), Some(&b"kept"[..]));
        assert!(snapshot.get(KeyspaceId(2), &5u32.to_be_bytes()).unwrap().is_none());
    };
    read(&lsm);
    drop(lsm);
    // A power cut may bring the length back: the next start cuts it again.
    let disk = disk.restart_worst();
    let lsm = open(&disk);
    read(&lsm);
    for _ in 0..20 {
        lsm.step().unwrap();
    }
    assert!(length(&disk) < before / 2);
    read(&lsm);
}
