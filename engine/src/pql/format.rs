//! The canonical text of a query, for the query editor and for messages.
//!
//! Invariant: `parse(format(query)) == query`. A short query stands on one line; a
//! longer one has a line for each step.

use super::ast::{
    Edit, Expr, Image, KeyOperand, Lookup, Mutation, Operand, Output, Path, Query, Select, Shape,
    Verb,
};
use super::condition::WORDED;
use super::words::{CONSTANTS, JOINING, NAMING, ORDERS};
use proto::doc::{Binary, Doc, Value};
use proto::json;
use std::fmt::Write;

/// Characters of the longest query that stands on one line.
const LINE: usize = 80;

/// Writes a query in its canonical form.
pub fn format(query: &Query) -> String {
    let mut steps = Vec::new();
    match &query.verb {
        Verb::Get(KeyOperand::Key(key)) => steps.push(format!("get(\"{key}\")")),
        Verb::Get(KeyOperand::Parameter(n)) => steps.push(format!("get(${n})")),
        Verb::Insert { document, returning } => {
            steps.push(format!("insert({})", operand(document)));
            if *returning {
                steps.push("returning()".to_owned());
            }
        }
        Verb::Select(select) => select_steps(select, &mut steps),
    }
    if query.explain {
        steps.push("explain()".to_owned());
    }
    let store = name(&query.store);
    let one_line = format!("{store}{}", steps.iter().fold(String::new(), |s, x| s + "." + x));
    if one_line.chars().count() <= LINE || steps.len() < 2 {
        return one_line;
    }
    steps.iter().fold(store, |text, step| text + "\n  ." + step)
}

fn select_steps(select: &Select, steps: &mut Vec<String>) {
    match &select.filter {
        Some(filter) => steps.push(format!("filter({})", expr(filter))),
        None if select.output.mutates() => steps.push("all()".to_owned()),
        None => {}
    }
    steps.extend(select.lookups.iter().map(lookup));
    steps.extend(select.joined.iter().map(|joined| format!("filter({})", expr(joined))));
    match &select.shape {
        Some(Shape::Distinct(by)) => steps.push(format!("distinct({})", paths(by))),
        Some(Shape::Group { by, aggregates }) => {
            if !by.is_empty() {
                steps.push(format!("groupBy({})", paths(by)));
            }
            let figure = |a: &super::ast::Aggregate| {
                let of = a.path.as_ref().map(path).unwrap_or_default();
                format!("{}: {}({of})", name(&a.alias), a.function.name())
            };
            if !aggregates.is_empty() {
                steps.push(format!("aggregate({})", join(aggregates.iter().map(figure))));
            }
        }
        None => {}
    }
    steps.extend(select.having.iter().map(|having| format!("having({})", expr(having))));
    if !select.order.is_empty() {
        let order = select.order.iter().map(|order| match order.descending {
            true => format!("{} desc", path(&order.path)),
            false => format!("{} asc", path(&order.path)),
        });
        steps.push(format!("orderBy({})", join(order)));
    }
    steps.extend(select.skip.iter().map(|n| format!("skip({})", operand(n))));
    steps.extend(select.limit.iter().map(|n| format!("limit({})", operand(n))));
    match &select.output {
        Output::Rows => {}
        Output::Pluck(by) => steps.push(format!("pluck({})", paths(by))),
        Output::Count => steps.push("count()".to_owned()),
        Output::Mutate { how, returning } => {
            match how {
                Mutation::Edit(edits) => steps.extend(edits.iter().map(edit)),
                Mutation::Replace(document) => {
                    steps.push(format!("replace({})", operand(document)));
                }
                Mutation::Delete => steps.push("delete()".to_owned()),
            }
            steps.extend(returning.map(|image| match image {
                Image::Before => "returning(before)".to_owned(),
                Image::After => "returning(after)".to_owned(),
            }));
        }
    }
}

fn lookup(lookup: &Lookup) -> String {
    let word = if lookup.one { "lookupOne" } else { "lookup" };
    let (local, foreign) = (path(&lookup.local), path(&lookup.foreign));
    let renamed = match lookup.name == lookup.store {
        true => String::new(),
        false => format!(" as {}", name(&lookup.name)),
    };
    format!("{word}({}, {local} = {foreign}{renamed})", name(&lookup.store))
}

fn edit(edit: &Edit) -> String {
    match edit {
        Edit::Set(document) => format!("set({})", operand(document)),
        Edit::Unset(fields) => format!("unset({})", paths(fields)),
        Edit::Inc(document) => format!("inc({})", operand(document)),
        Edit::Push(document) => format!("push({})", operand(document)),
        Edit::Upsert(document) => format!("upsert({})", operand(document)),
    }
}

