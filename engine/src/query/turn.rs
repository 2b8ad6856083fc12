//! A query whose walk is given up goes on by the next best way.
//!
//! What must stay true:
//! * the rows are those of the walk, given up or not: each way gives the documents of one
//!   snapshot in one order, in which no two are equal (those that are, by their keys). So
//!   the other way's operators are made as if it had been taken at first, and as many
//!   rows are passed over as were given;
//! * giving up is never why a query is refused that either way alone would carry out. What
//!   the walk and the operators behind it hold is given back before the other way begins.
//!   If that is refused all the same before its first row (the walk needs no room to
//!   sort), the query goes on by the walk, begun anew, to its end.

use std::sync::Arc;

use lsm::{KeyspaceId, Snapshot};
use proto::doc::Doc;
use proto::{Key, Status};

use super::access::{Choice, nothing};
use super::foreign::Foreign;
use super::rows::{Rows, Source};
use super::run::{Scope, along};
use super::work::{Held, Work};
use super::{QueryError, SelectPlan};

/// See the module. All operators of the query are behind it.
pub(super) struct Turn {
    snapshot: Snapshot,
    keyspace: KeyspaceId,
    lookups: Vec<Foreign>,
    plan: Arc<SelectPlan>,
    rows: Source,
    /// What they have taken of the query's budget, and not given back.
    held: Held,
    given: u64,
    /// The walk, never given up, and the other way; `None` once it was given up.
    ways: Option<(Choice, Choice)>,
}

impl Turn {
    /// `rows` are those of `walk`, which may be given up for `other`.
    pub(super) fn new(
        scope: Scope<'_>,
        plan: &Arc<SelectPlan>,
        rows: Source,
        walk: Choice,
        other: Choice,
    ) -> Turn {
        Turn {
            snapshot: scope.snapshot.clone(),
            keyspace: scope.keyspace,
            lookups: scope.lookups.to_vec(),
            plan: Arc::clone(plan),
            rows,
            held: Held::default(),
            given: 0,
            ways: Some((walk, other)),
        }
    }

    /// A step of the operators; what it takes and gives back is theirs.
    fn step<T>(&mut self, work: &Work, step: impl FnOnce(&mut Turn) -> T) -> T {
        let before = work.held();
        let outcome = step(self);
        let (after, held) = (work.held(), &mut self.held);
        held.memory = (held.memory + after.memory).saturating_sub(before.memory);
        held.disk = (held.disk + after.disk).saturating_sub(before.disk);
        outcome
    }

    /// Goes on by this way: to the first row behind those that were given.
    fn go_on(&mut self, choice: Choice, work: &Work) -> Result<bool, QueryError> {
        self.rows = nothing();
        let held = std::mem::take(&mut self.held);
        work.give_back(usize::try_from(held.memory).unwrap_or(usize::MAX));
        work.give_back_disk(held.disk);
        self.step(work, |turn| {
            let (snapshot, keyspace) = (&turn.snapshot, turn.keyspace);
            let scope = Scope { snapshot, keyspace, indexes: &[], lookups: &turn.lookups, work };
            (turn.rows, _) = along(scope, &turn.plan, choice)?;
            turn.rows.count(turn.given, work)?;
            turn.rows.advance(work)
        })
    }

    /// Gives the walk up; back to it, if the other way is refused.
    fn turn(&mut self, (walk, other): (Choice, Choice), work: &Work) -> Result<bool, QueryError> {
        match self.go_on(other, work) {
            // Time is over for the walk too; damage is to be told.
            Err(QueryError::Refused(status, _))
                if !matches!(status, Status::Timeout | Status::Corrupt) =>
            {
                self.go_on(walk, work)
            }
            found => {
                work.turns();
                found
            }
        }
    }
}

impl Rows for Turn {
    fn advance(&mut self, work: &Work) -> Result<bool, QueryError> {
        if self.plan.limit.is_some_and(|limit| self.given >= limit) {
            return Ok(false);
        }
        let mut found = self.step(work, |turn| turn.rows.advance(work))?;
        if !found
            && work.is_tired()
            && let Some(ways) = self.ways.take()
        {
            found = self.turn(ways, work)?;
        }
        self.given += u64::from(found);
        Ok(found)
    }

    fn row(&mut self) -> Result<(Key, Doc<'_>), QueryError> {
        self.rows.row()
    }
}
