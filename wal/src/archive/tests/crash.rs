//! A crash at every disk call of rotate, archive, prune and truncate.
//!
//! Proven at each: archive and log together have every frame, without a hole and
//! without a difference, from the archive's first frame on; what counted before
//! the crash is there after it; the rest of the work goes on and ends like
//! without a crash.

use super::*;

const FRAMES: u64 = 60;

/// How far the work got, for the witness after the crash.
#[derive(Default, Debug)]
struct Seen {
    acked: Lsn,
    archived: Lsn,
    truncated: Lsn,
}

/// Appends to [`FRAMES`], archives, truncates, prunes, in turns.
fn work(data: &Arc<SimDisk>, far: &Arc<SimDisk>, seen: &mut Seen) -> Result<(), Error> {
    let wal = try_log_from(data, seen.truncated)?;
    assert!(wal.last_lsn() >= seen.acked, "{} < {seen:?}", wal.last_lsn());
    let mut archiver = archiver(far, &wal)?;
    assert!(archiver.archived() >= seen.archived, "{} < {seen:?}", archiver.archived());
    seen.archived = archiver.archived();
    while wal.last_lsn() < FRAMES {
        let lsn = wal.last_lsn() + 1;
        wal.append(wall(lsn), &payload(lsn))?;
        if lsn % 3 == 0 {
            seen.acked = wal.sync()?;
        }
        if lsn % 2 == 0 {
            archiver.step(&wal, 300)?;
            seen.archived = archiver.archived();
        }
        if lsn % 11 == 0 && seen.archived > 0 {
            // As the store does: only what is archived may leave.
            seen.truncated = seen.archived;
            wal.truncate_below(seen.archived + 1)?;
        }
        if lsn == 50 {
            archiver.prune(wall(10), None)?;
        }
    }
    catch_up(&mut archiver, &wal)?;
    Ok(())
}

fn cover(data: &Arc<SimDisk>, far: &Arc<SimDisk>, seen: &Seen) {
    let wal = try_log_from(data, seen.truncated).unwrap();
    assert!(wal.last_lsn() >= seen.acked);
    let oldest = wal.segments()[0].first_lsn;
    if far.list(DIR).is_err() {
        assert_eq!((oldest, seen.archived), (1, 0));
        return;
    }
    let archive = archive(far);
    let Some((first, last)) = archive.bounds() else {
        assert_eq!((oldest, seen.archived), (1, 0));
        return;
    };
    assert!(last >= seen.archived && last <= wal.last_lsn());
    assert!(oldest <= last + 1, "a hole: archive to {last}, log from {oldest}");
    assert!(first == 1 || first < 20, "pruned too much: {first}");
    assert_eq!(read(&archive, first, Until::End).unwrap(), last);
    let mut cursor = wal.cursor(oldest).unwrap();
    let mut lsn = oldest;
    while let Some(frame) = cursor.next().unwrap() {
        assert_eq!((frame.lsn, frame.payload), (lsn, &payload(lsn)[..]));
        lsn += 1;
    }
    assert_eq!(lsn, wal.last_lsn() + 1);
}

#[derive(Clone, Copy)]
enum End {
    Power,
    Worst,
    Kill,
}

fn end(disk: &Arc<SimDisk>, how: End) -> Arc<SimDisk> {
    match how {
        End::Power => disk.restart(),
        End::Worst => disk.restart_worst(),
        End::Kill => disk.kill(),
    }
}

fn crash_everywhere(one_disk: bool, crash_far: bool, how: End, seed: u64) {
    let disks = |seed| {
        let data = SimDisk::new(seed);
        let far = if one_disk { Arc::clone(&data) } else { SimDisk::new(seed ^ 99) };
        (data, far)
    };
    let (data, far) = disks(seed);
    work(&data, &far, &mut Seen::default()).unwrap();
    let calls = if crash_far { far.calls() } else { data.calls() };
    let all = archive(&far).bounds().unwrap();
    assert!(all.0 > 1 && all.1 > 40 && calls > 50, "{all:?} {calls}");
    for n in 1..=calls {
        let (data, far) = disks(seed.wrapping_add(n << 20));
        if crash_far {
            far.crash_after(n)
        } else {
            data.crash_after(n)
        }
        let mut seen = Seen::default();
        if let Err(error) = work(&data, &far, &mut seen) {
            assert!(data.is_crashed() || far.is_crashed(), "call {n}: {error}");
        }
        let data2 = end(&data, how);
        let far2 = if one_disk { Arc::clone(&data2) } else { end(&far, how) };
        cover(&data2, &far2, &seen);
        work(&data2, &far2, &mut seen).unwrap_or_else(|e| panic!("call {n}: {e}"));
        cover(&data2, &far2, &seen);
        assert!(!far2.files().iter().any(|f| f.ends_with(".new")));
    }
}

#[test]
fn on_one_disk() {
    crash_everywhere(true, false, End::Power, 1);
    crash_everywhere(true, false, End::Worst, 2);
    crash_everywhere(true, false, End::Kill, 3);
}

#[test]
fn on_two_disks() {
    for how in [End::Power, End::Worst, End::Kill] {
        crash_everywhere(false, true, how, 4);
        crash_everywhere(false, false, how, 5);
    }
}

#[test]
fn killed_and_then_the_power_goes() {
    // Given a process killed at any call on the archive's disk, and one that opens
    // what it left, cuts the log by it, and loses its power at once,
    let (data, far) = (SimDisk::new(6), SimDisk::new(7));
    work(&data, &far, &mut Seen::default()).unwrap();
    for n in 1..=far.calls() {
        let (data, far) = (SimDisk::new(6 ^ (n << 20)), SimDisk::new(7 ^ (n << 20)));
        far.crash_after(n);
        let mut seen = Seen::default();
        drop(work(&data, &far, &mut seen));
        let (data, far) = (data.kill(), far.kill());
        let wal = try_log_from(&data, seen.truncated).unwrap();
        let archiver = archiver(&far, &wal).unwrap();
        seen.archived = archiver.archived();
        seen.truncated = archiver.archived();
        wal.truncate_below(seen.truncated + 1).unwrap();
        // then what was counted is there.
        cover(&data.restart_worst(), &far.restart_worst(), &seen);
    }
}
