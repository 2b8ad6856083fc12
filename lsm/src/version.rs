//! Versions, and snapshots of them.
//!
//! A version is all that a read needs: the active memtable set, the frozen ones
//! newest first, runs, the trees. It is swapped whole and never changed. (The active
//! set of a version still grows; LSNs decide what of it is seen.)
//!
//! A snapshot is a version and an LSN, taken without a lock: load the visible
//! LSN `L`, then the version `V`; if `V.flushed > L`, again. Why `V` shows
//! exactly the commits up to `L`:
//!
//! * *Nothing is missing.* The commit of `L` wrote into the active set of a
//!   version that was published before `L` became visible (both under the commit
//!   lock, visible stored with Release), as did those before it. We loaded `L`
//!   with Acquire and the version after it, so `V` is that version or a later
//!   one. A set only leaves the memory part of a version in the same swap that
//!   brings in trees holding its contents. So each commit up to `L` is in a set
//!   of `V` or in its trees.
//! * *Nothing newer shows.* Of the sets, entries above `L` are skipped. Of the
//!   trees, all that is in them came from commits up to `V.flushed <= L`.
//! * *Nothing older is needed and gone.* The trees keep the newest value only,
//!   as of `V.flushed`; a newer one at or below `L` lies in a set, which is asked
//!   first. Sets keep all versions.
//! * *It ends.* A flush makes its boundary visible before it publishes its
//!   version, so the next round loads an `L` that is not below it.
//!
//! The snapshot's lease keeps its sets, and the view in it its pages, until it is
//! dropped, or taken away (`lease.rs`).

use std::ops::Bound;
use std::sync::Arc;

use btree::{Direction, View};
use vlog::Vlog;

use crate::cursor::Cursor;
use crate::health::Health;
use crate::lease::{self, Held, Lease, OfBackup};
use crate::many::Values;
use crate::registry::Registration;
use crate::runs::Runs;
use crate::set::MemSet;
use crate::transaction::Own;
use crate::tree::Cell;
use crate::value::Value;
use crate::{Error, KeyspaceId, Lsn};

/// See the module.
#[derive(Clone)]
pub(crate) struct Version {
    pub(crate) active: Arc<MemSet>,
    /// Newest first.
    pub(crate) frozen: Vec<Arc<Frozen>>,
    pub(crate) view: View,
    /// What is newer than the trees, and in the page file too: `runs/`.
    pub(crate) runs: Runs,
    pub(crate) values: Arc<Vlog>,
    /// All commits up to this one are in the trees, none above it.
    pub(crate) flushed: Lsn,
}

/// A set that is no longer written.
pub(crate) struct Frozen {
    pub(crate) set: Arc<MemSet>,
    /// The last commit in it: the boundary of its flush.
    pub(crate) last: Lsn,
}

impl Version {
    /// All sets, newest first.
    pub(crate) fn sets(&self) -> impl Iterator<Item = &Arc<MemSet>> {
        std::iter::once(&self.active).chain(self.frozen.iter().map(|frozen| &frozen.set))
    }

    /// The value of `key` as of `lsn`, which this version shows.
    #[inline]
    pub(crate) fn get(
        &self,
        keyspace: KeyspaceId,
        key: &[u8],
        lsn: Lsn,
    ) -> Result<Option<Value>, Error> {
        Ok(self.get_versioned(keyspace, key, lsn)?.map(|(value, _)| value))
    }

    /// As [`Version::get`], with the commit that wrote it; 0: that is not kept.
    pub(crate) fn get_versioned(
        &self,
        keyspace: KeyspaceId,
        key: &[u8],
        lsn: Lsn,
    ) -> Result<Option<(Value, Lsn)>, Error> {
        /// What a set says about a key.
        enum Found {
            Value(Option<(Value, Lsn)>),
            Older,
        }
        for set in self.sets() {
            let found = set.with(keyspace.0, |table| {
                let floor = table.floor(lsn);
                match table.entries.read(key, lsn) {
                    Some((at, value)) if at >= floor => {
                        Found::Value(value.map(|value| (value, at)))
                    }
                    // Dropped here: whatever is older is gone.
                    _ if floor > 0 => Found::Value(None),
                    _ => Found::Older,
                }
            });
            if let Some(Found::Value(value)) = found {
                return Ok(value);
            }
        }
        match self.cell(keyspace, key)? {
            Some(cell) => self.load(keyspace, key, cell).map(Some),
            None => Ok(None),
        }
    }