/// A condition, in the words of a query.
pub fn expr(of: &Expr) -> String {
    let compare = |path_: &Path, sign: &str, with: &Operand| {
        format!("{} {sign} {}", path(path_), operand(with))
    };
    match of {
        Expr::And(parts) => parts.iter().map(part).collect::<Vec<_>>().join(" and "),
        Expr::Or(parts) => parts.iter().map(of_or).collect::<Vec<_>>().join(" or "),
        Expr::Not(inner) => format!("not {}", part(inner)),
        Expr::Compare(path, comparison, with) => compare(path, comparison.sign(), with),
        Expr::In(field, values) => {
            format!("{} in [{}]", path(field), join(values.iter().map(operand)))
        }
        Expr::Between(field, low, high) => {
            format!("{} between {} and {}", path(field), operand(low), operand(high))
        }
        Expr::Contains(path, with) => compare(path, "contains", with),
        Expr::StartsWith(path, with) => compare(path, "startsWith", with),
        Expr::Matches(path, with) => compare(path, "~", with),
        Expr::Exists(field) => format!("{} exists", path(field)),
    }
}

/// A part of an `or`: `and` binds tighter, so only another `or` needs parentheses.
/// None may be added that were not there: nesting is bounded.
fn of_or(of: &Expr) -> String {
    if let Expr::Or(_) = of { part(of) } else { expr(of) }
}

/// A condition as part of another: in parentheses where it has parts of its own.
fn part(of: &Expr) -> String {
    match of {
        Expr::And(_) | Expr::Or(_) => format!("({})", expr(of)),
        _ => expr(of),
    }
}

fn join(parts: impl Iterator<Item = String>) -> String {
    parts.collect::<Vec<_>>().join(", ")
}

fn paths(of: &[Path]) -> String {
    join(of.iter().map(path))
}

/// A field, quoted where it is no plain word.
pub fn path(Path(of): &Path) -> String {
    let mut parts = of.split('.');
    let mut text = parts.next().map(name).unwrap_or_default();
    for part in parts {
        text.push('.');
        let digits = part.bytes().all(|b| b.is_ascii_digit());
        text.push_str(&if digits { part.to_owned() } else { name(part) });
    }
    text
}

/// A name, quoted where it is no plain word, or reads as one of the grammar.
fn name(of: &str) -> String {
    let mut chars = of.chars();
    let plain = chars.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
        && chars.all(|c| c.is_ascii_alphanumeric() || c == '_');
    let words = [&JOINING[..], &WORDED, &ORDERS, &NAMING, &CONSTANTS];
    let word = words.iter().any(|words| words.contains(&of));
    if plain && !word { of.to_owned() } else { format!("`{of}`") }
}

fn operand(of: &Operand) -> String {
    match of {
        Operand::Parameter(n) => format!("${n}"),
        Operand::Value(held) => {
            let mut text = String::new();
            value(held.get(), &mut text);
            text
        }
    }
}

/// A value as a literal. What has none (NaN, a timestamp, ..) cannot come from a
/// text; it is written as JSON writes it.
fn value(of: Value<'_>, out: &mut String) {
    match of {
        Value::Doc(doc) => document(doc, out),
        Value::Array(items) => {
            out.push('[');
            for (number, item) in items.iter().enumerate() {
                out.push_str(if number > 0 { ", " } else { "" });
                value(item, out);
            }
            out.push(']');
        }
        Value::DateTime(millis) => match json::date_time_to_text(millis) {
            Some(text) => push(out, format_args!("date(\"{text}\")")),
            None => push(out, format_args!("date({millis})")),
        },
        Value::Decimal128(decimal) => push(out, format_args!("decimal(\"{decimal}\")")),
        Value::ObjectId(id) => push(out, format_args!("objectId(\"{id}\")")),
        Value::Binary(binary) => binary_call(binary, out),
        // A double says that it is one.
        other => json::write_value(other, out),
    }
}

fn binary_call(binary: Binary<'_>, out: &mut String) {
    if let (4, Ok(id)) = (binary.subtype, <[u8; 16]>::try_from(binary.bytes)) {
        let id = u128::from_be_bytes(id);
        let group = |from: u32, digits: u32| (id >> from) & ((1 << (4 * digits)) - 1);
        push(
            out,
            format_args!(
                "uuid(\"{:08x}-{:04x}-{:04x}-{:04x}-{:012x}\")",
                group(96, 8),
                group(80, 4),
                group(64, 4),
                group(48, 4),
                group(0, 12)
            ),
        );
        return;
    }
    let mut json = String::new();
    json::write_value(Value::Binary(binary), &mut json);
    let text = json.split('"').nth(5).unwrap_or_default();
    match binary.subtype {
        0 => push(out, format_args!("binary(\"{text}\")")),
        subtype => push(out, format_args!("binary(\"{text}\", {subtype})")),
    }
}

fn document(doc: Doc<'_>, out: &mut String) {
    out.push('{');
    for (number, (field, held)) in doc.iter().enumerate() {
        out.push_str(if number > 0 { ", " } else { "" });
        let mut chars = field.chars();
        let plain = chars.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
            && chars.all(|c| c.is_ascii_alphanumeric() || c == '_');
        match plain {
            true => out.push_str(field),
            false => json::write_value(Value::String(field), out),
        }
        out.push_str(": ");
        value(held, out);
    }
    out.push('}');
}

fn push(out: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a string cannot fail.
    let _ok = out.write_fmt(text);
}
