//! Which entries of which indexes lead to the documents of a query.
//!
//! What must stay true:
//! * every document that meets the filter has an entry within the bounds chosen. That
//!   rests on "a document meets a test of one field exactly if one of its entries has
//!   a value there that meets it, or that was cut" (`index/entry.rs`). So of several
//!   tests of one field only one narrows, unless no document has an array there;
//! * a condition is left out of the filter only if every entry within the bounds is of
//!   a document that meets it; the others are tested on each row;
//! * an index that leaves out documents is used only if the query cannot mean them;
//! * choosing is bounded, and meets the deadline and a cancellation as reading does.

use std::cell::Cell;
use std::cmp::Ordering;
use std::sync::Arc;

use lsm::Snapshot;
use proto::doc::Value;
use proto::order::compare;

use super::super::QueryError;
use super::super::predicate::{Predicate, Test};
use super::super::rows::conditions;
use super::super::work::Work;
use super::bounds::{Range, narrower, points, sorted, test};
use super::implied::implies;
use super::order::Pin;
use super::{Access, MAX_BOUNDS, Part, told};
use crate::index::{Bounds, Index};
use crate::pql::ast::Path;

/// Branches of an `or` that indexes may lead to, and their parts together.
const MAX_BRANCHES: usize = 64;
/// Ranges of one field that narrow its bounds.
const MAX_RANGES: usize = 16;
/// Entries counted one by one to judge a choice.
const LOOK: u64 = 128;
/// Bounds of one part that are looked at; the others are thought to be like them.
const SAMPLE: usize = 32;
/// A choice this good is not compared with others.
pub(super) const FEW: u64 = 8;
/// Bounds that are looked at to choose for one query; then it is the best way so far.
const LOOKS: u32 = 512;
/// What one look costs of [`Work::tick`], in bytes.
const LOOK_BYTES: usize = 4 << 10;

/// What one index is good for.
pub(super) struct Draft {
    pub(super) part: Part,
    pub(super) pins: Vec<Pin>,
    /// Numbers of conditions that need no test.
    pub(super) settled: Vec<usize>,
    /// Values that the bounds are of were cut.
    pub(super) cut: bool,
    /// Whether no document has an array at one of the fields; `None`: nobody asked.
    pub(super) single: Option<bool>,
}

/// What choosing needs, and how much of it is left.
pub(super) struct Chooser<'q> {
    pub(super) snapshot: &'q Snapshot,
    pub(super) indexes: &'q [Arc<Index>],
    pub(super) work: &'q Work,
    /// Whether what is chosen is told.
    pub(super) telling: bool,
    pub(super) looks: Cell<u32>,
}

