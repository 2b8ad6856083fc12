//! Which entries of which indexes lead to the documents of a query.
//!
//! What must stay true:
//! * every document that meets the filter has an entry within the bounds chosen: the
//!   filter is still tested on each, so bounds may be too wide, never too narrow. That
//!   rests on "a document meets a test of one field exactly if one of its entries has
//!   a value there that meets it, or that was cut" (`index/entry.rs`). So of several
//!   tests of one field only one narrows, unless no document has an array there;
//! * rows come in the order of their keys, as those of a scan do;
//! * an index is used only where it is expected to lead to few of the documents. What
//!   is expected may be wrong while many entries are new: reading the entries ends at a
//!   bound, and the query is a scan then, so that a wrong guess costs at most a part of
//!   that scan;
//! * choosing is bounded, and meets the deadline and a cancellation as reading does.

use std::cell::Cell;
use std::ops::Bound;
use std::sync::Arc;

use lsm::{KeyspaceId, Snapshot};
use proto::doc::{Doc, Value};
use proto::{Key, Status, order};

use super::predicate::{Predicate, Test};
use super::range::KeyRange;
use super::rows::Rows;
use super::run::scan_order;
use super::work::Work;
use super::{QueryError, SelectPlan};
use crate::index::{Bounds, Index, Scan};
use crate::pql::ast::{Comparison, Path};

/// Bounds that one index may be read between: more values are a scan.
const MAX_BOUNDS: usize = 64;
/// Ranges of one field that narrow its bounds.
const MAX_RANGES: usize = 16;
/// Entries counted one by one to judge a choice.
const LOOK: u64 = 128;
/// A choice this good is not compared with others.
const FEW: u64 = 8;
/// An index is used for at most one of so many documents.
const PART: u64 = 4;
/// Bounds that are looked at to choose for one query; then it is the best way so far.
const LOOKS: u32 = 512;
/// What one look costs of [`Work::tick`], in bytes.
const LOOK_BYTES: usize = 4 << 10;
/// Documents read at once.
const CHUNK: usize = 16;
/// Bytes a chosen key takes.
const KEY_BYTES: usize = 16;

/// What one index is read for.
pub(super) struct Part {
    pub(super) index: Arc<Index>,
    pub(super) bounds: Vec<Bounds>,
    /// How many of its fields the bounds are of, the last one perhaps by a range.
    pub(super) fields: usize,
    /// Expected there.
    pub(super) entries: u64,
}

/// The way to the documents of a query: its parts together lead to all of them.
pub(super) struct Access {
    pub(super) parts: Vec<Part>,
    /// Entries to read at most: more of them, and a scan is better.
    most: u64,
}

impl Access {
    fn new(parts: Vec<Part>) -> Access {
        Access { parts, most: 0 }
    }

    fn entries(&self) -> u64 {
        self.parts.iter().map(|part| part.entries).sum()
    }
}

/// The way by indexes, where there is one that is better than a scan.
pub(super) fn choose(
    snapshot: &Snapshot,
    keyspace: KeyspaceId,
    indexes: &[Arc<Index>],
    plan: &SelectPlan,
    range: KeyRange,
    work: &Work,
) -> Result<Option<Access>, QueryError> {
    let Some(filter) = &plan.filter else { return Ok(None) };
    if indexes.is_empty() || range.low == range.high {
        return Ok(None);
    }
    let chooser = Chooser { snapshot, indexes, work, looks: Cell::new(LOOKS) };
    let Some(mut access) = chooser.access(filter)? else { return Ok(None) };
    let documents = snapshot.count(keyspace)?;
    if access.entries() > documents / PART {
        return Ok(None);
    }
    access.most = documents / PART;
    if let Some(rows) = rows_wanted(plan) {
        // With more entries than this among the documents, a scan is expected to have
        // its rows after at most as many documents.
        access.most = access.most.min(documents.saturating_mul(rows).isqrt().max(LOOK));
    }
    Ok(Some(access).filter(|access| access.entries() <= access.most))
}

