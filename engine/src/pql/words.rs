//! The words that mean something where they stand, but for steps, functions and the
//! operators that are words, which stand beside what reads them.
//!
//! No word is reserved: a field may have any of these names.

/// What joins conditions.
pub(super) const JOINING: [&str; 3] = ["and", "or", "not"];
/// Which way an order goes.
pub(super) const ORDERS: [&str; 2] = ["asc", "desc"];
/// What names what a lookup finds.
pub(super) const NAMING: [&str; 1] = ["as"];
/// Which state of a changed document is meant.
pub(super) const IMAGES: [&str; 2] = ["before", "after"];
/// Values that are words.
pub(super) const CONSTANTS: [&str; 3] = ["true", "false", "null"];
