//! Random documents and random queries, of a small world so that things meet.

use crate::value::V;

/// Random numbers of a seed.
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Dice {
        Dice(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0xD1B5_4A32_D192_ED03)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    /// One of `n` times.
    pub fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    fn of<T: Clone>(&mut self, all: &[T]) -> T {
        all[self.below(all.len() as u64) as usize].clone()
    }
}

const FIELDS: [&str; 8] = ["a", "b", "n", "s", "t", "l", "d", "q r"];
const PATHS: [&str; 18] = [
    "a", "b", "n", "s", "t", "l", "d", "q r", "d.x", "d.y", "l.0", "l.x", "l.1.x", "d.x.y", "a.x",
    "t.1", "key", "n",
];
const TEXTS: [&str; 8] = ["", "a", "ab", "b", "é", "abc", "B", "ba\"'\\n"];
/// Patterns, each with what `naive.rs` makes of it.
pub const PATTERNS: [&str; 4] = ["^a", "b$", "a", "(?i)^B"];

/// The keys of both stores: some are near each other, some share a beginning.
pub fn key(dice: &mut Dice) -> u128 {
    match dice.below(4) {
        0 => u128::MAX - u128::from(dice.below(4)),
        1 => (0xAB << 120) + u128::from(dice.below(20)),
        _ => u128::from(dice.below(60)),
    }
}

pub fn key_text(key: u128) -> String {
    format!("{key:032x}")
}

fn number(dice: &mut Dice) -> V {
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
    V::Doc(fields)
}

#[derive(Clone, Debug)]
pub enum Expr {
    And(Vec<Expr>),
    Or(Vec<Expr>),
    Not(Box<Expr>),
    /// With `=`, `!=`, `>`, `>=`, `<` or `<=`.
    Compare(String, &'static str, V),
    In(String, Vec<V>),
    Between(String, V, V),
    Contains(String, V),
    StartsWith(String, String),
    /// One of [`PATTERNS`].
    Matches(String, usize),
    Exists(String),
}

#[derive(Clone, Debug)]
pub struct Lookup {
    pub local: String,
    pub foreign: String,
    pub name: String,
    pub one: bool,
}

#[derive(Clone, Debug)]
pub struct Figure {
    pub alias: String,
    pub function: &'static str,
    pub path: Option<String>,
}

#[derive(Clone, Debug)]
pub enum Shape {
    Group(Vec<String>, Vec<Figure>),
    Distinct(Vec<String>),
}

#[derive(Clone, Debug, Default)]
pub struct Edits {
    pub set: Vec<(String, V)>,
    pub unset: Vec<String>,
    pub inc: Vec<(String, V)>,
    pub push: Vec<(String, V)>,
    /// Only with a filter that is a key: the tester cannot guess a new one.
    pub upsert: Vec<(String, V)>,
}

#[derive(Clone, Debug)]
pub enum Change {
    Edit(Edits),
    Replace(V),
    Delete,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Image {
    Before,
    After,
}

#[derive(Clone, Debug)]
pub enum Verb {
    Rows,
    Pluck(Vec<String>),
    Count,
    Change(Change, Option<Image>),
}

#[derive(Clone, Debug)]
pub struct Query {
    pub filter: Option<Expr>,
    pub lookups: Vec<Lookup>,
    pub joined: Option<Expr>,
    pub shape: Option<Shape>,
    pub having: Option<Expr>,
    pub order: Vec<(String, bool)>,
    pub skip: Option<u64>,
    pub limit: Option<u64>,
    pub verb: Verb,
}

/// A value to compare a field with.
fn operand(dice: &mut Dice, path: &str) -> V {
    match path {
        "key" if !dice.one_in(5) => V::Text(key_text(key(dice))),
        "n" | "d.y" if !dice.one_in(4) => number(dice),
        "s" if !dice.one_in(4) => V::Text(dice.of(&TEXTS).to_owned()),
        _ => value(dice, 2),
    }
}

fn expr(dice: &mut Dice, depth: u32, paths: &[String]) -> Expr {
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

pub fn query(dice: &mut Dice) -> Query {
    let paths: Vec<String> = PATHS.iter().map(|p| (*p).to_owned()).collect();
    let mut query = Query {
        filter: None,
        lookups: vec![],
        joined: None,
        shape: None,
        having: None,
        order: vec![],
        skip: None,
        limit: None,
        verb: Verb::Rows,
    };
    if !dice.one_in(4) {
        query.filter = Some(expr(dice, 2, &paths));
    }
    if dice.one_in(3) {
        query.skip = Some(dice.below(6));
    }
    if dice.one_in(3) {
        query.limit = Some(dice.below(8));
    }
    if dice.one_in(5) {
        change(dice, &mut query);
        return query;
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

fn change(dice: &mut Dice, query: &mut Query) {
    if dice.one_in(2) {
        query.order = some_paths(dice, 2).into_iter().map(|path| (path, dice.one_in(2))).collect();
    }
    let image = |dice: &mut Dice, after: bool| match dice.below(3) {
        0 => None,
        1 if after => Some(Image::After),
        _ => Some(Image::Before),
    };
    if dice.one_in(12) {
        // Few, so that the stores live.
        query.limit = Some(dice.below(3));
        query.verb = Verb::Change(Change::Delete, image(dice, false));
        return;
    }
    if dice.one_in(6) {
        query.limit = Some(dice.below(3));
        let image = image(dice, true);
        query.verb = Verb::Change(Change::Replace(document(dice)), image);
        return;
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
    if dice.one_in(4) {
        let key = key_text(key(dice));
        query.filter = Some(Expr::Compare("key".to_owned(), "=", V::Text(key)));
        (query.skip, query.limit) = (None, None);
        let upserted = if left.contains(&"new") { "new" } else { "other" };
        edits.upsert.push((upserted.to_owned(), value(dice, 1)));
    }
    let image = image(dice, true);
    query.verb = Verb::Change(Change::Edit(edits), image);
}
