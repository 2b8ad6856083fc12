//! Those who follow the log, and logs that begin in the middle.

use super::*;
use crate::SyncMode;
use parking_lot::Mutex;
use std::thread;

#[test]
fn a_watcher_is_told_each_rise_once_and_never_after_it_left() {
    for sync in [SyncMode::Async, SyncMode::Sync] {
        let disk = SimDisk::new(1);
        let (wal, _) = open_from(&disk, Options { sync, ..SMALL }, 1, 0).unwrap();
        let told = Arc::new(Mutex::new(Vec::new()));
        let watch = wal.on_durable({
            let told = told.clone();
            move |lsn| told.lock().push(lsn)
        });
        for _ in 0..2 {
            wal.append(1, b"x").unwrap();
        }
        assert_eq!(*told.lock(), [] as [Lsn; 0]);
        wal.wait_durable(1).unwrap();
        wal.wait_durable(2).unwrap();
        wal.sync().unwrap();
        assert_eq!(*told.lock(), [2]);
        wal.append(1, b"x").unwrap();
        assert!(wal.rotate_now().unwrap(), "it held frames");
        assert!(!wal.rotate_now().unwrap(), "it holds none");
        assert_eq!(*told.lock(), [2, 3]);
        assert!(wal.segments()[0].sealed);
        drop(watch);
        wal.append(1, b"x").unwrap();
        wal.sync().unwrap();
        assert_eq!(*told.lock(), [2, 3]);
        assert_eq!(Arc::strong_count(&told), 1, "its closure is gone too");
    }
}

#[test]
fn one_who_waits_for_more_is_woken_by_more_by_poison_and_by_the_end() {
    let disk = SimDisk::new(1);
    let (wal, _) = open(&disk);
    thread::scope(|s| {
        let follower = s.spawn(|| wal.wait_durable_change(0));
        wal.append(1, b"one").unwrap();
        wal.sync().unwrap();
        assert_eq!(follower.join().unwrap().unwrap(), 1);
        assert_eq!(wal.wait_durable_change(0).unwrap(), 1, "it is so already");
        let follower = s.spawn(|| wal.wait_durable_change(1));
        wal.release_followers();
        assert!(matches!(follower.join().unwrap(), Err(Error::Closed)));
    });
    let (wal, _) = open(&disk);
    thread::scope(|s| {
        let follower = s.spawn(|| wal.wait_durable_change(1));
        wal.append(1, b"two").unwrap();
        disk.fail_sync("wal/");
        wal.sync().unwrap_err();
        assert!(matches!(follower.join().unwrap(), Err(Error::Poisoned(_))));
    });
}

#[test]
fn a_log_can_begin_anywhere_and_goes_on_from_there() {
    for (next, above) in [(1, 0), (8, 3), (1 << 40, 9)] {
        for n in 1.. {
            let disk = SimDisk::new(n);
            disk.crash_after(n);
            let made = Wal::create_at(disk.clone(), "deep/wal", SMALL, next, above);
            let Ok(wal) = made else {
                // Half made is not made: it may be made again.
                let disk = disk.restart();
                match Wal::create_at(disk.clone(), "deep/wal", SMALL, next, above) {
                    Ok(_) => continue,
                    // Or the cut came after the name was there.
                    Err(Error::NotEmpty { dir, .. }) => assert_eq!(dir, "deep/wal"),
                    Err(other) => panic!("{other}"),
                }
                continue;
            };
            assert_eq!(
                (wal.last_lsn(), wal.durable_lsn(), wal.epoch()),
                (next - 1, next - 1, above + 1)
            );
            disk.crash_after(u64::MAX);
            assert_eq!(wal.append(1, b"first").unwrap(), next);
            wal.sync().unwrap();
            drop(wal);
            let again = Wal::create_at(disk.clone(), "deep/wal", SMALL, next, above);
            assert!(matches!(again, Err(Error::NotEmpty { .. })), "{again:?}");
            let mut found = Vec::new();
            let disk = disk.restart_worst();
            let wal = Wal::open(disk, "deep/wal", SMALL, next, next - 1, &mut |f| {
                found.push((f.lsn, f.epoch, f.payload.to_vec()));
                Ok(())
            })
            .unwrap();
            assert_eq!(found, [(next, above + 1, b"first".to_vec())]);
            assert_eq!(wal.epoch(), above + 2);
            break;
        }
    }
}