impl<'q> Chooser<'q> {
    pub(super) fn new(
        snapshot: &'q Snapshot,
        indexes: &'q [Arc<Index>],
        work: &'q Work,
        telling: bool,
    ) -> Chooser<'q> {
        Chooser { snapshot, indexes, work, telling, looks: Cell::new(LOOKS) }
    }

    /// Whether so many more looks into an index may be taken.
    fn may_look(&self, looks: usize) -> Result<bool, QueryError> {
        let left = u32::try_from(looks).ok().and_then(|looks| self.looks.get().checked_sub(looks));
        let Some(left) = left else { return Ok(false) };
        self.looks.set(left);
        for _ in 0..looks {
            self.work.tick(LOOK_BYTES)?;
        }
        Ok(true)
    }

    /// Whether it is known that no document has an array at a field of the index.
    pub(super) fn single(
        &self,
        index: &Index,
        known: &mut Option<bool>,
    ) -> Result<bool, QueryError> {
        if known.is_none() && self.may_look(1)? {
            *known = Some(!index.has_arrays(self.snapshot).map_err(QueryError::from_refusal)?);
        }
        Ok(*known == Some(true))
    }

    /// The union of ways by which an `or` leads to its documents; and whether it leads
    /// to no others.
    pub(super) fn union(&self, any: &[Predicate]) -> Result<Option<(Access, bool)>, QueryError> {
        // Each branch has one part at least.
        if any.len() > MAX_BRANCHES {
            return Ok(None);
        }
        let (mut parts, mut exact) = (Vec::new(), true);
        for branch in any {
            let all = conditions(branch);
            let mut best: Option<(Vec<Part>, bool)> = None;
            for index in self.indexes {
                if let Some(mut draft) = self.draft(index, all, false)?
                    && self.estimate(&mut draft.part)?
                {
                    let settles = draft.settled.len() == all.len();
                    consider(&mut best, vec![draft.part], settles);
                }
                if best.as_ref().is_some_and(|(parts, _)| entries(parts) <= FEW) {
                    break;
                }
            }
            if best.as_ref().is_none_or(|(parts, _)| entries(parts) > FEW) {
                for condition in all {
                    if let Predicate::Or(inner) = condition
                        && let Some((access, settles)) = self.union(inner)?
                    {
                        consider(&mut best, access.parts, settles && all.len() == 1);
                    }
                }
            }
            match best {
                Some((more, settles)) if parts.len() + more.len() <= MAX_BRANCHES => {
                    parts.extend(more);
                    exact &= settles;
                }
                _ => return Ok(None),
            }
        }
        Ok(Some((Access { parts, most: 0 }, exact)))
    }

    /// What conditions, all of which must hold, leave of an index, its entries not yet
    /// counted. With `whole` it may be all of it.
    pub(super) fn draft(
        &self,
        index: &Arc<Index>,
        all: &[Predicate],
        whole: bool,
    ) -> Result<Option<Draft>, QueryError> {
        // Each of its fields is looked for in all conditions.
        self.work.tick(all.len().saturating_mul(64))?;
        let definition = &index.definition;
        if !index.is_ready() || !has_all(index, all) {
            return Ok(None);
        }
        let mut single = None;
        let mut pins = Vec::new();
        let mut used = Vec::new();
        let mut settled = Vec::new();
        // The values of the first fields, each list one way to meet the conditions.
        let mut ways: Vec<Vec<Option<Value<'_>>>> = vec![vec![]];
        let mut pointed = Vec::new();
        let mut ranges: Vec<Range> = Vec::new();
        for field in &definition.fields {
            if let Some((at, mut values)) = fewest(all, &field.path) {
                // Other tests of the field choose among the values, if it has but one.
                let others = of_field(all, &field.path).filter(|(other, ..)| *other != at);
                let others: Vec<_> = others.collect();
                if !others.is_empty() && self.single(index, &mut single)? {
                    for (other, test, holds) in others {
                        values.retain(|value| value.is_some_and(|v| test.holds(v)) == holds);
                        settled.push(other);
                    }
                }
                if ways.len().saturating_mul(values.len()) <= MAX_BOUNDS {
                    self.work.tick(ways.len().saturating_mul(values.len()).saturating_mul(64))?;
                    pins.push(if values.len() == 1 { Pin::One } else { Pin::Many });
                    used.push(at);
                    pointed.push(at);
                    ways = product(&ways, &values);
                    continue;
                }
                settled.retain(|settled| all_but(all, *settled, &field.path));
            }
            let mut tests = of_field(all, &field.path)
                .filter(|(.., holds)| *holds)
                .filter_map(|(at, test, _)| Some((at, test, Range::of(index, test)?)))
                .take(MAX_RANGES)
                .collect::<Vec<_>>();
            // That it is there says least, and follows from the others.
            tests.sort_by_key(|(_, test, _)| matches!(test, Test::Exists));
            if tests.len() > 1 && !self.single(index, &mut single)? {
                let exists = tests[1..].iter().filter(|(_, test, _)| matches!(test, Test::Exists));
                settled.extend(exists.map(|(at, ..)| *at));
                tests.truncate(1);
            }
            for (at, _, range) in tests {
                used.push(at);
                if range.exact {
                    settled.push(at);
                }
                ranges.push(if field.descending { range.downwards() } else { range });
            }
            if !ranges.is_empty() {
                pins.push(Pin::Range);
            }
            break;
        }
        if pins.is_empty() && !whole {
            return Ok(None);
        }
        let mut cut = false;
        let mut bounds = Vec::with_capacity(ways.len());
        for way in &ways {
            let prefix = index.prefix(way);
            cut |= prefix.cut;
            let within = ranges.iter().map(|range| range.bounds(&prefix.bytes));
            let within = within.reduce(|a, b| narrower(&a, &b));
            bounds.push(within.unwrap_or_else(|| match prefix.bytes.is_empty() {
                true => Bounds::ALL,
                false => Bounds::of(&prefix.bytes),
            }));
        }
        if !cut {
            settled.extend(pointed);
        }
        if let Some(filter) = &definition.filter {
            // Only documents that meet its filter are there.
            let own = conditions(&filter.predicate);
            let met = |at: &usize| own.iter().any(|own| implies(own, &all[*at]));
            settled.extend((0..all.len()).filter(met));
        }
        settled.sort_unstable();
        settled.dedup();
        let bounds = sorted(bounds);
        let on = if self.telling { told::conditions(all, &used) } else { String::new() };
        let (index, fields) = (Arc::clone(index), pins.len());
        let part = Part { index, bounds, fields, entries: u64::MAX, counted: false, on };
        Ok(Some(Draft { part, pins, settled, cut, single }))
    }

    /// Finds out how many entries are expected within the bounds of a part, and whether
    /// that is their number; `false`: too much was looked at already.
    pub(super) fn estimate(&self, part: &mut Part) -> Result<bool, QueryError> {
        let Part { index, bounds, .. } = &*part;
        let step = bounds.len().div_ceil(SAMPLE).max(1);
        let sample = bounds.iter().step_by(step);
        if !self.may_look(sample.len())? {
            return Ok(false);
        }
        let (mut entries, mut counted) = (0u64, step == 1);
        let looked = sample.len().max(1) as u64;
        for bounds in sample {
            let estimate = index.estimate(self.snapshot, bounds, LOOK);
            let estimate = estimate.map_err(QueryError::from_refusal)?;
            entries = entries.saturating_add(estimate.entries);
            counted &= estimate.exact;
        }
        if step > 1 {
            entries = entries.saturating_mul(bounds.len() as u64).div_ceil(looked);
        }
        (part.entries, part.counted) = (entries, counted);
        Ok(true)
    }
}

