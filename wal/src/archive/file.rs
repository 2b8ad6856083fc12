//! Reads one archived file, front to back, checking every byte.
//!
//! Must stay true: no frame is handed out before its block's checksums held; no
//! buffer is grown by a length that was not checked; the file's end is reported
//! only after everything its header and footer say was found true. One block is
//! held at a time.

use super::format::{self, BLOCK_LEN, FOOTER_LEN, HEADER_LEN, HeaderFlaw, Place};
use super::{Error, StoreId, Summary};
use crate::Lsn;
use crc_fast::Digest;
use platform::{Disk, File, Open};
use std::io;
use std::ops::Range;
use std::sync::Arc;

/// Capacity kept in the buffers between blocks.
const KEEP_BUFFER: usize = 1 << 20;

/// One frame, its payload as a range of [`FileReader::bytes`].
#[derive(Clone, Debug)]
pub(crate) struct Found {
    pub(crate) lsn: Lsn,
    pub(crate) wall: u64,
    pub(crate) epoch: u64,
    pub(crate) payload: Range<usize>,
}

pub(crate) struct FileReader {
    file: Arc<dyn File>,
    path: String,
    said: Summary,
    /// The CRC of all blocks, as the footer has it.
    body: u64,
    /// Where the footer stands.
    end: u64,
    /// Where the next block stands.
    at: u64,
    stored: Vec<u8>,
    raw: Vec<u8>,
    /// Where the next frame stands in `raw`, and how many are left there.
    raw_at: usize,
    left: u32,
    /// Where the block in `raw` stands.
    block_at: u64,
    /// What was found so far; `last_lsn` 0: nothing yet.
    found: Summary,
    body_digest: Digest,
    content_digest: Digest,
    ended: bool,
}

/// Reads and checks header and footer: what the file says about itself.
pub(crate) fn read_ends(file: &dyn File, path: &str) -> Result<(Summary, u64, u64), Error> {
    let len = file.len().map_err(Error::io("measure", path))?;
    let mut header = [0; HEADER_LEN];
    let got = read_up_to(file, &mut header, 0).map_err(Error::io("read", path))?;
    let said = match format::decode_header(&header[..got]) {
        Ok(said) => said,
        Err(HeaderFlaw::Newer(found)) => {
            let known = format::VERSION;
            return Err(Error::NewerFormat { file: path.to_owned(), found, known });
        }
        Err(HeaderFlaw::Invalid(why)) => return Err(Error::corrupt(path, 0, why)),
    };
    let least = (HEADER_LEN + FOOTER_LEN) as u64;
    let Some(end) = len.checked_sub(FOOTER_LEN as u64).filter(|_| len >= least) else {
        let why = "the file is shorter than its header and end: it is cut off";
        return Err(Error::corrupt(path, len, why));
    };
    let mut footer = [0; FOOTER_LEN];
    file.read_exact_at(&mut footer, end).map_err(Error::io("read", path))?;
    let body = format::decode_footer(&footer, &header, len)
        .map_err(|why| Error::corrupt(path, end, why))?;
    Ok((said, body, end))
}

fn read_up_to(file: &dyn File, buf: &mut [u8], at: u64) -> io::Result<usize> {
    let len = file.len()?.saturating_sub(at);
    let want = buf.len().min(usize::try_from(len).unwrap_or(usize::MAX));
    file.read_exact_at(&mut buf[..want], at)?;
    Ok(want)
}

impl FileReader {
    /// Opens the file at `path`, which must hold frames `range` of `store`.
    pub(crate) fn open(
        disk: &dyn Disk,
        path: &str,
        range: (Lsn, Lsn),
        store: Option<StoreId>,
    ) -> Result<Self, Error> {
        let file = disk.open(path, Open::Read).map_err(Error::io("open", path))?;
        let (said, body, end) = read_ends(&*file, path)?;
        let (first, last) = (said.first_lsn, said.last_lsn);
        if (first, last) != range {
            return Err(Error::Misnamed { file: path.to_owned(), first, last });
        }
        if let Some(wanted) = store
            && wanted != said.store
        {
            return Err(Error::OtherStore { file: path.to_owned(), found: said.store, wanted });
        }
        Ok(Self {
            file,
            path: path.to_owned(),
            said,
            body,
            end,
            at: HEADER_LEN as u64,
            stored: Vec::new(),
            raw: Vec::new(),
            raw_at: 0,
            left: 0,
            block_at: 0,
            found: Summary { store: said.store, first_lsn: first, ..Summary::default() },
            body_digest: format::digest(),
            content_digest: format::digest(),
            ended: false,
        })
    }

