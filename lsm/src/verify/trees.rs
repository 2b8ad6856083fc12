//! Verifying the page file: each page, each key, each pointer.
//!
//! What must stay true: a page is followed once; what is below a page that cannot
//! be read is not called unreachable on top of that.

use std::collections::{BTreeMap, BTreeSet};

use btree::{PAGE_BYTES, PageAt, PageCopy, Pages, View, Walked};
use vlog::{Pointer, SegmentFile};

use super::{At, Walk};
use crate::runs::{self, Runs};
use crate::tree::{Cell, GRAVES, RUNS, SEGMENTS};
use crate::{Error, VLOG_DIR};

/// Segments kept open.
const OPEN_FILES: usize = 64;
/// The first page that is not a meta page.
const FIRST_PAGE: u32 = 2;

/// The walk, and what is counted on it.
pub(super) struct Trees {
    walk: Pages,
    /// How often each page was met, up to 255.
    seen: Vec<u8>,
    /// Keys by tree.
    keys: BTreeMap<u32, u64>,
    free: u64,
    lost: bool,
    files: BTreeMap<u32, SegmentFile>,
    /// Segments that cannot be opened, and were named.
    missing: BTreeSet<u32>,
    record: Vec<u8>,
    /// The keyspaces of runs.
    runs: BTreeMap<u32, u32>,
}

impl Trees {
    pub(super) fn new(view: &View, count: u32) -> Self {
        Trees {
            walk: view.pages(),
            seen: vec![0; view.file_pages() as usize],
            keys: BTreeMap::new(),
            free: 0,
            lost: false,
            files: BTreeMap::new(),
            missing: BTreeSet::new(),
            record: Vec::new(),
            // What is wrong with the table is told at the end.
            runs: runs::load(view, count).as_ref().map(Runs::trees).unwrap_or_default(),
        }
    }
}

/// Meets a page; what is wrong with that, if anything.
fn meet(seen: &mut [u8], page: u32) -> Result<(), &'static str> {
    match seen.get_mut(page as usize) {
        _ if page < FIRST_PAGE => Err("a meta page is referred to"),
        None => Err("a page behind the end of the file is referred to"),
        Some(seen) => {
            *seen = seen.saturating_add(1);
            if *seen == 1 { Ok(()) } else { Err("the page is in use, or free, more than once") }
        }
    }
}

impl Walk {
    /// Walks pages; false when there are no more.
    pub(super) fn walk_trees(&mut self, left: &mut u64) -> Result<bool, Error> {
        let Some(mut trees) = self.trees.take() else { return Ok(false) };
        let file = self.file.clone();
        while *left > 0 {
            let mut bad = Vec::new();
            let seen = &mut trees.seen;
            let walked = trees.walk.next(&mut |page, _| {
                meet(seen, page).inspect_err(|what| bad.push((page, *what))).is_err()
            });
            for (page, what) in bad {
                self.report.fault(&file, At::Page(page), None, what);
                trees.lost = true;
            }
            let Some(walked) = walked else {
                self.end_trees(&trees);
                return Ok(false);
            };
            *left = left.saturating_sub(PAGE_BYTES as u64);
            self.done += PAGE_BYTES as u64;
            match walked {
                Walked::Page(at, page) => self.page(&mut trees, &at, &page, left),
                Walked::Lost(at, error) => {
                    let what = match error {
                        btree::Error::Corrupt { what, .. } => what,
                        other => other.to_string(),
                    };
                    let what = match at.level {
                        0 => what,
                        level => {
                            format!("{what}; what is below it ({level} levels) is not reached")
                        }
                    };
                    self.report.fault(&file, At::Page(at.page), at.tree, what);
                    trees.lost = true;
                    self.incomplete = true;
                }
            }
        }
        self.trees = Some(trees);
        Ok(true)
    }

