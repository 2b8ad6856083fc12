//! How long an append takes: a frame of 432 bytes (64 of header, 368 of
//! payload) on the real disk, without a sync, with one per frame, and (beside
//! it) the same write without the log.
//! Run: `cargo bench -p wal`. Set TMPDIR to choose the disk.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use platform::Disk;
use platform::Open;
use platform::real::RealDisk;
use std::hint::black_box;
use std::sync::Arc;
use wal::{Options, Wal};

const PAYLOAD: [u8; 368] = [7; 368];

fn append(c: &mut Criterion) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let disk: Arc<dyn Disk> = Arc::new(RealDisk::new(dir.path().to_path_buf()).expect("its disk"));
    let wal = Wal::open(disk.clone(), "wal", Options::default(), 1, 0, &mut |_| Ok(()))
        .expect("a new log");
    let mut group = c.benchmark_group("append");
    group.throughput(Throughput::Bytes(432));
    group.bench_function("432 B frame", |b| {
        b.iter(|| {
            let lsn = wal.append(black_box(1), black_box(&PAYLOAD)).expect("append");
            // Keeps the bench from filling the disk.
            if lsn.is_multiple_of(65_536) {
                wal.truncate_below(lsn).expect("truncate");
            }
        });
    });
    group.bench_function("432 B frame, durable", |b| {
        b.iter(|| {
            let lsn = wal.append(black_box(1), black_box(&PAYLOAD)).expect("append");
            wal.wait_durable(lsn).expect("sync");
        });
    });
    let file = disk.open("plain", Open::CreateNew).expect("a file");
    let mut at = 0;
    group.bench_function("432 B write, no log", |b| {
        b.iter(|| {
            file.write_at(black_box(&[7; 432]), at).expect("write");
            at = (at + 432) % (16 << 20);
        });
    });
    group.finish();
}

criterion_group!(benches, append);
criterion_main!(benches);
