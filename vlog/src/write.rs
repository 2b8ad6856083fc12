//! The writing half of the value log: append, sync, remove.
//!
//! Must stay true:
//! * a segment is rolled over by draining and syncing it, so at most one file
//!   has unsynced bytes; its name is synced before a [`Tail`] that names it is
//!   returned;
//! * after a failed write the log ends again where the last [`Vlog::sync`] (or
//!   the open) said it ends: what was appended since is cut before anything else
//!   is written. No tail names those bytes, so they may be written over, and
//!   whatever of them reaches the disk the next open cuts as well;
//! * after a failed sync nothing more is written, ever: the kernel may have
//!   dropped the bytes and forgotten the failure, so a later sync that succeeds
//!   would prove nothing. The next open cuts back to the tail that was committed.

use crate::error::Error;
use crate::log::Vlog;
use crate::record::{self, MAX_KEY_BYTES, MAX_VALUE_BYTES, Pointer};
use crate::segment::{self, HEADER_LEN, Tail};
use crate::table::Segment;
use parking_lot::MutexGuard;
use platform::{File, Open};
use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::atomic::Ordering;

pub(crate) struct Writer {
    /// The segment being written; none before the first record.
    current: Option<Current>,
    /// Bytes appended but not yet written; at most `buffer_bytes`.
    buf: Vec<u8>,
    /// The last tail the caller was given: the meta page may name it.
    vouched: Tail,
    /// The highest segment that may have a file.
    made: u32,
    /// A write failed: back to `vouched` before anything else.
    back: bool,
    poison: Option<String>,
}

struct Current {
    id: u32,
    file: Arc<dyn File>,
    /// Where `buf` will be written.
    written: u64,
    dirty: bool,
    /// Its name is not durable yet.
    unnamed: bool,
}

/// A failed sync is told from a failed write: it cannot be made good.
enum Failed {
    Write(Error),
    Sync(Error),
}

impl Vlog {
    /// Appends a record and returns where it will lie. It is buffered: it can be
    /// read, and survives a crash, only after [`Vlog::sync`] returned.
    ///
    /// # Errors
    /// [`Error::TooLarge`]: nothing happened. [`Error::Io`]: a write failed, and
    /// every pointer given since the last [`Vlog::sync`] is void, whoever holds
    /// it: append those records anew, now or when
    /// [there is space](Error::is_no_space). [`Error::Poisoned`].
    pub fn append(
        &self,
        keyspace: u32,
        key: &[u8],
        lsn: u64,
        value: &[u8],
    ) -> Result<Pointer, Error> {
        for (what, bytes, max) in
            [("key", key.len(), MAX_KEY_BYTES), ("value", value.len(), MAX_VALUE_BYTES)]
        {
            if bytes > max {
                return Err(Error::TooLarge { what, bytes: bytes as u64, max: max as u64 });
            }
        }
        let mut writer = self.ready()?;
        let len = record::record_len(key.len(), value.len());
        let end = writer.end();
        if end.is_none_or(|end| end > HEADER_LEN && end + len > self.opts.segment_bytes) {
            let done = self.roll_over(&mut writer);
            self.settle(&mut writer, done)?;
        }
        let Writer { current: Some(current), buf, .. } = &mut *writer else {
            return Err(Error::Misuse { segment: 0, why: "no segment after a roll-over" });
        };
        let offset = current.written + buf.len() as u64;
        let head = record::header(current.id, offset, keyspace, key, lsn, value);
        let at = Pointer { segment: current.id, len: len as u32, offset };

        let wrote = (|| {
            if buf.len() as u64 + len > self.opts.buffer_bytes as u64 {
                current.drain(buf, &self.dir)?;
            }
            buf.extend_from_slice(&head);
            buf.extend_from_slice(key);
            if len <= self.opts.buffer_bytes as u64 {
                buf.extend_from_slice(value);
                return Ok(());
            }
            // Larger than the buffer: header and key through it, the value past it.
            current.drain(buf, &self.dir)?;
            current.write(value, &self.dir)
        })();
        self.settle(&mut writer, wrote)?;
        Ok(at)
    }

