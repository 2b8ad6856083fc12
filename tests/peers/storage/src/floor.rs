//! The machine's floor: what no engine on it can beat.

use crate::work::{Values, mix, random_key};
use shared::report::MACHINE as NAME;
use shared::rows::{Rows, Times};
use std::collections::BTreeMap;
use std::fs::File;
use std::hint::black_box;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Instant;

/// Measures it, in `dir`.
pub fn floor(dir: &Path, keys: u64, rows: &mut Rows) -> Result<(), String> {
    disk(dir, rows).map_err(|e| format!("the floor in {}: {e}", dir.display()))?;
    memory(rows);
    inserts(keys, rows);
    Ok(())
}

fn disk(dir: &Path, rows: &mut Rows) -> std::io::Result<()> {
    let block = Values::new(4096);
    let file = File::create_new(dir.join("appended"))?;
    let mut failed = Ok(());
    let mut times = Times::of(500, |n| {
        let wrote = file.write_at(block.get(n), n * 4096).and_then(|_| file.sync_data());
        failed = std::mem::replace(&mut failed, Ok(())).and(wrote);
    });
    failed?;
    rows.times("floor: append 4 KiB + fdatasync", NAME, &mut times);

    let file = File::create_new(dir.join("written"))?;
    let mut failed = Ok(());
    let mut times = Times::of(20_000, |n| {
        let wrote = file.write_at(&block.get(n)[..432], n * 432).map(drop);
        failed = std::mem::replace(&mut failed, Ok(())).and(wrote);
    });
    failed?;
    rows.times("floor: write 432 B to the kernel", NAME, &mut times);

    let bytes = vec![7; 64 << 20];
    let file = File::create_new(dir.join("long"))?;
    let start = Instant::now();
    file.write_at(&bytes, 0)?;
    file.sync_data()?;
    let mib = 64.0 / start.elapsed().as_secs_f64();
    rows.add("floor: write 64 MiB + fdatasync", NAME, "MiB/s", mib);
    Ok(())
}

fn memory(rows: &mut Rows) {
    let from = vec![7u8; 64 << 20];
    let mut to = vec![0u8; 64 << 20];
    let start = Instant::now();
    for _ in 0..4 {
        to.copy_from_slice(black_box(&from));
        black_box(&to);
    }
    let gib = 4.0 * 64.0 / 1024.0 / start.elapsed().as_secs_f64();
    rows.add("floor: memcpy of 64 MiB", NAME, "GiB/s", gib);

    let start = Instant::now();
    for part in from.chunks(432) {
        black_box(crc_fast::checksum(crc_fast::CrcAlgorithm::Crc64Nvme, part));
    }
    let gib = 64.0 / 1024.0 / start.elapsed().as_secs_f64();
    rows.add("floor: crc64 over 432 B pieces", NAME, "GiB/s", gib);

    // One load depends on the one before: a walk through 256 MiB in random order.
    let slots = 32usize << 20;
    let mut next: Vec<u64> = (0..slots as u64).collect();
    for i in (1..slots).rev() {
        next.swap(i, (mix(i as u64) % i as u64) as usize); // Sattolo: one cycle
    }
    let (mut at, steps) = (0, 1_000_000);
    let start = Instant::now();
    for _ in 0..steps {
        at = next[at as usize];
    }
    black_box(at);
    let each = start.elapsed().as_secs_f64() / f64::from(steps) * 1e9;
    rows.add("floor: dependent load from DRAM", NAME, "ns", each);
}

fn inserts(keys: u64, rows: &mut Rows) {
    let map = crossbeam_skiplist::SkipMap::new();
    let mut times = Times::of(keys, |n| {
        map.insert(random_key(n), n);
    });
    rows.times("floor: insert into crossbeam's SkipMap", NAME, &mut times);
    let mut map = BTreeMap::new();
    let mut times = Times::of(keys, |n| {
        map.insert(random_key(n), n);
    });
    rows.times("floor: insert into BTreeMap", NAME, &mut times);
}
