//! Reads the frames of one segment, front to back, with bounded memory.
//!
//! Must stay true: no byte is handed out before its checksum held, and no
//! buffer is grown by a length that was not checked first. The buffer holds one
//! chunk, or one frame if that is larger. A stretch that the disk does not give costs
//! what lies in it, not what is read ahead with it.

use crate::Lsn;
use crate::frame::{self, Flaw, Head, Place};
use crate::segment::{HEADER_LEN, SegmentHeader};
use platform::{BLOCK, File};
use std::io;
use std::sync::Arc;

/// Bytes read at once.
const CHUNK: usize = 256 << 10;

/// What stands at an offset.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// A frame; its payload is [`Reader::payload`].
    Frame(Head),
    /// The end mark of a life, with the LSN that came next.
    Mark(Lsn),
    /// The file ends here.
    End,
    /// Something else.
    Bad(Flaw),
}

/// What stands behind the last frame.
#[derive(Debug, Default)]
pub(crate) struct Rest {
    /// A later frame's header which says that the missing one was durable.
    pub(crate) witness: Option<(u64, Head)>,
    /// Bytes up to the end of the last frame of which at least the header checks.
    pub(crate) sound: u64,
    /// Bytes up to the last one that is not zero.
    pub(crate) filled: u64,
    /// The first bytes look like the missing frame, though they do not check.
    pub(crate) looks_torn: bool,
}

pub(crate) struct Reader {
    file: Arc<dyn File>,
    number: u64,
    epoch: u64,
    salt: u64,
    /// Length of the file when it was last asked.
    end: u64,
    buf: Vec<u8>,
    /// Offset in the file of `buf[0]`.
    start: u64,
    /// Below, something could not be read: block by block up to there.
    careful: u64,
}

impl Reader {
    pub(crate) fn new(file: Arc<dyn File>, header: &SegmentHeader) -> io::Result<Self> {
        let end = file.len()?;
        Ok(Self {
            file,
            number: header.number,
            epoch: header.epoch,
            salt: header.salt,
            end,
            buf: Vec::new(),
            start: 0,
            careful: 0,
        })
    }

    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// Forgets what was read ahead and asks for the file's length again: the
    /// file has grown since.
    pub(crate) fn refresh(&mut self) -> io::Result<()> {
        self.buf.clear();
        self.end = self.file.len()?;
        Ok(())
    }

    pub(crate) fn place(&self, offset: u64) -> Place {
        Place { salt: self.salt, segment: self.number, epoch: self.epoch, offset }
    }

    /// Up to `len` bytes at `at`; fewer only at the end of the file.
    fn bytes(&mut self, at: u64, len: usize) -> io::Result<&[u8]> {
        let left = usize::try_from(self.end.saturating_sub(at)).unwrap_or(usize::MAX);
        let len = len.min(left);
        let held = self.start + self.buf.len() as u64;
        if at < self.start || at + len as u64 > held {
            self.read(at, len, left)?;
        }
        let from = (at - self.start) as usize;
        Ok(&self.buf[from..(from + len).min(self.buf.len())])
    }

    /// Reads at least `len` bytes at `at` into the buffer, of `left` there are.
    fn read(&mut self, at: u64, len: usize, left: usize) -> io::Result<()> {
        let blocks = (at + len as u64).next_multiple_of(BLOCK as u64) - at;
        let blocks = usize::try_from(blocks).unwrap_or(usize::MAX).min(left);
        let chunk = len.max(CHUNK).min(left);
        // Each time less, as long as the disk does not give it.
        let mut below = if at < self.careful { blocks + 1 } else { usize::MAX };
        let mut outcome = Ok(());
        for want in [chunk, blocks, len] {
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
                    outcome = Err(error);
                }
            }
        }
        outcome
    }

    /// What stands at `at`, a multiple of 8.
    pub(crate) fn frame_at(&mut self, at: u64) -> io::Result<Found> {
        if at >= self.end {
            return Ok(Found::End);
        }
        let place = self.place(at);
        let head = match frame::check_header(self.bytes(at, frame::HEADER_LEN)?, place) {
            Ok(head) => head,
            Err(flaw) => return Ok(Found::Bad(flaw)),
        };
        if head.is_mark {
            return Ok(Found::Mark(head.lsn));
        }
        let len = frame::frame_len(head.payload_len);
        if len > self.end - at {
            return Ok(Found::Bad(Flaw::Short));
        }
        match frame::check_body(self.bytes(at, len as usize)?, &head) {
            Ok(()) => Ok(Found::Frame(head)),
            Err(flaw) => Ok(Found::Bad(flaw)),
        }
    }

    /// The payload of the frame that [`Reader::frame_at`] just found at `at`.
    pub(crate) fn payload(&self, at: u64, head: &Head) -> &[u8] {
        let from = (at - self.start) as usize + frame::HEADER_LEN;
        &self.buf[from..from + head.payload_len]
    }

    /// Looks through everything from `at` on, where frame `lsn` does not stand:
    /// once, front to back. Only headers must check: they are bound to their place
    /// and to the salt, so even with a damaged payload they were written here, in
    /// this use of the file.
    pub(crate) fn rest(&mut self, from: u64, lsn: Lsn, epoch: u64) -> io::Result<Rest> {
        let looks_torn = frame::looks_like(self.bytes(from, frame::HEADER_LEN)?, lsn, epoch);
        let mut rest = Rest { looks_torn, ..Rest::default() };
        let (end, base) = (self.end, self.place(0));
        let mut at = from;
        while at < end {
            let bytes = self.bytes(at, CHUNK)?;
            if bytes.is_empty() {
                break;
            }
            let to_end = at + bytes.len() as u64 >= end;
            let mut i = 0;
            while i < bytes.len() {
                let word = &bytes[i..bytes.len().min(i + 8)];
                if word.iter().any(|byte| *byte != 0) {
                    let here = &bytes[i..];
                    if here.len() < frame::HEADER_LEN && !to_end {
                        break; // read on from here
                    }
                    let offset = at + i as u64;
                    rest.filled = offset + word.len() as u64 - from;
                    let place = Place { offset, ..base };
                    if let Ok(head) = frame::check_header(here, place) {
                        rest.sound = offset + frame::frame_len(head.payload_len) - from;
                        if rest.witness.is_none() && head.durable_lsn >= lsn {
                            rest.witness = Some((offset, head));
                        }
                    }
                }
                i += 8;
            }
            at += i.min(bytes.len()) as u64;
        }
        Ok(rest)
    }

    /// Rewrites the bytes from `from` to `to` with themselves.
    pub(crate) fn rewrite(&mut self, mut from: u64, to: u64) -> io::Result<()> {
        let file = self.file.clone();
        while from < to {
            let len = CHUNK.min(usize::try_from(to - from).unwrap_or(CHUNK));
            let bytes = self.bytes(from, len)?;
            if bytes.is_empty() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            file.write_at(bytes, from)?;
            from += bytes.len() as u64;
        }
        Ok(())
    }
}

/// Reads and checks the header of segment `number`.
pub(crate) fn read_segment_header(
    file: &dyn File,
    number: u64,
) -> io::Result<Result<SegmentHeader, crate::segment::HeaderFlaw>> {
    let mut bytes = [0; HEADER_LEN as usize];
    let got = file.read_at(&mut bytes, 0)?;
    Ok(SegmentHeader::check(&bytes[..got], number))
}
