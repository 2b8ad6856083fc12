//! The value log: open and read (`write.rs`: append, sync, remove).
//!
//! Must stay true:
//! * one writer, under `writer`; readers take no lock, but to open a file;
//! * a record can be read only after the [`Vlog::sync`] that made it durable
//!   returned: its bytes are not in the table's `len` before;
//! * what comes out of a mapping is copied first and verified then, so that what
//!   is handed out is what was verified; what does not check is read again by a
//!   call, which can say what is wrong with the disk.

use crate::error::Error;
use crate::record::{self, Pointer, RecordRef};
use crate::scan::Scan;
use crate::segment::{self, HEADER_LEN, HeaderFlaw, Tail};
use crate::table::{Opened, Segment, Table, find};
use crate::write::Writer;
use crate::{Options, Record, SegmentInfo};
use parking_lot::Mutex;
use platform::{Disk, File, Open};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// The value log of one process. All methods take `&self`.
pub struct Vlog {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) dir: String,
    pub(crate) opts: Options,
    pub(crate) writer: Mutex<Writer>,
    pub(crate) segments: Table,
    /// The segment being written (0: none yet), for those without the lock.
    pub(crate) tail_id: AtomicU32,
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
    /// [`Error::OtherFormat`]: nothing was changed. [`Error::Io`].
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
        let mut segments = Vec::new();
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
            segments.push(Segment::new(id, len));
        }
        if tail.segment != 0 && current.is_none() {
            return Err(Error::Missing { file: segment::path(dir, tail.segment) });
        }

        if tail.segment != 0 {
            // A process killed in a removal may have left it in the kernel only. From
            // here on the caller goes by what is gone, so it must not come back.
            disk.sync_dir(dir).map_err(Error::io("sync", dir))?;
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
            segments: Table::new(segments),
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

    /// Reads and verifies one record into `buf` (replacing what it holds): copied
    /// out of memory where the segment is mapped, else by one read of `at.len` bytes.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if anything does not check, [`Error::Missing`] if there
    /// is no such segment, [`Error::Misuse`] for a record not yet synced,
    /// [`Error::Io`].
    pub fn read_into<'b>(&self, at: Pointer, buf: &'b mut Vec<u8>) -> Result<RecordRef<'b>, Error> {
        buf.clear();
        self.with(at.segment, |opened, len| self.append_record(opened, len, at, buf))?;
        record::split(buf).map_err(|flaw| self.flawed(at, flaw))
    }

    /// Appends a record's verified bytes to `buf`; an error may leave others there.
    pub(crate) fn append_record(
        &self,
        opened: &Opened,
        len: u64,
        at: Pointer,
        buf: &mut Vec<u8>,
    ) -> Result<(), Error> {
        let end = at.offset.checked_add(u64::from(at.len));
        if at.offset < HEADER_LEN
            || (at.len as usize) < record::HEADER_LEN
            || end.is_none_or(|end| end > len)
        {
            return Err(self.outside(at, len));
        }
        let start = buf.len();
        if let Some(map) = &opened.map
            && map.read(at.offset, at.len as usize, buf)
            && record::check(&buf[start..], at.segment, at.offset).is_ok()
        {
            return Ok(());
        }
        // Not mapped, or the mapping gave what does not check: the disk says why.
        buf.truncate(start);
        buf.resize(start + at.len as usize, 0);
        opened.file.read_exact_at(&mut buf[start..], at.offset).map_err(|e| match e.kind() {
            std::io::ErrorKind::UnexpectedEof => self.flawed(at, record::Flaw::Short),
            _ => Error::io("read", &segment::path(&self.dir, at.segment))(e),
        })?;
        let checked = record::check(&buf[start..], at.segment, at.offset);
        checked.map(drop).map_err(|flaw| self.flawed(at, flaw))
    }

    pub(crate) fn flawed(&self, at: Pointer, flaw: record::Flaw) -> Error {
        Error::corrupt(&segment::path(&self.dir, at.segment), at.offset, flaw.to_string())
    }

    /// This record will be read soon: a hint, that never waits or fails.
    pub fn prefetch(&self, at: Pointer) {
        self.reader().prefetch(at);
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
        self.check_owner(at, &record, keyspace, key)?;
        Ok(record)
    }

    pub(crate) fn check_owner(
        &self,
        at: Pointer,
        record: &RecordRef<'_>,
        keyspace: u32,
        key: &[u8],
    ) -> Result<(), Error> {
        if record.keyspace == keyspace && record.key == key {
            return Ok(());
        }
        let why = format!(
            "the record belongs to keyspace {} and another key than the tree says",
            record.keyspace
        );
        Err(Error::corrupt(&segment::path(&self.dir, at.segment), at.offset, why))
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

    /// Finds a segment, opened, and gives it to `then` with the bytes that may be
    /// read of it.
    pub(crate) fn with<T>(
        &self,
        id: u32,
        then: impl FnOnce(&Opened, u64) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let table = self.segments.now();
        let Some(segment) = find(&table, id) else {
            return Err(Error::Missing { file: segment::path(&self.dir, id) });
        };
        let len = segment.len();
        if let Some(opened) = &*segment.opened() {
            return then(opened, len);
        }
        let path = segment::path(&self.dir, id);
        let file = self.disk.open(&path, Open::Read).map_err(Error::opening(&path))?;
        // As far as it will ever grow.
        let map = file.map(self.opts.segment_bytes.max(len));
        let opened = Arc::new(Opened { file, map });
        self.segments.keep_open(segment, Arc::clone(&opened));
        then(&opened, len)
    }

    fn file(&self, id: u32) -> Result<(Arc<dyn File>, u64), Error> {
        self.with(id, |opened, len| Ok((Arc::clone(&opened.file), len)))
    }

    /// The segments, oldest first.
    pub fn segments(&self) -> Vec<SegmentInfo> {
        let current = self.tail_id.load(Ordering::Acquire);
        let segments = self.segments.now();
        let info = |s: &Arc<Segment>| SegmentInfo {
            id: s.id,
            bytes: s.len().saturating_sub(HEADER_LEN),
            sealed: s.id != current,
        };
        segments.iter().map(info).collect()
    }

    #[cfg(test)]
    pub(crate) fn open_files(&self) -> usize {
        self.segments.open_files()
    }
}

fn check_header(file: &dyn File, path: &str, id: u32) -> Result<(), Error> {
    let mut bytes = [0; HEADER_LEN as usize];
    let got = file.read_at(&mut bytes, 0).map_err(Error::io("read", path))?;
    segment::check(&bytes[..got], id).map_err(|flaw| match flaw {
        HeaderFlaw::Other(found) => {
            Error::OtherFormat { file: path.to_owned(), found, known: segment::VERSION }
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
        let name = if at.is_empty() { "the data directory" } else { at };
        disk.sync_dir(at).map_err(Error::io("sync", name))?;
    }
    Ok(())
}
