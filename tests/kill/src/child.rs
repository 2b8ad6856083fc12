//! The process that is killed.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use lsm::{Lsm, Options, Step, SyncMode};
use platform::real::{RealClock, RealDisk};

use crate::check::ledger;
use crate::plan::{WRITERS, batch};

/// How long the steps rest when there is nothing to do.
const REST: Duration = Duration::from_millis(1);
/// The interval of the timed sync in async mode.
const SYNC: Duration = Duration::from_millis(10);

/// Small, so that all that a store does happens within a fraction of a second.
pub(crate) fn options(durable: bool) -> Options {
    Options {
        sync: if durable { SyncMode::Sync } else { SyncMode::Async },
        wal_segment_bytes: 64 << 10,
        memtable_bytes: 128 << 10,
        vlog_segment_bytes: 256 << 10,
        vlog_buffer_bytes: 16 << 10,
        cache_bytes: 256 << 10,
        ..Options::default()
    }
}

/// Opens the store in `dir` and writes until it is killed. Each acknowledgement
/// is 12 bytes on stdout: the writer (u32 LE) and the number of its commit (u64 LE).
///
/// # Errors
/// The store failed, which no test has made it do.
pub fn child(dir: &Path, durable: bool) -> Result<(), String> {
    let disk = Arc::new(RealDisk::new(dir).map_err(|e| e.to_string())?);
    let lsm = Lsm::open(disk, Arc::new(RealClock::new()), options(durable));
    let lsm = lsm.map_err(|e| e.to_string())?;
    thread::scope(|scope| {
        let lsm = &lsm;
        let mut all = Vec::new();
        for writer in 0..WRITERS {
            all.push(scope.spawn(move || write(lsm, writer)));
        }
        if !durable {
            all.push(scope.spawn(move || {
                loop {
                    thread::sleep(SYNC);
                    lsm.sync().map_err(|e| e.to_string())?;
                }
            }));
        }
        let stepper = lsm.stepper();
        all.push(scope.spawn(move || {
            loop {
                if lsm.step().map_err(|e| e.to_string())? == Step::Idle {
                    stepper.rest(REST);
                }
            }
        }));
        for one in all {
            // Whoever ends has failed: say so and end them all.
            if let Err(why) = one.join().unwrap_or_else(|_| Err("a thread panicked".into())) {
                eprintln!("kill: the child failed: {why}");
                std::process::exit(1);
            }
        }
        Ok(())
    })
}

fn write(lsm: &Lsm, writer: u32) -> Result<(), String> {
    let mut n = ledger(lsm, writer)?;
    loop {
        n += 1;
        lsm.commit(&batch(writer, n)).map_err(|e| e.to_string())?;
        let mut word = [0; 12];
        word[..4].copy_from_slice(&writer.to_le_bytes());
        word[4..].copy_from_slice(&n.to_le_bytes());
        // One write of 12 bytes: a pipe takes it whole or not at all.
        let mut out = std::io::stdout().lock();
        out.write_all(&word).and_then(|()| out.flush()).map_err(|e| e.to_string())?;
    }
}
