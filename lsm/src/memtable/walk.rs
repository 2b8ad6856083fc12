//! A walk over one memtable as one LSN sees it: each key once, its newest entry
//! not above the LSN, deletes included, in either direction.
//!
//! What must stay true: entries below `floor` (the keyspace was dropped at that
//! LSN) are as if they had never been.

use std::cmp::Ordering;
use std::sync::Arc;

use super::{Memtable, NIL, Node, Probe, Stored};
use crate::Lsn;

/// Versions of one key stepped over one by one before a search is cheaper.
const PATIENCE: usize = 8;

/// See the module. Starts before the first entry; place it with a method below.
pub(crate) struct Walk {
    table: Arc<Memtable>,
    lsn: Lsn,
    floor: Lsn,
    at: u32,
}

impl Walk {
    pub(crate) fn new(table: Arc<Memtable>, lsn: Lsn, floor: Lsn) -> Self {
        Walk { table, lsn, floor, at: NIL }
    }

    fn node(&self) -> Option<&Node> {
        self.table.node(self.at)
    }

    /// The key stood on, or `None` past the end.
    #[inline]
    pub(crate) fn key(&self) -> Option<&[u8]> {
        self.table.key(self.at)
    }

    /// What is stored at the key stood on.
    #[inline]
    pub(crate) fn stored(&self) -> Option<&Stored> {
        self.table.stored(self.at)
    }

    /// The commit that wrote the entry stood on; 0 past the end.
    pub(crate) fn lsn(&self) -> Lsn {
        self.node().map_or(0, |node| node.lsn)
    }

    /// The value of the key stood on; `None` for a delete.
    #[inline]
    pub(crate) fn value(&self) -> Option<&[u8]> {
        self.stored()?.value()
    }

    /// To the first key.
    pub(crate) fn first(&mut self) {
        self.at = self.settle_forward(self.table.next(NIL, 0));
    }

    /// To the last key.
    pub(crate) fn last(&mut self) {
        self.at = self.settle_back(self.table.last());
    }

    /// To the first key not below (`inclusive`) or above `key`.
    pub(crate) fn seek_from(&mut self, key: &[u8], inclusive: bool) {
        // LSNs begin at 1: (key, 0) stands behind all versions of the key.
        let lsn = if inclusive { self.lsn } else { 0 };
        self.at = self.settle_forward(self.table.first_from(Probe::new(key), lsn));
    }

    /// To the last key not above (`inclusive`) or below `key`.
    pub(crate) fn seek_until(&mut self, key: &[u8], inclusive: bool) {
        let lsn = if inclusive { 0 } else { Lsn::MAX };
        self.at = self.settle_back(self.table.last_before(Probe::new(key), lsn));
    }

    /// To the next key upwards.
    pub(crate) fn forward(&mut self) {
        self.at = self.settle_forward(self.past(self.at));
    }

    /// To the next key downwards.
    pub(crate) fn back(&mut self) {
        let Some(key) = self.table.key(self.at) else { return };
        self.at = self.settle_back(self.table.last_before(Probe::new(key), Lsn::MAX));
    }

    /// The first node of the key after that of the node `at`.
    fn past(&self, at: u32) -> u32 {
        let Some(key) = self.table.key(at).map(Probe::new) else { return NIL };
        let mut next = self.table.next(at, 0);
        for _ in 0..PATIENCE {
            match self.table.node(next) {
                Some(node) if self.table.compare(next, node, key) == Ordering::Equal => {
                    next = self.table.next(next, 0);
                }
                _ => return next,
            }
        }
        self.table.first_from(key, 0)
    }

    /// From `at`, the first of some key's nodes or one past those too new, to the
    /// first node this walk may show.
    fn settle_forward(&self, mut at: u32) -> u32 {
        while let (Some(node), Some(key)) = (self.table.node(at), self.table.key(at)) {
            if node.lsn > self.lsn {
                // Too new: the version to show, or else the next key.
                at = self.table.first_from(Probe::new(key), self.lsn);
            } else if node.lsn < self.floor {
                at = self.past(at);
            } else {
                return at;
            }
        }
        NIL
    }

    /// From `at`, the oldest node of a key, down to the first key with a version
    /// this walk may show.
    fn settle_back(&self, mut at: u32) -> u32 {
        while let Some(key) = self.table.key(at).map(Probe::new) {
            let seen = self.table.first_from(key, self.lsn);
            if let Some(node) = self.table.node(seen)
                && self.table.compare(seen, node, key) == Ordering::Equal
                && node.lsn >= self.floor
            {
                return seen;
            }
            at = self.table.last_before(key, Lsn::MAX);
        }
        NIL
    }
}
