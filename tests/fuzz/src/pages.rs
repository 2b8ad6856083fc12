//! Pages and meta pages of the page file, with right checksums.

/// Any bytes as a page of a tree.
pub fn page(data: &[u8]) {
    std::hint::black_box(btree::fuzz::page(data));
}

/// Any bytes as a meta page.
pub fn meta(data: &[u8]) {
    btree::fuzz::meta(data);
}
