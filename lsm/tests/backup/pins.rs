//! What a backup may hold back of the store, and a disk of backups that hangs.

use std::sync::Arc;

use lsm::{BackupError, BackupOptions, Batch, KeyspaceId, Lsm, Options, Progress};
use platform::Disk;
use platform::sim::{SimClock, SimDisk};

use crate::gate::{GateDisk, until};
use crate::kit::{DIR, as_disk};

const KEYS: u64 = 60;

fn open(max_backup_pinned_bytes: u64) -> (Arc<SimDisk>, Lsm) {
    let disk = SimDisk::new(1);
    let options = Options {
        memtable_bytes: 24 << 10,
        max_frozen: 1,
        vlog_segment_bytes: 8 << 10,
        // Readers have another bound.
        max_pinned_bytes: 0,
        max_backup_pinned_bytes,
        ..Options::default()
    };
    let lsm = Lsm::open(as_disk(&disk), Arc::new(SimClock::new(0)), options).unwrap();
    (disk, lsm)
}

/// Puts another value under every key, and into the trees; garbage is collected.
fn overwrite(lsm: &Lsm, round: u8) {
    for n in 0..KEYS {
        let mut batch = Batch::new();
        batch.put(KeyspaceId(1), &n.to_be_bytes(), &[round; 150]);
        lsm.commit(&batch).unwrap();
    }
    lsm.flush().unwrap();
    while lsm.step().unwrap() != lsm::Step::Idle {}
}

/// Begins a backup, overwrites all some times, and goes on with it. Gives its outcome
/// and what it held back in the end, or would have.
fn slow_backup(bound: u64) -> (Result<lsm::BackupInfo, BackupError>, u64) {
    let (_, lsm) = open(bound);
    overwrite(&lsm, 0);
    let disk: Arc<dyn Disk> = SimDisk::new(9);
    let mut backup = lsm.backup(&disk, DIR, BackupOptions::default()).unwrap();
    for round in 1..5 {
        overwrite(&lsm, round);
    }
    let stats = lsm.stats().unwrap();
    assert_eq!(stats.backup_pinned_bound_bytes, bound);
    let held = stats.backup_pinned_bytes;
    let outcome = loop {
        match backup.step() {
            Ok(Progress::Copying { .. }) => {}
            Ok(Progress::Done(info)) => break Ok(info),
            Err(error) => break Err(error),
        }
    };
    assert_eq!(stats.expired_backups, u64::from(outcome.is_err()));
    (outcome, held)
}

#[test]
fn a_backup_may_hold_back_as_much_as_is_set_and_no_byte_more() {
    let (outcome, held) = slow_backup(u64::MAX);
    outcome.unwrap();
    assert!(held > 0);
    let (outcome, same) = slow_backup(held);
    outcome.unwrap();
    assert_eq!(same, held);
    let (outcome, none) = slow_backup(held - 1);
    let error = outcome.unwrap_err();
    assert!(matches!(error, BackupError::HeldTooMuch { most } if most == held - 1), "{error}");
    assert_eq!(none, 0);
}

struct Opens<'a>(&'a GateDisk);

impl Drop for Opens<'_> {
    fn drop(&mut self) {
        self.0.close(None);
    }
}

#[test]
fn a_disk_of_backups_that_hangs_holds_nothing_back_for_good() {
    // Given a backup whose disk does not answer,
    let (data, lsm) = open(64 << 10);
    overwrite(&lsm, 0);
    let inner = SimDisk::new(9);
    let gate = GateDisk::new(Arc::clone(&inner));
    gate.close(Some(DIR));
    let disk: Arc<dyn Disk> = Arc::clone(&gate) as _;
    std::thread::scope(|scope| {
        // Whatever comes: else a failure would wait for the backup.
        let _open = Opens(&gate);
        let backup = scope.spawn(|| {
            let backup = lsm.backup(&disk, DIR, BackupOptions::default())?;
            backup.run(&mut |_| {})
        });
        until("the backup waits for its disk", || gate.waiting() == 1);
        // when everything is overwritten again and again,
        // (The log it holds back has a bound of its own.)
        let used = || -> usize {
            let files = data.files().into_iter().filter(|file| !file.starts_with("wal/"));
            files.filter_map(|file| data.file_bytes(&file)).map(|bytes| bytes.len()).sum()
        };
        for round in 1..20 {
            overwrite(&lsm, round);
        }
        // then what it held is taken from it, though it has not come back,
        let (stats, then) = (lsm.stats().unwrap(), used());
        assert_eq!((stats.backup_pinned_bytes, stats.expired_backups), (0, 1), "{stats:?}");
        assert_eq!(gate.waiting(), 1);
        // the store does not grow any more,
        for round in 20..40 {
            overwrite(&lsm, round);
        }
        let now = used();
        assert!(now <= then, "{then} bytes, then {now}");
        // and once the disk answers, the backup says why it is none.
        gate.close(None);
        let error = backup.join().unwrap().unwrap_err();
        assert!(matches!(error, BackupError::HeldTooMuch { .. }), "{error}");
    });
    assert_eq!(lsm::backups(&*inner, DIR).unwrap(), lsm::Backups::default());
    // The next one goes.
    let backup = lsm.backup(&as_disk(&inner), DIR, BackupOptions::default()).unwrap();
    backup.run(&mut |_| {}).unwrap();
}
