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
mod report;
mod scan;

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::ops::Bound;
use std::sync::Arc;

use btree::{Direction, View, Walked};
use platform::{Clock, Disk, Open};
use vlog::SegmentFile;

pub use report::{Doubtful, Lost, Salvaged};

use crate::backup::BackupError;
use crate::batch::{Op, Told, decode};
use crate::directory::{self, RESTORING};
use crate::meta::Meta;
use crate::runs;
use crate::tree::{Cell, RUNS, SEGMENTS};
use crate::verify::{At, Report};
use crate::{Batch, Error, KeyspaceId, LOCK, Lsm, Lsn, Options, PAGES, VLOG_DIR, WAL_DIR};

/// A batch is written when it has this many bytes.
const BATCH_BYTES: usize = 1 << 20;
/// Lost keys kept in memory, so that the log can take them out again. Beyond, a key
/// may be reported lost though the log has it.
const LOST_KEYS: usize = 1 << 20;

/// Commits that a lost piece of the log can have held, and no log ever has.
const BEYOND: Lsn = 1 << 32;

/// A range of keys in a page that cannot be read.
struct Range {
    /// `None`: the keyspaces that the directory hides, which are all
    keyspace: Option<u32>,
    /// but these.
    but: Vec<u32>,
    low: Vec<u8>,
    high: Option<Vec<u8>>,
}

/// What is known of the damaged store on the way.
struct Salvage<'a> {
    source: &'a dyn Disk,
    out: Lsm,
    batch: Batch,
    report: Salvaged,
    faults: Report,
    ranges: Vec<Range>,
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
        ranges: Vec::new(),
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

fn put(batch: &mut Batch, keyspace: KeyspaceId, key: &[u8], value: &[u8], versioned: bool) {
    match versioned {
        true => batch.put_versioned(keyspace, key, value, false),
        false => batch.put(keyspace, key, value),
    }
}

