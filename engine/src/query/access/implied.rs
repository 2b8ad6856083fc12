//! Whether one condition follows from another.
//!
//! What must stay true: `implies(a, b)` is said only if every document that meets `a`
//! meets `b`, whatever its arrays: a test of a field holds if *some* value there meets
//! it, so one test follows from one other of the same field, value by value, and never
//! from two together. What is not understood is not implied.

use std::cmp::Ordering;

use proto::doc::Value;
use proto::order;

use super::super::predicate::{Predicate, Test};
use crate::pql::ast::Comparison;

/// Whether every document that meets `a` meets `b`.
pub(super) fn implies(a: &Predicate, b: &Predicate) -> bool {
    match (a, b) {
        (_, Predicate::And(all)) => all.iter().all(|b| implies(a, b)),
        (Predicate::Or(any), _) => any.iter().all(|a| implies(a, b)),
        (Predicate::And(all), _) => all.iter().any(|a| implies(a, b)),
        (_, Predicate::Or(any)) => any.iter().any(|b| implies(a, b)),
        (Predicate::Field(field, a), Predicate::Field(other, b)) => {
            field == other && test_implies(a, b)
        }
        (Predicate::Not(a), Predicate::Not(b)) => implies(b, a),
        _ => false,
    }
}

/// Whether each value that meets `a` meets `b`.
fn test_implies(a: &Test, b: &Test) -> bool {
    match (a, b) {
        (_, Test::Exists) => true,
        // Equal values meet the same tests.
        (Test::Compare(Comparison::Equal, value), _) => b.holds(value.get()),
        (Test::In(values), _) => values.iter().all(|value| b.holds(value.get())),
        (Test::StartsWith(a), Test::StartsWith(b)) => a.starts_with(b.as_str()),
        (Test::Matches(a), Test::Matches(b)) => a.as_str() == b.as_str(),
        (Test::Contains(a), Test::Contains(b)) => order::equal(Some(a.get()), Some(b.get())),
        _ => Interval::of(a).zip(Interval::of(b)).is_some_and(|(a, b)| a.within(&b)),
    }
}

