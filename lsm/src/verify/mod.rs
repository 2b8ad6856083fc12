//! Proof that a store is whole: every page, record and frame read and compared.
//!
//! What must stay true:
//! * nothing is changed, not even a torn end that the next opening would cut;
//! * it goes on after a fault: all are named, up to a bound, and all counted;
//! * memory is bounded: a byte per page, some numbers per segment, one record;
//! * each step is bounded, so that a living store is not disturbed: it looks at
//!   one version, and reads past the cache. It holds that version by a snapshot, which
//!   expires as any other when it holds back too much (`lease.rs`).
//!
//! What is compared: each page with its place and the reference to it, its keys
//! with each other and with the page above; each page of the file is in use once
//! or in the free list once; each tree has the keys the directory says. Each
//! record of the value log with its checksum and place; each pointer of a tree
//! leads to a record of that key and keyspace; the dead bytes of each segment are
//! those the table has. Each frame of the log with its checksum and place, dense
//! from the last commit in the trees on.

mod log;
mod report;
mod trees;
mod values;

use std::collections::BTreeMap;
use std::sync::Arc;

use btree::View;
use parking_lot::Mutex;
use platform::Disk;

pub use report::{At, Fault, Report};

use crate::directory::{self, RESTORING};
use crate::lease::{self, Listed, Reader};
use crate::meta::Meta;
use crate::{Error, LOCK, Lsm, PAGES, Snapshot, VLOG_DIR, WAL_DIR};

/// Bytes one step looks at.
const STEP_BYTES: u64 = 4 << 20;

/// A running store being verified. Holds a snapshot of it.
pub struct Verify {
    cell: Arc<Cell>,
    snapshot: Snapshot,
    _listed: Listed,
}

/// Where the verification stands, behind a lock that a step holds.
struct Cell(Mutex<Walk>);

impl Reader for Cell {
    fn empty(&self) {
        self.0.lock().let_go();
    }
}

/// A store, running or closed, being verified.
struct Walk {
    disk: Arc<dyn Disk>,
    /// The page file's name.
    file: String,
    view: Option<View>,
    meta: Meta,
    /// Another process, or nobody, writes meanwhile: then all bytes are still.
    closed: bool,
    trees: Option<trees::Trees>,
    values: Option<values::Segments>,
    log: Option<log::Log>,
    /// Bytes of records in each segment as found, and of those pointed at; absent
    /// once something of it could not be read.
    found: BTreeMap<u32, u64>,
    live: BTreeMap<u32, u64>,
    /// Some pages or records could not be read: dead bytes are not compared.
    incomplete: bool,
    done: u64,
    of: u64,
    report: Report,
}

impl Lsm {
    /// Begins to verify the store as it is now, while everything goes on. Call
    /// [`Verify::step`] until it says that it is done.
    ///
    /// # Errors
    /// The value log cannot be listed.
    pub fn verify(&self) -> Result<Verify, Error> {
        let snapshot = self.snapshot()?;
        let view = snapshot.version()?.view.clone();
        let meta = Meta::decode(view.user(), PAGES)?;
        let mut walk = Walk::new(&self.disk, PAGES, Some(view), meta, false)?;
        walk.log = Some(log::Log::living(&self.wal, meta.flushed + 1));
        let cell = Arc::new(Cell(Mutex::new(walk)));
        let listed = snapshot.lease().list(&cell);
        let listed = listed.ok_or_else(|| lease::expired(snapshot.lsn()))?;
        Ok(Verify { cell, snapshot, _listed: listed })
    }
}

impl Verify {
    /// Looks at a bounded piece; true when all was looked at.
    ///
    /// # Errors
    /// The disk cannot list or open at all; what it cannot read is in the report.
    /// [`Error::SnapshotExpired`].
    pub fn step(&mut self) -> Result<bool, Error> {
        let mut walk = self.cell.0.lock();
        if self.snapshot.lease().is_taken() {
            return Err(lease::expired(self.snapshot.lsn()));
        }
        walk.step()
    }

    /// Bytes of pages and records looked at, and all there are.
    pub fn progress(&self) -> (u64, u64) {
        let walk = self.cell.0.lock();
        (walk.done, walk.of)
    }

    /// What was found.
    pub fn into_report(self) -> Report {
        std::mem::take(&mut self.cell.0.lock().report)
    }
}

