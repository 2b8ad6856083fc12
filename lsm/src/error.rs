//! What can go wrong, and what the caller can do about it.

use platform::Shortage;

use crate::batch::BatchError;
use crate::expect::{Unmet, shown};
use crate::{KeyspaceId, Lsn};

/// An error of the key-value engine.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The batch breaks a limit; nothing changed. Change the batch.
    #[error("the batch was refused: {0}")]
    Batch(#[from] BatchError),
    /// What the batch requires does not hold; nothing changed. Read again, decide
    /// again.
    #[error("{keyspace}, key {}: {what}; nothing was written: read it again", shown(key))]
    Unmet {
        /// Where.
        keyspace: KeyspaceId,
        /// The first key that is not as required.
        key: Box<[u8]>,
        /// How.
        what: Unmet,
    },
    /// A key is no counter, or at its end.
    #[error("the counter in {keyspace}, key {}, gives no numbers: {what}", shown(key))]
    Counter {
        /// Where.
        keyspace: KeyspaceId,
        /// Its key.
        key: Box<[u8]>,
        /// What is wrong with it.
        what: &'static str,
    },
    /// An option is out of bounds. Change it.
    #[error("option {name} is {value}, it must be {must}")]
    Option {
        /// Which.
        name: &'static str,
        /// What it was.
        value: u64,
        /// What it may be.
        must: &'static str,
    },
    /// Another process, or another store in this one, has the directory.
    #[error(
        "the data directory is in use: another process holds {file}; stop it, or give another \
         directory"
    )]
    InUse {
        /// The lock file.
        file: String,
    },
    /// The disk refused something.
    #[error("could not {doing} {file}: {source}")]
    Io {
        /// A verb.
        doing: &'static str,
        /// The file or directory.
        file: String,
        /// The disk's own words.
        source: std::io::Error,
    },
    /// A newer program wrote the store. Use that.
    #[error("{file} was written by a newer version (format {found}, known {known}): use that one")]
    Version {
        /// The file.
        file: String,
        /// The format found.
        found: u16,
        /// The newest known.
        known: u16,
    },
    /// Bytes that were durable make no sense. Restore.
    #[error("{file} is damaged: {what}; stop planck and put back a copy of the data directory")]
    Corrupt {
        /// The file.
        file: String,
        /// What was found.
        what: String,
    },
    /// A file the store cannot be without is not there. Nothing was made or changed.
    #[error("{file} is missing: {why}; put it back, or restore the directory from a backup")]
    Missing {
        /// The file or directory.
        file: String,
        /// How that is known.
        why: String,
    },
    /// A restore into this directory did not come to its end; there is no store in it.
    #[error(
        "there is no store here, only a restore or salvage that did not end ({file} shows it): \
         remove the directory and begin again"
    )]
    Unfinished {
        /// The file that shows it.
        file: String,
    },
    /// A WAL frame is whole but holds no batch. Restore, or use a newer program.
    #[error("the batch of commit {lsn} in the write-ahead log cannot be read: {source}")]
    Frame {
        /// The commit.
        lsn: Lsn,
        /// Why.
        source: BatchError,
    },
    /// The write-ahead log failed. If it is poisoned, writes are refused until
    /// the store is opened again; reads go on.
    #[error(transparent)]
    Wal(#[from] wal::Error),
    /// The log's archive failed. It is tried again; the log is not cut meanwhile.
    #[error(transparent)]
    Archive(#[from] wal::archive::Error),
    /// There is no archive. Configure one.
    #[error("the log is not archived: configure an archive (log_archive), then restart")]
    NotArchived,
    /// The page file failed. Reads may be tried again.
    #[error(transparent)]
    Pages(#[from] btree::Error),
    /// The value log failed. Reads may be tried again.
    #[error(transparent)]
    Values(#[from] vlog::Error),
    /// An earlier step of the cursor failed: where it stands is not known.
    #[error("an earlier step of this cursor failed: seek, or open another one")]
    Cursor,
    /// As many snapshots live as may. Let go of some: cursors hold one each.
    #[error(
        "{live} snapshots are held, as many as may be at a time: end some reads and try again, or \
         raise max_snapshots"
    )]
    TooManySnapshots {
        /// How many live: the bound.
        live: usize,
    },
    /// The snapshot was taken away since what old ones hold back had grown over
    /// their share. Read again from a new one.
    #[error(
        "the snapshot of commit {lsn} was let go of: old snapshots held back more memory and disk \
         than they may; read again, in smaller pieces, or raise max_pinned_bytes"
    )]
    SnapshotExpired {
        /// What it saw.
        lsn: Lsn,
    },
    /// No space on the disk for another commit, or no file descriptor. Nothing
    /// changed, nothing is broken; reads go on. Free some: writes go on by
    /// themselves.
    #[error(
        "writes are refused until there {}; reads go on, and writes by themselves once there is: \
         {cause}",
        match short {
            Shortage::Space => "is space on the disk again",
            Shortage::Descriptors => "are file descriptors again (raise the limit of open files)",
        }
    )]
    NoSpace {
        /// What there is too little of.
        short: Shortage,
        /// Who found that, with the file.
        cause: Box<Error>,
    },
    /// Memory is full of commits that cannot be flushed; nothing changed. Reads
    /// go on. Mend what the reason names; where it says so, restart.
    #[error("no room for more writes, since flushing the memtables fails: {0}")]
    Full(Box<Error>),
}
