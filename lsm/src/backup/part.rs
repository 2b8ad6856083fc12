//! Writing and reading the files a backup consists of.
//!
//! What must stay true: what was written is what the manifest's checksum covers,
//! byte for byte; nothing read is passed on as whole before its end and checksum
//! were seen (the caller acts only when [`read`] has returned).

use std::sync::Arc;

use crc_fast::Digest;
use platform::{Disk, File, Open};

use super::error::Error;
use super::format::{self, Kind, LAST, PART_HEAD, Part};
use crate::directory::StoreId;

/// Bytes written or read with one call.
const CHUNK: usize = 1 << 20;

pub(crate) fn join(dir: &str, name: &str) -> String {
    if dir.is_empty() { name.to_owned() } else { format!("{dir}/{name}") }
}

/// A part being written.
pub(crate) struct Writer {
    file: Arc<dyn File>,
    path: String,
    written: u64,
    buf: Vec<u8>,
    digest: Digest,
    /// The last bytes of the body.
    last: Vec<u8>,
}

impl Writer {
    pub(crate) fn new(
        disk: &dyn Disk,
        dir: &str,
        name: &str,
        kind: Kind,
        store: StoreId,
    ) -> Result<Self, Error> {
        let path = join(dir, name);
        let file = disk.open(&path, Open::CreateNew).map_err(Error::io("create", &path))?;
        let (digest, buf) = (format::digest(), Vec::new());
        let mut part = Writer { file, path, written: 0, buf, digest, last: Vec::new() };
        part.put(&format::part_head(kind, store))?;
        Ok(part)
    }

    /// Adds to the body.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let keep = bytes.len().min(LAST as usize);
        let over = (self.last.len() + keep).saturating_sub(LAST as usize);
        self.last.drain(..over);
        self.last.extend_from_slice(&bytes[bytes.len() - keep..]);
        self.put(bytes)
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.digest.update(bytes);
        self.buf.extend_from_slice(bytes);
        if self.buf.len() >= CHUNK { self.drain() } else { Ok(()) }
    }

    fn drain(&mut self) -> Result<(), Error> {
        if !self.buf.is_empty() {
            let wrote = self.file.write_at(&self.buf, self.written);
            wrote.map_err(Error::io("write", &self.path))?;
            self.written += self.buf.len() as u64;
            self.buf.clear();
        }
        Ok(())
    }

    /// Makes it durable but for its name; fills in what the manifest says of it.
    pub(crate) fn finish(&mut self, part: Part) -> Result<Part, Error> {
        self.drain()?;
        self.file.sync().map_err(Error::io("sync", &self.path))?;
        let last = format::checksum(&self.last);
        Ok(Part { bytes: self.written, checksum: self.digest.clone().finalize(), last, ..part })
    }
}

/// Whether the part is there with the length it should have.
pub(crate) fn is_there(disk: &dyn Disk, dir: &str, part: &Part) -> bool {
    let file = disk.open(&join(dir, &part.name()), Open::Read);
    file.and_then(|file| file.len()).is_ok_and(|len| len == part.bytes)
}

/// Reads a part whole: its body goes to `body` in pieces, in order. When this
/// returns, all of it was as it was written.
///
/// # Errors
/// [`Error::Damaged`], naming the file; `body`'s own.
pub(crate) fn read(
    disk: &dyn Disk,
    dir: &str,
    store: StoreId,
    part: &Part,
    body: &mut dyn FnMut(&[u8]) -> Result<(), Error>,
) -> Result<(), Error> {
    let path = join(dir, &part.name());
    let file = disk.open(&path, Open::Read).map_err(|e| match e.kind() {
        std::io::ErrorKind::NotFound => Error::damaged(&path, "it is missing"),
        _ => Error::io("open", &path)(e),
    })?;
    let len = file.len().map_err(Error::io("read", &path))?;
    if len != part.bytes || len < PART_HEAD {
        let what = format!("it has {len} bytes, the manifest says {}", part.bytes);
        return Err(Error::damaged(&path, what));
    }
    let mut digest = format::digest();
    let mut buf = Vec::new();
    let mut at = 0;
    while at < len {
        buf.resize((len - at).min(CHUNK as u64) as usize, 0);
        let got = file.read_at(&mut buf, at).map_err(Error::io("read", &path))?;
        if got < buf.len() {
            return Err(Error::damaged(&path, format!("it ends at byte {}", at + got as u64)));
        }
        digest.update(&buf);
        let mut rest = &buf[..];
        if at == 0 {
            let (head, after) = buf.split_at_checked(PART_HEAD as usize).unwrap_or((&buf, &[]));
            if head != format::part_head(part.kind, store) {
                return Err(Error::damaged(&path, "its head is not that of this store's part"));
            }
            rest = after;
        }
        at += got as u64;
        if at == len && digest.clone().finalize() != part.checksum {
            return Err(Error::damaged(&path, "it does not match its checksum in the manifest"));
        }
        body(rest)?;
    }
    Ok(())
}
