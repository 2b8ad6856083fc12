//! Groups and their figures.
//!
//! What must stay true: values that are equal in the order of `orderBy` (1 and
//! 1.0) make one group, shown as the document with the lowest key has it, in whatever
//! order the documents come; the groups come out in that order of values, whether they
//! were held in memory or spilled; memory is counted.
//!
//! ```text
//! spilled group   | lowest key: 16 bytes | values: document "0", "1", .. of those that
//!                 | are there | figure* |
//! figure          count: u64 | sum: see number.rs | avg: sum, u64
//!                 min, max: 0, or 1, the key it is of, and the document {"": value}
//! ```

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::Arc;

use proto::doc::{Doc, DocBuf, EMPTY, Value, ValueBuf};
use proto::{Key, Status, order};

use super::number::{SUM_BYTES, Sum};
use super::owned::Owned;
use super::rows::{KeyText, Rows, Source};
use super::spill::{Merge, Runs};
use super::work::Work;
use super::{QueryError, SelectPlan, field};
use crate::pql::ast::{Aggregate, Function, Path, Shape};

/// Bytes a group takes beside its key, values and figures.
const OVERHEAD: usize = 96;

/// A row for each group of the rows of another operator.
pub(super) struct Groups {
    input: Option<Source>,
    plan: Arc<SelectPlan>,
    groups: BTreeMap<Vec<u8>, Group>,
    /// Bytes the groups take of the budget; each gives back its share.
    held: usize,
    runs: Runs,
    scratch: Vec<u8>,
    out: Out,
    row: Vec<u8>,
    number: u128,
}

enum Out {
    Memory(std::collections::btree_map::IntoIter<Vec<u8>, Group>),
    /// The groups on disk, and the first one that was not given yet.
    Disk(Box<Merge>, Option<(Vec<u8>, Group)>),
}

struct Group {
    /// Of the document that the values are of.
    first: Key,
    values: Vec<Option<ValueBuf>>,
    figures: Vec<Figure>,
}

fn shape(plan: &SelectPlan) -> (&[Path], &[Aggregate], bool) {
    match &plan.shape {
        Some(shape) => (shape.by(), shape.aggregates(), matches!(shape, Shape::Distinct(_))),
        None => (&[], &[], false),
    }
}

fn empty_group(aggregates: &[Aggregate], first: Key, values: Vec<Option<ValueBuf>>) -> Group {
    let figures = aggregates.iter().map(|a| Figure::new(a.function)).collect();
    Group { first, values, figures }
}

impl Groups {
    pub(super) fn new(input: Source, plan: &Arc<SelectPlan>) -> Self {
        let mut groups = BTreeMap::new();
        let (by, aggregates, _) = shape(plan);
        if by.is_empty() {
            // Figures of everything exist even when there is nothing.
            groups.insert(Vec::new(), empty_group(aggregates, Key::MIN, vec![]));
        }
        Groups {
            input: Some(input),
            plan: Arc::clone(plan),
            groups,
            held: 0,
            runs: Runs::default(),
            scratch: Vec::new(),
            out: Out::Memory(BTreeMap::new().into_iter()),
            row: EMPTY.to_vec(),
            number: 0,
        }
    }

    fn fill(&mut self, mut input: Source, work: &Work) -> Result<(), QueryError> {
        while input.advance(work)? {
            let (key, doc) = input.row()?;
            self.add(key, doc, work)?;
        }
        if self.runs.is_empty() {
            self.out = Out::Memory(std::mem::take(&mut self.groups).into_iter());
            return Ok(());
        }
        self.spill(work)?;
        let mut merge = std::mem::take(&mut self.runs).merge()?;
        let first = decode_next(&mut merge, &self.plan, work)?;
        self.out = Out::Disk(Box::new(merge), first);
        Ok(())
    }

