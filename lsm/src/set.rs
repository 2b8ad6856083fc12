//! A memtable set: the memtables of all keyspaces between two LSN boundaries.
//!
//! What must stay true: one writer (the commit lock); what a commit wrote is
//! there for every reader who learned its LSN; after the freeze (`last` is set)
//! nothing is written any more. What a commit moved the numbers of keys by is there
//! at once, under one lock, so that a count never has a part of a commit.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize};

use arc_swap::ArcSwap;
use parking_lot::Mutex;

use crate::Lsn;
use crate::batch::{Op, Ops, Told};
use crate::memtable::Memtable;

/// One keyspace's part. Dropping a keyspace writes an LSN here: it hides all of
/// the keyspace that is older, in this set, in older sets and in the tree.
#[derive(Clone)]
pub(crate) struct Table {
    pub(crate) keyspace: u32,
    pub(crate) entries: Arc<Memtable>,
    /// Ascending.
    pub(crate) drops: Arc<[Lsn]>,
    /// By how much the keyspace's number of keys was moved here, since its last drop
    /// if there is one: `count.rs`.
    pub(crate) moved: Arc<AtomicI64>,
    /// Its values keep the LSNs that wrote them when they leave for the tree.
    pub(crate) versioned: Arc<AtomicBool>,
}

impl Table {
    /// The newest drop not above `lsn`; 0 if there is none.
    pub(crate) fn floor(&self, lsn: Lsn) -> Lsn {
        let below = self.drops.partition_point(|drop| *drop <= lsn);
        below.checked_sub(1).map_or(0, |i| self.drops[i])
    }
}

/// Moves that are remembered one by one.
const MOVES: usize = 1024;

/// What the last commits moved, so that a count of a moment before can be told.
#[derive(Default)]
pub(crate) struct Moves {
    /// Commit, keyspace, by how much; ascending by commit.
    last: VecDeque<(Lsn, u32, i64)>,
    /// The newest commit of which a move was forgotten; 0: of none.
    forgotten: Lsn,
}

impl Moves {
    fn push(&mut self, lsn: Lsn, keyspace: u32, by: i64) {
        if self.last.len() == MOVES
            && let Some((old, ..)) = self.last.pop_front()
        {
            self.forgotten = old;
        }
        self.last.push_back((lsn, keyspace, by));
    }

    /// By how much the commits behind `lsn` moved a keyspace, if that is still known.
    pub(crate) fn since(&self, lsn: Lsn, keyspace: u32) -> Option<i64> {
        let later = self.last.iter().rev().take_while(|(at, ..)| *at > lsn);
        let of = later.filter(|(_, of, _)| *of == keyspace);
        (self.forgotten <= lsn).then(|| of.map(|(.., by)| by).sum())
    }
}

/// See the module.
pub(crate) struct MemSet {
    /// Sorted by keyspace; copied when a keyspace is first written or dropped.
    tables: ArcSwap<Vec<Table>>,
    bytes: AtomicUsize,
    /// The highest wall time of a commit in it.
    wall: AtomicU64,
    moves: Mutex<Moves>,
}

impl MemSet {
    pub(crate) fn new() -> Self {
        MemSet {
            tables: ArcSwap::from_pointee(Vec::new()),
            bytes: AtomicUsize::new(0),
            wall: AtomicU64::new(0),
            moves: Mutex::default(),
        }
    }

    /// Calls `f` with what the last commits moved, while none moves more.
    pub(crate) fn with_moves<R>(&self, f: impl FnOnce(&Moves) -> R) -> R {
        f(&self.moves.lock())
    }

