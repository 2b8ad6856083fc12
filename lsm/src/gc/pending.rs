//! Records that a flush or a collection in progress has made durable, and that no tree
//! names yet.
//!
//! What must stay true: a commit whose tail takes such a record in counts it dead in the
//! table (`segments.rs`), and the one that names it takes that back. Meanwhile it is no
//! garbage: wherever garbage is judged, told, or held against readers, it is left out. A
//! record is here from its sync on until a commit names it, or it is given up.

use std::collections::BTreeMap;

use vlog::{Pointer, Tail};

use crate::segments::Row;

/// Bytes of them, by segment. See the module.
#[derive(Default)]
pub(crate) struct Pending {
    /// Within the committed tail.
    within: BTreeMap<u32, u64>,
    /// Behind it.
    beyond: BTreeMap<u32, u64>,
}

fn take(of: &mut BTreeMap<u32, u64>, segment: u32, bytes: u64) {
    if let Some(there) = of.get_mut(&segment) {
        *there = there.saturating_sub(bytes);
        if *there == 0 {
            of.remove(&segment);
        }
    }
}

impl Pending {
    /// A record is durable.
    pub(crate) fn wrote(&mut self, at: Pointer) {
        *self.beyond.entry(at.segment).or_default() += u64::from(at.len);
    }

    /// A commit moved the tail, behind all that is durable.
    pub(super) fn taken_in(&mut self) {
        for (segment, bytes) in std::mem::take(&mut self.beyond) {
            *self.within.entry(segment).or_default() += bytes;
        }
    }

    /// The commit names so many bytes of a segment.
    pub(super) fn named(&mut self, segment: u32, bytes: u64) {
        take(&mut self.within, segment, bytes);
    }

    /// Nobody will name a record.
    pub(super) fn given_up(&mut self, at: Pointer, tail: Tail) {
        let within = (at.segment, at.offset) < (tail.segment, tail.len);
        let of = if within { &mut self.within } else { &mut self.beyond };
        take(of, at.segment, u64::from(at.len));
    }

    /// A row of the table, without what only waits.
    pub(super) fn without(&self, segment: u32, row: Row) -> Row {
        let waits = self.within.get(&segment).copied().unwrap_or(0);
        Row { dead: row.dead.saturating_sub(waits), ..row }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Bar, Collector};
    use super::*;

    const TAIL: Tail = Tail { segment: 3, len: 500 };

    fn at(segment: u32, offset: u64, len: u32) -> Pointer {
        Pointer { segment, len, offset }
    }

    fn collector() -> Collector {
        let row = |bytes, dead| Row { bytes, dead, cleared: 0 };
        // Of segment 2 all, of segment 3 a half was taken in by somebody's tail.
        let rows = BTreeMap::from([(1, row(1000, 200)), (2, row(400, 400)), (3, row(400, 250))]);
        let there = [1, 2, 3].map(|id| vlog::SegmentInfo { id, bytes: 1000, sealed: id < 3 });
        let mut collector = Collector::new(rows, Tail::EMPTY, &there, 7);
        collector.tail = TAIL;
        for at in [at(2, 32, 400), at(3, 32, 200)] {
            collector.pending.wrote(at);
        }
        collector
    }

    #[test]
    fn what_waits_is_no_garbage() {
        let mut of = collector();
        // Before a tail has taken them in they are in no row.
        assert_eq!(of.totals(), (1400, 450));
        of.pending.taken_in();
        of.note_retired(7);
        // then: the second segment is alive, and neither is over a bar of 20.
        assert_eq!(of.totals(), (1800, 250));
        assert_eq!(of.victim(Bar { segment: 20, all: 14 }, u32::MAX), None);
        assert_eq!(of.victim(Bar { segment: 20, all: 13 }, u32::MAX), Some(1));
        assert!(of.retired.is_empty());
        // One that is named counts as before, and is no garbage;
        of.pending.named(3, 200);
        of.rows.insert(3, Row { bytes: 400, dead: 50, cleared: 0 });
        assert_eq!(of.totals(), (1800, 250));
        // one that is given up is.
        of.give_up([at(2, 32, 400)], 8);
        assert_eq!(of.totals(), (1400, 250));
        assert_eq!(of.retired, BTreeMap::from([(2, 8)]));
        assert!(of.pending.within.is_empty() && of.pending.beyond.is_empty());
    }

    #[test]
    fn what_is_given_up_behind_the_tail_is_dead_once_that_takes_it_in() {
        let mut of = collector();
        of.pending.wrote(at(3, 500, 100));
        of.give_up([at(3, 500, 100)], 7);
        of.pending.taken_in();
        let row = Row { bytes: 500, dead: 350, cleared: 0 };
        assert_eq!(of.pending.without(3, row).dead, 150);
    }
}
