//! What this crate's reads cost beside what they could cost: many keys at once
//! against one by one; what a cursor pays so that it can be taken away; a commit with
//! and without requirements. `cargo bench -p lsm --bench reads`; figures:
//! `docs/decisions/0015-leases-and-pace.md`.

#![allow(clippy::unwrap_used, missing_docs)]

use std::hint::black_box;
use std::ops::Bound;
use std::sync::Arc;

use criterion::{Criterion, criterion_group, criterion_main};
use lsm::{Batch, Direction, Expect, KeyspaceId, Lsm, Options};
use parking_lot::Mutex;
use platform::real::{RealClock, RealDisk};

const KS: KeyspaceId = KeyspaceId(1);
const KEYS: u64 = 200_000;

fn key(n: u64) -> [u8; 16] {
    let mut x = n.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x ^= x >> 27;
    let mut key = [0; 16];
    key[..8].copy_from_slice(&x.to_be_bytes());
    key[8..].copy_from_slice(&n.to_be_bytes());
    key
}

fn reads(c: &mut Criterion) {
    for (place, flush) in [("memory", false), ("tree, inline", true), ("tree, value log", true)] {
        let dir = tempfile::tempdir().unwrap();
        let disk = Arc::new(RealDisk::new(dir.path()).unwrap());
        let options = Options { memtable_bytes: 1 << 30, ..Options::default() };
        let lsm = Lsm::open(disk, Arc::new(RealClock::new()), options).unwrap();
        let len = if place == "tree, inline" { 40 } else { 400 };
        let mut keys: Vec<_> = (0..KEYS).map(key).collect();
        for keys in keys.chunks(100) {
            let mut batch = Batch::new();
            keys.iter().for_each(|key| batch.put(KS, key, &[7; 400][..len]));
            lsm.commit(&batch).unwrap();
        }
        if flush {
            lsm.flush().unwrap();
        }
        keys.sort();
        let snapshot = lsm.snapshot().unwrap();
        let mut group = c.benchmark_group(place);
        // Apart: each in a leaf of its own; near: a run of neighbours, shuffled.
        for (how, step) in [("apart", 1999), ("near", 1)] {
            let mut start = 0;
            let mut next = || {
                start = (start + 7919) % 1000;
                let at = |i: usize| keys[(start + (i * 37 % 100) * step) % keys.len()];
                (0..100).map(at).collect::<Vec<_>>()
            };
            group.bench_function(format!("100 keys {how}, one by one"), |b| {
                b.iter(|| {
                    let wanted = next();
                    let one = |key: &[u8; 16]| snapshot.get(KS, key).unwrap().unwrap().len();
                    wanted.iter().map(one).sum::<usize>()
                });
            });
            group.bench_function(format!("100 keys {how}, at once"), |b| {
                b.iter(|| snapshot.multi_get(KS, &next()).unwrap().len());
            });
        }
        let mut start = 0;
        group.bench_function("scan of 100", |b| {
            b.iter(|| {
                start = (start + 7919) % (keys.len() - 100);
                let lo = Bound::Included(&keys[start][..]);
                let all = Bound::Unbounded;
                let mut cursor = snapshot.range(KS, lo, all, Direction::Forward).unwrap();
                let mut bytes = 0;
                for _ in 0..100 {
                    let (key, value) = cursor.next().unwrap().unwrap();
                    bytes += key.len() + value.len();
                }
                bytes
            });
        });
        let (cell, mut out) = (Mutex::new(Some([7u8; 416])), Vec::with_capacity(416));
        group.bench_function("of which 100 locks and copies", |b| {
            b.iter(|| {
                for _ in 0..100 {
                    let cell = black_box(&cell).lock();
                    out.clear();
                    out.extend_from_slice(&cell.as_ref().unwrap()[..16 + len]);
                    black_box(&out);
                }
            });
        });
        group.bench_function("a snapshot and one get", |b| {
            b.iter(|| {
                start = (start + 7919) % keys.len();
                lsm.snapshot().unwrap().get(KS, &keys[start]).unwrap().unwrap().len()
            });
        });
        group.bench_function("one get of a snapshot held", |b| {
            b.iter(|| {
                start = (start + 7919) % keys.len();
                snapshot.get(KS, &keys[start]).unwrap().unwrap().len()
            });
        });
        group.bench_function("commit of 40 B", |b| {
            let mut batch = Batch::new();
            b.iter(|| {
                start = (start + 7919) % keys.len();
                batch.clear();
                batch.put(KeyspaceId(2), &keys[start], &[7; 40]);
                lsm.commit(&batch).unwrap()
            });
        });
        group.bench_function("commit of 40 B, one key required", |b| {
            let mut batch = Batch::new();
            b.iter(|| {
                start = (start + 7919) % keys.len();
                batch.clear();
                batch.put(KeyspaceId(2), &keys[start], &[7; 40]);
                batch.require(KS, &keys[start], Expect::Present);
                lsm.commit(&batch).unwrap()
            });
        });
        group.finish();
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(20)
        .warm_up_time(std::time::Duration::from_millis(300))
        .measurement_time(std::time::Duration::from_millis(1500));
    targets = reads
}
criterion_main!(benches);
