//! What can go wrong with the archive, and what to do about it.
//!
//! Invariant: every message names the file (and the offset, where bytes are at
//! fault), says what was found and what to do. Nothing is skipped.

use crate::Lsn;

/// A failure of the archive.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The archive's disk refused something. The copy is tried again.
    #[error("the log archive: could not {doing} {file}: {source}")]
    Io {
        /// A verb: "open", "write", "sync", ...
        doing: &'static str,
        /// The file or directory.
        file: String,
        /// The disk's own words.
        source: std::io::Error,
    },

    /// The live log could not be read, or is poisoned.
    #[error("the log archive could not read the log: {0}")]
    Log(#[from] crate::Error),

    /// A file's bytes are not what was written.
    #[error(
        "the log archive is damaged in {file} at offset {offset}: {why}; put back a good copy of \
         the file, or restore only up to what lies before it"
    )]
    Corrupt {
        /// The file.
        file: String,
        /// Byte offset in the file.
        offset: u64,
        /// What was found.
        why: String,
    },

    /// A newer Planck wrote the file. Use that one or a later one.
    #[error(
        "{file} has archive format {found}, this version reads up to {known}: use the Planck that \
         wrote it, or a newer one"
    )]
    NewerFormat {
        /// The file.
        file: String,
        /// The version it says.
        found: u32,
        /// The newest version this code knows.
        known: u32,
    },

    /// A sound file under another's name.
    #[error(
        "{file} holds frames {first} to {last}, which is not what its name says: give it back its \
         name"
    )]
    Misnamed {
        /// The file.
        file: String,
        /// Its first frame.
        first: Lsn,
        /// Its last frame.
        last: Lsn,
    },

    /// The archive belongs to another store.
    #[error(
        "{file} is of another store ({found}, this one is {wanted}): every store needs an archive \
         directory of its own"
    )]
    OtherStore {
        /// The file.
        file: String,
        /// The store it says.
        found: super::StoreId,
        /// The store that asked.
        wanted: super::StoreId,
    },

    /// Frames are missing between two files, or between the archive and the log.
    #[error(
        "the log archive {dir} has a hole: frames {first} to {last} are not in it; the log is not \
         cut meanwhile and grows; put back the missing files, or, if they are gone, begin a new \
         archive in an empty directory and take a new base backup"
    )]
    Hole {
        /// The archive's directory.
        dir: String,
        /// The first frame missing.
        first: Lsn,
        /// The last frame missing.
        last: Lsn,
    },

    /// Two files claim the same frames.
    #[error(
        "the log archive's {file} overlaps {other}: two stores write to one archive, or a file was \
         put there by hand; move one of them away"
    )]
    Overlap {
        /// One file.
        file: String,
        /// The other.
        other: String,
    },

    /// The archive and the log have different frames under one LSN.
    #[error(
        "{file} holds another frame {lsn} than the log: the data directory was put back from an \
         older copy, or two stores write to one archive; restore with the archive, or begin a new \
         one in an empty directory"
    )]
    Differs {
        /// The file, or the file that was to be written.
        file: String,
        /// The frame, or the first one of the file.
        lsn: Lsn,
    },

    /// The archive holds frames that the log never had.
    #[error(
        "the log archive {dir} reaches to frame {archived}, the log only to {log}: the data \
         directory was put back from an older copy; restore with the archive, or begin a new one \
         in an empty directory"
    )]
    Ahead {
        /// The archive's directory.
        dir: String,
        /// Its last frame.
        archived: Lsn,
        /// The log's last durable frame.
        log: Lsn,
    },

    /// The archive does not reach as far as was asked.
    #[error("frame {wanted} is not in the log archive {dir}, which has {has}")]
    NotThere {
        /// The archive's directory.
        dir: String,
        /// What was asked for.
        wanted: Lsn,
        /// What there is, in words.
        has: String,
    },
}

impl Error {
    pub(crate) fn io(doing: &'static str, file: &str) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self::Io { doing, file: file.to_owned(), source }
    }

    pub(crate) fn corrupt(file: &str, offset: u64, why: impl Into<String>) -> Self {
        Self::Corrupt { file: file.to_owned(), offset, why: why.into() }
    }
}
