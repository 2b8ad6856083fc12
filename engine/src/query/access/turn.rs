//! A walk in the order of a query that is given up for another way when its filter
//! proves rarer than was thought.
//!
//! What must stay true:
//! * the rows are those of the walk, given up or not: each way gives the documents of one
//!   snapshot in one order, in which no two are equal (those that are, by their keys), so
//!   what was given by then is passed over behind the turn;
//! * it ends: together the two ways read at most [`MOST`] times what the other one would
//!   have alone, and then that.

use std::sync::Arc;

use lsm::{KeyspaceId, Snapshot};
use proto::Key;
use proto::doc::Doc;

use super::super::rows::{Filter, Rows, Source, Which, meets_rest};
use super::super::run::Scope;
use super::super::sort::Sort;
use super::super::work::Work;
use super::super::{QueryError, SelectPlan};
use super::walk::Walk;
use super::{Choice, ends};

/// By then a walk is given up, however near its last rows seem.
const MOST: u64 = 2;

/// See the module. It tests the rows of the walk for what is left of the filter.
pub(super) struct Turn {
    snapshot: Snapshot,
    keyspace: KeyspaceId,
    plan: Arc<SelectPlan>,
    rows: From,
    /// Conditions that all rows of the walk meet.
    settled: Vec<usize>,
    patience: Patience,
}

enum From {
    Walk(Box<Walk>, Box<Choice>),
    Other(Source),
}

/// When a walk is given up.
struct Patience {
    /// Documents that cost the walk what the other way costs in all.
    enough: u64,
    /// Rows that the query ends after.
    wanted: u64,
    seen: u64,
    given: u64,
    /// Seen since the last one that was given.
    since: u64,
}

impl Patience {
    /// A document was seen.
    fn see(&mut self, given: bool) {
        self.seen += 1;
        self.since += 1;
        if given {
            (self.given, self.since) = (self.given + 1, 0);
        }
    }

    /// Whether the other way is the better one from here on: the walk has cost as much
    /// as that will, and is thought to cost more still.
    fn ends(&self) -> bool {
        if self.seen <= self.enough {
            return false;
        }
        let left = self.wanted.saturating_sub(self.given);
        // As far apart as the matches were, or as the last one is.
        let apart = match self.seen.checked_div(self.given) {
            Some(apart) => apart.max(self.since),
            None => u64::MAX,
        };
        apart.saturating_mul(left) > self.enough || self.seen > self.enough.saturating_mul(MOST)
    }
}

impl Turn {
    /// `other` is taken if the walk has not ended when it has seen `enough` documents, and
    /// is not about to.
    pub(super) fn new(
        scope: Scope<'_>,
        plan: &Arc<SelectPlan>,
        walk: Walk,
        settled: &[usize],
        other: Box<Choice>,
        enough: u64,
    ) -> Turn {
        let wanted = ends(plan).unwrap_or(u64::MAX);
        Turn {
            snapshot: scope.snapshot.clone(),
            keyspace: scope.keyspace,
            plan: Arc::clone(plan),
            rows: From::Walk(Box::new(walk), other),
            settled: settled.to_vec(),
            patience: Patience { enough, wanted, seen: 0, given: 0, since: 0 },
        }
    }

    /// The other way, in order, behind what was given.
    fn other(&self, other: Choice, work: &Work) -> Result<Source, QueryError> {
        let (snapshot, keyspace) = (&self.snapshot, self.keyspace);
        let scope = Scope { snapshot, keyspace, indexes: &[], lookups: &[], work };
        let (mut rows, choice) = other.open(scope, &self.plan)?;
        if choice.tests(&self.plan) {
            let (plan, settled) = (Arc::clone(&self.plan), choice.settled.clone());
            rows = Box::new(Filter { input: rows, plan, which: Which::Filter, settled });
        }
        if choice.sorts {
            rows = Box::new(Sort::of_documents(rows, &self.plan));
        }
        rows.count(self.patience.given, work)?;
        Ok(rows)
    }
}

impl Rows for Turn {
    fn advance(&mut self, work: &Work) -> Result<bool, QueryError> {
        loop {
            let walk = match &mut self.rows {
                From::Walk(walk, _) => walk,
                From::Other(rows) => return rows.advance(work),
            };
            if self.patience.ends() {
                let nothing: Source = Box::new(super::Kept(0));
                if let From::Walk(walk, other) =
                    std::mem::replace(&mut self.rows, From::Other(nothing))
                {
                    walk.leave(work);
                    work.turns();
                    self.rows = From::Other(self.other(*other, work)?);
                }
                continue;
            }
            if !walk.advance(work)? {
                return Ok(false);
            }
            let (key, doc) = walk.row()?;
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
        match &mut self.rows {
            From::Walk(walk, _) => walk.row(),
            From::Other(rows) => rows.row(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Documents seen of which every `apart`th is given, until the walk is given up, or
    /// all rows are there.
    fn seen(enough: u64, wanted: u64, apart: impl Fn(u64) -> bool) -> (u64, bool) {
        let mut patience = Patience { enough, wanted, seen: 0, given: 0, since: 0 };
        while patience.given < wanted {
            if patience.ends() {
                return (patience.seen, true);
            }
            patience.see(apart(patience.seen));
        }
        (patience.seen, false)
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
}
