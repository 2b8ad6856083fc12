//! What can go wrong with a page file.
//!
//! Few kinds, so that a caller can decide (retry, fix the call, stop); each
//! carries the file, and where there is one the page and the tree.

use std::fmt;
use std::io;

/// Why an operation on a page file failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The disk refused. It may be tried again: reads as they are, writes in another
    /// transaction. A failed sync poisons the file.
    #[error("could not {action} page file {path}: {source}")]
    Io {
        /// The page file.
        path: String,
        /// What was tried, as a verb ("read page 12 of", "sync").
        action: String,
        /// What the disk said.
        source: io::Error,
    },
    /// The file does not hold what was written to it. Nothing of the page was served.
    #[error("{path}, {place} is damaged: {what}; {}", platform::advice::RESTORE)]
    Corrupt {
        /// The page file.
        path: String,
        /// Which page, and of which tree.
        place: Place,
        /// What does not hold.
        what: String,
    },
    /// The file was written by a release with another format.
    #[error(
        "{path} has page file format {found}, this release reads {supported}: {}",
        platform::advice::other_format(*found, *supported)
    )]
    Version {
        /// The page file.
        path: String,
        /// The version in the file.
        found: u32,
        /// The one this code reads.
        supported: u32,
    },
    /// An earlier sync failed: what the disk holds is not known any more.
    #[error(
        "{path} takes no more writes since an earlier one failed ({why}); reads go on: check the disk, then restart"
    )]
    Poisoned {
        /// The page file.
        path: String,
        /// The first failure.
        why: String,
    },
    /// The caller broke a rule of the interface; nothing was changed by the refused call,
    /// and the [`Write`](crate::Write) it was made on can no longer be committed.
    #[error("refused on tree {tree} of {path}: {what}")]
    Refused {
        /// The page file.
        path: String,
        /// The tree named in the call.
        tree: u32,
        /// The rule.
        what: String,
    },
    /// The file has as many pages as page numbers can name (2^32 of 4 KiB: 16 TiB).
    #[error(
        "{path} is full: it has reached 2^32 pages (16 TiB); spread the data over more services"
    )]
    Full {
        /// The page file.
        path: String,
    },
}

impl Error {
    /// Whether the disk, or a quota on it, is full: the same call may succeed once
    /// there is space, and nothing else need be done for it.
    pub fn is_no_space(&self) -> bool {
        use io::ErrorKind::{QuotaExceeded, StorageFull};
        matches!(self, Error::Io { source, .. } if matches!(source.kind(), StorageFull | QuotaExceeded))
    }
}

/// Where in a page file: page and tree, as far as they are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Page number; the byte offset is 4096 times it.
    pub page: u32,
    /// The tree, if the page belongs to one.
    pub tree: Option<u32>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "page {} (offset {})", self.page, u64::from(self.page) * 4096)?;
        match self.tree {
            Some(crate::format::DIRECTORY) => write!(f, " of the tree directory"),
            Some(tree) => write!(f, " of tree {tree}"),
            None => Ok(()),
        }
    }
}
