//! The log's archive beside a running store: one bounded piece per step.
//!
//! What must stay true:
//! * what is not archived does not leave the log: [`Archiving::archived`] is 0
//!   until the archive was opened and found to be this store's (`retain.rs`);
//! * nothing waits for it: no lock here is held by a commit, a read or a flush,
//!   and no error here is a commit's. A disk that does not answer holds only the
//!   thread that copies to it: with an [`ArchiveStepper`] one of its own;
//! * a failed copy is tried again, after a pause that doubles from one second to
//!   one minute; what failed, and how often, is in the stats.
//!
//! Why an archived file is whole and the frames dense: `wal::archive`.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};

use parking_lot::Mutex;
use platform::Disk;
use wal::SegmentInfo;
use wal::archive::{Archiver, Error as ArchiveError, Progress, StoreId};

use crate::{Error, Lsm, Lsn, Step};

/// Nanoseconds between the first failure and the next try, and at most.
const FIRST_PAUSE: u64 = 1_000_000_000;
const LAST_PAUSE: u64 = 60 * FIRST_PAUSE;
/// Nanoseconds between looks for files that have become too old.
const PRUNE_EVERY: u64 = 60 * FIRST_PAUSE;

/// Where the log is archived to, and for how long.
#[derive(Clone)]
pub struct LogArchive {
    /// The archive's disk: the store's own, or better another.
    pub disk: Arc<dyn Disk>,
    /// The directory on it; made if absent. One per store.
    pub dir: String,
    /// Microseconds after which an archived file may be removed, by the wall time
    /// of its newest frame. `None`: never.
    pub retain_micros: Option<u64>,
    /// The first frame that the oldest base backup needs: from there on nothing is
    /// removed. See [`Lsm::keep_archive_from`].
    pub keep_from: Option<Lsn>,
    /// Bytes of the log copied in one step. Default 4 MiB.
    pub step_bytes: u64,
}

impl LogArchive {
    /// An archive that is kept for ever.
    pub fn new(disk: Arc<dyn Disk>, dir: &str) -> Self {
        let dir = dir.to_owned();
        LogArchive { disk, dir, retain_micros: None, keep_from: None, step_bytes: 4 << 20 }
    }
}

impl fmt::Debug for LogArchive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogArchive")
            .field("dir", &self.dir)
            .field("retain_micros", &self.retain_micros)
            .field("keep_from", &self.keep_from)
            .field("step_bytes", &self.step_bytes)
            .finish_non_exhaustive()
    }
}

/// How archiving does, as stats show it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ArchiveStats {
    /// All commits up to here are in the archive; 0: none, or not yet known.
    pub archived_lsn: Lsn,
    /// The archive's first frame.
    pub first_lsn: Option<Lsn>,
    /// Files in it.
    pub files: usize,
    /// Places where files are missing between others.
    pub holes: usize,
    /// Bytes of the log's ended segments that are not in the archive. They stay in the
    /// log until they are, without a bound.
    pub waiting_bytes: u64,
    /// Why the last try failed, if it did. The log is not cut meanwhile.
    pub error: Option<String>,
    /// Tries that failed since the last that did not.
    pub failures: u64,
    /// Tries that failed since the store was opened.
    pub failures_total: u64,
}

/// The archiving of one store.
pub(crate) struct Archiving {
    /// `None`: the log is not archived.
    to: Option<LogArchive>,
    worker: Mutex<Worker>,
    archived: AtomicU64,
    /// [`LogArchive::keep_from`]; 0: nothing is kept for a backup.
    keep_from: AtomicU64,
    shown: Mutex<ArchiveStats>,
    /// Whether the next step is archiving's.
    turn: AtomicBool,
    /// Handles alive of who archives on a thread of its own.
    steppers: Arc<AtomicUsize>,
}

/// Says that a thread archives by [`Lsm::step_archive`]: while one of these lives,
/// [`Lsm::step`] leaves the archive alone, so that flushes, and the commits that
/// wait for them, do not wait for its disk.
#[must_use = "steps archive again when this is gone"]
pub struct ArchiveStepper(Arc<AtomicUsize>);

