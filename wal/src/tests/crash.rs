//! Power cuts at every call of random workloads, and at every call of the
//! recovery that follows: what was durable is there, what is there is a prefix.

use super::*;
use crate::SyncMode;
use platform::Entropy;
use platform::sim::SimEntropy;

/// What must hold, whatever the disk did.
#[derive(Clone)]
struct Model {
    opts: Options,
    /// Payloads of all frames appended, the first is LSN 1; the last one may be
    /// of an append that failed.
    appended: Vec<Vec<u8>>,
    /// Acknowledged as durable.
    durable: usize,
    /// Applied elsewhere; frames up to here may be truncated.
    flushed: usize,
}

impl Model {
    /// Both modes, with and without spare segments.
    fn new(seed: u64) -> Self {
        let sync = if seed.is_multiple_of(2) { SyncMode::Async } else { SyncMode::Sync };
        let spare_segments = (seed / 2 % 3) as usize;
        let opts = Options { sync, spare_segments, ..SMALL };
        Self { opts, appended: Vec::new(), durable: 0, flushed: 0 }
    }

    /// Opens, checks what is replayed, and takes it as the truth.
    fn open(&mut self, disk: &Arc<SimDisk>) -> Result<Wal, Error> {
        let from = self.flushed as Lsn + 1;
        let (wal, found) = open_from(disk, self.opts, from, self.flushed as Lsn)?;
        let last = self.flushed + found.len();
        assert!(last >= self.durable, "lost: {last} left of {} durable frames", self.durable);
        assert!(last <= self.appended.len(), "frames that were never appended");
        for (i, frame) in found.iter().enumerate() {
            assert_eq!(frame.lsn, from + i as Lsn);
            assert_eq!(frame.payload, self.appended[self.flushed + i]);
        }
        assert_eq!((wal.last_lsn(), wal.durable_lsn()), (last as Lsn, last as Lsn));
        self.appended.truncate(last);
        self.durable = last;
        Ok(wal)
    }

    /// A random life; ends at the first error.
    fn live(&mut self, disk: &Arc<SimDisk>, dice: &SimEntropy, steps: usize) -> Result<(), Error> {
        let mut wal = self.open(disk)?;
        for _ in 0..steps {
            let roll = dice.next_u64();
            match roll % 16 {
                0..=8 => {
                    // One in a while larger than a segment, or than a page.
                    let len = if roll.is_multiple_of(97) { 5000 } else { (roll >> 8) % 200 };
                    let payload = vec![(roll >> 32) as u8; len as usize];
                    self.appended.push(payload.clone());
                    wal.append(roll >> 40, &payload)?;
                }
                9..=12 => {
                    let upto = wal.last_lsn();
                    wal.wait_durable(upto)?;
                    self.durable = upto as usize;
                }
                13 | 14 => {
                    self.durable = wal.durable_lsn() as usize;
                    self.flushed = self.durable;
                    wal.truncate_below(self.flushed as Lsn + 1)?;
                }
                _ if roll.is_multiple_of(5) => {
                    wal.rotate_now()?;
                    self.durable = self.durable.max(wal.durable_lsn() as usize);
                }
                _ => {
                    drop(wal);
                    wal = self.open(disk)?;
                }
            }
            assert!(wal.durable_lsn() as usize <= self.appended.len());
        }
        Ok(())
    }
}

#[test]
fn a_power_cut_at_every_call_loses_nothing_durable() {
    let mut cuts = 0;
    for seed in 0..24 {
        for n in 1.. {
            let disk = SimDisk::new(seed);
            disk.crash_after(n);
            let mut model = Model::new(seed);
            let done = model.live(&disk, &SimEntropy::new(seed), 30);
            let disk = if n % 3 == 0 { disk.restart_worst() } else { disk.restart() };
            let end = done.is_ok();
            assert!(end || !matches!(done, Err(Error::Corrupt { .. })), "{done:?}");

            // Whatever is found, the log goes on from there, also after another cut.
            model.live(&disk, &SimEntropy::new(n), 6).unwrap();
            model.open(&disk.restart_worst()).unwrap();
            cuts += 1;
            if end {
                break;
            }
        }
    }
    assert!(cuts > 1000, "{cuts}");
}

#[test]
fn a_power_cut_at_every_call_of_the_recovery_loses_nothing_either() {
    for seed in 0..12 {
        for n in (1..).step_by(3) {
            let disk = SimDisk::new(seed);
            disk.crash_after(n);
            let mut model = Model::new(seed);
            let done = model.live(&disk, &SimEntropy::new(seed), 24);
            let found = disk.restart();
            for k in 1.. {
                let disk = found.snapshot();
                disk.reseed(k);
                disk.crash_after(k);
                let mut model = model.clone();
                let opened = model.open(&disk);
                let after = disk.restart();
                model.open(&after).unwrap();
                if opened.is_ok() {
                    break;
                }
            }
            if done.is_ok() {
                break;
            }
        }
    }
}

#[test]
fn a_failed_sync_at_every_call_is_poison_and_never_damage() {
    use platform::sim::{Fault, Times};
    for seed in 0..60 {
        let disk = SimDisk::new(seed);
        let mut model = Model::new(seed);
        let dice = SimEntropy::new(seed);
        model.live(&disk, &dice, 8).unwrap();
        disk.fail(Fault::Sync, "wal", Times::Next);
        let done = model.live(&disk, &dice, 20);
        assert!(done.is_err(), "seed {seed}: no sync in twenty steps");
        disk.clear_faults();
        // Process gone, kernel alive; or power gone.
        let disk = if seed % 2 == 0 { disk.kill() } else { disk.restart() };
        model.live(&disk, &dice, 6).unwrap();
        model.open(&disk.restart_worst()).unwrap();
    }
}
