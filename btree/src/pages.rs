//! Every page a version needs, one at a time: for backup, verify and salvage.
//!
//! Must stay true:
//! * each page the version reaches comes once: directory, trees, free list; not
//!   the meta page, which [`View::meta_page`] gives. Put back at their places
//!   they are the version, whole;
//! * a page handed out was checked against its place and its reference; one that
//!   does not check is handed out as lost, with the keys that were below it, and
//!   the walk goes on;
//! * a page carries the checksums of those below it, so who has a page with its
//!   checksum has all below it too: the subtree is skipped, unread;
//! * reads go past the cache. Memory: the path from the root, with its siblings.

use std::sync::Arc;

use parking_lot::Mutex;
use platform::{Disk, Open};
use zerocopy::FromBytes;

use crate::cache::Cache;
use crate::error::Error;
use crate::file::{Other, choose_meta, read_directory};
use crate::format::{
    Child, DIRECTORY, FIRST_PAGE, Meta, Owner, PAGE_BYTES, PageBytes, Ref, Root, carried_checksum,
    checksum,
};
use crate::free;
use crate::node::{Node, Page, check_keys, check_order};
use crate::pins::Bound;
use crate::verify::Report;
use crate::view::{Shared, State, View};

/// Where a page hangs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageAt {
    /// Its number: it lies at this times [`PAGE_BYTES`].
    pub page: u32,
    /// The half of its checksum that the reference to it carries.
    pub check: u32,
    /// Its tree; `None` for the directory of trees and the free list.
    pub tree: Option<u32>,
    /// Whether it is of the free list.
    pub free: bool,
    /// Distance to the leaves.
    pub level: u8,
    /// How many keys it has, or are below it, by what refers to it.
    pub keys: u64,
    /// Keys below it are at or above this one,
    pub low: Vec<u8>,
    /// and below this one.
    pub high: Option<Vec<u8>>,
}

/// A page, or why there is none.
pub enum Walked {
    /// It is as it was written.
    Page(PageAt, PageCopy),
    /// It cannot be read, or is another one; what is below it is not reached.
    Lost(PageAt, Error),
}

/// The bytes of a page.
pub struct PageCopy(Box<Page>);

impl PageCopy {
    /// As in the file.
    pub fn bytes(&self) -> &[u8; PAGE_BYTES] {
        self.0.bytes()
    }

    /// What [`Pages`] leaves out of a page found at this place: its keys in order and
    /// between those of the page above, as many as that says, nothing in its unused bytes.
    ///
    /// # Errors
    /// What does not hold.
    pub fn check(&self, at: &PageAt) -> Result<(), String> {
        if !self.0.is_node() {
            return Ok(());
        }
        check_keys(&self.0, at.keys)?;
        check_order(&self.0)?;
        let node = self.0.node();
        let first = usize::from(at.level > 0);
        if first >= node.len() {
            return Ok(());
        }
        let lowest = node.key(first);
        // Equal to the separator above only in leaves, where it may be a key.
        let below = if at.level == 0 { lowest < at.low } else { lowest <= at.low };
        if below && (at.level == 0 || !at.low.is_empty()) {
            return Err("a key lies below the separator above it".into());
        }
        if at.high.as_ref().is_some_and(|high| node.key(node.len() - 1) >= *high) {
            return Err("a key lies above the separator behind it".into());
        }
        Ok(())
    }

    /// The commit that wrote the page.
    pub fn epoch(&self) -> u64 {
        self.0.epoch()
    }

    /// The pages that a page of the free list says are free; none for other pages.
    pub fn free(&self) -> Vec<u32> {
        if self.0.is_node() {
            return Vec::new();
        }
        free::decode(self.0.bytes(), u32::MAX).map_or_else(|_| Vec::new(), |(_, free, _)| free)
    }

    /// The entries of a leaf: key and value. None for other pages.
    pub fn entries(&self) -> impl Iterator<Item = (Vec<u8>, &[u8])> {
        let leaf = self.0.is_node() && self.0.header().level == 0;
        let node = leaf.then(|| self.0.node());
        let len = node.as_ref().map_or(0, Node::len);
        (0..len).filter_map(move |i| node.map(|node| (node.key(i), node.value(i))))
    }
}

