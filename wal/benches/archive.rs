//! How fast the log is archived and read back, beside a plain copy of the same
//! bytes: frames of 400 bytes of documents, on the real disk, everything synced and
//! read back. And how much smaller it gets.
//! Run: `cargo bench -p wal --bench archive`. Set TMPDIR to choose the disk.

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use platform::real::RealDisk;
use platform::{Disk, Open};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use wal::archive::{Archive, Archiver, Progress, StoreId, Until};
use wal::{Options, Wal};

const BYTES: u64 = 16 << 20;

/// A document as a store of orders has them: names repeat, numbers do not.
fn document(n: u64) -> Vec<u8> {
    let mut x = n.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let mut digits = || {
        x ^= x >> 29;
        x = x.wrapping_mul(0xBF58_476D_1CE4_E5B9);
        x >> 20
    };
    let mut text = String::new();
    for field in ["_id", "customer", "amount", "created", "address", "item", "note"] {
        text += &format!("{field}:{:016x}{:016x};", digits(), digits());
    }
    text.truncate(400);
    text.into_bytes()
}

fn archive(c: &mut Criterion) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let disk: Arc<dyn Disk> = Arc::new(RealDisk::new(dir.path().to_path_buf()).expect("its disk"));
    let opts = Options { segment_bytes: BYTES, ..Options::default() };
    let wal = Wal::open(disk.clone(), "wal", opts, 1, 0, &mut |_| Ok(())).expect("a new log");
    let mut bytes = 0;
    while wal.segments().len() == 1 {
        let document = document(wal.last_lsn());
        bytes += document.len() as u64;
        wal.append(wal.last_lsn(), &document).expect("append");
    }
    wal.sync().expect("sync");
    let fresh = AtomicU64::new(0);
    let next = || format!("archive{}", fresh.fetch_add(1, Ordering::Relaxed));
    let run = |to: &str| {
        let mut archiver =
            Archiver::open(disk.clone(), to, StoreId::default(), &wal).expect("an archive");
        while archiver.step(&wal, 4 << 20).expect("a copy") != Progress::Idle {}
        let name = format!("{to}/{}", archiver.files()[0].name);
        disk.open(&name, Open::Read).and_then(|file| file.len()).expect("its length")
    };
    let packed = run("kept");
    eprintln!("{bytes} bytes of documents take {packed} in the archive");

    let mut group = c.benchmark_group("archive");
    group.sample_size(10).throughput(Throughput::Bytes(bytes));
    group.bench_function("a segment, archived and read back", |b| {
        b.iter_batched(&next, |to| run(&to), BatchSize::PerIteration);
    });
    let copy = vec![7; bytes as usize];
    group.bench_function("the same bytes, written and synced", |b| {
        b.iter_batched(
            &next,
            |to| {
                let file = disk.open(&to, Open::Create).expect("a file");
                file.write_at(&copy, 0).expect("write");
                file.sync().expect("sync");
            },
            BatchSize::PerIteration,
        );
    });
    group.bench_function("its frames, read for a restore", |b| {
        b.iter(|| {
            let archive = Archive::open(disk.clone(), "kept").expect("the archive");
            let mut frames = archive.frames(1, Until::End, None).expect("its frames");
            let mut sum = 0;
            while let Some(frame) = frames.next().expect("a frame") {
                sum += frame.payload.len();
            }
            sum
        });
    });
    group.finish();
}

criterion_group!(benches, archive);
criterion_main!(benches);
