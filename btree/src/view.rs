//! A view: one committed version of all trees.
//!
//! Must stay true:
//! * a view never changes and never blocks a commit, nor a commit a view;
//! * its epoch stays registered as live until the last clone is dropped, and
//!   the writer reuses no page that a live epoch can reach.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::{self, Deref};
use std::sync::Arc;

use parking_lot::Mutex;
use platform::File;

use crate::cache::{Cache, Hint};
use crate::cursor::{Cursor, Direction};
use crate::error::{Error, Place};
use crate::format::{MAX_HEIGHT, Meta, Owner, PAGE_BYTES, Ref, Root};
use crate::node::Page;
use crate::pins::{Bound, Pins};

/// What views and the writer share.
pub(crate) struct Shared {
    pub(crate) path: String,
    pub(crate) file: Arc<dyn File>,
    pub(crate) cache: Cache,
    /// Of the inner pages kept outside the cache.
    pub(crate) bound: Arc<Bound>,
    /// Epochs some view stands on.
    pub(crate) live: Mutex<BTreeSet<u64>>,
    /// Pages kept by live views as of the last `begin`: `Space::pinned`.
    pub(crate) pinned: Mutex<BTreeMap<u64, u64>>,
    /// The first failed sync.
    pub(crate) poison: Mutex<Option<String>>,
}

impl Shared {
    pub(crate) fn io(&self, action: impl Into<String>, source: std::io::Error) -> Error {
        Error::Io { path: self.path.clone(), action: action.into(), source }
    }

    pub(crate) fn corrupt(&self, page: u32, tree: Option<u32>, what: impl Into<String>) -> Error {
        let place = Place { page, tree };
        Error::Corrupt { path: self.path.clone(), place, what: what.into() }
    }

    /// Reads the bytes of a page, unchecked.
    pub(crate) fn read(&self, page: u32, tree: Option<u32>) -> Result<[u8; PAGE_BYTES], Error> {
        let mut bytes = [0; PAGE_BYTES];
        let offset = u64::from(page) * PAGE_BYTES as u64;
        let got = self
            .file
            .read_at(&mut bytes, offset)
            .map_err(|e| self.io(format!("read page {page} of"), e))?;
        if got < PAGE_BYTES {
            return Err(self.corrupt(page, tree, "the file ends before it"));
        }
        Ok(bytes)
    }

    /// A leaf or inner page from the cache or, checked, from the disk.
    pub(crate) fn load(
        &self,
        at: Ref,
        owner: Owner,
        level: u8,
        hint: Hint,
    ) -> Result<Arc<Page>, Error> {
        if let Some(page) = self.cache.get(at, hint) {
            return Ok(page);
        }
        let page = Arc::new(self.load_from_disk(at, owner, level)?);
        self.cache.insert(at.page(), Arc::clone(&page), hint);
        Ok(page)
    }

    pub(crate) fn load_from_disk(&self, at: Ref, owner: Owner, level: u8) -> Result<Page, Error> {
        let tree = Some(owner.tree);
        let bytes = self.read(at.page(), tree)?;
        Page::from_disk(at, owner.stamp, level, bytes)
            .map_err(|what| self.corrupt(at.page(), tree, what))
    }

    /// The levels of a tree as counted in page headers.
    pub(crate) fn levels(&self, tree: u32, root: &Root) -> Result<u8, Error> {
        match root.height.get() {
            height @ 1..=MAX_HEIGHT => Ok(height as u8),
            height => Err(self.corrupt(
                root.at.page(),
                Some(tree),
                format!("the directory gives the tree {height} levels"),
            )),
        }
    }
}

/// One committed version.
pub(crate) struct State {
    pub(crate) shared: Arc<Shared>,
    pub(crate) meta: Meta,
    /// Sorted by tree id.
    pub(crate) roots: Vec<(u32, Root)>,
    /// The top pages of those trees.
    tops: Pins,
}

impl State {
    /// Registers its epoch; there is one state per epoch.
    pub(crate) fn new(shared: Arc<Shared>, meta: Meta, roots: Vec<(u32, Root)>) -> Arc<State> {
        let fresh = shared.live.lock().insert(meta.epoch.get());
        debug_assert!(fresh, "two states of epoch {}", meta.epoch);
        let tops = Pins::new(roots.len(), &shared.bound);
        Arc::new(State { shared, meta, roots, tops })
    }

    pub(crate) fn root(&self, tree: u32) -> Option<&Root> {
        Some(&self.roots[self.index(tree)?].1)
    }

    fn index(&self, tree: u32) -> Option<usize> {
        self.roots.binary_search_by_key(&tree, |(id, _)| *id).ok()
    }

