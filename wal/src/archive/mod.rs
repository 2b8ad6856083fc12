//! The log's archive: rotated segments, copied, compressed, checked, kept.
//!
//! With a base backup it brings a store to any LSN or wall-clock second.
//!
//! **What must stay true.**
//! 1. Only durable frames of rotated segments go in: nothing that a power cut
//!    could take back.
//! 2. A file counts only once it is whole: written aside (`*.arc.new`), synced,
//!    read back from its first byte to its last and compared with what was
//!    written, renamed, the directory synced. Only then [`Archiver::archived`]
//!    moves, and only what it covers may leave the log.
//! 3. The files' LSNs are dense: the archiver begins each file where the last one
//!    ended. So at every moment, also after a crash at any call, archive and log
//!    together cover every frame from the archive's first on: a file's frames are
//!    in the log until the file counts, and a file that came into being in a crash
//!    (renamed, not yet counted) is found whole by the next opening, which syncs
//!    the directory before it counts it, or is not there and copied again.
//! 4. What does not fit is refused by name and holds the log back: a hole between
//!    archive and log, an archive of another store, an archive that reaches
//!    further than the log, or has other frames under the same LSNs.
//!
//! Formats: `format.rs`. Names sort by LSN: `FIRST-LAST.arc`, 20 digits each.
//! A file may be copied, moved to other media and put back: it is checked by what
//! it holds, never by its date.
//!
//! Wall time may step back. So "up to wall time t" means: up to the first frame
//! that is later than t, that one not included. And a file counts as as old as
//! the youngest reading that a later file does not contradict.

mod archiver;
mod error;
mod file;
mod format;
mod read;
#[cfg(test)]
mod tests;
mod write;

pub use archiver::{Archiver, Progress};
pub use error::Error;
pub use read::{Archive, Frames, Until};

use crate::Lsn;
use std::fmt;

/// Which store an archive, or a backup, is of: random, made with the store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StoreId(pub [u8; 16]);

impl fmt::Display for StoreId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// One archived file, by its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArchivedRange {
    /// Its name in the archive's directory.
    pub name: String,
    /// Its first frame.
    pub first_lsn: Lsn,
    /// Its last frame.
    pub last_lsn: Lsn,
}

/// What an archived file says about itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// The store it is of.
    pub store: StoreId,
    /// Its first frame.
    pub first_lsn: Lsn,
    /// Its last frame.
    pub last_lsn: Lsn,
    /// Wall time of the first frame, microseconds since 1970.
    pub first_wall: u64,
    /// Wall time of the last frame.
    pub last_wall: u64,
    /// The earliest wall time of any frame.
    pub oldest_wall: u64,
    /// The latest wall time of any frame.
    pub newest_wall: u64,
    /// The life of the log that wrote the first frame.
    pub first_epoch: u64,
    /// The life of the log that wrote the last frame.
    pub last_epoch: u64,
    /// Bytes before compression.
    pub raw_bytes: u64,
    /// Blocks in the file.
    pub blocks: u64,
    /// CRC-64 of all frames: equal for equal frames, however they are packed.
    pub content: u64,
}

/// The path of `name` in `dir`.
fn path(dir: &str, name: &str) -> String {
    if dir.is_empty() { name.to_owned() } else { format!("{dir}/{name}") }
}
