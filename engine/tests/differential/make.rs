//! Random documents and random queries, of a small world so that things meet.

use crate::dice::Dice;
use crate::indexes::{some_unique, unique, within_a_partial};
use crate::query::{
    Change, Edits, Expr, Figure, Image, Lookup, PATTERNS, Query, Shape, Slip, Verb,
};
use crate::value::{V, key_text};

const FIELDS: [&str; 8] = ["a", "b", "n", "s", "t", "l", "d", "q r"];
const PATHS: [&str; 19] = [
    "a", "b", "n", "s", "t", "l", "d", "q r", "d.x", "d.y", "l.0", "l.x", "l.1.x", "d.x.y", "a.x",
    "t.1", "key", "n", "u",
];
const TEXTS: [&str; 8] = ["", "a", "ab", "b", "é", "abc", "B", "ba\"'\\n"];

/// The keys of both stores: some are near each other, some share a beginning.
pub fn key(dice: &mut Dice) -> u128 {
    match dice.below(4) {
        0 => u128::MAX - u128::from(dice.below(4)),
        1 => (0xAB << 120) + u128::from(dice.below(20)),
        _ => u128::from(dice.below(60)),
    }
}

pub fn number(dice: &mut Dice) -> V {
    let small = dice.below(6) as i64 - 2;
    match dice.below(16) {
        0..=5 => V::Int(small as i32),
        6 | 7 => V::Long(small),
        8 => V::Long(dice.of(&[(1 << 53) + 1, i64::MAX, 1 << 40])),
        9 => V::Double(dice.of(&[f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -0.0])),
        10..=12 => V::Double(small as f64 + dice.below(4) as f64 * 0.25),
        13 => V::Decimal(i128::from(small), 0),
        _ => V::Decimal(i128::from(dice.below(40)) - 20, dice.below(4) as i32 - 2),
    }
}

pub fn value(dice: &mut Dice, depth: u32) -> V {
    match dice.below(if depth == 0 { 20 } else { 26 }) {
        0..=6 => number(dice),
        7..=11 => V::Text(dice.of(&TEXTS).to_owned()),
        12 | 13 => V::Null,
        14 => V::Bool(dice.one_in(2)),
        15 | 16 => V::Date(dice.of(&[0, -1, 1_357_016_400_000, 99_999_999_999_999_999])),
        17 => V::Id([dice.below(3) as u8; 12]),
        18 => V::Binary(dice.of(&[0, 4, 128]), vec![dice.below(3) as u8; dice.of(&[0, 2, 16])]),
        19 => dice.of(&[V::Min, V::Max, V::Stamp(7), V::Stamp(8), V::Regex("^a".to_owned())]),
        20..=22 => {
            let mut fields = Vec::new();
            for name in ["x", "y"] {
                if !dice.one_in(3) {
                    fields.push((name.to_owned(), value(dice, depth - 1)));
                }
            }
            V::Doc(fields)
        }
        _ => V::Array((0..dice.below(4)).map(|_| value(dice, depth - 1)).collect()),
    }
}

pub fn document(dice: &mut Dice) -> V {
    let mut fields = Vec::new();
    for name in FIELDS {
        if dice.one_in(3) {
            continue;
        }
        let held = match name {
            "n" if !dice.one_in(4) => number(dice),
            "s" if !dice.one_in(4) => V::Text(dice.of(&TEXTS).to_owned()),
            "l" if !dice.one_in(4) => {
                V::Array((0..dice.below(4)).map(|_| value(dice, 1)).collect())
            }
            "d" if !dice.one_in(4) => {
                V::Doc(vec![("x".to_owned(), value(dice, 1)), ("y".to_owned(), number(dice))])
            }
            _ => value(dice, 2),
        };
        fields.push((name.to_owned(), held));
    }
    if !dice.one_in(4) {
        fields.push(("u".to_owned(), unique(dice)));
    }
    V::Doc(fields)
}

/// A value to compare a field with.
pub fn operand(dice: &mut Dice, path: &str) -> V {
    match path {
        "key" if !dice.one_in(5) => V::Text(key_text(key(dice))),
        "n" | "d.y" if !dice.one_in(4) => number(dice),
        "u" => some_unique(dice),
        "s" if !dice.one_in(4) => V::Text(dice.of(&TEXTS).to_owned()),
        _ => value(dice, 2),
    }
}

