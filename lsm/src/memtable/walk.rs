//! A walk over one memtable as one LSN sees it: each key once, its newest entry
//! not above the LSN, deletes included, in either direction.
//!
//! What must stay true: entries below `floor` (the keyspace was dropped at that
//! LSN) are as if they had never been; a walk stays in a leaf with one order word
//! (ranks mean nothing in another one): what is added meanwhile is too new.

use std::sync::Arc;

use super::raw::{Anchor, Entry, Spot};
use super::table::Memtable;
use crate::Lsn;

/// What a walk shows.
#[derive(Clone, Copy)]
struct Sight {
    lsn: Lsn,
    floor: Lsn,
}

impl Sight {
    #[inline]
    fn shows(self, newest: Entry<'_>) -> Option<Entry<'_>> {
        newest.as_of(self.lsn).filter(|entry| entry.lsn() >= self.floor)
    }

    /// The first key to show from rank `rank` on.
    #[inline]
    fn up(self, mut spot: Spot<'_>, mut rank: usize) -> Option<Spot<'_>> {
        loop {
            while let Some(newest) = spot.leaf.entry(spot.order, rank) {
                if let Some(entry) = self.shows(newest) {
                    return Some(spot.at(rank, entry));
                }
                rank += 1;
            }
            (spot, rank) = (Spot::of(spot.leaf.next.load()?), 0);
            // Entries lie in the order they were written: all of the leaf are
            // fetched at once.
            spot.leaf.prefetch(spot.order);
        }
    }

    /// The last key to show below rank `rank`.
    #[inline]
    fn down(self, mut spot: Spot<'_>, mut rank: usize) -> Option<Spot<'_>> {
        loop {
            while let Some(below) = rank.checked_sub(1) {
                rank = below;
                if let Some(newest) = spot.leaf.entry(spot.order, rank)
                    && let Some(entry) = self.shows(newest)
                {
                    return Some(spot.at(rank, entry));
                }
            }
            spot = Spot::of(spot.leaf.prev.load()?);
            rank = spot.order.count();
            spot.leaf.prefetch(spot.order);
        }
    }
}

/// See the module. Starts before the first entry; place it with a method below.
pub(crate) struct Walk {
    sight: Sight,
    at: Anchor<Memtable>,
}

impl Walk {
    pub(crate) fn new(table: Arc<Memtable>, lsn: Lsn, floor: Lsn) -> Self {
        Walk { sight: Sight { lsn, floor }, at: Anchor::new(table) }
    }

    /// What is stored at the key stood on; `None` past the end.
    #[inline]
    pub(crate) fn stored(&self) -> Option<Entry<'_>> {
        self.at.entry()
    }

    /// The key stood on, or `None` past the end.
    #[inline]
    pub(crate) fn key(&self) -> Option<&[u8]> {
        self.stored().map(Entry::key)
    }

    /// The commit that wrote the entry stood on; 0 past the end.
    pub(crate) fn lsn(&self) -> Lsn {
        self.stored().map_or(0, Entry::lsn)
    }

    /// The value of the key stood on; `None` for a delete.
    #[inline]
    pub(crate) fn value(&self) -> Option<&[u8]> {
        self.stored()?.value()
    }

    /// To the first key.
    pub(crate) fn first(&mut self) {
        let sight = self.sight;
        self.at.go(|table, _| sight.up(Spot::of(table.first_leaf()?), 0));
    }

    /// To the last key.
    pub(crate) fn last(&mut self) {
        let sight = self.sight;
        self.at.go(|table, _| {
            let spot = Spot::of(table.last_leaf()?);
            sight.down(spot, spot.order.count())
        });
    }

    /// To the first key not below (`inclusive`) or above `key`.
    pub(crate) fn seek_from(&mut self, key: &[u8], inclusive: bool) {
        let sight = self.sight;
        self.at.go(|table, _| {
            let spot = Spot::of(table.leaf(key)?);
            let (rank, equal) = spot.leaf.find(spot.order, key);
            sight.up(spot, rank + usize::from(equal && !inclusive))
        });
    }

    /// To the last key not above (`inclusive`) or below `key`.
    pub(crate) fn seek_until(&mut self, key: &[u8], inclusive: bool) {
        let sight = self.sight;
        self.at.go(|table, _| {
            let spot = Spot::of(table.leaf(key)?);
            let (rank, equal) = spot.leaf.find(spot.order, key);
            sight.down(spot, rank + usize::from(equal && inclusive))
        });
    }

    /// To the next key upwards.
    #[inline]
    pub(crate) fn forward(&mut self) {
        let sight = self.sight;
        self.at.go(|_, spot| spot.and_then(|spot| sight.up(spot, spot.rank + 1)));
    }

    /// To the next key downwards.
    #[inline]
    pub(crate) fn back(&mut self) {
        let sight = self.sight;
        self.at.go(|_, spot| spot.and_then(|spot| sight.down(spot, spot.rank)));
    }
}