/// After how many rows that meet the filter the query ends, if it may before the last.
fn rows_wanted(plan: &SelectPlan) -> Option<u64> {
    let cut = plan.joined.is_none() && plan.shape.is_none() && scan_order(plan).is_some();
    plan.limit.filter(|_| cut).map(|limit| limit.saturating_add(plan.skip))
}

/// What choosing needs, and how much of it is left.
struct Chooser<'q> {
    snapshot: &'q Snapshot,
    indexes: &'q [Arc<Index>],
    work: &'q Work,
    looks: Cell<u32>,
}

impl Chooser<'_> {
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

    fn access(&self, filter: &Predicate) -> Result<Option<Access>, QueryError> {
        let alone = std::slice::from_ref(filter);
        let all = if let Predicate::And(all) = filter { all } else { alone };
        let mut best: Option<Access> = None;
        for index in self.indexes {
            // Each of its fields is looked for in all conditions.
            self.work.tick(all.len().saturating_mul(64))?;
            // A partial index would need proof that the filter implies its own.
            if !index.is_ready() || index.definition.filter.is_some() {
                continue;
            }
            let Some(part) = self.part(index, all)? else { continue };
            let access = Access::new(vec![part]);
            if best.as_ref().is_none_or(|best| better(&access, best)) {
                best = Some(access);
            }
            if best.as_ref().is_some_and(|best| best.entries() <= FEW) {
                return Ok(best);
            }
        }
        // An `or` each of whose branches has a way is the union of them.
        for condition in all {
            let Predicate::Or(any) = condition else { continue };
            // Each branch has one part at least.
            if any.len() > MAX_BOUNDS {
                continue;
            }
            let mut union = Access::new(Vec::new());
            for branch in any {
                match self.access(branch)? {
                    Some(access) if union.parts.len() + access.parts.len() <= MAX_BOUNDS => {
                        union.parts.extend(access.parts);
                    }
                    _ => {
                        union.parts.clear();
                        break;
                    }
                }
            }
            if !union.parts.is_empty() && best.as_ref().is_none_or(|best| better(&union, best)) {
                best = Some(union);
            }
        }
        Ok(best)
    }
}

/// Fewer entries; among equals the one that uses more fields.
fn better(a: &Access, b: &Access) -> bool {
    let fields = |access: &Access| access.parts.iter().map(|part| part.fields).min();
    (a.entries(), std::cmp::Reverse(fields(a))) < (b.entries(), std::cmp::Reverse(fields(b)))
}

impl Chooser<'_> {
    /// The bounds of an index that conditions, all of which must hold, leave.
    fn part(&self, index: &Arc<Index>, all: &[Predicate]) -> Result<Option<Part>, QueryError> {
        // The values of the first fields, each list one way to meet the conditions.
        let mut points: Vec<Vec<Option<Value<'_>>>> = vec![vec![]];
        let mut bounds = None;
        let mut fields = 0;
        for field in &index.definition.fields {
            let equal = tests(all, &field.path).find_map(equal_to);
            let few = |values: &Vec<Value<'_>>| points.len() * values.len() <= MAX_BOUNDS;
            if let Some(values) = equal.filter(few) {
                let mut longer = Vec::with_capacity(points.len() * values.len());
                for point in &points {
                    for value in &values {
                        let mut point = point.clone();
                        point.push(Some(*value));
                        longer.push(point);
                    }
                }
                points = longer;
                fields += 1;
                continue;
            }
            // Fewer of them are wider bounds.
            let mut ranges: Vec<Range<'_>> =
                tests(all, &field.path).filter_map(Range::of).take(MAX_RANGES).collect();
            if ranges.len() > 1 {
                let single = self.may_look(1)?
                    && !index.has_arrays(self.snapshot).map_err(QueryError::from_refusal)?;
                ranges.truncate(if single { MAX_RANGES } else { 1 });
            }
            if !ranges.is_empty() {
                let within = |point: &Vec<Option<Value<'_>>>| {
                    ranges
                        .iter()
                        .map(|range| range.bounds(index, point, field.descending))
                        .reduce(narrower)
                        .unwrap_or(Bounds::ALL)
                };
                bounds = Some(points.iter().map(within).collect::<Vec<_>>());
                fields += 1;
            }
            break;
        }
        if fields == 0 {
            return Ok(None);
        }
        let bounds = bounds.unwrap_or_else(|| {
            points.iter().map(|point| Bounds::of(&index.prefix(point).bytes)).collect()
        });
        let bounds: Vec<Bounds> = bounds.into_iter().filter(|bounds| !is_empty(bounds)).collect();
        if !self.may_look(bounds.len())? {
            return Ok(None);
        }
        let mut entries = 0u64;
        for bounds in &bounds {
            let estimate =
                index.estimate(self.snapshot, bounds, LOOK).map_err(QueryError::from_refusal)?;
            entries = entries.saturating_add(estimate.entries);
        }
        Ok(Some(Part { index: Arc::clone(index), bounds, fields, entries }))
    }
}

