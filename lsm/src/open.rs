//! Opening a store: lock, page file, log, value log, replay.
//!
//! What must stay true:
//! * the page file says where everything else must stand; the log is opened
//!   before the value log, since it refuses a page file that is not its own
//!   before anything is cut;
//! * replay holds at most the memory a running store holds. Frames are applied
//!   while the log is scanned, as long as they fit; the rest is read again
//!   afterwards, flushing as it goes. Nothing is flushed during the scan: only
//!   after it are the frames known to be durable, and the log undamaged;
//! * nothing is visible before all is replayed;
//! * a full disk is no reason to refuse: what is there is read, writes are refused by
//!   name until there is space (`health.rs`).

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Acquire, Release};

use btree::PageFile;
use parking_lot::Mutex;
use platform::{Clock, Disk};
use vlog::Vlog;
use wal::{Frame, ReplayError, Wal};

use crate::apply::Follows;
use crate::archive::Archiving;
use crate::batch::decode;
use crate::directory::{self, StoreId};
use crate::durable::Watchers;
use crate::flush::Flusher;
use crate::health::Health;
use crate::lease::Current;
use crate::meta::Meta;
use crate::options::Options;
use crate::recent::Recent;
use crate::registry::Registry;
use crate::retain::Retain;
use crate::set::MemSet;
use crate::timings::Timings;
use crate::version::{Frozen, Version};
use crate::{Error, LOCK, Lsm, Lsn, PAGES, VLOG_DIR, WAL_DIR, gc, runs, segments};

impl Lsm {
    /// Opens the store in `disk`'s root, making it if there is none.
    ///
    /// # Errors
    /// [`Error::InUse`], [`Error::Option`]; [`Error::Version`] and others like it for
    /// the store of another version, by name; damage in the log, the page file or the value log, and files
    /// that do not belong together, by name. Nothing was changed then, but that
    /// a torn end of the log, which was never durable, may have been cut.
    pub fn open(
        disk: Arc<dyn Disk>,
        clock: Arc<dyn Clock>,
        options: Options,
    ) -> Result<Lsm, Error> {
        Lsm::open_in(disk, clock, options, None)
    }

    /// Makes a store in a directory that is marked unfinished: by who marked it. Its first
    /// commit comes behind `last`.
    pub(crate) fn make_unfinished(
        disk: Arc<dyn Disk>,
        clock: Arc<dyn Clock>,
        options: Options,
        last: Lsn,
    ) -> Result<Lsm, Error> {
        Lsm::open_in(disk, clock, options, Some(last))
    }

    fn open_in(
        disk: Arc<dyn Disk>,
        clock: Arc<dyn Clock>,
        options: Options,
        made_behind: Option<Lsn>,
    ) -> Result<Lsm, Error> {
        options.check()?;
        let lock = disk.lock(LOCK).map_err(|source| match source.kind() {
            std::io::ErrorKind::WouldBlock => Error::InUse { file: LOCK.into() },
            _ => Error::Io { doing: "lock", file: LOCK.into(), source },
        })?;
        let fresh = directory::look(&*disk, made_behind.is_some())?;
        let (store, flushed) = (StoreId::new(&*clock, &options), made_behind.unwrap_or(0));
        let made = Meta { store, flushed, ..Meta::default() };
        let pages =
            PageFile::open_or_make(Arc::clone(&disk), PAGES, options.pages(), made.encode())?;
        let view = pages.view();
        let mut meta = Meta::decode(view.user(), PAGES)?;
        directory::compare(&*disk, fresh, &meta, &view)?;

        // Before a new life of the log begins: that would raise its epoch, and the next
        // attempt would take it for the right one.
        if meta.wal_epoch > 0 {
            let found = wal::newest_epoch(&*disk, WAL_DIR)?;
            if found < meta.wal_epoch {
                let what = format!(
                    "it names the log's epoch {}, the newest in {WAL_DIR} is {found}: they do not \
                     belong together; put the log back that was there",
                    meta.wal_epoch,
                );
                return Err(Error::Corrupt { file: PAGES.into(), what });
            }
        }

        let mut replay = Replay::new(meta.flushed, &options);
        let from = meta.flushed + 1;
        let (log, each) = (Arc::clone(&disk), &mut |frame: Frame<'_>| {
            replay.frame(&frame).map_err(ReplayError::from)
        });
        let wal = match fresh && from > 1 {
            true => Wal::create_at(log, WAL_DIR, options.wal(), from, 0)?,
            false => Wal::open(log, WAL_DIR, options.wal(), from, meta.flushed, each)?,
        };
        let values = Arc::new(Vlog::open(Arc::clone(&disk), VLOG_DIR, options.vlog(), meta.tail)?);
        let view = if meta.wal_epoch == 0 {
            // From here on a page file without a log is one that lost it.
            meta.wal_epoch = wal.epoch();
            let mut write = pages.begin();
            write.set_user(meta.encode());
            write.commit()?
        } else {
            view
        };

