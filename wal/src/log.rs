//! The living log: append and group sync (`log/`: rotation, truncation).
//!
//! Must stay true:
//! * lock order: `tail` (the append lock), then the turn, then `now` or `pending`.
//!   The last two are never held over a disk call. Who makes frames durable holds
//!   the *turn* (`turn.rs`), a flag, and no lock, so that appends go on meanwhile;
//! * every sync of a segment runs in the turn, and a flush syncs the segments ended
//!   since the last one, oldest first, before it says that anything is durable;
//! * `durable <= last`, both only grow; a frame counts in `last` only when it is
//!   in the kernel (async mode) or whole in the pending buffer (sync mode);
//! * an append that is refused for want of space or descriptors has changed
//!   nothing: no frame of it can be found, no LSN is used;
//! * the order of rotation is the one the crate's page argues from;
//! * a life that could not begin for want of space (`log/birth.rs`) has the last segment
//!   of the one before for its tail, which takes no frame.

mod birth;
mod rotate;
mod trim;

use crate::error::Error;
use crate::files::{self, Segment};
use crate::frame::{self, MAX_PAYLOAD_BYTES, New, Place, frame_len};
use crate::pending::Pending;
use crate::segment::{self, HEADER_LEN, SegmentHeader};
use crate::turn::{Ended, Turn};
use crate::watch::Watchers;
use crate::{Lsn, Options, SegmentInfo, SyncMode};
pub(crate) use birth::Birth;
use parking_lot::Mutex;
use platform::{Disk, File, Histogram, shortage};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Capacity kept in the append buffer between frames, in bytes.
const KEEP_BUFFER: usize = 1 << 20;
/// In async mode a rotation syncs by itself when so many segments wait for it.
const MOST_UNSYNCED: usize = 8;
/// In sync mode an append writes by itself when so many bytes wait.
const MOST_PENDING: u64 = 8 << 20;

pub(crate) struct Inner {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) dir: String,
    opts: Options,
    epoch: u64,
    /// Whether this life has a segment.
    has_begun: AtomicBool,
    tail: Mutex<Tail>,
    turn: Turn,
    now: Mutex<Now>,
    /// Sync mode only.
    pending: Mutex<Pending>,
    last: AtomicU64,
    /// Offset behind the newest frame.
    end: AtomicU64,
    /// Files to make segments of.
    spares: Mutex<Vec<u64>>,
    /// One truncation at a time.
    trim: Mutex<()>,
    pub(crate) watchers: Watchers,
    /// Frames of each sync that made any durable.
    pub(crate) groups: Histogram,
    /// Bytes of frames appended in this life.
    pub(crate) appended: AtomicU64,
}

/// The end of the log, under the append lock.
struct Tail {
    segment: Segment,
    number: u64,
    at: u64,
    buf: Vec<u8>,
    /// What this life has yet to begin with.
    birth: Option<Birth>,
}

/// What a flush writes to, and the list of segments.
struct Now {
    segment: Segment,
    segments: Vec<SegmentInfo>,
    /// Async mode: ended segments that no flush has synced yet, oldest first.
    unsynced: Vec<Arc<dyn File>>,
    /// So many of the newest segments have a header and a name that no flush has
    /// made durable yet (async mode).
    loose: usize,
}

impl Inner {
    pub(crate) fn last_lsn(&self) -> Lsn {
        self.last.load(Ordering::Acquire)
    }

    pub(crate) fn durable_lsn(&self) -> Lsn {
        self.turn.durable()
    }

    pub(crate) fn epoch(&self) -> u64 {
        self.epoch - u64::from(!self.has_begun.load(Ordering::Acquire))
    }

    pub(crate) fn options(&self) -> &Options {
        &self.opts
    }

    pub(crate) fn is_poisoned(&self) -> bool {
        self.turn.is_poisoned()
    }

    pub(crate) fn poisoned(&self) -> Option<String> {
        self.turn.poisoned()
    }

    #[cfg(test)]
    pub(crate) fn is_appending(&self) -> bool {
        self.tail.try_lock().is_none()
    }

    pub(crate) fn spares(&self) -> usize {
        self.spares.lock().len()
    }

    pub(crate) fn segments(&self) -> Vec<SegmentInfo> {
        let now = self.now.lock();
        let mut segments = now.segments.clone();
        let durable = self.durable_lsn();
        segments.iter_mut().for_each(|s| s.sealed &= s.last_lsn <= durable);
        if let Some(tail) = segments.last_mut() {
            // A rotation moves both under `now`.
            tail.bytes = self.end.load(Ordering::Acquire);
            tail.last_lsn = self.last_lsn();
        }
        segments
    }

