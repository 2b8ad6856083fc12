//! Documents and queries that mean the same in SQLite: flat but for `d`, of numbers,
//! texts, null and what is missing.
//!
//! What must stay true: `n` and `b` hold numbers or null, `s` texts or null; no number
//! is NaN, infinite or -0.0, for SQLite stores those as others; no sum of integers
//! passes 64 bits, which SQLite refuses.

use crate::dice::Dice;
use crate::make::{key, started};
use crate::query::{Change, Edits, Expr, Figure, Image, Lookup, PATTERNS, Query, Shape, Verb};
use crate::value::{V, key_text};

/// Paths that SQLite has too.
pub const PATHS: [&str; 8] = ["n", "b", "s", "a", "t", "d.x", "d.y", "key"];
const TEXTS: [&str; 9] = ["", "a", "ab", "b", "é", "abc", "B", "it's", "ba"];

fn number(dice: &mut Dice) -> V {
    let small = dice.below(7) as i64 - 2;
    match dice.below(12) {
        0..=4 => V::Int(small as i32),
        5 | 6 => V::Long(small),
        7 => V::Long(dice.of(&[(1 << 53) + 1, 1 << 40])),
        8 => V::Double(dice.of(&[9_007_199_254_740_992.0, 1.5])),
        _ => V::Double((small * 4 + dice.below(4) as i64) as f64 * 0.25),
    }
}

fn word(dice: &mut Dice) -> V {
    V::Text(dice.of(&TEXTS).to_owned())
}

fn held(dice: &mut Dice, path: &str) -> V {
    match (path, dice.below(6)) {
        (_, 0) => V::Null,
        ("n" | "b" | "d.x", _) => number(dice),
        ("s" | "t" | "d.y", _) => word(dice),
        (_, 1..=3) => number(dice),
        _ => word(dice),
    }
}

pub fn document(dice: &mut Dice) -> V {
    let mut fields = Vec::new();
    for path in ["n", "b", "s", "a", "t"] {
        if !dice.one_in(5) {
            fields.push((path.to_owned(), held(dice, path)));
        }
    }
    let mut inner = Vec::new();
    for path in ["d.x", "d.y"] {
        if !dice.one_in(4) {
            inner.push((path[2..].to_owned(), held(dice, path)));
        }
    }
    fields.push(("d".to_owned(), V::Doc(inner)));
    V::Doc(fields)
}

fn operand(dice: &mut Dice, path: &str) -> V {
    match path {
        "key" | "j.key" => V::Text(key_text(key(dice))),
        _ if dice.one_in(5) => held(dice, "a"),
        // Figures and fields of what was looked up.
        _ => held(dice, path.rsplit("j.").next().unwrap_or(path)),
    }
}

fn expr(dice: &mut Dice, depth: u32, paths: &[String]) -> Expr {
    if depth > 0 && dice.one_in(2) {
        let mut parts: Vec<Expr> =
            (0..2 + dice.below(2)).map(|_| expr(dice, depth - 1, paths)).collect();
        return match dice.below(3) {
            0 => Expr::And(parts),
            1 => Expr::Or(parts),
            _ => Expr::Not(Box::new(parts.remove(0))),
        };
    }
    let path = dice.of(paths);
    let with = operand(dice, &path);
    match dice.below(14) {
        0..=6 => Expr::Compare(path, dice.of(&["=", "=", "!=", ">", ">=", "<", "<="]), with),
        7 | 8 => {
            let values = (0..dice.below(4)).map(|_| operand(dice, &path)).collect();
            Expr::In(path, values)
        }
        9 | 10 => {
            let high = operand(dice, &path);
            Expr::Between(path, with, high)
        }
        11 => Expr::StartsWith(path, dice.of(&TEXTS).to_owned()),
        12 => match dice.one_in(2) {
            true => Expr::Contains(path, word(dice)),
            false => Expr::Matches(path, dice.below(PATTERNS.len() as u64) as usize),
        },
        _ => Expr::Exists(path),
    }
}