pub(super) fn entries(parts: &[Part]) -> u64 {
    parts.iter().fold(0, |all, part| all.saturating_add(part.entries))
}

/// Fewer entries; among equals what settles all, then what uses more fields.
fn consider(best: &mut Option<(Vec<Part>, bool)>, parts: Vec<Part>, settles: bool) {
    let rank = |parts: &[Part], settles: bool| {
        let fields = parts.iter().map(|part| part.fields).min();
        (entries(parts), !settles, std::cmp::Reverse(fields))
    };
    let better =
        |(other, settled): &(Vec<Part>, bool)| rank(&parts, settles) < rank(other, *settled);
    if best.as_ref().is_none_or(better) {
        *best = Some((parts, settles));
    }
}

/// Whether every document the conditions can mean is in the index.
fn has_all(index: &Index, all: &[Predicate]) -> bool {
    let meets = |wanted: &Predicate| all.iter().any(|condition| implies(condition, wanted));
    let definition = &index.definition;
    let partial = definition.filter.as_ref();
    let implied = partial.is_none_or(|f| conditions(&f.predicate).iter().all(meets));
    // A sparse index lacks documents that have none of its fields.
    let there = |path: &str| meets(&Predicate::Field(Path(path.to_owned()), Test::Exists));
    implied && (!definition.sparse || definition.fields.iter().any(|f| there(&f.path)))
}

/// The condition that leaves the fewest values of a field, and those, each once, in order.
fn fewest<'p>(all: &'p [Predicate], path: &str) -> Option<(usize, Vec<Option<Value<'p>>>)> {
    let lists = all.iter().enumerate().filter_map(|(at, p)| Some((at, points(p, path)?)));
    let (at, mut values) = lists.min_by_key(|(_, values)| values.len())?;
    values.sort_by(|a, b| compare(*a, *b));
    values.dedup_by(|a, b| compare(*a, *b) == Ordering::Equal);
    Some((at, values))
}

/// The tests of one field: their numbers, and whether they must hold or must not.
fn of_field<'p>(all: &'p [Predicate], path: &str) -> impl Iterator<Item = (usize, &'p Test, bool)> {
    all.iter().enumerate().filter_map(move |(at, predicate)| match predicate {
        Predicate::Not(inner) => Some((at, test(inner, path)?, false)),
        predicate => Some((at, test(predicate, path)?, true)),
    })
}

/// Whether a condition is none of this field.
fn all_but(all: &[Predicate], at: usize, path: &str) -> bool {
    of_field(all, path).all(|(other, ..)| other != at)
}

/// Every way with every value behind it.
fn product<'v>(
    ways: &[Vec<Option<Value<'v>>>],
    values: &[Option<Value<'v>>],
) -> Vec<Vec<Option<Value<'v>>>> {
    let mut longer = Vec::with_capacity(ways.len() * values.len());
    for way in ways {
        for value in values {
            let mut way = way.clone();
            way.push(*value);
            longer.push(way);
        }
    }
    longer
}
