//! The memtable against `BTreeMap`: inserts, gets, walks, alternating in one run.
//!
//! `cargo bench -p lsm --bench memtable`. Only ratios within a run mean
//! anything; figures: `lsm/README.md`, `docs/decisions/0010-memtable.md`.

#![allow(clippy::unwrap_used, missing_docs)]

use std::collections::BTreeMap;
use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use lsm::bench::Table;

/// Key n.
type Key = fn(u64) -> [u8; 16];
/// As the memtable orders: key ascending, LSN descending.
type Map = BTreeMap<([u8; 16], u64), [u8; 8]>;

fn random(n: u64) -> [u8; 16] {
    let mut x = n.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    let mut key = [0; 16];
    key[..8].copy_from_slice(&(x ^ (x >> 31)).to_be_bytes());
    key[8..].copy_from_slice(&n.to_be_bytes());
    key
}

/// A counter: its first eight bytes tell nothing.
fn counted(n: u64) -> [u8; 16] {
    u128::from(n).to_be_bytes()
}

/// A counter behind a prefix as long as a key's head.
fn prefixed(n: u64) -> [u8; 16] {
    let mut key = *b"flight:x\0\0\0\0\0\0\0\0";
    key[8..].copy_from_slice(&n.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_be_bytes());
    key
}

fn table(keys: u64, key: Key) -> Table {
    let table = Table::new();
    for n in 0..keys {
        table.insert(&key(n), n + 1, &[0; 8]);
    }
    table
}

fn map(keys: u64, key: Key) -> Map {
    let mut map = BTreeMap::new();
    for n in 0..keys {
        map.insert((key(n), u64::MAX - n), [0u8; 8]);
    }
    map
}

fn memtable(c: &mut Criterion) {
    let mut group = c.benchmark_group("memtable");
    group.sample_size(10);
    let kinds: [(&str, Key); 3] =
        [("random", random), ("counted", counted), ("prefixed", prefixed)];
    for (kind, key) in kinds {
        for keys in [20_000, 150_000, 1_000_000] {
            if kind != "random" && keys != 150_000 {
                continue;
            }
            let name = |what: &str, of: &str| format!("{what} {kind} {keys}, {of}");
            group.throughput(Throughput::Elements(keys));
            group.bench_function(name("insert", "memtable"), |b| {
                b.iter_batched(|| (), |()| table(keys, key), BatchSize::PerIteration);
            });
            group.bench_function(name("insert", "BTreeMap"), |b| {
                b.iter_batched(|| (), |()| map(keys, key), BatchSize::PerIteration);
            });
            let (table, map) = (table(keys, key), map(keys, key));
            group.throughput(Throughput::Elements(1));
            let mut n = 0;
            let mut next = || {
                n = (n + 7_919) % keys;
                key(n)
            };
            group.bench_function(name("get", "memtable"), |b| {
                b.iter(|| table.get(black_box(&next()), u64::MAX));
            });
            group.bench_function(name("get", "BTreeMap"), |b| {
                b.iter(|| map.range(black_box((next(), 0))..).next().map(|(_, v)| v.len()));
            });
            group.bench_function(name("walk of 100 from a", "memtable"), |b| {
                b.iter(|| table.walk(&next(), 100));
            });
            group.bench_function(name("walk of 100 from a", "BTreeMap"), |b| {
                b.iter(|| {
                    let from = map.range((next(), 0)..).take(100);
                    from.map(|((key, _), value)| key.len() + value.len()).sum::<usize>()
                });
            });
        }
    }
    group.finish();
}

criterion_group!(benches, memtable);
criterion_main!(benches);