    /// Makes all records appended so far durable and readable; returns the tail
    /// for the meta page.
    ///
    /// # Errors
    /// [`Error::Io`] as [`Vlog::append`]: nothing appended since the last sync
    /// counts. [`Error::Poisoned`] also if the sync itself failed.
    pub fn sync(&self) -> Result<Tail, Error> {
        let mut writer = self.ready()?;
        let done = self.sync_current(&mut writer);
        let tail = self.settle(&mut writer, done)?;
        writer.vouched = tail;
        Ok(tail)
    }

    /// Ends the segment being written, durably, if it holds any record: the next
    /// one goes into a new segment.
    ///
    /// # Errors
    /// As [`Vlog::sync`].
    pub fn roll(&self) -> Result<(), Error> {
        let mut writer = self.ready()?;
        if writer.end().is_some_and(|end| end > HEADER_LEN) {
            let done = self.roll_over(&mut writer);
            self.settle(&mut writer, done)?;
        }
        Ok(())
    }

    /// Why writes are refused, if they are.
    pub fn poisoned(&self) -> Option<String> {
        self.writer.lock().poison.clone()
    }

    /// Removes a sealed segment, durably. The caller knows that no pointer and
    /// no version names it any more; readers that hold it open keep reading. A file
    /// that is not there any more counts as removed.
    /// After a crash the file may be there again: remove at start what
    /// [`Vlog::segments`] lists and the tree does not.
    ///
    /// # Errors
    /// [`Error::Misuse`] for a segment that is not before the last tail given to
    /// the caller, [`Error::Missing`], [`Error::Io`].
    pub fn remove(&self, segment: u32) -> Result<(), Error> {
        // No roll-over meanwhile: it would sync the directory too.
        let mut writer = self.writer.lock();
        if segment >= writer.vouched.segment {
            let why = "only segments before the committed tail may be removed";
            return Err(Error::Misuse { segment, why });
        }
        let path = segment::path(&self.dir, segment);
        if !self.segments.contains(segment) {
            return Err(Error::Missing { file: path });
        }
        match self.disk.remove(&path) {
            // Somebody was quicker: what is wanted is so, once the directory is synced.
            Err(e) if e.kind() != ErrorKind::NotFound => {
                return Err(Error::io("remove", &path)(e));
            }
            _ => {}
        }
        self.segments.retain(|id| id != segment);
        let synced = self.disk.sync_dir(&self.dir);
        let synced = synced.map_err(|e| Failed::Sync(Error::io("sync", &self.dir)(e)));
        self.settle(&mut writer, synced)
    }

