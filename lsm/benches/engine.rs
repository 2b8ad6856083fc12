//! The engine's hot paths.
//!
//! `cargo bench -p lsm`. Figures and what they mean: `lsm/README.md`.

#![allow(clippy::unwrap_used, missing_docs)]

use std::ops::Bound;
use std::sync::Arc;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use lsm::{Batch, Direction, KeyspaceId, Lsm, Options};
use platform::real::{RealClock, RealDisk};

const KS: KeyspaceId = KeyspaceId(1);
const KEYS: u64 = 200_000;

fn key(n: u64) -> [u8; 16] {
    let mut x = n.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    let mut key = [0; 16];
    key[..8].copy_from_slice(&(x ^ (x >> 31)).to_be_bytes());
    key[8..].copy_from_slice(&n.to_be_bytes());
    key
}

struct Store {
    lsm: Lsm,
    _dir: tempfile::TempDir,
}

fn store(keys: u64, flush: bool, memtable_bytes: usize) -> Store {
    let dir = tempfile::tempdir().unwrap();
    let disk = Arc::new(RealDisk::new(dir.path()).unwrap());
    let options = Options { memtable_bytes, ..Options::default() };
    let lsm = Lsm::open(disk, Arc::new(RealClock::new()), options).unwrap();
    let mut batch = Batch::new();
    for n in 0..keys {
        batch.put(KS, &key(n), &[n as u8; 400]);
        if batch.len() == 100 || n + 1 == keys {
            lsm.commit(&batch).unwrap();
            batch.clear();
        }
    }
    if flush {
        lsm.flush().unwrap();
    }
    Store { lsm, _dir: dir }
}

fn engine(c: &mut Criterion) {
    let mut group = c.benchmark_group("engine");
    group.throughput(Throughput::Elements(1));
    let mut n = 0;
    let fresh = store(0, false, 16 << 20);
    group.bench_function("put 400 B, async, one by one, flushes included", |b| {
        let mut batch = Batch::new();
        b.iter(|| {
            batch.clear();
            batch.put(KS, &key(n), &[n as u8; 400]);
            n += 1;
            fresh.lsm.commit(&batch).unwrap()
        });
    });
    drop(fresh);
    for (place, flush, bytes) in [("memory", false, 1 << 30), ("tree", true, 16 << 20)] {
        let store = store(KEYS, flush, bytes);
        let mut n = 0;
        let mut next = || {
            n = (n + 7919) % KEYS;
            key(n)
        };
        group.bench_function(format!("get, {place}"), |b| {
            b.iter(|| store.lsm.snapshot().unwrap().get(KS, &next()).unwrap().unwrap().len());
        });
        let absent = |mut key: [u8; 16]| {
            key[15] ^= 0x80;
            key[8] = 1;
            key
        };
        group.bench_function(format!("get absent, {place}"), |b| {
            b.iter(|| store.lsm.snapshot().unwrap().get(KS, &absent(next())).unwrap().is_none());
        });
        group.bench_function(format!("scan of 100, {place}"), |b| {
            b.iter(|| {
                let snapshot = store.lsm.snapshot().unwrap();
                let lo = next();
                let lo = Bound::Included(&lo[..]);
                let mut cursor =
                    snapshot.range(KS, lo, Bound::Unbounded, Direction::Forward).unwrap();
                let mut bytes = 0;
                for _ in 0..100 {
                    let Some((key, value)) = cursor.next().unwrap() else { break };
                    bytes += key.len() + value.len();
                }
                bytes
            });
        });
    }
    group.finish();
}

criterion_group!(benches, engine);
criterion_main!(benches);
