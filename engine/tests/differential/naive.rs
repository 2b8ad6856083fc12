//! The evaluator: what `docs/pql.md` says, done the simplest way.

use crate::change::{self, changed};
use crate::query::{Expr, Figure, Lookup, PATTERNS, Query, Shape, Verb};
use crate::value::{V, key_text};
use proto::Status;
use std::borrow::Cow;
use std::cmp::Ordering;
use std::collections::BTreeMap;

/// Documents by their keys.
pub type Store = BTreeMap<u128, V>;

/// What a query answers.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    Rows(Vec<(Option<u128>, V)>),
    Count(u64),
    Key(u128),
    /// What `explain()` and the figures of the engine say.
    Told(V),
    Refused(Status, String),
}

/// Whether two answers are the same, but for the last digits of doubles.
pub fn alike(got: &Answer, expected: &Answer) -> bool {
    match (got, expected) {
        (Answer::Rows(got), Answer::Rows(expected)) => {
            got.len() == expected.len()
                && got.iter().zip(expected).all(|((k, v), (l, w))| k == l && close(v, w))
        }
        (Answer::Refused(got, _), Answer::Refused(expected, _)) => got == expected,
        (got, expected) => got == expected,
    }
}

fn close(a: &V, b: &V) -> bool {
    match (a, b) {
        (V::Double(x), V::Double(y)) if x.is_finite() && y.is_finite() => {
            (x - y).abs() <= 1e-9 * x.abs().max(y.abs())
        }
        (V::Doc(x), V::Doc(y)) => {
            x.len() == y.len() && x.iter().zip(y).all(|((n, v), (m, w))| n == m && close(v, w))
        }
        (a, b) => a.same(b),
    }
}

/// A row on its way: its key, if it is a stored document.
pub type Row = (Option<u128>, V);

/// Answers a query; what it changes, changes in `a`.
pub fn answer(query: &Query, a: &mut Store, b: &Store) -> Answer {
    if query.slip.is_some() {
        return Answer::Refused(Status::BadParameter, String::new());
    }
    match &query.verb {
        Verb::Get(key) => {
            let found = a.get(key).map(|document| (Some(*key), document.clone()));
            return found.map_or(Answer::Refused(Status::NotFound, String::new()), |row| {
                Answer::Rows(vec![row])
            });
        }
        Verb::Insert(document, returning) => {
            a.insert(query.fresh, document.clone());
            return match returning {
                true => Answer::Rows(vec![(Some(query.fresh), document.clone())]),
                false => Answer::Key(query.fresh),
            };
        }
        _ => {}
    }
    let meets =
        |expr: &Option<Expr>, key, doc: &V| expr.as_ref().is_none_or(|e| holds(e, key, doc));
    let chosen = a.iter().filter(|(key, doc)| meets(&query.filter, Some(**key), doc));
    let mut rows: Vec<Row> = chosen.map(|(key, doc)| (Some(*key), doc.clone())).collect();
    for lookup in &query.lookups {
        rows = rows.into_iter().map(|row| looked_up(lookup, row, b)).collect();
    }
    rows.retain(|(key, doc)| meets(&query.joined, *key, doc));
    if let Some(shape) = &query.shape {
        rows = shaped(shape, &rows);
    }
    rows.retain(|(key, doc)| meets(&query.having, *key, doc));
    // A stable sort: equals keep the order of their keys, or of their groups.
    rows.sort_by(|x, y| {
        let by = query.order.iter().map(|(path, down)| {
            let order = V::order_of(get(path, x).as_deref(), get(path, y).as_deref());
            if *down { order.reverse() } else { order }
        });
        by.fold(Ordering::Equal, Ordering::then)
    });
    let skip = query.skip.unwrap_or(0) as usize;
    let limit = query.limit.map_or(usize::MAX, |n| n as usize);
    let rows: Vec<Row> = rows.into_iter().skip(skip).take(limit).collect();
    match &query.verb {
        Verb::Rows | Verb::Get(_) | Verb::Insert(..) => Answer::Rows(rows),
        Verb::Count => Answer::Count(rows.len() as u64),
        Verb::Pluck(paths) => Answer::Rows(
            rows.iter()
                .map(|row| {
                    let fields =
                        paths.iter().filter_map(|p| Some((p.clone(), get(p, row)?.into_owned())));
                    (None, V::Doc(fields.collect()))
                })
                .collect(),
        ),
        Verb::Change(change, image) => changed(query, change, *image, &rows, a),
    }
}

// Paths.

/// The one value a path names; in a group a whole path is a field.
fn get<'r>(path: &str, (key, doc): &'r Row) -> Option<Cow<'r, V>> {
    match key {
        Some(key) if path == "key" => Some(Cow::Owned(V::Text(key_text(*key)))),
        Some(_) => at(doc, path).map(Cow::Borrowed),
        None => doc.field(path).map(Cow::Borrowed),
    }
}

