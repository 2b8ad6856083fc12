//! How long a read of one record takes: values of 400 bytes, warm in the page
//! cache, random places, verified; and an append of the same.
//! Run: `cargo bench -p vlog`. Set TMPDIR to choose the disk.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use platform::real::RealDisk;
use std::hint::black_box;
use std::sync::Arc;
use vlog::{Options, Pointer, Tail, Vlog};

const RECORDS: u64 = 100_000;

fn open() -> (tempfile::TempDir, Vlog) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let disk = Arc::new(RealDisk::new(dir.path().to_path_buf()).expect("its disk"));
    let log = Vlog::open(disk, "vlog", Options::default(), Tail::EMPTY).expect("a new log");
    (dir, log)
}

fn read(c: &mut Criterion) {
    let (_dir, log) = open();
    let places: Vec<Pointer> = (0..RECORDS)
        .map(|i| log.append(1, &u128::from(i).to_be_bytes(), i, &[7; 400]).expect("append"))
        .collect();
    log.sync().expect("sync");
    let mut group = c.benchmark_group("read");
    group.throughput(Throughput::Bytes(400));
    let mut i = 0;
    let mut next = || {
        i = (i + 48_271) % places.len();
        places[i]
    };
    let mut buf = Vec::new();
    group.bench_function("400 B record, reused buffer", |b| {
        b.iter(|| log.read_into(black_box(next()), &mut buf).map(|r| r.value.len()));
    });
    group.bench_function("400 B record, own buffer", |b| {
        b.iter(|| log.read(black_box(next())).map(|r| r.into_value()));
    });
    group.finish();
}

fn append(c: &mut Criterion) {
    let (_dir, log) = open();
    let mut group = c.benchmark_group("append");
    group.throughput(Throughput::Bytes(400));
    let mut lsn = 0u64;
    group.bench_function("400 B record", |b| {
        b.iter(|| {
            lsn += 1;
            let at = log.append(1, black_box(&u128::from(lsn).to_be_bytes()), lsn, &[7; 400]);
            // Keeps the bench from filling the disk.
            if lsn.is_multiple_of(1 << 20) {
                let tail = log.sync().expect("sync");
                for segment in log.segments().iter().filter(|s| s.id < tail.segment) {
                    log.remove(segment.id).expect("remove");
                }
            }
            at.expect("append")
        });
    });
    group.finish();
}

criterion_group!(benches, read, append);
criterion_main!(benches);
