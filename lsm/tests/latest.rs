//! Transactions that see what is written and not yet durable: not disturbed by those who
//! wait for the disk before them, and never told of what may yet be lost.

#![allow(clippy::unwrap_used)]

mod gate;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::thread;

use gate::{GateDisk, until};
use lsm::{Batch, Error, KeyspaceId, Lsm, Lsn, Options, SyncMode, Transaction};
use platform::Disk;
use platform::sim::{SimClock, SimDisk};

const A: KeyspaceId = KeyspaceId(1);

fn open(disk: Arc<dyn Disk>) -> Lsm {
    let options = Options { sync: SyncMode::Sync, ..Options::default() };
    Lsm::open(disk, Arc::new(SimClock::new(0)), options).unwrap()
}

fn read(transaction: &Transaction) -> u64 {
    let value = transaction.view().get(A, b"n").unwrap();
    value.map_or(0, |value| u64::from_le_bytes((*value).try_into().unwrap()))
}

fn write(transaction: &mut Transaction, n: u64) {
    let mut batch = Batch::new();
    match transaction.view().contains(A, b"n").unwrap() {
        true => batch.put(A, b"n", &n.to_le_bytes()),
        false => batch.put_new(A, b"n", &n.to_le_bytes()),
    }
    transaction.write(&batch).unwrap();
}

fn commit(lsm: &Lsm, transaction: Transaction) -> Result<Lsn, Error> {
    lsm.commit_transaction(transaction, || Ok(()))
}

/// Adds one, by a transaction that sees the latest.
fn add(lsm: &Lsm) -> Result<(Lsn, u64), Error> {
    let mut transaction = lsm.begin_latest()?;
    let n = read(&transaction) + 1;
    write(&mut transaction, n);
    commit(lsm, transaction).map(|lsn| (lsn, n))
}

#[test]
fn who_waits_for_the_disk_disturbs_nobody_who_begins_with_the_latest() {
    // Given a commit that waits for the disk,
    let disk = GateDisk::new(SimDisk::new(1));
    let lsm = open(disk.clone());
    disk.close(Some("wal"));
    thread::scope(|scope| {
        scope.spawn(|| assert_eq!(add(&lsm).unwrap(), (1, 1)));
        until("the first waits", || disk.waiting() == 1);
        // a transaction does not see it, and is disturbed by it: it would wait to say so.
        let mut blind = lsm.begin().unwrap();
        assert_eq!((blind.lsn(), read(&blind)), (0, 0));
        write(&mut blind, 7);
        scope.spawn(|| {
            let conflict = commit(&lsm, blind).unwrap_err();
            assert!(matches!(conflict, Error::Conflict { lsn: 1, .. }), "{conflict}");
            assert!(lsm.durable_lsn() >= 1, "told when it lasts");
        });
        // One that begins with the latest sees it, and commits behind it;
        scope.spawn(|| assert_eq!(add(&lsm).unwrap(), (2, 2)));
        until("the second is in the log", || lsm.last_lsn() == 2);
        // one that only reads is over when what it saw is durable.
        let told = Arc::new(AtomicU64::new(0));
        let reads = Arc::clone(&told);
        let lsm = &lsm;
        scope.spawn(move || {
            let transaction = lsm.begin_latest().unwrap();
            assert_eq!(read(&transaction), 2);
            told.store(commit(lsm, transaction).unwrap(), SeqCst);
            assert!(lsm.durable_lsn() >= 2);
        });
        assert_eq!((lsm.snapshot().unwrap().lsn(), reads.load(SeqCst)), (0, 0), "nothing is told");
        disk.close(None);
    });
    assert_eq!((read(&lsm.begin().unwrap()), lsm.last_lsn()), (2, 2));
    // Disturbed by somebody who is seen by who begins anew, it is told at once.
    let mut late = lsm.begin_latest().unwrap();
    let n = read(&late) + 1;
    write(&mut late, n);
    disk.close(Some("wal"));
    thread::scope(|scope| {
        scope.spawn(|| add(&lsm).unwrap());
        until("it waits", || disk.waiting() == 1);
        let conflict = commit(&lsm, late).unwrap_err();
        assert!(matches!(conflict, Error::Conflict { lsn: 3, .. }), "{conflict}");
        assert_eq!(lsm.durable_lsn(), 2);
        disk.close(None);
    });
}