impl Drop for ArchiveStepper {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Release);
    }
}

/// State of the one who archives.
#[derive(Default)]
struct Worker {
    /// `None`: not opened yet.
    archiver: Option<Archiver>,
    /// Nanoseconds on the monotonic clock: no try before.
    not_before: u64,
    pause: u64,
    prune_at: u64,
}

impl Archiving {
    pub(crate) fn new(to: Option<LogArchive>) -> Self {
        let keep_from = to.as_ref().and_then(|to| to.keep_from).map_or(0, |lsn| lsn.max(1));
        Archiving {
            to,
            worker: Mutex::default(),
            archived: AtomicU64::new(0),
            keep_from: AtomicU64::new(keep_from),
            shown: Mutex::default(),
            turn: AtomicBool::new(false),
            steppers: Arc::default(),
        }
    }

    /// Up to where the log is archived; `None`: it is not to be.
    pub(crate) fn archived(&self) -> Option<Lsn> {
        self.to.as_ref().map(|_| self.archived.load(Acquire))
    }

    /// What stats show; `None`: the log is not archived.
    pub(crate) fn stats(&self, log: &[SegmentInfo]) -> Option<ArchiveStats> {
        self.to.as_ref()?;
        let shown = self.shown.lock().clone();
        let ended = log.split_last().map_or(log, |(_, ended)| ended);
        let waits = ended.iter().filter(|segment| segment.last_lsn > shown.archived_lsn);
        Some(ArchiveStats { waiting_bytes: waits.map(|segment| segment.bytes).sum(), ..shown })
    }

    /// Whether this step is for archiving, which alternates: neither a busy store
    /// nor a long archive keeps the other from its work.
    pub(crate) fn has_turn(&self) -> bool {
        self.by_steps() && !self.turn.fetch_xor(true, Relaxed)
    }

    /// Whether archiving is part of [`Lsm::step`].
    fn by_steps(&self) -> bool {
        self.to.is_some() && self.steppers.load(Acquire) == 0
    }
}

impl Worker {
    fn piece(
        &mut self,
        lsm: &Lsm,
        to: &LogArchive,
        prune: bool,
    ) -> Result<Option<Step>, ArchiveError> {
        let archiver = match &mut self.archiver {
            Some(archiver) => archiver,
            None => {
                let store = StoreId(lsm.store_id().0);
                let opened = Archiver::open(Arc::clone(&to.disk), &to.dir, store, &lsm.wal)?;
                self.archiver.insert(opened)
            }
        };
        match archiver.step(&lsm.wal, to.step_bytes)? {
            Progress::More => return Ok(Some(Step::Archiving)),
            Progress::Archived(summary) => {
                return Ok(Some(Step::Archived { to: summary.last_lsn }));
            }
            Progress::Idle => {}
        }
        if let Some(retain) = to.retain_micros
            && prune
        {
            let before = lsm.clock.wall_micros().saturating_sub(retain);
            let keep = Some(lsm.archiving.keep_from.load(Relaxed)).filter(|lsn| *lsn > 0);
            if let Some(file) = archiver.prune(before, keep)? {
                return Ok(Some(Step::ArchivePruned { to: file.last_lsn }));
            }
        }
        Ok(None)
    }
}

impl Lsm {
    /// In [`Lsm::step`]: a piece of archiving, if one is due and nobody else does it.
    pub(crate) fn archive_in_step(&self) -> Option<Step> {
        if !self.archiving.by_steps() {
            return None;
        }
        // A failure is no error of the step: who steps would pause, and with it
        // the flushes that commits wait for.
        self.archive_if_due().unwrap_or(Some(Step::ArchiveFailed))
    }

    /// A piece of archiving, if one is due. Who comes while another archives has
    /// nothing to do.
    fn archive_if_due(&self) -> Result<Option<Step>, Error> {
        let Some(to) = &self.archiving.to else { return Ok(None) };
        let Some(mut worker) = self.archiving.worker.try_lock() else { return Ok(None) };
        let now = self.clock.monotonic_nanos();
        if now < worker.not_before {
            return Ok(None);
        }
        self.archive_piece(to, &mut worker, now)
    }

