//! Tests of the log as a whole, on the simulated disk. What one test file must
//! show is said at its head; here is what they share.

mod chain;
mod crash;
mod damage;
mod faults;
mod follow;
mod life;
mod model;
mod real;
mod recycle;
mod threads;

use crate::{Error, Frame, Lsn, Options, Wal};
use platform::sim::SimDisk;
use std::sync::Arc;

/// Segments of 512 bytes: a few small frames each. Spares are for those tests
/// that are about them.
const SMALL: Options =
    Options { segment_bytes: 512, sync: crate::SyncMode::Async, salt: 77, spare_segments: 0 };

/// A frame as a test keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Kept {
    lsn: Lsn,
    wall: u64,
    epoch: u64,
    payload: Vec<u8>,
}

impl From<Frame<'_>> for Kept {
    fn from(f: Frame<'_>) -> Self {
        Self { lsn: f.lsn, wall: f.wall_micros, epoch: f.epoch, payload: f.payload.to_vec() }
    }
}

fn open_from(
    disk: &Arc<SimDisk>,
    opts: Options,
    from: Lsn,
    must_have: Lsn,
) -> Result<(Wal, Vec<Kept>), Error> {
    let mut frames = Vec::new();
    let wal = Wal::open(disk.clone(), "wal", opts, from, must_have, &mut |f| {
        frames.push(f.into());
        Ok(())
    })?;
    Ok((wal, frames))
}

fn open(disk: &Arc<SimDisk>) -> (Wal, Vec<Kept>) {
    open_from(disk, SMALL, 1, 0).unwrap()
}

fn payloads(frames: &[Kept]) -> Vec<&[u8]> {
    frames.iter().map(|f| &f.payload[..]).collect()
}

fn lsns(frames: &[Kept]) -> Vec<Lsn> {
    frames.iter().map(|f| f.lsn).collect()
}

/// The log's files, with their lengths.
fn files(disk: &SimDisk) -> Vec<(String, usize)> {
    disk.files()
        .into_iter()
        .map(|f| {
            let len = disk.file_bytes(&f).unwrap().len();
            (f, len)
        })
        .collect()
}

fn segment_path(number: u64) -> String {
    crate::segment::path("wal", number)
}