pub fn expr(dice: &mut Dice, depth: u32, paths: &[String]) -> Expr {
    if depth > 0 && dice.one_in(2) {
        let mut parts = || (0..2 + dice.below(2)).map(|_| expr(dice, depth - 1, paths)).collect();
        let parts: Vec<Expr> = parts();
        return match dice.below(5) {
            0 | 1 => Expr::And(parts),
            2 | 3 => Expr::Or(parts),
            _ => Expr::Not(Box::new(parts.into_iter().next().expect("at least two"))),
        };
    }
    let path = dice.of(paths);
    if dice.one_in(10) {
        // Two ends, which two items of an array may meet.
        let of = dice.of(&["l", "l.x", "t", "n", "a"]);
        let path = if paths.iter().any(|path| path == of) { of.to_owned() } else { path };
        let up = dice.of(&[">", ">="]);
        let low = Expr::Compare(path.clone(), up, number(dice));
        return Expr::And(vec![low, Expr::Compare(path, dice.of(&["<", "<="]), number(dice))]);
    }
    match dice.below(16) {
        0..=6 => {
            let sign = dice.of(&["=", "=", "!=", ">", ">=", "<", "<="]);
            let with = operand(dice, &path);
            Expr::Compare(path, sign, with)
        }
        7 | 8 => {
            let values = (0..dice.below(4)).map(|_| operand(dice, &path)).collect();
            Expr::In(path, values)
        }
        9 | 10 => {
            let (low, high) = (operand(dice, &path), operand(dice, &path));
            Expr::Between(path, low, high)
        }
        11 | 12 => {
            let with = value(dice, 1);
            Expr::Contains(path, with)
        }
        13 => {
            let starts = if path == "key" { "ab" } else { dice.of(&TEXTS) };
            Expr::StartsWith(path, starts.to_owned())
        }
        14 => Expr::Matches(path, dice.below(PATTERNS.len() as u64) as usize),
        _ => Expr::Exists(path),
    }
}

fn some_paths(dice: &mut Dice, most: u64) -> Vec<String> {
    let mut paths: Vec<String> = Vec::new();
    for _ in 0..1 + dice.below(most) {
        let path = dice.of(&PATHS).to_owned();
        if !paths.contains(&path) {
            paths.push(path);
        }
    }
    paths
}

/// A query of all, to be filled.
pub fn started(dice: &mut Dice) -> Query {
    let style = dice.any();
    let fresh = (0xCD << 120) + u128::from(dice.any());
    Query { style, fresh, ..Query::all() }
}

/// A query that changes nothing.
pub fn question(dice: &mut Dice) -> Query {
    let paths: Vec<String> = PATHS.iter().map(|p| (*p).to_owned()).collect();
    let mut query = started(dice);
    if !dice.one_in(4) {
        query.filter = Some(match dice.one_in(8) {
            true => {
                let (within, of) = within_a_partial(dice);
                Expr::And(vec![within, expr(dice, 1, &[of.to_owned()])])
            }
            false => expr(dice, 2, &paths),
        });
    }
    if dice.one_in(3) {
        query.skip = Some(dice.below(6));
    }
    if dice.one_in(3) {
        query.limit = Some(dice.below(8));
    }
    if dice.one_in(40) {
        query.slip = Some(dice.of(&[Slip::Extra, Slip::Limit]));
    }
    if dice.one_in(30) {
        let slip = query.slip.filter(|slip| *slip == Slip::Extra);
        return Query { slip, verb: Verb::Get(key(dice)), ..started(dice) };
    }
    let mut seen = paths;
    if dice.one_in(6) {
        for number in 0..1 + dice.below(2) {
            let name = if dice.one_in(4) { "t".to_owned() } else { format!("j{number}") };
            if query.lookups.iter().any(|l: &Lookup| l.name == name) {
                continue;
            }
            let one = dice.one_in(2);
            let (local, foreign) = match dice.below(4) {
                0 => ("key".to_owned(), "key".to_owned()),
                1 => (
                    dice.of(&["s", "t", "l", "a"]).to_owned(),
                    dice.of(&["s", "t", "l", "a"]).to_owned(),
                ),
                _ => (dice.of(&seen), dice.of(&PATHS).to_owned()),
            };
            seen.extend(
                ["", ".n", ".0.n", ".s", ".key", ".0.key"].map(|rest| format!("{name}{rest}")),
            );
            query.lookups.push(Lookup { local, foreign, name, one });
        }
        if dice.one_in(2) {
            query.joined = Some(expr(dice, 1, &seen));
        }
    }
    let mut fields = seen.clone();
    if dice.one_in(4) {
        let mut by = Vec::new();
        for _ in 0..dice.below(3) {
            let path = dice.of(&seen);
            if !by.contains(&path) {
                by.push(path);
            }
        }
        if dice.one_in(3) && !by.is_empty() {
            query.shape = Some(Shape::Distinct(by.clone()));
            fields = by;
        } else {
            let figures: Vec<Figure> = (0..1 + dice.below(3))
                .map(|number| {
                    let function = dice.of(&["count", "count", "sum", "avg", "min", "max"]);
                    let path = dice.of(&["n", "d.y", "s", "a", "key", "l.0"]).to_owned();
                    let bare = function == "count" && dice.one_in(2);
                    Figure { alias: format!("f{number}"), function, path: (!bare).then_some(path) }
                })
                .collect();
            fields = by.clone();
            fields.extend(figures.iter().map(|f| f.alias.clone()));
            query.shape = Some(Shape::Group(by, figures));
        }
        if dice.one_in(3) {
            query.having = Some(expr(dice, 1, &fields));
        }
    }
    if dice.one_in(2) {
        for _ in 0..1 + dice.below(3) {
            query.order.push((dice.of(&fields), dice.one_in(2)));
        }
    }
    query.verb = match dice.below(6) {
        0 => Verb::Count,
        1 | 2 => {
            let mut plucked = Vec::new();
            for _ in 0..1 + dice.below(3) {
                let path = dice.of(&fields);
                if !plucked.contains(&path) {
                    plucked.push(path);
                }
            }
            Verb::Pluck(plucked)
        }
        _ => Verb::Rows,
    };
    query
}

