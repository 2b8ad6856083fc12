//! Many documents, most of them with the same few values, and queries for some of
//! them: so that guesses are wrong, sorts spill, and fetches are of many documents.

use crate::dice::Dice;
use crate::indexes::{some_unique, unique, within_a_partial};
use crate::make::{self, started};
use crate::query::{Change, Edits, Expr, Figure, Image, Lookup, Query, Shape, Verb};
use crate::value::{V, key_text};

pub const DOCUMENTS: u64 = 2_000;

pub fn key(dice: &mut Dice) -> u128 {
    // Some are as the keys of the other store, for lookups.
    match dice.one_in(40) {
        true => u128::from(dice.below(60)),
        false => (u128::from(dice.any()) << 64) | u128::from(dice.any()),
    }
}

/// Two of three are the same, the others of many.
fn number(dice: &mut Dice) -> V {
    match dice.below(12) {
        0..=7 => V::Int(7),
        8 => V::Double(dice.below(300) as f64 + 0.5),
        9 => V::Long(7),
        _ => V::Int(dice.below(300) as i32),
    }
}

fn word(dice: &mut Dice) -> V {
    match dice.one_in(2) {
        true => V::Text("hot".to_owned()),
        // A third of them is too long for an entry, and differs behind the cut.
        false => {
            let n = dice.below(200);
            let long = if n.is_multiple_of(3) { "w".repeat(250) } else { "w".to_owned() };
            V::Text(format!("{long}{n:03}"))
        }
    }
}

fn tag(dice: &mut Dice) -> V {
    V::Text(format!("t{}", dice.below(40)))
}

