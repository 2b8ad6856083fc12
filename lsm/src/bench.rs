//! A door for `benches/memtable.rs`; not part of the interface.

use std::sync::Arc;

use crate::Lsn;
use crate::memtable::{Memtable, Walk};

/// A bare memtable.
pub struct Table(Arc<Memtable>);

impl Default for Table {
    fn default() -> Self {
        Table::new()
    }
}

impl Table {
    /// An empty one.
    pub fn new() -> Self {
        Table(Arc::new(Memtable::empty()))
    }

    /// Adds an entry.
    pub fn insert(&self, key: &[u8], lsn: Lsn, value: &[u8]) {
        self.0.insert(key, lsn, Some(value));
    }

    /// The length of the newest value at `lsn`.
    pub fn get(&self, key: &[u8], lsn: Lsn) -> Option<usize> {
        self.0.get(key, lsn)?.value().map(<[u8]>::len)
    }

    /// The bytes of up to `entries` keys and values from `key` on.
    pub fn walk(&self, key: &[u8], entries: usize) -> usize {
        let mut walk = Walk::new(Arc::clone(&self.0), Lsn::MAX, 0);
        walk.seek_from(key, true);
        let mut bytes = 0;
        for _ in 0..entries {
            let (Some(key), Some(value)) = (walk.key(), walk.value()) else { break };
            bytes += key.len() + value.len();
            walk.forward();
        }
        bytes
    }

    /// Bytes of memory held.
    pub fn bytes(&self) -> usize {
        self.0.bytes()
    }
}