    fn add(&mut self, key: Key, doc: Doc<'_>, work: &Work) -> Result<(), QueryError> {
        let plan = Arc::clone(&self.plan);
        let (by, aggregates, distinct) = shape(&plan);
        let wants_key = by.iter().any(Path::is_key)
            || aggregates.iter().any(|a| a.path.as_ref().is_some_and(Path::is_key));
        let text = KeyText::of(key, wants_key);
        self.scratch.clear();
        let mut there = false;
        for path in by {
            let value = field(path, text.get(), doc);
            there |= value.is_some();
            order::order_key(value, &mut self.scratch);
        }
        if distinct && !there {
            return Ok(());
        }
        let values = || -> Result<Vec<_>, QueryError> {
            let value = |path| field(path, text.get(), doc).map(ValueBuf::new).transpose();
            let values = by.iter().map(value).collect::<Result<_, _>>();
            values.map_err(|e| QueryError::document(key, &e))
        };
        let mut grown = 0;
        match self.groups.get_mut(&self.scratch) {
            None => {
                let values = values()?;
                let mut size = OVERHEAD + self.scratch.len() + values_size(&values);
                size += aggregates.len() * size_of::<Figure>();
                self.make_room(size, work)?;
                self.groups.insert(self.scratch.clone(), empty_group(aggregates, key, values));
            }
            Some(group) if key < group.first => {
                let before = values_size(&group.values);
                (group.first, group.values) = (key, values()?);
                grown += values_size(&group.values).saturating_sub(before);
            }
            Some(_) => {}
        }
        // Extremes may need room of their own; it is taken before the group is held,
        // since making it may move all groups to disk.
        let Some(group) = self.groups.get_mut(&self.scratch) else { return Ok(()) };
        for (aggregate, figure) in aggregates.iter().zip(&mut group.figures) {
            match &aggregate.path {
                None => figure.count(),
                Some(path) => grown += figure.add(field(path, text.get(), doc), key)?,
            }
        }
        if grown > 0 {
            self.make_room(grown, work)?;
        }
        Ok(())
    }

    /// Takes bytes of memory, moving the groups to disk if there is no other way.
    fn make_room(&mut self, bytes: usize, work: &Work) -> Result<(), QueryError> {
        if !work.try_take(bytes) {
            self.spill(work)?;
            work.take(bytes, "group")?;
        }
        self.held += bytes;
        Ok(())
    }

    fn spill(&mut self, work: &Work) -> Result<(), QueryError> {
        let groups = std::mem::take(&mut self.groups);
        if groups.is_empty() {
            return Ok(());
        }
        // One at a time, and each goes when it is written: beside the groups, which are
        // counted, one of them is held encoded.
        self.runs.add_by(work, "group", |push| {
            let mut payload = Vec::new();
            for (sort, group) in groups {
                payload.clear();
                group.encode(&mut payload)?;
                push(&sort, 0, &payload)?;
            }
            Ok(())
        })?;
        work.give_back(std::mem::take(&mut self.held));
        Ok(())
    }

    fn next(&mut self, work: &Work) -> Result<Option<Group>, QueryError> {
        match &mut self.out {
            Out::Memory(groups) => {
                let share = self.held / groups.len().max(1);
                self.held -= share;
                work.give_back(share);
                Ok(groups.next().map(|(_, group)| group))
            }
            Out::Disk(merge, first) => {
                let Some((sort, mut group)) = first.take() else { return Ok(None) };
                loop {
                    match decode_next(merge, &self.plan, work)? {
                        Some((same, more)) if same == sort => group.merge(more)?,
                        other => {
                            *first = other;
                            return Ok(Some(group));
                        }
                    }
                }
            }
        }
    }
}

impl Rows for Groups {
    fn advance(&mut self, work: &Work) -> Result<bool, QueryError> {
        if let Some(input) = self.input.take() {
            self.fill(input, work)?;
        } else {
            self.number += 1;
        }
        work.tick(0)?;
        let Some(group) = self.next(work)? else { return Ok(false) };
        let (by, aggregates, _) = shape(&self.plan);
        let mut room = std::mem::take(&mut self.row);
        room.clear();
        let mut row = DocBuf::within(room);
        for (path, value) in by.iter().zip(&group.values) {
            if let Some(value) = value {
                row.push(&path.0, value);
            }
        }
        for (aggregate, figure) in aggregates.iter().zip(&group.figures) {
            figure.write(&aggregate.alias, &mut row);
        }
        self.row = row.finish().map_err(|e| {
            QueryError::bad(format!("a group cannot be shown: {e}; use other aliases"))
        })?;
        Ok(true)
    }