/// The checksum half a page found at this place carries, if it checks there: what
/// [`PageAt::check`] is compared with.
pub fn check_page(page: u32, bytes: &[u8; PAGE_BYTES]) -> Option<u32> {
    let sum = carried_checksum(bytes);
    (sum == checksum(page, bytes)).then(|| Ref::new(page, sum).check())
}

struct Todo {
    child: Child,
    owner: Owner,
    level: u8,
    low: Vec<u8>,
    high: Option<Vec<u8>>,
}

/// See the module. Holds its view.
pub struct Pages {
    view: View,
    /// Pages to visit, the next one last.
    todo: Vec<Todo>,
    /// The next tree to begin.
    next_tree: usize,
    /// What is left of the free list.
    free: Ref,
    free_left: u32,
}

impl Pages {
    pub(crate) fn new(view: View) -> Pages {
        let meta = view.0.meta;
        let mut todo = Vec::new();
        if !meta.directory.is_none() {
            let level = (meta.directory_height.get() as u8).saturating_sub(1);
            todo.push(Todo {
                child: Child::new(meta.directory, meta.trees.get()),
                owner: Owner::new(DIRECTORY),
                level,
                low: Vec::new(),
                high: None,
            });
        }
        let (free, free_left) = (meta.free, meta.pages.get());
        Pages { view, todo, next_tree: 0, free, free_left }
    }

    fn of_tree(view: View, tree: u32) -> Pages {
        let roots = &view.0.roots;
        let next_tree = roots.partition_point(|(id, _)| *id < tree);
        let next = roots.get(next_tree).filter(|(id, _)| *id == tree).cloned();
        let mut pages =
            Pages { todo: Vec::new(), next_tree: roots.len(), free: Ref::NONE, free_left: 0, view };
        if let Some((tree, root)) = next {
            pages.begin(tree, &root);
        }
        pages
    }

    fn begin(&mut self, tree: u32, root: &Root) {
        // Read with the directory, which checked it.
        let level = (root.height.get() as u8).saturating_sub(1);
        let (child, owner) = (Child::new(root.at, root.entries.get()), root.owner(tree));
        self.todo.push(Todo { child, owner, level, low: Vec::new(), high: None });
    }

    /// The next page. `known` is asked before a page is read: true skips it and
    /// all below it.
    pub fn next(&mut self, known: &mut dyn FnMut(u32, u32) -> bool) -> Option<Walked> {
        loop {
            let Some(todo) = self.todo.pop() else {
                let state = Arc::clone(&self.view.0);
                let Some((tree, root)) = state.roots.get(self.next_tree) else {
                    return self.next_free(known);
                };
                self.next_tree += 1;
                self.begin(*tree, root);
                continue;
            };
            let at = todo.child.at;
            let (number, check) = (at.page(), at.check());
            if known(number, check) {
                continue;
            }
            let place = PageAt {
                page: number,
                check,
                tree: (todo.owner.tree != DIRECTORY).then_some(todo.owner.tree),
                free: false,
                level: todo.level,
                keys: todo.child.keys(),
                low: todo.low,
                high: todo.high,
            };
            let shared = &self.view.0.shared;
            let page = match shared.load_from_disk(at, todo.owner, todo.level) {
                Ok(page) => page,
                Err(error) => return Some(Walked::Lost(place, error)),
            };
            if todo.level > 0 {
                let node = page.node();
                for i in (0..node.len()).rev() {
                    self.todo.push(Todo {
                        child: node.child(i),
                        owner: todo.owner,
                        level: todo.level - 1,
                        low: if i == 0 { place.low.clone() } else { node.key(i) },
                        high: if i + 1 < node.len() {
                            Some(node.key(i + 1))
                        } else {
                            place.high.clone()
                        },
                    });
                }
            }
            return Some(Walked::Page(place, PageCopy(Box::new(page))));
        }
    }