    /// Number and first LSN of the segment that holds, or will hold, `lsn`; of
    /// the oldest one if `lsn` is older than the log.
    pub(crate) fn segment_of(&self, lsn: Lsn) -> (u64, Lsn) {
        let now = self.now.lock();
        // A segment without a frame may start at the same LSN as its successor:
        // the last one that starts at or before `lsn` is the one.
        let i = now.segments.partition_point(|s| s.first_lsn <= lsn).saturating_sub(1);
        let found = &now.segments[i];
        (found.number, found.first_lsn)
    }

    pub(crate) fn append(&self, wall_micros: u64, payload: &[u8]) -> Result<Lsn, Error> {
        if payload.len() > MAX_PAYLOAD_BYTES {
            let (bytes, max) = (payload.len() as u64, MAX_PAYLOAD_BYTES as u64);
            return Err(Error::TooLarge { bytes, max });
        }
        let check = frame::payload_check(payload);
        let appended = self.append_locked(&mut self.tail.lock(), wall_micros, payload, check);
        // It may have flushed to make room.
        self.watchers.tell(self.durable_lsn());
        appended
    }

    fn append_locked(
        &self,
        tail: &mut Tail,
        wall_micros: u64,
        payload: &[u8],
        payload_check: u64,
    ) -> Result<Lsn, Error> {
        let len = frame_len(payload.len());
        if self.turn.is_poisoned() {
            return Err(self.poison_error());
        }
        self.begin_if_due(tail)?;
        if tail.at > HEADER_LEN && tail.at + len > self.opts.segment_bytes {
            self.rotate(tail)?;
        }
        if tail.at + len > tail.segment.allocated {
            self.grow(tail, len)?;
        }
        let new = New {
            lsn: self.last_lsn() + 1,
            wall_micros,
            epoch: self.epoch,
            durable_lsn: self.durable_lsn(),
            payload_len: payload.len(),
            payload_check,
        };
        let place = Place {
            salt: self.opts.salt,
            segment: tail.number,
            epoch: self.epoch,
            offset: tail.at,
        };
        match self.opts.sync {
            SyncMode::Async => self.write(tail, place, &new, payload)?,
            SyncMode::Sync => {
                if self.pending.lock().waiting() + len > MOST_PENDING {
                    self.flush_now()?;
                }
                let header = frame::header(place, &new);
                self.pending.lock().append(new.lsn, &header, payload, len);
            }
        }
        tail.at += len;
        self.appended.fetch_add(len, Ordering::Relaxed);
        self.end.store(tail.at, Ordering::Release);
        self.last.store(new.lsn, Ordering::Release);
        Ok(new.lsn)
    }

    /// Async mode: one write of one frame into the prepared file.
    fn write(&self, tail: &mut Tail, place: Place, new: &New, payload: &[u8]) -> Result<(), Error> {
        let Tail { segment, number, buf, .. } = tail;
        frame::encode(buf, place, new, payload);
        let written = segment.file.write_at(buf, place.offset);
        if buf.capacity() > KEEP_BUFFER {
            *buf = Vec::new();
        }
        let Err(error) = written else { return Ok(()) };
        // Take back what part of the frame may have been written: its commit is
        // refused, so recovery must not find it.
        let path = segment::path(&self.dir, *number);
        buf.clear();
        buf.resize(frame_len(payload.len()) as usize, 0);
        let back = segment.file.write_at(buf, place.offset);
        match (shortage(&error), back) {
            (Some(short), Ok(())) => {
                Err(Error::NoSpace { short, lsn: new.lsn, file: path, source: error })
            }
            (_, back) => {
                let cut = match back {
                    Ok(()) => "",
                    Err(_) => " (taking it back failed too: a restart may still find it)",
                };
                let (lsn, at) = (new.lsn, place.offset);
                let what = format!(
                    "frame {lsn} could not be appended to {path} at offset {at}: {error}{cut}"
                );
                Err(self.poison(false, &what))
            }
        }
    }

    /// Prepares the tail's file for `len` more bytes.
    fn grow(&self, tail: &mut Tail, len: u64) -> Result<(), Error> {
        // In sync mode others may be syncing this very file.
        let held = match self.opts.sync {
            SyncMode::Sync => Some(self.turn.take().map_err(Error::Poisoned)?),
            SyncMode::Async => None,
        };
        let end = tail.at + len;
        let want = files::grown(&self.opts, tail.segment.allocated, end);
        let file = &tail.segment.file;
        // A disk that is nearly full may still have what this frame needs.
        let mut got = (want, file.allocate(want));
        if got.1.as_ref().is_err_and(|e| shortage(e).is_some()) && want > files::blocks(end) {
            got = (files::blocks(end), file.allocate(files::blocks(end)));
        }
        let (allocated, outcome) = got;
        if let Err(error) = outcome {
            return Err(self.refuse(tail.number, error));
        }
        if let Some(held) = held
            && let Err(error) = file.sync()
        {
            let path = segment::path(&self.dir, tail.number);
            held.publish(Err(poison_text(&format!("{path} could not be grown: {error}"))));
            return Err(self.poison_error());
        }
        tail.segment.allocated = allocated;
        Ok(())
    }

