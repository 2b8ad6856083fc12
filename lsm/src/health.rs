//! The state of the store: whether it takes writes, and what damage reads have met.
//!
//! What must stay true:
//! * a want of space or descriptors refuses writes and nothing else: reads go on,
//!   nothing is poisoned, each commit tries again, so writes go on by themselves
//!   when there is space. What was refused is not there, what was taken is, once;
//! * an error on a read is an answer to that read only: it is counted by kind, the
//!   last is remembered, and nothing is refused because of it. Who reads again and again
//!   by itself (the archive, a backup, who follows the log) counts a place once.

use std::collections::BTreeSet;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use parking_lot::Mutex;
use platform::Shortage;

use wal::archive::Error as ArchiveError;

use crate::{Error, Lsm, Lsn, WAL_DIR};

/// Damaged places remembered; further ones, met by who comes back, are not counted.
const PLACES: usize = 1000;

/// Whether a store takes writes. Reads go on in each of these.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// It does.
    #[default]
    Healthy,
    /// The last commit found no space, or no file descriptor. The next one tries
    /// again.
    ReadOnly {
        /// What is short, of which file, and what to do.
        why: String,
        /// The last commit before writes were refused.
        since_lsn: Lsn,
    },
    /// A write or sync failed in a way that must not be tried again: the log takes no
    /// more, or flushes fail and writes end when memory is full. Restart.
    Poisoned {
        /// What failed, where, and what to do.
        why: String,
    },
}

/// Damage and failures that reads have met since the store was opened, those of the
/// archive, of backups and of who follows the log among them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Damage {
    /// Pages of the page file that failed their check.
    pub pages: u64,
    /// Records of the value log that failed theirs, or whose file is missing.
    pub records: u64,
    /// Frames of the log that failed theirs.
    pub frames: u64,
    /// Reads that the disk refused.
    pub read_errors: u64,
    /// The last of these in words: file and place.
    pub last: Option<String>,
}

/// See the module.
#[derive(Default)]
pub(crate) struct Health {
    is_short: AtomicBool,
    /// Why, and since when.
    short: Mutex<Option<(String, Lsn)>>,
    refused: AtomicU64,
    pages: AtomicU64,
    records: AtomicU64,
    frames: AtomicU64,
    read_errors: AtomicU64,
    last: Mutex<Option<String>>,
    /// Places counted for who comes back to them: file, and offset or LSN.
    places: Mutex<BTreeSet<(String, u64)>>,
}

impl Health {
    /// Takes note of an error that a read met.
    #[cold]
    pub(crate) fn met(&self, error: &Error) {
        let count = match error {
            Error::Pages(btree::Error::Corrupt { .. }) | Error::Corrupt { .. } => &self.pages,
            Error::Values(vlog::Error::Corrupt { .. } | vlog::Error::Missing { .. }) => {
                &self.records
            }
            Error::Wal(wal::Error::Corrupt { .. })
            | Error::Archive(ArchiveError::Log(wal::Error::Corrupt { .. })) => &self.frames,
            Error::Frame { source, .. } if source.is_damage() => &self.frames,
            Error::Pages(btree::Error::Io { .. })
            | Error::Values(vlog::Error::Io { .. })
            | Error::Wal(wal::Error::Io { .. })
            | Error::Archive(ArchiveError::Log(wal::Error::Io { .. }))
            | Error::Io { .. } => &self.read_errors,
            _ => return,
        };
        count.fetch_add(1, Relaxed);
        *self.last.lock() = Some(error.to_string());
    }

    /// As [`Health::met`], of who tries again by itself: each damaged place counts once.
    #[cold]
    pub(crate) fn met_again(&self, error: &Error) {
        if let Some(place) = place(error) {
            let mut places = self.places.lock();
            if places.len() >= PLACES || !places.insert(place) {
                return;
            }
        }
        self.met(error);
    }

    /// Takes note of damage that a flush or another step met; its other errors are
    /// no read's.
    pub(crate) fn look_for_damage<T>(&self, outcome: Result<T, Error>) -> Result<T, Error> {
        outcome.inspect_err(|error| {
            if error.is_damage() {
                self.met(error);
            }
        })
    }

    /// As [`Health::met`], of an outcome.
    pub(crate) fn look<T>(&self, outcome: Result<T, Error>) -> Result<T, Error> {
        outcome.inspect_err(|error| self.met(error))
    }

