//! An open file of the operating system, written by `pwrite`, or inside what was
//! allocated by a mapping.
//!
//! Invariants:
//! * short reads, short writes and `EINTR` never reach the caller;
//! * `sync` is fdatasync and is never tried twice;
//! * only bytes below `allocated` are ever mapped, and the mapping is given up
//!   before the file is cut; see `mapped.rs` for why that is safe;
//! * every error names the operation, the file and the offset, keeps its kind and
//!   the system's number.

use std::fs;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use super::disk::named;
use super::mapped::{MOST, Map};
use super::reading::Reading;
use crate::disk::{File, Mapped};

/// Zeros are written this many bytes at a time.
const CHUNK: usize = 256 << 10;

pub(super) struct RealFile {
    file: fs::File,
    path: Box<str>,
    /// Everything below was written; 0 until [`File::allocate`] is called.
    allocated: AtomicU64,
    window: Mutex<Window>,
}

/// How small writes below `allocated` are served.
enum Window {
    /// Not looked at yet, or grown since.
    Unknown,
    Mapped(Map),
    /// Not on this file system, or it failed: `pwrite` from now on.
    Never,
}

impl RealFile {
    pub(super) fn new(file: fs::File, path: &str) -> Self {
        Self {
            file,
            path: path.into(),
            allocated: AtomicU64::new(0),
            window: Mutex::new(Window::Unknown),
        }
    }

    fn at(&self, what: &str, offset: u64, error: &io::Error) -> io::Error {
        named(what, &format!("{} at {offset}", self.path), error)
    }

    /// Copies into the mapping, if that serves this write.
    fn write_mapped(&self, buf: &[u8], offset: u64) -> bool {
        let allocated = self.allocated.load(Ordering::Acquire);
        let inside = buf.len() <= MOST
            && offset.checked_add(buf.len() as u64).is_some_and(|end| end <= allocated);
        if !inside {
            return false;
        }
        let mut window = self.window.lock();
        if let Window::Unknown = *window {
            // Asked again under the lock: a cut gives the mapping up under it.
            let len = self.allocated.load(Ordering::Acquire);
            *window = Map::new(&self.file, len).map_or(Window::Never, Window::Mapped);
        }
        let Window::Mapped(map) = &mut *window else { return false };
        match map.copy(buf, offset) {
            Ok(done) => done,
            Err(_) => {
                // `pwrite` meets the same and says it better.
                *window = Window::Never;
                false
            }
        }
    }
}

impl File for RealFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        read_full(&self.file, buf, offset).map_err(|e| self.at("read", offset, &e))
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        if self.write_mapped(buf, offset) {
            return Ok(());
        }
        // Loops over short writes and EINTR.
        self.file.write_all_at(buf, offset).map_err(|e| self.at("write", offset, &e))
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync_data().map_err(|e| named("sync", &self.path, &e))
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut window = self.window.lock();
        self.allocated.fetch_min(len, Ordering::AcqRel);
        *window = Window::Unknown;
        self.file.set_len(len).map_err(|e| self.at("set the length of", len, &e))
    }

    fn punch(&self, offset: u64, len: u64) -> io::Result<bool> {
        use rustix::fs::{FallocateFlags, fallocate};
        use rustix::io::Errno;
        if len == 0 || offset < self.allocated.load(Ordering::Acquire) {
            return Ok(false);
        }
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        loop {
            return match fallocate(&self.file, flags, offset, len) {
                Ok(()) => Ok(true),
                Err(Errno::INTR) => continue,
                Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(false),
                Err(error) => Err(self.at("punch a hole into", offset, &error.into())),
            };
        }
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        if i64::try_from(len).is_err() {
            let error = io::Error::from(io::ErrorKind::InvalidInput);
            return Err(self.at("allocate", len, &error));
        }
        let mut at = self.len()?;
        if at < len {
            let zeros = vec![0; usize::try_from(len - at).unwrap_or(CHUNK).min(CHUNK)];
            while at < len {
                let part = usize::try_from(len - at).unwrap_or(CHUNK).min(zeros.len());
                self.file
                    .write_all_at(&zeros[..part], at)
                    .map_err(|e| self.at("allocate", at, &e))?;
                at += part as u64;
            }
        }
        let mut window = self.window.lock();
        if self.allocated.fetch_max(len, Ordering::AcqRel) < len
            && let Window::Mapped(_) = *window
        {
            *window = Window::Unknown;
        }
        Ok(())
    }

    fn map(&self, len: u64) -> Option<Arc<dyn Mapped>> {
        Some(Arc::new(Reading::new(&self.file, len)?))
    }

    fn len(&self) -> io::Result<u64> {
        let meta = self.file.metadata().map_err(|e| named("ask the length of", &self.path, &e))?;
        Ok(meta.len())
    }
}

/// Reads until `buf` is full or the file ends.
pub(super) fn read_full(file: &fs::File, buf: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut done = 0;
    while done < buf.len() {
        match file.read_at(&mut buf[done..], offset.saturating_add(done as u64)) {
            Ok(0) => break,
            Ok(n) => done += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(done)
}
