//! Starts, kills, opens, checks; again and again on one directory.

use std::fmt;
use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Duration;

use lsm::Lsm;
use platform::real::{RealClock, RealDisk};

use crate::check::check;
use crate::child::options;
use crate::plan::WRITERS;

/// The longest a child lives, in microseconds.
const LIFE: u64 = 100_000;

/// How long a child may take to its first acknowledgement.
const START: Duration = Duration::from_secs(60);

/// What many cycles have shown.
#[derive(Clone, Copy, Debug, Default)]
pub struct Report {
    /// Children killed.
    pub cycles: u64,
    /// Of them, those whose log was synced before each acknowledgement.
    pub durable: u64,
    /// Commits acknowledged before the kills.
    pub acknowledged: u64,
    /// Commits found afterwards.
    pub found: u64,
    /// Children killed before they acknowledged anything (in recovery, say).
    pub early: u64,
    /// Opens that replayed nothing, and those that replayed something.
    pub replayed: u64,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} kills ({} in sync mode, {} before any acknowledgement, {} left a log to replay): \
             {} commits acknowledged, {} found, none of the acknowledged missing",
            self.cycles, self.durable, self.early, self.replayed, self.acknowledged, self.found
        )
    }
}

/// Runs `cycles` kills of `program child`, on a store in `dir`, alternating
/// between the modes. The moments follow from `seed` (what the kernel makes of
/// them does not).
///
/// # Errors
/// The first thing that is not as it must be; `dir` is left as it is.
pub fn cycles(program: &Path, dir: &Path, cycles: u64, seed: u64) -> Result<Report, String> {
    let mut report = Report::default();
    let mut known = [0; WRITERS as usize];
    let mut random = seed;
    for cycle in 0..cycles {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let life = Duration::from_micros((random >> 33) % LIFE);
        let durable = cycle % 2 == 1;
        // Some die while they recover, the others while they write.
        let writing = cycle % 4 < 2;
        let acked = one(program, dir, durable, writing, life)?;
        let what = |why: String| {
            format!(
                "cycle {cycle} (seed {seed}), killed after {life:?}, sync mode {durable}: {why}"
            )
        };

        let disk = Arc::new(RealDisk::new(dir).map_err(|e| e.to_string())?);
        let lsm = Lsm::open(disk, Arc::new(RealClock::new()), options(durable));
        let lsm = lsm.map_err(|e| what(format!("the store does not open: {e}")))?;
        report.replayed += u64::from(lsm.last_lsn() > lsm.flushed_lsn());
        let found = check(&lsm).map_err(&what)?;
        for writer in 0..WRITERS as usize {
            let (least, found) = (acked[writer].max(known[writer]), found[writer]);
            // One more may be in the log: its acknowledgement did not get out.
            if found < least || found > least + 1 {
                return Err(what(format!(
                    "writer {writer} had {least} commits acknowledged, the store has {found}"
                )));
            }
            report.acknowledged += acked[writer].saturating_sub(known[writer]);
            report.found += found - known[writer];
        }
        known = found;
        report.cycles += 1;
        report.durable += u64::from(durable);
        report.early += u64::from(acked.iter().all(|n| *n == 0));
    }
    Ok(report)
}

/// Starts a child, kills it after `life` (from its first acknowledgement on, if it
/// is to be `writing`), and returns the last commit of each writer that it
/// acknowledged (0: none).
fn one(
    program: &Path,
    dir: &Path,
    durable: bool,
    writing: bool,
    life: Duration,
) -> Result<[u64; WRITERS as usize], String> {
    let mut command = Command::new(program);
    command.arg("child").arg("--dir").arg(dir);
    if durable {
        command.arg("--durable");
    }
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = child.spawn().map_err(|e| format!("{}: {e}", program.display()))?;
    let mut out = child.stdout.take().ok_or("the child has no stdout")?;
    let (began, begun) = channel();
    let reader = std::thread::spawn(move || {
        let mut bytes = vec![0; 12];
        if out.read_exact(&mut bytes).is_err() {
            return Ok(Vec::new()); // It died before.
        }
        began.send(()).ok();
        out.read_to_end(&mut bytes).map(|_| bytes)
    });
    if writing && begun.recv_timeout(START).is_err() {
        child.kill().ok();
        return Err(format!("the child acknowledged nothing for {START:?}"));
    }
    std::thread::sleep(life);
    child.kill().map_err(|e| e.to_string())?;
    let output = child.wait_with_output().map_err(|e| e.to_string())?;
    if !output.stderr.is_empty() {
        return Err(format!("the child said: {}", String::from_utf8_lossy(&output.stderr)));
    }
    let bytes = reader.join().map_err(|_| "the reader panicked")?.map_err(|e| e.to_string())?;
    let mut acked = [0; WRITERS as usize];
    for word in bytes.chunks_exact(12) {
        let writer = u32::from_le_bytes([word[0], word[1], word[2], word[3]]);
        let n = u64::from_le_bytes(word[4..].try_into().map_err(|_| "a short word")?);
        let slot = acked.get_mut(writer as usize).ok_or("the child named a writer there is not")?;
        *slot = n.max(*slot);
    }
    Ok(acked)
}