    pub(crate) fn summary(&self) -> &Summary {
        &self.said
    }

    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    /// The block that holds the frame found last.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.raw
    }

    /// Bytes of the file read so far.
    pub(crate) fn position(&self) -> u64 {
        self.at
    }

    fn corrupt(&self, offset: u64, why: impl Into<String>) -> Error {
        Error::corrupt(&self.path, offset, why)
    }

    /// The next frame; `None` once everything the file says was found true.
    /// After an error, ask no more.
    pub(crate) fn next(&mut self) -> Result<Option<Found>, Error> {
        while self.left == 0 {
            if !self.next_block()? {
                return Ok(None);
            }
        }
        let Some((wall, epoch, payload)) = format::decode_frame(&self.raw, self.raw_at) else {
            return Err(self.corrupt(self.block_at, "a frame in the block makes no sense"));
        };
        let found = &mut self.found;
        if found.last_lsn == 0 {
            (found.first_wall, found.oldest_wall, found.first_epoch) = (wall, wall, epoch);
        }
        let lsn = if found.last_lsn == 0 { found.first_lsn } else { found.last_lsn + 1 };
        if epoch < found.last_epoch {
            let why = format!("frame {lsn} is of an earlier life of the log than the one before");
            return Err(self.corrupt(self.block_at, why));
        }
        (found.last_lsn, found.last_wall, found.last_epoch) = (lsn, wall, epoch);
        found.oldest_wall = found.oldest_wall.min(wall);
        found.newest_wall = found.newest_wall.max(wall);
        self.raw_at = payload.end;
        self.left -= 1;
        if self.left == 0 && self.raw_at != self.raw.len() {
            return Err(self.corrupt(self.block_at, "the block holds more than its frames"));
        }
        Ok(Some(Found { lsn, wall, epoch, payload }))
    }

    /// Reads and checks the next block; `false` at the file's end, all checked.
    fn next_block(&mut self) -> Result<bool, Error> {
        if self.at == self.end {
            return self.check_end().map(|()| false);
        }
        let (at, left) = (self.at, self.end - self.at);
        if left < BLOCK_LEN as u64 {
            return Err(self.corrupt(at, "the blocks do not end where the file's end begins"));
        }
        let mut header = [0; BLOCK_LEN];
        self.file.read_exact_at(&mut header, at).map_err(Error::io("read", &self.path))?;
        let place = Place { store: self.said.store, file_first: self.said.first_lsn, offset: at };
        let block = match format::decode_block(&header, place) {
            Ok(block) => block,
            Err(why) => return Err(self.corrupt(at, why)),
        };
        if block.stored_len as u64 > left - BLOCK_LEN as u64 {
            return Err(self.corrupt(at, "the file ends inside a block"));
        }
        let next =
            if self.found.last_lsn == 0 { self.said.first_lsn } else { self.found.last_lsn + 1 };
        let last = block.first_lsn.checked_add(u64::from(block.frames) - 1);
        if block.first_lsn != next || last.is_none_or(|last| last > self.said.last_lsn) {
            let (from, count, end) = (block.first_lsn, block.frames, self.said.last_lsn);
            let why = format!(
                "the block has {count} frames from {from} on; what follows is {next}, up to {end}"
            );
            return Err(self.corrupt(at, why));
        }
        if self.stored.capacity().max(self.raw.capacity()) > KEEP_BUFFER {
            (self.stored, self.raw) = (Vec::new(), Vec::new());
        }
        self.stored.resize(block.stored_len, 0);
        let from = at + BLOCK_LEN as u64;
        self.file.read_exact_at(&mut self.stored, from).map_err(Error::io("read", &self.path))?;
        if let Err(why) = format::unpack(&block, &self.stored, &mut self.raw) {
            return Err(self.corrupt(at, why));
        }
        self.body_digest.update(&header);
        self.body_digest.update(&self.stored);
        self.content_digest.update(&self.raw);
        self.found.raw_bytes += self.raw.len() as u64;
        self.found.blocks += 1;
        self.block_at = at;
        self.at = from + block.stored_len as u64;
        (self.raw_at, self.left) = (0, block.frames);
        Ok(true)
    }

    fn check_end(&mut self) -> Result<(), Error> {
        if std::mem::replace(&mut self.ended, true) {
            return Ok(());
        }
        if self.body_digest.finalize() != self.body {
            return Err(self.corrupt(self.end, "the file does not match its whole checksum"));
        }
        self.found.content = self.content_digest.finalize();
        if self.found != self.said {
            return Err(self.corrupt(0, "the header does not say what the file holds"));
        }
        Ok(())
    }
}
