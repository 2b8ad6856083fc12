//! Transactions: many reads and writes that take effect at one place in the order of
//! commits, as if nobody else had been there, or not at all.
//!
//! ```text
//! own.rs    own writes, in a layer above a snapshot     reads.rs  what was read
//! whole.rs  all own writes as one batch                 ../recent.rs  what others wrote
//! ```
//!
//! Optimistic: reads are of one snapshot and of the transaction's own writes, which wait
//! in memory; at the commit it is looked whether a commit since the snapshot wrote
//! something that was read. Most of that is done without the commit lock, the rest under
//! it, and then the batch is written as any other is.
//!
//! Why that is serializable, in the order of LSNs. Let `S` be the snapshot, `C` the LSN of
//! the commit. Under the commit lock nothing of what was read (keys there or not, ranges
//! with all that could come to lie in them) was written by the commits in `(S, C)`: so
//! each read, done again behind commit `C - 1`, gives what it gave; so the transaction is
//! what it would have been if it had run at that very place, alone. One that wrote nothing
//! is what it would have been at `S`, and is not looked at. There is nothing else: lost
//! updates, write skew, phantoms and the anomaly of who only reads are all a read that
//! would not have given what it gave.
//!
//! A snapshot is of what was acknowledged: in sync mode of what is durable. Where many
//! change the same keys that makes each of them wait for the disk before the next one can
//! begin. [`Lsm::begin_latest`] sees what is written and not yet durable too: the log has
//! its order, so what is durable of a transaction never lacks what it has read. What was
//! read so must not be told before it is known to last: the commit of the transaction
//! waits for that, of one that wrote nothing too.
//!
//! What must stay true:
//! * nobody outside learns what was read of a commit that may yet be lost;
//! * a key that a transaction writes counts as read, unless it was said to be
//!   [unread](Batch::unread): whether it had a value decides what is written;
//! * undoing writes ([`Transaction::rollback`]) undoes no read, and those keys stay read;
//! * memory is bounded by what it may write ([`MAX_BATCH_BYTES`](crate::MAX_BATCH_BYTES);
//!   [`Transaction::bytes`] is for who bounds it further) and by `reads.rs`.

mod own;
mod reads;
mod whole;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Acquire;

use crate::batch::{Batch, BatchError, Mark, Op};
use crate::recent::{Live, Written};
use crate::version::Snapshot;
use crate::watched::Seen;
use crate::{Error, KeyspaceId, Lsm, Lsn};

use own::Layer;
pub(crate) use own::{Own, Trail};
use reads::Reads;

/// A keyspace, and a key of it.
type Place = (u32, Box<[u8]>);

/// See the module.
pub struct Transaction {
    base: Snapshot,
    layer: Layer,
    reads: Arc<Reads>,
    writes: Batch,
    /// The last statement; in the layer it stands where LSNs do.
    statement: Lsn,
    /// Keys written without being looked at, and by which statement.
    unread: BTreeMap<Place, Lsn>,
    /// Its snapshot may show commits that are not acknowledged yet.
    is_latest: bool,
    _live: Live,
}

/// A place among the writes of a transaction.
#[derive(Clone, Copy, Debug)]
pub struct Savepoint {
    mark: Mark,
    statement: Lsn,
}

/// What a transaction has read so far, for who would rather not disturb it.
#[derive(Clone)]
pub struct Footprint(Arc<Reads>);

impl Transaction {
    fn of(base: Snapshot, live: Live, is_latest: bool) -> Transaction {
        Transaction {
            base,
            layer: Layer::default(),
            reads: Arc::default(),
            writes: Batch::new(),
            statement: 0,
            unread: BTreeMap::new(),
            is_latest,
            _live: live,
        }
    }

    /// What it has read, and reads from here on.
    pub fn footprint(&self) -> Footprint {
        Footprint(Arc::clone(&self.reads))
    }

    /// Whether it writes something that another one has read so far. For courtesy alone: what
    /// decides is looked at when that one commits.
    pub fn would_disturb(&self, other: &Footprint) -> bool {
        self.writes.ops().any(|op| match op {
            Op::Put(keyspace, key, _) | Op::Delete(keyspace, key) => {
                other.0.covers(keyspace.0, key)
            }
            Op::DropKeyspace(_) => false,
        })
    }

    /// The database as this transaction sees it now: its snapshot, with its own writes so
    /// far. What is read of it counts as read by the transaction.
    pub fn view(&self) -> Snapshot {
        let (layer, reads) = (self.layer.clone(), Arc::clone(&self.reads));
        self.base.with_own(Own { layer, at: self.statement, reads })
    }

    /// The last commit that it sees.
    pub fn lsn(&self) -> Lsn {
        self.base.lsn()
    }

    /// Whether its snapshot was taken away: reads fail, and it is to be begun again.
    pub fn is_expired(&self) -> bool {
        self.base.is_expired()
    }

