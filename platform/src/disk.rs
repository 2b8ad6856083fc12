//! The disk seam: small on purpose, since the crash image is built on it.
//!
//! Paths are relative to the disk's root, `/`-separated, without `.` or `..`
//! (`"wal/0000000000000001.wal"`). What a call has promised after a crash:
//!
//! * bytes written before a returned [`File::sync`] are durable; other written
//!   bytes may be there, gone, or torn at any byte;
//! * a name made by create, rename or remove is durable after a returned
//!   [`Disk::sync_dir`] of its directory; before that it may be old or new;
//! * [`File::sync`] does not make the file's *name* durable.

use std::io;
use std::sync::Arc;

/// How to open a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Open {
    /// It must exist; for reading only.
    Read,
    /// It must exist; for reading and writing.
    Write,
    /// It must not exist (`AlreadyExists` otherwise); for reading and writing.
    CreateNew,
    /// Made if absent; for reading and writing.
    Create,
}

/// An open file. All methods take `&self`: positions are arguments, so many
/// threads may read while one writes elsewhere.
pub trait File: Send + Sync {
    /// Reads up to `buf.len()` bytes at `offset`; returns how many, less than
    /// asked only at the end of the file (an implementation retries short reads
    /// and `EINTR`).
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Writes all of `buf` at `offset`, extending the file with zeros if need be.
    /// After an error any part of it may have been written.
    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()>;

    /// Writes all of `buf` at the end; returns the offset it was written at.
    /// One writer at a time: callers hold their own lock.
    fn append(&self, buf: &[u8]) -> io::Result<u64> {
        let end = self.len()?;
        self.write_at(buf, end)?;
        Ok(end)
    }

    /// Makes all bytes written so far durable (fdatasync). After an error
    /// nothing may be assumed and it must not be tried again.
    fn sync(&self) -> io::Result<()>;

    /// Cuts or extends (with zeros) the file.
    fn set_len(&self, len: u64) -> io::Result<()>;

    /// Length in bytes.
    fn len(&self) -> io::Result<u64>;

    /// Whether the file holds no byte.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Reads exactly `buf.len()` bytes, or fails with `UnexpectedEof`.
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let got = self.read_at(buf, offset)?;
        if got == buf.len() {
            return Ok(());
        }
        Err(io::Error::new(
            io::ErrorKind::UnexpectedEof,
            format!("wanted {} bytes at offset {offset}, the file had {got}", buf.len()),
        ))
    }
}

/// Holds an exclusive lock until dropped.
pub trait Lock: Send + Sync {}

/// A directory tree with files in it.
pub trait Disk: Send + Sync + 'static {
    /// Opens a file; parent directories must exist.
    fn open(&self, path: &str, how: Open) -> io::Result<Arc<dyn File>>;

    /// Renames a file over whatever stands at `to`, atomically.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file. Handles still open keep reading it.
    fn remove(&self, path: &str) -> io::Result<()>;

    /// Names of the files (not the directories) in `dir`, sorted. `""` is the root.
    fn list(&self, dir: &str) -> io::Result<Vec<String>>;

    /// Makes a directory and its parents; fine if it exists. Their names are
    /// durable when this returns: no `sync_dir` is needed for them.
    fn create_dir(&self, dir: &str) -> io::Result<()>;

    /// Makes the names in `dir` durable.
    fn sync_dir(&self, dir: &str) -> io::Result<()>;

    /// Takes the exclusive lock on `path` (made if absent), or fails at once with
    /// `WouldBlock` if another process, or another holder in this one, has it.
    fn lock(&self, path: &str) -> io::Result<Box<dyn Lock>>;
}
