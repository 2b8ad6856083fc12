//! Salvage: what is provably good of a damaged store, in a new one.
//!
//! What must stay true:
//! * the damaged store is not changed;
//! * what the new store holds is what the old one held as of one commit, less what
//!   is reported lost: never an older value, never one that was deleted;
//! * the new directory is no store before salvage has ended.
//!
//! How it is known:
//! * *Trees.* A page that checks against the reference that leads to it is of the
//!   version its meta page describes; an entry in it is what that key had as of
//!   `flushed`. A pointer's record must be of that key and check. Where a page
//!   cannot be read, the keys that were below it are a lost range.
//!   A run (`runs/`) is read after the tree and what is older, and says what its keys
//!   have; a range of it that cannot be read is lost, whatever the tree has there, and
//!   if it is not known which runs there are, everything is.
//! * *Scan.* Only the trees know which record of a key is the last one: later ones
//!   may have been short enough to lie in a page, or deletes. But the table of
//!   segments knows how many bytes of each segment are dead. When all of these are
//!   accounted for by records that are known to be dead (of a key whose page says
//!   otherwise, or older than another record of the key), every other record there
//!   is named by a tree, so it is its key's value: it is saved. Else it is in
//!   doubt: reported, not saved.
//! * *Log.* Frames from `flushed` on are replayed as long as none is missing. They
//!   take keys and ranges out of what is lost: a put, a delete and a drop say what
//!   is, whatever was. Behind a missing one nothing is replayed, since what the
//!   missing one did is not known: the new store is as of the commit before it.
//! * *Versions.* The new store's commits are numbered behind all of the old one's, and
//!   behind what a lost piece of its log may have held ([`BEYOND`]): no version that
//!   anybody remembers is one of another document.
//! * Without a readable meta page no page is known to be current. What the log puts
//!   is known all the same, from its first frame on; all else is lost.

mod formats;
mod log;
mod ranges;
mod report;
mod scan;
#[cfg(test)]
mod tests;
mod trees;

use std::collections::BTreeSet;
use std::sync::Arc;

use platform::{Clock, Disk, Open};

use ranges::{RANGES, Ranges};
pub use report::{Doubtful, Lost, Salvaged};

use crate::backup::BackupError;
use crate::directory::{self, RESTORING};
use crate::verify::Report;
use crate::{Batch, Error, LOCK, Lsm, Lsn, Options};

/// A batch is written when it has this many bytes.
const BATCH_BYTES: usize = 1 << 20;
/// Lost keys kept in memory, so that the log can take them out again. Beyond, a key
/// may be reported lost though the log has it.
const LOST_KEYS: usize = 1 << 20;

/// Commits that a lost piece of the log can have held, and no log ever has.
const BEYOND: Lsn = 1 << 32;

/// What is known of the damaged store on the way.
struct Salvage<'a> {
    source: &'a dyn Disk,
    out: Lsm,
    batch: Batch,
    report: Salvaged,
    faults: Report,
    ranges: Ranges,
    lost: BTreeSet<(u32, Vec<u8>)>,
    done: u64,
    progress: &'a mut dyn FnMut(u64),
}

/// Copies what is provably good of the closed store in `source`'s root into the
/// root of `target`, which must hold no file. `options` are those the new store
/// will be opened with. `progress` is told the bytes looked at.
///
/// # Errors
/// [`BackupError::NotEmpty`], [`Error::InUse`], [`Error::Unfinished`], and that another
/// version wrote the store: nothing was changed. A target that fails: remove what is
/// there.
pub fn salvage(
    source: &Arc<dyn Disk>,
    target: &Arc<dyn Disk>,
    clock: Arc<dyn Clock>,
    options: &Options,
    progress: &mut dyn FnMut(u64),
) -> Result<Salvaged, BackupError> {
    salvage_with((source, target), clock, options, Ranges::new(RANGES), progress)
}

/// As [`salvage`], with that room for lost ranges.
fn salvage_with(
    (source, target): (&Arc<dyn Disk>, &Arc<dyn Disk>),
    clock: Arc<dyn Clock>,
    options: &Options,
    ranges: Ranges,
    progress: &mut dyn FnMut(u64),
) -> Result<Salvaged, BackupError> {
    crate::backup::empty(&**target)?;
    let root = directory::names(&**source, "")?;
    if root.iter().any(|name| name == RESTORING) {
        return Err(Error::Unfinished { file: RESTORING.into() }.into());
    }
    let _lock = match root.iter().any(|name| name == LOCK) {
        true => Some(source.lock(LOCK).map_err(|error| match error.kind() {
            std::io::ErrorKind::WouldBlock => Error::InUse { file: LOCK.into() },
            _ => Error::Io { doing: "lock", file: LOCK.into(), source: error },
        })?),
        false => None,
    };
    let last = formats::check(&**source)?;
    let marker = target.open(RESTORING, Open::CreateNew);
    marker.map_err(BackupError::io("make", RESTORING))?;
    target.sync_dir("").map_err(BackupError::io("sync", "the directory"))?;
    // Its own reads (`forget`) end, whatever they hold back.
    let unbound = Options { max_backup_pinned_bytes: u64::MAX, ..options.clone() };
    let behind = last.saturating_add(BEYOND);
    let out = Lsm::make_unfinished(Arc::clone(target), clock, unbound, behind)?;

    let mut salvage = Salvage {
        source: &**source,
        report: Salvaged { store: out.store_id(), ..Salvaged::default() },
        out,
        batch: Batch::new(),
        faults: Report::default(),
        ranges,
        lost: BTreeSet::new(),
        done: 0,
        progress,
    };
    let meta = salvage.trees()?;
    salvage.log(meta)?;
    let report = salvage.end()?;
    target.remove(RESTORING).map_err(BackupError::io("remove", RESTORING))?;
    target.sync_dir("").map_err(BackupError::io("sync", "the directory"))?;
    Ok(report)
}

impl Salvage<'_> {
    /// Writes the batch if it is large, or anyway.
    fn write(&mut self, anyway: bool) -> Result<(), BackupError> {
        if self.batch.bytes() >= BATCH_BYTES || (anyway && !self.batch.is_empty()) {
            self.out.commit(&self.batch)?;
            self.batch.clear();
        }
        Ok(())
    }

    fn tell(&mut self, bytes: u64) {
        self.done += bytes;
        (self.progress)(self.done);
    }

    fn end(mut self) -> Result<Salvaged, BackupError> {
        self.write(true)?;
        for (keyspace, key) in std::mem::take(&mut self.lost) {
            self.report.lose(Lost::Value { keyspace, key });
        }
        for lost in self.ranges.told() {
            self.report.lose(lost);
        }
        self.report.take_faults(self.faults);
        self.out.flush()?;
        self.out.close()?;
        Ok(self.report)
    }
}
