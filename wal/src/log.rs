//! The living log: append, group sync, rotation, truncation.
//!
//! Must stay true:
//! * lock order: `tail` (the append lock), then `shared`. `shared` is never held
//!   over a disk call; who syncs holds the *turn* (`shared.syncing`), a flag, so
//!   that appends go on meanwhile;
//! * at most one sync runs at a time, and its outcome (durable LSN, or poison) is
//!   published before the turn is given back: a kernel reports a failed
//!   writeback once, and a second sync beside the failing one would "succeed";
//! * `durable <= last`, both only grow; a frame counts in `last` only when its
//!   write returned;
//! * the order of rotation is the one the crate's page argues from.

use crate::error::Error;
use crate::frame::{self, MAX_PAYLOAD_BYTES, Place, frame_len};
use crate::segment::{self, HEADER_LEN, SegmentHeader};
use crate::{Lsn, Options, SegmentInfo};
use parking_lot::{Condvar, Mutex};
use platform::{Disk, File, Open};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Capacity kept in the append buffer between frames.
const KEEP_BUFFER: usize = 1 << 20;

pub(crate) struct Inner {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) dir: String,
    opts: Options,
    epoch: u64,
    tail: Mutex<Tail>,
    shared: Mutex<Shared>,
    turn_free: Condvar,
    last: AtomicU64,
    durable: AtomicU64,
    /// Set with `shared.poison`; lets an append look without the lock.
    poisoned: AtomicBool,
    /// One truncation at a time.
    trim: Mutex<()>,
}

/// The end of the log, under the append lock.
struct Tail {
    file: Arc<dyn File>,
    number: u64,
    at: u64,
    buf: Vec<u8>,
}

struct Shared {
    /// Somebody has the turn.
    syncing: bool,
    /// The tail's file and the newest frame in it or before it.
    file: Arc<dyn File>,
    written: Lsn,
    segments: Vec<SegmentInfo>,
    poison: Option<Poison>,
}

struct Poison {
    why: String,
    /// A sync failed: none may be tried again. Otherwise (a write failed) what
    /// was appended before can still be made durable.
    by_sync: bool,
}

impl Inner {
    /// Starts a new life: makes its first segment, durably.
    pub(crate) fn start(
        disk: Arc<dyn Disk>,
        dir: &str,
        opts: Options,
        last_lsn: Lsn,
        header: SegmentHeader,
        mut segments: Vec<SegmentInfo>,
    ) -> Result<Self, Error> {
        let path = segment::path(dir, header.number);
        let file = create_segment(&*disk, dir, &header).map_err(Error::io("create", &path))?;
        segments.push(SegmentInfo {
            number: header.number,
            first_lsn: header.first_lsn,
            bytes: HEADER_LEN,
        });
        Ok(Self {
            disk,
            dir: dir.to_owned(),
            opts,
            epoch: header.epoch,
            tail: Mutex::new(Tail {
                file: file.clone(),
                number: header.number,
                at: HEADER_LEN,
                buf: Vec::new(),
            }),
            shared: Mutex::new(Shared {
                syncing: false,
                file,
                written: last_lsn,
                segments,
                poison: None,
            }),
            turn_free: Condvar::new(),
            last: AtomicU64::new(last_lsn),
            durable: AtomicU64::new(last_lsn),
            poisoned: AtomicBool::new(false),
            trim: Mutex::new(()),
        })
    }

    pub(crate) fn last_lsn(&self) -> Lsn {
        self.last.load(Ordering::Acquire)
    }

    pub(crate) fn durable_lsn(&self) -> Lsn {
        self.durable.load(Ordering::Acquire)
    }

    pub(crate) fn epoch(&self) -> u64 {
        self.epoch
    }

    pub(crate) fn options(&self) -> &Options {
        &self.opts
    }

    pub(crate) fn poisoned(&self) -> Option<String> {
        self.shared.lock().poison.as_ref().map(|p| p.why.clone())
    }

    pub(crate) fn segments(&self) -> Vec<SegmentInfo> {
        self.shared.lock().segments.clone()
    }

    /// Number and first LSN of the segment that holds, or will hold, `lsn`; of
    /// the oldest one if `lsn` is older than the log.
    pub(crate) fn segment_of(&self, lsn: Lsn) -> (u64, Lsn) {
        let shared = self.shared.lock();
        // A segment without a frame may start at the same LSN as its successor:
        // the last one that starts at or before `lsn` is the one.
        let i = shared.segments.partition_point(|s| s.first_lsn <= lsn).saturating_sub(1);
        let found = &shared.segments[i];
        (found.number, found.first_lsn)
    }

    pub(crate) fn append(&self, wall_micros: u64, payload: &[u8]) -> Result<Lsn, Error> {
        if payload.len() > MAX_PAYLOAD_BYTES {
            let (bytes, max) = (payload.len() as u64, MAX_PAYLOAD_BYTES as u64);
            return Err(Error::TooLarge { bytes, max });
        }
        let mut tail = self.tail.lock();
        if self.poisoned.load(Ordering::Acquire) {
            return Err(self.poison_error());
        }
        let len = frame_len(payload.len());
        if tail.at > HEADER_LEN && tail.at + len > self.opts.segment_bytes {
            self.rotate(&mut tail)?;
        }
        let lsn = self.last_lsn() + 1;
        let Tail { file, number, at, buf } = &mut *tail;
        let place = Place { salt: self.opts.salt, segment: *number, offset: *at };
        frame::encode(buf, place, lsn, wall_micros, self.epoch, self.durable_lsn(), payload);
        let written = file.write_at(buf, *at);
        if buf.capacity() > KEEP_BUFFER {
            *buf = Vec::new();
        }
        if let Err(e) = written {
            // Take back what part of the frame may have been written: its commit
            // is refused, so recovery should not find it.
            let cut = match file.set_len(*at) {
                Ok(()) => "",
                Err(_) => " (cutting it off failed too: a restart may still find it)",
            };
            let path = segment::path(&self.dir, *number);
            self.poison(
                false,
                format!("frame {lsn} could not be appended to {path} at offset {at}: {e}{cut}"),
            );
            return Err(self.poison_error());
        }
        *at += len;
        {
            let mut shared = self.shared.lock();
            shared.written = lsn;
            if let Some(segment) = shared.segments.last_mut() {
                segment.bytes = *at;
            }
        }
        self.last.store(lsn, Ordering::Release);
        Ok(lsn)
    }

