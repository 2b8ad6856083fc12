//! A write-through handle: each write goes past the page cache and is on the
//! medium when it returns (`O_DIRECT | O_DSYNC`), one flush instead of a write,
//! a write-back and a flush.
//!
//! Invariants:
//! * the kernel sees only whole, aligned blocks: an odd buffer is copied first;
//! * where the file system refuses direct writes (at the open or at the first
//!   write, before anything was written), the handle writes through the page
//!   cache and syncs, for good: never both kinds in turn;
//! * reads go through the page cache, at any offset.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::OFlags;

use super::disk::named;
use super::file::read_full;
use crate::disk::{BLOCK, File, check_blocks};

/// One block at an address that direct writes like.
#[derive(Clone, Copy, bytemuck::Zeroable, bytemuck::Pod)]
#[repr(C, align(4096))]
struct Block([u8; BLOCK]);

pub(super) struct DirectFile {
    /// Through the page cache: reads, lengths, and writes where direct ones are refused.
    plain: fs::File,
    direct: Option<fs::File>,
    refused: AtomicBool,
    path: Box<str>,
}

impl DirectFile {
    /// Opens the existing file `full`, called `path` in errors.
    #[expect(clippy::disallowed_methods, reason = "the real disk is the one door to files")]
    pub(super) fn open(full: &Path, path: &str) -> io::Result<Self> {
        let plain = OpenOptions::new().read(true).write(true).open(full)?;
        let flags = (OFlags::DIRECT | OFlags::DSYNC).bits();
        let direct = match OpenOptions::new()
            .write(true)
            .custom_flags(i32::try_from(flags).unwrap_or_default())
            .open(full)
        {
            Ok(file) => Some(file),
            // EINVAL: no direct writes here. Other errors are the caller's to see.
            Err(e) if e.kind() == io::ErrorKind::InvalidInput => None,
            Err(e) => return Err(e),
        };
        Ok(Self { plain, direct, refused: AtomicBool::new(false), path: path.into() })
    }

    fn write_direct(&self, file: &fs::File, buf: &[u8], offset: u64) -> io::Result<()> {
        if buf.as_ptr().align_offset(BLOCK) == 0 {
            return file.write_all_at(buf, offset);
        }
        let mut blocks = vec![Block([0; BLOCK]); buf.len() / BLOCK];
        let bytes: &mut [u8] = bytemuck::cast_slice_mut(&mut blocks);
        bytes.copy_from_slice(buf);
        file.write_all_at(bytes, offset)
    }
}

impl File for DirectFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        read_full(&self.plain, buf, offset)
            .map_err(|e| named("read", &format!("{} at {offset}", self.path), &e))
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        check_blocks(buf, offset)?;
        let at = || format!("{} at {offset}", self.path);
        if let Some(direct) = &self.direct
            && !self.refused.load(Ordering::Acquire)
        {
            match self.write_direct(direct, buf, offset) {
                Err(e) if e.kind() == io::ErrorKind::InvalidInput => {
                    self.refused.store(true, Ordering::Release);
                }
                other => return other.map_err(|e| named("write", &at(), &e)),
            }
        }
        self.plain.write_all_at(buf, offset).map_err(|e| named("write", &at(), &e))?;
        self.plain.sync_data().map_err(|e| named("sync", &self.path, &e))
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.plain
            .set_len(len)
            .map_err(|e| named("set the length of", &format!("{} at {len}", self.path), &e))
    }

    fn len(&self) -> io::Result<u64> {
        let meta = self.plain.metadata().map_err(|e| named("ask the length of", &self.path, &e))?;
        Ok(meta.len())
    }
}
