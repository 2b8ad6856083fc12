//! What a restore is asked, and what it answers.
//!
//! What must stay true: the answer names exactly the last commit restored and, if
//! that was a choice, the first one left out; and every backup that was passed over
//! because it cannot be read.

use std::fmt;
use std::sync::Arc;

use platform::Disk;

use super::catalog::Unreadable;
use crate::Lsn;
use crate::directory::StoreId;

/// How far to restore.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Until {
    /// As far as backup and archive go.
    #[default]
    Latest,
    /// To this commit, included.
    Lsn(Lsn),
    /// To the last commit before the first one made later than this (wall time in
    /// microseconds since 1970).
    Wall(u64),
}

impl fmt::Display for Until {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Until::Latest => f.write_str("the latest commit"),
            Until::Lsn(lsn) => write!(f, "commit {lsn}"),
            Until::Wall(micros) => write!(f, "wall time {micros} (microseconds since 1970)"),
        }
    }
}

/// What to restore from, and how far.
#[derive(Clone)]
pub struct Restore {
    /// The disk with the backups, and their directory on it.
    pub disk: Arc<dyn Disk>,
    /// See `disk`.
    pub dir: String,
    /// Which backup; `None`: the newest from which `until` can be reached.
    pub number: Option<u64>,
    /// The archive of the store's log: a disk and a directory on it.
    pub archive: Option<(Arc<dyn Disk>, String)>,
    /// How far.
    pub until: Until,
}

/// What a restore has done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restored {
    /// The backup it began with.
    pub backup: u64,
    /// The store that was backed up.
    pub from: StoreId,
    /// The store that was made.
    pub store: StoreId,
    /// The last commit in it,
    pub lsn: Lsn,
    /// and that commit's wall time in microseconds, where a frame told.
    pub wall_micros: Option<u64>,
    /// Frames replayed from the backup,
    pub from_backup: u64,
    /// and from the archive.
    pub from_archive: u64,
    /// The first commit left out because of what was asked for, with its wall time.
    pub left_out: Option<(Lsn, u64)>,
    /// Bytes of pages and values restored.
    pub bytes: u64,
    /// Backups beside it that cannot be read, oldest first: had one been, it might
    /// have been taken instead. Empty if a number was asked for.
    pub unreadable: Vec<Unreadable>,
}

impl fmt::Display for Restored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "restored backup {} of store {} up to commit {}",
            self.backup, self.from, self.lsn
        )?;
        if let Some(micros) = self.wall_micros {
            write!(f, " (made at {micros})")?;
        }
        write!(
            f,
            ": {} bytes of pages and values, {} commits replayed from the backup, {} from the \
             archive; the store is now {}",
            self.bytes, self.from_backup, self.from_archive, self.store
        )?;
        if let Some((lsn, micros)) = self.left_out {
            write!(f, "; the next commit, {lsn}, was made at {micros}")?;
        }
        self.unreadable.iter().try_for_each(|unreadable| write!(f, "; passed over {unreadable}"))
    }
}
