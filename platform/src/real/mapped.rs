//! Writes into the prepared part of a file by copying into a shared mapping: no
//! system call for a small write, and what was copied survives the process.
//!
//! Must stay true (an `unsafe` module, as are `reading.rs` and `hint.rs`):
//! * **Memory safety.** [`Map::copy`] checks the range against the mapping's
//!   length before it copies, and takes `&mut self`, so no two threads write
//!   through one mapping at once. No reference into the mapped bytes is ever
//!   made: they may change under us (another handle, another process), and only
//!   raw copies into them happen. The mapping lives as long as the value.
//! * **No SIGBUS for want of space.** Only ranges that [`File::allocate`] wrote
//!   are mapped, and only on file systems that overwrite in place (ext2 to 4,
//!   xfs, tmpfs): a page there has its blocks. On others (copy on write, network)
//!   [`Map::new`] says no, and writes go by `pwrite`. Besides, a page is written
//!   only after `MADV_POPULATE_WRITE` brought it in for writing: what a fault
//!   would meet (no space for a block that was cloned meanwhile, an unreadable
//!   block) comes back from there as an error instead of a signal, and the write
//!   goes by `pwrite`, which reports it. Kernels without it (before 5.14) are not
//!   mapped on.
//! * **No SIGBUS for a file that was cut.** `RealFile` gives its mapping up before
//!   it cuts the file; no other handle may (see [`File::allocate`]); the data
//!   directory's lock keeps other processes out.
//! * What is left, since a window is brought in once and written many times:
//!   - a page that was populated, written back, evicted under memory pressure and
//!     cannot be read again when it is next written;
//!   - a page that a write-back (`fdatasync`, or the kernel's own) has made read-only
//!     again. The next copy into it asks the file system for leave (`page_mkwrite`),
//!     and that may say no by then: it was shut down or remounted read-only after an
//!     error, or the block was cloned since it was populated and there is no space
//!     for a copy.
//!
//!   The kernel then kills the process by SIGBUS, as after `kill -9`: nothing
//!   acknowledged is lost. An error of a write-back is reported by the next `sync`,
//!   mapping or not.
//!
//! `fdatasync` covers the mapped pages: the kernel write-protects a page when it
//! writes it back, so the next copy into it marks it dirty again.
#![allow(unsafe_code)]

use std::fs;
use std::io;

use memmap2::{Advice, MmapOptions, MmapRaw};

/// Pages are brought in this many bytes ahead of the write at hand.
const WINDOW: usize = 64 << 10;
/// Larger writes go by `pwrite`: the copy costs as much and faults are saved.
pub(super) const MOST: usize = 32 << 10;
const PAGE: usize = 4096;

/// A file's first bytes, mapped for writing.
pub(super) struct Map {
    map: MmapRaw,
    /// The range that was brought in for writing, in bytes.
    ready: std::ops::Range<usize>,
}

impl Map {
    /// Maps the first `len` bytes of `file`, all of them allocated; `None` where
    /// that is not possible or not safe.
    pub(super) fn new(file: &fs::File, len: u64) -> Option<Self> {
        if !overwrites_in_place(file) {
            return None;
        }
        let len = usize::try_from(len).ok()?;
        let map = MmapOptions::new().len(len).map_raw(file).ok()?;
        Some(Self { map, ready: 0..0 })
    }

    /// Copies `buf` to `offset`; `false`: not here, write it another way.
    pub(super) fn copy(&mut self, buf: &[u8], offset: u64) -> io::Result<bool> {
        let Ok(start) = usize::try_from(offset) else { return Ok(false) };
        let Some(end) = start.checked_add(buf.len()) else { return Ok(false) };
        if end > self.map.len() {
            return Ok(false);
        }
        if start < self.ready.start || end > self.ready.end {
            let from = start / PAGE * PAGE;
            let to = (end + WINDOW).next_multiple_of(PAGE).min(self.map.len());
            self.map.advise_range(Advice::PopulateWrite, from, to - from)?;
            self.ready = from..to;
        }
        // SAFETY: `start..end` lies within the mapping (checked above), which is
        // writable and lives as long as `self`. `buf` is a live slice; it cannot
        // overlap, since no reference into the mapping exists. `&mut self` keeps
        // other threads from writing through this mapping at the same time; other
        // writers of the file are other addresses, as with any shared memory.
        unsafe {
            std::ptr::copy_nonoverlapping(
                buf.as_ptr(),
                self.map.as_mut_ptr().add(start),
                buf.len(),
            );
        }
        Ok(true)
    }
}

/// Whether a block once written can be written again without a new block.
fn overwrites_in_place(file: &fs::File) -> bool {
    const EXT: u64 = 0xEF53;
    const XFS: u64 = 0x5846_5342;
    const TMPFS: u64 = 0x0102_1994;
    rustix::fs::fstatfs(file)
        .is_ok_and(|stat| matches!(u64::try_from(stat.f_type), Ok(EXT | XFS | TMPFS)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::FileExt;

    fn file(len: usize) -> fs::File {
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(&vec![0; len], 0).unwrap();
        file
    }

    #[test]
    fn copies_land_in_the_file_and_nothing_lands_outside() {
        // given: three mapped pages of a longer file
        let file = file(5 * PAGE);
        let Some(mut map) = Map::new(&file, 3 * PAGE as u64) else { return };
        // when / then: within, across pages, up to the last byte
        for (offset, len) in [(0, 1), (PAGE - 3, 8), (3 * PAGE - 5, 5), (0, 3 * PAGE), (7, 0)] {
            let byte = (offset + len) as u8 | 1;
            assert!(map.copy(&vec![byte; len], offset as u64).unwrap());
            let mut back = vec![0; len];
            file.read_exact_at(&mut back, offset as u64).unwrap();
            assert_eq!(back, vec![byte; len]);
        }
        // over the end, far out, overflowing: refused, nothing written
        for offset in [3 * PAGE as u64 - 4, 3 * PAGE as u64, u64::MAX - 2] {
            assert!(!map.copy(&[9; 5], offset).unwrap());
        }
        let mut rest = vec![1; 2 * PAGE];
        file.read_exact_at(&mut rest, 3 * PAGE as u64).unwrap();
        assert_eq!(rest, vec![0; 2 * PAGE]);
    }

    #[test]
    fn what_is_copied_after_a_sync_is_written_by_the_next_one_too() {
        let file = file(PAGE);
        let Some(mut map) = Map::new(&file, PAGE as u64) else { return };
        for byte in 1..20 {
            assert!(map.copy(&[byte; 10], 100).unwrap());
            file.sync_data().unwrap();
            let mut back = [0; 10];
            file.read_exact_at(&mut back, 100).unwrap();
            assert_eq!(back, [byte; 10]);
        }
    }
}
