//! The write-ahead log: frames, segments, group sync, recovery.
//!
//! One log per process; a frame is one atomic batch; LSNs are dense from 1.
//! What this crate promises, and the argument for it:
//!
//! **Promise.** After any crash, [`Wal::open`] hands out a prefix of the frames
//! that were appended. The prefix holds every frame for which
//! [`Wal::wait_durable`] or [`Wal::sync`] returned (and, if only the process
//! died, every frame for which [`Wal::append`] returned). If it cannot keep
//! that promise it refuses, by file, offset and LSN, and changes nothing.
//!
//! **The files.** A segment is prepared before frames are written to it: zeros are
//! written ahead of the log's end, so that a full disk shows where an append can
//! still be refused, and syncs need not change the file's length or its map of
//! blocks. Truncated segments are renamed, kept as spares (a bounded few) and used
//! again, with whatever they hold. In async mode a frame is copied into the file
//! at once and a timer syncs; in sync mode it waits in memory for the next flush,
//! which writes whole aligned blocks that are durable when the write returns.
//!
//! **The order of writing.**
//! 1. A life of the log (one `open`) writes only into segments it made itself,
//!    with numbers and an epoch above all earlier ones.
//! 2. A life's first segment (in sync mode every segment) is made in this order,
//!    under another name: prepare the file (or take a spare), write its header,
//!    sync it; then rename it to its number, sync the directory. Only then is a
//!    frame written to it. In async mode a later segment is made without a sync:
//!    the next flush syncs the segments ended before it, oldest first, the
//!    directory and it, and only then says that any frame in them is durable. So
//!    an append never waits for the disk because a segment was full.
//! 3. Frames are written one after the other, each behind the last; a block that
//!    is written again begins with the same bytes.
//! 4. The last segment of an earlier life is ended by recovery: cut to its last
//!    good frame, its unvouched frames rewritten, an end mark put behind, synced;
//!    only then is the new life's first segment made.
//! 5. Segments are removed, or renamed to be spares, oldest first, the directory
//!    synced after each, and a spare is written to only after that sync. The one
//!    that becomes the oldest has its header and its name on the disk.
//!
//! **Why it holds.** The log is a chain: frames in a segment, then the segment
//! whose header begins with the next LSN. By 5 its oldest end is there, and no name
//! can come back over new contents. The chain is followed to where the next frame
//! does not check. What stands there are zeros, or (by the place in every frame
//! header's checksum: salt, segment number, epoch, offset) a stale frame of another
//! use of the file, which never checks here whatever it says, or half a frame, or
//! the file ends. By 2 and 3 no frame behind that place can have been durable and
//! acknowledged unless the missing one was durable too, so if nothing proves that
//! it was, this is the end, and what lies behind was never acknowledged as durable.
//! The proofs are: a later frame's `durable_lsn`, the caller's `must_have`, and by
//! 4 another life behind it; with one of them it is damage. A proof must check at
//! its own place, so no stale frame is one. A life's first segment cannot be
//! overlooked for a rotten header: an end mark stands in front of it. The search
//! for proofs is one pass over the rest of that segment and the few behind it.
//!
//! What no log can see: the very last synced frames damaged later, with nothing
//! behind them and no `must_have` that covers them, look like a torn tail.
//!
//! **Full disks.** An append that finds no space or no file descriptor is refused
//! with [`Error::NoSpace`], before its frame is written; the log is as it was and
//! the next append tries again. A log opened on a full disk is recovered in place
//! (nothing of that takes space but an end mark that begins a block), and read; its
//! new life begins, end mark first, with the first append that finds space.
//!
//! **Poison.** After any other failed append, and after a failed sync, the log
//! refuses every append with one and the same message until it is opened again;
//! nothing is retried; reading goes on. When an append fails, the part of the
//! frame that was written is taken back, its LSN is not used, and frames appended
//! before it can still be synced. When a *sync* fails, whether the unsynced
//! frames survive is unknown until the log is opened again.

#![cfg_attr(test, allow(clippy::duplicate_mod, reason = "the turn runs on loom's locks too"))]

pub mod archive;

mod check;
mod cursor;
mod error;
mod files;
mod frame;
mod log;
mod pending;
mod prims;
mod reader;
mod recover;
mod segment;
#[cfg(test)]
mod tests;
mod turn;
mod watch;

pub use check::{Checked, LogFault, check};
pub use cursor::Cursor;
pub use error::{Error, ReplayError};
pub use frame::MAX_PAYLOAD_BYTES;
pub use watch::Watch;