    fn page(&mut self, trees: &mut Trees, at: &PageAt, page: &PageCopy, left: &mut u64) {
        self.report.pages += 1;
        let place = At::Page(at.page);
        let file = self.file.clone();
        if let Err(what) = page.check(at) {
            self.report.fault(&file, place, at.tree, what);
        }
        if self.view.as_ref().is_some_and(|view| page.epoch() > view.epoch()) {
            self.report.fault(&file, place, at.tree, "the page is of a later commit");
        }
        for free in page.free() {
            trees.free += 1;
            if let Err(what) = meet(&mut trees.seen, free) {
                self.report.fault(&file, At::Page(free), None, what);
            }
        }
        let Some(tree) = at.tree else { return };
        for (key, cell) in page.entries() {
            *trees.keys.entry(tree).or_default() += 1;
            if tree == SEGMENTS || tree == RUNS {
                continue;
            }
            self.report.keys += 1;
            match Cell::decode_in(tree, cell) {
                Ok(Cell::Inline(_, lsn)) if lsn > self.meta.flushed => {
                    let key = key.escape_ascii();
                    let what = format!(
                        "key \"{key}\" is of commit {lsn}, the trees have those up to {}",
                        self.meta.flushed
                    );
                    self.report.fault(&file, place, Some(tree), what);
                }
                Ok(Cell::Inline(..) | Cell::Tomb) => {}
                Ok(Cell::Pointer(to)) => {
                    *self.live.entry(to.segment).or_default() += u64::from(to.len);
                    *left = left.saturating_sub(u64::from(to.len));
                    match self.pointer(trees, tree, &key, to) {
                        Ok(()) => self.report.values += 1,
                        Err(what) => {
                            let key = key.escape_ascii();
                            let what = format!("key \"{key}\" points at {}: {what}", show(to));
                            self.report.fault(&file, place, Some(tree), what);
                            self.incomplete = true;
                        }
                    }
                }
                Err(error) => self.report.fault(&file, place, Some(tree), error.to_string()),
            }
        }
    }

    /// Whether the pointer leads to a record of this key.
    fn pointer(
        &mut self,
        trees: &mut Trees,
        tree: u32,
        key: &[u8],
        to: Pointer,
    ) -> Result<(), String> {
        let tail = self.meta.tail;
        let end = to.offset.saturating_add(u64::from(to.len));
        if to.segment > tail.segment || (to.segment == tail.segment && end > tail.len) {
            return Err(format!("the value log ends at {} of segment {}", tail.len, tail.segment));
        }
        if !trees.files.contains_key(&to.segment) {
            while trees.files.len() >= OPEN_FILES {
                trees.files.pop_first();
            }
            match SegmentFile::open(&*self.disk, VLOG_DIR, to.segment) {
                Ok(file) => drop(trees.files.insert(to.segment, file)),
                Err(error) => {
                    if trees.missing.insert(to.segment) {
                        let path = SegmentFile::path_of(VLOG_DIR, to.segment);
                        self.report.fault(&path, At::File, None, error.to_string());
                    }
                    return Err("the segment cannot be opened".to_owned());
                }
            }
        }
        let Some(file) = trees.files.get(&to.segment) else { return Ok(()) };
        let record = file.read(to, &mut trees.record).map_err(|e| e.to_string())?;
        // The trees of dropped keyspaces have numbers of their own, and so have runs.
        let of_tree = record.keyspace == trees.runs.get(&tree).copied().unwrap_or(tree)
            || GRAVES.contains(&tree);
        if of_tree && record.key == key {
            return Ok(());
        }
        let other = record.key.escape_ascii();
        Err(format!("the record there is of keyspace {}, key \"{other}\"", record.keyspace))
    }

    fn end_trees(&mut self, trees: &Trees) {
        let Some(view) = self.view.clone() else { return };
        let file = self.file.clone();
        self.report.free_pages = trees.free;
        if let Err(error) = runs::load(&view, self.meta.runs) {
            self.report.fault(&file, At::File, None, error.to_string());
        }
        if !trees.lost {
            for tree in view.trees() {
                let found = trees.keys.get(&tree.tree).copied().unwrap_or(0);
                if found != tree.entries {
                    let what = format!("{found} keys found, the directory says {}", tree.entries);
                    self.report.fault(&file, At::File, Some(tree.tree), what);
                }
            }
            if trees.free != view.free_pages() {
                let what = format!(
                    "the free list has {} pages, the meta page says {}",
                    trees.free,
                    view.free_pages()
                );
                self.report.fault(&file, At::File, None, what);
            }
            for (page, seen) in trees.seen.iter().enumerate().skip(FIRST_PAGE as usize) {
                if *seen == 0 {
                    let what = "the page is neither in use nor free";
                    self.report.fault(&file, At::Page(page as u32), None, what);
                }
            }
        }
        self.compare_dead(&view);
    }
}

fn show(at: Pointer) -> String {
    format!("offset {} of value-log segment {} ({} bytes)", at.offset, at.segment, at.len)
}