    fn next_free(&mut self, known: &mut dyn FnMut(u32, u32) -> bool) -> Option<Walked> {
        loop {
            if self.free.is_none() || self.free_left == 0 {
                return None;
            }
            self.free_left -= 1;
            let at = std::mem::replace(&mut self.free, Ref::NONE);
            let (page, check) = (at.page(), at.check());
            let place = PageAt {
                page,
                check,
                tree: None,
                free: true,
                level: 0,
                keys: 0,
                low: Vec::new(),
                high: None,
            };
            match free::load_page(&self.view.0.shared, at) {
                Ok((bytes, next)) => {
                    self.free = next;
                    // One page does not vouch for the next beyond its number and
                    // checksum: the list is walked whole.
                    if known(page, check) {
                        continue;
                    }
                    return Some(Walked::Page(place, PageCopy(Box::new(Page::sealed(bytes)))));
                }
                Err(error) => return Some(Walked::Lost(place, error)),
            }
        }
    }
}

impl View {
    /// Every page this version needs but its meta page.
    pub fn pages(&self) -> Pages {
        Pages::new(self.clone())
    }

    /// Every page of one of its trees.
    pub fn pages_of(&self, tree: u32) -> Pages {
        Pages::of_tree(self.clone(), tree)
    }

    /// The meta page of this version, and the number of its page.
    pub fn meta_page(&self) -> (u32, Box<PageBytes>) {
        (self.0.meta.slot(), self.0.meta.encode())
    }

    /// Reads and checks everything this version can reach, past the cache.
    pub fn verify(&self) -> Report {
        crate::verify::verify(self)
    }
}

/// What is wrong with a page file as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenFault {
    /// What.
    pub what: String,
    /// A crash in a commit may leave it so, and the next commit mends it.
    pub torn: bool,
}

/// Opens a page file for reading only, as far as it can be read: nothing is written,
/// not even a sync. Gives its newest version and what is wrong with its opening:
/// trees that a damaged directory hides are absent from the view.
///
/// # Errors
/// [`Error::Io`] if the file cannot be opened, or the disk gives no meta page that is
/// valid; [`Error::Version`]; [`Error::Corrupt`] if neither meta page is valid.
pub fn open_damaged(disk: &dyn Disk, path: &str) -> Result<(View, Vec<OpenFault>), Error> {
    let io = |source| Error::Io { path: path.to_owned(), action: "open".to_owned(), source };
    let file = disk.open(path, Open::Read).map_err(io)?;
    let shared = Arc::new(Shared {
        path: path.to_owned(),
        file,
        cache: Cache::new(0),
        bound: Bound::new(0),
        live: Mutex::default(),
        pinned: Mutex::default(),
        poison: Mutex::default(),
    });
    let (meta, other) = choose_meta(&shared)?;
    let fault = |other: Other| OpenFault {
        what: other.to_string(),
        torn: matches!(other, Other::Damaged(_)),
    };
    let mut faults: Vec<OpenFault> = other.err().map(fault).into_iter().collect();
    let bytes = shared.file.len().map_err(|e| shared.io("measure", e))?;
    if bytes < u64::from(meta.pages.get()) * PAGE_BYTES as u64 {
        let what = format!("the file has {bytes} bytes, its meta page says {} pages", meta.pages);
        faults.push(OpenFault { what, torn: false });
    }
    let roots = match read_directory(&shared, &meta) {
        Ok(roots) => roots,
        Err(_) => readable_roots(&shared, meta),
    };
    Ok((View(State::new(shared, meta, roots)), faults))
}

/// The roots in those pages of the directory that can be read.
fn readable_roots(shared: &Arc<Shared>, meta: Meta) -> Vec<(u32, Root)> {
    // A state of its own, for the walk over the directory only: it has no trees.
    let state = State::new(Arc::clone(shared), meta, Vec::new());
    let mut pages = Pages::new(View(state));
    pages.free = Ref::NONE;
    let mut roots = Vec::new();
    while let Some(walked) = pages.next(&mut |_, _| false) {
        let Walked::Page(_, page) = walked else { continue };
        for (tree, root) in page.entries() {
            let (Ok(tree), Ok(root)) = (<[u8; 4]>::try_from(tree), Root::read_from_bytes(root))
            else {
                continue;
            };
            let tree = u32::from_be_bytes(tree);
            if shared.levels(tree, &root).is_ok() && root.at.page() >= FIRST_PAGE {
                roots.push((tree, root));
            }
        }
    }
    roots.sort_by_key(|(tree, _)| *tree);
    roots.dedup_by_key(|(tree, _)| *tree);
    roots
}