use log::{Birth, Inner};
use platform::{Disk, Distribution};
use segment::SegmentHeader;
use std::sync::Arc;

/// A dense commit number; the first commit is 1.
pub type Lsn = u64;

/// When a commit is acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum SyncMode {
    /// When its frame is durable.
    Sync,
    /// When its frame is in the kernel; a timer calls [`Wal::sync`].
    #[default]
    Async,
}

/// How the log is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// A segment is ended before it would grow over this; a larger frame gets a
    /// segment of its own. Default 16 MiB.
    pub segment_bytes: u64,
    /// What [`Wal::acknowledge`] waits for.
    pub sync: SyncMode,
    /// Goes into every checksum of this life. Give a random number (from
    /// `platform::Entropy`), so that no client can put bytes into a document
    /// that pass for a frame. 0 is fine in tests.
    pub salt: u64,
    /// So many truncated segments are kept to be used again. Default 4.
    pub spare_segments: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { segment_bytes: 16 << 20, sync: SyncMode::Async, salt: 0, spare_segments: 4 }
    }
}

/// One batch, as read back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// Its number.
    pub lsn: Lsn,
    /// Wall time in microseconds, as given to [`Wal::append`].
    pub wall_micros: u64,
    /// The life of the log that wrote it; rises by one with every open.
    pub epoch: u64,
    /// As given to [`Wal::append`].
    pub payload: &'a [u8],
}

/// One segment file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentInfo {
    /// Its number, which is its name.
    pub number: u64,
    /// Its first frame, or the next one to come if it has none.
    pub first_lsn: Lsn,
    /// Its newest frame; `first_lsn - 1` if it has none.
    pub last_lsn: Lsn,
    /// Bytes up to the end of its last frame, header included. The file may be
    /// longer: it is prepared ahead. Of a segment that opening the log had no need to
    /// read, the file's length.
    pub bytes: u64,
    /// Ended: all its frames are durable and it gets no more.
    pub sealed: bool,
}

/// What opening the log found; worth a line in the process's log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovery {
    /// Frames handed to the replay callback.
    pub frames: u64,
    /// The newest frame.
    pub last_lsn: Lsn,
    /// File, offset and bytes of a torn tail that was cut.
    pub torn_tail: Option<(String, u64, u64)>,
}

impl Recovery {
    fn cut(&mut self, file: &str, offset: u64, bytes: u64) {
        self.torn_tail = Some((file.to_owned(), offset, bytes));
    }
}

/// The log of one process, open for writing. All methods take `&self`.
pub struct Wal {
    inner: Arc<Inner>,
    recovery: Recovery,
}

impl std::fmt::Debug for Wal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Wal")
            .field("dir", &self.inner.dir)
            .field("last_lsn", &self.last_lsn())
            .field("durable_lsn", &self.durable_lsn())
            .finish_non_exhaustive()
    }
}

/// The highest epoch that a segment in `dir` is of; 0 if there is none. Reads headers
/// only and changes nothing: for who has to know whether a log is the right one before
/// [`Wal::open`] begins a new life of it.
///
/// # Errors
/// [`Error::Io`], [`Error::OtherFormat`].
pub fn newest_epoch(disk: &dyn Disk, dir: &str) -> Result<u64, Error> {
    recover::newest_epoch(disk, dir)
}