/// The tests of one field.
fn tests<'p>(all: &'p [Predicate], path: &str) -> impl Iterator<Item = &'p Test> {
    all.iter().filter_map(move |predicate| match predicate {
        Predicate::Field(Path(field), test) if field == path => Some(test),
        _ => None,
    })
}

/// The values a test asks for equality with, any of them.
fn equal_to(test: &Test) -> Option<Vec<Value<'_>>> {
    match test {
        Test::Compare(Comparison::Equal, value) => Some(vec![value.get()]),
        Test::In(values) if values.len() <= MAX_BOUNDS => {
            Some(values.iter().map(|value| value.get()).collect())
        }
        _ => None,
    }
}

/// A test that a range of values meets.
enum Range<'t> {
    From(Value<'t>),
    To(Value<'t>),
    Between(Value<'t>, Value<'t>),
    StartsWith(&'t str),
}

impl<'t> Range<'t> {
    fn of(test: &'t Test) -> Option<Range<'t>> {
        use Comparison::{Greater, GreaterOrEqual, Less, LessOrEqual};
        match test {
            Test::Compare(Greater | GreaterOrEqual, value) => Some(Range::From(value.get())),
            Test::Compare(Less | LessOrEqual, value) => Some(Range::To(value.get())),
            Test::Between(low, high) => Some(Range::Between(low.get(), high.get())),
            Test::StartsWith(start) => Some(Range::StartsWith(start)),
            _ => None,
        }
    }

    /// All entries that begin with `point` and whose next field may lie in the range;
    /// its ends are included, since other values share the bytes of one that was cut.
    fn bounds(&self, index: &Index, point: &[Option<Value<'_>>], descending: bool) -> Bounds {
        let of = |value: Value<'_>| {
            let mut values = point.to_vec();
            values.push(Some(value));
            index.prefix(&values).bytes
        };
        let class = |value: Value<'_>| {
            let (low, high) = order::class_bounds(value);
            // Both are one byte: the first of the class, and the one behind its last.
            let byte = |bytes: &[u8], less: u8| bytes.first().map_or(0, |b| b.wrapping_sub(less));
            let with = |byte: u8| {
                let mut bytes = index.prefix(point).bytes;
                bytes.push(if descending { !byte } else { byte });
                bytes
            };
            (with(byte(&low, 0)), with(byte(&high, 1)))
        };
        let (low, high) = match *self {
            Range::From(value) => (of(value), class(value).1),
            Range::To(value) => (class(value).0, of(value)),
            Range::Between(low, high) => (of(low), of(high)),
            Range::StartsWith(start) => {
                let whole = of(Value::String(start));
                // The string's key without its end mark; of a cut one, as it is.
                let mut key = Vec::new();
                order::string_prefix_key(start, &mut key);
                let len = index.prefix(point).bytes.len() + key.len();
                let prefix = whole[..whole.len().min(len)].to_vec();
                (prefix.clone(), prefix)
            }
        };
        let (first, last) = if descending { (high, low) } else { (low, high) };
        Bounds { low: Bound::Included(first), high: Bounds::behind(&last) }
    }
}

/// What two bounds have in common; both have a low end that is included.
fn narrower(a: Bounds, b: Bounds) -> Bounds {
    let low = match (a.low, b.low) {
        (Bound::Included(x), Bound::Included(y)) => Bound::Included(x.max(y)),
        (low, Bound::Unbounded) | (_, low) => low,
    };
    let high = match (a.high, b.high) {
        (Bound::Excluded(x), Bound::Excluded(y)) => Bound::Excluded(x.min(y)),
        (high, Bound::Unbounded) | (_, high) => high,
    };
    Bounds { low, high }
}

fn is_empty(bounds: &Bounds) -> bool {
    match (&bounds.low, &bounds.high) {
        (Bound::Included(low), Bound::Excluded(high)) => low >= high,
        _ => false,
    }
}

/// The documents that indexes lead to, in key order, either way.
pub(super) struct Fetch {
    snapshot: Snapshot,
    keyspace: KeyspaceId,
    /// In the order in which they are given, each once.
    keys: std::vec::IntoIter<Key>,
    chunk: std::vec::IntoIter<(Key, lsm::Value)>,
    at: Option<(Key, lsm::Value)>,
}

impl Fetch {
    /// Reads the entries; `None` if they are more than `access` allows, or their keys do
    /// not fit the memory of the query.
    pub(super) fn open(
        snapshot: &Snapshot,
        keyspace: KeyspaceId,
        access: &Access,
        range: KeyRange,
        reverse: bool,
        work: &Work,
    ) -> Result<Option<Fetch>, QueryError> {
        let mut keys = Vec::new();
        let mut left = access.most;
        for part in &access.parts {
            for bounds in &part.bounds {
                let scan = Scan::open(snapshot, &part.index, bounds, false);
                let mut scan = scan.map_err(QueryError::from_refusal)?;
                while scan.advance().map_err(QueryError::from_refusal)? {
                    work.examined(0)?;
                    let key = scan.document().map_err(QueryError::from_refusal)?;
                    let within = left > 0;
                    left = left.saturating_sub(1);
                    if within && (key < range.low || range.high < key) {
                        continue;
                    }
                    if !within || !work.try_take(KEY_BYTES) {
                        work.give_back(keys.len() * KEY_BYTES);
                        return Ok(None);
                    }
                    keys.push(key);
                }
            }
        }
        let all = keys.len();
        keys.sort_unstable();
        keys.dedup();
        work.give_back((all - keys.len()) * KEY_BYTES);
        if reverse {
            keys.reverse();
        }
        Ok(Some(Fetch {
            snapshot: snapshot.clone(),
            keyspace,
            keys: keys.into_iter(),
            chunk: Vec::new().into_iter(),
            at: None,
        }))
    }

    fn read_chunk(&mut self) -> Result<(), QueryError> {
        let keys: Vec<Key> = self.keys.by_ref().take(CHUNK).collect();
        let bytes: Vec<[u8; 16]> = keys.iter().map(|key| key.to_bytes()).collect();
        let values = self.snapshot.multi_get(self.keyspace, &bytes)?;
        let mut chunk = Vec::with_capacity(keys.len());
        for (key, value) in keys.into_iter().zip(values) {
            let Some(value) = value else {
                let message = format!(
                    "an index has an entry of document {key}, which is not there: run planck \
                     verify, then drop the index and create it again"
                );
                return Err(QueryError::Refused(Status::Corrupt, message));
            };
            chunk.push((key, value));
        }
        self.chunk = chunk.into_iter();
        Ok(())
    }
}

impl Rows for Fetch {
    fn advance(&mut self, work: &Work) -> Result<bool, QueryError> {
        if self.chunk.len() == 0 {
            self.read_chunk()?;
        }
        self.at = self.chunk.next();
        let Some((_, document)) = &self.at else { return Ok(false) };
        work.give_back(KEY_BYTES);
        work.examined(document.len())?;
        Ok(true)
    }

    fn row(&mut self) -> Result<(Key, Doc<'_>), QueryError> {
        Ok(match &self.at {
            Some((key, document)) => (*key, Doc::trusted(document)),
            None => (Key::MIN, Doc::empty()),
        })
    }
}
