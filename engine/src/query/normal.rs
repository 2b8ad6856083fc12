//! The one form of conditions that mean the same.
//!
//! What must stay true: what comes out holds for exactly the documents that went in.
//! A condition either holds or does not, so `not` may pass `and`, `or` and another
//! `not`; it never passes a test, since `not a > 1` holds where `a` is missing.
//! Nothing is made twice: it is as large as before, but for `not`s.

use super::predicate::Predicate;

/// `and`s and `or`s that hold none of their own kind, and `not`s of tests alone.
pub(super) fn normal(predicate: Predicate) -> Predicate {
    match predicate {
        Predicate::And(all) => joined(all, true),
        Predicate::Or(any) => joined(any, false),
        Predicate::Not(inner) => match *inner {
            Predicate::Not(same) => normal(*same),
            Predicate::And(all) => joined(negated(all), false),
            Predicate::Or(any) => joined(negated(any), true),
            test @ Predicate::Field(..) => Predicate::Not(Box::new(test)),
        },
        test @ Predicate::Field(..) => test,
    }
}

fn negated(parts: Vec<Predicate>) -> Vec<Predicate> {
    parts.into_iter().map(|part| Predicate::Not(Box::new(part))).collect()
}

fn joined(parts: Vec<Predicate>, all: bool) -> Predicate {
    let mut flat = Vec::with_capacity(parts.len());
    for part in parts {
        match (normal(part), all) {
            (Predicate::And(inner), true) | (Predicate::Or(inner), false) => flat.extend(inner),
            (part, _) => flat.push(part),
        }
    }
    match (flat.len(), all) {
        (1, _) => flat.remove(0),
        (_, true) => Predicate::And(flat),
        (_, false) => Predicate::Or(flat),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pql::ast::{Comparison, Path};
    use crate::query::predicate::Test;
    use proptest::prelude::*;
    use proto::Key;
    use proto::doc::{Doc, ValueBuf};
    use proto::json;

    fn of(field: &str, value: i32) -> Predicate {
        let value = ValueBuf::new(value).unwrap();
        Predicate::Field(Path(field.to_owned()), Test::Compare(Comparison::Greater, value))
    }

    fn predicate() -> impl Strategy<Value = Predicate> {
        let test = (prop::sample::select(vec!["a", "b", "c"]), 0..3).prop_map(|(f, v)| (f, v));
        let leaf = test.prop_map(|(field, value)| of(field, value)).boxed();
        leaf.prop_recursive(5, 40, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 1..4).prop_map(Predicate::And),
                prop::collection::vec(inner.clone(), 1..4).prop_map(Predicate::Or),
                inner.prop_map(|p| Predicate::Not(Box::new(p))),
            ]
        })
    }

    fn is_normal(predicate: &Predicate) -> bool {
        use Predicate::{And, Field, Not, Or};
        match predicate {
            And(all) => all.len() > 1 && all.iter().all(|p| !matches!(p, And(_)) && is_normal(p)),
            Or(any) => any.len() > 1 && any.iter().all(|p| !matches!(p, Or(_)) && is_normal(p)),
            Not(inner) => matches!(**inner, Field(..)),
            Field(..) => true,
        }
    }

    proptest! {
        #[test]
        fn it_means_the_same(before in predicate(), a in 0..4, b in 0..4) {
            // The field c is missing; a null compares with no number.
            let document = json::parse_json(&format!(r#"{{"a":{a},"b":[{b},null]}}"#)).unwrap();
            let document = Doc::parse(&document).unwrap();
            let wanted = before.holds(Key::MIN, document);
            let shown = format!("{before:?}");
            let after = normal(before);
            prop_assert!(is_normal(&after), "{:?}", after);
            prop_assert_eq!(after.holds(Key::MIN, document), wanted, "{}", shown);
        }
    }

    #[test]
    fn nested_conditions_become_one_list() {
        let nested = Predicate::And(vec![
            Predicate::And(vec![of("a", 1), of("b", 2)]),
            Predicate::Not(Box::new(Predicate::Or(vec![of("c", 1), of("a", 2)]))),
        ]);
        assert!(matches!(normal(nested), Predicate::And(all) if all.len() == 4));
    }
}
