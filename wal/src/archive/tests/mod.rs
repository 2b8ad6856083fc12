//! Tests of the archive: its bytes, its life, its faults, its crashes.

mod bytes;
mod crash;
mod faults;
mod life;

use super::{Archive, Archiver, Error, Progress, StoreId, Until};
use crate::{Lsn, Options, SyncMode, Wal};
use platform::Disk;
use platform::sim::SimDisk;
use std::sync::Arc;

pub(super) const STORE: StoreId = StoreId([7; 16]);
pub(super) const DIR: &str = "archive";

/// A log with segments of about `per` frames of [`payload`].
pub(super) fn log(disk: &Arc<SimDisk>) -> Wal {
    try_log(disk).unwrap()
}

pub(super) fn try_log(disk: &Arc<SimDisk>) -> Result<Wal, crate::Error> {
    let opts =
        Options { segment_bytes: 1 << 10, sync: SyncMode::Sync, salt: 5, ..Options::default() };
    Wal::open(Arc::clone(disk) as _, "wal", opts, 1, 0, &mut |_| Ok(()))
}

/// The log of a store that has flushed up to `flushed`.
pub(super) fn try_log_from(disk: &Arc<SimDisk>, flushed: Lsn) -> Result<Wal, crate::Error> {
    let opts =
        Options { segment_bytes: 1 << 10, sync: SyncMode::Sync, salt: 5, ..Options::default() };
    Wal::open(Arc::clone(disk) as _, "wal", opts, flushed + 1, flushed, &mut |_| Ok(()))
}

pub(super) fn payload(lsn: Lsn) -> Vec<u8> {
    let len = [0, 40, 150, 90][lsn as usize % 4];
    (0..len).map(|i| (lsn as u8).wrapping_mul(31).wrapping_add(i / 7)).collect()
}

pub(super) fn wall(lsn: Lsn) -> u64 {
    1_000_000 + lsn * 10
}

pub(super) fn append(wal: &Wal, frames: u64) {
    for _ in 0..frames {
        let lsn = wal.last_lsn() + 1;
        assert_eq!(wal.append(wall(lsn), &payload(lsn)).unwrap(), lsn);
    }
    wal.sync().unwrap();
}

pub(super) fn archiver(disk: &Arc<SimDisk>, wal: &Wal) -> Result<Archiver, Error> {
    Archiver::open(Arc::clone(disk) as _, DIR, STORE, wal)
}

/// Archives all sealed segments.
pub(super) fn catch_up(archiver: &mut Archiver, wal: &Wal) -> Result<Lsn, Error> {
    while archiver.step(wal, 200)? != Progress::Idle {}
    Ok(archiver.archived())
}

pub(super) fn archive(disk: &Arc<SimDisk>) -> Archive {
    Archive::open(Arc::clone(disk) as _, DIR).unwrap()
}

/// Reads and compares with what was appended; the LSN of the last.
pub(super) fn read(archive: &Archive, from: Lsn, until: Until) -> Result<Lsn, Error> {
    let mut frames = archive.frames(from, until, Some(STORE))?;
    let mut lsn = from - 1;
    while let Some(frame) = frames.next()? {
        lsn += 1;
        assert_eq!((frame.lsn, frame.wall_micros), (lsn, wall(lsn)));
        assert_eq!(frame.payload, payload(lsn));
    }
    Ok(lsn)
}

/// A disk with a log of 60 frames, all sealed segments archived.
pub(super) fn archived_60() -> (Arc<SimDisk>, Wal, Archiver) {
    let disk = SimDisk::new(1);
    let wal = log(&disk);
    append(&wal, 60);
    let mut archiver = archiver(&disk, &wal).unwrap();
    catch_up(&mut archiver, &wal).unwrap();
    (disk, wal, archiver)
}

/// Copies a file under another name, on the same disk or another.
pub(super) fn put(disk: &Arc<SimDisk>, path: &str, bytes: &[u8]) {
    let file = disk.open(path, platform::Open::Create).unwrap();
    file.set_len(0).unwrap();
    file.write_at(bytes, 0).unwrap();
}
