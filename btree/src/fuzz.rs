//! A door for `tests/fuzz`; not part of the interface.

use crate::format::{Meta, PAGE_BYTES, Ref, seal};
use crate::node::{Page, check_order};

/// Takes any bytes for a page as the disk might give it, its checksum right, and
/// reads everything in it that a reader of a tree could. Returns how many entries
/// it had, if it was taken for a page at all.
pub fn page(bytes: &[u8]) -> Option<usize> {
    const AT: u32 = 7;
    let mut page = [0; PAGE_BYTES];
    let len = bytes.len().min(PAGE_BYTES);
    page[..len].copy_from_slice(&bytes[..len]);
    let sum = seal(AT, &mut page);
    // What the header says of tree and level: only then the rest is looked at.
    let header = Page::sealed(page);
    let (stamp, level) = (header.header().tree.get(), header.header().level);
    let page = Page::from_disk(Ref::new(AT, sum), stamp, level, page).ok()?;
    let node = page.node();
    for i in 0..node.len() {
        let key = node.key(i);
        let range = node.value_range(i);
        assert_eq!(node.value(i), &page.bytes()[range], "a value has one place");
        let found = node.search(&key);
        if level > 0 {
            assert!(node.child_index(&key) < node.len(), "a child that is there");
            assert!(node.child(i).at.page() > 0, "no reference to the meta pages");
        } else if check_order(&page).is_ok() {
            assert_eq!(found, Ok(i), "in an orderly page every key is found");
        }
    }
    Some(node.len())
}

/// Takes any bytes for a meta page, its checksum right.
pub fn meta(bytes: &[u8]) {
    let mut page = [0; PAGE_BYTES];
    let len = bytes.len().min(PAGE_BYTES);
    page[..len].copy_from_slice(&bytes[..len]);
    for slot in 0..2 {
        seal(slot, &mut page);
        if let Ok(meta) = Meta::decode(slot, &page) {
            assert_eq!(*meta.encode(), page, "what decodes encodes to the same bytes");
        }
    }
}
