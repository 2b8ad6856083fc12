//! What the trees and the runs of a damaged store say.
//!
//! What must stay true: what was below a page that cannot be read is lost, and a run that
//! cannot be read takes back what older ones said.

use std::ops::Bound;

use btree::{Direction, View, Walked};
use vlog::SegmentFile;

use super::{LOST_KEYS, Lost, Salvage, scan};
use crate::backup::BackupError;
use crate::meta::Meta;
use crate::runs;
use crate::tree::{Cell, RUNS, SEGMENTS};
use crate::verify::At;
use crate::{Batch, KeyspaceId, PAGES, VLOG_DIR};

pub(super) fn put(
    batch: &mut Batch,
    keyspace: KeyspaceId,
    key: &[u8],
    value: &[u8],
    versioned: bool,
) {
    match versioned {
        true => batch.put_versioned(keyspace, key, value, false),
        false => batch.put(keyspace, key, value),
    }
}

impl Salvage<'_> {
    /// The trees and what scanning adds. The meta page, if one can be read.
    pub(super) fn trees(&mut self) -> Result<Option<Meta>, BackupError> {
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
        self.ranges.add_all_but(&[]);
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
                    self.lost_range(keyspace, at.low, at.high);
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

    /// Whether it is remembered; else it is only told.
    fn lost_range(&mut self, keyspace: u32, low: Vec<u8>, high: Option<Vec<u8>>) -> bool {
        let kept = self.ranges.add(keyspace, low, high);
        kept.map_err(|lost| self.report.lose(lost)).is_ok()
    }

    fn lost_page(&mut self, at: btree::PageAt, scan: &mut scan::Scan) {
        match at.tree {
            None if at.free => {} // nothing is lost with it
            None => {
                // Trees are, but which is not known; perhaps those of dropped
                // keyspaces too.
                self.ranges.add_all_but(&scan.trees);
                scan.cannot_prove();
            }
            Some(tree) if tree >= SEGMENTS => scan.cannot_prove(),
            Some(tree) => {
                if !self.lost_range(tree, at.low, at.high) {
                    // What is not looked for cannot be told from what is dead.
                    scan.cannot_prove();
                }
            }
        }
    }
}
