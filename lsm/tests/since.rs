//! What was written since a snapshot: all of it, or that it is not known.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::sync::Arc;

use lsm::{Batch, Error, KeyspaceId, Lsm, Options, Since};
use platform::sim::{SimClock, SimDisk};

const A: KeyspaceId = KeyspaceId(1);
const B: KeyspaceId = KeyspaceId(2);

fn open() -> Lsm {
    Lsm::open(SimDisk::new(1), Arc::new(SimClock::new(0)), Options::default()).unwrap()
}

fn put(lsm: &Lsm, keyspace: KeyspaceId, key: &[u8]) -> u64 {
    let mut batch = Batch::new();
    batch.put(keyspace, key, b"value");
    lsm.commit(&batch).unwrap()
}

fn written(lsm: &Lsm, since: &mut Since, upto: u64) -> Option<Vec<String>> {
    let keys: BTreeSet<Box<[u8]>> = lsm.written(since, A, upto)?;
    Some(keys.iter().map(|key| String::from_utf8_lossy(key).into_owned()).collect())
}

#[test]
fn each_key_is_told_once_and_none_behind_what_was_asked_for() {
    let lsm = open();
    put(&lsm, A, b"before");
    let mut since = lsm.since().unwrap();
    assert!(since.snapshot().contains(A, b"before").unwrap());
    assert_eq!(written(&lsm, &mut since, 1), Some(vec![]));
    put(&lsm, A, b"one");
    put(&lsm, B, b"of another");
    let mut batch = Batch::new();
    batch.put(A, b"two", b"");
    batch.delete(A, b"before");
    lsm.commit(&batch).unwrap();
    put(&lsm, A, b"later");
    assert_eq!(
        written(&lsm, &mut since, 4),
        Some(vec!["before".into(), "one".into(), "two".into()])
    );
    assert_eq!(written(&lsm, &mut since, 4), Some(vec![]), "it was told");
    assert!(!since.snapshot().contains(A, b"one").unwrap(), "the snapshot stays");
    // Under the commit lock it is all there is.
    let (_, told) = lsm
        .commit_with(|latest| {
            Ok::<_, Error>((Batch::new(), written(&lsm, &mut since, latest.lsn())))
        })
        .unwrap();
    assert_eq!(told, Some(vec!["later".into()]));
}

#[test]
fn what_is_not_known_any_more_is_said_to_be() {
    // The keyspace is gone.
    let lsm = open();
    put(&lsm, A, b"one");
    let mut since = lsm.since().unwrap();
    let mut batch = Batch::new();
    batch.drop_keyspace(A);
    lsm.commit(&batch).unwrap();
    assert_eq!(written(&lsm, &mut since, 2), None);
    // More keys than are kept.
    let mut since = lsm.since().unwrap();
    put(&lsm, A, b"one");
    let mut batch = Batch::new();
    for n in 0..20_000u32 {
        batch.put(B, &[&n.to_be_bytes()[..], &[7; 900]].concat(), b"");
    }
    lsm.commit(&batch).unwrap();
    let last = lsm.commit(&batch).unwrap();
    assert_eq!(written(&lsm, &mut since, last), None);
}
