//! How many keys a keyspace has, exactly, without counting them.
//!
//! What must stay true: each tree knows how many keys it has, in the page write that
//! makes its version; each memtable of a keyspace knows by how much its commits moved
//! that number, as their writer said ([`Batch::put_new`], [`Batch::delete_present`]).
//! That is in the log, so replay comes to the same sum, and a flush replaces the sum by
//! what the tree has found: a version shows one or the other, never both. Nothing is
//! written for it, and nothing read. A run (`runs/`) keeps the sum of its sets, until
//! it is merged into the tree.

use std::ops::Bound;
use std::sync::atomic::Ordering::Relaxed;

use crate::version::{Snapshot, Version};
use crate::{Error, KeyspaceId, Lsm, Lsn};

impl Version {
    /// Keys of a keyspace with every commit that its active set has.
    pub(crate) fn count(&self, keyspace: KeyspaceId) -> u64 {
        let mut moved = 0i64;
        for set in self.sets() {
            let here = set.with(keyspace.0, |t| (t.moved.load(Relaxed), !t.drops.is_empty()));
            if let Some((by, dropped)) = here {
                moved = moved.saturating_add(by);
                if dropped {
                    return u64::try_from(moved).unwrap_or(0);
                }
            }
        }
        let runs = self.runs.of(keyspace.0).iter().map(|run| run.moved);
        let moved = runs.fold(moved, i64::saturating_add);
        self.view.len(keyspace.0).saturating_add_signed(moved)
    }

    /// As [`Version::count`], without the commits behind `lsn`, if they are still known
    /// one by one.
    fn count_at(&self, keyspace: KeyspaceId, lsn: Lsn) -> Option<u64> {
        let mut moved = 0i64;
        for set in self.sets() {
            let here = set.with_moves(|moves| {
                let since = moves.since(lsn, keyspace.0);
                set.with(keyspace.0, |table| {
                    let dropped_since = table.drops.last().is_some_and(|drop| *drop > lsn);
                    let by = since.filter(|_| !dropped_since)?;
                    Some((table.moved.load(Relaxed) - by, !table.drops.is_empty()))
                })
            });
            if let Some(known) = here {
                let (by, dropped) = known?;
                moved = moved.saturating_add(by);
                if dropped {
                    return Some(u64::try_from(moved).unwrap_or(0));
                }
            }
        }
        let runs = self.runs.of(keyspace.0).iter().map(|run| run.moved);
        let moved = runs.fold(moved, i64::saturating_add);
        Some(self.view.len(keyspace.0).saturating_add_signed(moved))
    }
}

impl Lsm {
    /// How many keys the keyspace has now. Exact if every commit that added or removed
    /// one said so ([`Batch::put_new`](crate::Batch::put_new),
    /// [`Batch::delete_present`](crate::Batch::delete_present)) or is in the keyspace's
    /// tree, where a flush puts it, or later what merges its runs; commits that run
    /// meanwhile may count or not, and in sync mode one whose sync failed counts until
    /// the store is opened again. Costs no read.
    pub fn count(&self, keyspace: KeyspaceId) -> u64 {
        self.version.load().count(keyspace)
    }
}

impl Snapshot {
    /// As [`Lsm::count`], of the snapshot's version: with the commits made since that
    /// went to the same memtable.
    ///
    /// # Errors
    /// [`Error::SnapshotExpired`].
    pub fn count(&self, keyspace: KeyspaceId) -> Result<u64, Error> {
        let counted = self.version()?.count(keyspace);
        Ok(counted.saturating_add_signed(self.own().map_or(0, |own| own.moved(keyspace))))
    }

    /// How many keys the keyspace has in this very snapshot, as exact as
    /// [`Lsm::count`] is. `None`: too many commits were made since to tell them apart;
    /// who needs the number counts. Costs no read.
    ///
    /// # Errors
    /// [`Error::SnapshotExpired`].
    pub fn count_seen(&self, keyspace: KeyspaceId) -> Result<Option<u64>, Error> {
        let Some(counted) = self.version()?.count_at(keyspace, self.lsn()) else { return Ok(None) };
        let Some(own) = self.own() else { return Ok(Some(counted)) };
        own.reads.range(keyspace, Bound::Unbounded, Bound::Unbounded);
        Ok(Some(counted.saturating_add_signed(own.moved(keyspace))))
    }

    /// Whether `key` has a value. Cheaper than [`Snapshot::get`]: a value that lies in
    /// the value log is not read.
    ///
    /// # Errors
    /// As [`Snapshot::get`].
    pub fn contains(&self, keyspace: KeyspaceId, key: &[u8]) -> Result<bool, Error> {
        let version = self.version()?;
        if let Some(own) = self.own() {
            if let Some(decided) = own.has(keyspace, key) {
                return Ok(decided);
            }
            own.reads.point(keyspace, key);
        }
        self.health().look(version.contains(keyspace, key, self.lsn()))
    }

    /// As [`Snapshot::contains`], but of a transaction it does not count as a read: for
    /// who says what rests on it otherwise.
    ///
    /// # Errors
    /// As [`Snapshot::get`].
    pub fn glance(&self, keyspace: KeyspaceId, key: &[u8]) -> Result<bool, Error> {
        let version = self.version()?;
        if let Some(decided) = self.own().and_then(|own| own.has(keyspace, key)) {
            return Ok(decided);
        }
        self.health().look(version.contains(keyspace, key, self.lsn()))
    }
}

impl Version {
    pub(crate) fn contains(
        &self,
        keyspace: KeyspaceId,
        key: &[u8],
        lsn: Lsn,
    ) -> Result<bool, Error> {
        for set in self.sets() {
            let found = set.with(keyspace.0, |table| {
                let floor = table.floor(lsn);
                match table.entries.get(key, lsn) {
                    Some(entry) if entry.lsn() >= floor => Some(entry.value().is_some()),
                    // Dropped here: whatever is older is gone.
                    _ if floor > 0 => Some(false),
                    _ => None,
                }
            });
            if let Some(Some(found)) = found {
                return Ok(found);
            }
        }
        Ok(self.cell(keyspace, key)?.is_some())
    }
}
