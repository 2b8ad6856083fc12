//! The way to the documents of a query.
//!
//! ```text
//! choose.rs   what each index is good for      ways.rs    all ways of a query
//! bounds.rs   what tests leave of a field      cost.rs    which of them is the cheapest
//! implied.rs  what follows from conditions     fetch.rs   keys first, then documents
//! order.rs    which order entries give         walk.rs    entries one by one
//! told.rs     conditions, for explain          ties.rs    those that are equal in the order
//! patience.rs when a walk is given up          ranges.rs  entries between many bounds
//! ```
//!
//! What must stay true:
//! * whatever way is taken, the rows are those of a scan with the whole filter, in the
//!   order of the query; what a choice rests on besides is only a guess;
//! * a wrong guess of how many entries there are costs a part of a scan: reading those
//!   of a fetch ends at a bound, and the query is a scan then. One of how rare a filter
//!   is costs a few times what the next best way does (`patience.rs`).

mod bounds;
mod choose;
mod cost;
mod fetch;
mod implied;
mod order;
mod patience;
mod ranges;
mod ties;
mod told;
mod walk;
mod ways;
#[cfg(test)]
pub(crate) mod whim;

use std::collections::BTreeSet;
use std::ops::Bound;
use std::sync::Arc;

use lsm::{Direction, KeyspaceId, Snapshot};
use proto::Key;
use proto::doc::Doc;

use super::bind::Outcome;
use super::range::{KeyRange, key_range, named_keys};
use super::rows::{Rows, Scan, Source, conditions};
use super::run::{Scope, keys_only, scan_order};
use super::work::Work;
use super::{QueryError, SelectPlan};
use crate::index::{Bounds, Index};
use choose::Chooser;
use cost::Reads;
use fetch::Fetch;
use order::{Ordered, scan_sorts};
use patience::Watched;
use ties::Entries;
use walk::{Asked, Walk};
use ways::Choosing;

/// Bounds that one index may be read between, and keys that a query may name.
const MAX_BOUNDS: usize = 4096;
/// Documents counted to judge a range of keys.
const LOOK: u64 = 128;

/// What one index is read for.
#[derive(Clone)]
pub(super) struct Part {
    pub(super) index: Arc<Index>,
    /// In order, apart from each other.
    pub(super) bounds: Vec<Bounds>,
    /// How many of its fields the bounds are of, the last one perhaps by a range.
    pub(super) fields: usize,
    /// Expected there.
    pub(super) entries: u64,
    /// They were counted.
    counted: bool,
    /// The conditions the bounds are made of, if they are to be told.
    pub(super) on: String,
}

/// Parts of indexes that together lead to all documents of a query.
#[derive(Clone)]
pub(super) struct Access {
    pub(super) parts: Vec<Part>,
    /// Entries to read at most: more of them, and a scan is better.
    most: u64,
}

/// Where rows come from.
#[derive(Clone)]
pub(super) enum Way {
    /// All documents within the range of keys.
    Scan,
    /// The number of documents, which is kept.
    Kept(u64),
    /// The documents under keys that the query names.
    Keys(BTreeSet<Key>),
    /// All entries of the parts, then their documents.
    Fetch(Access),
    /// The entries of one index, one by one; which of its fields are read off them.
    Walk { part: Part, order: Option<Ordered>, wanted: Vec<bool> },
}

/// What was chosen.
#[derive(Clone)]
pub(super) struct Choice {
    pub(super) way: Way,
    /// Whether documents are read, or entries tell enough.
    reads: Reads,
    /// Numbers of conditions that all its rows meet.
    pub(super) settled: Vec<usize>,
    /// Whether the rows of a query without groups need to be sorted.
    pub(super) sorts: bool,
    /// When a walk is given up, and what for.
    pub(super) otherwise: Option<Otherwise>,
}

/// The way taken instead of a walk whose filter proves too rare.
#[derive(Clone)]
pub(super) struct Otherwise {
    /// `None` once it is taken out.
    choice: Option<Box<Choice>>,
    /// What it is called, for explain.
    pub(super) to: &'static str,
    /// So many documents of the walk cost what it costs.
    pub(super) after: u64,
}

