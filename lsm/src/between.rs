//! How many keys lie between two bounds: what chooses indexes rests on it.
//!
//! What must stay true: what is called exact is what a cursor would count, and no
//! commit after the snapshot is in it. The cost is bounded whatever lies between the
//! bounds: two ways down each tree ([`View::count_range`](btree::View::count_range)),
//! and [`CELLS`] cells of what is newer than the tree, each looked up in it once.
//!
//! Where more cells than that are above the tree, what they add is judged: for each
//! run and memtable by the keys its commits added or took away in the whole keyspace
//! (`count.rs`), for the part of its cells that lies between the bounds. That part is
//! exact for a run. In a memtable it is taken from two ways down, all children of a
//! node held for alike, so it may be wrong by as much as nodes are unlike. The answer
//! is never further from the truth than there are cells between the bounds above the
//! tree; of entries that are only ever added and removed, as those of an index are, it
//! is much nearer.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use crate::memtable::{Memtable, Walk};
use crate::runs::Run;
use crate::set::Table;
use crate::transaction::Own;
use crate::tree::Cell;
use crate::version::{Snapshot, Version};
use crate::{Direction, Error, KeyspaceId, Lsn};

/// Cells above the tree that are looked at one by one.
const CELLS: usize = 128;

/// What [`Snapshot::count_range`] gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RangeCount {
    /// How many keys lie between the bounds, or about how many.
    pub entries: u64,
    /// It is the number; else it is near it.
    pub exact: bool,
}

/// A keyspace's part of a memtable set, as a snapshot sees it.
struct Layer {
    entries: Arc<Memtable>,
    /// What is newer is not seen, nor what is older.
    lsn: Lsn,
    floor: Lsn,
    moved: i64,
}

impl Layer {
    fn of(table: &Table, lsn: Lsn) -> Layer {
        let (entries, moved) = (Arc::clone(&table.entries), table.moved.load(Relaxed));
        Layer { entries, lsn, floor: table.floor(lsn), moved }
    }
}

#[derive(Clone, Copy)]
struct Range<'k> {
    low: Bound<&'k [u8]>,
    high: Bound<&'k [u8]>,
}

impl Range<'_> {
    /// Whether a key that is not below the low bound lies between.
    fn ends_behind(&self, key: &[u8]) -> bool {
        match self.high {
            Bound::Unbounded => true,
            Bound::Included(high) => key <= high,
            Bound::Excluded(high) => key < high,
        }
    }
}

impl Snapshot {
    /// How many keys of the keyspace lie between the bounds, without reading them: at
    /// the cost of a few lookups, and exactly unless many of them were written since
    /// the last flush or lie in runs.
    ///
    /// # Errors
    /// A page that cannot be read or fails its checksum; [`Error::SnapshotExpired`].
    pub fn count_range(
        &self,
        keyspace: KeyspaceId,
        low: Bound<&[u8]>,
        high: Bound<&[u8]>,
    ) -> Result<RangeCount, Error> {
        let version = self.version()?;
        let counted = version.count_range(keyspace, Range { low, high }, self.lsn(), self.own());
        self.health().look(counted)
    }

    /// Whether there is nothing of the keyspace anywhere, not even of what is no longer
    /// there. `true` is certain. Costs no read.
    ///
    /// # Errors
    /// [`Error::SnapshotExpired`].
    pub fn is_vacant(&self, keyspace: KeyspaceId) -> Result<bool, Error> {
        let version = self.version()?;
        if let Some(own) = self.own() {
            if own.layer.with(keyspace.0, |_| ()).is_some() {
                return Ok(false);
            }
            own.reads.range(keyspace, Bound::Unbounded, Bound::Unbounded);
        }
        let written = version.sets().any(|set| set.with(keyspace.0, |_| ()).is_some());
        let runs = version.runs.of(keyspace.0);
        Ok(!written && runs.is_empty() && version.view.is_empty(keyspace.0))
    }
}