impl Wal {
    /// Opens the log in `dir` (made if absent) and begins a new life of it.
    ///
    /// Every frame with `lsn >= from` goes to `replay`, in order, without a gap;
    /// they are durable once this returns. `must_have` is the newest LSN known
    /// from elsewhere to have been durable (the page file's `flushed_lsn`);
    /// `from - 1` counts as such too. Use (1, 0) for a log that was never
    /// truncated. The caller holds the directory's lock.
    ///
    /// A disk without space for the new life's first segment is no error if there is
    /// a log: it is read as ever, and see [`Wal::begin`].
    ///
    /// # Errors
    /// [`Error::Corrupt`], [`Error::OtherFormat`], [`Error::Replay`]: nothing was
    /// changed; throw away what was replayed. [`Error::Io`]: the log is as sound
    /// as before.
    pub fn open(
        disk: Arc<dyn Disk>,
        dir: &str,
        opts: Options,
        from: Lsn,
        must_have: Lsn,
        replay: &mut dyn FnMut(Frame<'_>) -> Result<(), ReplayError>,
    ) -> Result<Self, Error> {
        make_dir(&*disk, dir)?;
        let plan = recover::scan(&*disk, dir, from, must_have, replay)?;
        let unmarked = recover::repair(&*disk, dir, &plan)?;
        let oldest = plan.segments.first().map_or(0, |s| s.first_lsn);
        let spares = files::tidy(&*disk, dir, opts.spare_segments, oldest)?;

        let header = SegmentHeader {
            number: plan.max_number + 1,
            first_lsn: plan.recovery.last_lsn + 1,
            epoch: plan.max_epoch + 1,
            salt: opts.salt,
            recycled: false,
        };
        // A last segment without a frame has nothing to keep once the new one,
        // which carries its LSN and a higher epoch, is on the disk.
        let empty = plan.segments.last().filter(|s| s.bytes == segment::HEADER_LEN);
        let empty = empty.map(|s| s.number);
        let birth = Birth { header, before: plan.last(), unmarked, empty };
        let inner = Inner::start(disk, dir, opts, birth, plan.segments, spares)?;
        Ok(Self { inner: Arc::new(inner), recovery: plan.recovery })
    }

    /// Makes a log in `dir` (made if absent; no log in it) whose first frame will
    /// be `next_lsn` and whose epoch is above `epoch_above`: for a restored store
    /// or a new replica. Afterwards it is opened like any other.
    ///
    /// # Errors
    /// [`Error::NotEmpty`], [`Error::Io`]: there is no log then.
    pub fn create_at(
        disk: Arc<dyn Disk>,
        dir: &str,
        opts: Options,
        next_lsn: Lsn,
        epoch_above: u64,
    ) -> Result<Self, Error> {
        make_dir(&*disk, dir)?;
        for name in disk.list(dir).map_err(Error::io("list", dir))? {
            if let Some((segment::Kind::Segment, _)) = segment::Kind::of(&name) {
                return Err(Error::NotEmpty { dir: dir.to_owned(), file: name });
            }
        }
        let spares = files::tidy(&*disk, dir, 0, 0)?;
        let header = SegmentHeader {
            number: 1,
            first_lsn: next_lsn.max(1),
            epoch: epoch_above + 1,
            salt: opts.salt,
            recycled: false,
        };
        let recovery = Recovery { last_lsn: header.first_lsn - 1, ..Recovery::default() };
        let birth = Birth { header, before: None, unmarked: None, empty: None };
        let inner = Inner::start(disk, dir, opts, birth, Vec::new(), spares)?;
        Ok(Self { inner: Arc::new(inner), recovery })
    }

    /// Begins this life if there was no space for it when the log was opened, as each
    /// append does. Nothing to do if it has begun.
    ///
    /// # Errors
    /// [`Error::NoSpace`]: it has not, and the log is as it was. [`Error::Poisoned`].
    pub fn begin(&self) -> Result<(), Error> {
        self.inner.begin_life()
    }

    /// Appends one frame and returns its LSN. In async mode the frame is in the
    /// kernel when this returns: a killed process loses nothing. In sync mode it
    /// is in memory until somebody waits for it. Frames get their LSNs in the
    /// order of the calls, so callers hold their commit lock.
    ///
    /// # Errors
    /// [`Error::TooLarge`], [`Error::NoSpace`]: nothing happened. [`Error::Poisoned`]: this or an
    /// earlier write failed; the frame is not in the log.
    pub fn append(&self, wall_micros: u64, payload: &[u8]) -> Result<Lsn, Error> {
        self.inner.append(wall_micros, payload)
    }

    /// Returns when `lsn` is durable. One caller syncs for all who wait; nobody
    /// waits longer than that takes. Appends go on meanwhile.
    ///
    /// # Errors
    /// [`Error::Poisoned`] if a sync failed, [`Error::NotWritten`].
    pub fn wait_durable(&self, lsn: Lsn) -> Result<(), Error> {
        self.inner.wait_durable(lsn)
    }

    /// What a commit does before it answers: in [`SyncMode::Sync`] waits until
    /// `lsn` is durable, in [`SyncMode::Async`] returns at once.
    ///
    /// # Errors
    /// As [`Wal::wait_durable`].
    pub fn acknowledge(&self, lsn: Lsn) -> Result<(), Error> {
        match self.inner.options().sync {
            SyncMode::Sync => self.wait_durable(lsn),
            SyncMode::Async => Ok(()),
        }
    }

    /// The timer's step: syncs if anything is unsynced; returns the durable LSN.
    ///
    /// # Errors
    /// As [`Wal::wait_durable`].
    pub fn sync(&self) -> Result<Lsn, Error> {
        self.wait_durable(self.last_lsn())?;
        Ok(self.durable_lsn())
    }

    /// The newest frame (0: none yet).
    pub fn last_lsn(&self) -> Lsn {
        self.inner.last_lsn()
    }

    /// The newest durable frame (0: none yet).
    pub fn durable_lsn(&self) -> Lsn {
        self.inner.durable_lsn()
    }

    /// The number of this life; one more with every open. Before it has begun
    /// ([`Wal::begin`]) that of the life before: the newest that a segment is of.
    pub fn epoch(&self) -> u64 {
        self.inner.epoch()
    }

    /// Why writes are refused, if they are.
    pub fn poisoned(&self) -> Option<String> {
        self.inner.poisoned()
    }

    /// Whether it is poisoned. Cheap.
    pub fn is_poisoned(&self) -> bool {
        self.inner.is_poisoned()
    }

    /// What [`Wal::open`] found.
    pub fn recovery(&self) -> &Recovery {
        &self.recovery
    }

    /// The segments, oldest first; the last is the one being written.
    pub fn segments(&self) -> Vec<SegmentInfo> {
        self.inner.segments()
    }

    /// Bytes of all segments, without what is prepared ahead.
    pub fn total_bytes(&self) -> u64 {
        self.segments().iter().map(|s| s.bytes).sum()
    }

    /// Frames and bytes since the log was opened: how many frames each sync that made any
    /// durable has made so, and the bytes of all frames that were appended.
    pub fn written(&self) -> (Distribution, u64) {
        let appended = self.inner.appended.load(std::sync::atomic::Ordering::Relaxed);
        (self.inner.groups.read(), appended)
    }

    /// Ends the segment being written, so that it can be archived or truncated;
    /// its frames are durable then. `false`: it has no frame.
    ///
    /// # Errors
    /// As [`Wal::append`].
    pub fn rotate_now(&self) -> Result<bool, Error> {
        self.inner.rotate_now()
    }

    /// Waits until frames beyond `after` are durable and returns the newest; for
    /// those who follow the log. Makes nothing durable itself.
    ///
    /// # Errors
    /// [`Error::Poisoned`] if none can become durable any more, [`Error::Closed`].
    pub fn wait_durable_change(&self, after: Lsn) -> Result<Lsn, Error> {
        self.inner.wait_beyond(after)
    }

    /// Ends every [`Wal::wait_durable_change`], now and later, with
    /// [`Error::Closed`]: before threads that follow the log are joined.
    pub fn release_followers(&self) {
        self.inner.release();
    }

    /// Calls `call` with the durable LSN each time it has grown, until the answer
    /// is dropped: on the thread that made it grow, one call at a time. It must be
    /// quick (wake somebody, store a number) and must not drop its own [`Watch`].
    #[must_use = "the watch ends when this is dropped"]
    pub fn on_durable(&self, call: impl FnMut(Lsn) + Send + 'static) -> Watch {
        self.inner.watchers.add(Box::new(call))
    }

    /// Spare files kept to be used again.
    pub fn spare_segments(&self) -> usize {
        self.inner.spares()
    }

    /// Removes whole segments whose every frame is below `lsn` (or keeps their
    /// files to be used again); never the last one. Returns how many. Call it only with what the page file has applied
    /// *and*, if there is an archive, the archive has.
    ///
    /// # Errors
    /// [`Error::Io`]: some may have been removed, oldest first.
    pub fn truncate_below(&self, lsn: Lsn) -> Result<u64, Error> {
        self.inner.truncate_below(lsn)
    }

    /// Removes all but `most` of the files kept to be used again; returns how many
    /// it removed. For a log that rests: the next segments are made anew.
    ///
    /// # Errors
    /// [`Error::Io`]: the one that could not be removed is left to the next open.
    pub fn keep_spares(&self, most: usize) -> Result<usize, Error> {
        self.inner.keep_spares(most)
    }

    /// Durable frames from `from` on, now and as they come.
    ///
    /// # Errors
    /// [`Error::Gone`] if `from` has been truncated.
    pub fn cursor(&self, from: Lsn) -> Result<Cursor, Error> {
        Cursor::new(self.inner.clone(), from)
    }
}

impl Drop for Wal {
    fn drop(&mut self) {
        self.inner.close();
    }
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
