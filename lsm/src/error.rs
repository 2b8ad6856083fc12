//! What can go wrong, and what the caller can do about it.

use platform::Shortage;

use crate::batch::BatchError;
use crate::expect::{Unmet, shown};
use crate::{KeyspaceId, Lsn, WAL_DIR};

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
    /// A transaction has read what another commit has written since; nothing changed.
    /// Begin it again.
    #[error(
        "{keyspace}, key {}, was written by commit {lsn} after this transaction had begun, and \
         the transaction rests on what was there: nothing was written, begin it again",
        shown(key)
    )]
    Conflict {
        /// Where.
        keyspace: KeyspaceId,
        /// What was written; empty: all of the keyspace.
        key: Box<[u8]>,
        /// The commit that wrote it.
        lsn: Lsn,
    },
    /// So much was committed since a transaction began that it is not known any more
    /// whether something of it was read. Begin it again.
    #[error(
        "so much was written since this transaction began (commit {lsn}) that it cannot be \
         compared any more: nothing was written, begin it again, and do less in it"
    )]
    TooOld {
        /// The last commit it saw.
        lsn: Lsn,
    },
    /// The store follows another one, whose commits alone it takes; nothing changed.
    #[error("{0}")]
    Follows(std::sync::Arc<str>),
    /// A frame of another store cannot be the next commit here; nothing of it was applied.
    #[error("frame {lsn} was shipped, commit {wanted} comes next: ask for that one")]
    OutOfOrder {
        /// The frame's.
        lsn: Lsn,
        /// The next one here.
        wanted: Lsn,
    },
    /// A store that leads takes nobody's frames.
    #[error("this store makes commits of its own and takes no frames of another: demote it first")]
    Leads,
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
    /// Another version of the program wrote the store. Use that.
    #[error(
        "{file} has store format {found}, this version reads {known}: {}",
        platform::advice::other_format(u32::from(*found), u32::from(*known))
    )]
    Version {
        /// The file.
        file: String,
        /// The format found.
        found: u16,
        /// The one known.
        known: u16,
    },
    /// Bytes that were durable make no sense. Restore.
    #[error("{file} is damaged: {what}; {}", platform::advice::RESTORE)]
    Corrupt {
        /// The file.
        file: String,
        /// What was found.
        what: String,
    },
    /// A file the store cannot be without is not there. Nothing was made or changed.
    #[error("{file} is missing: {why}; put it back; else {}", platform::advice::RESTORE)]
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
    /// A WAL frame is whole but holds no batch. Restore, or use the version that wrote it.
    #[error(
        "the batch of commit {lsn} in the write-ahead log ({WAL_DIR}/) cannot be read: {source}{}",
        match source {
            BatchError::Version(_) => String::new(),
            _ => format!("; {}", platform::advice::RESTORE),
        }
    )]
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damage_names_the_file_and_the_commands_that_mend_it() {
        let (file, what) = ("trees.pages".to_owned(), "it is rotten".to_owned());
        let (path, place) = (file.clone(), btree_place());
        let (why, source) = (what.clone(), BatchError::Corrupt { at: 3, what: "it is rotten" });
        for (error, parts) in [
            (Error::Corrupt { file: file.clone(), what: what.clone() }, ["trees.pages", "rotten"]),
            (Error::Missing { file, why: what.clone() }, ["trees.pages", "rotten"]),
            (Error::Frame { lsn: 8, source }, ["wal/", "commit 8"]),
            (
                wal::Error::Corrupt { file: "wal/1".into(), offset: 64, lsn: 8, why: why.clone() }
                    .into(),
                ["wal/1 at offset 64", "frame 8"],
            ),
            (
                vlog::Error::Corrupt { file: "vlog/1".into(), offset: 32, why }.into(),
                ["vlog/1 at offset 32", "rotten"],
            ),
            (
                btree::Error::Corrupt { path, place, what }.into(),
                ["trees.pages, page 2", "offset 8192"],
            ),
        ] {
            let text = error.to_string();
            let todo = [
                "planck verify --dir DIR",
                "planck restore --from BACKUPS --dir NEW",
                "planck salvage --dir DIR --to NEW",
            ];
            for part in parts.iter().chain(&todo) {
                assert!(text.contains(part), "{part}: {text}");
            }
        }
    }

    fn btree_place() -> btree::Place {
        btree::Place { page: 2, tree: Some(1) }
    }

    #[test]
    fn another_version_is_not_damage_and_says_what_to_do() {
        for (found, todo) in [(1, "planctl export"), (9, "run the release that wrote it")] {
            for error in [
                Error::Version { file: "trees.pages".into(), found: found.into(), known: 4 },
                Error::Frame { lsn: 8, source: BatchError::Version(found) },
                wal::Error::OtherFormat { file: "wal/1".into(), found: found.into(), known: 2 }
                    .into(),
                vlog::Error::OtherFormat { file: "vlog/1".into(), found: found.into(), known: 2 }
                    .into(),
            ] {
                let text = error.to_string();
                assert!(text.contains(todo) && !text.contains("salvage"), "{text}");
                assert!(!error.is_damage(), "{text}");
            }
        }
    }
}