impl Salvage<'_> {
    /// The trees and what scanning adds. The meta page, if one can be read.
    fn trees(&mut self) -> Result<Option<Meta>, BackupError> {
        let (view, faults) = match btree::open_damaged(self.source, PAGES) {
            Ok(found) => found,
            Err(error) => {
                self.faults.fault(PAGES, At::File, None, error.to_string());
                self.lose_all();
                return Ok(None);
            }
        };
        for fault in faults {
            self.faults.fault(PAGES, At::File, None, fault.what);
        }
        let meta = match Meta::decode(view.user(), PAGES) {
            Ok(meta) => meta,
            Err(error) => {
                self.faults.fault(PAGES, At::File, None, error.to_string());
                self.lose_all();
                return Ok(None);
            }
        };
        self.report.as_of = Some(meta.flushed);
        let mut scan = scan::Scan::new(self.source, &meta, &view);
        self.walk(&view, &meta, &mut scan)?;
        if !self.ranges.is_empty() {
            self.scan(scan)?;
        }
        Ok(Some(meta))
    }

    fn lose_all(&mut self) {
        self.ranges.push(Range { keyspace: None, but: Vec::new(), low: Vec::new(), high: None });
    }

    fn walk(&mut self, view: &View, meta: &Meta, scan: &mut scan::Scan) -> Result<(), BackupError> {
        let runs = runs::load(view, meta.runs);
        if runs.is_err() {
            // A run that is not found may say otherwise of any key.
            self.lose_all();
        }
        if meta.runs > 0 {
            // What a run hides is named by a tree and not alive.
            scan.cannot_prove();
        }
        let mut pages = view.pages();
        let mut record = Vec::new();
        while let Some(walked) = pages.next(&mut |_, _| false) {
            self.tell(btree::PAGE_BYTES as u64);
            let (at, page) = match walked {
                Walked::Page(at, page) => (at, page),
                Walked::Lost(at, error) => {
                    self.lost_at(&at, error);
                    self.lost_page(at, scan);
                    continue;
                }
            };
            let Some(tree) = at.tree else { continue };
            if tree == SEGMENTS || tree == RUNS {
                continue;
            }
            for (key, cell) in page.entries() {
                if let Ok(Cell::Pointer(to)) = Cell::decode_in(tree, cell) {
                    scan.named(to);
                }
                if tree > SEGMENTS || runs.is_err() {
                    continue; // of a dropped keyspace, or a run
                }
                match self.value(meta, (tree, tree), &key, cell, &mut record) {
                    Some((value, versioned)) => {
                        self.report.from_trees += 1;
                        put(&mut self.batch, KeyspaceId(tree), &key, value, versioned);
                        self.write(false)?;
                    }
                    None => self.lost_key(tree, key),
                }
            }
        }
        for (keyspace, runs) in runs.unwrap_or_default().keyspaces() {
            for run in runs.iter().rev() {
                self.run(view, meta, keyspace, run.tree)?;
            }
        }
        Ok(())
    }

    /// A run's page, or a tree's, that cannot be read.
    fn lost_at(&mut self, at: &btree::PageAt, error: btree::Error) {
        let what = match error {
            btree::Error::Corrupt { what, .. } => what,
            other => other.to_string(),
        };
        self.faults.fault(PAGES, At::Page(at.page), at.tree, what);
    }

    /// What a run says of its keys, over what the tree and older runs said.
    fn run(
        &mut self,
        view: &View,
        meta: &Meta,
        keyspace: u32,
        tree: u32,
    ) -> Result<(), BackupError> {
        let mut pages = view.pages_of(tree);
        let mut record = Vec::new();
        while let Some(walked) = pages.next(&mut |_, _| false) {
            self.tell(btree::PAGE_BYTES as u64);
            let page = match walked {
                Walked::Page(_, page) => page,
                // It was named already. What is older may not be what the key has.
                Walked::Lost(at, _) => {
                    self.forget(keyspace, &at.low, at.high.as_deref())?;
                    let (low, high) = (at.low, at.high);
                    self.ranges.push(Range {
                        keyspace: Some(keyspace),
                        but: Vec::new(),
                        low,
                        high,
                    });
                    continue;
                }
            };
            for (key, cell) in page.entries() {
                if Cell::is_tomb(cell) {
                    self.batch.delete(KeyspaceId(keyspace), &key);
                    self.lost.remove(&(keyspace, key));
                } else if let Some((value, versioned)) =
                    self.value(meta, (tree, keyspace), &key, cell, &mut record)
                {
                    self.report.from_trees += 1;
                    put(&mut self.batch, KeyspaceId(keyspace), &key, value, versioned);
                    self.lost.remove(&(keyspace, key));
                } else {
                    self.batch.delete(KeyspaceId(keyspace), &key);
                    self.lost_key(keyspace, key);
                }
                self.write(false)?;
            }
        }
        Ok(())
    }

    /// Takes back what was saved of a range.
    fn forget(
        &mut self,
        keyspace: u32,
        low: &[u8],
        high: Option<&[u8]>,
    ) -> Result<(), BackupError> {
        self.write(true)?;
        let (id, high) = (KeyspaceId(keyspace), high.map_or(Bound::Unbounded, Bound::Excluded));
        let snapshot = self.out.backup_snapshot()?;
        let mut cursor = snapshot.range(id, Bound::Included(low), high, Direction::Forward)?;
        while cursor.advance()? {
            self.batch.delete(id, cursor.key());
            self.write(false)?;
        }
        Ok(())
    }

    /// The value of a cell of `tree`, a keyspace's or a run of it, and whether it has its
    /// LSN, as each record of the value log has.
    fn value<'v>(
        &mut self,
        meta: &Meta,
        (tree, keyspace): (u32, u32),
        key: &[u8],
        cell: &'v [u8],
        record: &'v mut Vec<u8>,
    ) -> Option<(&'v [u8], bool)> {
        let in_tail = |to: vlog::Pointer| {
            let end = to.offset.saturating_add(u64::from(to.len));
            (to.segment, end) <= (meta.tail.segment, meta.tail.len)
                || to.segment < meta.tail.segment
        };
        match Cell::decode_in(tree, cell) {
            Ok(Cell::Inline(value, lsn)) => Some((value, lsn > 0)),
            Ok(Cell::Pointer(to)) if in_tail(to) => {
                self.tell(u64::from(to.len));
                let file = SegmentFile::open(self.source, VLOG_DIR, to.segment);
                match file.and_then(|file| {
                    let found = file.read(to, record)?;
                    let good = found.keyspace == keyspace && found.key == key;
                    Ok(good.then_some(found.value.len()))
                }) {
                    Ok(Some(len)) => Some((&record[record.len() - len..], true)),
                    Ok(None) => {
                        let path = SegmentFile::path_of(VLOG_DIR, to.segment);
                        let what = "the record there is of another key";
                        self.faults.fault(&path, At::Offset(to.offset), Some(tree), what);
                        None
                    }
                    Err(error) => {
                        let path = SegmentFile::path_of(VLOG_DIR, to.segment);
                        let (at, what) = (At::Offset(to.offset), error.to_string());
                        self.faults.fault(&path, at, Some(tree), what);
                        None
                    }
                }
            }
            _ => None,
        }
    }

    fn lost_key(&mut self, keyspace: u32, key: Vec<u8>) {
        if self.lost.len() < LOST_KEYS {
            self.lost.insert((keyspace, key));
        } else {
            self.report.lose(Lost::Value { keyspace, key });
        }
    }

    fn lost_page(&mut self, at: btree::PageAt, scan: &mut scan::Scan) {
        match at.tree {
            None if at.free => {} // nothing is lost with it
            None => {
                // Trees are, but which is not known; perhaps those of dropped
                // keyspaces too.
                let but = scan.trees.clone();
                self.ranges.push(Range { keyspace: None, but, low: Vec::new(), high: None });
                scan.cannot_prove();
            }
            Some(tree) if tree >= SEGMENTS => scan.cannot_prove(),
            Some(tree) => {
                self.ranges.push(Range {
                    keyspace: Some(tree),
                    but: Vec::new(),
                    low: at.low,
                    high: at.high,
                });
            }
        }
    }

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

    /// Replays the log as far as no commit is missing.
    fn log(&mut self, meta: Option<Meta>) -> Result<(), BackupError> {
        if directory::names(self.source, WAL_DIR)?.is_empty() {
            if meta.is_none_or(|meta| meta.wal_epoch > 0) {
                self.faults.fault(WAL_DIR, At::File, None, "there is no segment of the log");
            }
            return Ok(());
        }
        let (from, need) = match meta {
            Some(meta) => (meta.flushed + 1, meta.flushed),
            None => {
                let mut first = Lsn::MAX;
                let (source, each) = (self.source, &mut |frame: &wal::Frame<'_>, _| {
                    first = first.min(frame.lsn);
                });
                wal::check(source, WAL_DIR, 1, 0, each, &mut |_| {}).map_err(Error::from)?;
                if first == Lsn::MAX {
                    return Ok(());
                }
                if first == 1 {
                    // It was never cut: what it does not put was never there.
                    self.ranges.clear();
                }
                (first, 0)
            }
        };
        let mut failed = None;
        // Told as they are found: the report is bounded, a list beside it would not be.
        let faults = RefCell::new(std::mem::take(&mut self.faults));
        // A batch that cannot be decoded is as good as missing.
        let mut missing = false;
        let source = self.source;
        wal::check(
            source,
            WAL_DIR,
            from,
            need,
            &mut |frame, gap| {
                if frame.lsn < from || failed.is_some() {
                    return;
                }
                missing |= gap;
                let ops = match decode(frame.payload) {
                    Ok(ops) if !missing => ops,
                    Ok(_) => {
                        self.report.commits_left += 1;
                        return;
                    }
                    Err(error) => {
                        missing = true;
                        let at = At::Frame(frame.lsn, 0);
                        faults.borrow_mut().fault(WAL_DIR, at, None, error.to_string());
                        return;
                    }
                };
                ops.told().for_each(|told| self.op(told));
                self.report.commits += 1;
                self.report.as_of = Some(frame.lsn);
                self.tell(frame.payload.len() as u64);
                failed = self.write(false).err();
            },
            &mut |fault| {
                if !fault.torn {
                    let at = At::Frame(fault.lsn, fault.offset);
                    faults.borrow_mut().fault(&fault.file, at, None, fault.what);
                }
            },
        )
        .map_err(Error::from)?;
        self.faults = faults.into_inner();
        failed.map_or(Ok(()), Err)
    }

    /// One operation of a commit: it says what is, whatever was.
    fn op(&mut self, told: Told<'_>) {
        match told.op {
            Op::Put(keyspace, key, value) => {
                put(&mut self.batch, keyspace, key, value, told.versioned);
                self.lost.remove(&(keyspace.0, key.to_vec()));
            }
            Op::Delete(keyspace, key) => {
                self.batch.delete(keyspace, key);
                self.lost.remove(&(keyspace.0, key.to_vec()));
            }
            Op::DropKeyspace(keyspace) => {
                self.batch.drop_keyspace(keyspace);
                self.ranges.retain(|range| range.keyspace != Some(keyspace.0));
                self.lost.retain(|(of, _)| *of != keyspace.0);
            }
        }
    }

    fn end(mut self) -> Result<Salvaged, BackupError> {
        self.write(true)?;
        for (keyspace, key) in std::mem::take(&mut self.lost) {
            self.report.lose(Lost::Value { keyspace, key });
        }
        for Range { keyspace, low, high, .. } in std::mem::take(&mut self.ranges) {
            self.report.lose(Lost::Range { keyspace, low, high });
        }
        self.report.take_faults(self.faults);
        self.out.flush()?;
        self.out.close()?;
        Ok(self.report)
    }
}