        segments::check(&view, &values, meta.tail)?;
        let rows = segments::table(&view)?;
        // Sealed, and without a row: no version names anything in it, and none will.
        for orphan in values.segments() {
            if orphan.id < meta.tail.segment && !rows.contains_key(&orphan.id) {
                values.remove(orphan.id)?;
            }
        }
        let there = values.segments();
        let runs = runs::load(&view, meta.runs)?;
        let collector = gc::Collector::new(rows, meta.tail, &there, view.epoch());
        let figures = gc::Figures::new(&collector);
        let flusher = Flusher::new(collector);

        let version = Version {
            active: replay.active,
            frozen: replay.frozen,
            view,
            runs,
            values: Arc::clone(&values),
            flushed: meta.flushed,
        };
        let archiving = Archiving::new(options.archive.clone());
        let health = Arc::new(Health::default());
        let lsm = Lsm {
            commit: Mutex::new(()),
            version: Current::new(version, Arc::clone(&clock), Arc::clone(&health)),
            applied: AtomicU64::new(replay.applied),
            visible: AtomicU64::new(replay.applied),
            follows: Follows::default(),
            watchers: Watchers::new(replay.applied),
            pace: Arc::default(),
            health,
            flusher: Mutex::new(flusher),
            flushed_bytes: AtomicU64::new(0),
            gc: figures,
            runs: runs::Figures::default(),
            timings: Timings::default(),
            flush_error: Mutex::new(None),
            trim_error: Mutex::new(None),
            registry: Registry::new(options.max_snapshots),
            retain: Retain::new(meta.flushed),
            recent: Recent::new(),
            archiving,
            wal,
            pages,
            values,
            clock,
            options,
            store: meta.store,
            disk,
            _lock: lock,
        };
        lsm.pace.begins(lsm.clock.monotonic_nanos());
        if let Err(error) = lsm.wal.begin() {
            // On a full disk the store is there to be read; the first commit that finds
            // space goes through.
            lsm.short(error.into())?;
        }
        lsm.replay_rest()?;
        Ok(lsm)
    }

    /// Replays what did not fit into memory, flushing as it goes.
    fn replay_rest(&self) -> Result<(), Error> {
        let last = self.wal.last_lsn();
        let mut applied = self.applied.load(Acquire);
        if applied == last {
            return Ok(());
        }
        let mut cursor = self.wal.cursor(applied + 1)?;
        while applied < last {
            let Some(frame) = cursor.next()? else {
                let what = format!("it ends at commit {applied}, a moment ago it had {last}");
                return Err(Error::Corrupt { file: WAL_DIR.into(), what });
            };
            let ops =
                decode(frame.payload).map_err(|source| Error::Frame { lsn: frame.lsn, source })?;
            let (lock, version) = self.room()?;
            version.active.apply(frame.lsn, frame.wall_micros, ops);
            applied = frame.lsn;
            self.applied.store(applied, Release);
            self.visible.store(applied, Release);
            drop(lock);
        }
        Ok(())
    }
}

/// Memtables being filled from the log.
struct Replay {
    memtable_bytes: usize,
    max_frozen: usize,
    active: Arc<MemSet>,
    /// Newest first.
    frozen: Vec<Arc<Frozen>>,
    applied: Lsn,
}

impl Replay {
    fn new(flushed: Lsn, options: &Options) -> Self {
        Replay {
            memtable_bytes: options.memtable_bytes,
            max_frozen: options.max_frozen,
            active: Arc::new(MemSet::new()),
            frozen: Vec::new(),
            applied: flushed,
        }
    }

    fn frame(&mut self, frame: &Frame<'_>) -> Result<(), Error> {
        // Checked even if it is not kept: a bad one is refused before anything
        // is changed.
        let ops =
            decode(frame.payload).map_err(|source| Error::Frame { lsn: frame.lsn, source })?;
        if self.applied + 1 != frame.lsn {
            return Ok(()); // Full since an earlier one.
        }
        if self.active.is_full(self.memtable_bytes) {
            if self.frozen.len() >= self.max_frozen {
                return Ok(());
            }
            let set = std::mem::replace(&mut self.active, Arc::new(MemSet::new()));
            self.frozen.insert(0, Arc::new(Frozen { set, last: self.applied }));
        }
        self.active.apply(frame.lsn, frame.wall_micros, ops);
        self.applied = frame.lsn;
        Ok(())
    }
}
