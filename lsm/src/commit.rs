//! One write, in order: commit lock, room in memory, what the batch requires, WAL
//! frame (which gives the LSN), memtables, durability where the mode says so,
//! visible.
//!
//! What must stay true:
//! * frames, memtable inserts and the applied LSN move under the commit lock, in
//!   the same order; LSNs are dense. The lock is not held over the wait for a
//!   sync: who commits meanwhile appends, and waits for the same sync or the next;
//! * what fails before the log has the frame leaves nothing behind. What fails
//!   after it (only a sync can) is never visible here; whether it happened is
//!   known when the store is opened again, since the log takes nothing more;
//! * room is made before the lock is kept, by who takes the background steps, or
//!   by flushing on this thread if nobody does (`pace.rs`): who produces faster than
//!   the disk takes waits for it.

use std::sync::Arc;
use std::sync::atomic::Ordering::{Acquire, Release};

use parking_lot::MutexGuard;

use crate::batch::{Batch, Ops};
use crate::version::{Snapshot, Version};
use crate::watched::Seen;
use crate::{Error, Lsm, Lsn, SyncMode};

impl Lsm {
    /// Writes a batch whole, or not at all, if what it requires holds. An empty
    /// batch writes nothing. Returns its LSN: in sync mode when it is durable, in
    /// async mode when it is in the kernel (a killed process loses nothing, a power
    /// cut loses at most what came after the last [`Lsm::sync`]).
    ///
    /// # Errors
    /// On any, nothing of the batch is visible. [`Error::Batch`]: mend the batch.
    /// [`Error::Unmet`]: what it requires does not hold. [`Error::NoSpace`]: the disk
    /// is full; try again. [`Error::Full`]: flushing fails. [`Error::Wal`]: the log failed, writes are refused until the store is
    /// opened again; if this very call met the failure, its batch may be found
    /// whole then.
    pub fn commit(&self, batch: &Batch) -> Result<Lsn, Error> {
        batch.check()?;
        let mut seen = Seen::begin(&*self.clock);
        let (lock, version) = self.room()?;
        let lsn = self.write(lock, &version, batch)?;
        seen.logged();
        self.acknowledge(lsn)?;
        seen.end(lsn, batch);
        Ok(lsn)
    }

    /// Runs `f` on the latest state with all other commits locked out, and
    /// writes the batch it returns: read, decide, write as one step. The
    /// snapshot may be kept. `f` must not commit or flush: it would wait for
    /// itself.
    ///
    /// Returns the LSN the outcome rests on (the batch's, or the latest if it is
    /// empty) once that is as durable as a commit, and `f`'s own result.
    ///
    /// # Errors
    /// `f`'s error as it is, or a commit's; nothing is visible then.
    pub fn commit_with<T, E: From<Error>>(
        &self,
        f: impl FnOnce(&Snapshot) -> Result<(Batch, T), E>,
    ) -> Result<(Lsn, T), E> {
        let mut seen = Seen::begin(&*self.clock);
        let (lock, version) = self.room()?;
        let latest = self.latest();
        let (batch, out) = match f(&latest) {
            Ok(done) => done,
            Err(error) => {
                drop(lock);
                // What it rests on is visible to all, and lasts, before anybody is told.
                self.wait_acknowledged(latest.lsn())?;
                return Err(error);
            }
        };
        drop(latest);
        batch.check().map_err(Error::from)?;
        let lsn = self.write(lock, &version, &batch)?;
        seen.logged();
        self.acknowledge(lsn)?;
        seen.end(lsn, &batch);
        Ok((lsn, out))
    }

    /// The commit lock, with room in the active set.
    pub(crate) fn room(&self) -> Result<(MutexGuard<'_, ()>, Arc<Version>), Error> {
        self.keep_pace();
        // Others may come to the lock first.
        platform::sharing::others_go_on();
        loop {
            let lock = self.commit.lock();
            let version = self.version.load();
            if !version.active.is_full(self.options.memtable_bytes) {
                return Ok((lock, version));
            }
            if version.frozen.len() < self.options.max_frozen {
                drop(version);
                self.freeze();
                self.pace.call();
                return Ok((lock, self.version.load()));
            }
            drop((version, lock));
            platform::sharing::long_ahead();
            if self.await_room() {
                continue;
            }
            let most = self.options.max_frozen;
            self.flush_oldest(most).map_err(|error| self.refuse(Error::Full(Box::new(error))))?;
            if let Err(error) = self.trim_log() {
                // Room was made: no reason to refuse this commit. The stats have
                // the error, the next step tries again.
                debug_assert!(self.trim_error.lock().is_some(), "{error}");
            }
        }
    }

    /// Under the commit lock: the state with every commit written, durable or not.
    fn latest(&self) -> Snapshot {
        let lsn = self.applied.load(Acquire);
        Snapshot::new(self.version.lease(), lsn, self.registry.register_writer(lsn), None)
    }

    /// Takes the commit lock, and gives it back.
    pub(crate) fn write(
        &self,
        lock: MutexGuard<'_, ()>,
        version: &Version,
        batch: &Batch,
    ) -> Result<Lsn, Error> {
        let last = self.applied.load(Acquire);
        if let Err(unmet) = self.health.look(batch.expectations(version, last)) {
            drop(lock);
            // What it rests on is known to last before anybody is told.
            self.acknowledge(last)?;
            return Err(unmet);
        }
        if batch.is_empty() {
            return Ok(last);
        }
        self.check_leads()?;
        self.append(version, self.clock.wall_micros(), (batch.payload(), batch.ops()))
    }

    /// Under the commit lock: makes a batch, checked, the next commit.
    pub(crate) fn append(
        &self,
        version: &Version,
        wall: u64,
        (payload, ops): (&[u8], Ops<'_>),
    ) -> Result<Lsn, Error> {
        let last = self.applied.load(Acquire);
        let appended = self.wal.append(wall, payload);
        let lsn = appended.map_err(|error| self.refuse(error.into()))?;
        self.health.wrote();
        assert_eq!(lsn, last + 1, "the log and the memtables count the same commits");
        version.active.apply(lsn, wall, ops.clone());
        self.recent.note(lsn, ops);
        self.applied.store(lsn, Release);
        self.owe(version, payload.len() as u64);
        Ok(lsn)
    }

    /// Waits as the mode says, then lets snapshots see it.
    pub(crate) fn acknowledge(&self, lsn: Lsn) -> Result<(), Error> {
        // Written, and not durable: others see it, and must not tell of it.
        platform::sharing::others_go_on();
        let outcome = match self.options.sync {
            SyncMode::Sync => self.timed_sync(|| self.wal.acknowledge(lsn)),
            SyncMode::Async => self.wal.acknowledge(lsn),
        };
        if outcome.is_ok() {
            self.visible.fetch_max(lsn, Release);
        }
        self.tell_durable();
        Ok(outcome?)
    }
}
