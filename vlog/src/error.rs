//! What can go wrong with the value log, and what to do about it.
//!
//! Invariant: every message names the file, and where there is one the offset;
//! a value whose checksum fails is never handed out.

/// A failure of the value log.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The disk refused. It may be tried again; of a failed write nothing is left.
    #[error("could not {doing} {file}: {source}")]
    Io {
        /// A verb: "open", "read", "cut", ...
        doing: &'static str,
        /// The file or directory.
        file: String,
        /// The disk's own words.
        source: std::io::Error,
    },

    /// Bytes that a committed pointer or tail vouches for are damaged.
    #[error(
        "the value log is damaged in {file} at offset {offset}: {why}; what is not damaged can \
         still be exported; {}",
        platform::advice::RESTORE
    )]
    Corrupt {
        /// The file.
        file: String,
        /// Where the record or header begins.
        offset: u64,
        /// What was found.
        why: String,
    },

    /// A segment that should be there is not.
    #[error(
        "the value log's file {file} is missing: put it back; else {}",
        platform::advice::RESTORE
    )]
    Missing {
        /// The file.
        file: String,
    },

    /// Another version of Planck wrote this. Nothing was changed.
    #[error(
        "{file} has value log format {found}, this version reads {known}: {}",
        platform::advice::other_format(*found, *known)
    )]
    OtherFormat {
        /// The file.
        file: String,
        /// The version it says.
        found: u32,
        /// The version this code knows.
        known: u32,
    },

    /// A key or value is longer than a record may hold. Nothing was written.
    #[error("a {what} of {bytes} bytes is over the limit of {max} bytes")]
    TooLarge {
        /// "key" or "value".
        what: &'static str,
        /// Its length.
        bytes: u64,
        /// The limit.
        max: u64,
    },

    /// A sync failed, now or earlier: no more writes until opened again. The text
    /// is the same for every caller.
    #[error("{0}")]
    Poisoned(String),

    /// The caller asked for what the value log never does; a bug above.
    #[error("segment {segment} of the value log: {why}")]
    Misuse {
        /// The segment.
        segment: u32,
        /// What is wrong with the request.
        why: &'static str,
    },
}

impl Error {
    /// Whether the disk, or a quota on it, is full: the same call may succeed once
    /// there is space, and nothing else need be done for it.
    pub fn is_no_space(&self) -> bool {
        use std::io::ErrorKind::{QuotaExceeded, StorageFull};
        matches!(self, Self::Io { source, .. } if matches!(source.kind(), StorageFull | QuotaExceeded))
    }

    pub(crate) fn io(doing: &'static str, file: &str) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self::Io { doing, file: file.to_owned(), source }
    }

    /// As [`Error::io`] for opening: a file that is not there gets its own error.
    pub(crate) fn opening(file: &str) -> impl FnOnce(std::io::Error) -> Self {
        move |source| match source.kind() {
            std::io::ErrorKind::NotFound => Self::Missing { file: file.to_owned() },
            _ => Self::Io { doing: "open", file: file.to_owned(), source },
        }
    }

    pub(crate) fn corrupt(file: &str, offset: u64, why: impl Into<String>) -> Self {
        Self::Corrupt { file: file.to_owned(), offset, why: why.into() }
    }
}
