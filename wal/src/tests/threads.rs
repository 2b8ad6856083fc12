//! Many committers, one log: group sync, and readers beside.

use super::*;
use crate::SyncMode;
use parking_lot::{Condvar, Mutex};
use platform::{Disk, File, Lock, Open};
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

/// A disk whose file syncs wait at a gate, and are counted.
struct Gated {
    disk: Arc<SimDisk>,
    gate: Arc<Gate>,
}

#[derive(Default)]
struct Gate {
    /// Syncs that began, syncs that may end; `None`: the gate stands open.
    state: Mutex<(u64, Option<u64>)>,
    moved: Condvar,
    /// Syncs running now, and the most there ever were at once.
    running: AtomicU64,
    most: AtomicU64,
}

impl Gate {
    fn shut(&self) {
        *self.state.lock() = (0, Some(0));
    }

    fn wait_begun(&self, n: u64) {
        let mut state = self.state.lock();
        while state.0 < n {
            self.moved.wait(&mut state);
        }
    }

    fn let_end(&self, n: u64) {
        self.state.lock().1 = Some(n);
        self.moved.notify_all();
    }

    fn pass(&self) {
        let mut state = self.state.lock();
        state.0 += 1;
        let me = state.0;
        self.moved.notify_all();
        while state.1.is_some_and(|may| me > may) {
            self.moved.wait(&mut state);
        }
        drop(state);
        thread::yield_now(); // a sync takes its time
    }
}

struct GatedFile {
    file: Arc<dyn File>,
    gate: Arc<Gate>,
}

impl File for GatedFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.file.read_at(buf, offset)
    }
    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        self.file.write_at(buf, offset)
    }
    fn sync(&self) -> io::Result<()> {
        let now = self.gate.running.fetch_add(1, Ordering::SeqCst) + 1;
        self.gate.most.fetch_max(now, Ordering::SeqCst);
        self.gate.pass();
        let synced = self.file.sync();
        self.gate.running.fetch_sub(1, Ordering::SeqCst);
        synced
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }
}

