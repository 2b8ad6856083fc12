//! The entries of an index between many bounds, by one cursor.
//!
//! What must stay true: each entry between one of the bounds comes once, in the direction
//! of the walk. The bounds are in order and apart from each other; from one to the next
//! the cursor is placed anew only if the entry it stands on lies before it.

use std::ops::Bound;

use lsm::{Cursor, Direction, Snapshot};

use super::super::QueryError;
use crate::index::{Bounds, Index};

/// See the module.
pub(super) struct Ranges {
    cursor: Option<Cursor>,
    reverse: bool,
    /// In the direction of the walk.
    bounds: Vec<Bounds>,
    /// Which of them the cursor is in.
    at: usize,
}

impl Ranges {
    /// `expected`: about so many entries will be asked for.
    pub(super) fn open(
        snapshot: &Snapshot,
        index: &Index,
        bounds: &[Bounds],
        reverse: bool,
        expected: u64,
    ) -> Result<Ranges, QueryError> {
        let cursor = match (bounds.first(), bounds.last()) {
            (Some(first), Some(last)) => {
                let low = first.low.as_ref().map(Vec::as_slice);
                let high = last.high.as_ref().map(Vec::as_slice);
                let direction = if reverse { Direction::Reverse } else { Direction::Forward };
                let mut cursor = snapshot.range(index.keyspace, low, high, direction)?;
                // Between many bounds most of a block would be passed over.
                if bounds.len() == 1 {
                    cursor.expect(expected);
                }
                Some(cursor)
            }
            _ => None,
        };
        let mut bounds = bounds.to_vec();
        if reverse {
            bounds.reverse();
        }
        Ok(Ranges { cursor, reverse, bounds, at: 0 })
    }

    /// Moves to the next entry; `false` at the end.
    pub(super) fn advance(&mut self) -> Result<bool, QueryError> {
        let Some(cursor) = &mut self.cursor else { return Ok(false) };
        while cursor.advance()? {
            if self.bounds.len() == 1 {
                // They are the cursor's.
                return Ok(true);
            }
            let key = cursor.key();
            let beyond = |bounds: &Bounds| match self.reverse {
                false => above(key, bounds),
                true => below(key, bounds),
            };
            let left = self.bounds[self.at..].iter().take_while(|bounds| beyond(bounds)).count();
            self.at += left;
            let Some(bounds) = self.bounds.get(self.at) else { break };
            if !above(key, bounds) && !below(key, bounds) {
                return Ok(true);
            }
            // Between two of them.
            let start = match (&bounds.low, &bounds.high) {
                (Bound::Included(low) | Bound::Excluded(low), _) if !self.reverse => low,
                (_, Bound::Included(high) | Bound::Excluded(high)) if self.reverse => high,
                // Nothing lies before what has no beginning.
                _ => continue,
            };
            if left > 0 {
                cursor.seek(start)?;
            }
        }
        self.cursor = None;
        Ok(false)
    }

    /// The number of the bounds it is in.
    pub(super) fn number(&self) -> usize {
        self.at
    }

    /// The bounds it is in.
    pub(super) fn within(&self) -> &Bounds {
        self.bounds.get(self.at).unwrap_or(&Bounds::ALL)
    }

    /// The cursor, on the entry moved to.
    pub(super) fn cursor(&mut self) -> Option<&mut Cursor> {
        self.cursor.as_mut()
    }

    /// Goes on behind all entries between bounds that lie in those it is in.
    pub(super) fn leave(&mut self, bounds: &Bounds) -> Result<(), QueryError> {
        let end = match (self.reverse, &bounds.low, &bounds.high) {
            (false, _, Bound::Excluded(high)) => Some(high),
            (true, Bound::Included(low), _) => Some(low),
            _ => None,
        };
        if let (Some(end), Some(cursor)) = (end, &mut self.cursor) {
            cursor.seek(end)?;
        } else {
            self.cursor = None;
        }
        Ok(())
    }
}

fn below(key: &[u8], bounds: &Bounds) -> bool {
    match &bounds.low {
        Bound::Included(low) => key < low.as_slice(),
        Bound::Excluded(low) => key <= low.as_slice(),
        Bound::Unbounded => false,
    }
}

fn above(key: &[u8], bounds: &Bounds) -> bool {
    match &bounds.high {
        Bound::Included(high) => key > high.as_slice(),
        Bound::Excluded(high) => key >= high.as_slice(),
        Bound::Unbounded => false,
    }
}
