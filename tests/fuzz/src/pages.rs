//! Pages and meta pages of the page file, with right checksums.

use crate::marks::{came_to, reached};
use btree::fuzz::Seen;

/// Where the corpus of `page` comes to.
pub(crate) const PLACES: &[&str] = &[
    "a leaf",
    "an inner page above leaves",
    "an inner page above inner pages",
    "with a prefix",
    "without a prefix",
    "of one entry",
    "in order",
    "out of order",
    "free pages",
    "pages freed by this commit",
    "a list that goes on",
    "the end of a list",
    "does not go with level",
    "entries do not fit into",
    "its first entry is not where it should be",
    "lies outside the page",
    "is longer than the entry",
    "is longer than 1024 bytes",
    "the value of entry 0 has",
    "refers to page 1",
    "says that no key is below it",
    "the page is not one of the free list",
    "a run is cut off",
    "a run goes past all pages",
    "a run goes past the end of the file",
    "bytes are left behind its runs",
];

/// Any bytes as a page of a tree, or of the free list.
pub fn page(data: &[u8]) {
    match btree::fuzz::page(data) {
        Ok(Seen::Node { level, entries, prefix, is_orderly }) => {
            reached(match level {
                0 => "a leaf",
                1 => "an inner page above leaves",
                _ => "an inner page above inner pages",
            });
            let prefix = if prefix > 0 { "with a prefix" } else { "without a prefix" };
            reached(if entries > 1 { prefix } else { "of one entry" });
            reached(if is_orderly { "in order" } else { "out of order" });
        }
        Ok(Seen::Free { class, pages, has_next }) => {
            reached(["free pages", "pages freed by this commit"][usize::from(class)]);
            reached(if pages > 0 { "page numbers" } else { "no page numbers" });
            reached(if has_next { "a list that goes on" } else { "the end of a list" });
        }
        Err(why) => reached(why),
    }
}

/// Where the corpus of `meta` comes to.
pub(crate) const META_PLACES: &[&str] = &[
    "the meta page of an even commit",
    "the meta page of an odd commit",
    "with trees",
    "without trees",
    "with a free list",
    "without a free list",
    "the store's part is sound",
    "meta has store format 99",
    "the store's 64 bytes of its meta page make no sense",
    "it does not begin like a page file",
    "it is of format 9",
    "its page size belongs to no release",
    "its fields contradict each other",
];

/// Any bytes as a meta page.
pub fn meta(data: &[u8]) {
    for (slot, found) in btree::fuzz::meta(data).iter().enumerate() {
        came_to(found, ["the meta page of an even commit", "the meta page of an odd commit"][slot]);
        if let Ok(meta) = found {
            reached(if meta.has_trees { "with trees" } else { "without trees" });
            reached(if meta.has_free { "with a free list" } else { "without a free list" });
            came_to(&lsm::fuzz::meta(&meta.user), "the store's part is sound");
        }
    }
}
