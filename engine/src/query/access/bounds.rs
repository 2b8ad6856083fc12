//! What tests of one field leave of an index.
//!
//! What must stay true: every document that meets a test has an entry within the bounds
//! made of it. Bounds that are said to be exact hold no entry of a value that does not
//! meet the test; a value so long that it is cut in the entry makes bounds that are not.
//! An uncut value is told from every cut one by the bytes that are there: no order key
//! is the beginning of another.

use std::ops::Bound;

use proto::doc::Value;
use proto::order;

use super::super::predicate::{Predicate, Test};
use super::MAX_BOUNDS;
use crate::index::{Bounds, Index};
use crate::pql::ast::{Comparison, Path};

/// The values a condition of the field `path` asks for equality with, any of them;
/// `None` among them: the field is missing.
pub(super) fn points<'p>(predicate: &'p Predicate, path: &str) -> Option<Vec<Option<Value<'p>>>> {
    match predicate {
        Predicate::Field(Path(field), test) if field == path => match test {
            Test::Compare(Comparison::Equal, value) => Some(vec![Some(value.get())]),
            Test::In(values) if values.len() <= MAX_BOUNDS => {
                Some(values.iter().map(|value| Some(value.get())).collect())
            }
            _ => None,
        },
        Predicate::Not(inner) => match &**inner {
            Predicate::Field(Path(field), Test::Exists) if field == path => Some(vec![None]),
            _ => None,
        },
        _ => None,
    }
}

/// The test of the field `path` that a condition is, if it is one.
pub(super) fn test<'p>(predicate: &'p Predicate, path: &str) -> Option<&'p Test> {
    match predicate {
        Predicate::Field(Path(field), test) if field == path => Some(test),
        _ => None,
    }
}

/// The order key of a value as the entries of an index have it, rising; and whether it
/// was cut.
fn key(index: &Index, value: Value<'_>) -> (Vec<u8>, bool) {
    let mut key = Vec::new();
    order::order_key(Some(value), &mut key);
    let cut = key.len() > index.most();
    key.truncate(index.most());
    (key, cut)
}

/// An end of a range of order keys.
enum Edge {
    /// Before all keys that begin so.
    Before(Vec<u8>),
    /// Behind them.
    Behind(Vec<u8>),
}

impl Edge {
    /// The same place among inverted keys.
    fn inverted(self) -> Edge {
        let invert = |mut key: Vec<u8>| {
            key.iter_mut().for_each(|byte| *byte = !*byte);
            key
        };
        match self {
            Edge::Before(key) => Edge::Behind(invert(key)),
            Edge::Behind(key) => Edge::Before(invert(key)),
        }
    }

    /// The first bytes at or behind this place, of entries that begin with `point`;
    /// `None`: there are none.
    fn bytes(&self, point: &[u8]) -> Option<Vec<u8>> {
        let (Edge::Before(key) | Edge::Behind(key)) = self;
        let whole = [point, key].concat();
        match self {
            Edge::Before(_) => Some(whole),
            Edge::Behind(_) => match Bounds::behind(&whole) {
                Bound::Excluded(end) => Some(end),
                Bound::Included(_) | Bound::Unbounded => None,
            },
        }
    }
}

/// The keys between two places; and whether those are exactly the keys of the values
/// that meet the test.
pub(super) struct Range {
    low: Edge,
    high: Edge,
    pub(super) exact: bool,
}

impl Range {
    /// The values that meet a test, if they are a range.
    pub(super) fn of(index: &Index, test: &Test) -> Option<Range> {
        use Comparison::{Greater, GreaterOrEqual, Less, LessOrEqual};
        let class = |value: Value<'_>| {
            let (low, high) = order::class_bounds(value);
            (Edge::Before(low), Edge::Before(high))
        };
        // Of a cut value its neighbours have the same bytes.
        let before = |(key, _): (Vec<u8>, bool)| Edge::Before(key);
        let behind = |(key, _): (Vec<u8>, bool)| Edge::Behind(key);
        let past = |(key, cut)| if cut { Edge::Before(key) } else { Edge::Behind(key) };
        let short = |(key, cut)| if cut { Edge::Behind(key) } else { Edge::Before(key) };
        let cut = |value: Value<'_>| key(index, value).1;
        Some(match test {
            Test::Compare(comparison, with) => {
                let value = with.get();
                let (low, high) = match comparison {
                    Greater => (past(key(index, value)), class(value).1),
                    GreaterOrEqual => (before(key(index, value)), class(value).1),
                    Less => (class(value).0, short(key(index, value))),
                    LessOrEqual => (class(value).0, behind(key(index, value))),
                    _ => return None,
                };
                Range { low, high, exact: !cut(value) }
            }
            Test::Between(low, high) => {
                let (low, high) = (low.get(), high.get());
                if !order::same_class(low, high) {
                    // No value is of both kinds.
                    return Some(Range::nothing());
                }
                let exact = !cut(low) && !cut(high);
                Range { low: before(key(index, low)), high: behind(key(index, high)), exact }
            }
            Test::StartsWith(start) => {
                let mut key = Vec::new();
                order::string_prefix_key(start, &mut key);
                let exact = key.len() <= index.most();
                key.truncate(index.most());
                Range { low: Edge::Before(key.clone()), high: Edge::Behind(key), exact }
            }
            Test::Exists => {
                let mut missing = Vec::new();
                order::order_key(None, &mut missing);
                let highest = order::class_bounds(Value::MaxKey).1;
                Range { low: Edge::Behind(missing), high: Edge::Before(highest), exact: true }
            }
            Test::In(_) | Test::Contains(_) | Test::Matches(_) => return None,
        })
    }

    fn nothing() -> Range {
        Range { low: Edge::Before(vec![0]), high: Edge::Before(vec![0]), exact: true }
    }

    /// Turned for a field that sorts downwards.
    pub(super) fn downwards(self) -> Range {
        Range { low: self.high.inverted(), high: self.low.inverted(), exact: self.exact }
    }

    /// The entries that begin with `point` and have the next field within the range.
    pub(super) fn bounds(&self, point: &[u8]) -> Bounds {
        let low = self.low.bytes(point);
        let high = self.high.bytes(point).map_or(Bound::Unbounded, Bound::Excluded);
        // No key is all ones: there is always something behind one.
        Bounds { low: Bound::Included(low.unwrap_or_else(|| vec![0xFF; 2])), high }
    }
}