    /// Groups have no key: their number decides between equals.
    fn row(&mut self) -> Result<(Key, Doc<'_>), QueryError> {
        Ok((Key(self.number), Doc::trusted(&self.row)))
    }
}

/// Bytes the values of a group take.
fn values_size(values: &[Option<ValueBuf>]) -> usize {
    let size = |value: &Option<ValueBuf>| value.as_ref().map_or(0, ValueBuf::size);
    values.iter().map(|value| size_of::<Option<ValueBuf>>() + size(value)).sum()
}

fn decode_next(
    merge: &mut Merge,
    plan: &SelectPlan,
    work: &Work,
) -> Result<Option<(Vec<u8>, Group)>, QueryError> {
    let (by, aggregates, _) = shape(plan);
    let Some(entry) = merge.next(work)? else { return Ok(None) };
    let group = Group::decode(entry.payload, by.len(), aggregates).ok_or_else(|| {
        let message = "a spilled group cannot be read; please report this".to_owned();
        QueryError::Refused(Status::Internal, message)
    })?;
    Ok(Some((entry.sort.to_vec(), group)))
}

impl Group {
    fn encode(&self, out: &mut Vec<u8>) -> Result<(), QueryError> {
        out.extend_from_slice(&self.first.to_bytes());
        let mut values = DocBuf::new();
        for (number, value) in self.values.iter().enumerate() {
            if let Some(value) = value {
                values.push(&number.to_string(), value);
            }
        }
        let values = values.finish().map_err(|e| QueryError::bad(format!("a group: {e}")))?;
        out.extend_from_slice(&values);
        self.figures.iter().try_for_each(|figure| figure.encode(out))
    }

    fn decode(bytes: &[u8], by: usize, aggregates: &[Aggregate]) -> Option<Group> {
        let mut rest = bytes;
        let first = Key::from_bytes(take(&mut rest)?);
        let held = take_document(&mut rest)?;
        let value = |n: usize| held.get(&n.to_string()).map(ValueBuf::new).transpose();
        let values = (0..by).map(value).collect::<Result<_, _>>().ok()?;
        let figures = aggregates.iter().map(|a| Figure::decode(a.function, &mut rest));
        let figures = figures.collect::<Option<_>>()?;
        rest.is_empty().then_some(Group { first, values, figures })
    }

    /// Adds the figures of the same group as it was met later.
    fn merge(&mut self, later: Group) -> Result<(), QueryError> {
        if later.first < self.first {
            (self.first, self.values) = (later.first, later.values);
        }
        for (figure, later) in self.figures.iter_mut().zip(later.figures) {
            figure.merge(later);
        }
        Ok(())
    }
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (first, after) = rest.split_first_chunk::<N>()?;
    *rest = after;
    Some(*first)
}

fn take_document<'a>(rest: &mut &'a [u8]) -> Option<Doc<'a>> {
    let len = usize::try_from(u32::from_le_bytes(*rest.first_chunk::<4>()?)).ok()?;
    let (document, after) = rest.split_at_checked(len)?;
    *rest = after;
    Some(Doc::trusted(document))
}

/// One figure of one group, being computed.
enum Figure {
    Count(u64),
    Sum(Sum),
    Avg(Sum, u64),
    /// The best value, and the lowest key of the documents that have it.
    Extreme {
        keep: Ordering,
        best: Option<(Owned, Key)>,
    },
}