    /// Says that this thread archives; see [`ArchiveStepper`]. `None`: the log is not
    /// archived.
    pub fn archive_stepper(&self) -> Option<ArchiveStepper> {
        self.archiving.to.as_ref()?;
        self.archiving.steppers.fetch_add(1, Release);
        Some(ArchiveStepper(Arc::clone(&self.archiving.steppers)))
    }

    /// One bounded piece of archiving: [`Step::Archiving`], [`Step::Archived`],
    /// [`Step::ArchivePruned`], or [`Step::Idle`] if none is due. Takes as long as the
    /// archive's disk does; nothing else waits for it but [`Lsm::archive_now`].
    ///
    /// # Errors
    /// [`Error::Archive`]: the copy failed. It is tried again by the first call after a
    /// pause that doubles from one second to one minute; the log is not cut meanwhile.
    pub fn step_archive(&self) -> Result<Step, Error> {
        Ok(self.archive_if_due()?.unwrap_or(Step::Idle))
    }

    fn archive_piece(
        &self,
        to: &LogArchive,
        worker: &mut Worker,
        now: u64,
    ) -> Result<Option<Step>, Error> {
        let prune = now >= worker.prune_at;
        let outcome = worker.piece(self, to, prune);
        let mut shown = self.archiving.shown.lock();
        if let Some(archiver) = &worker.archiver {
            self.archiving.archived.store(archiver.archived(), Release);
            shown.archived_lsn = archiver.archived();
            shown.first_lsn = archiver.first();
            shown.files = archiver.files().len();
            shown.holes = archiver.holes().count();
        }
        match outcome {
            Ok(step) => {
                if step != Some(Step::Archiving) {
                    (shown.error, shown.failures) = (None, 0);
                    (worker.not_before, worker.pause) = (0, 0);
                }
                if step.is_none() && prune {
                    worker.prune_at = now.saturating_add(PRUNE_EVERY);
                }
                Ok(step)
            }
            Err(error) => {
                worker.pause = (worker.pause * 2).clamp(FIRST_PAUSE, LAST_PAUSE);
                worker.not_before = now.saturating_add(worker.pause);
                shown.error = Some(error.to_string());
                shown.failures += 1;
                shown.failures_total += 1;
                let error = Error::from(error);
                self.health.met_again(&error);
                Err(error)
            }
        }
    }

    /// Archives everything committed until now, on this thread, without waiting
    /// for a segment of the log to fill: ends the one being written. Returns the
    /// LSN up to which the archive has it.
    ///
    /// # Errors
    /// [`Error::NotArchived`]: no archive is configured. [`Error::Archive`]: the
    /// copy failed; it is tried again by later steps. [`Error::Wal`].
    pub fn archive_now(&self) -> Result<Lsn, Error> {
        let Some(to) = &self.archiving.to else { return Err(Error::NotArchived) };
        self.wal.rotate_now()?;
        // In async mode a segment that ended before may still be unsynced.
        self.wal.sync()?;
        let mut worker = self.archiving.worker.lock();
        loop {
            let now = self.clock.monotonic_nanos();
            match self.archive_piece(to, &mut worker, now)? {
                Some(Step::Archiving | Step::Archived { .. }) => {}
                _ => return Ok(self.archiving.archived.load(Acquire)),
            }
        }
    }

    /// Nothing of the archive from this frame on is removed for its age: tell the
    /// first frame that the oldest base backup kept needs (what the backup ends
    /// with, plus one). `None`: age alone decides. Not remembered over a restart:
    /// see [`LogArchive::keep_from`].
    pub fn keep_archive_from(&self, lsn: Option<Lsn>) {
        // A backup of a store without commits says 0: it needs the first.
        self.archiving.keep_from.store(lsn.map_or(0, |lsn| lsn.max(1)), Relaxed);
    }
}
