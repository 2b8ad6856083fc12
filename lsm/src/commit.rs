//! One write, in order: commit lock, room in memory, LSN, WAL frame, memtables,
//! visible LSN, durability.
//!
//! What must stay true: LSNs are dense and given under the commit lock; what
//! fails before the WAL has the frame leaves nothing visible.

use std::sync::Arc;
use std::sync::atomic::Ordering::{Acquire, Release};

use parking_lot::MutexGuard;

use crate::batch::Batch;
use crate::version::Snapshot;
use crate::{Error, Lsm, Lsn};

impl Lsm {
    /// Writes a batch whole, or not at all. An empty batch writes nothing.
    ///
    /// # Errors
    /// On any, nothing of the batch is visible.
    pub fn commit(&self, batch: &Batch) -> Result<Lsn, Error> {
        batch.check()?;
        let lock = self.room()?;
        let lsn = self.write(batch)?;
        drop(lock);
        self.acknowledge(lsn)?;
        Ok(lsn)
    }

    /// Runs `f` on the latest state with all other commits locked out, and
    /// writes the batch it returns: read, decide, write as one step. The
    /// snapshot may be kept. `f` must not commit: it would wait for itself.
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
        let lock = self.room()?;
        let (batch, out) = f(&self.latest())?;
        batch.check().map_err(Error::from)?;
        let lsn = self.write(&batch)?;
        drop(lock);
        self.acknowledge(lsn)?;
        Ok((lsn, out))
    }

    /// The commit lock, with room in the active set.
    fn room(&self) -> Result<MutexGuard<'_, ()>, Error> {
        Ok(self.commit.lock())
    }

    /// Under the commit lock: the state with every commit written, durable or not.
    fn latest(&self) -> Snapshot {
        let lsn = self.applied.load(Acquire);
        Snapshot::new(self.version.load_full(), lsn, self.registry.register(lsn))
    }

    /// Under the commit lock.
    fn write(&self, batch: &Batch) -> Result<Lsn, Error> {
        let last = self.applied.load(Acquire);
        if batch.is_empty() {
            return Ok(last);
        }
        let lsn = last + 1;
        let version = Arc::clone(&self.version.load());
        version.active.apply(lsn, batch.ops());
        self.applied.store(lsn, Release);
        Ok(lsn)
    }

    fn acknowledge(&self, lsn: Lsn) -> Result<(), Error> {
        self.visible.fetch_max(lsn, Release);
        Ok(())
    }
}
