//! The value log: open and read (`write.rs`: append, sync, remove).
//!
//! Must stay true:
//! * one writer, under `writer`; readers never take that lock. Lock order:
//!   `writer`, then `segments`; neither is held over a read;
//! * a record can be read only after the [`Vlog::sync`] that made it durable
//!   returned: its bytes are not in `segments` before.

use crate::error::Error;
use crate::record::{self, Pointer, RecordRef};
use crate::scan::Scan;
use crate::segment::{self, HEADER_LEN, HeaderFlaw, Tail};
use crate::write::Writer;
use crate::{Options, Record, SegmentInfo};
use parking_lot::{Mutex, RwLock};
use platform::{Disk, File, Open};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

/// Files kept open for reading.
const MAX_OPEN_FILES: usize = 128;

/// The value log of one process. All methods take `&self`.
pub struct Vlog {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) dir: String,
    pub(crate) opts: Options,
    pub(crate) writer: Mutex<Writer>,
    pub(crate) segments: RwLock<BTreeMap<u32, Segment>>,
    /// The segment being written (0: none yet), for those without the lock.
    pub(crate) tail_id: AtomicU32,
}

/// What readers see of a segment.
pub(crate) struct Segment {
    /// Bytes that are durable and may be read, header included.
    pub(crate) len: u64,
    file: Option<Arc<dyn File>>,
    /// Read since the last look of the eviction.
    used: AtomicBool,
}

impl Segment {
    /// Of so many bytes that may be read, not open.
    pub(crate) fn new(len: u64) -> Segment {
        Segment { len, file: None, used: AtomicBool::new(false) }
    }
}

impl std::fmt::Debug for Vlog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Vlog").field("dir", &self.dir).finish_non_exhaustive()
    }
}

impl Vlog {
    /// Opens the value log in `dir` (made if absent) as the meta page's `tail`
    /// vouches for it: later segments are removed, later bytes cut, durably.
    /// With [`Tail::EMPTY`] every segment goes: open the write-ahead log first,
    /// which refuses if the page file has been lost.
    ///
    /// # Errors
    /// [`Error::Missing`] or [`Error::Corrupt`] if the tail is not there,
    /// [`Error::NewerFormat`]: nothing was changed. [`Error::Io`].
    pub fn open(disk: Arc<dyn Disk>, dir: &str, opts: Options, tail: Tail) -> Result<Self, Error> {
        make_dir(&*disk, dir)?;
        let mut ids: Vec<u32> = disk
            .list(dir)
            .map_err(Error::io("list", dir))?
            .iter()
            .filter_map(|name| segment::number_of(name))
            .collect();
        ids.sort_unstable();

        // Look first, change afterwards.
        let mut segments = BTreeMap::new();
        let mut current = None;
        for &id in ids.iter().filter(|id| **id <= tail.segment) {
            let path = segment::path(dir, id);
            let how = if id == tail.segment { Open::Write } else { Open::Read };
            let file = disk.open(&path, how).map_err(Error::opening(&path))?;
            check_header(&*file, &path, id)?;
            let mut len = file.len().map_err(Error::io("read", &path))?;
            if id == tail.segment {
                if len < tail.len || tail.len < HEADER_LEN {
                    let why =
                        format!("the file has {len} bytes, the tree vouches for {}", tail.len);
                    return Err(Error::corrupt(&path, len, why));
                }
                let cut = len > tail.len;
                len = tail.len;
                current = Some((path, file, cut));
            }
            segments.insert(id, Segment::new(len));
        }
        if tail.segment != 0 && current.is_none() {
            return Err(Error::Missing { file: segment::path(dir, tail.segment) });
        }

        for &id in ids.iter().rev().filter(|id| **id > tail.segment) {
            let path = segment::path(dir, id);
            disk.remove(&path).map_err(Error::io("remove", &path))?;
            disk.sync_dir(dir).map_err(Error::io("sync", dir))?;
        }
        let current = match current {
            None => None,
            Some((path, file, cut)) => {
                if cut {
                    file.set_len(tail.len).map_err(Error::io("cut", &path))?;
                    file.sync().map_err(Error::io("sync", &path))?;
                }
                Some(file)
            }
        };
        Ok(Self {
            disk,
            dir: dir.to_owned(),
            opts,
            writer: Mutex::new(Writer::new(tail, current)),
            segments: RwLock::new(segments),
            tail_id: AtomicU32::new(tail.segment),
        })
    }

    /// Reads and verifies one record into a buffer of its own.
    ///
    /// # Errors
    /// As [`Vlog::read_into`].
    pub fn read(&self, at: Pointer) -> Result<Record, Error> {
        let mut bytes = Vec::new();
        let RecordRef { keyspace, lsn, key, .. } = self.read_into(at, &mut bytes)?;
        let key_len = key.len();
        Ok(Record { keyspace, lsn, key_len, bytes })
    }