    /// Adds the operations of a batch to its writes: one statement, all or none. The
    /// batch's requirements are not looked at, and keyspaces cannot be dropped.
    ///
    /// # Errors
    /// The batch breaks a limit, or all writes together would: nothing was added.
    pub fn write(&mut self, batch: &Batch) -> Result<(), Error> {
        batch.check()?;
        if batch.is_empty() {
            return Ok(());
        }
        if let Some(keyspace) = batch.drops() {
            return Err(BatchError::Drop(keyspace.0).into());
        }
        let statement = self.statement + 1;
        self.writes.append(batch)?;
        for (keyspace, key) in batch.unread_keys() {
            let written = self.layer.with(keyspace.0, |t| t.entries.get(key, Lsn::MAX).is_some());
            if written != Some(true) {
                self.unread.entry((keyspace.0, key.into())).or_insert(statement);
            }
        }
        self.layer.apply(statement, batch.ops());
        self.statement = statement;
        Ok(())
    }

    /// Says that a key was read, by whatever way.
    pub fn reads(&self, keyspace: KeyspaceId, key: &[u8]) {
        self.reads.point(keyspace, key);
    }

    /// As [`Transaction::reads`], of all keys that begin so, there or not.
    pub fn reads_prefix(&self, keyspace: KeyspaceId, prefix: &[u8]) {
        let end = crate::version::after_prefix(prefix);
        let high = end.as_deref().map_or(std::ops::Bound::Unbounded, std::ops::Bound::Excluded);
        self.reads.range(keyspace, std::ops::Bound::Included(prefix), high);
    }

    /// A place to come back to.
    pub fn savepoint(&self) -> Savepoint {
        Savepoint { mark: self.writes.mark(), statement: self.statement }
    }

    /// Undoes all writes since `to`, which is a place of this transaction and not itself
    /// undone. Costs about what the writes before it did. Cursors that are open go on
    /// with what they saw.
    pub fn rollback(&mut self, to: Savepoint) {
        if self.statement == to.statement {
            return;
        }
        for op in self.writes.ops_behind(to.mark) {
            if let Op::Put(keyspace, key, _) | Op::Delete(keyspace, key) = op
                && !self.unread.contains_key(&(keyspace.0, key.into()))
            {
                self.reads.point(keyspace, key);
            }
        }
        self.unread.retain(|_, statement| *statement <= to.statement);
        self.writes.truncate(to.mark);
        self.layer = Layer::default();
        // Later than any before it: no place is taken for another one.
        self.statement += 1;
        self.layer.apply(self.statement, self.writes.ops());
    }

    /// Bytes of memory its writes and reads take.
    pub fn bytes(&self) -> usize {
        self.writes.bytes() + self.layer.bytes() + self.reads.bytes()
    }

    /// Bytes of the batch that its writes are.
    pub fn written(&self) -> usize {
        self.writes.bytes()
    }

    /// Whether it has written nothing.
    pub fn is_empty(&self) -> bool {
        self.writes.is_empty()
    }

    /// What of it a commit has changed; unread keys of it that were written too are noted.
    fn disturbed(&self, by: &[Arc<Written>], unread: &mut Vec<Place>) -> Option<Error> {
        for written in by {
            for (keyspace, key) in written.keys() {
                let Some(key) = key else {
                    let written_here = self.layer.with(keyspace, |_| ()).is_some();
                    if written_here || self.reads.has(keyspace) {
                        return Some(conflict(keyspace, &[], written.lsn));
                    }
                    continue;
                };
                if self.reads.covers(keyspace, key) {
                    return Some(conflict(keyspace, key, written.lsn));
                }
                let own = self.layer.with(keyspace, |t| t.entries.get(key, Lsn::MAX).is_some());
                if own == Some(true) {
                    let place = (keyspace, key.into());
                    if !self.unread.contains_key(&place) {
                        return Some(conflict(keyspace, key, written.lsn));
                    }
                    unread.push(place);
                }
            }
        }
        None
    }
}

fn conflict(keyspace: u32, key: &[u8], lsn: Lsn) -> Error {
    Error::Conflict { keyspace: KeyspaceId(keyspace), key: key.into(), lsn }
}

impl Lsm {
    /// Begins a transaction that may write: see [`Transaction`]. Who only reads takes a
    /// [`Lsm::snapshot`]. Dropping it leaves no trace.
    ///
    /// # Errors
    /// As [`Lsm::snapshot`].
    pub fn begin(&self) -> Result<Transaction, Error> {
        let (base, live) = self.acknowledged()?;
        Ok(Transaction::of(base, live, false))
    }