    /// Bytes of memory held.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.load(Relaxed)
    }

    /// The highest wall time of a commit in it, in microseconds: clocks are set back,
    /// so it need not be the last one's.
    pub(crate) fn wall(&self) -> u64 {
        self.wall.load(Relaxed)
    }

    /// Whether nothing was written.
    pub(crate) fn is_empty(&self) -> bool {
        self.tables.load().is_empty()
    }

    /// Whether it should be frozen before another batch comes.
    pub(crate) fn is_full(&self, memtable_bytes: usize) -> bool {
        self.bytes() >= memtable_bytes
    }

    /// All tables, sorted by keyspace.
    pub(crate) fn tables(&self) -> Arc<Vec<Table>> {
        self.tables.load_full()
    }

    /// Calls `f` with the keyspace's table, if it was written or dropped here.
    #[inline]
    pub(crate) fn with<R>(&self, keyspace: u32, f: impl FnOnce(&Table) -> R) -> Option<R> {
        let tables = self.tables.load();
        let i = find(&tables, keyspace).ok()?;
        Some(f(&tables[i]))
    }

    /// Writes one batch as commit `lsn`, made at `wall`. Under the commit lock;
    /// readers learn of it when they learn the LSN.
    pub(crate) fn apply(&self, lsn: Lsn, wall: u64, ops: Ops<'_>) {
        self.wall.fetch_max(wall, Relaxed);
        let drops = drops(ops.clone());
        for same in drops.chunk_by(|a, b| a.0 == b.0) {
            self.drop_keyspace(same[0].0, lsn);
        }
        let mut grown = 0;
        let mut moved: Vec<(u32, i64)> = Vec::new();
        let mut tables = self.tables.load();
        for (i, Told { op, moved: by, versioned, .. }) in ops.told().enumerate() {
            let (keyspace, key, value) = match op {
                Op::Put(keyspace, key, value) => (keyspace.0, key, Some(value)),
                Op::Delete(keyspace, key) => (keyspace.0, key, None),
                Op::DropKeyspace(_) => continue,
            };
            // All that this batch has after its last drop has the drop's LSN and
            // is seen; what it has before would be too, so it is left out.
            let later = drops.partition_point(|drop| *drop < (keyspace, i));
            if drops.get(later).is_some_and(|(of, _)| *of == keyspace) {
                continue;
            }
            let at = match find(&tables, keyspace) {
                Ok(at) => at,
                Err(at) => {
                    self.table(keyspace);
                    tables = self.tables.load();
                    at
                }
            };
            grown += tables[at].entries.insert(key, lsn, value);
            if versioned && !tables[at].versioned.load(Relaxed) {
                tables[at].versioned.store(true, Relaxed);
            }
            if by != 0 {
                match moved.iter_mut().rev().find(|(of, _)| *of == keyspace) {
                    Some((_, sum)) => *sum += by,
                    None => moved.push((keyspace, by)),
                }
            }
        }
        if !moved.is_empty() {
            let mut moves = self.moves.lock();
            for (keyspace, by) in moved {
                if let Ok(at) = find(&tables, keyspace) {
                    tables[at].moved.fetch_add(by, Relaxed);
                    moves.push(lsn, keyspace, by);
                }
            }
        }
        self.bytes.fetch_add(grown, Relaxed);
    }

    fn table(&self, keyspace: u32) -> Arc<Memtable> {
        if let Some(entries) = self.with(keyspace, |t| Arc::clone(&t.entries)) {
            return entries;
        }
        let entries = Arc::new(Memtable::empty());
        let (drops, moved) = (Arc::new([]), Arc::new(AtomicI64::new(0)));
        let versioned = Arc::new(AtomicBool::new(false));
        self.replace(Table { keyspace, entries: Arc::clone(&entries), drops, moved, versioned });
        // The table, its place in the list, what it counts, and the two counters of each `Arc`.
        let arcs = 6 * size_of::<usize>() + size_of::<AtomicI64>() + size_of::<AtomicBool>();
        let bytes = entries.bytes() + size_of::<Table>() + arcs;
        self.bytes.fetch_add(bytes, Relaxed);
        entries
    }

    fn drop_keyspace(&self, keyspace: u32, lsn: Lsn) {
        let entries = self.table(keyspace);
        let (mut drops, versioned) = self
            .with(keyspace, |t| (t.drops.to_vec(), Arc::clone(&t.versioned)))
            .unwrap_or_default();
        drops.push(lsn);
        let moved = Arc::new(AtomicI64::new(0));
        self.replace(Table { keyspace, entries, drops: drops.into(), moved, versioned });
        self.bytes.fetch_add(size_of::<Lsn>(), Relaxed);
    }

    fn replace(&self, table: Table) {
        let mut tables = Vec::clone(&self.tables.load());
        match find(&tables, table.keyspace) {
            Ok(i) => tables[i] = table,
            Err(i) => tables.insert(i, table),
        }
        self.tables.store(Arc::new(tables));
    }
}

/// Where a keyspace's table is, or would be.
#[inline]
fn find(tables: &[Table], keyspace: u32) -> Result<usize, usize> {
    tables.binary_search_by_key(&keyspace, |table| table.keyspace)
}

/// The places of drops in a batch, by keyspace. Almost always none, and then
/// nothing is allocated.
fn drops(ops: Ops<'_>) -> Vec<(u32, usize)> {
    let mut drops: Vec<_> = ops
        .enumerate()
        .filter_map(|(i, op)| match op {
            Op::DropKeyspace(keyspace) => Some((keyspace.0, i)),
            _ => None,
        })
        .collect();
    drops.sort_unstable();
    drops
}
