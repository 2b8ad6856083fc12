//! Leases that expire, seen through the store.

use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use btree::Direction;
use platform::sim::{SimClock, SimDisk};

use crate::{Batch, Error, KeyspaceId, Lsm, Options};

const KS: KeyspaceId = KeyspaceId(1);

fn put(lsm: &Lsm, value: &[u8]) {
    let mut batch = Batch::new();
    batch.put(KS, b"key", value);
    lsm.commit(&batch).unwrap();
}

#[test]
fn an_expired_version_is_freed_there_and_then() {
    // Given a snapshot and cursors of it, some of a place given back before,
    let clock = Arc::new(SimClock::new(0));
    let options = Options { max_pinned_bytes: 0, ..Options::default() };
    let lsm = Lsm::open(SimDisk::new(1), clock.clone(), options).unwrap();
    put(&lsm, b"old");
    let snapshot = lsm.snapshot().unwrap();
    let all = (Bound::Unbounded, Bound::Unbounded);
    let mut cursors = Vec::new();
    for n in 0..10 {
        cursors.push(snapshot.range(KS, all.0, all.1, Direction::Forward).unwrap());
        if n % 3 == 2 {
            cursors.remove(0);
        }
        cursors.last_mut().unwrap().next().unwrap();
    }
    let version = Arc::downgrade(&lsm.version.load_full());
    let set = Arc::downgrade(&lsm.version.load_full().active);
    // when what it holds back is over the bound,
    clock.advance(Duration::from_micros(7));
    lsm.flush().unwrap();
    // then nothing of it is left, but for its owners.
    assert!(version.upgrade().is_none() && set.upgrade().is_none());
    assert!(snapshot.is_expired());
    for cursor in &mut cursors {
        assert!(matches!(cursor.next(), Err(Error::SnapshotExpired { lsn: 1 })));
    }
    assert_eq!(lsm.version.expired(), (1, 0));
}

#[test]
fn a_backups_snapshot_stays_and_an_older_one_expires_beside_it() {
    let clock = Arc::new(SimClock::new(0));
    let options = Options { max_pinned_bytes: 0, ..Options::default() };
    let lsm = Lsm::open(SimDisk::new(1), clock.clone(), options).unwrap();
    put(&lsm, b"1");
    let older = lsm.snapshot().unwrap();
    put(&lsm, b"2");
    lsm.flush().unwrap();
    put(&lsm, b"3");
    let backup = lsm.backup_snapshot().unwrap();
    for _ in 0..3 {
        put(&lsm, b"4");
        clock.advance(Duration::from_micros(5));
        lsm.flush().unwrap();
    }
    assert!(older.is_expired());
    assert_eq!(backup.get(KS, b"key").unwrap().as_deref(), Some(&b"3"[..]));
    // It is not hidden, and its age is known.
    let stats = lsm.stats().unwrap();
    assert!(stats.pinned_memory_bytes > 0 && stats.oldest_pin_micros == 10, "{stats:?}");
    // One beside it is not taken for it: once it is over, nothing is pinned.
    let late = backup.clone();
    drop(backup);
    assert!(!late.is_expired());
    drop(late);
    assert_eq!(lsm.stats().unwrap().pinned_memory_bytes, 0);
}
