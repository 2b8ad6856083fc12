//! Segment files come and go: made, filled with zeros, retired, used again.
//!
//! Must stay true:
//! * a file gets its `.wal` name by a rename, after its header was written. Made by
//!   [`make`], header and name are on the disk when it returns; made by
//!   [`make_loose`], they become so with the first flush behind it;
//! * a spare's header names a frame before the oldest segment's: under a new name
//!   whose header a power cut lost, it is known for what it is. So a spare that was
//!   given a new header and not its name is no spare any more;
//! * a segment loses its name by one rename (to `.spare`) or removal, and the
//!   directory is synced before anything else happens to the file: no power cut
//!   can bring back the old name over new contents;
//! * what fails before the rename leaves no segment and no file with its header: it
//!   may be tried again, as long as no sync failed that others rely on.

use crate::error::Error;
use crate::pending;
use crate::reader::read_segment_header;
use crate::segment::{HEADER_LEN, HeaderFlaw, Kind, SegmentHeader};
use crate::{Lsn, Options, SyncMode};
use platform::{BLOCK, Disk, File, Open, shortage};
use std::io;
use std::sync::Arc;

/// A log that is not recycled grows by this many bytes at a time. Where each growth is
/// synced, by more; else by less, since the append at hand waits for the zeros.
const GROW_SYNCED: u64 = 256 << 10;
const GROW: u64 = 64 << 10;

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

/// Where a new segment's file comes from.
struct Source {
    path: String,
    how: Open,
    header: SegmentHeader,
}

impl Source {
    fn new(dir: &str, header: &SegmentHeader, spare: Option<u64>) -> Self {
        let (path, how) = match spare {
            Some(number) => (Kind::Spare.path(dir, number), Open::Write),
            None => (Kind::New.path(dir, header.number), Open::Create),
        };
        Self { path, how, header: SegmentHeader { recycled: spare.is_some(), ..*header } }
    }

