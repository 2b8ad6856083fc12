//! A tree of a million 16-byte keys: lookups, scans, and a sorted batch.
//!
//! On the simulated disk (memory), so that the code is measured and not the
//! machine's disk.
#![allow(clippy::unwrap_used, missing_docs, reason = "a bench")]

use std::hint::black_box;
use std::ops::Bound;

use btree::{Direction, Op, Options, PageFile};
use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use platform::sim::SimDisk;

const KEYS: u64 = 1_000_000;
const BATCH: u64 = 50_000;

/// The same pseudo-random key for a number every time.
fn key(n: u64) -> [u8; 16] {
    let mix = |n: u64| {
        let z = (n ^ (n >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    };
    let n = n.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    (u128::from(mix(n)) << 64 | u128::from(n)).to_be_bytes()
}

fn sorted(numbers: impl Iterator<Item = u64>) -> Vec<[u8; 16]> {
    let mut keys: Vec<_> = numbers.map(key).collect();
    keys.sort_unstable();
    keys
}

fn load(cache_bytes: usize) -> PageFile {
    let disk = SimDisk::new(1);
    let options = Options { cache_bytes, ..Options::default() };
    let file = PageFile::open(disk, "bench.pages", options).unwrap();
    let mut write = file.begin();
    let ops = sorted(0..KEYS).into_iter().map(|k| (k, Op::Put([7; 16])));
    write.apply(1, ops, &mut |_, _| {}).unwrap();
    write.commit().unwrap();
    file
}

fn benches(c: &mut Criterion) {
    let file = load(256 << 20);
    let report = file.verify();
    eprintln!(
        "{} keys in {} pages, {} bytes a key, {} % full",
        report.entries,
        report.tree_pages,
        report.tree_pages * 4096 / report.entries,
        report.used_bytes * 100 / (report.tree_pages * 4064)
    );
    let view = file.view();
    let mut n = 0u64;
    c.bench_function("get of 1 M, cached", |b| {
        b.iter(|| {
            n = n.wrapping_add(0x9E37_79B9_7F4A_7C15);
            black_box(view.get(1, &key(n % KEYS)).unwrap().unwrap())
        });
    });
    c.bench_function("get of an absent key", |b| {
        b.iter(|| {
            n = n.wrapping_add(0x9E37_79B9_7F4A_7C15);
            black_box(view.get(1, &key(KEYS + n % KEYS)).unwrap())
        });
    });
    c.bench_function("scan of 100", |b| {
        b.iter(|| {
            n = n.wrapping_add(0x9E37_79B9_7F4A_7C15);
            let from = key(n % KEYS);
            let mut cursor =
                view.range(1, Bound::Included(&from), Bound::Unbounded, Direction::Forward);
            for _ in 0..100 {
                black_box(cursor.next().unwrap());
            }
        });
    });
    drop(view);
    let cold = load(8 << 20);
    let view = cold.view();
    c.bench_function("get of 1 M, a fifth cached", |b| {
        b.iter(|| {
            n = n.wrapping_add(0x9E37_79B9_7F4A_7C15);
            black_box(view.get(1, &key(n % KEYS)).unwrap().unwrap())
        });
    });
    drop(view);
    drop(cold);
    let mut group = c.benchmark_group("sorted batch");
    group.sample_size(10);
    let mut round = 0u64;
    group.bench_function("50 k random keys over 1 M, commit", |b| {
        b.iter_batched(
            || {
                round += 1;
                (round as u8, sorted((0..BATCH).map(|i| (i * 37 + round * 7919) % KEYS)))
            },
            |(round, keys)| {
                let mut write = file.begin();
                let ops = keys.into_iter().map(|k| (k, Op::Put([round; 16])));
                write.apply(1, ops, &mut |_, _| {}).unwrap();
                write.commit().unwrap()
            },
            BatchSize::PerIteration,
        );
    });
    group.finish();
}

criterion_group!(tree, benches);
criterion_main!(tree);
