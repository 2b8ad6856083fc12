//! The commits of another store, made here: by who follows its log.
//!
//! What must stay true:
//! * a store either makes commits or applies those of another: that is asked under the
//!   commit lock, where it is changed ([`Lsm::follow`], [`Lsm::lead`]), so that no commit
//!   is made after a change that says there are none;
//! * a frame is applied as the next commit, with the number, the wall time and the bytes
//!   it had there, through the same log and memtables as any: recovery, flush, watchers and
//!   who follows this store in turn see no difference;
//! * frames are looked at before the first is applied: out of order, or with bytes that
//!   are no batch, and nothing changes. What the disk refuses half-way ends at a whole
//!   frame, and the next try goes on behind it.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::{Acquire, Release};

use parking_lot::Mutex;

use crate::batch::{Batch, Ops, decode};
use crate::ship::Shipped;
use crate::{Error, Lsm, Lsn};

/// Whether a store follows another, and what is told of it.
#[derive(Default)]
pub(crate) struct Follows {
    /// Written under the commit lock.
    is: AtomicBool,
    words: Mutex<Option<Arc<str>>>,
}

impl Lsm {
    /// From now on no commit is made but by [`Lsm::apply`]; whoever tries is told `words`
    /// ([`Error::Follows`]). Commits that have their place in the log by now stay, and may
    /// not be durable yet.
    pub fn follow(&self, words: &str) {
        *self.follows.words.lock() = Some(words.into());
        let _commit = self.commit.lock();
        self.follows.is.store(true, Release);
    }

    /// Takes a [`Lsm::follow`] back.
    pub fn follow_no_more(&self) {
        let _commit = self.commit.lock();
        self.follows.is.store(false, Release);
    }

    /// Makes commits again from now on, with `first` as the first of them: no other comes
    /// between. It is durable when this returns.
    ///
    /// # Errors
    /// A commit's: it follows as before then.
    pub fn lead(&self, first: &Batch) -> Result<Lsn, Error> {
        first.check()?;
        let (lock, version) = self.room()?;
        let wall = self.clock.wall_micros();
        let lsn = self.append(&version, wall, (first.payload(), first.ops()))?;
        self.follows.is.store(false, Release);
        drop(lock);
        let durable = self.wait_durable(lsn);
        if durable.is_ok() {
            self.acknowledge(lsn)?;
        }
        durable.map(|()| lsn)
    }

    /// Whether it follows another store. Cheap.
    pub fn follows(&self) -> bool {
        self.follows.is.load(Acquire)
    }

    /// # Errors
    /// [`Error::Follows`], if it does.
    pub fn check_leads(&self) -> Result<(), Error> {
        if !self.follows() {
            return Ok(());
        }
        let words = self.follows.words.lock().clone();
        Err(Error::Follows(words.unwrap_or_else(|| "this store follows another one".into())))
    }

    /// Makes frames of the store that is followed the next commits here. They are visible
    /// when this returns; durable in sync mode, or once [`Lsm::sync`] was called. Returns
    /// the last.
    ///
    /// # Errors
    /// [`Error::Leads`], [`Error::OutOfOrder`], [`Error::Frame`]: nothing changed. A
    /// commit's: those up to [`Lsm::last_lsn`] are applied.
    pub fn apply(&self, frames: &[Shipped<'_>]) -> Result<Lsn, Error> {
        let last = self.last_lsn();
        let mut batches = Vec::with_capacity(frames.len());
        for (frame, wanted) in frames.iter().zip(last + 1..) {
            if frame.lsn != wanted {
                return Err(Error::OutOfOrder { lsn: frame.lsn, wanted });
            }
            let lsn = frame.lsn;
            batches.push(decode(frame.payload).map_err(|source| Error::Frame { lsn, source })?);
        }
        let mut newest = last;
        for (frame, ops) in frames.iter().zip(batches) {
            newest = self.apply_one(frame, ops)?;
        }
        self.acknowledge(newest)?;
        Ok(newest)
    }

    fn apply_one(&self, frame: &Shipped<'_>, ops: Ops<'_>) -> Result<Lsn, Error> {
        let (lock, version) = self.room()?;
        if !self.follows() {
            return Err(Error::Leads);
        }
        let wanted = self.last_lsn() + 1;
        if frame.lsn != wanted {
            return Err(Error::OutOfOrder { lsn: frame.lsn, wanted });
        }
        let lsn = self.append(&version, frame.wall_micros, (frame.payload, ops))?;
        drop(lock);
        Ok(lsn)
    }
}
