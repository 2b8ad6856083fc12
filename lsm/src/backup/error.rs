//! What can go wrong with a backup or a restore.

use crate::directory::StoreId;

/// An error of a backup, a restore, or what is done with backups.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The store that is backed up, or the one being restored, failed.
    #[error(transparent)]
    Store(#[from] crate::Error),
    /// A disk refused something.
    #[error("could not {doing} {file}: {source}")]
    Io {
        /// A verb.
        doing: &'static str,
        /// The file or directory.
        file: String,
        /// The disk's own words.
        source: std::io::Error,
    },
    /// Another backup, or a prune, is at work in the backup directory.
    #[error("another process works on the backups: it holds {file}; wait for it to end")]
    Busy {
        /// The lock file.
        file: String,
    },
    /// The backup directory belongs to another store.
    #[error(
        "the backups in {dir} are of store {found}, this is store {wanted}: give each store a \
         directory of its own (a restored store is another one)"
    )]
    OtherStore {
        /// The directory.
        dir: String,
        /// Whose backups are there.
        found: StoreId,
        /// Who asked.
        wanted: StoreId,
    },
    /// There is no such backup.
    #[error("there is no backup {wanted} in {dir}")]
    NoBackup {
        /// The directory.
        dir: String,
        /// What was asked for.
        wanted: String,
    },
    /// There are backups, and no manifest of theirs can be read.
    #[error("of the backups in {dir} none can be read: {why}")]
    NoneReadable {
        /// The directory.
        dir: String,
        /// What is wrong with the oldest.
        why: String,
    },
    /// Which files a backup needs is not known, so none was removed.
    #[error(
        "nothing was removed from the backups, since one of them cannot be read, and which files \
         it needs is not known ({why}); to give that backup up, remove {file}: the next pruning \
         removes what only it needed"
    )]
    NothingRemoved {
        /// Its manifest.
        file: String,
        /// What is wrong with it.
        why: String,
    },
    /// The store would have had to keep too much for the backup.
    #[error(
        "the backup took too long: the store kept what was overwritten since it began, for it to \
         copy, and that came to more than {most} bytes; what was kept is free again; give backups \
         a faster disk, or set backup.max_pinned higher"
    )]
    HeldTooMuch {
        /// The bound, in bytes.
        most: u64,
    },
    /// A file of a backup does not hold what was written to it.
    #[error("the backup's {file} is damaged: {what}; use another backup")]
    Damaged {
        /// The file.
        file: String,
        /// What does not hold.
        what: String,
    },
    /// Another version of the program wrote the backup.
    #[error(
        "{file} has backup format {found}, this version reads {known}: use the one that wrote it"
    )]
    Version {
        /// The file.
        file: String,
        /// Its format.
        found: u32,
        /// The one known.
        known: u32,
    },
    /// A restore needs an empty directory. Nothing was changed.
    #[error("the directory to restore into is not empty ({file} is there): give an empty one")]
    NotEmpty {
        /// The first file found.
        file: String,
    },
    /// What was asked for lies beyond what backup and archive hold.
    #[error("cannot restore to {wanted}: {why}")]
    Unreachable {
        /// What was asked for.
        wanted: String,
        /// What there is instead.
        why: String,
    },
    /// The restored store does not verify: it was not put in place.
    #[error("the restored store does not verify, and was not put in place: {0}")]
    Unsound(String),
}

impl Error {
    pub(crate) fn io(doing: &'static str, file: &str) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self::Io { doing, file: file.to_owned(), source }
    }

    pub(crate) fn damaged(file: &str, what: impl Into<String>) -> Self {
        Self::Damaged { file: file.to_owned(), what: what.into() }
    }
}

impl From<btree::Error> for Error {
    fn from(error: btree::Error) -> Self {
        Self::Store(error.into())
    }
}

impl From<vlog::Error> for Error {
    fn from(error: vlog::Error) -> Self {
        Self::Store(error.into())
    }
}

impl From<wal::Error> for Error {
    fn from(error: wal::Error) -> Self {
        Self::Store(error.into())
    }
}