/// The values of one kind between two.
struct Interval<'t> {
    /// Any value of the kind.
    kind: Value<'t>,
    low: Option<(Value<'t>, bool)>,
    high: Option<(Value<'t>, bool)>,
}

impl<'t> Interval<'t> {
    fn of(test: &'t Test) -> Option<Interval<'t>> {
        use Comparison::{Equal, Greater, GreaterOrEqual, Less, LessOrEqual};
        match test {
            Test::Compare(comparison, value) => {
                let kind = value.get();
                let end = |included| Some((kind, included));
                let (low, high) = match comparison {
                    Equal => (end(true), end(true)),
                    Greater => (end(false), None),
                    GreaterOrEqual => (end(true), None),
                    Less => (None, end(false)),
                    LessOrEqual => (None, end(true)),
                    Comparison::NotEqual => return None,
                };
                Some(Interval { kind, low, high })
            }
            Test::Between(low, high) => {
                let (low, high) = (low.get(), high.get());
                let same = order::same_class(low, high);
                let (low, high, kind) = (Some((low, true)), Some((high, true)), low);
                same.then_some(Interval { kind, low, high })
            }
            _ => None,
        }
    }

    fn within(&self, other: &Interval<'_>) -> bool {
        // The end of the kind is beyond all its values.
        let inside = |end: &Option<(Value<'_>, bool)>, of: &Option<(Value<'_>, bool)>, beyond| {
            let Some((limit, limit_included)) = of else { return true };
            let Some((end, included)) = end else { return false };
            match order::compare(Some(*end), Some(*limit)) {
                Ordering::Equal => *limit_included || !included,
                order => order == beyond,
            }
        };
        order::same_class(self.kind, other.kind)
            && inside(&self.low, &other.low, Ordering::Greater)
            && inside(&self.high, &other.high, Ordering::Less)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pql::parse;
    use crate::query::bind::{Plan, bind};
    use proptest::prelude::*;
    use proto::Key;
    use proto::doc::Doc;
    use proto::json;
    use std::sync::Arc;

    fn filter(expr: &str) -> Predicate {
        let query = parse(&format!("s.filter({expr})")).unwrap_or_else(|e| panic!("{e}"));
        match bind(&query, None).unwrap() {
            Plan::Select(select) => Arc::into_inner(select).unwrap().filter.unwrap(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_follows_from_what() {
        for (a, b, follows) in [
            ("a = 1", "a = 1.0", true),
            ("a = 1", "a >= 1", true),
            ("a = 1", "a > 1", false),
            ("a = 1", "b = 1", false),
            ("a in [1, 2]", "a between 0 and 2", true),
            ("a in [1, 3]", "a between 0 and 2", false),
            ("a in []", "a = 7", true),
            ("a > 5", "a > 3", true),
            ("a > 5", "a >= 5", true),
            ("a >= 5", "a > 5", false),
            ("a > 5", "a > 'x'", false),
            ("a < 5", "a <= 5", true),
            ("a < 5", "a exists", true),
            ("a exists", "a < 5", false),
            ("a between 2 and 3", "a > 1", true),
            ("a between 2 and 'x'", "a > 1", false),
            // Two items of an array may meet the two tests.
            ("a > 2 and a < 4", "a between 2 and 4", false),
            ("a = 1 and b = 2", "b = 2", true),
            ("a = 1 and b = 2", "b > 1 and a < 2", true),
            ("a = 1 or a = 2", "a < 3", true),
            ("a = 1 or b = 2", "a < 3", false),
            ("a = 1", "a = 1 or b = 2", true),
            ("a = 1 or b = 2", "b = 2 or a < 2", true),
            ("not a > 3", "not a > 5", true),
            ("not a > 5", "not a > 3", false),
            ("a != 1", "not a = 1", true),
            ("a startsWith 'abc'", "a startsWith 'ab'", true),
            ("a startsWith 'ab'", "a startsWith 'abc'", false),
            ("a = 'abc'", "a startsWith 'ab'", true),
            ("a ~ 'x'", "a ~ 'x'", true),
            ("a ~ 'x'", "a ~ 'y'", false),
            ("a contains 1", "a contains 1.0", true),
            ("a = null", "a = null", true),
            ("a = null", "not a exists", false),
        ] {
            assert_eq!(implies(&filter(a), &filter(b)), follows, "{a} -> {b}");
        }
    }

    fn condition() -> impl Strategy<Value = String> {
        let field = prop::sample::select(vec!["a", "b"]);
        let value = prop::sample::select(vec!["0", "1", "2.0", "3", "'x'", "null"]);
        let sign = prop::sample::select(vec!["=", "!=", ">", ">=", "<", "<="]);
        let one = prop_oneof![
            (field.clone(), sign, value.clone()).prop_map(|(f, s, v)| format!("{f} {s} {v}")),
            (field.clone(), value.clone(), value.clone())
                .prop_map(|(f, v, w)| format!("{f} between {v} and {w}")),
            (field.clone(), value.clone(), value)
                .prop_map(|(f, v, w)| format!("{f} in [{v}, {w}]")),
            field.prop_map(|f| format!("{f} exists")),
        ];
        let two = (one.clone(), prop::sample::select(vec!["and", "or"]), one.clone());
        prop_oneof![one, two.prop_map(|(a, word, b)| format!("{a} {word} {b}"))]
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

        #[test]
        fn what_is_implied_holds(a in condition(), b in condition()) {
            let implied = implies(&filter(&a), &filter(&b));
            if implied {
                for value in ["0", "1", "2", "3.5", "[0,3]", "[1,\"x\"]", "null", "\"x\"", "[]"] {
                    for other in ["", r#","b":1"#, r#","b":[0,2]"#, r#","b":null"#] {
                        let text = format!(r#"{{"a":{value}{other}}}"#);
                        let bytes = json::parse_json(&text).unwrap();
                        let doc = Doc::parse(&bytes).unwrap();
                        let holds = |expr| filter(expr).holds(Key::MIN, doc);
                        prop_assert!(!holds(&a) || holds(&b), "{} -> {} of {}", a, b, text);
                    }
                }
            }
        }
    }
}