    /// The value that a leaf's cell holds or points at, and its commit.
    pub(crate) fn load(
        &self,
        keyspace: KeyspaceId,
        key: &[u8],
        cell: btree::Value,
    ) -> Result<(Value, Lsn), Error> {
        match Cell::decode(keyspace.0, &cell)? {
            Cell::Inline(_, lsn) => Ok((Value::from_cell(cell), lsn)),
            Cell::Tomb => Ok((Value::from_cell(cell), 0)),
            Cell::Pointer(at) => {
                let mut record = Vec::new();
                let found = self.values.read_of(at, keyspace.0, key, &mut record)?;
                let (len, lsn) = (found.value.len(), found.lsn);
                Ok((Value::from_record(record, len), lsn))
            }
        }
    }
}

struct Inner {
    lease: Arc<Lease>,
    lsn: Lsn,
    _live: Registration,
    _of_backup: Option<OfBackup>,
}

/// The store as of one commit: exactly the commits up to [`Snapshot::lsn`]; of a
/// [`Transaction`](crate::Transaction) with its own writes above them.
/// Cheap to clone. Memory and pages it needs live as long as it does, or until old
/// snapshots hold back more than [`Options::max_pinned_bytes`](crate::Options):
/// then the oldest expire, and reads of them fail with [`Error::SnapshotExpired`].
#[derive(Clone)]
pub struct Snapshot {
    inner: Arc<Inner>,
    /// Of a transaction: what it has written, and reads.
    own: Option<Arc<Own>>,
}

impl Snapshot {
    pub(crate) fn new(
        lease: Arc<Lease>,
        lsn: Lsn,
        live: Registration,
        of_backup: Option<OfBackup>,
    ) -> Self {
        let inner = Arc::new(Inner { lease, lsn, _live: live, _of_backup: of_backup });
        Snapshot { inner, own: None }
    }

    /// The same, as a transaction sees it.
    pub(crate) fn with_own(&self, own: Own) -> Self {
        Snapshot { inner: Arc::clone(&self.inner), own: Some(Arc::new(own)) }
    }

    /// Of a transaction: what it has written, and reads.
    #[inline]
    pub(crate) fn own(&self) -> Option<&Own> {
        self.own.as_deref()
    }

    /// Whether it is what a [`Transaction`](crate::Transaction) sees.
    pub fn is_of_transaction(&self) -> bool {
        self.own.is_some()
    }

    /// The version, for one operation.
    ///
    /// # Errors
    /// [`Error::SnapshotExpired`].
    #[inline]
    pub(crate) fn version(&self) -> Result<Held, Error> {
        self.inner.lease.version().ok_or_else(|| lease::expired(self.inner.lsn))
    }

    pub(crate) fn health(&self) -> &Health {
        self.inner.lease.health()
    }

    pub(crate) fn lease(&self) -> &Arc<Lease> {
        &self.inner.lease
    }

    /// Whether it was taken away: reads fail.
    pub fn is_expired(&self) -> bool {
        self.inner.lease.version().is_none()
    }

    /// The last commit it sees.
    pub fn lsn(&self) -> Lsn {
        self.inner.lsn
    }

    /// The value of `key`, or `None`.
    ///
    /// # Errors
    /// A page or value that cannot be read or fails its checksum;
    /// [`Error::SnapshotExpired`].
    pub fn get(&self, keyspace: KeyspaceId, key: &[u8]) -> Result<Option<Value>, Error> {
        let version = self.version()?;
        if let Some(own) = self.own()
            && let Some(decided) = own.get(keyspace, key)
        {
            return Ok(decided);
        }
        self.health().look(version.get(keyspace, key, self.lsn()))
    }