    /// Why the next frame cannot be had in segment `number`: a shortage is only
    /// told, anything else poisons.
    fn refuse(&self, number: u64, error: io::Error) -> Error {
        let (lsn, file) = (self.last_lsn() + 1, segment::path(&self.dir, number));
        match shortage(&error) {
            Some(short) => Error::NoSpace { short, lsn, file, source: error },
            None => self.poison(
                false,
                &format!("{file} could not be made or grown for frame {lsn}: {error}"),
            ),
        }
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
        platform::sharing::long_ahead();
        let outcome = self.turn.wait(lsn, || self.flush_group());
        self.watchers.tell(self.durable_lsn());
        outcome.map_err(ended)
    }

    /// Returns the durable LSN once it is above `after`; makes nothing durable.
    pub(crate) fn wait_beyond(&self, after: Lsn) -> Result<Lsn, Error> {
        self.turn.wait_beyond(after).map_err(ended)
    }

    /// In the turn: [`Inner::flush`], counted.
    fn flush_group(&self) -> Result<Lsn, String> {
        let before = self.durable_lsn();
        let flushed = self.flush();
        if let Ok(last) = flushed
            && last > before
        {
            self.groups.record(last - before);
        }
        flushed
    }

    /// In the turn: makes durable what was appended until now; the newest LSN of it.
    fn flush(&self) -> Result<Lsn, String> {
        match self.opts.sync {
            SyncMode::Async => {
                // Read first: every frame up to `last` is in a file listed after it.
                let last = self.last_lsn();
                let (mut files, loose, tail) = {
                    let mut now = self.now.lock();
                    let files = std::mem::take(&mut now.unsynced);
                    (files, now.loose, Arc::clone(&now.segment.file))
                };
                files.push(tail);
                let mut synced = files.iter().try_for_each(|file| file.sync());
                if loose > 0 && synced.is_ok() {
                    synced = self.disk.sync_dir(&self.dir);
                }
                synced.map_err(|e| self.sync_failed(last, &e))?;
                self.now.lock().loose -= loose;
                Ok(last)
            }
            SyncMode::Sync => {
                let Some(batch) = self.pending.lock().take() else { return Ok(self.durable_lsn()) };
                let last = batch.last;
                let through = self.now.lock().segment.through.clone();
                let through = through.ok_or("the log has no write-through handle")?;
                through
                    .write_at(batch.bytes(), batch.start)
                    .map_err(|e| self.sync_failed(last, &e))?;
                self.pending.lock().give_back(batch);
                Ok(last)
            }
        }
    }

    fn sync_failed(&self, last: Lsn, error: &io::Error) -> String {
        poison_text(&format!(
            "frames {} to {last} could not be synced in {}: {error}",
            self.durable_lsn() + 1,
            self.dir
        ))
    }

    /// Under the append lock: flushes, whoever waits.
    fn flush_now(&self) -> Result<(), Error> {
        let held = self.turn.take().map_err(Error::Poisoned)?;
        held.publish(self.flush_group());
        drop(held);
        if self.turn.is_poisoned() { Err(self.poison_error()) } else { Ok(()) }
    }

    /// Ends every [`Inner::wait_beyond`].
    pub(crate) fn release(&self) {
        self.turn.close();
    }

    /// The end of this life: cuts what was prepared behind the last frame, so that
    /// the next open has nothing to look through. Nothing hangs on it.
    pub(crate) fn close(&self) {
        self.turn.close();
        let tail = self.tail.lock();
        if self.turn.is_poisoned() || tail.birth.is_some() {
            return;
        }
        let waiting = self.pending.lock().waiting();
        // What was appended in sync mode and waited for by nobody is not kept.
        drop(tail.segment.file.set_len(tail.at - waiting.min(tail.at - HEADER_LEN)));
    }

    fn poison(&self, by_sync: bool, what: &str) -> Error {
        self.turn.poison(by_sync, poison_text(what));
        self.poison_error()
    }

    fn poison_error(&self) -> Error {
        Error::Poisoned(self.poisoned().unwrap_or_default())
    }
}

fn begun(header: &SegmentHeader) -> SegmentInfo {
    SegmentInfo {
        number: header.number,
        first_lsn: header.first_lsn,
        last_lsn: header.first_lsn - 1,
        bytes: HEADER_LEN,
        sealed: false,
    }
}

fn ended(why: Ended) -> Error {
    match why {
        Ended::Poisoned(why) => Error::Poisoned(why),
        Ended::Closed => Error::Closed,
    }
}

fn poison_text(what: &str) -> String {
    format!(
        "the log takes no more writes: {what}; reads go on; mend the disk or free space, then \
         restart"
    )
}
