//! Disks that are full, out of descriptors, or failing: what refuses, what
//! poisons, and that nothing is half there afterwards.

use super::*;
use crate::SyncMode;
use platform::sim::{Fault, Times};
use platform::{Disk, File, Lock, Open, Shortage};
use std::io;
use std::sync::atomic::{AtomicI32, Ordering};

const MODES: [SyncMode; 2] = [SyncMode::Async, SyncMode::Sync];

fn no_space(result: Result<Lsn, Error>, wanted: Lsn) {
    match result {
        Err(Error::NoSpace { short: Shortage::Space, lsn, .. }) => assert_eq!(lsn, wanted),
        other => panic!("frame {wanted}: {other:?}"),
    }
}

#[test]
fn a_full_disk_refuses_the_append_that_needs_more_and_then_the_log_goes_on() {
    for sync in MODES {
        for room in [0, 1, 4095, 4096, 5000] {
            // given: a log of one block, nearly full, and a disk with little room
            let disk = SimDisk::new(room);
            let opts = Options { sync, segment_bytes: 1 << 20, ..SMALL };
            let (wal, _) = open_from(&disk, opts, 1, 0).unwrap();
            wal.append(1, &vec![1; 262_144 - 64 - 64]).unwrap();
            wal.sync().unwrap();
            disk.set_budget(Some(room));
            // when: a frame of two blocks does not fit, however often it is tried
            let before = wal.segments();
            no_space(wal.append(1, &[2; 8000]), 2);
            no_space(wal.append(1, &[2; 8000]), 2);
            assert_eq!((wal.poisoned(), wal.segments()), (None, before));
            // then: space comes back, and so do writes
            disk.set_budget(None);
            assert_eq!(wal.append(1, &[3; 8000]).unwrap(), 2);
            assert_eq!(wal.append(1, b"x").unwrap(), 3);
            assert_eq!(wal.sync().unwrap(), 3);
            let (_, found) = open_from(&disk.restart_worst(), opts, 1, 3).unwrap();
            assert_eq!(lsns(&found), [1, 2, 3]);
            assert_eq!(found[1].payload, [3; 8000]);
        }
    }
}

#[test]
fn what_was_prepared_is_used_up_on_a_full_disk() {
    let disk = SimDisk::new(1);
    let (wal, _) = open_from(&disk, Options { segment_bytes: 1 << 20, ..SMALL }, 1, 0).unwrap();
    wal.append(1, b"one").unwrap();
    disk.set_budget(Some(0));
    let mut last = 1;
    while let Ok(lsn) = wal.append(1, &[7; 1000]) {
        last = lsn;
    }
    assert!((50..70).contains(&last), "{last}: 64 KiB were prepared");
    assert_eq!(wal.sync().unwrap(), last);
    assert_eq!(open(&disk.restart_worst()).1.len() as u64, last);
}

#[test]
fn a_full_disk_at_rotation_refuses_and_the_next_append_rotates() {
    for sync in MODES {
        for room in [0, 1, 63, 4095] {
            let disk = SimDisk::new(1);
            let opts = Options { sync, ..SMALL };
            let (wal, _) = open_from(&disk, opts, 1, 0).unwrap();
            for _ in 0..3 {
                wal.append(1, &[7; 56]).unwrap();
            }
            wal.sync().unwrap();
            disk.set_budget(Some(room));
            no_space(wal.append(1, &[7; 56]), 4);
            no_space(wal.append(1, &[7; 56]), 4);
            assert_eq!(files(&disk).len(), 1, "nothing is left lying about");
            assert_eq!((wal.durable_lsn(), wal.poisoned()), (3, None));
            disk.set_budget(None);
            assert_eq!(wal.append(1, &[8; 56]).unwrap(), 4);
            wal.sync().unwrap();
            assert_eq!(wal.segments().len(), 2);
            let (_, found) = open_from(&disk.restart_worst(), opts, 1, 0).unwrap();
            assert_eq!(lsns(&found), [1, 2, 3, 4]);
        }
    }
}

#[test]
fn a_write_that_fails_poisons_and_what_it_wrote_is_taken_back() {
    for seed in 0..40 {
        let disk = SimDisk::new(seed);
        let (wal, _) = open(&disk);
        wal.append(1, b"one").unwrap();
        disk.fail(Fault::Write, "wal/", Times::Next);
        let first = wal.append(1, &[7; 56]).unwrap_err().to_string();
        assert!(first.contains("frame 2 could not be appended"), "{first}");
        assert_eq!(wal.append(1, b"x").unwrap_err().to_string(), first);
        // The frame before it can still be made durable.
        assert_eq!((wal.last_lsn(), wal.sync().unwrap()), (1, 1));
        let disk = if seed % 2 == 0 { disk.restart_worst() } else { disk.kill() };
        let (wal, found) = open(&disk);
        assert_eq!(payloads(&found), [b"one"]);
        assert_eq!(wal.recovery().torn_tail, None, "nothing of it is left");
        assert_eq!(wal.append(1, b"two").unwrap(), 2);
    }
}