#[test]
fn what_was_read_of_a_lost_commit_is_told_to_nobody() {
    // Given one that has read a commit which waits for the disk,
    let disk = SimDisk::new(1);
    let gate = GateDisk::new(disk.clone());
    let lsm = open(gate.clone());
    add(&lsm).unwrap();
    gate.close(Some("wal"));
    thread::scope(|scope| {
        scope.spawn(|| add(&lsm).unwrap_err());
        until("it waits", || gate.waiting() == 1);
        let (reader, seen) = (lsm.begin_latest().unwrap(), lsm.written_lsn());
        assert_eq!((read(&reader), seen), (2, 2));
        // when the disk fails,
        disk.fail_sync("wal");
        gate.close(None);
        // then neither it nor who asks for what it saw is told that it lasts,
        assert!(matches!(commit(&lsm, reader), Err(Error::Wal(_))));
        assert!(lsm.wait_acknowledged(seen).is_err());
        assert!(lsm.wait_acknowledged(1).is_ok());
    });
    // and who begins from now on sees what lasts, and may read it.
    let after = lsm.begin_latest().unwrap();
    assert_eq!((read(&after), commit(&lsm, after).unwrap()), (1, 1));
}

#[test]
fn what_threads_were_told_is_there_after_a_power_cut() {
    const TOLD: u64 = 300;
    let disk = SimDisk::new(3);
    let lsm = open(disk.clone());
    let most = AtomicU64::new(0);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                loop {
                    match add(&lsm) {
                        Ok((lsn, n)) => {
                            assert_eq!(lsn, n, "each adds one to the one before");
                            most.fetch_max(n, SeqCst);
                        }
                        Err(Error::Conflict { .. }) => {}
                        // The power is gone.
                        Err(_) => break,
                    }
                }
            });
        }
        until("some are done", || most.load(SeqCst) > TOLD);
        let told = most.load(SeqCst);
        let found = open(disk.restart_worst());
        let n = read(&found.begin().unwrap());
        assert!(n >= told, "{n}, and {told} were told");
        assert_eq!(n, found.last_lsn());
    });
    assert!(lsm.poisoned().is_some());
}

#[test]
fn who_refuses_by_what_is_not_durable_yet_says_so_when_it_is() {
    // Given a commit that waits for the disk,
    let disk = GateDisk::new(SimDisk::new(1));
    let lsm = open(disk.clone());
    disk.close(Some("wal"));
    let asked = AtomicU64::new(0);
    thread::scope(|scope| {
        scope.spawn(|| assert_eq!(add(&lsm).unwrap(), (1, 1)));
        until("the first waits", || disk.waiting() == 1);
        // one that finds its key and refuses is answered,
        scope.spawn(|| {
            let refused = lsm.commit_with(|latest| {
                assert!(latest.contains(A, b"n")?);
                asked.store(1, SeqCst);
                Err::<(Batch, ()), _>(Error::Cursor)
            });
            assert!(matches!(refused, Err(Error::Cursor)));
            // once that commit lasts, and everybody sees it.
            assert!(lsm.durable_lsn() >= 1, "told before it lasts");
            assert!(lsm.snapshot().unwrap().contains(A, b"n").unwrap());
        });
        until("it has refused", || asked.load(SeqCst) == 1);
        // The commit lock is free meanwhile.
        scope.spawn(|| assert_eq!(add(&lsm).unwrap(), (2, 2)));
        until("the second is in the log", || lsm.last_lsn() == 2);
        disk.close(None);
    });
}