    /// Reads and verifies one record, by one read of `at.len` bytes, into `buf`
    /// (replacing what it holds).
    ///
    /// # Errors
    /// [`Error::Corrupt`] if anything does not check, [`Error::Missing`] if there
    /// is no such segment, [`Error::Misuse`] for a record not yet synced,
    /// [`Error::Io`].
    pub fn read_into<'b>(&self, at: Pointer, buf: &'b mut Vec<u8>) -> Result<RecordRef<'b>, Error> {
        let (file, len) = self.file(at.segment)?;
        let end = at.offset.checked_add(u64::from(at.len));
        if at.offset < HEADER_LEN
            || (at.len as usize) < record::HEADER_LEN
            || end.is_none_or(|end| end > len)
        {
            return Err(self.outside(at, len));
        }
        buf.clear();
        buf.resize(at.len as usize, 0);
        let path = || segment::path(&self.dir, at.segment);
        file.read_exact_at(buf, at.offset).map_err(|e| match e.kind() {
            std::io::ErrorKind::UnexpectedEof => {
                Error::corrupt(&path(), at.offset, record::Flaw::Short.to_string())
            }
            _ => Error::io("read", &path())(e),
        })?;
        record::check(buf, at.segment, at.offset)
            .map_err(|flaw| Error::corrupt(&path(), at.offset, flaw.to_string()))
    }

    /// As [`Vlog::read_into`], and the record must be of this keyspace and key:
    /// a pointer that leads to another key's value is damage too.
    ///
    /// # Errors
    /// As [`Vlog::read_into`].
    pub fn read_of<'b>(
        &self,
        at: Pointer,
        keyspace: u32,
        key: &[u8],
        buf: &'b mut Vec<u8>,
    ) -> Result<RecordRef<'b>, Error> {
        let record = self.read_into(at, buf)?;
        if record.keyspace != keyspace || record.key != key {
            let why = format!(
                "the record belongs to keyspace {} and another key than the tree says",
                record.keyspace
            );
            return Err(Error::corrupt(&segment::path(&self.dir, at.segment), at.offset, why));
        }
        Ok(record)
    }

    /// The error for a pointer that reaches over what may be read.
    fn outside(&self, at: Pointer, len: u64) -> Error {
        if at.segment == self.tail_id.load(Ordering::Acquire) && at.offset >= len {
            let why = "a record was read before the sync that makes it readable";
            return Error::Misuse { segment: at.segment, why };
        }
        let why = format!("a pointer names {} bytes here, the segment has {len} in all", at.len);
        Error::corrupt(&segment::path(&self.dir, at.segment), at.offset, why)
    }

    /// The records of a segment in the order they were written, synced ones only.
    ///
    /// # Errors
    /// [`Error::Missing`], [`Error::Io`].
    pub fn scan(&self, segment: u32) -> Result<Scan, Error> {
        let (file, len) = self.file(segment)?;
        Ok(Scan::new(file, segment::path(&self.dir, segment), segment, HEADER_LEN, len))
    }

    /// As [`Vlog::scan`], from the record at `offset` on; 0 is the first.
    ///
    /// # Errors
    /// As [`Vlog::scan`]. An offset where no record begins is found out by the
    /// first [`Scan::next`].
    pub fn scan_from(&self, segment: u32, offset: u64) -> Result<Scan, Error> {
        let (file, len) = self.file(segment)?;
        let path = segment::path(&self.dir, segment);
        Ok(Scan::new(file, path, segment, offset.max(HEADER_LEN), len))
    }

    /// An open handle and how many bytes may be read.
    fn file(&self, id: u32) -> Result<(Arc<dyn File>, u64), Error> {
        {
            let segments = self.segments.read();
            match segments.get(&id) {
                None => return Err(Error::Missing { file: segment::path(&self.dir, id) }),
                Some(Segment { file: Some(file), len, used }) => {
                    if !used.load(Ordering::Relaxed) {
                        used.store(true, Ordering::Relaxed);
                    }
                    return Ok((file.clone(), *len));
                }
                Some(_) => {}
            }
        }
        let path = segment::path(&self.dir, id);
        let file = self.disk.open(&path, Open::Read).map_err(Error::opening(&path))?;
        let mut segments = self.segments.write();
        evict(&mut segments);
        match segments.get_mut(&id) {
            None => Err(Error::Missing { file: path }),
            Some(segment) => {
                segment.used.store(true, Ordering::Relaxed);
                segment.file = Some(file.clone());
                Ok((file, segment.len))
            }
        }
    }

    /// The segments, oldest first.
    pub fn segments(&self) -> Vec<SegmentInfo> {
        let current = self.tail_id.load(Ordering::Acquire);
        let segments = self.segments.read();
        segments
            .iter()
            .map(|(&id, s)| SegmentInfo {
                id,
                bytes: s.len.saturating_sub(HEADER_LEN),
                sealed: id != current,
            })
            .collect()
    }

    #[cfg(test)]
    pub(crate) fn open_files(&self) -> usize {
        self.segments.read().values().filter(|s| s.file.is_some()).count()
    }
}

/// Closes files not used of late until there is room for one more: those read
/// since the last look get a second chance.
fn evict(segments: &mut BTreeMap<u32, Segment>) {
    let mut open = segments.values().filter(|s| s.file.is_some()).count();
    for _ in 0..2 {
        for segment in segments.values_mut() {
            if open < MAX_OPEN_FILES {
                return;
            }
            if segment.file.is_some() && !std::mem::take(segment.used.get_mut()) {
                segment.file = None;
                open -= 1;
            }
        }
    }
}

fn check_header(file: &dyn File, path: &str, id: u32) -> Result<(), Error> {
    let mut bytes = [0; HEADER_LEN as usize];
    let got = file.read_at(&mut bytes, 0).map_err(Error::io("read", path))?;
    segment::check(&bytes[..got], id).map_err(|flaw| match flaw {
        HeaderFlaw::Newer(found) => {
            Error::NewerFormat { file: path.to_owned(), found, known: segment::VERSION }
        }
        HeaderFlaw::Invalid => Error::corrupt(path, 0, "the segment's header does not check"),
    })
}

/// Makes `dir` and the names on the way to it durable.
fn make_dir(disk: &dyn Disk, dir: &str) -> Result<(), Error> {
    disk.create_dir(dir).map_err(Error::io("make", dir))?;
    let mut at = dir;
    while !at.is_empty() {
        at = at.rsplit_once('/').map_or("", |(parent, _)| parent);
        disk.sync_dir(at).map_err(Error::io("sync", at))?;
    }
    Ok(())
}
