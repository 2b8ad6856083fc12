//! Power cuts at every call: whatever the last committed tail vouches for reads
//! back, byte for byte; whatever came after it never happened.

use super::*;
use crate::Pointer;
use platform::Entropy;
use platform::sim::{Fault, SimEntropy, Times};

/// The caller's side: what a meta page would hold.
#[derive(Clone, Default)]
struct Meta {
    tail: Tail,
    records: Vec<(Pointer, u64, Vec<u8>)>,
}

fn check(log: &Vlog, meta: &Meta) {
    for (at, lsn, value) in &meta.records {
        let record = log.read(*at).unwrap();
        assert_eq!((record.lsn, record.value()), (*lsn, &value[..]));
    }
    let end = log
        .segments()
        .last()
        .map_or(Tail::EMPTY, |s| Tail { segment: s.id, len: s.bytes + crate::segment::HEADER_LEN });
    assert_eq!(end, meta.tail, "the log ends where the meta page says");
}

/// A random life; ends at the first error. A sync is committed or, as when the
/// crash hits the meta page, it is not and the process goes on to the next flush.
fn live(
    disk: &Arc<SimDisk>,
    meta: &mut Meta,
    dice: &SimEntropy,
    steps: usize,
) -> Result<(), Error> {
    let mut log = try_open(disk, meta.tail)?;
    check(&log, meta);
    let mut new = Vec::new();
    step(&mut log, disk, meta, &mut new, dice, steps)
}

fn step(
    log: &mut Vlog,
    disk: &Arc<SimDisk>,
    meta: &mut Meta,
    new: &mut Vec<(Pointer, u64, Vec<u8>)>,
    dice: &SimEntropy,
    steps: usize,
) -> Result<(), Error> {
    for _ in 0..steps {
        let roll = dice.next_u64();
        match roll % 12 {
            0..=7 => {
                let len = if roll.is_multiple_of(97) { 5000 } else { (roll >> 8) % 250 };
                let value = vec![(roll >> 32) as u8; len as usize];
                let at = log.append(1, &roll.to_be_bytes(), roll, &value)?;
                new.push((at, roll, value));
            }
            8 | 9 => {
                meta.tail = log.sync()?;
                meta.records.append(new);
            }
            10 => {
                // Every record of an old segment is dead: collect it. Never the
                // one the meta page's tail names, even if it has been ended since.
                match log.segments().first().copied() {
                    Some(first) if first.id < meta.tail.segment => {
                        meta.records.retain(|(at, ..)| at.segment != first.id);
                        log.remove(first.id)?;
                    }
                    Some(first) => {
                        let refused = log.remove(first.id);
                        assert!(matches!(refused, Err(Error::Misuse { .. })), "{refused:?}");
                    }
                    None => {}
                }
            }
            _ => {
                new.clear();
                *log = try_open(disk, meta.tail)?;
                check(log, meta);
            }
        }
    }
    Ok(())
}

#[test]
fn a_power_cut_at_every_call_keeps_all_that_was_committed() {
    let mut cuts = 0;
    for seed in 0..24 {
        for n in 1.. {
            let disk = SimDisk::new(seed);
            disk.crash_after(n);
            let mut meta = Meta::default();
            let end = live(&disk, &mut meta, &SimEntropy::new(seed), 40).is_ok();
            let mut disk = if n % 3 == 0 { disk.restart_worst() } else { disk.restart() };
            // A cut in the recovery as well, wherever it strikes.
            for k in 1.. {
                disk.crash_after(k);
                let opened = try_open(&disk, meta.tail);
                disk = disk.restart();
                if opened.is_ok() {
                    break;
                }
            }
            live(&disk, &mut meta, &SimEntropy::new(n), 8).unwrap();
            check(&open(&disk.restart_worst(), meta.tail), &meta);
            cuts += 1;
            if end {
                break;
            }
        }
    }
    assert!(cuts > 500, "{cuts}");
}

#[test]
fn a_failed_sync_anywhere_keeps_all_that_was_committed() {
    for seed in 0..60 {
        let disk = SimDisk::new(seed);
        let mut meta = Meta::default();
        let dice = SimEntropy::new(seed);
        live(&disk, &mut meta, &dice, 10).unwrap();
        disk.fail_every_sync("vlog");
        live(&disk, &mut meta, &dice, 40).unwrap_err();
        disk.clear_faults();
        let disk = if seed % 2 == 0 { disk.kill() } else { disk.restart() };
        live(&disk, &mut meta, &dice, 8).unwrap();
        check(&open(&disk.restart_worst(), meta.tail), &meta);
    }
}

/// Writes, names and space fail now and then; the log is used on without a
/// reopen, and a crash comes at any call of it.
#[test]
fn failed_writes_void_what_was_not_synced_and_nothing_else() {
    let (mut failures, mut full) = (0, 0);
    for seed in 0..150 {
        let disk = SimDisk::new(seed);
        disk.crash_after(40 + seed * 7 % 150);
        let dice = SimEntropy::new(seed);
        let mut meta = Meta::default();
        let mut new = Vec::new();
        let Ok(mut log) = try_open(&disk, Tail::EMPTY) else { continue };
        for _ in 0..30 {
            let roll = dice.next_u64();
            match roll % 5 {
                0 => disk.fail(Fault::Write, "vlog", Times::Next),
                1 => disk.fail(Fault::Name, "vlog", Times::Next),
                2 => disk.set_budget(Some((roll >> 8) % 900)),
                _ => {}
            }
            match step(&mut log, &disk, &mut meta, &mut new, &dice, 8) {
                Err(Error::Poisoned(_)) => break, // the crash, met by a sync
                Err(e) => {
                    // The caller starts over: no pointer since the last sync counts.
                    (failures, full) = (failures + 1, full + u32::from(e.is_no_space()));
                    new.clear();
                }
                Ok(()) => {}
            }
            disk.clear_faults();
            disk.set_budget(None);
        }
        drop(log);
        let disk = if seed % 2 == 0 { disk.restart() } else { disk.restart_worst() };
        live(&disk, &mut meta, &dice, 20).unwrap();
        check(&open(&disk.restart_worst(), meta.tail), &meta);
    }
    assert!(failures > 300 && full > 50, "{failures} failed, {full} for want of space");
}
