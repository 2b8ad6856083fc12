//! Ours, with the two threads that the `planck` process has beside it.

use super::{BUFFER_BYTES, CACHE_BYTES, Mode, Store};
use crate::work::Key;
use lsm::{Batch, Direction, KeyspaceId, Lsm, Options, Snapshot, Step, SyncMode};
use platform::real::{RealClock, RealDisk};
use std::ops::Bound;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// A `planck` process rests after 10 s without a write; here, where nothing is written
/// only when a store is to settle, after less, so that a run ends.
const REST_AFTER: Duration = Duration::from_millis(300);

const KS: KeyspaceId = KeyspaceId(1);

struct Planck {
    lsm: Arc<Lsm>,
    stop: Arc<AtomicBool>,
    /// The stepper has found nothing to do.
    idle: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

pub fn open(path: &Path, mode: Mode) -> Box<dyn Store> {
    let sync = if mode == Mode::Durable { SyncMode::Sync } else { SyncMode::Async };
    let options = Options {
        sync,
        memtable_bytes: BUFFER_BYTES,
        cache_bytes: CACHE_BYTES,
        vlog_segment_bytes: 64 << 20,
        rest_after: REST_AFTER,
        ..Options::default()
    };
    let disk = Arc::new(RealDisk::new(path).expect("planck: the directory"));
    let lsm = Lsm::open(disk, Arc::new(RealClock::new()), options).expect("planck: open");
    let lsm = Arc::new(lsm);
    let (stop, idle) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let mut threads = Vec::new();
    let every = {
        let (lsm, stop, idle) = (lsm.clone(), stop.clone(), idle.clone());
        let stepper = lsm.stepper();
        move || {
            while !stop.load(Ordering::Relaxed) {
                let step = lsm.step().expect("planck: step");
                idle.store(step == Step::Idle, Ordering::Release);
                if step == Step::Idle {
                    stepper.rest(Duration::from_millis(5));
                }
            }
        }
    };
    threads.push(std::thread::spawn(every));
    if mode == Mode::Fast {
        let (lsm, stop) = (lsm.clone(), stop.clone());
        threads.push(std::thread::spawn(move || {
            let mut last = Instant::now();
            while !stop.load(Ordering::Relaxed) {
                std::thread::sleep(Duration::from_millis(20));
                if last.elapsed() >= Duration::from_secs(1) {
                    lsm.sync().expect("planck: sync");
                    last = Instant::now();
                }
            }
        }));
    }
    Box::new(Planck { lsm, stop, idle, threads })
}

impl Drop for Planck {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            thread.join().expect("planck: a background thread");
        }
        self.lsm.sync().expect("planck: sync");
    }
}

impl Planck {
    fn snapshot(&self) -> Snapshot {
        self.lsm.snapshot().expect("planck: snapshot")
    }
}

impl Store for Planck {
    fn put(&self, key: &Key, value: &[u8]) {
        let mut batch = Batch::new();
        batch.put(KS, key, value);
        self.lsm.commit(&batch).expect("planck: put");
    }

    fn batch(&self, rows: &[(Key, &[u8])]) {
        let mut batch = Batch::new();
        rows.iter().for_each(|(key, value)| batch.put(KS, key, value));
        self.lsm.commit(&batch).expect("planck: batch");
    }

    fn get(&self, key: &Key, see: &mut dyn FnMut(&[u8])) -> bool {
        let found = self.snapshot().get(KS, key).expect("planck: get");
        found.is_some_and(|value| {
            see(&value);
            true
        })
    }

    fn scan(&self, from: &Key, count: usize, see: &mut dyn FnMut(&[u8])) -> usize {
        let (lo, hi) = (Bound::Included(&from[..]), Bound::Unbounded);
        let snapshot = self.snapshot();
        let mut cursor = snapshot.range(KS, lo, hi, Direction::Forward).expect("planck: range");
        for n in 0..count {
            match cursor.next().expect("planck: scan") {
                Some((_, value)) => see(value),
                None => return n,
            }
        }
        count
    }

    fn settle(&self) {
        // Idle once it has rested, with a flush of what was left before: nothing more follows.
        self.lsm.flush().expect("planck: flush");
        for _ in 0..2 {
            std::thread::sleep(REST_AFTER);
            self.idle.store(false, Ordering::Release);
            while !self.idle.load(Ordering::Acquire) {
                std::thread::sleep(Duration::from_millis(2));
            }
        }
    }
}