#[test]
fn a_failed_write_through_poisons_like_a_failed_sync() {
    for fault in [Fault::Write, Fault::Sync] {
        let disk = SimDisk::new(1);
        let opts = Options { sync: SyncMode::Sync, ..SMALL };
        let (wal, _) = open_from(&disk, opts, 1, 0).unwrap();
        wal.append(1, b"one").unwrap();
        wal.sync().unwrap();
        wal.append(1, b"two").unwrap();
        disk.fail(fault, "wal/", Times::Next);
        let first = wal.wait_durable(2).unwrap_err().to_string();
        assert!(first.contains("frames 2 to 2 could not be synced"), "{first}");
        let calls = disk.calls();
        assert_eq!(wal.wait_durable(2).unwrap_err().to_string(), first);
        assert_eq!(wal.append(1, b"x").unwrap_err().to_string(), first);
        assert!(matches!(wal.wait_durable_change(1), Err(Error::Poisoned(_))));
        assert_eq!((disk.calls(), wal.durable_lsn()), (calls, 1));
        let (_, found) = open_from(&disk.restart_worst(), opts, 1, 0).unwrap();
        assert!(matches!(lsns(&found)[..], [1] | [1, 2]));
    }
}

#[test]
fn a_failed_sync_of_a_segment_in_the_making_poisons() {
    for path in ["wal/00000000000000000002.new", "wal"] {
        let disk = SimDisk::new(1);
        let opts = Options { sync: SyncMode::Sync, ..SMALL };
        let (wal, _) = open_from(&disk, opts, 1, 0).unwrap();
        for _ in 0..3 {
            wal.append(1, &[7; 56]).unwrap();
        }
        wal.sync().unwrap();
        disk.fail(Fault::Sync, path, Times::Next);
        assert!(matches!(wal.append(1, &[7; 56]), Err(Error::Poisoned(_))), "{path}");
        disk.clear_faults();
        assert!(matches!(wal.append(1, &[7; 56]), Err(Error::Poisoned(_))), "{path}");
        let opened = open_from(&disk.restart(), SMALL, 1, 3).unwrap();
        assert_eq!(lsns(&opened.1), [1, 2, 3]);
    }
}

#[test]
fn in_async_mode_a_flush_syncs_the_ended_segments_their_names_and_the_tail() {
    // Each of the syncs of one flush in turn: whichever fails, nothing of it counts.
    for path in [segment_path(1), "wal/00000000000000000002".into(), "wal".into()] {
        let disk = SimDisk::new(1);
        let (wal, _) = open(&disk);
        wal.append(1, b"one").unwrap();
        wal.sync().unwrap();
        for _ in 0..4 {
            wal.append(1, &[7; 56]).unwrap(); // 2 to 5, two segments
        }
        assert_eq!((wal.segments().len(), wal.durable_lsn()), (2, 1));
        // The first segment was opened by the name it had in the making.
        let path = path.replace(".wal", ".new");
        disk.fail(Fault::Sync, &path, Times::Next);
        let error = wal.sync().unwrap_err().to_string();
        assert!(error.contains("frames 2 to 5 could not be synced"), "{path}: {error}");
        assert_eq!(wal.durable_lsn(), 1);
        let found = lsns(&open(&disk.restart()).1);
        assert_eq!(found, (1..=found.len() as Lsn).collect::<Vec<_>>());
        assert!(!found.is_empty());
    }
    let disk = SimDisk::new(1);
    let (wal, _) = open(&disk);
    for _ in 0..4 {
        wal.append(1, &[7; 56]).unwrap();
    }
    wal.sync().unwrap();
    assert_eq!(lsns(&open(&disk.restart_worst()).1), [1, 2, 3, 4]);
}

/// A disk whose opens or renames fail with a system's error number while one is set.
struct NoHandles {
    disk: Arc<SimDisk>,
    errno: AtomicI32,
    renames: AtomicI32,
}

impl NoHandles {
    fn new(disk: &Arc<SimDisk>) -> Arc<Self> {
        let (errno, renames) = (AtomicI32::new(0), AtomicI32::new(0));
        Arc::new(NoHandles { disk: Arc::clone(disk), errno, renames })
    }

    fn check(errno: &AtomicI32) -> io::Result<()> {
        match errno.load(Ordering::SeqCst) {
            0 => Ok(()),
            errno => Err(io::Error::from_raw_os_error(errno)),
        }
    }
}