pub fn at<'v>(value: &'v V, path: &str) -> Option<&'v V> {
    let (first, rest) = path.split_once('.').map_or((path, None), |(f, r)| (f, Some(r)));
    let next = match value {
        V::Doc(_) => value.field(first)?,
        V::Array(items) => items.get(first.parse::<usize>().ok()?)?,
        _ => return None,
    };
    rest.map_or(Some(next), |rest| at(next, rest))
}

/// All values a condition looks at: through arrays, and at the end the array and
/// its items.
fn all<'v>(path: &str, key: Option<u128>, doc: &'v V) -> Vec<Cow<'v, V>> {
    let mut ends = Vec::new();
    match key {
        Some(key) if path == "key" => return vec![Cow::Owned(V::Text(key_text(key)))],
        Some(_) => walk(doc, path, &mut ends),
        None => ends.extend(doc.field(path)),
    }
    let mut values = Vec::new();
    for end in ends {
        if let V::Array(items) = end {
            values.extend(items.iter().map(Cow::Borrowed));
        }
        values.push(Cow::Borrowed(end));
    }
    values
}

fn walk<'v>(value: &'v V, path: &str, ends: &mut Vec<&'v V>) {
    let (first, rest) = path.split_once('.').map_or((path, None), |(f, r)| (f, Some(r)));
    let go = |next: &'v V, ends: &mut Vec<&'v V>| match rest {
        None => ends.push(next),
        Some(rest) => walk(next, rest, ends),
    };
    match value {
        V::Doc(_) => {
            if let Some(next) = value.field(first) {
                go(next, ends);
            }
        }
        V::Array(items) => {
            if let Some(next) = first.parse::<usize>().ok().and_then(|n| items.get(n)) {
                go(next, ends);
            }
            for item in items {
                if matches!(item, V::Doc(_)) {
                    walk(item, path, ends);
                }
            }
        }
        _ => {}
    }
}

// Conditions.

fn holds(expr: &Expr, key: Option<u128>, doc: &V) -> bool {
    let any =
        |path: &String, test: &dyn Fn(&V) -> bool| all(path, key, doc).iter().any(|v| test(v));
    match expr {
        Expr::And(parts) => parts.iter().all(|part| holds(part, key, doc)),
        Expr::Or(parts) => parts.iter().any(|part| holds(part, key, doc)),
        Expr::Not(inner) => !holds(inner, key, doc),
        Expr::Compare(path, "!=", with) => !any(path, &|v| compares(v, "=", with)),
        Expr::Compare(path, sign, with) => any(path, &|v| compares(v, sign, with)),
        Expr::In(path, values) => any(path, &|v| values.iter().any(|w| compares(v, "=", w))),
        Expr::Between(path, low, high) => {
            any(path, &|v| compares(v, ">=", low) && compares(v, "<=", high))
        }
        Expr::Contains(path, part) => any(path, &|v| match (v, part) {
            (V::Text(text), V::Text(part)) => text.contains(part.as_str()),
            (V::Array(items), part) => items.iter().any(|item| compares(item, "=", part)),
            _ => false,
        }),
        Expr::StartsWith(path, start) => {
            any(path, &|v| matches!(v, V::Text(text) if text.starts_with(start.as_str())))
        }
        Expr::Matches(path, pattern) => any(path, &|v| match v {
            V::Text(text) => match PATTERNS[*pattern] {
                "^a" => text.starts_with('a'),
                "b$" => text.ends_with('b'),
                "a" => text.contains('a'),
                "(?i)^B" => text.starts_with(['b', 'B']),
                other => panic!("{other} is not known here"),
            },
            _ => false,
        }),
        Expr::Exists(path) => !all(path, key, doc).is_empty(),
    }
}

fn compares(value: &V, sign: &str, with: &V) -> bool {
    if value.kind() != with.kind() {
        return false;
    }
    let order = value.order(with);
    match sign {
        "=" => order == Ordering::Equal,
        ">" => order == Ordering::Greater,
        ">=" => order != Ordering::Less,
        "<" => order == Ordering::Less,
        "<=" => order != Ordering::Greater,
        other => panic!("{other} is no sign"),
    }
}

// Lookups and groups.

fn looked_up(lookup: &Lookup, row: Row, b: &Store) -> Row {
    let values: Vec<V> =
        all(&lookup.local, row.0, &row.1).into_iter().map(Cow::into_owned).collect();
    let found = b.iter().filter(|(key, doc)| {
        let others = all(&lookup.foreign, Some(**key), doc);
        others.iter().any(|v| values.iter().any(|w| compares(v, "=", w)))
    });
    let mut found = found.map(|(key, doc)| {
        let mut fields = vec![("key".to_owned(), V::Text(key_text(*key)))];
        let V::Doc(rest) = doc else { panic!("{doc:?} is stored") };
        fields.extend(rest.iter().cloned());
        V::Doc(fields)
    });
    let put = if lookup.one { found.next() } else { Some(V::Array(found.collect())) };
    let (key, mut doc) = row;
    match put {
        Some(value) => change::set(&mut doc, &lookup.name, value).expect("a name of one part"),
        None => change::unset(&mut doc, &lookup.name),
    }
    (key, doc)
}

