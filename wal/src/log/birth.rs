//! How a life of the log begins: at once, or later if the disk is full.
//!
//! Must stay true:
//! * a life has begun when its first segment's header and name are on the disk; the end
//!   mark of the life before is there by then. Before that no frame is taken, and
//!   nothing on the disk knows of this life: the next open may take its number;
//! * without a log before it there is nothing to read, and no life without space.

use super::{Inner, Now, Tail, begun};
use crate::error::Error;
use crate::files::{self, Failed, Segment};
use crate::pending::Pending;
use crate::recover::Unmarked;
use crate::segment::{self, HEADER_LEN, SegmentHeader};
use crate::turn::Turn;
use crate::watch::Watchers;
use crate::{Options, SegmentInfo};
use parking_lot::Mutex;
use platform::{Disk, Histogram, Open, shortage};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// What a life begins with.
pub(crate) struct Birth {
    /// Of its first segment.
    pub(crate) header: SegmentHeader,
    /// The header of the last segment before it.
    pub(crate) before: Option<SegmentHeader>,
    /// What is to be written before.
    pub(crate) unmarked: Option<Unmarked>,
    /// A segment without a frame, to be removed after.
    pub(crate) empty: Option<u64>,
}

impl Inner {
    /// Starts a new life: makes its first segment, durably; without space for it the log
    /// of the life before is there to be read.
    pub(crate) fn start(
        disk: Arc<dyn Disk>,
        dir: &str,
        opts: Options,
        birth: Birth,
        mut segments: Vec<SegmentInfo>,
        mut spares: Vec<u64>,
    ) -> Result<Self, Error> {
        let header = birth.header;
        let path = segment::path(dir, header.number);
        let mut spare = spares.pop();
        let made = match &birth.unmarked {
            Some(unmarked) => Err(Failed::Clean(io::Error::from(unmarked.why.kind()))),
            None => {
                let first_len = files::grown(&opts, 0, HEADER_LEN);
                files::make(&*disk, dir, opts.sync, &header, &mut spare, first_len)
            }
        };
        spares.extend(spare.filter(|_| made.is_err()));
        let has_begun = made.is_ok();
        let segment = match (made, birth.before) {
            (Ok(segment), _) => segment,
            (Err(Failed::Clean(error)), Some(before)) if shortage(&error).is_some() => {
                let path = segment::path(dir, before.number);
                let file = disk.open(&path, Open::Write).map_err(Error::io("open", &path))?;
                Segment { file, through: None, allocated: 0, header: before }
            }
            (Err(Failed::Clean(e) | Failed::Sync(e)), _) => {
                return Err(Error::io("create", &path)(e));
            }
        };
        if has_begun {
            segments.push(begun(&header));
        }
        let mut pending = Pending::new();
        pending.begin(&segment.header);
        let last_lsn = header.first_lsn - 1;
        let at = segments.last().map_or(HEADER_LEN, |segment| segment.bytes);
        let inner = Self {
            disk,
            dir: dir.to_owned(),
            opts,
            epoch: header.epoch,
            has_begun: AtomicBool::new(has_begun),
            tail: Mutex::new(Tail {
                segment: segment.clone(),
                number: segment.header.number,
                at,
                buf: Vec::new(),
                birth: None,
            }),
            turn: Turn::new(last_lsn),
            now: Mutex::new(Now { segment, segments, unsynced: Vec::new(), loose: 0 }),
            pending: Mutex::new(pending),
            last: AtomicU64::new(last_lsn),
            end: AtomicU64::new(at),
            spares: Mutex::new(spares),
            trim: Mutex::new(()),
            watchers: Watchers::default(),
            groups: Histogram::new(),
            appended: AtomicU64::new(0),
        };
        if !has_begun {
            inner.tail.lock().birth = Some(birth);
        } else if let Some(number) = birth.empty {
            inner.retire_empty(number)?;
        }
        Ok(inner)
    }

    /// See [`crate::Wal::begin`].
    pub(crate) fn begin_life(&self) -> Result<(), Error> {
        let mut tail = self.tail.lock();
        if self.turn.is_poisoned() {
            return Err(self.poison_error());
        }
        self.begin_if_due(&mut tail)
    }

    /// Begins this life, unless it has begun. The caller has the append lock.
    pub(super) fn begin_if_due(&self, tail: &mut Tail) -> Result<(), Error> {
        let Some(birth) = &mut tail.birth else { return Ok(()) };
        let (header, empty) = (birth.header, birth.empty);
        if let Some(unmarked) = &birth.unmarked {
            let mut put = unmarked.put(&*self.disk);
            if put.as_ref().is_err_and(|e| shortage(e).is_some()) {
                // What is kept to be used again is space too.
                let spares = self.spares();
                if spares > 0 && self.keep_spares(spares - 1).is_ok() {
                    let gone = self.disk.sync_dir(&self.dir);
                    put = gone.and_then(|()| unmarked.put(&*self.disk));
                }
            }
            put.map_err(|error| self.refuse(tail.number, error))?;
            birth.unmarked = None;
        }
        self.rotate_durably(tail, &header)?;
        tail.birth = None;
        self.has_begun.store(true, Ordering::Release);
        if let Some(number) = empty {
            // It stays in the chain if it cannot be removed: it has no frame. A directory
            // that cannot be synced poisons.
            drop(self.retire_empty(number));
        }
        Ok(())
    }
}