impl Version {
    fn count_range(
        &self,
        keyspace: KeyspaceId,
        range: Range<'_>,
        lsn: Lsn,
        own: Option<&Own>,
    ) -> Result<RangeCount, Error> {
        let mut layers = Vec::new();
        layers.extend(own.and_then(|own| own.layer.with(keyspace.0, |t| Layer::of(t, own.at))));
        let mut dropped = false;
        for set in self.sets() {
            let layer = set.with(keyspace.0, |table| Layer::of(table, lsn));
            if let Some(layer) = layer {
                // Dropped here: older sets and the tree do not count.
                dropped = layer.floor > 0;
                layers.push(layer);
            }
            if dropped {
                break;
            }
        }
        let runs = if dropped { &[][..] } else { self.runs.of(keyspace.0) };
        let below = match dropped {
            true => 0,
            false => self.view.count_range(keyspace.0, range.low, range.high)?,
        };
        match self.cells(&layers, runs, range)? {
            Some(cells) => {
                let entries = self.with_cells(keyspace, below, &cells, dropped)?;
                Ok(RangeCount { entries, exact: true })
            }
            None => self.judged(below, &layers, runs, range),
        }
    }

    /// The newest cells above the tree, and whether they have a value; `None` if they
    /// are too many.
    fn cells(
        &self,
        layers: &[Layer],
        runs: &[Run],
        range: Range<'_>,
    ) -> Result<Option<BTreeMap<Vec<u8>, bool>>, Error> {
        let mut cells = BTreeMap::new();
        let mut left = CELLS;
        for layer in layers {
            let mut walk = Walk::new(Arc::clone(&layer.entries), layer.lsn, layer.floor);
            match range.low {
                Bound::Unbounded => walk.first(),
                Bound::Included(low) => walk.seek_from(low, true),
                Bound::Excluded(low) => walk.seek_from(low, false),
            }
            while let Some(key) = walk.key().filter(|key| range.ends_behind(key)) {
                let Some(fewer) = left.checked_sub(1) else { return Ok(None) };
                left = fewer;
                cells.entry(key.to_vec()).or_insert(walk.value().is_some());
                walk.forward();
            }
        }
        for run in runs {
            if self.view.count_range(run.tree, range.low, range.high)? > left as u64 {
                return Ok(None);
            }
            let mut cursor = self.view.range(run.tree, range.low, range.high, Direction::Forward);
            while let Some((key, cell)) = cursor.next()? {
                left = left.saturating_sub(1);
                cells.entry(key.to_vec()).or_insert(!Cell::is_tomb(cell));
            }
        }
        Ok(Some(cells))
    }

    /// `below` of the tree, with the cells above it.
    fn with_cells(
        &self,
        keyspace: KeyspaceId,
        below: u64,
        cells: &BTreeMap<Vec<u8>, bool>,
        dropped: bool,
    ) -> Result<u64, Error> {
        let mut entries = below + cells.values().filter(|has_value| **has_value).count() as u64;
        if !dropped {
            // Those that the tree has count once, or no more.
            let keys = cells.keys().map(Vec::as_slice);
            self.view.get_many(keyspace.0, keys, &mut |_, found| {
                entries = entries.saturating_sub(u64::from(found.is_some()));
            })?;
        }
        Ok(entries)
    }

    /// See the module.
    fn judged(
        &self,
        below: u64,
        layers: &[Layer],
        runs: &[Run],
        range: Range<'_>,
    ) -> Result<RangeCount, Error> {
        // All that may be between the bounds above the tree, and what it adds.
        let (mut cells, mut moved) = (0u64, 0i64);
        let mut add = |part: u64, all: u64, by: i64| {
            let most = i64::try_from(part).unwrap_or(i64::MAX);
            let share = i128::from(by) * i128::from(part) / i128::from(all.max(1));
            let share = i64::try_from(share).unwrap_or(most).clamp(-most, most);
            cells = cells.saturating_add(part);
            moved = moved.saturating_add(share);
        };
        for layer in layers {
            let all = layer.entries.keys();
            add(part_of(&layer.entries, all, range), all, layer.moved);
        }
        for run in runs {
            let part = self.view.count_range(run.tree, range.low, range.high)?;
            add(part, self.view.len(run.tree), run.moved);
        }
        let most = below.saturating_add(cells);
        let entries = below.saturating_add_signed(moved).min(most);
        Ok(RangeCount { entries, exact: false })
    }
}

/// About how many of a memtable's keys, `all` together, lie in the range.
fn part_of(entries: &Memtable, all: u64, range: Range<'_>) -> u64 {
    let share = |bound: Bound<&[u8]>, open: f64| match bound {
        Bound::Unbounded => open,
        Bound::Included(key) | Bound::Excluded(key) => entries.share_below(key),
    };
    let part = share(range.high, 1.0) - share(range.low, 0.0);
    (part.max(0.0) * all as f64).round() as u64
}