pub fn question(dice: &mut Dice) -> Query {
    let mut seen: Vec<String> = PATHS.iter().map(|path| (*path).to_owned()).collect();
    let mut query = started(dice);
    query.filter = (!dice.one_in(4)).then(|| expr(dice, 2, &seen));
    query.skip = dice.one_in(4).then(|| dice.below(6));
    query.limit = dice.one_in(3).then(|| dice.below(12));
    if dice.one_in(6) {
        let one = dice.one_in(2);
        let (local, foreign) = dice.of(&[("key", "key"), ("n", "b"), ("s", "s"), ("a", "a")]);
        let (local, foreign) = (local.to_owned(), foreign.to_owned());
        query.lookups.push(Lookup { local, foreign, name: "j".to_owned(), one });
        let found: Vec<String> =
            ["j.n", "j.s", "j.a", "j.key"].iter().map(|path| (*path).to_owned()).collect();
        query.joined = dice.one_in(2).then(|| expr(dice, 1, &found));
        if one {
            // Of all of them SQLite gives no array.
            seen.extend(found);
        }
    }
    let mut fields = seen.clone();
    if dice.one_in(3) {
        let by: Vec<String> = (0..dice.below(3)).map(|_| dice.of(&seen)).collect();
        let mut by = by;
        by.dedup();
        fields = by.clone();
        query.shape = Some(if dice.one_in(3) && !by.is_empty() {
            Shape::Distinct(by)
        } else {
            let figures: Vec<Figure> = (0..1 + dice.below(3))
                .map(|number| {
                    let function = dice.of(&["count", "count", "sum", "avg", "min", "max"]);
                    let path = dice.of(&["n", "b", "a", "s", "d.x"]).to_owned();
                    let bare = function == "count" && dice.one_in(2);
                    Figure { alias: format!("f{number}"), function, path: (!bare).then_some(path) }
                })
                .collect();
            fields.extend(figures.iter().map(|figure| figure.alias.clone()));
            Shape::Group(by, figures)
        });
        query.having = dice.one_in(3).then(|| expr(dice, 1, &fields));
    }
    if dice.one_in(2) {
        for _ in 0..1 + dice.below(3) {
            query.order.push((dice.of(&fields), dice.one_in(2)));
        }
    }
    query.verb = match dice.below(4) {
        0 => Verb::Count,
        1 => Verb::Rows,
        _ => {
            let mut plucked: Vec<String> =
                (0..1 + dice.below(2)).map(|_| dice.of(&fields)).collect();
            plucked.dedup();
            Verb::Pluck(plucked)
        }
    };
    query
}

pub fn change(dice: &mut Dice) -> Query {
    let paths: Vec<String> = PATHS.iter().map(|path| (*path).to_owned()).collect();
    let mut query = started(dice);
    let mut filter = expr(dice, 1, &paths);
    query.limit = dice.one_in(2).then(|| dice.below(6));
    if dice.one_in(2) {
        query.order.push((dice.of(&paths), dice.one_in(2)));
    }
    let mut edits = Edits::default();
    let change = match dice.below(6) {
        0 => {
            query.limit = Some(dice.below(3));
            Change::Delete
        }
        1 => {
            edits.unset.push(dice.of(&["n", "b", "s", "a", "t"]).to_owned());
            Change::Edit(edits)
        }
        2 => {
            let there = Expr::Compare("n".to_owned(), ">=", V::Int(-1000));
            filter = Expr::And(vec![there, filter]);
            edits.inc.push(("n".to_owned(), V::Int(1 + dice.below(3) as i32)));
            Change::Edit(edits)
        }
        _ => {
            let path = dice.of(&["n", "b", "s", "a", "t"]);
            edits.set.push((path.to_owned(), held(dice, path)));
            Change::Edit(edits)
        }
    };
    query.filter = Some(filter);
    let image = dice.one_in(3).then_some(Image::Before);
    query.verb = Verb::Change(change, image);
    query
}