/// A query that changes documents.
pub fn change(dice: &mut Dice) -> Query {
    let mut query = started(dice);
    let image = |dice: &mut Dice, after: bool| match dice.below(3) {
        0 => None,
        1 if after => Some(Image::After),
        _ => Some(Image::Before),
    };
    if dice.one_in(10) {
        query.verb = Verb::Insert(document(dice), dice.one_in(2));
        return query;
    }
    let paths: Vec<String> = PATHS.iter().map(|p| (*p).to_owned()).collect();
    query.filter = (!dice.one_in(4)).then(|| expr(dice, 2, &paths));
    query.skip = dice.one_in(3).then(|| dice.below(6));
    query.limit = dice.one_in(3).then(|| dice.below(8));
    if dice.one_in(2) {
        query.order = some_paths(dice, 2).into_iter().map(|path| (path, dice.one_in(2))).collect();
    }
    if dice.one_in(12) {
        // Few, so that the stores live.
        query.limit = Some(dice.below(3));
        query.verb = Verb::Change(Change::Delete, image(dice, false));
        return query;
    }
    if dice.one_in(6) {
        let most = dice.below(3);
        query.limit = Some(most);
        let mut new = document(dice);
        if let (V::Doc(fields), true) = (&mut new, most > 1) {
            // What two documents cannot both have.
            fields.retain(|(name, _)| name != "u");
        }
        query.verb = Verb::Change(Change::Replace(new), image(dice, true));
        return query;
    }
    let mut edits = Edits::default();
    let mut left = vec!["a", "b", "n", "s", "t", "l", "d.x", "d.y", "q r", "new", "l.0", "n2.x"];
    for _ in 0..1 + dice.below(3) {
        let at = dice.below(left.len() as u64) as usize;
        let path = left.remove(at).to_owned();
        // No path may lie in another.
        left.retain(|other| {
            !other.starts_with(&format!("{path}.")) && !path.starts_with(&format!("{other}."))
        });
        match dice.below(5) {
            0 | 1 => edits.set.push((path, value(dice, 2))),
            2 => edits.unset.push(path),
            3 => edits.inc.push((path, number(dice))),
            _ => edits.push.push((path, value(dice, 1))),
        }
    }
    if dice.one_in(8) {
        query.limit = Some(1);
        edits.set.push(("u".to_owned(), unique(dice)));
    }
    if dice.one_in(4) {
        let upserted = if left.contains(&"new") { "new" } else { "other" };
        edits.upsert.push((upserted.to_owned(), value(dice, 1)));
        if dice.one_in(2) {
            let key = key_text(key(dice));
            query.filter = Some(Expr::Compare("key".to_owned(), "=", V::Text(key)));
        }
        if dice.one_in(2) {
            query.skip = None;
            query.limit = query.limit.filter(|_| edits.set.iter().any(|(path, _)| path == "u"));
        }
    }
    query.verb = Verb::Change(Change::Edit(edits), image(dice, true));
    query
}

/// A change of every document to one that is kept outside its leaf: what was there is
/// to be collected.
pub fn churn(dice: &mut Dice) -> Query {
    let pad = ("pad".to_owned(), V::Text(dice.of(&["x", "y", "z"]).repeat(100)));
    let edits = Edits { set: vec![pad], ..Edits::default() };
    Query { verb: Verb::Change(Change::Edit(edits), None), ..started(dice) }
}
