//! The data directory as a whole: which files must be there beside which.
//!
//! What must stay true:
//! * a store comes into being in this order: page file (whole, with the store's
//!   identity), log, value log, then a meta page that names the log's first life.
//!   So a log or a value log without a page file, and a page file that names a
//!   life of a log that is not there, have lost something: refused by name,
//!   before anything is made or changed;
//! * a restore makes [`RESTORING`] first and turns it into the page file last, and
//!   a salvage makes it first and removes it last, so a directory is never half a
//!   store: before it is none, after it a whole one;
//! * a value-log segment that the trees' table knows is there.
//!
//! What cannot be seen from the files: the newest segments of the log removed when
//! nothing in the page file rests on them. They look like commits never made.

use std::fmt;
use std::io::ErrorKind;

use btree::View;
use platform::{Clock, Disk};

use crate::meta::Meta;
use crate::options::Options;
use crate::{Error, LOCK, PAGES, VLOG_DIR, WAL_DIR, segments};

/// The page file while a restore goes on: turned into [`PAGES`] as its last act.
pub(crate) const RESTORING: &str = "trees.pages.restoring";

/// The identity of a store: 16 bytes made with it, never changed. Keeps the
/// backups and archives of different stores apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StoreId(pub [u8; 16]);

impl StoreId {
    /// A new one, from the log's random salt and the wall clock.
    pub(crate) fn new(clock: &dyn Clock, options: &Options) -> StoreId {
        let halves = [mix(options.wal_salt), mix(clock.wall_micros() ^ !options.wal_salt)];
        StoreId(zerocopy::transmute!(halves.map(u64::to_le_bytes)))
    }

    /// That which is shown so: 32 lower-case hexadecimal digits.
    pub fn parse(text: &str) -> Option<StoreId> {
        let id = u128::from_str_radix(text, 16).ok()?;
        let id = StoreId(id.to_be_bytes());
        (id.to_string() == text).then_some(id)
    }
}

impl fmt::Display for StoreId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Spreads a number over all bits, one to one.
fn mix(n: u64) -> u64 {
    let mut n = n.wrapping_add(0x9E37_79B9_7F4A_7C15);
    n = (n ^ (n >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    n = (n ^ (n >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    n ^ (n >> 31)
}

/// The names of the files in a directory; none if there is no directory.
pub(crate) fn names(disk: &dyn Disk, dir: &str) -> Result<Vec<String>, Error> {
    match disk.list(dir) {
        Ok(names) => Ok(names),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        Err(source) => {
            let file = if dir.is_empty() { "the data directory".into() } else { dir.to_owned() };
            Err(Error::Io { doing: "list", file, source })
        }
    }
}

/// The first file of a directory with this ending.
fn first(disk: &dyn Disk, dir: &str, ending: &str) -> Result<Option<String>, Error> {
    let mut names = names(disk, dir)?.into_iter();
    Ok(names.find(|name| name.ends_with(ending)).map(|name| format!("{dir}/{name}")))
}

/// Before anything is opened: whether this is a directory without a store.
/// `unfinished`: who asks has marked it so, and may.
///
/// # Errors
/// [`Error::Unfinished`], [`Error::Missing`]: it holds part of one.
pub(crate) fn look(disk: &dyn Disk, unfinished: bool) -> Result<bool, Error> {
    let root = names(disk, "")?;
    let is_there = |name: &str| root.iter().any(|n| n == name);
    if is_there(RESTORING) && !unfinished {
        return Err(Error::Unfinished { file: RESTORING.into() });
    }
    if is_there(PAGES) {
        return Ok(false);
    }
    for (dir, ending) in [(WAL_DIR, ".wal"), (VLOG_DIR, ".vlog")] {
        if let Some(beside) = first(disk, dir, ending)? {
            let why = format!("{beside} is there, and was written after it");
            return Err(Error::Missing { file: PAGES.into(), why });
        }
    }
    Ok(true)
}

/// Before the log is opened: whether what the page file rests on is there.
///
/// # Errors
/// [`Error::Missing`], naming the file; a page that cannot be read.
pub(crate) fn compare(disk: &dyn Disk, fresh: bool, meta: &Meta, view: &View) -> Result<(), Error> {
    if fresh {
        return Ok(());
    }
    if meta.wal_epoch > 0 && first(disk, WAL_DIR, ".wal")?.is_none() {
        let why = format!("{PAGES} names life {} of the log, and no segment is there", {
            meta.wal_epoch
        });
        return Err(Error::Missing { file: format!("{WAL_DIR}/*.wal"), why });
    }
    let there = names(disk, VLOG_DIR)?;
    for (id, row) in segments::table(view)? {
        let name = format!("{id:010}.vlog");
        // One without anything alive may have been unlinked: its row goes later.
        if id <= meta.tail.segment && !row.is_dead() && there.binary_search(&name).is_err() {
            let why = format!("the table of segments in {PAGES} has it");
            return Err(Error::Missing { file: format!("{VLOG_DIR}/{name}"), why });
        }
    }
    Ok(())
}

/// Whether there is a store in the root of `disk`, as far as the names of its files say.
///
/// # Errors
/// The directory cannot be listed.
pub fn is_store(disk: &dyn Disk) -> std::io::Result<bool> {
    Ok(disk.list("")?.iter().any(|name| name == PAGES))
}

/// Removes the store in the root of `disk`, or what is left of one, and nothing else: its
/// page file first, so that what is left is no store.
///
/// # Errors
/// [`Error::InUse`]; the disk's: some of it is there still, and no store.
pub fn clear(disk: &dyn Disk) -> Result<(), Error> {
    let failed = |doing, file: &str| {
        let file = file.to_owned();
        move |source: std::io::Error| match source.kind() {
            ErrorKind::WouldBlock => Error::InUse { file },
            _ => Error::Io { doing, file, source },
        }
    };
    let _lock = disk.lock(LOCK).map_err(failed("lock", LOCK))?;
    let root = names(disk, "")?;
    for name in [PAGES, RESTORING] {
        if root.iter().any(|n| n == name) {
            disk.remove(name).map_err(failed("remove", name))?;
            disk.sync_dir("").map_err(failed("sync", "the data directory"))?;
        }
    }
    for dir in [WAL_DIR, VLOG_DIR] {
        let files = names(disk, dir)?;
        for name in &files {
            let path = format!("{dir}/{name}");
            disk.remove(&path).map_err(failed("remove", &path))?;
        }
        if !files.is_empty() {
            disk.sync_dir(dir).map_err(failed("sync", dir))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identities_differ_by_salt_and_by_time() {
        let at = |salt, micros| {
            let options = Options { wal_salt: salt, ..Options::default() };
            StoreId::new(&platform::sim::SimClock::new(micros), &options)
        };
        assert_eq!(at(1, 2), at(1, 2));
        assert_ne!(at(1, 2), at(1, 3));
        assert_ne!(at(1, 2), at(2, 2));
        assert_eq!(StoreId([0xab; 16]).to_string(), "ab".repeat(16));
    }
}