impl Choice {
    pub(super) fn scan(plan: &SelectPlan) -> Choice {
        let (way, settled) = (Way::Scan, Vec::new());
        let (reads, sorts) = (Reads::Documents, scan_sorts(plan));
        Choice { way, reads, settled, sorts, otherwise: None }
    }

    /// Whether rows must be tested for a condition of the filter.
    pub(super) fn tests(&self, plan: &SelectPlan) -> bool {
        let all = plan.filter.as_ref().map_or(0, |filter| conditions(filter).len());
        self.settled.len() < all
    }

    /// The conditions that rows are still tested for, if not all of the filter's.
    pub(super) fn rest(&self, plan: &SelectPlan) -> Option<String> {
        let all = plan.filter.as_ref().map_or(&[][..], conditions);
        let rest = (0..all.len()).filter(|at| !self.settled.contains(at)).collect::<Vec<_>>();
        (!self.settled.is_empty()).then(|| told::conditions(all, &rest))
    }

    /// Whether rows are sorted, be they documents or groups.
    pub(super) fn sorts_rows(&self, plan: &SelectPlan) -> bool {
        match plan.shape {
            Some(_) => scan_order(plan).is_none(),
            None => self.sorts,
        }
    }

    /// The way taken if this one is given up.
    pub(super) fn take_other(&mut self) -> Option<Choice> {
        self.otherwise.as_mut().and_then(|other| other.choice.take()).map(|other| *other)
    }

    /// The same, never given up.
    pub(super) fn for_good(&self) -> Choice {
        Choice { otherwise: None, ..self.clone() }
    }

    /// Whether its rows were tested already for what is left of the filter.
    pub(super) fn has_tested(&self) -> bool {
        self.otherwise.is_some()
    }

    /// Whether the index gives the order asked for.
    pub(super) fn orders(&self, plan: &SelectPlan) -> bool {
        matches!(self.way, Way::Walk { order: Some(_), .. }) && scan_sorts(plan) && !self.sorts
    }

    /// Whether no document is read, but where an entry does not say enough.
    pub(super) fn covers(&self) -> bool {
        self.reads != Reads::Documents
    }

    /// Whether it goes from the last to the first.
    pub(super) fn reverse(&self, plan: &SelectPlan) -> bool {
        match &self.way {
            Way::Walk { order, .. } => order.as_ref().is_some_and(|order| order.reverse),
            _ => scan_order(plan) == Some(Direction::Reverse),
        }
    }

    /// How many of its rows will be asked for.
    fn asked(&self, plan: &SelectPlan) -> Asked {
        match ends(plan).filter(|_| !self.sorts) {
            None => Asked::All,
            Some(rows) if self.tests(plan) => Asked::Tested(rows),
            Some(rows) => Asked::Most(rows),
        }
    }

    /// The rows.
    pub(super) fn open(
        self,
        scope: Scope<'_>,
        plan: &Arc<SelectPlan>,
    ) -> Result<(Source, Choice), QueryError> {
        let Scope { snapshot, keyspace, work, .. } = scope;
        let range = key_range(plan.filter.as_ref());
        let reverse = self.reverse(plan);
        let rows: Option<Source> = match &self.way {
            Way::Scan => None,
            Way::Kept(number) => Some(Box::new(Kept(*number))),
            Way::Keys(keys) => Fetch::named(snapshot, keyspace, keys, reverse, work)
                .map(|fetch| -> Source { Box::new(fetch) }),
            Way::Fetch(access) => {
                let unread = self.reads == Reads::Nothing;
                Fetch::open(snapshot, keyspace, access, unread, range, reverse, work)?
                    .map(|fetch| -> Source { Box::new(fetch) })
            }
            Way::Walk { part, order, wanted } => {
                let values = self.reads == Reads::Entries;
                let asked = self.asked(plan);
                // The entry behind the last one may say whether it is the last.
                let expected = match asked {
                    Asked::All => part.entries,
                    Asked::Most(rows) | Asked::Tested(rows) => {
                        part.entries.min(rows.saturating_add(1))
                    }
                };
                let entries =
                    Entries::open(snapshot, keyspace, plan, part, *order, values, expected)?;
                let (index, reads, wanted) = (&part.index, self.reads, wanted.clone());
                let walk = Walk::new(scope, index, entries, reads, wanted, range, asked);
                Some(match &self.otherwise {
                    Some(other) => {
                        let wanted = ends(plan).unwrap_or(u64::MAX);
                        Box::new(Watched::new(walk, plan, &self.settled, other.after, wanted))
                    }
                    None => Box::new(walk),
                })
            }
        };
        if let Some(rows) = rows {
            return Ok((rows, self));
        }
        let direction = if reverse { Direction::Reverse } else { Direction::Forward };
        let scan = Scan::open(snapshot, keyspace, range, direction, keys_only(plan))?;
        Ok((Box::new(scan), Choice::scan(plan)))
    }
}

