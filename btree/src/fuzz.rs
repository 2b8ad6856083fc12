//! A door for `tests/fuzz`; not part of the interface.

use std::collections::BTreeSet;

use zerocopy::{FromBytes, IntoBytes};

use crate::format::{
    Child, FIRST_PAGE, FREE, Header, INNER, LEAF, Meta, PAGE_BYTES, PageBytes, Ref, Root, seal,
};
use crate::free;
use crate::node::{Page, check_order};

/// Pages of the file that a page of the free list is taken to be in.
const FILE_PAGES: u32 = 1 << 16;

/// What a page was found to be.
#[derive(Debug)]
pub enum Seen {
    /// A leaf, or an inner page.
    Node {
        /// Distance to the leaves.
        level: u8,
        /// How many.
        entries: usize,
        /// Bytes that all keys begin with.
        prefix: usize,
        /// Whether all holds that `verify` asks of it besides.
        is_orderly: bool,
    },
    /// A page of the free list.
    Free {
        /// 0: reusable; 1: freed by this commit.
        class: u8,
        /// Page numbers in it.
        pages: usize,
        /// Whether another follows.
        has_next: bool,
    },
}

fn whole(bytes: &[u8]) -> PageBytes {
    let mut page = [0; PAGE_BYTES];
    let len = bytes.len().min(PAGE_BYTES);
    page[..len].copy_from_slice(&bytes[..len]);
    page
}

/// Takes any bytes for a page as the disk might give it, its checksum right, and
/// reads everything in it that a reader of a tree or of the free list could.
///
/// # Errors
/// Why it was refused.
pub fn page(bytes: &[u8]) -> Result<Seen, String> {
    const AT: u32 = 7;
    let mut page = whole(bytes);
    let sum = seal(AT, &mut page);
    let (header, _) = Header::read_from_prefix(&page).expect("a page is larger than its header");
    if header.kind == FREE {
        let (class, pages, next) = free::decode(&page, FILE_PAGES)?;
        assert!(pages.is_sorted() && pages.iter().all(|p| (FIRST_PAGE..FILE_PAGES).contains(p)));
        return Ok(Seen::Free { class, pages: pages.len(), has_next: !next.is_none() });
    }
    // What the header says of tree and level: only then the rest is looked at.
    let (stamp, level) = (header.tree.get(), header.level);
    let page = Page::from_disk(Ref::new(AT, sum), stamp, level, page)?;
    let node = page.node();
    let is_orderly = check_order(&page).is_ok();
    for i in 0..node.len() {
        let key = node.key(i);
        let range = node.value_range(i);
        assert_eq!(node.value(i), &page.bytes()[range], "a value has one place");
        let found = node.search(&key);
        if level > 0 {
            assert!(node.child_index(&key) < node.len(), "a child that is there");
            assert!(node.child(i).at.page() > 0, "no reference to the meta pages");
        } else if is_orderly {
            assert_eq!(found, Ok(i), "in an orderly page every key is found");
        }
    }
    Ok(Seen::Node { level, entries: node.len(), prefix: node.prefix().len(), is_orderly })
}

/// What a meta page that was taken says.
#[derive(Debug)]
pub struct SeenMeta {
    /// Whether there is a directory of trees.
    pub has_trees: bool,
    /// Whether there is a free list.
    pub has_free: bool,
    /// The caller's part.
    pub user: [u8; 64],
}

/// Takes any bytes for each of the meta pages, its checksum right.
pub fn meta(bytes: &[u8]) -> [Result<SeenMeta, String>; 2] {
    let mut page = whole(bytes);
    [0, 1].map(|slot| {
        seal(slot, &mut page);
        let meta = Meta::decode(slot, &page).map_err(|bad| bad.to_string())?;
        assert_eq!(*meta.encode(), page, "what decodes encodes to the same bytes");
        let (has_trees, has_free) = (!meta.directory.is_none(), !meta.free.is_none());
        Ok(SeenMeta { has_trees, has_free, user: meta.user })
    })
}

/// Makes the checksums of a whole page file right after bytes in it were changed,
/// those in references too, as far as the pages can still be understood: so that a
/// reader meets the change itself.
pub fn reseal(file: &mut [u8]) {
    let mut seen = BTreeSet::new();
    for slot in 0..FIRST_PAGE {
        let Some(mut page) = get(file, slot) else { return };
        let (mut meta, _) = Meta::read_from_prefix(&page).expect("a page is larger than a meta");
        meta.directory = below(file, meta.directory, true, &mut seen);
        meta.free = below(file, meta.free, true, &mut seen);
        page[..size_of::<Meta>()].copy_from_slice(meta.as_bytes());
        seal(slot, &mut page);
        put(file, slot, &page);
    }
}

fn get(file: &[u8], page: u32) -> Option<PageBytes> {
    file.get(page as usize * PAGE_BYTES..)?.first_chunk().copied()
}

fn put(file: &mut [u8], page: u32, bytes: &PageBytes) {
    let at = page as usize * PAGE_BYTES;
    file[at..at + PAGE_BYTES].copy_from_slice(bytes);
}

/// The reference to a page, after all that is below it was made right.
fn below(file: &mut [u8], at: Ref, in_directory: bool, seen: &mut BTreeSet<u32>) -> Ref {
    let number = at.page();
    let Some(mut page) = get(file, number).filter(|_| number >= FIRST_PAGE) else { return at };
    // Two trees of two meta pages share pages, and a changed one may lead back.
    if seen.insert(number) {
        let (header, _) = Header::read_from_prefix(&page).expect("larger than its header");
        let sum = seal(number, &mut page);
        let sound = Page::from_disk(Ref::new(number, sum), header.tree.get(), header.level, page);
        let values = match &sound {
            Ok(found) => (0..found.node().len()).map(|i| found.node().value_range(i)).collect(),
            Err(_) => Vec::new(),
        };
        for value in values {
            match header.kind {
                INNER => {
                    let (mut child, _) =
                        Child::read_from_prefix(&page[value.clone()]).expect("checked: a child");
                    child.at = below(file, child.at, in_directory, seen);
                    page[value].copy_from_slice(child.as_bytes());
                }
                LEAF if in_directory && value.len() == size_of::<Root>() => {
                    let (mut root, _) =
                        Root::read_from_prefix(&page[value.clone()]).expect("of its length");
                    root.at = below(file, root.at, false, seen);
                    page[value].copy_from_slice(root.as_bytes());
                }
                _ => {}
            }
        }
        if header.kind == FREE {
            let place = size_of::<Header>()..size_of::<Header>() + size_of::<Ref>();
            let (next, _) = Ref::read_from_prefix(&page[place.clone()]).expect("of its length");
            let next = below(file, next, in_directory, seen);
            page[place].copy_from_slice(next.as_bytes());
        }
        seal(number, &mut page);
        put(file, number, &page);
    }
    let page = get(file, number).expect("it was there");
    Ref::new(number, crate::format::carried_checksum(&page))
}
