//! The disk seam: small on purpose, since the crash image is built on it.
//!
//! Paths are relative to the disk's root, `/`-separated, without `.` or `..`
//! (`"wal/0000000000000001.wal"`). What a call has promised after a crash:
//!
//! * bytes written before a returned [`File::sync`] are durable; other written
//!   bytes may be there, gone, or torn at any byte;
//! * a name made by create, rename or remove is durable after a returned
//!   [`Disk::sync_dir`] of its directory; before that it may be old or new;
//! * [`File::sync`] does not make the file's *name* durable;
//! * a [`File::write_at`] inside what [`File::allocate`] prepared never fails for
//!   want of space.

use std::io;
use std::sync::Arc;

/// The block of [`Disk::open_write_through`]: offsets, lengths, and best the
/// buffer's address, are multiples of it. In bytes.
pub const BLOCK: usize = 4096;

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

    /// Gives the space of a range within the file back; it reads as zeros from then
    /// on, durably after the next [`File::sync`]. `false`: the file system cannot, and
    /// the bytes are as they were. Not for what [`File::allocate`] prepared.
    ///
    /// # Errors
    /// A part may read as zeros, and a part as it was.
    fn punch(&self, _offset: u64, _len: u64) -> io::Result<bool> {
        Ok(false)
    }

    /// Makes the file at least `len` bytes long by really writing zeros behind its
    /// end, so that a later write below `len` cannot meet a full disk (on file
    /// systems that overwrite in place). What the file holds stays. The zeros are
    /// durable after the next [`File::sync`].
    ///
    /// From then on, until this handle is dropped, no other handle may cut the
    /// file below `len`: an implementation may serve writes by a mapping.
    ///
    /// After an error (`StorageFull`, `QuotaExceeded`, ...) the file may have grown
    /// by a part; its bytes are as they were, zeros behind.
    fn allocate(&self, len: u64) -> io::Result<()> {
        const CHUNK: usize = 256 << 10;
        let mut at = self.len()?;
        if at >= len {
            return Ok(());
        }
        let zeros = vec![0; usize::try_from(len - at).unwrap_or(CHUNK).min(CHUNK)];
        while at < len {
            let part = usize::try_from(len - at).unwrap_or(CHUNK).min(zeros.len());
            self.write_at(&zeros[..part], at)?;
            at += part as u64;
        }
        Ok(())
    }

    /// The first `len` bytes in memory, for files whose written bytes are never
    /// changed: they may be fewer now and grow later. `None`: here, or now, only
    /// [`File::read_at`] serves.
    fn map(&self, _len: u64) -> Option<Arc<dyn Mapped>> {
        None
    }

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

/// A file's bytes in memory.
pub trait Mapped: Send + Sync {
    /// Appends the `len` bytes at `offset` to `buf`; `false`, and nothing is
    /// appended, where the mapping does not reach. Bytes behind the file's end, and
    /// bytes the disk could not give, are zeros: verify what you get, and read what
    /// does not check by [`File::read_at`], which says what is wrong.
    fn read(&self, offset: u64, len: usize, buf: &mut Vec<u8>) -> bool;

    /// The first of these bytes will be read soon: a hint, that never waits.
    fn prefetch(&self, _offset: u64, _len: usize) {}
}

/// Holds an exclusive lock until dropped.
pub trait Lock: Send + Sync {}

/// A directory tree with files in it.
pub trait Disk: Send + Sync + 'static {
    /// Opens a file; parent directories must exist.
    fn open(&self, path: &str, how: Open) -> io::Result<Arc<dyn File>>;

    /// Opens an existing file for writes that are durable when they return
    /// (direct and write-through where the system can, else a write and a sync).
    /// Offsets and lengths of its writes are multiples of [`BLOCK`], else
    /// `InvalidInput`; a failed write is as a failed sync. Its `sync` does nothing.
    /// Meant for files prepared by [`File::allocate`] and a sync; while such a
    /// handle writes, nobody writes to the same bytes through another one.
    fn open_write_through(&self, path: &str) -> io::Result<Arc<dyn File>> {
        Ok(Arc::new(WriteThrough { file: self.open(path, Open::Write)? }))
    }

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

/// A write-through handle of any disk: each write is followed by a sync.
struct WriteThrough {
    file: Arc<dyn File>,
}

impl File for WriteThrough {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.file.read_at(buf, offset)
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        check_blocks(buf, offset)?;
        self.file.write_at(buf, offset)?;
        self.file.sync()
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }
}

/// Refuses a write that is not of whole blocks.
pub(crate) fn check_blocks(buf: &[u8], offset: u64) -> io::Result<()> {
    if buf.len().is_multiple_of(BLOCK) && offset.is_multiple_of(BLOCK as u64) {
        return Ok(());
    }
    Err(io::Error::new(
        io::ErrorKind::InvalidInput,
        format!("a write of {} bytes at offset {offset} is not of whole blocks", buf.len()),
    ))
}

/// What a call could not get and may get later, without anything being broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shortage {
    /// Space on the disk, or within the quota.
    Space,
    /// File descriptors, of the process or the system.
    Descriptors,
}

/// An error's text, with the system's own number kept beside it.
#[derive(Debug)]
pub(crate) struct Named {
    pub(crate) text: String,
    pub(crate) os: Option<i32>,
}

impl std::fmt::Display for Named {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Named {}

/// Whether `error` is a want of space or descriptors (and not a failing disk).
#[must_use]
pub fn shortage(error: &io::Error) -> Option<Shortage> {
    const ENFILE: i32 = 23;
    const EMFILE: i32 = 24;
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => return Some(Shortage::Space),
        _ => {}
    }
    let named = error.get_ref().and_then(|inner| inner.downcast_ref::<Named>());
    match error.raw_os_error().or(named.and_then(|n| n.os)) {
        Some(ENFILE | EMFILE) => Some(Shortage::Descriptors),
        _ => None,
    }
}