    /// What is acknowledged; from now on commits are kept.
    pub(crate) fn acknowledged(&self) -> Result<(Snapshot, Live), Error> {
        let (live, since) = self.begins();
        if self.visible.load(Acquire) < since {
            // Commits that were under way before any were kept are waited for. If they
            // fail, reads go on; and no commit will.
            let _failed = self.acknowledge(since);
        }
        Ok((self.snapshot()?, live))
    }

    /// As [`Lsm::begin`], with every commit that is written, acknowledged or not. What is
    /// read of it is not to be told to anybody before [`Lsm::commit_transaction`], or
    /// [`Lsm::wait_acknowledged`] for its [`Transaction::lsn`], says that it lasts. With a
    /// log that failed it is [`Lsm::begin`].
    ///
    /// # Errors
    /// As [`Lsm::snapshot`].
    pub fn begin_latest(&self) -> Result<Transaction, Error> {
        if self.wal.is_poisoned() {
            return self.begin();
        }
        let (live, _) = self.begins();
        let (lsn, lease) = self.version.snapshot(&self.applied);
        let base = Snapshot::new(lease, lsn, self.register(lsn)?, None);
        Ok(Transaction::of(base, live, true))
    }

    /// From now on commits are kept; since which one.
    fn begins(&self) -> (Live, Lsn) {
        let (live, since) = self.recent.enter();
        let since = since.unwrap_or_else(|| {
            let _commit = self.commit.lock();
            self.recent.keep(self.applied.load(Acquire))
        });
        (live, since)
    }

    /// The last commit that is written, acknowledged or not.
    pub fn written_lsn(&self) -> Lsn {
        self.applied.load(Acquire)
    }

    /// Waits until commit `lsn` is acknowledged: in sync mode until it is durable. Returns
    /// at once if it is.
    ///
    /// # Errors
    /// The log failed: there is no such commit.
    pub fn wait_acknowledged(&self, lsn: Lsn) -> Result<(), Error> {
        match self.visible.load(Acquire) < lsn {
            true => self.acknowledge(lsn),
            false => Ok(()),
        }
    }

    /// Commits a transaction: all its writes as one batch, as durable as any. `last` is
    /// asked under the commit lock, when nothing stands against it but that; what it gives is
    /// dropped once the writes are there for [`Lsm::begin_latest`], before they are
    /// acknowledged. Returns the
    /// LSN it has in the order of commits; of one that wrote nothing, that of its snapshot,
    /// once that is acknowledged, and `last` is not asked.
    ///
    /// # Errors
    /// [`Error::Conflict`]: a commit since its snapshot wrote something it has read;
    /// [`Error::TooOld`]: it is not known any more whether one did. Begin again. `last`'s
    /// own, or a commit's, else. Nothing of it is visible then.
    pub fn commit_transaction<E: From<Error>, L>(
        &self,
        transaction: Transaction,
        last: impl FnOnce() -> Result<L, E>,
    ) -> Result<Lsn, E> {
        let base = transaction.lsn();
        if transaction.is_empty() {
            self.wait_acknowledged(base)?;
            return Ok(base);
        }
        let is_latest = transaction.is_latest;
        let mut seen = Seen::begin(&*self.clock);
        let mut unread = Vec::new();
        let mut known = base;
        let mut look = |unread: &mut Vec<_>| match self.recent.behind(known) {
            None => Some(Error::TooOld { lsn: base }),
            Some(behind) => {
                known = behind.last().map_or(known, |written| written.lsn);
                transaction.disturbed(&behind, unread)
            }
        };
        // Most of it before the lock is taken.
        if let Some(error) = look(&mut unread) {
            return Err(self.refused(error, is_latest).into());
        }
        let mut batch = transaction.whole(|_, _| None);
        batch.check().map_err(Error::from)?;
        let (lock, version) = self.room()?;
        if let Some(error) = look(&mut unread) {
            drop(lock);
            return Err(self.refused(error, is_latest).into());
        }
        let held = last()?;
        if !unread.is_empty() {
            let lsn = self.applied.load(Acquire);
            let mut now = BTreeMap::new();
            for (keyspace, key) in unread {
                let there = version.contains(KeyspaceId(keyspace), &key, lsn);
                now.insert((keyspace, key), self.health.look(there)?);
            }
            batch = transaction.whole(|keyspace, key| now.get(&(keyspace, key.into())).copied());
        }
        let lsn = self.write(lock, &version, &batch)?;
        drop(held);
        seen.logged();
        self.acknowledge(lsn)?;
        seen.end(lsn, &batch);
        Ok(lsn)
    }

    /// Before a conflict is told, what it is with is as durable as a commit: who begins
    /// again then sees it. Who begins with the latest sees it anyway. If it is lost that is
    /// told: no beginning again would help.
    fn refused(&self, error: Error, is_latest: bool) -> Error {
        if let Error::Conflict { lsn, .. } = &error
            && !is_latest
            && let Err(lost) = self.acknowledge(*lsn)
        {
            return lost;
        }
        error
    }
}