fn shaped(shape: &Shape, rows: &[Row]) -> Vec<Row> {
    let (by, figures) = match shape {
        Shape::Group(by, figures) => (by, &figures[..]),
        Shape::Distinct(by) => (by, &[][..]),
    };
    let mut valued: Vec<(Vec<Option<V>>, &Row)> = rows
        .iter()
        .map(|row| (by.iter().map(|path| get(path, row).map(Cow::into_owned)).collect(), row))
        .collect();
    if matches!(shape, Shape::Distinct(_)) {
        valued.retain(|(values, _): &(Vec<Option<V>>, _)| values.iter().any(Option::is_some));
    }
    // A stable sort: the first of a group is the first that was met.
    valued.sort_by(|(x, _), (y, _)| order_all(x, y));
    let mut groups: Vec<(Vec<Option<V>>, Vec<&Row>)> = Vec::new();
    if by.is_empty() {
        groups.push((vec![], vec![]));
    }
    for (values, row) in valued {
        match groups.last_mut() {
            Some((group, members)) if order_all(group, &values) == Ordering::Equal => {
                members.push(row);
            }
            _ => groups.push((values, vec![row])),
        }
    }
    let row = |(values, members): (Vec<Option<V>>, Vec<&Row>)| {
        let named = by.iter().zip(values).filter_map(|(path, v)| Some((path.clone(), v?)));
        let mut fields: Vec<(String, V)> = named.collect();
        fields.extend(figures.iter().map(|f| (f.alias.clone(), figure(f, &members))));
        (None, V::Doc(fields))
    };
    groups.into_iter().map(row).collect()
}

fn order_all(x: &[Option<V>], y: &[Option<V>]) -> Ordering {
    let pairs = x.iter().zip(y).map(|(v, w)| V::order_of(v.as_ref(), w.as_ref()));
    pairs.fold(Ordering::Equal, Ordering::then)
}

fn figure(figure: &Figure, members: &[&Row]) -> V {
    let Some(path) = &figure.path else { return count(members.len()) };
    let values: Vec<V> = members
        .iter()
        .filter_map(|row| get(path, row).map(Cow::into_owned))
        .filter(|value| !matches!(value, V::Null))
        .collect();
    let numbers: Vec<&V> = values.iter().filter(|value| value.is_number()).collect();
    let extreme = |wanted: Ordering| {
        let mut best: Option<&V> = None;
        for value in &values {
            if best.is_none_or(|best| value.order(best) == wanted) {
                best = Some(value);
            }
        }
        best.cloned().unwrap_or(V::Null)
    };
    match figure.function {
        "count" => count(values.len()),
        "min" => extreme(Ordering::Less),
        "max" => extreme(Ordering::Greater),
        "sum" => sum(&numbers),
        "avg" if numbers.is_empty() => V::Null,
        "avg" => V::Double(float_sum(&numbers) / numbers.len() as f64),
        other => panic!("{other} is no function"),
    }
}

fn count(n: usize) -> V {
    V::Long(n as i64)
}

fn sum(numbers: &[&V]) -> V {
    if numbers.iter().any(|n| matches!(n, V::Double(_))) {
        return V::Double(float_sum(numbers));
    }
    // Hundredths of hundredths: all decimals here are whole in them.
    let scaled: i128 = numbers.iter().map(|n| scaled(n)).sum();
    if numbers.iter().any(|n| matches!(n, V::Decimal(..))) {
        return V::Decimal(scaled, -4);
    }
    let whole = scaled / 10_000;
    match (i32::try_from(whole), i64::try_from(whole)) {
        (Ok(n), _) => V::Int(n),
        (_, Ok(n)) => V::Long(n),
        _ => V::Double(whole as f64),
    }
}

pub fn scaled(number: &V) -> i128 {
    match number {
        V::Int(n) => i128::from(*n) * 10_000,
        V::Long(n) => i128::from(*n) * 10_000,
        V::Decimal(c, e) => c * 10i128.pow((e + 4) as u32),
        other => panic!("{other:?} is not exact"),
    }
}

fn float_sum(numbers: &[&V]) -> f64 {
    let mut exact = 0i128;
    let mut float = 0.0;
    for number in numbers {
        match number {
            V::Double(d) => float += d,
            other => exact += scaled(other),
        }
    }
    exact as f64 / 10_000.0 + float
}