impl Disk for NoHandles {
    fn open(&self, path: &str, how: Open) -> io::Result<Arc<dyn File>> {
        Self::check(&self.errno)?;
        self.disk.open(path, how)
    }
    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        Self::check(&self.renames)?;
        self.disk.rename(from, to)
    }
    fn remove(&self, path: &str) -> io::Result<()> {
        self.disk.remove(path)
    }
    fn list(&self, dir: &str) -> io::Result<Vec<String>> {
        self.disk.list(dir)
    }
    fn create_dir(&self, dir: &str) -> io::Result<()> {
        self.disk.create_dir(dir)
    }
    fn sync_dir(&self, dir: &str) -> io::Result<()> {
        self.disk.sync_dir(dir)
    }
    fn lock(&self, path: &str) -> io::Result<Box<dyn Lock>> {
        self.disk.lock(path)
    }
}

#[test]
fn without_descriptors_a_rotation_waits_for_better_times() {
    for (errno, spares) in [(23, 0), (24, 0), (24, 2)] {
        let sim = SimDisk::new(1);
        let disk = NoHandles::new(&sim);
        let opts = Options { spare_segments: spares, ..SMALL };
        let wal = Wal::open(disk.clone(), "wal", opts, 1, 0, &mut |_| Ok(())).unwrap();
        for _ in 0..12 {
            wal.append(1, &[7; 56]).unwrap();
        }
        wal.sync().unwrap();
        wal.truncate_below(10).unwrap();
        assert_eq!(wal.spare_segments(), spares);
        disk.errno.store(errno, Ordering::SeqCst);
        for _ in 0..2 {
            match wal.append(1, &[7; 56]) {
                Err(Error::NoSpace { short: Shortage::Descriptors, lsn: 13, .. }) => {}
                other => panic!("{other:?}"),
            }
        }
        assert_eq!((wal.poisoned(), wal.spare_segments()), (None, spares));
        disk.errno.store(0, Ordering::SeqCst);
        assert_eq!(wal.append(1, b"x").unwrap(), 13);
        wal.sync().unwrap();
        let (_, found) = open_from(&sim.restart_worst(), SMALL, 10, 13).unwrap();
        assert_eq!(lsns(&found), [10, 11, 12, 13]);
    }
}

#[test]
fn a_file_that_got_a_header_and_no_name_is_not_used_again() {
    for sync in [SyncMode::Async, SyncMode::Sync] {
        // given: a log with spares, whose next rename finds no space
        let sim = SimDisk::new(1);
        let disk = NoHandles::new(&sim);
        let opts = Options { spare_segments: 2, sync, ..SMALL };
        let wal = Wal::open(disk.clone(), "wal", opts, 1, 0, &mut |_| Ok(())).unwrap();
        for _ in 0..12 {
            wal.append(1, &[7; 56]).unwrap();
        }
        wal.sync().unwrap();
        wal.truncate_below(10).unwrap();
        assert_eq!(wal.spare_segments(), 2);
        disk.renames.store(28, Ordering::SeqCst);
        // when: three rotations fail, the third with a file made anew
        for left in [1, 0, 0] {
            match wal.append(1, &[7; 56]) {
                Err(Error::NoSpace { short: Shortage::Space, lsn: 13, .. }) => {}
                other => panic!("{other:?}"),
            }
            // then: nothing with the header of frame 13 stays, whatever it is called,
            assert_eq!((wal.poisoned(), wal.spare_segments()), (None, left));
            for file in sim.files().iter().filter(|file| !file.ends_with(".wal")) {
                let bytes = sim.file_bytes(file).unwrap();
                let first_lsn = u64::from_le_bytes(bytes[24..32].try_into().unwrap());
                assert!(first_lsn < 10, "{file}: {first_lsn}");
            }
        }
        // and with space again the log goes on.
        disk.renames.store(0, Ordering::SeqCst);
        assert_eq!(wal.append(1, b"x").unwrap(), 13);
        wal.sync().unwrap();
        let (_, found) = open_from(&sim.restart_worst(), SMALL, 10, 13).unwrap();
        assert_eq!(lsns(&found), [10, 11, 12, 13]);
    }
}

#[test]
fn a_root_directory_that_cannot_be_synced_has_a_name() {
    let disk = SimDisk::new(1);
    disk.fail(Fault::Sync, "", Times::Next);
    let error = open_from(&disk, SMALL, 1, 0).unwrap_err().to_string();
    assert!(error.contains("sync the data directory:"), "{error}");
}

/// A log of one frame on a disk with so much room left, closed in order: its file ends
/// where the payload does.
fn full(sync: SyncMode, payload: usize, room: u64) -> (Arc<SimDisk>, Options) {
    let disk = SimDisk::new(payload as u64);
    let opts = Options { sync, segment_bytes: 1 << 20, ..SMALL };
    let (wal, _) = open_from(&disk, opts, 1, 0).unwrap();
    wal.append(1, &vec![1; payload]).unwrap();
    wal.sync().unwrap();
    drop(wal);
    disk.set_capacity(Some(disk.used() + room));
    (disk, opts)
}