impl Disk for Gated {
    fn open(&self, path: &str, how: Open) -> io::Result<Arc<dyn File>> {
        let file = self.disk.open(path, how)?;
        Ok(Arc::new(GatedFile { file, gate: self.gate.clone() }))
    }
    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
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

fn gated(opts: Options) -> (Wal, Arc<Gate>, Arc<SimDisk>) {
    let (disk, gate) = (SimDisk::new(1), Arc::new(Gate::default()));
    let over = Arc::new(Gated { disk: disk.clone(), gate: gate.clone() });
    let wal = Wal::open(over, "wal", opts, 1, 0, &mut |_| Ok(())).unwrap();
    gate.shut();
    (wal, gate, disk)
}

const MODES: [SyncMode; 2] = [SyncMode::Async, SyncMode::Sync];

#[test]
fn appends_go_on_during_a_sync_and_the_next_sync_serves_all_who_wait() {
    for sync in MODES {
        let (wal, gate, disk) = gated(Options { sync, segment_bytes: 1 << 20, ..SMALL });
        thread::scope(|s| {
            wal.append(1, b"one").unwrap();
            let leader = s.spawn(|| wal.wait_durable(1));
            gate.wait_begun(1);
            // The leader stands in the disk's sync. Nothing else stands.
            let lsns: Vec<Lsn> = (0..8).map(|_| wal.append(1, b"more").unwrap()).collect();
            let wal = &wal;
            let followers: Vec<_> =
                lsns.iter().map(|&lsn| s.spawn(move || wal.wait_durable(lsn))).collect();
            assert_eq!((wal.last_lsn(), wal.durable_lsn()), (9, 0));
            gate.let_end(1);
            leader.join().unwrap().unwrap();
            assert_eq!(wal.durable_lsn(), 1, "frames written after the sync began do not count");
            gate.let_end(2);
            for follower in followers {
                follower.join().unwrap().unwrap();
            }
        });
        assert_eq!(gate.state.lock().0, 2, "nine commits, two syncs");
        assert_eq!(open(&disk.restart_worst()).1.len(), 9);
    }
}

#[test]
fn one_who_commits_alone_syncs_at_once_and_once() {
    for sync in MODES {
        let (wal, gate, _) = gated(Options { sync, segment_bytes: 1 << 20, ..SMALL });
        gate.let_end(u64::MAX);
        for n in 1..=5 {
            let lsn = wal.append(1, b"alone").unwrap();
            wal.wait_durable(lsn).unwrap();
            wal.wait_durable(lsn).unwrap();
            assert_eq!((gate.state.lock().0, wal.durable_lsn()), (n, n));
        }
    }
}

#[test]
fn in_sync_mode_a_rotation_waits_for_the_sync_that_runs() {
    let (wal, gate, disk) = gated(Options { sync: SyncMode::Sync, ..SMALL });
    let rotated = AtomicU64::new(0);
    thread::scope(|s| {
        for _ in 0..3 {
            wal.append(1, &[7; 56]).unwrap();
        }
        let leader = s.spawn(|| wal.wait_durable(3));
        gate.wait_begun(1);
        let rotating = s.spawn(|| {
            let lsn = wal.append(1, &[7; 56]);
            rotated.store(1, Ordering::SeqCst);
            lsn
        });
        gate.let_end(1);
        leader.join().unwrap().unwrap();
        gate.wait_begun(2);
        assert_eq!(rotated.load(Ordering::SeqCst), 0);
        gate.let_end(3); // the old segment, the new one's header
        assert_eq!(rotating.join().unwrap().unwrap(), 4);
    });
    assert_eq!(lsns(&open(&disk.restart_worst()).1), [1, 2, 3]);
}

#[test]
fn syncs_never_overlap_rotations_included() {
    syncs_never_overlap(SyncMode::Async);
    syncs_never_overlap(SyncMode::Sync);
}

fn syncs_never_overlap(sync: SyncMode) {
    // Two syncs on one file at once: a kernel reports a failed writeback to one
    // of them only, and the other would publish what is lost.
    let (wal, gate, _) = gated(Options { sync, ..SMALL });
    gate.let_end(u64::MAX);
    let commit = Mutex::new(());
    thread::scope(|s| {
        for _ in 0..4 {
            s.spawn(|| {
                for _ in 0..300 {
                    let lsn = {
                        let _lock = commit.lock();
                        wal.append(1, &[7; 150]).unwrap() // two to a segment
                    };
                    wal.wait_durable(lsn).unwrap();
                }
            });
        }
    });
    assert_eq!(gate.most.load(Ordering::SeqCst), 1);
    assert!(wal.segments().len() > 500);
}

#[test]
fn many_committers_a_reader_and_a_truncation() {
    many_committers(Options { spare_segments: 3, ..SMALL });
    many_committers(Options { sync: SyncMode::Sync, ..SMALL });
}

fn many_committers(opts: Options) {
    const EACH: u64 = 200;
    let disk = SimDisk::new(1);
    let (wal, _) = open_from(&disk, opts, 1, 0).unwrap();
    let commit = Mutex::new(());
    let mut seen = Vec::new();
    thread::scope(|s| {
        for t in 0..4u8 {
            let (wal, commit) = (&wal, &commit);
            s.spawn(move || {
                for i in 0..EACH {
                    let lsn = {
                        let _lock = commit.lock();
                        wal.append(i, &[t; 40]).unwrap()
                    };
                    wal.wait_durable(lsn).unwrap();
                    assert!(wal.durable_lsn() >= lsn);
                }
            });
        }
        let mut cursor = wal.cursor(1).unwrap();
        while (seen.len() as u64) < 4 * EACH {
            match cursor.next().unwrap() {
                Some(frame) => {
                    seen.push(Kept::from(frame));
                    if seen.len().is_multiple_of(64) {
                        wal.truncate_below(seen.len() as Lsn).unwrap();
                    }
                }
                None => thread::yield_now(),
            }
        }
    });
    let dense: Vec<Lsn> = (1..=4 * EACH).collect();
    assert_eq!(lsns(&seen), dense);
    assert!(seen.iter().all(|f| f.payload == [f.payload[0]; 40]));
    assert!(wal.segments()[0].first_lsn > 600, "the log was truncated meanwhile");
    let from = wal.segments()[0].first_lsn;
    let (_, found) = open_from(&disk.restart_worst(), SMALL, from, 4 * EACH).unwrap();
    assert_eq!(lsns(&found), dense[from as usize - 1..]);
}

#[test]
fn when_a_sync_fails_nobody_is_told_of_a_frame_that_is_lost() {
    for seed in 0..20 {
        let disk = SimDisk::new(seed);
        let sync = if seed % 2 == 0 { SyncMode::Async } else { SyncMode::Sync };
        let (wal, _) = open_from(&disk, Options { sync, ..SMALL }, 1, 0).unwrap();
        let commit = Mutex::new(());
        let acknowledged = AtomicU64::new(0);
        thread::scope(|s| {
            for _ in 0..4 {
                s.spawn(|| {
                    for _ in 0..50 {
                        let Ok(lsn) = ({
                            let _lock = commit.lock();
                            wal.append(1, &[7; 40])
                        }) else {
                            return;
                        };
                        if wal.wait_durable(lsn).is_err() {
                            return;
                        }
                        let most = acknowledged.fetch_max(lsn, Ordering::SeqCst).max(lsn);
                        if most == 60 + seed {
                            disk.fail_sync("wal/");
                        }
                    }
                });
            }
        });
        let acknowledged = acknowledged.load(Ordering::SeqCst);
        assert_eq!(wal.durable_lsn(), acknowledged.max(wal.durable_lsn()));
        let (_, found) = open(&disk.restart_worst());
        assert!(found.len() as u64 >= acknowledged, "seed {seed}");
    }
}

#[test]
fn what_was_told_as_failed_does_not_become_durable_by_a_sync_beside() {
    // given: a flush in its turn, and a sync beside it that fails
    let turn = crate::turn::Turn::new(3);
    let held = turn.take().unwrap();
    turn.poison(true, "the directory".to_owned());
    // when: the flush succeeds, then: what waited was refused, and stays so.
    held.publish(Ok(5));
    drop(held);
    assert_eq!(turn.durable(), 3);
    assert!(turn.wait(4, || Ok(5)).is_err());
    // (A failed write alone takes nothing back: what was appended before counts.)
    let turn = crate::turn::Turn::new(3);
    let held = turn.take().unwrap();
    turn.poison(false, "a write".to_owned());
    held.publish(Ok(5));
    assert_eq!(turn.durable(), 5);
}

#[test]
fn watchers_are_called_with_no_lock_of_the_log_held() {
    // given: a log in sync mode, and a watcher who looks whether one can append
    let disk = SimDisk::new(1);
    let opts = Options { sync: SyncMode::Sync, ..SMALL };
    let wal = Arc::new(open_from(&disk, opts, 1, 0).unwrap().0);
    let calls = Arc::new(AtomicU64::new(0));
    let (seen, looked) = (Arc::clone(&calls), Arc::downgrade(&wal));
    let watch = wal.on_durable(move |_| {
        if let Some(wal) = looked.upgrade() {
            assert!(!wal.inner.is_appending());
        }
        seen.fetch_add(1, Ordering::SeqCst);
    });
    // when: rotations flush, asked for and by themselves, then: he is called, and can.
    for _ in 0..12 {
        wal.append(1, &[7; 56]).unwrap();
    }
    let by_themselves = calls.load(Ordering::SeqCst);
    assert!(by_themselves >= 3, "{by_themselves}");
    assert!(wal.rotate_now().unwrap());
    assert_eq!(calls.load(Ordering::SeqCst), by_themselves + 1);
    drop(watch);
}