    /// After a failure: a new file goes again, and a spare that may have the new
    /// header (`marked`), which is none any more. What stays is removed by the next
    /// open.
    fn give_up(&self, disk: &dyn Disk, marked: bool, spare: &mut Option<u64>) {
        if marked || self.how == Open::Create {
            drop(disk.remove(&self.path));
            *spare = None;
        }
    }
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

/// How far a segment that holds `allocated` is prepared so that bytes up to `end` fit.
pub(crate) fn grown(opts: &Options, allocated: u64, end: u64) -> u64 {
    let more = match opts.sync {
        SyncMode::Sync => GROW_SYNCED,
        SyncMode::Async => GROW,
    };
    let step = (allocated + more).min(blocks(opts.segment_bytes));
    step.max(blocks(end))
}

/// Makes the segment of `header`, durably, from the spare file `spare` or anew. After
/// a failure `spare` is there still if it can be used again.
pub(crate) fn make(
    disk: &dyn Disk,
    dir: &str,
    mode: SyncMode,
    header: &SegmentHeader,
    spare: &mut Option<u64>,
    first_len: u64,
) -> Result<Segment, Failed> {
    let from = Source::new(dir, header, *spare);
    let mut marked = false;
    let named = prepare(disk, mode, &from, first_len, &mut marked).and_then(|segment| {
        let to = Kind::Segment.path(dir, header.number);
        disk.rename(&from.path, &to).map_err(Failed::Clean)?;
        Ok(segment)
    });
    let segment = named.inspect_err(|_| from.give_up(disk, marked, spare))?;
    disk.sync_dir(dir).map_err(Failed::Sync)?;
    Ok(segment)
}

/// Makes the segment of `header` without waiting for the disk: header, size and
/// name become durable with the first sync of the file and the directory. `spare` as
/// with [`make`].
pub(crate) fn make_loose(
    disk: &dyn Disk,
    dir: &str,
    header: &SegmentHeader,
    spare: &mut Option<u64>,
    first_len: u64,
) -> io::Result<Segment> {
    let from = Source::new(dir, header, *spare);
    let mut marked = false;
    let named = open(disk, &from, first_len).and_then(|(file, allocated)| {
        marked = true;
        file.write_at(&from.header.encode(), 0)?;
        disk.rename(&from.path, &Kind::Segment.path(dir, header.number))?;
        Ok(Segment { file, through: None, allocated, header: from.header })
    });
    named.inspect_err(|_| from.give_up(disk, marked, spare))
}

/// The file, made large enough, and how far. A disk that is nearly full may still have
/// the one block that the header takes: what frames need they ask for.
fn open(disk: &dyn Disk, from: &Source, first_len: u64) -> io::Result<(Arc<dyn File>, u64)> {
    let file = disk.open(&from.path, from.how)?;
    let least = blocks(HEADER_LEN).max(file.len()? / BLOCK as u64 * BLOCK as u64);
    let wanted = first_len.max(least);
    match file.allocate(wanted) {
        Ok(()) => Ok((file, wanted)),
        Err(error) if shortage(&error).is_some() && wanted > least => {
            file.allocate(least)?;
            Ok((file, least))
        }
        Err(error) => Err(error),
    }
}

/// The file, prepared, its header on the disk; `marked` from when that may be so.
fn prepare(
    disk: &dyn Disk,
    mode: SyncMode,
    from: &Source,
    first_len: u64,
    marked: &mut bool,
) -> Result<Segment, Failed> {
    // The file is nobody's yet: a sync that fails for want of space loses nothing.
    let sync = |file: &dyn File| {
        file.sync().map_err(|e| match shortage(&e) {
            Some(_) => Failed::Clean(e),
            None => Failed::Sync(e),
        })
    };
    let header = from.header;
    let (file, allocated) = open(disk, from, first_len).map_err(Failed::Clean)?;
    let through = match mode {
        SyncMode::Async => {
            *marked = true;
            file.write_at(&header.encode(), 0).map_err(Failed::Clean)?;
            sync(&*file)?;
            None
        }
        SyncMode::Sync => {
            sync(&*file)?;
            let through = disk.open_write_through(&from.path).map_err(Failed::Clean)?;
            *marked = true;
            through.write_at(&pending::first_block(&header), 0).map_err(Failed::Sync)?;
            Some(through)
        }
    };
    Ok(Segment { file, through, allocated, header })
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

/// Removes what an earlier life left in the making, and all spares but `most`
/// from before frame `oldest`, the log's first. Returns those: their names are
/// durable.
pub(crate) fn tidy(
    disk: &dyn Disk,
    dir: &str,
    most: usize,
    oldest: Lsn,
) -> Result<Vec<u64>, Error> {
    let mut spares = Vec::new();
    let mut touched = false;
    for name in disk.list(dir).map_err(Error::io("list", dir))? {
        let Some((kind, number)) = Kind::of(&name) else { continue };
        if kind == Kind::Segment {
            continue;
        }
        touched = true;
        let path = kind.path(dir, number);
        if kind == Kind::Spare && spares.len() < most && is_older(disk, &path, number, oldest)? {
            spares.push(number);
        } else {
            disk.remove(&path).map_err(Error::io("remove", &path))?;
        }
    }
    if touched {
        // A killed process may have renamed and not synced.
        disk.sync_dir(dir).map_err(Error::io("sync", dir))?;
    }
    Ok(spares)
}

/// Whether a spare's header, if it has one, is of a segment from before `oldest`.
fn is_older(disk: &dyn Disk, path: &str, number: u64, oldest: Lsn) -> Result<bool, Error> {
    let file = disk.open(path, Open::Read).map_err(Error::io("open", path))?;
    Ok(match read_segment_header(&*file, number).map_err(Error::io("read", path))? {
        Ok(header) | Err(HeaderFlaw::Misnamed(header)) => header.first_lsn < oldest,
        Err(HeaderFlaw::Other(_) | HeaderFlaw::Invalid) => true,
    })
}
