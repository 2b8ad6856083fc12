//! What salvage could save, and what not.

use std::fmt;

use crate::verify::{Fault, Report};
use crate::{Lsn, StoreId};

/// Things kept by name; more are only counted.
const KEPT: usize = 1000;

/// Something that could not be saved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lost {
    /// The value of a key: it had one, which cannot be read.
    Value {
        /// Its keyspace.
        keyspace: u32,
        /// The key.
        key: Vec<u8>,
    },
    /// All keys of a range that the log says nothing of: whether there were any is
    /// not known.
    Range {
        /// The keyspace; `None`: any keyspace that is not in the new store.
        keyspace: Option<u32>,
        /// From this key on,
        low: Vec<u8>,
        /// up to and without this one.
        high: Option<Vec<u8>>,
    },
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Lost::Value { keyspace, key } => {
                write!(f, "keyspace {keyspace}, key \"{}\": its value", key.escape_ascii())
            }
            Lost::Range { keyspace, low, high } => {
                match keyspace {
                    Some(keyspace) => write!(f, "keyspace {keyspace}")?,
                    None => f.write_str("any other keyspace")?,
                }
                write!(f, ", keys from \"{}\"", low.escape_ascii())?;
                match high {
                    Some(high) => write!(f, " to below \"{}\"", high.escape_ascii())?,
                    None => f.write_str(" on")?,
                }
                f.write_str(": those not written since")
            }
        }
    }
}

/// A value found by scanning that may be old: it was not saved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Doubtful {
    /// Its keyspace.
    pub keyspace: u32,
    /// Its key.
    pub key: Vec<u8>,
    /// The commit that wrote it.
    pub lsn: Lsn,
    /// Where the record lies: segment of the value log, and offset.
    pub at: (u32, u64),
}

impl fmt::Display for Doubtful {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "keyspace {}, key \"{}\": a value of commit {} lies in segment {} at offset {}; whether \
             it is the last is not known",
            self.keyspace,
            self.key.escape_ascii(),
            self.lsn,
            self.at.0,
            self.at.1
        )
    }
}

/// What [`salvage`](super::salvage) has done. All that the new store holds was so
/// as of one commit of the old one; nothing in it is a guess.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Salvaged {
    /// The store that was made.
    pub store: StoreId,
    /// The commit of the old store that the new one shows: `None` if that is not
    /// known (no meta page and no frame can be read).
    pub as_of: Option<Lsn>,
    /// Values saved from the trees,
    pub from_trees: u64,
    /// values of keys whose page is lost, found by scanning and proven the last,
    pub from_scan: u64,
    /// and commits replayed from the log.
    pub commits: u64,
    /// What was not saved; the first thousand.
    pub lost: Vec<Lost>,
    /// How many more there are.
    pub more_lost: u64,
    /// Values found that may be old, not saved; the first thousand.
    pub doubtful: Vec<Doubtful>,
    /// How many more there are.
    pub more_doubtful: u64,
    /// Whole commits of the log behind lost ones: not replayed, since what the lost
    /// ones did is not known.
    pub commits_left: u64,
    /// What was wrong with the files on the way; verify names all.
    pub faults: Vec<Fault>,
    /// How many more there are.
    pub more_faults: u64,
}

impl Salvaged {
    /// Whether everything was saved.
    pub fn is_whole(&self) -> bool {
        self.lost.is_empty() && self.commits_left == 0 && self.as_of.is_some()
    }

    pub(super) fn lose(&mut self, lost: Lost) {
        match self.lost.len() < KEPT {
            true => self.lost.push(lost),
            false => self.more_lost += 1,
        }
    }

    pub(super) fn doubt(&mut self, doubtful: Doubtful) {
        match self.doubtful.len() < KEPT {
            true => self.doubtful.push(doubtful),
            false => self.more_doubtful += 1,
        }
    }

    pub(super) fn take_faults(&mut self, report: Report) {
        self.faults = report.faults;
        self.more_faults = report.more_faults;
    }
}

impl fmt::Display for Salvaged {
    /// One line of figures, then one for each thing lost, doubtful or damaged.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.as_of {
            Some(lsn) => write!(f, "salvaged the store as of commit {lsn}")?,
            None => f.write_str("salvaged what there was (as of which commit is not known)")?,
        }
        write!(
            f,
            ": {} values from the trees, {} found by scanning, {} commits from the log; {} things \
             lost, {} values in doubt, {} commits behind lost ones; the new store is {}",
            self.from_trees,
            self.from_scan,
            self.commits,
            self.lost.len() as u64 + self.more_lost,
            self.doubtful.len() as u64 + self.more_doubtful,
            self.commits_left,
            self.store
        )?;
        self.lost.iter().try_for_each(|lost| write!(f, "\nlost: {lost}"))?;
        self.doubtful.iter().try_for_each(|doubtful| write!(f, "\nin doubt: {doubtful}"))?;
        self.faults.iter().try_for_each(|fault| write!(f, "\nfault: {fault}"))?;
        let more = self.more_lost + self.more_doubtful + self.more_faults;
        if more > 0 {
            write!(f, "\nand {more} lines more")?;
        }
        Ok(())
    }
}
