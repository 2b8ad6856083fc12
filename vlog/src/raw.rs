//! One segment file, for reading only: backup, verify, salvage.
//!
//! Must stay true: nothing is written, and no [`Vlog`](crate::Vlog) is needed; a
//! record handed out was verified at its place.

use crate::error::Error;
use crate::record::{self, Pointer, RecordRef};
use crate::scan::Scan;
use crate::segment::{self, HEADER_LEN, HeaderFlaw};
use platform::{BLOCK, Disk, File, Open};
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
    /// [`Error::OtherFormat`], [`Error::Corrupt`], [`Error::Io`].
    pub fn check_header(&self) -> Result<(), Error> {
        let mut bytes = [0; HEADER_LEN as usize];
        let got = self.read_raw(&mut bytes, 0)?;
        segment::check(&bytes[..got], self.id).map_err(|flaw| match flaw {
            HeaderFlaw::Other(found) => {
                Error::OtherFormat { file: self.path.clone(), found, known: segment::VERSION }
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
    /// but not one that checks at that place. Blocks that the disk does not give are
    /// passed over, and counted.
    pub fn find(&self, from: u64, end: u64) -> Whole {
        let end = end.min(self.len);
        let mut chunk = Vec::new();
        let mut bytes = Vec::new();
        let mut found = Whole::default();
        let mut at = from;
        while at < end {
            let bad = self.read_run(&mut chunk, at, end);
            if chunk.len() < record::HEADER_LEN {
                if !bad {
                    break;
                }
                // No record begins before the bad block that does not reach into it.
                at += chunk.len() as u64;
                let behind = (at + 1).next_multiple_of(BLOCK as u64).min(end);
                found.unread += behind - at;
                at = behind;
                continue;
            }
            // The last header's worth of bytes is seen again in the next chunk.
            let starts = chunk.len() + 1 - record::HEADER_LEN;
            for i in 0..starts {
                let offset = at + i as u64;
                let Ok(len) = record::claimed_len(&chunk[i..], self.id, offset) else {
                    continue;
                };
                if len > end - offset {
                    continue;
                }
                bytes.resize(len as usize, 0);
                // One that cannot be read is not whole.
                let Ok(held) = self.read_raw(&mut bytes, offset) else { continue };
                if record::check(&bytes[..held], self.id, offset).is_ok() {
                    found.at = Some(offset);
                    return found;
                }
            }
            at += starts as u64;
        }
        found
    }

    /// Fills `chunk` with what lies at `at`: up to [`CHUNK`] bytes, up to `end`, up to
    /// the first block that the disk does not give; whether it came upon one.
    fn read_run(&self, chunk: &mut Vec<u8>, at: u64, end: u64) -> bool {
        chunk.resize((end - at).min(CHUNK as u64) as usize, 0);
        if let Ok(got) = self.read_raw(chunk, at) {
            chunk.truncate(got);
            return false;
        }
        let mut held = 0;
        while held < chunk.len() {
            let to_next = BLOCK - ((at + held as u64) % BLOCK as u64) as usize;
            let block = held..chunk.len().min(held + to_next);
            match self.read_raw(&mut chunk[block.clone()], at + held as u64) {
                Ok(got) if got == block.len() => held = block.end,
                Ok(got) => {
                    chunk.truncate(held + got);
                    return false;
                }
                Err(_) => {
                    chunk.truncate(held);
                    return true;
                }
            }
        }
        false
    }
}

/// What [`SegmentFile::find`] has found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Whole {
    /// Where the first whole record lies.
    pub at: Option<u64>,
    /// Bytes before it, or before the end, that the disk did not give: there may be
    /// more records in them.
    pub unread: u64,
}
