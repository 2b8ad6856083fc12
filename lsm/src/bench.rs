//! A door for `benches/engine.rs`; not part of the interface.

use crate::Lsn;
use crate::memtable::Memtable;

/// A bare memtable.
pub struct Table(Memtable);

impl Default for Table {
    fn default() -> Self {
        Table::new()
    }
}

impl Table {
    /// An empty one.
    pub fn new() -> Self {
        Table(Memtable::empty())
    }

    /// Adds an entry.
    pub fn insert(&self, key: &[u8], lsn: Lsn, value: &[u8]) {
        self.0.insert(key, lsn, Some(value));
    }

    /// The length of the newest value at `lsn`.
    pub fn get(&self, key: &[u8], lsn: Lsn) -> Option<usize> {
        self.0.get(key, lsn)?.value().map(<[u8]>::len)
    }
}
