//! Segment files come and go: made, filled with zeros, retired, used again.
//!
//! Must stay true:
//! * a file gets its `.wal` name by a rename, after its header and its size are
//!   on the disk, and counts only when that name is too: a `.wal` file whose
//!   header does not check is damage;
//! * a segment loses its name by one rename (to `.spare`) or removal, and the
//!   directory is synced before anything else happens to the file: no power cut
//!   can bring back the old name over new contents;
//! * what fails before the rename leaves no segment: it may be tried again, as
//!   long as no sync failed that others rely on.

use crate::SyncMode;
use crate::error::Error;
use crate::pending;
use crate::segment::{HEADER_LEN, Kind, SegmentHeader};
use platform::{BLOCK, Disk, File, Open, shortage};
use std::io;
use std::sync::Arc;

/// A log that is not recycled grows by this many bytes at a time.
const GROW: u64 = 256 << 10;

/// The segment being written.
#[derive(Clone)]
pub(crate) struct Segment {
    /// Async mode writes here; both modes grow it here.
    pub(crate) file: Arc<dyn File>,
    /// Sync mode writes here.
    pub(crate) through: Option<Arc<dyn File>>,
    /// Its bytes below are on the disk as zeros or frames.
    pub(crate) allocated: u64,
    /// As it stands in the file.
    pub(crate) header: SegmentHeader,
}

/// Why there is no new segment.
pub(crate) enum Failed {
    /// Nothing came of it; it may be tried again if it was a shortage.
    Clean(io::Error),
    /// A name that may or may not be durable: nothing may be tried again.
    Sync(io::Error),
}

/// `len` in whole blocks.
pub(crate) fn blocks(len: u64) -> u64 {
    len.next_multiple_of(BLOCK as u64)
}

/// How far a segment of `segment_bytes` that holds `allocated` is prepared so
/// that bytes up to `end` fit.
pub(crate) fn grown(allocated: u64, end: u64, segment_bytes: u64) -> u64 {
    let step = (allocated + GROW).min(blocks(segment_bytes));
    step.max(blocks(end))
}

/// Makes the segment of `header`, durably, from the spare file `spare` or anew.
pub(crate) fn make(
    disk: &dyn Disk,
    dir: &str,
    mode: SyncMode,
    header: &SegmentHeader,
    spare: Option<u64>,
    first_len: u64,
) -> Result<Segment, Failed> {
    let (from, how) = match spare {
        Some(number) => (Kind::Spare.path(dir, number), Open::Write),
        None => (Kind::New.path(dir, header.number), Open::Create),
    };
    let header = SegmentHeader { recycled: spare.is_some(), ..*header };
    let prepared = prepare(disk, mode, &header, &from, how, first_len);
    let segment = prepared.inspect_err(|_| {
        if spare.is_none() {
            // Best effort: what stays is removed by the next open.
            drop(disk.remove(&from));
        }
    })?;
    let to = Kind::Segment.path(dir, header.number);
    disk.rename(&from, &to).map_err(Failed::Clean)?;
    disk.sync_dir(dir).map_err(Failed::Sync)?;
    Ok(segment)
}

fn prepare(
    disk: &dyn Disk,
    mode: SyncMode,
    header: &SegmentHeader,
    path: &str,
    how: Open,
    first_len: u64,
) -> Result<Segment, Failed> {
    // The file is nobody's yet: a sync that fails for want of space loses nothing.
    let sync = |file: &dyn File| {
        file.sync().map_err(|e| match shortage(&e) {
            Some(_) => Failed::Clean(e),
            None => Failed::Sync(e),
        })
    };
    let file = disk.open(path, how).map_err(Failed::Clean)?;
    let len = file.len().map_err(Failed::Clean)?;
    let allocated = first_len.max(len / BLOCK as u64 * BLOCK as u64);
    file.allocate(allocated).map_err(Failed::Clean)?;
    let through = match mode {
        SyncMode::Async => {
            file.write_at(&header.encode(), 0).map_err(Failed::Clean)?;
            sync(&*file)?;
            None
        }
        SyncMode::Sync => {
            sync(&*file)?;
            let through = disk.open_write_through(path).map_err(Failed::Clean)?;
            through.write_at(&pending::first_block(header), 0).map_err(Failed::Sync)?;
            Some(through)
        }
    };
    Ok(Segment { file, through, allocated, header: *header })
}

/// Takes the name from segment `number`, durably: to keep the file as a spare, or
/// for good. Returns whether it is a spare now.
pub(crate) fn retire(
    disk: &dyn Disk,
    dir: &str,
    number: u64,
    keep: bool,
    segment_bytes: u64,
) -> Result<bool, Error> {
    let path = Kind::Segment.path(dir, number);
    let keep = keep && {
        let file = disk.open(&path, Open::Read).map_err(Error::io("open", &path))?;
        let len = file.len().map_err(Error::io("read", &path))?;
        // Not those that recovery cut short, nor those of one large frame.
        len >= HEADER_LEN && len <= blocks(segment_bytes) && len * 2 >= segment_bytes
    };
    if keep {
        let spare = Kind::Spare.path(dir, number);
        disk.rename(&path, &spare).map_err(Error::io("rename", &path))?;
    } else {
        disk.remove(&path).map_err(Error::io("remove", &path))?;
    }
    Ok(keep)
}

/// Removes what an earlier life left in the making, and all but `most` spares.
/// Returns the spares left: their names are durable.
pub(crate) fn tidy(disk: &dyn Disk, dir: &str, most: usize) -> Result<Vec<u64>, Error> {
    let mut spares = Vec::new();
    let mut touched = false;
    for name in disk.list(dir).map_err(Error::io("list", dir))? {
        let Some((kind, number)) = Kind::of(&name) else { continue };
        match kind {
            Kind::Segment => continue,
            Kind::Spare if spares.len() < most => spares.push(number),
            Kind::Spare | Kind::New => {
                let path = kind.path(dir, number);
                disk.remove(&path).map_err(Error::io("remove", &path))?;
            }
        }
        touched = true;
    }
    if touched {
        // A killed process may have renamed and not synced.
        disk.sync_dir(dir).map_err(Error::io("sync", dir))?;
    }
    Ok(spares)
}