    /// Waits until `lsn` is durable, syncing for all who wait if nobody is.
    pub(crate) fn wait_durable(&self, lsn: Lsn) -> Result<(), Error> {
        if self.durable_lsn() >= lsn {
            return Ok(());
        }
        let last = self.last_lsn();
        if lsn > last {
            return Err(Error::NotWritten { wanted: lsn, last });
        }
        let mut shared = self.shared.lock();
        loop {
            // Under the lock: outcomes are published before the turn is free.
            if self.durable_lsn() >= lsn {
                return Ok(());
            }
            if let Some(poison) = &shared.poison
                && poison.by_sync
            {
                return Err(Error::Poisoned(poison.why.clone()));
            }
            if shared.syncing {
                self.turn_free.wait(&mut shared);
                continue;
            }
            shared.syncing = true;
            let (file, written) = (shared.file.clone(), shared.written);
            drop(shared);
            let synced = file.sync();
            self.publish_sync(synced, written);
            shared = self.shared.lock();
            shared.syncing = false;
            self.turn_free.notify_all();
        }
    }

    /// Publishes the outcome of a sync; the caller has the turn.
    fn publish_sync(&self, outcome: io::Result<()>, written: Lsn) {
        match outcome {
            Ok(()) => {
                self.durable.fetch_max(written, Ordering::AcqRel);
            }
            Err(e) => self.poison(
                true,
                format!(
                    "frames {} to {written} could not be synced in {}: {e}",
                    self.durable_lsn() + 1,
                    self.dir
                ),
            ),
        }
    }

    /// Ends the tail segment and begins the next. The caller has the append lock.
    fn rotate(&self, tail: &mut Tail) -> Result<(), Error> {
        let mut shared = self.shared.lock();
        while shared.syncing {
            self.turn_free.wait(&mut shared);
        }
        if shared.poison.is_some() {
            drop(shared);
            return Err(self.poison_error());
        }
        shared.syncing = true;
        drop(shared);

        let last = self.last_lsn();
        self.publish_sync(tail.file.sync(), last);
        let made = if self.poisoned.load(Ordering::Acquire) {
            None
        } else {
            let header = SegmentHeader {
                number: tail.number + 1,
                first_lsn: last + 1,
                epoch: self.epoch,
                salt: self.opts.salt,
            };
            match create_segment(&*self.disk, &self.dir, &header) {
                Ok(file) => Some((file, header)),
                Err(e) => {
                    let path = segment::path(&self.dir, header.number);
                    self.poison(true, format!("the log segment {path} could not be made: {e}"));
                    None
                }
            }
        };

        let mut shared = self.shared.lock();
        shared.syncing = false;
        self.turn_free.notify_all();
        let Some((file, header)) = made else {
            drop(shared);
            return Err(self.poison_error());
        };
        shared.file = file.clone();
        shared.segments.push(SegmentInfo {
            number: header.number,
            first_lsn: header.first_lsn,
            bytes: HEADER_LEN,
        });
        tail.file = file;
        tail.number = header.number;
        tail.at = HEADER_LEN;
        Ok(())
    }

    pub(crate) fn truncate_below(&self, lsn: Lsn) -> Result<u64, Error> {
        let _one = self.trim.lock();
        let mut removed = 0;
        loop {
            let victim = {
                let shared = self.shared.lock();
                match &shared.segments[..] {
                    // Every frame of the first is below where the second starts.
                    [first, second, ..] if second.first_lsn <= lsn => first.number,
                    _ => return Ok(removed),
                }
            };
            let path = segment::path(&self.dir, victim);
            self.disk.remove(&path).map_err(Error::io("remove", &path))?;
            self.shared.lock().segments.remove(0);
            removed += 1;
            // One at a time and oldest first: a power cut can bring back the
            // oldest name, but never leave a hole.
            if let Err(e) = self.disk.sync_dir(&self.dir) {
                self.poison(true, format!("the directory {} could not be synced: {e}", self.dir));
                return Err(self.poison_error());
            }
        }
    }

    fn poison(&self, by_sync: bool, what: String) {
        let mut shared = self.shared.lock();
        match &mut shared.poison {
            // The first failure is the one to report; the stricter one to obey.
            Some(poison) => poison.by_sync |= by_sync,
            None => {
                let why = format!(
                    "the log takes no more writes: {what}; reads go on; \
                     mend the disk or free space, then restart"
                );
                shared.poison = Some(Poison { why, by_sync });
            }
        }
        self.poisoned.store(true, Ordering::Release);
    }

    fn poison_error(&self) -> Error {
        Error::Poisoned(self.poisoned().unwrap_or_default())
    }
}

/// Makes a segment and its header durable, name included.
fn create_segment(disk: &dyn Disk, dir: &str, header: &SegmentHeader) -> io::Result<Arc<dyn File>> {
    let file = disk.open(&segment::path(dir, header.number), Open::CreateNew)?;
    file.write_at(&header.encode(), 0)?;
    file.sync()?;
    disk.sync_dir(dir)?;
    Ok(file)
}
