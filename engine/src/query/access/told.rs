//! Conditions as `explain` tells them: as they would be written, with their values.

use proto::doc::Value;
use proto::json;

use super::super::predicate::{Predicate, Test};
use crate::pql::ast::Path;
use crate::pql::format;

/// Characters of a value that are told.
const VALUE: usize = 40;
/// Values of a list that are told.
const VALUES: usize = 8;

/// Those of these numbers, all of which must hold.
pub(super) fn conditions(all: &[Predicate], numbers: &[usize]) -> String {
    joined(numbers.iter().map(|at| &all[*at]))
}

fn joined<'p>(all: impl ExactSizeIterator<Item = &'p Predicate>) -> String {
    let alone = all.len() == 1;
    let part = |part: &Predicate| match part {
        Predicate::Or(_) if !alone => format!("({})", condition(part)),
        part => condition(part),
    };
    all.map(part).collect::<Vec<_>>().join(" and ")
}

fn condition(predicate: &Predicate) -> String {
    match predicate {
        Predicate::Field(field, of) => test(field, of),
        Predicate::Not(inner) => format!("not {}", condition(inner)),
        Predicate::And(all) => joined(all.iter()),
        Predicate::Or(any) => any.iter().map(condition).collect::<Vec<_>>().join(" or "),
    }
}

fn test(field: &Path, test: &Test) -> String {
    let path = format::path(field);
    match test {
        Test::Compare(comparison, with) => {
            format!("{path} {} {}", comparison.sign(), value(with.get()))
        }
        Test::In(values) => {
            let mut told: Vec<_> = values.iter().take(VALUES).map(|v| value(v.get())).collect();
            if values.len() > VALUES {
                told.push(format!("and {} more", values.len() - VALUES));
            }
            format!("{path} in [{}]", told.join(", "))
        }
        Test::Between(low, high) => {
            format!("{path} between {} and {}", value(low.get()), value(high.get()))
        }
        Test::Contains(part) => format!("{path} contains {}", value(part.get())),
        Test::StartsWith(start) => format!("{path} startsWith {}", value(Value::String(start))),
        Test::Matches(pattern) => format!("{path} ~ {}", value(Value::String(pattern.as_str()))),
        Test::Exists => format!("{path} exists"),
    }
}

/// A value as JSON, or the beginning of it.
fn value(value: Value<'_>) -> String {
    let mut text = String::new();
    json::write_value(value, &mut text);
    match text.char_indices().nth(VALUE) {
        Some((end, _)) => format!("{}..", &text[..end]),
        None => text,
    }
}