/// Verifies the closed store in `disk`'s root. Takes its lock; changes nothing
/// else. `progress` is told the bytes done, and all there are.
///
/// # Errors
/// [`Error::InUse`], [`Error::Unfinished`], [`Error::Missing`] if there is no store
/// at all. Whatever is wrong with a store that is there is in the report.
pub fn verify(disk: &Arc<dyn Disk>, progress: &mut dyn FnMut(u64, u64)) -> Result<Report, Error> {
    let root = directory::names(&**disk, "")?;
    if root.iter().any(|name| name == RESTORING) {
        return Err(Error::Unfinished { file: RESTORING.into() });
    }
    let _lock = match root.iter().any(|name| name == LOCK) {
        true => Some(disk.lock(LOCK).map_err(|source| match source.kind() {
            std::io::ErrorKind::WouldBlock => Error::InUse { file: LOCK.into() },
            _ => Error::Io { doing: "lock", file: LOCK.into(), source },
        })?),
        // Made by every opening: nobody has it open. It is not made here.
        false => None,
    };
    files(disk, PAGES, progress)
}

/// As [`verify`], of a page file under any name, without the lock.
pub(crate) fn files(
    disk: &Arc<dyn Disk>,
    file: &str,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Report, Error> {
    let (dirs, root) = ([(WAL_DIR, ".wal"), (VLOG_DIR, ".vlog")], directory::names(&**disk, "")?);
    let mut beside = false;
    for (dir, ending) in dirs {
        beside |= directory::names(&**disk, dir)?.iter().any(|name| name.ends_with(ending));
    }
    let is_there = root.iter().any(|name| name == file);
    if !is_there && !beside {
        let why = "nor is any log or value log: there is no store here".to_owned();
        return Err(Error::Missing { file: file.into(), why });
    }
    let mut early = Report::default();
    let (mut view, mut meta) = (None, None);
    if !is_there {
        early.fault(file, At::File, None, "it is missing");
    } else {
        match btree::open_damaged(&**disk, file) {
            Ok((found, faults)) => {
                for fault in faults {
                    if fault.torn {
                        early.note(file, At::File, fault.what);
                    } else {
                        early.fault(file, At::File, None, fault.what);
                    }
                }
                match Meta::decode(found.user(), file) {
                    Ok(read) => meta = Some(read),
                    Err(error) => early.fault(file, At::File, None, error.to_string()),
                }
                view = Some(found);
            }
            Err(error) => early.fault(file, At::File, None, error.to_string()),
        }
    }
    let known = meta.is_some();
    let mut verify = Walk::new(disk, file, view, meta.unwrap_or_default(), true)?;
    verify.incomplete |= !known;
    verify.report = Report { flushed_lsn: verify.meta.flushed, ..early };
    verify.log = Some(log::Log::closed(known.then_some(verify.meta)));
    while !verify.step()? {
        progress(verify.done, verify.of);
    }
    Ok(verify.report)
}

impl Walk {
    fn new(
        disk: &Arc<dyn Disk>,
        file: &str,
        view: Option<View>,
        meta: Meta,
        closed: bool,
    ) -> Result<Walk, Error> {
        let segments = values::Segments::new(&**disk, &meta, closed && view.is_none())?;
        let pages = view.as_ref().map_or(0, |view| u64::from(view.file_pages()));
        let of = pages * btree::PAGE_BYTES as u64 + segments.bytes();
        let trees = view.as_ref().map(|view| trees::Trees::new(view, meta.runs));
        Ok(Walk {
            disk: Arc::clone(disk),
            file: file.to_owned(),
            view,
            meta,
            closed,
            trees,
            values: Some(segments),
            log: None,
            found: BTreeMap::new(),
            live: BTreeMap::new(),
            incomplete: false,
            done: 0,
            of,
            report: Report { flushed_lsn: meta.flushed, ..Report::default() },
        })
    }

    /// Everything that keeps pages or files from being freed.
    fn let_go(&mut self) {
        (self.view, self.trees, self.values, self.log) = (None, None, None, None);
    }

    /// As [`Verify::step`].
    fn step(&mut self) -> Result<bool, Error> {
        let mut left = STEP_BYTES;
        if self.walk_values(&mut left)? || self.walk_trees(&mut left)? {
            return Ok(false);
        }
        self.walk_log(&mut left)
    }
}
