//! What backups cost against a plain copy of the files, on the real disk: prints
//! ratios. `cargo bench -p lsm --bench backup [-- KEYS]`

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    missing_docs,
    reason = "a measuring program: it reads the clock, starts a thread, and may stop"
)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Instant;

use lsm::{BackupOptions, Batch, KeyspaceId, Lsm, Options, Restore, Until};
use platform::real::{RealClock, RealDisk};
use platform::{Disk, Open};

const KS: KeyspaceId = KeyspaceId(1);

struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        self.0 >> 24
    }
}

fn put(lsm: &Lsm, keys: impl Iterator<Item = u64>, rng: &mut Rng) {
    let mut batch = Batch::new();
    for key in keys {
        let mut value = [0; 400];
        value.chunks_exact_mut(8).for_each(|c| c.copy_from_slice(&rng.next().to_le_bytes()));
        batch.put(KS, &key.to_be_bytes(), &value);
        if batch.len() == 100 {
            lsm.commit(&batch).unwrap();
            batch.clear();
        }
    }
    lsm.commit(&batch).unwrap();
}

/// Copies the files of the store as they are, synced.
fn plain_copy(from: &dyn Disk, to: &dyn Disk) -> u64 {
    let mut all = 0;
    for dir in ["", "vlog"] {
        to.create_dir(if dir.is_empty() { "x" } else { dir }).unwrap();
        for name in from.list(dir).unwrap() {
            let path = if dir.is_empty() { name } else { format!("{dir}/{name}") };
            let (a, b) = (from.open(&path, Open::Read), to.open(&path, Open::Create));
            let (a, b) = (a.unwrap(), b.unwrap());
            let (mut buf, mut at) = (vec![0; 1 << 20], 0);
            loop {
                let got = a.read_at(&mut buf, at).unwrap();
                if got == 0 {
                    break;
                }
                b.write_at(&buf[..got], at).unwrap();
                at += got as u64;
            }
            b.sync().unwrap();
            all += at;
        }
        to.sync_dir(dir).unwrap();
    }
    all
}

/// The 99.9th percentile and the median of small commits while `work` runs, in microseconds.
fn latency(lsm: &Lsm, keys: u64, work: impl FnOnce()) -> (f64, f64) {
    let stop = AtomicBool::new(false);
    let mut times = std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let (mut rng, mut times) = (Rng(5), Vec::new());
            while !stop.load(Relaxed) {
                let mut batch = Batch::new();
                batch.put(KS, &(rng.next() % keys).to_be_bytes(), &[7; 400]);
                let begun = Instant::now();
                lsm.commit(&batch).unwrap();
                times.push(begun.elapsed().as_secs_f64() * 1e6);
            }
            times
        });
        work();
        stop.store(true, Relaxed);
        writer.join().unwrap()
    });
    times.sort_by(f64::total_cmp);
    (times[times.len() / 2], times[times.len() * 999 / 1000])
}

fn main() {
    let keys: u64 = std::env::args().skip(1).find_map(|arg| arg.parse().ok()).unwrap_or(200_000);
    let dir = tempfile::tempdir_in(".").unwrap();
    let disk = |name: &str| -> Arc<dyn Disk> {
        std::fs::create_dir_all(dir.path().join(name)).unwrap();
        Arc::new(RealDisk::new(dir.path().join(name)).unwrap())
    };
    let options = Options { vlog_segment_bytes: 32 << 20, ..Options::default() };
    let data = disk("data");
    let clock = Arc::new(RealClock::new());
    let lsm = Lsm::open(Arc::clone(&data), Arc::clone(&clock) as _, options.clone()).unwrap();
    let mut rng = Rng(1);
    put(&lsm, 0..keys, &mut rng);
    lsm.flush().unwrap();

    let timed = |work: &mut dyn FnMut() -> u64| {
        let begun = Instant::now();
        let bytes = work();
        (begun.elapsed().as_secs_f64(), bytes)
    };
    let backups = disk("backups");
    let backup = |full| {
        let backup = lsm.backup(&backups, "b", BackupOptions { full }).unwrap();
        backup.run(&mut |_| {}).unwrap().copied
    };
    let mut plain = f64::MAX;
    let mut full = f64::MAX;
    let mut bytes = 0;
    for round in 0..3 {
        let to = disk(&format!("plain{round}"));
        plain = plain.min(timed(&mut || plain_copy(&*data, &*to)).0);
        let (time, copied) = timed(&mut || backup(true));
        full = full.min(time);
        bytes = copied;
    }
    println!("full backup of {bytes} bytes: {:.2} of the time of a plain copy", full / plain);
    let (idle, copied) = timed(&mut || backup(false));
    println!("nothing changed: {:.4} of the time, {copied} bytes", idle / full);
    for percent in [1, 10] {
        let changed = (0..keys * percent / 100).map(|_| rng.next() % keys).collect::<Vec<_>>();
        put(&lsm, changed.into_iter(), &mut Rng(percent));
        lsm.flush().unwrap();
        let (time, copied) = timed(&mut || backup(false));
        let share = copied as f64 / bytes as f64;
        println!(
            "{percent}% of the keys changed: {share:.3} of the bytes, {:.3} of the time",
            time / full
        );
    }
    let (calm, calm_tail) = latency(&lsm, keys, || {
        std::thread::sleep(std::time::Duration::from_secs_f64(full.max(1.0)));
    });
    let (busy, busy_tail) = latency(&lsm, keys, || {
        backup(true);
    });
    println!(
        "a commit while a backup runs: {:.2} of the median without, {:.2} of the 99.9th percentile",
        busy / calm,
        busy_tail / calm_tail
    );
    let what = Restore {
        disk: Arc::clone(&backups),
        dir: "b".into(),
        number: Some(1),
        archive: None,
        until: Until::Latest,
    };
    let (time, _) = timed(&mut || {
        lsm::restore(&what, &disk("restored"), &*clock, &options, &mut |_, _| {}).unwrap().bytes
    });
    println!("restore, with all of it verified: {:.2} of the time of a plain copy", time / plain);
    drop(lsm);
    let (time, _) = timed(&mut || {
        let report = lsm::verify(&data, &mut |_, _| {}).unwrap();
        assert!(report.is_clean(), "{report}");
        0
    });
    println!("verify: {:.2} of the time of a plain copy", time / plain);
}
