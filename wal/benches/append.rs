//! What a commit costs in the log, on the real disk (set TMPDIR to choose it):
//!
//! * async: a frame of 432 bytes (64 of header, 368 of payload) by the mapping,
//!   by `pwrite` into the same prepared file, and the bare writes beside them;
//! * sync: a frame made durable, from 1 and from 8 threads, by direct
//!   write-through and by write and fdatasync into the same prepared file.
//!
//! Run: `cargo bench -p wal`. The ratios are in docs/decisions/0011.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use platform::real::{RealClock, RealDisk};
use platform::{Clock, Disk, File, Lock, Open};
use std::hint::black_box;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;
use wal::{Options, SyncMode, Wal};

const PAYLOAD: [u8; 368] = [7; 368];

/// A real disk without what this bench is about: no mapping, no direct writes.
struct Plain(Arc<dyn Disk>);
struct PlainFile(Arc<dyn File>);

impl File for PlainFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.0.read_at(buf, offset)
    }
    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        self.0.write_at(buf, offset)
    }
    fn sync(&self) -> io::Result<()> {
        self.0.sync()
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }
}

impl Disk for Plain {
    fn open(&self, path: &str, how: Open) -> io::Result<Arc<dyn File>> {
        Ok(Arc::new(PlainFile(self.0.open(path, how)?)))
    }
    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.0.rename(from, to)
    }
    fn remove(&self, path: &str) -> io::Result<()> {
        self.0.remove(path)
    }
    fn list(&self, dir: &str) -> io::Result<Vec<String>> {
        self.0.list(dir)
    }
    fn create_dir(&self, dir: &str) -> io::Result<()> {
        self.0.create_dir(dir)
    }
    fn sync_dir(&self, dir: &str) -> io::Result<()> {
        self.0.sync_dir(dir)
    }
    fn lock(&self, path: &str) -> io::Result<Box<dyn Lock>> {
        self.0.lock(path)
    }
}

fn log(disk: Arc<dyn Disk>, dir: &str, sync: SyncMode) -> Wal {
    let opts = Options { sync, ..Options::default() };
    Wal::open(disk, dir, opts, 1, 0, &mut |_| Ok(())).expect("a new log")
}

/// Appends, truncating as a store would, so that segments are used again.
fn one(wal: &Wal) -> u64 {
    let lsn = wal.append(black_box(1), black_box(&PAYLOAD)).expect("append");
    if lsn.is_multiple_of(65_536) {
        wal.truncate_below(lsn).expect("truncate");
    }
    lsn
}

fn append(c: &mut Criterion) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let disk: Arc<dyn Disk> = Arc::new(RealDisk::new(dir.path()).expect("its disk"));
    let mut group = c.benchmark_group("async");
    group.throughput(Throughput::Bytes(432));
    let mapped = log(disk.clone(), "mapped", SyncMode::Async);
    group.bench_function("append, mapped", |b| b.iter(|| one(&mapped)));
    let plain = log(Arc::new(Plain(disk.clone())), "plain", SyncMode::Async);
    group.bench_function("append, pwrite", |b| b.iter(|| one(&plain)));
    for (name, bytes) in [("mapped write, bare", 16 << 20), ("pwrite, bare", 0)] {
        let file = disk.open(&format!("f{bytes}"), Open::CreateNew).expect("a file");
        file.write_at(&vec![0; 16 << 20], 0).expect("zeros");
        file.allocate(bytes).expect("zeros");
        let mut at = 0;
        group.bench_function(name, |b| {
            b.iter(|| {
                file.write_at(black_box(&[7; 432]), at).expect("write");
                at = (at + 432) % ((16 << 20) - 432);
            });
        });
    }
    group.bench_function("crc64 of 368 B", |b| {
        b.iter(|| {
            let algorithm = crc_fast::CrcAlgorithm::Crc64Nvme;
            crc_fast::checksum(algorithm, black_box(&PAYLOAD))
        });
    });
    group.finish();
}

/// `n` durable commits from `threads` threads, each waiting for its own.
fn commits(wal: &Wal, threads: u64, n: u64) -> Duration {
    let (commit, left) = (Mutex::new(()), AtomicU64::new(n));
    let clock = RealClock::new();
    thread::scope(|s| {
        for _ in 0..threads {
            s.spawn(|| {
                while left
                    .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1))
                    .is_ok()
                {
                    let lsn = {
                        let _lock = commit.lock().expect("the commit lock");
                        one(wal)
                    };
                    wal.wait_durable(lsn).expect("durable");
                }
            });
        }
    });
    Duration::from_nanos(clock.monotonic_nanos())
}

fn durable(c: &mut Criterion) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let disk: Arc<dyn Disk> = Arc::new(RealDisk::new(dir.path()).expect("its disk"));
    let direct = log(disk.clone(), "direct", SyncMode::Sync);
    let plain = log(Arc::new(Plain(disk.clone())), "plain", SyncMode::Sync);
    let datasync = log(disk, "async", SyncMode::Async);
    let mut group = c.benchmark_group("sync");
    for threads in [1, 8] {
        for (name, wal) in [
            ("direct write-through", &direct),
            ("write, fdatasync", &plain),
            ("mapped, fdatasync", &datasync),
        ] {
            group.bench_function(format!("{name}, {threads} threads"), |b| {
                b.iter_custom(|n| commits(wal, threads, n));
            });
        }
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2));
    targets = append, durable
}
criterion_main!(benches);