pub fn document(dice: &mut Dice, number_of: u64) -> V {
    let mut fields: Vec<(&str, V)> = vec![("n", number(dice)), ("s", word(dice))];
    if dice.one_in(2) {
        fields.push(("a", V::Double(dice.below(1000) as f64 * 0.25)));
    }
    if dice.one_in(12) {
        fields.push(("b", dice.of(&[V::Null, V::Bool(true), V::Int(3), V::Text("b".to_owned())])));
    }
    if dice.one_in(20) {
        fields.push(("t", V::Date(dice.below(50) as i64)));
    }
    if dice.one_in(3) {
        let mut items: Vec<V> = (0..dice.below(4)).map(|_| tag(dice)).collect();
        if dice.one_in(3) {
            items.push(V::Doc(vec![("x".to_owned(), V::Int(dice.below(90) as i32))]));
        }
        fields.push(("l", V::Array(items)));
    }
    // Nearly each of its own, and few of them.
    let near = vec![
        ("x".to_owned(), V::Int(number_of as i32 / 2)),
        ("y".to_owned(), V::Int(dice.below(9) as i32 - 4)),
    ];
    fields.push(("d", V::Doc(near)));
    if !dice.one_in(5) {
        fields.push(("u", unique(dice)));
    }
    fields.push(("pad", V::Text("p".repeat(40 + dice.below(60) as usize))));
    V::Doc(fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}

const PATHS: [&str; 12] = ["n", "s", "a", "b", "t", "l", "l.x", "d.x", "d.y", "u", "key", "pad"];

fn operand(dice: &mut Dice, path: &str) -> V {
    match path {
        "n" => number(dice),
        "s" | "pad" => word(dice),
        "a" => V::Double(dice.below(1000) as f64 * 0.25),
        "t" => V::Date(dice.below(50) as i64),
        "l" => tag(dice),
        "l.x" => V::Int(dice.below(90) as i32),
        "d.x" => V::Int(dice.below(DOCUMENTS / 2) as i32),
        "d.y" => V::Int(dice.below(9) as i32 - 4),
        "u" => some_unique(dice),
        "key" => V::Text(key_text(key(dice))),
        _ => make::value(dice, 1),
    }
}

/// A condition that an index may serve.
fn narrow(dice: &mut Dice) -> Expr {
    let path = dice.of(&PATHS[..10]);
    let of = path.to_owned();
    let near = |low: i64, up: i64| (V::Long(low), V::Long(up));
    match dice.below(9) {
        8 => match dice.below(3) {
            0 => Expr::StartsWith("key".to_owned(), dice.of(&["0", "f3", "no key"]).to_owned()),
            _ => {
                let three = ["d.x", "d.y", "s"]
                    .map(|path| Expr::Compare(path.to_owned(), "=", operand(dice, path)));
                Expr::And(three.into())
            }
        },
        0..=2 => Expr::Compare(of, "=", operand(dice, path)),
        3 => Expr::In(of, (0..1 + dice.below(12)).map(|_| operand(dice, path)).collect()),
        4 => {
            let at = dice.below(DOCUMENTS / 2) as i64;
            let (low, high) = near(at, at + dice.below(60) as i64);
            Expr::Between("d.x".to_owned(), low, high)
        }
        5 => {
            let start = dice.of(&["w", "w1", "wwww", "ho", "hot", "w00"]);
            Expr::StartsWith("s".to_owned(), start.to_owned())
        }
        6 => {
            let sign = dice.of(&[">", ">=", "<", "<="]);
            Expr::Compare(of, sign, operand(dice, path))
        }
        _ => {
            let (within, path) = within_a_partial(dice);
            let with = operand(dice, path);
            Expr::And(vec![within, Expr::Compare(path.to_owned(), "=", with)])
        }
    }
}

fn filter(dice: &mut Dice) -> Expr {
    let paths: Vec<String> = PATHS.iter().map(|path| (*path).to_owned()).collect();
    match dice.below(8) {
        0..=2 => narrow(dice),
        3 => Expr::And(vec![narrow(dice), narrow(dice)]),
        4 => {
            let (n, s) = (operand(dice, "n"), operand(dice, "s"));
            let sign = dice.of(&["=", ">", "<="]);
            let first = Expr::Compare("s".to_owned(), "=", s);
            Expr::And(vec![first, Expr::Compare("n".to_owned(), sign, n)])
        }
        5 | 6 => Expr::Or((0..2 + dice.below(3)).map(|_| narrow(dice)).collect()),
        _ => Expr::And(vec![narrow(dice), make::expr(dice, 1, &paths)]),
    }
}

/// Queries that take ways which others may never take.
pub fn certain(dice: &mut Dice) -> Vec<Query> {
    let mut of = |shape: Option<Shape>, order: Option<(&str, bool)>| Query {
        style: dice.any() / 16 * 16,
        shape,
        order: order.map(|(path, down)| (path.to_owned(), down)).into_iter().collect(),
        ..started(dice)
    };
    let count = Figure { alias: "f0".to_owned(), function: "count", path: None };
    let by = |path: &str| vec![path.to_owned()];
    let mut nothing = of(None, None);
    nothing.filter = Some(Expr::StartsWith("key".to_owned(), "no key".to_owned()));
    let mut backwards = of(None, Some(("key", true)));
    backwards.filter = Some(Expr::Compare("d.x".to_owned(), "<", V::Int(50)));
    let groups = of(Some(Shape::Group(by("d.x"), vec![count])), None);
    let distinct = of(Some(Shape::Distinct(by("u"))), Some(("u", true)));
    let sorted = of(None, Some(("s", true)));
    let mut unread = of(None, None);
    unread.filter = Some(Expr::In("u".to_owned(), vec![]));
    let mut behind = of(None, Some(("s", false)));
    behind.filter = Some(Expr::Between("d.x".to_owned(), V::Int(100), V::Int(200)));
    let mut joined = of(None, None);
    joined.filter = Some(Expr::Compare("d.x".to_owned(), "<", V::Int(20)));
    let looked = |(local, foreign, name): (&str, &str, &str)| Lookup {
        local: local.to_owned(),
        foreign: foreign.to_owned(),
        name: name.to_owned(),
        one: true,
    };
    joined.lookups = [("key", "key", "i"), ("d.y", "n", "j")].map(looked).into();
    vec![nothing, backwards, groups, distinct, sorted, unread, behind, joined]
}

pub fn question(dice: &mut Dice) -> Query {
    // Every one is explained.
    let mut query = Query { style: dice.any() / 16 * 16, ..started(dice) };
    query.filter = (!dice.one_in(4)).then(|| filter(dice));
    query.skip = dice.one_in(4).then(|| dice.below(80));
    query.limit = dice.one_in(3).then(|| dice.below(120));
    if dice.one_in(10) {
        let one = dice.one_in(2);
        let (local, foreign) = dice.of(&[("key", "key"), ("d.y", "n"), ("u", "u"), ("l", "l")]);
        let (local, foreign) = (local.to_owned(), foreign.to_owned());
        query.lookups.push(Lookup { local, foreign, name: "j".to_owned(), one });
        query.filter = Some(narrow(dice));
        query.verb = Verb::Pluck(vec!["key".to_owned(), "j".to_owned()]);
        return query;
    }
    let mut fields: Vec<String> = PATHS.iter().map(|path| (*path).to_owned()).collect();
    if dice.one_in(10) {
        query.order.push(("key".to_owned(), true));
    } else if dice.one_in(3) {
        let by: Vec<&str> =
            dice.of(&[vec!["n"], vec!["s"], vec!["d.x"], vec!["d.y", "n"], vec!["u"], vec!["l"]]);
        fields = by.into_iter().map(str::to_owned).collect();
        query.shape = Some(match dice.one_in(4) {
            true => Shape::Distinct(fields.clone()),
            false => {
                let figure = |(number, function): (usize, &&'static str)| {
                    let of = if *function == "count" { None } else { Some("a".to_owned()) };
                    Figure { alias: format!("f{number}"), function, path: of }
                };
                let all = dice.of(&[&["count", "sum"][..], &["count", "avg"], &["count", "max"]]);
                let figures: Vec<Figure> = all.iter().enumerate().map(figure).collect();
                let shape = Shape::Group(fields.clone(), figures);
                fields.push("f0".to_owned());
                query.having = dice
                    .one_in(3)
                    .then(|| Expr::Compare("f0".to_owned(), ">", V::Long(dice.below(6) as i64)));
                shape
            }
        });
    }
    if dice.one_in(2) {
        for _ in 0..1 + dice.below(2) {
            query.order.push((dice.of(&fields), dice.one_in(2)));
        }
    }
    query.verb = match dice.below(4) {
        0 => Verb::Count,
        1 => Verb::Rows,
        _ => {
            let mut plucked = vec![dice.of(&fields)];
            plucked.extend(Some(dice.of(&fields)).filter(|path| *path != plucked[0]));
            Verb::Pluck(plucked)
        }
    };
    query
}

pub fn change(dice: &mut Dice) -> Query {
    // Every change is explained.
    let style = dice.any() / 16 * 16;
    let mut query = Query { style, filter: Some(filter(dice)), ..started(dice) };
    query.limit = Some(dice.below(200));
    if dice.one_in(6) {
        query.filter = None;
        query.order.push(("key".to_owned(), dice.one_in(2)));
        query.limit = Some(dice.below(20));
        query.verb = Verb::Change(Change::Delete, None);
        return query;
    }
    if dice.one_in(2) {
        query.order.push((dice.of(&PATHS).to_owned(), dice.one_in(2)));
    }
    let image = dice.one_in(3).then(|| dice.of(&[Image::Before, Image::After]));
    let of = |path: &str, value: V| vec![(path.to_owned(), value)];
    let change = match dice.below(6) {
        0 => {
            let image = image.map(|_| Image::Before);
            query.verb = Verb::Change(Change::Delete, image);
            return query;
        }
        1 => Edits { set: of("s", word(dice)), ..Edits::default() },
        2 => Edits { set: of("n", number(dice)), ..Edits::default() },
        3 => Edits { inc: of("d.x", V::Int(dice.below(50) as i32)), ..Edits::default() },
        4 => Edits { set: of("l", V::Array(vec![tag(dice), tag(dice)])), ..Edits::default() },
        _ => Edits { unset: vec!["a".to_owned(), "l".to_owned()], ..Edits::default() },
    };
    query.verb = Verb::Change(Change::Edit(change), image);
    query
}
