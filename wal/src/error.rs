//! What can go wrong with the log, and what to do about it.
//!
//! Invariant: every message names the file, and where there is one the offset
//! and the LSN, and says what to do next. Damage is never skipped: it is an
//! [`Error::Corrupt`] and nothing on the disk was changed.

use crate::Lsn;
use platform::Shortage;

/// What a replay callback may fail with.
pub type ReplayError = Box<dyn std::error::Error + Send + Sync>;

/// A failure of the log.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The disk refused while opening or reading. Retry after mending the disk.
    #[error("could not {doing} {file}: {source}")]
    Io {
        /// A verb: "open", "read", "cut", ...
        doing: &'static str,
        /// The file or directory.
        file: String,
        /// The disk's own words.
        source: std::io::Error,
    },

    /// Bytes that were once durable are damaged or gone. Nothing was changed.
    #[error(
        "the log is damaged in {file} at offset {offset}, where frame {lsn} should be: {why}; \
         nothing was changed: {}",
        platform::advice::RESTORE
    )]
    Corrupt {
        /// The file, or the directory if a whole file is missing.
        file: String,
        /// Byte offset in the file.
        offset: u64,
        /// The frame that should be there (0 if it is not known).
        lsn: Lsn,
        /// What was found, and why it is no torn tail.
        why: String,
    },

    /// Another version of Planck wrote this. Nothing was changed.
    #[error(
        "{file} has log format {found}, this version reads {known}: {}",
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

    /// One batch is larger than a frame may be. Nothing was written; send less.
    #[error("a frame of {bytes} bytes is over the limit of {max} bytes: commit smaller batches")]
    TooLarge {
        /// The payload's length.
        bytes: u64,
        /// [`crate::MAX_PAYLOAD_BYTES`].
        max: u64,
    },

    /// No room on the disk, or no file descriptor left. Nothing was appended and
    /// nothing is broken: free some and append again.
    #[error(
        "there is no {} for frame {lsn} in {file}: {source}; nothing was written, \
         free some and try again",
        match short { Shortage::Space => "space", Shortage::Descriptors => "file descriptor" }
    )]
    NoSpace {
        /// What there is too little of.
        short: Shortage,
        /// The frame that was refused.
        lsn: Lsn,
        /// The segment it was for.
        file: String,
        /// The disk's own words.
        source: std::io::Error,
    },

    /// The log was closed while this call waited.
    #[error("the log was closed")]
    Closed,

    /// [`crate::Wal::create_at`] found a log in the directory.
    #[error("{dir} holds a log already ({file}): choose an empty directory")]
    NotEmpty {
        /// The directory.
        dir: String,
        /// One of its files.
        file: String,
    },

    /// An append or a sync failed earlier: the log takes no more writes until it
    /// is opened again. The text is the same for every caller.
    #[error("{0}")]
    Poisoned(String),

    /// The replay callback failed; recovery stopped and changed nothing.
    #[error("frame {lsn} could not be replayed: {source}")]
    Replay {
        /// The frame.
        lsn: Lsn,
        /// The callback's own error.
        source: ReplayError,
    },

    /// The frames asked for have been truncated. Bootstrap from a snapshot.
    #[error(
        "frame {wanted} is no longer in the log, whose oldest frame is {oldest}: \
         start from a snapshot or the archive"
    )]
    Gone {
        /// The first frame the caller wanted.
        wanted: Lsn,
        /// The first frame still there.
        oldest: Lsn,
    },

    /// A frame that was never appended was waited for: a bug in the caller.
    #[error("frame {wanted} was never appended: the last frame is {last}")]
    NotWritten {
        /// What was asked for.
        wanted: Lsn,
        /// The newest frame.
        last: Lsn,
    },
}

impl Error {
    pub(crate) fn io(doing: &'static str, file: &str) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self::Io { doing, file: file.to_owned(), source }
    }

    pub(crate) fn corrupt(file: &str, offset: u64, lsn: Lsn, why: impl Into<String>) -> Self {
        Self::Corrupt { file: file.to_owned(), offset, lsn, why: why.into() }
    }
}