    /// As [`Snapshot::get`], with the commit that wrote the value: its version. 0 of what
    /// a transaction has written itself, and of a short value put without being
    /// [versioned](crate::Batch::put_versioned).
    ///
    /// # Errors
    /// As [`Snapshot::get`].
    pub fn get_versioned(
        &self,
        keyspace: KeyspaceId,
        key: &[u8],
    ) -> Result<Option<(Value, Lsn)>, Error> {
        let version = self.version()?;
        if let Some(own) = self.own()
            && let Some(decided) = own.get(keyspace, key)
        {
            return Ok(decided.map(|value| (value, 0)));
        }
        self.health().look(version.get_versioned(keyspace, key, self.lsn()))
    }

    /// The value of a key that is known to be read already.
    pub(crate) fn get_again(
        &self,
        keyspace: KeyspaceId,
        key: &[u8],
    ) -> Result<Option<Value>, Error> {
        let version = self.version()?;
        if let Some(own) = self.own()
            && let Some(decided) = own.look(keyspace, key)
        {
            return Ok(decided);
        }
        version.get(keyspace, key, self.lsn())
    }

    /// The values of many keys of a keyspace, in the order of `keys`: one look at
    /// each memtable and one way down the tree for all, so it costs less than as many
    /// single reads. All are of this one snapshot.
    ///
    /// # Errors
    /// As [`Snapshot::get`], of any of them.
    pub fn multi_get<K: AsRef<[u8]>>(
        &self,
        keyspace: KeyspaceId,
        keys: &[K],
    ) -> Result<Vec<Option<Value>>, Error> {
        let version = self.version()?;
        self.health().look(version.multi_get(keyspace, keys, self.lsn(), self.own()))
    }

    /// As [`Snapshot::multi_get`], into `values`, which it replaces: of all keys, or of
    /// the first whose values take about `enough` bytes of memory, and of one at least.
    /// What lies in memory is lent, and takes none.
    ///
    /// # Errors
    /// As [`Snapshot::get`], of any of them; `values` are empty then.
    pub fn read_many<K: AsRef<[u8]>>(
        &self,
        keyspace: KeyspaceId,
        keys: &[K],
        enough: usize,
        values: &mut Values,
    ) -> Result<(), Error> {
        let version = self.version()?;
        let read = version.read_many(keyspace, keys, self.lsn(), enough, values, self.own());
        self.health().look(read)
    }

    /// The entries with keys within the bounds, in either order. The cursor is
    /// placed before the first of them.
    ///
    /// # Errors
    /// A page that cannot be read or fails its checksum;
    /// [`Error::SnapshotExpired`], of every step too.
    pub fn range(
        &self,
        keyspace: KeyspaceId,
        lo: Bound<&[u8]>,
        hi: Bound<&[u8]>,
        direction: Direction,
    ) -> Result<Cursor, Error> {
        self.health().look(Cursor::open(self.clone(), keyspace, lo, hi, direction))
    }

    /// The entries whose keys begin with `prefix`, in either order; all of the
    /// keyspace if it is empty.
    ///
    /// # Errors
    /// As [`Snapshot::range`].
    pub fn prefix(
        &self,
        keyspace: KeyspaceId,
        prefix: &[u8],
        direction: Direction,
    ) -> Result<Cursor, Error> {
        let end = after_prefix(prefix);
        let hi = end.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        self.range(keyspace, Bound::Included(prefix), hi, direction)
    }
}

/// The first key beyond all that begin with `prefix`, if there is one.
pub(crate) fn after_prefix(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|byte| *byte != 0xFF)?;
    let mut end = prefix[..=last].to_vec();
    end[last] += 1;
    Some(end)
}