    pub(crate) fn damage(&self) -> Damage {
        Damage {
            pages: self.pages.load(Relaxed),
            records: self.records.load(Relaxed),
            frames: self.frames.load(Relaxed),
            read_errors: self.read_errors.load(Relaxed),
            last: self.last.lock().clone(),
        }
    }

    /// Commits refused for want of space so far.
    pub(crate) fn refused(&self) -> u64 {
        self.refused.load(Relaxed)
    }

    /// A commit was written.
    #[inline]
    pub(crate) fn wrote(&self) {
        if self.is_short.load(Relaxed) {
            *self.short.lock() = None;
            self.is_short.store(false, Release);
        }
    }
}

/// Where damage lies: file, and offset or LSN, as far as they are known.
fn place(error: &Error) -> Option<(String, u64)> {
    let (file, at) = match error {
        Error::Pages(btree::Error::Corrupt { path, place, .. }) => (&path[..], place.page.into()),
        Error::Values(vlog::Error::Corrupt { file, offset, .. })
        | Error::Wal(wal::Error::Corrupt { file, offset, .. })
        | Error::Archive(ArchiveError::Log(wal::Error::Corrupt { file, offset, .. })) => {
            (&file[..], *offset)
        }
        Error::Values(vlog::Error::Missing { file }) | Error::Corrupt { file, .. } => {
            (&file[..], u64::MAX)
        }
        Error::Frame { lsn, .. } => (WAL_DIR, *lsn),
        _ => return None,
    };
    Some((file.to_owned(), at))
}

impl Error {
    /// Whether it is about stored bytes that fail their check, or are gone. Nothing
    /// of them was served.
    pub fn is_damage(&self) -> bool {
        let of_frame = matches!(self, Error::Frame { source, .. } if source.is_damage());
        of_frame
            || matches!(
                self,
                Error::Pages(btree::Error::Corrupt { .. })
                    | Error::Corrupt { .. }
                    | Error::Values(vlog::Error::Corrupt { .. } | vlog::Error::Missing { .. })
                    | Error::Wal(wal::Error::Corrupt { .. })
            )
    }

    /// What there is too little of, if that is what this is about: free some, and
    /// try again.
    pub fn shortage(&self) -> Option<Shortage> {
        match self {
            Error::Wal(wal::Error::NoSpace { short, .. }) | Error::NoSpace { short, .. } => {
                Some(*short)
            }
            Error::Wal(wal::Error::Io { source, .. })
            | Error::Pages(btree::Error::Io { source, .. })
            | Error::Values(vlog::Error::Io { source, .. })
            | Error::Io { source, .. } => platform::shortage(source),
            Error::Full(cause) => cause.shortage(),
            _ => None,
        }
    }
}

impl Lsm {
    /// Whether the store takes writes, and why not. Cheap.
    pub fn state(&self) -> State {
        let flushes = || {
            let pages = self.pages.poisoned();
            pages.map(|why| format!("{why}; reads go on: check the disk, then restart")).or_else(
                || {
                    // Only then: it may wait for a flush. Who poisons it fails a flush.
                    let failed = self.flush_error.lock().is_some();
                    failed.then(|| self.values.poisoned()).flatten()
                },
            )
        };
        if let Some(why) = self.poisoned().or_else(flushes) {
            return State::Poisoned { why };
        }
        if self.health.is_short.load(Acquire)
            && let Some((why, since_lsn)) = self.health.short.lock().clone()
        {
            return State::ReadOnly { why, since_lsn };
        }
        State::Healthy
    }

    /// An error that refuses a commit: a want of space makes the store read-only
    /// until a commit goes through.
    #[cold]
    pub(crate) fn refuse(&self, error: Error) -> Error {
        match self.short(error) {
            Ok(refusal) => {
                self.health.refused.fetch_add(1, Relaxed);
                refusal
            }
            Err(other) => other,
        }
    }

    /// A want of space: the store is read-only from here on, with the refusal that is
    /// returned. Any other error is given back.
    #[cold]
    pub(crate) fn short(&self, error: Error) -> Result<Error, Error> {
        let Some(short) = error.shortage() else { return Err(error) };
        let error = Error::NoSpace { short, cause: Box::new(error) };
        let health = &self.health;
        let mut at = health.short.lock();
        let since = at.take().map_or_else(|| self.last_lsn(), |(_, since)| since);
        *at = Some((error.to_string(), since));
        health.is_short.store(true, Release);
        Ok(error)
    }
}