/// Whether a value is better than the best so far.
fn better(keep: Ordering, (value, key): (Value<'_>, Key), best: Option<&(Owned, Key)>) -> bool {
    let Some((held, of)) = best else { return true };
    match order::compare(Some(value), Some(held.get())) {
        Ordering::Equal => key < *of,
        order => order == keep,
    }
}

impl Figure {
    fn new(function: Function) -> Figure {
        match function {
            Function::Count => Figure::Count(0),
            Function::Sum => Figure::Sum(Sum::default()),
            Function::Avg => Figure::Avg(Sum::default(), 0),
            Function::Min => Figure::Extreme { keep: Ordering::Less, best: None },
            Function::Max => Figure::Extreme { keep: Ordering::Greater, best: None },
        }
    }

    fn count(&mut self) {
        if let Figure::Count(n) = self {
            *n += 1;
        }
    }

    /// Adds a value; returns how many bytes more it holds now.
    fn add(&mut self, value: Option<Value<'_>>, key: Key) -> Result<usize, QueryError> {
        let Some(value) = value.filter(|value| !matches!(value, Value::Null)) else {
            return Ok(0);
        };
        match self {
            Figure::Count(n) => *n += 1,
            Figure::Sum(sum) => sum.add(value),
            Figure::Avg(sum, n) if value.is_number() => {
                sum.add(value);
                *n += 1;
            }
            Figure::Avg(..) => {}
            Figure::Extreme { keep, best } => {
                if better(*keep, (value, key), best.as_ref()) {
                    let before = best.as_ref().map_or(0, |(value, _)| value.size());
                    let value = Owned::new(value).map_err(|e| QueryError::document(key, &e))?;
                    let grown = value.size().saturating_sub(before);
                    *best = Some((value, key));
                    return Ok(grown);
                }
            }
        }
        Ok(0)
    }

    fn merge(&mut self, later: Figure) {
        match (self, later) {
            (Figure::Count(n), Figure::Count(more)) => *n += more,
            (Figure::Sum(sum), Figure::Sum(more)) => sum.merge(&more),
            (Figure::Avg(sum, n), Figure::Avg(more, count)) => {
                sum.merge(&more);
                *n += count;
            }
            (Figure::Extreme { keep, best }, Figure::Extreme { best: Some((value, key)), .. })
                if better(*keep, (value.get(), key), best.as_ref()) =>
            {
                *best = Some((value, key));
            }
            // The same function made both; or what was kept is no better.
            _ => {}
        }
    }

    fn write(&self, alias: &str, row: &mut DocBuf) {
        match self {
            Figure::Count(n) => row.push(alias, i64::try_from(*n).unwrap_or(i64::MAX)),
            Figure::Sum(sum) => row.push(alias, sum.value()),
            Figure::Avg(_, 0) => row.push(alias, Value::Null),
            Figure::Avg(sum, n) => row.push(alias, sum.float() / *n as f64),
            Figure::Extreme { best, .. } => {
                row.push(alias, best.as_ref().map(|(value, _)| value.get()))
            }
        };
    }

    fn encode(&self, out: &mut Vec<u8>) -> Result<(), QueryError> {
        match self {
            Figure::Count(n) => out.extend_from_slice(&n.to_le_bytes()),
            Figure::Sum(sum) => sum.encode(out),
            Figure::Avg(sum, n) => {
                sum.encode(out);
                out.extend_from_slice(&n.to_le_bytes());
            }
            Figure::Extreme { best: None, .. } => out.push(0),
            Figure::Extreme { best: Some((value, key)), .. } => {
                out.push(1);
                out.extend_from_slice(&key.to_bytes());
                let mut holder = DocBuf::new();
                holder.push("", value.get());
                let bytes =
                    holder.finish().map_err(|e| QueryError::bad(format!("a group: {e}")))?;
                out.extend_from_slice(&bytes);
            }
        }
        Ok(())
    }

    fn decode(function: Function, rest: &mut &[u8]) -> Option<Figure> {
        let mut figure = Figure::new(function);
        match &mut figure {
            Figure::Count(n) => *n = u64::from_le_bytes(take(rest)?),
            Figure::Sum(sum) => *sum = Sum::decode(&take::<SUM_BYTES>(rest)?)?,
            Figure::Avg(sum, n) => {
                *sum = Sum::decode(&take::<SUM_BYTES>(rest)?)?;
                *n = u64::from_le_bytes(take(rest)?);
            }
            Figure::Extreme { best, .. } => {
                if let [1] = take::<1>(rest)? {
                    let key = Key::from_bytes(take(rest)?);
                    *best = Some((Owned::new(take_document(rest)?.get("")?).ok()?, key));
                }
            }
        }
        Some(figure)
    }
}