/// After so many rows that meet its filter a query ends, if they need no sorting.
fn ends(plan: &SelectPlan) -> Option<u64> {
    let cut = plan.joined.is_none() && plan.shape.is_none();
    plan.limit.filter(|_| cut).map(|limit| limit.saturating_add(plan.skip))
}

/// No rows.
pub(super) fn nothing() -> Source {
    Box::new(Kept(0))
}

/// So many rows of which nothing is asked.
struct Kept(u64);

impl Rows for Kept {
    fn advance(&mut self, _: &Work) -> Result<bool, QueryError> {
        let some = self.0 > 0;
        self.0 = self.0.saturating_sub(1);
        Ok(some)
    }

    fn row(&mut self) -> Result<(Key, Doc<'_>), QueryError> {
        Ok((Key::MIN, Doc::empty()))
    }

    fn count(&mut self, most: u64, _: &Work) -> Result<u64, QueryError> {
        let counted = self.0.min(most);
        self.0 -= counted;
        Ok(counted)
    }
}

/// The cheapest way; `telling`: it will be told what it was chosen for.
pub(super) fn choose(
    scope: Scope<'_>,
    plan: &SelectPlan,
    telling: bool,
) -> Result<Choice, QueryError> {
    let Scope { snapshot, keyspace, indexes, work, .. } = scope;
    let range = key_range(plan.filter.as_ref());
    if range.is_empty() {
        return Ok(Choice::scan(plan));
    }
    let counts = matches!(plan.output, Outcome::Count);
    if counts && plan.filter.is_none() && plan.lookups.is_empty() && plan.shape.is_none() {
        if let Some(number) = snapshot.count_seen(keyspace)? {
            let (way, settled) = (Way::Kept(number), Vec::new());
            let (reads, sorts) = (Reads::Nothing, false);
            return Ok(Choice { way, reads, settled, sorts, otherwise: None });
        }
        return Ok(Choice::scan(plan));
    }
    let named = plan.filter.as_ref().and_then(|filter| named_keys(filter, MAX_BOUNDS));
    if indexes.is_empty() && named.is_none() {
        return Ok(Choice::scan(plan));
    }
    let chooser = Chooser::new(snapshot, indexes, work, telling);
    let mut choosing = Choosing::new(&chooser, plan, documents(snapshot, keyspace, range, work)?);
    choosing.look(named)?;
    choosing.choose()
}

/// How many documents a scan would read.
fn documents(
    snapshot: &Snapshot,
    keyspace: KeyspaceId,
    range: KeyRange,
    work: &Work,
) -> Result<u64, QueryError> {
    let all = snapshot.count(keyspace)?;
    if range == KeyRange::ALL {
        return Ok(all);
    }
    let (low, high) = (range.low.to_bytes(), range.high.to_bytes());
    let (low, high) = (Bound::Included(&low[..]), Bound::Included(&high[..]));
    let mut cursor = snapshot.range(keyspace, low, high, Direction::Forward)?;
    cursor.guesses();
    for seen in 0..LOOK {
        if !cursor.advance()? {
            return Ok(seen);
        }
        work.tick(0)?;
    }
    Ok(snapshot.count_range(keyspace, low, high)?.entries.clamp(LOOK, all.max(LOOK)))
}