    /// The page of a tree where `key` is or would be.
    fn leaf(&self, tree: u32, key: &[u8]) -> Result<Option<Arc<Page>>, Error> {
        let Some(mut slot) = self.index(tree) else { return Ok(None) };
        let root = &self.roots[slot].1;
        let shared = &*self.shared;
        let owner = root.owner(tree);
        let mut at = root.at;
        let mut level = shared.levels(tree, root)? - 1;
        // Down the inner pages that are pinned, touching no count and no lock.
        let mut pins = &self.tops;
        while level > 0 {
            let load = || shared.load(at, owner, level, Hint::Point);
            let Some(page) = pins.get(slot, load)? else { break };
            let node = page.node();
            slot = node.child_index(key);
            at = node.child(slot).at;
            level -= 1;
            if level > 0 {
                pins = page.pins(pins.bound());
            }
        }
        loop {
            let page = shared.load(at, owner, level, Hint::Point)?;
            if level == 0 {
                return Ok(Some(page));
            }
            let node = page.node();
            at = node.child(node.child_index(key)).at;
            level -= 1;
        }
    }
}

impl Drop for State {
    fn drop(&mut self) {
        self.shared.live.lock().remove(&self.meta.epoch.get());
    }
}

/// A committed version of all trees. Cheap to clone; its pages stay until the
/// last clone, and the last [`Cursor`] and [`Value`] of it, are gone.
#[derive(Clone)]
pub struct View(pub(crate) Arc<State>);

/// What a view knows of a tree without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TreeInfo {
    /// The caller's number.
    pub tree: u32,
    /// Keys in it.
    pub entries: u64,
    /// Levels: a lookup touches that many pages.
    pub height: u32,
}

impl View {
    /// The value of a key.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Corrupt`].
    pub fn get(&self, tree: u32, key: &[u8]) -> Result<Option<Value>, Error> {
        let Some(page) = self.0.leaf(tree, key)? else { return Ok(None) };
        let node = page.node();
        let Ok(i) = node.search(key) else { return Ok(None) };
        let range = node.value_range(i);
        let (start, end) = (range.start as u16, range.end as u16);
        Ok(Some(Value { page, start, end }))
    }

    /// The page of the leaf where `key` is or would be, as long as this view is the
    /// newest; `None` if there is no such tree. Reads inner pages only: how far a
    /// batch is spread can be told by some of its keys.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Corrupt`].
    pub fn leaf_page(&self, tree: u32, key: &[u8]) -> Result<Option<u32>, Error> {
        let Some(root) = self.0.root(tree) else { return Ok(None) };
        let (shared, owner) = (&*self.0.shared, root.owner(tree));
        let (mut at, mut level) = (root.at, shared.levels(tree, root)? - 1);
        while level > 0 {
            let page = shared.load(at, owner, level, Hint::Point)?;
            let node = page.node();
            at = node.child(node.child_index(key)).at;
            level -= 1;
        }
        Ok(Some(at.page()))
    }

    /// Entries between the bounds, ascending or descending. Reads nothing yet.
    /// Bounds that exclude each other give an empty range.
    pub fn range(
        &self,
        tree: u32,
        low: ops::Bound<&[u8]>,
        high: ops::Bound<&[u8]>,
        direction: Direction,
    ) -> Cursor {
        Cursor::new(self.clone(), tree, low, high, direction)
    }

    /// The caller's bytes, committed together with the trees.
    pub fn user(&self) -> &[u8; 64] {
        &self.0.meta.user
    }

    /// The number of the commit: 1 for a new file, then one more for each.
    pub fn epoch(&self) -> u64 {
        self.0.meta.epoch.get()
    }

    /// Keys in a tree; 0 if there is no such tree.
    pub fn len(&self, tree: u32) -> u64 {
        self.0.root(tree).map_or(0, |r| r.entries.get())
    }

    /// Whether a tree has no key.
    pub fn is_empty(&self, tree: u32) -> bool {
        self.len(tree) == 0
    }

    /// All trees that have keys, by id.
    pub fn trees(&self) -> impl Iterator<Item = TreeInfo> + '_ {
        self.0.roots.iter().map(|(tree, root)| TreeInfo {
            tree: *tree,
            entries: root.entries.get(),
            height: root.height.get(),
        })
    }

    /// Size of the file, in pages of 4096 bytes.
    pub fn file_pages(&self) -> u32 {
        self.0.meta.pages.get()
    }

    /// Pages of the file that hold nothing this version can reach.
    pub fn free_pages(&self) -> u64 {
        self.0.meta.free_pages.get()
    }
}

impl std::fmt::Debug for View {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("View")
            .field("path", &self.0.shared.path)
            .field("epoch", &self.epoch())
            .field("trees", &self.0.roots.len())
            .finish()
    }
}

/// A value where it lies: holds its page, copies nothing.
#[derive(Clone)]
pub struct Value {
    page: Arc<Page>,
    start: u16,
    end: u16,
}

impl Value {
    /// The value of a key in its leaf.
    pub(crate) fn find(page: &Arc<Page>, key: &[u8]) -> Option<Value> {
        let node = page.node();
        let range = node.value_range(node.search(key).ok()?);
        let (start, end) = (range.start as u16, range.end as u16);
        Some(Value { page: Arc::clone(page), start, end })
    }
}

impl Deref for Value {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.page.bytes()[usize::from(self.start)..usize::from(self.end)]
    }
}

impl AsRef<[u8]> for Value {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl std::fmt::Debug for Value {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        (**self).fmt(f)
    }
}
