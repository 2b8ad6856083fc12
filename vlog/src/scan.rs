//! Walks a segment record by record: for garbage collection and verify.
//!
//! Must stay true: every record handed out was verified; memory is bounded by
//! one record or one chunk; only synced bytes are read; a stretch that the disk does
//! not give costs the records that lie in it, not those read ahead with it.

use crate::error::Error;
use crate::record::{self, Pointer, RecordRef};
use platform::{BLOCK, File};
use std::sync::Arc;

/// Bytes read at once.
const CHUNK: usize = 256 << 10;

/// The records of one segment, in the order they were written. Made by
/// [`crate::Vlog::scan`].
pub struct Scan {
    file: Arc<dyn File>,
    path: String,
    segment: u32,
    at: u64,
    end: u64,
    buf: Vec<u8>,
    start: u64,
    /// Below, something could not be read: block by block up to there.
    careful: u64,
}

impl Scan {
    pub(crate) fn new(file: Arc<dyn File>, path: String, segment: u32, at: u64, end: u64) -> Self {
        Self { file, path, segment, at, end, buf: Vec::new(), start: 0, careful: 0 }
    }

    /// Where the next record begins.
    pub fn offset(&self) -> u64 {
        self.at
    }

    /// The next record and where it lies; `None` at the end.
    ///
    /// # Errors
    /// [`Error::Corrupt`]: what follows a damaged record cannot be found by
    /// walking; [`Error::Io`].
    #[allow(clippy::should_implement_trait)] // lending: the record borrows the buffer
    pub fn next(&mut self) -> Result<Option<(Pointer, RecordRef<'_>)>, Error> {
        Ok(self.next_raw()?.map(|(at, record, _)| (at, record)))
    }

    /// As [`Scan::next`], with the record's bytes as they lie there.
    ///
    /// # Errors
    /// As [`Scan::next`].
    #[allow(clippy::type_complexity, reason = "a place, what is there, and its bytes")]
    pub fn next_raw(&mut self) -> Result<Option<(Pointer, RecordRef<'_>, &[u8])>, Error> {
        if self.at >= self.end {
            return Ok(None);
        }
        let at = self.at;
        self.fill(at, record::HEADER_LEN)?;
        let len = match record::claimed_len(self.held(at, record::HEADER_LEN), self.segment, at) {
            Ok(len) if len <= self.end - at => len,
            Ok(_) => return Err(Error::corrupt(&self.path, at, record::Flaw::Length.to_string())),
            Err(flaw) => return Err(Error::corrupt(&self.path, at, flaw.to_string())),
        };
        self.fill(at, len as usize)?;
        self.at = at + len;
        let bytes = self.held(at, len as usize);
        match record::check(bytes, self.segment, at) {
            Ok(record) => {
                let place = Pointer { segment: self.segment, len: len as u32, offset: at };
                Ok(Some((place, record, bytes)))
            }
            Err(flaw) => Err(Error::corrupt(&self.path, at, flaw.to_string())),
        }
    }

    /// Makes the buffer hold `[at, at + len)`, or up to the end if that is nearer.
    fn fill(&mut self, at: u64, len: usize) -> Result<(), Error> {
        let left = usize::try_from(self.end - at).unwrap_or(usize::MAX);
        let held = self.start + self.buf.len() as u64;
        if at >= self.start && at + len.min(left) as u64 <= held {
            return Ok(());
        }
        let blocks = (at + len as u64).next_multiple_of(BLOCK as u64) - at;
        let blocks = usize::try_from(blocks).unwrap_or(usize::MAX).min(left);
        let chunk = len.max(CHUNK).min(left);
        // Each time less, as long as the disk does not give it.
        let mut below = if at < self.careful { blocks + 1 } else { usize::MAX };
        let mut outcome = Ok(());
        for want in [chunk, blocks, len.min(left)] {
            if want >= below {
                continue;
            }
            below = want;
            self.buf.clear();
            self.buf.shrink_to(4 * CHUNK);
            self.buf.resize(want, 0);
            self.start = at;
            match self.file.read_at(&mut self.buf, at) {
                Ok(got) => {
                    self.buf.truncate(got);
                    return Ok(());
                }
                Err(error) => {
                    self.buf.clear();
                    self.careful = self.careful.max(at + want as u64);
                    outcome = Err(Error::io("read", &self.path)(error));
                }
            }
        }
        outcome
    }

    fn held(&self, at: u64, len: usize) -> &[u8] {
        let from = (at - self.start) as usize;
        &self.buf[from..(from + len).min(self.buf.len())]
    }
}
