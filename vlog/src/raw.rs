//! One segment file, for reading only: backup, verify, salvage.
//!
//! Must stay true: nothing is written, and no [`Vlog`](crate::Vlog) is needed; a
//! record handed out was verified at its place.

use crate::error::Error;
use crate::record::{self, Pointer, RecordRef};
use crate::scan::Scan;
use crate::segment::{self, HEADER_LEN, HeaderFlaw};
use platform::{Disk, File, Open};
use std::sync::Arc;

/// Bytes read at once.
const CHUNK: usize = 256 << 10;

/// A segment's file. Open handles keep reading a segment that was removed.
#[derive(Clone)]
pub struct SegmentFile {
    file: Arc<dyn File>,
    path: String,
    id: u32,
    len: u64,
}

impl SegmentFile {
    /// The numbers of the segments in `dir`, ascending.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn ids(disk: &dyn Disk, dir: &str) -> Result<Vec<u32>, Error> {
        let names = disk.list(dir).map_err(Error::io("list", dir))?;
        let mut ids: Vec<u32> = names.iter().filter_map(|n| segment::number_of(n)).collect();
        ids.sort_unstable();
        Ok(ids)
    }

    /// The path of a segment.
    pub fn path_of(dir: &str, id: u32) -> String {
        segment::path(dir, id)
    }

    /// Opens a segment. Its header is not looked at.
    ///
    /// # Errors
    /// [`Error::Missing`], [`Error::Io`].
    pub fn open(disk: &dyn Disk, dir: &str, id: u32) -> Result<Self, Error> {
        let path = segment::path(dir, id);
        let file = disk.open(&path, Open::Read).map_err(Error::opening(&path))?;
        let len = file.len().map_err(Error::io("read", &path))?;
        Ok(Self { file, path, id, len })
    }

    /// Its path on the disk.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Bytes in the file when it was opened, header included.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether it holds no byte.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Where the first record lies.
    pub const FIRST: u64 = HEADER_LEN;

    /// Whether its header is this segment's.
    ///
    /// # Errors
    /// [`Error::NewerFormat`], [`Error::Corrupt`], [`Error::Io`].
    pub fn check_header(&self) -> Result<(), Error> {
        let mut bytes = [0; HEADER_LEN as usize];
        let got = self.read_raw(&mut bytes, 0)?;
        segment::check(&bytes[..got], self.id).map_err(|flaw| match flaw {
            HeaderFlaw::Newer(found) => {
                Error::NewerFormat { file: self.path.clone(), found, known: segment::VERSION }
            }
            HeaderFlaw::Invalid => {
                Error::corrupt(&self.path, 0, "the segment's header does not check")
            }
        })
    }

    /// Bytes as they are, unchecked; fewer than asked only at the end.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn read_raw(&self, buf: &mut [u8], offset: u64) -> Result<usize, Error> {
        self.file.read_at(buf, offset).map_err(Error::io("read", &self.path))
    }

    /// The record at a place, verified, into `buf`.
    ///
    /// # Errors
    /// [`Error::Corrupt`], [`Error::Io`].
    pub fn read<'b>(&self, at: Pointer, buf: &'b mut Vec<u8>) -> Result<RecordRef<'b>, Error> {
        let bad = |flaw: record::Flaw| Error::corrupt(&self.path, at.offset, flaw.to_string());
        let end = at.offset.checked_add(u64::from(at.len));
        if at.offset < HEADER_LEN || end.is_none_or(|end| end > self.len) {
            return Err(bad(record::Flaw::Short));
        }
        buf.clear();
        buf.resize(at.len as usize, 0);
        let got = self.read_raw(buf, at.offset)?;
        record::check(&buf[..got], self.id, at.offset).map_err(bad)
    }

    /// The records in `[from, end)`; `from` is where one begins.
    pub fn scan(&self, from: u64, end: u64) -> Scan {
        let end = end.min(self.len);
        Scan::new(self.file.clone(), self.path.clone(), self.id, from, end)
    }

    /// The first place in `[from, end)` where a whole record lies: what can be
    /// read again behind damage. A value may hold bytes that look like a record,
    /// but not one that checks at that place.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn find(&self, from: u64, end: u64) -> Result<Option<u64>, Error> {
        let end = end.min(self.len);
        let mut chunk = Vec::new();
        let mut bytes = Vec::new();
        let mut at = from;
        while at < end {
            let want = (end - at).min(CHUNK as u64) as usize;
            chunk.resize(want, 0);
            let got = self.read_raw(&mut chunk, at)?;
            if got < record::HEADER_LEN {
                return Ok(None);
            }
            // The last header's worth of bytes is seen again in the next chunk.
            let starts = got + 1 - record::HEADER_LEN;
            for i in 0..starts {
                let offset = at + i as u64;
                let Ok(len) = record::claimed_len(&chunk[i..got], self.id, offset) else {
                    continue;
                };
                if len > end - offset {
                    continue;
                }
                bytes.resize(len as usize, 0);
                let held = self.read_raw(&mut bytes, offset)?;
                if record::check(&bytes[..held], self.id, offset).is_ok() {
                    return Ok(Some(offset));
                }
            }
            at += starts as u64;
        }
        Ok(None)
    }
}