#[test]
fn a_log_opens_on_a_full_disk_and_its_life_begins_when_there_is_space() {
    for sync in MODES {
        // The end mark fits into the last block, or begins another.
        for payload in (3880..=3968).step_by(8) {
            let crosses = 64 + 64 + payload + 64 > 4096;
            for room in [0, 4096, 8192] {
                let (disk, opts) = full(sync, payload, room);
                for _ in 0..2 {
                    // when it is opened, again and again, then all is read,
                    let (wal, found) = open_from(&disk, opts, 1, 1).unwrap();
                    assert_eq!((lsns(&found), wal.last_lsn()), (vec![1], 1));
                    let mut cursor = wal.cursor(1).unwrap();
                    assert_eq!(cursor.next().unwrap().unwrap().payload.len(), payload);
                    assert!(cursor.next().unwrap().is_none());
                    assert_eq!((wal.durable_lsn(), wal.sync().unwrap()), (1, 1));
                    if room < 4096 + 4096 * u64::from(crosses) {
                        // and what writes is refused, by name, and changes nothing;
                        for _ in 0..2 {
                            no_space(wal.append(1, b"x"), 2);
                            assert!(matches!(wal.begin(), Err(Error::NoSpace { .. })));
                            assert!(matches!(wal.rotate_now(), Err(Error::NoSpace { .. })));
                        }
                        assert_eq!(wal.truncate_below(2).unwrap(), 0);
                        let segments = wal.segments();
                        assert_eq!((segments.len(), segments[0].last_lsn), (1, 1));
                        assert_eq!((wal.epoch(), wal.poisoned()), (1, None));
                    } else {
                        // (one block is enough to begin with)
                        wal.begin().unwrap();
                        assert_eq!(wal.epoch(), 2);
                        break;
                    }
                }
                // with space it goes on by itself, for readers too.
                let disk = disk.kill();
                disk.set_capacity(Some(disk.used() + room));
                let (wal, _) = open_from(&disk, opts, 1, 1).unwrap();
                let mut cursor = wal.cursor(2).unwrap();
                assert!(cursor.next().unwrap().is_none());
                disk.set_capacity(None);
                assert_eq!(wal.append(1, b"two").unwrap(), 2);
                assert_eq!(wal.sync().unwrap(), 2);
                assert_eq!(cursor.next().unwrap().unwrap().payload, b"two");
                let (_, found) = open_from(&disk.restart_worst(), opts, 1, 2).unwrap();
                assert_eq!(lsns(&found), [1, 2]);
            }
        }
    }
}

#[test]
fn a_late_beginning_crashed_at_any_call_loses_nothing() {
    for sync in MODES {
        for payload in [3000, 3968] {
            let begin = |crash: u64| -> (Arc<SimDisk>, Result<Lsn, Error>) {
                let (disk, opts) = full(sync, payload, 0);
                let (wal, _) = open_from(&disk, opts, 1, 1).unwrap();
                disk.set_capacity(None);
                if crash > 0 {
                    disk.crash_after(crash);
                }
                let before = disk.calls();
                let done = wal.append(1, b"two").and_then(|_| wal.sync());
                (disk.clone(), done.map(|_| disk.calls() - before))
            };
            let calls = begin(0).1.unwrap();
            assert!(calls > 4, "{calls}");
            for call in 1..=calls {
                let (disk, done) = begin(call);
                done.unwrap_err();
                let opts = Options { sync, segment_bytes: 1 << 20, ..SMALL };
                for disk in [disk.restart(), disk.restart_worst()] {
                    let (wal, found) = open_from(&disk, opts, 1, 1).unwrap();
                    assert!(lsns(&found) == [1] || lsns(&found) == [1, 2], "call {call}");
                    let next = found.len() as Lsn + 1;
                    assert_eq!(wal.append(1, b"more").unwrap(), next);
                }
            }
        }
    }
}

#[test]
fn a_spare_is_given_up_for_the_end_mark_of_a_full_disk() {
    let (disk, opts) = full(SyncMode::Async, 3968, 0);
    // Given a spare, and no other space,
    let opts = Options { spare_segments: 2, ..opts };
    disk.set_capacity(None);
    let spare = disk.open("wal/00000000000000000009.spare", Open::Create).unwrap();
    spare.allocate(8192).unwrap();
    spare.sync().unwrap();
    drop(spare);
    disk.sync_dir("wal").unwrap();
    disk.set_capacity(Some(disk.used()));
    // then the log goes on in its place.
    let (wal, found) = open_from(&disk, opts, 1, 1).unwrap();
    assert_eq!(lsns(&found), [1]);
    assert_eq!(wal.append(1, b"two").unwrap(), 2);
}