    /// The writer, with nothing left to undo.
    fn ready(&self) -> Result<MutexGuard<'_, Writer>, Error> {
        let mut writer = self.writer.lock();
        if let Some(why) = &writer.poison {
            return Err(Error::Poisoned(why.clone()));
        }
        if writer.back {
            self.go_back(&mut writer)?;
        }
        Ok(writer)
    }

    /// Undoes a failed write, now if it can be, else before the next one.
    fn settle<T>(&self, writer: &mut Writer, outcome: Result<T, Failed>) -> Result<T, Error> {
        match outcome {
            Ok(done) => Ok(done),
            Err(Failed::Write(e)) => {
                writer.back = true;
                // Should it fail, the next call tries again and says why.
                drop(self.go_back(writer));
                Err(e)
            }
            Err(Failed::Sync(e)) => {
                let why = format!(
                    "the value log takes no more writes: {e}; reads go on; \
                     mend the disk, then restart"
                );
                writer.buf = Vec::new();
                writer.poison = Some(why.clone());
                Err(Error::Poisoned(why))
            }
        }
    }

    /// Cuts what was appended since the last tail was given. Nothing here needs
    /// a sync: no tail names these bytes, and the next one syncs the file and
    /// the directory again before it is given.
    fn go_back(&self, writer: &mut Writer) -> Result<(), Error> {
        let tail = writer.vouched;
        writer.buf.clear();
        // First of all nobody reads there any more.
        self.segments.retain(|id| id <= tail.segment);
        self.segments.set_len(tail.segment, tail.len);
        self.tail_id.store(tail.segment, Ordering::Release);
        while writer.made > tail.segment {
            let path = segment::path(&self.dir, writer.made);
            match self.disk.remove(&path) {
                Err(e) if e.kind() != ErrorKind::NotFound => {
                    return Err(Error::io("remove", &path)(e));
                }
                _ => writer.made -= 1,
            }
        }
        writer.current = match (writer.current.take(), tail.segment) {
            (_, 0) => None,
            (Some(current), id) if current.id == id => Some(current),
            (_, id) => {
                let path = segment::path(&self.dir, id);
                let file = self.disk.open(&path, Open::Write).map_err(Error::opening(&path))?;
                Some(Current { id, file, written: tail.len, dirty: true, unnamed: false })
            }
        };
        if let Some(current) = &mut writer.current {
            let path = segment::path(&self.dir, current.id);
            current.file.set_len(tail.len).map_err(Error::io("cut", &path))?;
            (current.written, current.dirty) = (tail.len, true);
        }
        writer.back = false;
        Ok(())
    }

    fn sync_current(&self, writer: &mut Writer) -> Result<Tail, Failed> {
        let Writer { current: Some(current), buf, .. } = writer else { return Ok(Tail::EMPTY) };
        current.drain(buf, &self.dir)?;
        let path = segment::path(&self.dir, current.id);
        if current.dirty {
            let synced = current.file.sync().map_err(Error::io("sync", &path));
            synced.map_err(Failed::Sync)?;
            current.dirty = false;
        }
        if current.unnamed {
            let synced = self.disk.sync_dir(&self.dir).map_err(Error::io("sync", &self.dir));
            synced.map_err(Failed::Sync)?;
            current.unnamed = false;
        }
        self.segments.set_len(current.id, current.written);
        Ok(Tail { segment: current.id, len: current.written })
    }

    /// Ends the current segment, durably, and begins the next.
    fn roll_over(&self, writer: &mut Writer) -> Result<(), Failed> {
        let ended = self.sync_current(writer)?;
        let Some(id) = ended.segment.checked_add(1) else {
            let why = "no number is left";
            return Err(Failed::Write(Error::Misuse { segment: ended.segment, why }));
        };
        let path = segment::path(&self.dir, id);
        writer.made = id;
        let file = self.disk.open(&path, Open::CreateNew).map_err(Error::io("create", &path))?;
        file.write_at(&segment::encode(id), 0).map_err(Error::io("write", &path))?;
        // No byte of it may be read yet.
        self.segments.push(Segment::new(id, 0));
        self.tail_id.store(id, Ordering::Release);
        writer.current =
            Some(Current { id, file, written: HEADER_LEN, dirty: true, unnamed: true });
        Ok(())
    }
}

impl Writer {
    /// The writer of a log that ends at `tail`, in `file` if it has a segment.
    pub(crate) fn new(tail: Tail, file: Option<Arc<dyn File>>) -> Writer {
        let (id, written) = (tail.segment, tail.len);
        Writer {
            // Dirty: a process killed, or an open that failed, may have cut the file in
            // the kernel only. Were it sealed so, a power cut could bring back records
            // behind the end that the caller's table gives it.
            current: file.map(|file| Current { id, file, written, dirty: true, unnamed: false }),
            buf: Vec::new(),
            vouched: tail,
            made: tail.segment,
            back: false,
            poison: None,
        }
    }

    /// Where the next record goes, if there is a segment.
    fn end(&self) -> Option<u64> {
        self.current.as_ref().map(|c| c.written + self.buf.len() as u64)
    }
}

impl Current {
    fn drain(&mut self, buf: &mut Vec<u8>, dir: &str) -> Result<(), Failed> {
        if !buf.is_empty() {
            self.write(buf, dir)?;
            buf.clear();
        }
        Ok(())
    }

    fn write(&mut self, bytes: &[u8], dir: &str) -> Result<(), Failed> {
        self.dirty = true;
        let path = segment::path(dir, self.id);
        self.file.write_at(bytes, self.written).map_err(Error::io("write", &path))?;
        self.written += bytes.len() as u64;
        Ok(())
    }
}

impl From<Error> for Failed {
    fn from(e: Error) -> Failed {
        Failed::Write(e)
    }
}
