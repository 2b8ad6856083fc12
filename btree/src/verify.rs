//! Proof that a version is whole: every page reachable exactly once or free.
//!
//! Reads from the disk, not through the cache, and goes on after a fault, so
//! that a report names them all. Takes one byte of memory per page.

use std::fmt;

use crate::error::{Error, Place};
use crate::format::{Child, DIRECTORY, FIRST_PAGE, Owner, Root};
use crate::free;
use crate::node::{check_keys, check_order};
use crate::view::{State, View};

/// Faults a report names; more are only counted.
const NAMED_FAULTS: usize = 1000;

/// What [`PageFile::verify`](crate::PageFile::verify) found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// The version looked at.
    pub epoch: u64,
    /// Pages in the file, the two meta pages included.
    pub pages: u32,
    /// Pages of trees, the directory's included.
    pub tree_pages: u64,
    /// Pages of the free list itself.
    pub list_pages: u64,
    /// Pages in the free list.
    pub free_pages: u64,
    /// Trees.
    pub trees: u64,
    /// Keys in them.
    pub entries: u64,
    /// Bytes in use in the trees' pages, headers excluded: compare with 4064 a page.
    pub used_bytes: u64,
    /// What does not hold; the first thousand.
    pub faults: Vec<Fault>,
    /// How many more there are.
    pub more_faults: u64,
}

impl Report {
    /// Whether everything holds.
    pub fn is_clean(&self) -> bool {
        self.faults.is_empty()
    }
}

/// Something that does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Where.
    pub place: Place,
    /// What.
    pub what: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.what)
    }
}

pub(crate) fn verify(view: &View) -> Report {
    let state = &*view.0;
    let pages = state.meta.pages.get();
    let report = Report { epoch: view.epoch(), pages, ..Report::default() };
    let mut check = Check { state, seen: vec![0; pages as usize], report };
    check.meta();
    check.directory();
    for (tree, root) in &state.roots {
        check.tree(*tree, root);
    }
    check.free_list();
    check.leaks();
    check.report
}

struct Check<'a> {
    state: &'a State,
    /// How often each page was reached, up to 255.
    seen: Vec<u8>,
    report: Report,
}

impl Check<'_> {
    fn fault(&mut self, page: u32, tree: Option<u32>, what: impl Into<String>) {
        if self.report.faults.len() >= NAMED_FAULTS {
            self.report.more_faults += 1;
            return;
        }
        let place = Place { page, tree };
        self.report.faults.push(Fault { place, what: what.into() });
    }

    fn error(&mut self, page: u32, tree: Option<u32>, error: Error) {
        match error {
            Error::Corrupt { place, what, .. } => self.fault(place.page, place.tree, what),
            other => self.fault(page, tree, other.to_string()),
        }
    }

    /// Counts a page; false if it must not be followed.
    fn reach(&mut self, page: u32, tree: Option<u32>) -> bool {
        match self.seen.get_mut(page as usize) {
            _ if page < FIRST_PAGE => self.fault(page, tree, "a meta page is referred to"),
            None => self.fault(page, tree, "a page behind the end of the file is referred to"),
            Some(seen) => {
                *seen = seen.saturating_add(1);
                if *seen == 1 {
                    return true;
                }
                self.fault(page, tree, "the page is referred to more than once");
            }
        }
        false
    }

    /// The meta page of this version, as long as no later commit replaced it.
    fn meta(&mut self) {
        let meta = &self.state.meta;
        let slot = meta.slot();
        match self.state.shared.read(slot, None) {
            Ok(bytes) => {
                // Commit n + 2 writes over meta page n once n + 1 is live.
                let current = self.state.shared.live.lock().last() == Some(&meta.epoch.get());
                if current && bytes != *meta.encode() {
                    self.fault(slot, None, "the meta page is not the one that was written");
                }
            }
            Err(e) => self.error(slot, None, e),
        }
    }

    fn directory(&mut self) {
        let meta = &self.state.meta;
        if meta.directory.is_none() {
            return;
        }
        let level = meta.directory_height.get() as u8 - 1;
        let top = Child::new(meta.directory, meta.trees.get());
        let found = self.page(top, Owner::new(DIRECTORY), level, &[], None);
        if found != meta.trees.get() {
            let what = format!("{found} trees found, the meta page says {}", meta.trees);
            self.fault(meta.directory.page(), Some(DIRECTORY), what);
        }
    }

    fn tree(&mut self, tree: u32, root: &Root) {
        self.report.trees += 1;
        let level = match self.state.shared.levels(tree, root) {
            Ok(levels) => levels - 1,
            Err(e) => return self.error(root.at.page(), Some(tree), e),
        };
        let top = Child::new(root.at, root.entries.get());
        let found = self.page(top, root.owner(tree), level, &[], None);
        self.report.entries += found;
        if found != root.entries.get() {
            let what = format!("{found} keys found, the directory says {}", root.entries);
            self.fault(root.at.page(), Some(tree), what);
        }
    }

    /// Walks a page whose keys must be in `low..high`; returns how many keys are below it.
    fn page(
        &mut self,
        child: Child,
        owner: Owner,
        level: u8,
        low: &[u8],
        high: Option<&[u8]>,
    ) -> u64 {
        let (at, tree) = (child.at, owner.tree);
        if !self.reach(at.page(), Some(tree)) {
            return 0;
        }
        let page = match self.state.shared.load_from_disk(at, owner, level) {
            Ok(page) => page,
            Err(e) => {
                self.error(at.page(), Some(tree), e);
                return 0;
            }
        };
        self.report.tree_pages += 1;
        self.report.used_bytes += page.used() as u64;
        if let Err(what) = check_order(&page) {
            self.fault(at.page(), Some(tree), what);
        }
        if page.epoch() > self.state.meta.epoch.get() {
            self.fault(at.page(), Some(tree), "the page is of a later commit");
        }
        let node = page.node();
        if let Err(what) = check_keys(&page, child.keys()) {
            self.fault(at.page(), Some(tree), what);
        }
        let first = usize::from(level > 0);
        if first < node.len() {
            // Above the lower bound: equal only in leaves, where it may be a key.
            let lowest = node.key(first);
            let below = if level == 0 { lowest.as_slice() < low } else { lowest.as_slice() <= low };
            if below && (level == 0 || !low.is_empty()) {
                self.fault(at.page(), Some(tree), "a key lies below the separator above it");
            }
            if high.is_some_and(|high| node.key(node.len() - 1).as_slice() >= high) {
                self.fault(at.page(), Some(tree), "a key lies above the separator behind it");
            }
        }
        if level == 0 {
            return node.len() as u64;
        }
        let mut keys = 0;
        for i in 0..node.len() {
            let low = if i == 0 { low.to_vec() } else { node.key(i) };
            let next = (i + 1 < node.len()).then(|| node.key(i + 1));
            let high = next.as_deref().or(high);
            keys += self.page(node.child(i), owner, level - 1, &low, high);
        }
        keys
    }

    fn free_list(&mut self) {
        match free::load(&self.state.shared, &self.state.meta) {
            Ok(list) => {
                self.report.list_pages = list.chain.len() as u64;
                self.report.free_pages = (list.reusable.len() + list.freed.len()) as u64;
                for page in list.chain.into_iter().chain(list.reusable).chain(list.freed) {
                    self.reach(page, None);
                }
            }
            Err(e) => self.error(self.state.meta.free.page(), None, e),
        }
    }

    fn leaks(&mut self) {
        for page in FIRST_PAGE..self.report.pages {
            if self.seen[page as usize] == 0 {
                self.fault(page, None, "the page is neither in use nor free");
            }
        }
    }
}