/// What two bounds have in common; low ends are included, high ones are not.
pub(super) fn narrower(a: &Bounds, b: &Bounds) -> Bounds {
    let low = match (&a.low, &b.low) {
        (Bound::Included(x), Bound::Included(y)) => Bound::Included(x.max(y).clone()),
        (low, Bound::Unbounded) | (_, low) => low.clone(),
    };
    let high = match (&a.high, &b.high) {
        (Bound::Excluded(x), Bound::Excluded(y)) => Bound::Excluded(x.min(y).clone()),
        (high, Bound::Unbounded) | (_, high) => high.clone(),
    };
    Bounds { low, high }
}

pub(super) fn is_empty(bounds: &Bounds) -> bool {
    match (&bounds.low, &bounds.high) {
        (Bound::Included(low), Bound::Excluded(high)) => low >= high,
        _ => false,
    }
}

/// In order, none empty, none overlapping another.
pub(super) fn sorted(mut all: Vec<Bounds>) -> Vec<Bounds> {
    all.retain(|bounds| !is_empty(bounds));
    if all.len() < 2 {
        return all;
    }
    let low = |bounds: &Bounds| match &bounds.low {
        Bound::Included(low) | Bound::Excluded(low) => low.clone(),
        Bound::Unbounded => Vec::new(),
    };
    all.sort_by_cached_key(low);
    let mut apart: Vec<Bounds> = Vec::with_capacity(all.len());
    for bounds in all {
        if let Some(last) = apart.last_mut()
            && touches(last, &bounds)
        {
            if ends_before(last, &bounds) {
                last.high = bounds.high;
            }
            continue;
        }
        apart.push(bounds);
    }
    apart
}

/// Whether the later of two bounds begins before the earlier one has ended, or there.
fn touches(earlier: &Bounds, later: &Bounds) -> bool {
    match (&earlier.high, &later.low) {
        (Bound::Excluded(high), Bound::Included(low)) => low <= high,
        _ => true,
    }
}

fn ends_before(earlier: &Bounds, later: &Bounds) -> bool {
    match (&earlier.high, &later.high) {
        (Bound::Excluded(x), Bound::Excluded(y)) => x < y,
        (high, _) => *high != Bound::Unbounded,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bounds(low: &[u8], high: &[u8]) -> Bounds {
        Bounds { low: Bound::Included(low.to_vec()), high: Bound::Excluded(high.to_vec()) }
    }

    #[test]
    fn bounds_come_in_order_and_apart() {
        let given = vec![
            bounds(b"m", b"n"),
            bounds(b"a", b"b"),
            bounds(b"a", b"b"),
            bounds(b"x", b"x"),
            bounds(b"mm", b"q"),
            bounds(b"b", b"c"),
            Bounds { low: Bound::Included(b"y".to_vec()), high: Bound::Unbounded },
            bounds(b"z", b"zz"),
        ];
        let last = Bounds { low: Bound::Included(b"y".to_vec()), high: Bound::Unbounded };
        assert_eq!(sorted(given), [bounds(b"a", b"c"), bounds(b"m", b"q"), last]);
        assert_eq!(sorted(vec![Bounds::ALL, bounds(b"a", b"b")]), [Bounds::ALL]);
    }

    #[test]
    fn what_bounds_have_in_common() {
        let (a, b) = (bounds(b"a", b"m"), bounds(b"c", b"z"));
        assert_eq!(narrower(&a, &b), bounds(b"c", b"m"));
        assert_eq!(narrower(&a, &Bounds::ALL), a);
        assert!(is_empty(&narrower(&bounds(b"a", b"b"), &bounds(b"b", b"c"))));
    }
}
