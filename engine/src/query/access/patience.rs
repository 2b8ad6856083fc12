//! When a walk in the order of a query is given up, since its filter proves rarer than was
//! thought. What becomes of the query then: `turn.rs`.
//!
//! What must stay true: together the two ways cost at most [`MOST`] times what the other
//! one would have alone, and then that. All that a walk reads counts, entries that it
//! passes over too; it looks up from those now and then.

use std::sync::Arc;

use proto::Key;
use proto::doc::Doc;

use super::super::rows::{Rows, meets_rest};
use super::super::work::Work;
use super::super::{QueryError, SelectPlan};
use super::cost::{ENTRY, WALKED};
use super::walk::Walk;

/// By then a walk is given up, however near its last rows seem.
const MOST: u64 = 2;

/// The rows of a walk that meet what is left of the filter, up to where it is given up:
/// they end there, and [`Work::tires`] says so.
pub(super) struct Watched {
    walk: Walk,
    plan: Arc<SelectPlan>,
    /// Conditions that all rows of the walk meet.
    settled: Vec<usize>,
    patience: Patience,
}

/// When a walk is given up. Costs are those of `cost.rs`.
struct Patience {
    /// What the other way costs in all.
    enough: u64,
    /// Rows that the query ends after.
    wanted: u64,
    spent: u64,
    given: u64,
    /// What had been spent when the last row was given.
    last: u64,
}

impl Patience {
    /// The other way costs as much as so many documents of a walk.
    fn new(documents: u64, wanted: u64) -> Patience {
        let enough = documents.saturating_mul(WALKED);
        Patience { enough, wanted, spent: 0, given: 0, last: 0 }
    }

    /// A document was seen.
    fn see(&mut self, given: bool) {
        self.spent += WALKED;
        if given {
            (self.given, self.last) = (self.given + 1, self.spent);
        }
    }

    /// Entries were passed over.
    fn pass(&mut self, entries: u64) {
        self.spent += entries * ENTRY;
    }

    /// Whether the other way is the better one from here on: the walk has cost as much
    /// as that will, and is thought to cost more still.
    fn ends(&self) -> bool {
        if self.spent <= self.enough {
            return false;
        }
        let left = self.wanted.saturating_sub(self.given);
        // As far apart as the matches were, or as the last one is.
        let apart = match self.spent.checked_div(self.given) {
            Some(apart) => apart.max(self.spent - self.last),
            None => u64::MAX,
        };
        apart.saturating_mul(left) > self.enough || self.spent > self.enough.saturating_mul(MOST)
    }
}

impl Watched {
    /// It is given up if the query, which ends after so many rows, has not ended when as
    /// many documents were seen as cost what the other way does, and is not about to.
    pub(super) fn new(
        walk: Walk,
        plan: &Arc<SelectPlan>,
        settled: &[usize],
        documents: u64,
        wanted: u64,
    ) -> Watched {
        let (plan, settled) = (Arc::clone(plan), settled.to_vec());
        Watched { walk: walk.resting(), plan, settled, patience: Patience::new(documents, wanted) }
    }
}

impl Rows for Watched {
    fn advance(&mut self, work: &Work) -> Result<bool, QueryError> {
        loop {
            if self.patience.ends() {
                work.tires();
                return Ok(false);
            }
            let found = self.walk.advance(work)?;
            let (passed, rests) = self.walk.passed();
            self.patience.pass(passed);
            if !found {
                if rests {
                    continue;
                }
                return Ok(false);
            }
            let (key, doc) = self.walk.row()?;
            let filter = self.plan.filter.as_ref();
            let meets = |filter| meets_rest(filter, &self.settled, key, doc, work);
            let given = filter.map_or(Ok(true), meets)?;
            self.patience.see(given);
            if given {
                return Ok(true);
            }
        }
    }

    fn row(&mut self) -> Result<(Key, Doc<'_>), QueryError> {
        self.walk.row()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Documents seen of which every `apart`th is given, until the walk is given up, or
    /// all rows are there.
    fn seen(enough: u64, wanted: u64, apart: impl Fn(u64) -> bool) -> (u64, bool) {
        let mut patience = Patience::new(enough, wanted);
        let mut seen = 0;
        while patience.given < wanted {
            if patience.ends() {
                return (seen, true);
            }
            patience.see(apart(seen));
            seen += 1;
        }
        (seen, false)
    }

    #[test]
    fn a_walk_is_given_up_when_it_is_the_dearer_way() {
        // Nothing comes: when it has cost what the other way costs.
        assert_eq!(seen(1000, 20, |_| false), (1001, true));
        // It comes soon enough.
        assert_eq!(seen(1000, 20, |n| n % 10 == 9), (200, false));
        // At the place where it is judged, the rest is thought to cost less than the
        // other way: 2 are missing, 55 apart.
        assert_eq!(seen(1000, 20, |n| n % 55 == 54), (1100, false));
        // It is thought to cost more: 15 are missing, 200 apart.
        assert_eq!(seen(1000, 20, |n| n % 200 == 199), (1001, true));
        // All came at once but the last: it waits as long for it as the other way takes.
        assert_eq!(seen(1000, 20, |n| n < 19), (1020, true));
        // Each is near enough to wait for, but not all of them together.
        assert_eq!(seen(1000, 20, |n| n < 1000 && n % 55 == 54 || n == 1480), (2001, true));
        assert_eq!(seen(10, u64::MAX, |_| true), (11, true));
        assert_eq!(seen(0, 1, |_| false), (1, true));
    }

    #[test]
    fn entries_that_are_passed_over_cost_what_they_cost() {
        // Ten of them are as dear as a document that is read.
        let mut patience = Patience::new(1000, 20);
        patience.pass(10_000);
        assert!(!patience.ends());
        patience.pass(1);
        assert!(patience.ends());
        // Between matches too.
        let mut patience = Patience::new(1000, 2);
        patience.see(true);
        patience.pass(9_990);
        assert!(!patience.ends());
        patience.pass(1);
        assert!(patience.ends());
    }
}
