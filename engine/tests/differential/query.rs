//! A query of the tester, as data: `make.rs` and `skew.rs` make them, `text.rs` and
//! `sql.rs` write them, `naive.rs` answers them, and here they become smaller.
//!
//! What must stay true: the text of a query depends on the query alone, so that it can
//! be asked again, and shrunk.

use crate::value::V;

/// Patterns, each with what `naive.rs` makes of it.
pub const PATTERNS: [&str; 4] = ["^a", "b$", "a", "(?i)^B"];

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
    /// The document under a key.
    Get(u128),
    /// Adds one under a key of the engine's; whether it is given back.
    Insert(V, bool),
}

/// What is wrong with the parameters given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slip {
    /// One more than the query has.
    Extra,
    /// `limit` is given a value that is no number of rows.
    Limit,
}

#[derive(Clone, Debug)]
pub struct Query {
    /// What decides how it is written.
    pub style: u64,
    pub slip: Option<Slip>,
    pub filter: Option<Expr>,
    pub lookups: Vec<Lookup>,
    pub joined: Option<Expr>,
    pub shape: Option<Shape>,
    pub having: Option<Expr>,
    pub order: Vec<(String, bool)>,
    pub skip: Option<u64>,
    pub limit: Option<u64>,
    pub verb: Verb,
    /// The key the tester gives to a document that gets one of the engine's.
    pub fresh: u128,
}

impl Query {
    /// All documents.
    pub fn all() -> Query {
        Query {
            style: 0,
            slip: None,
            filter: None,
            lookups: vec![],
            joined: None,
            shape: None,
            having: None,
            order: vec![],
            skip: None,
            limit: None,
            verb: Verb::Rows,
            fresh: 0,
        }
    }

    /// Whether it can be explained.
    pub fn selects(&self) -> bool {
        !matches!(self.verb, Verb::Get(_) | Verb::Insert(..))
    }

    /// Queries that say a little less. Some are none: the engine refuses them.
    pub fn smaller(&self) -> Vec<Query> {
        let mut all = Vec::new();
        let mut with = |change: &dyn Fn(&mut Query)| {
            let mut query = self.clone();
            change(&mut query);
            all.push(query);
        };
        for (there, part) in [
            (self.shape.is_some(), 0),
            (!self.lookups.is_empty(), 1),
            (self.filter.is_some(), 2),
            (self.joined.is_some(), 3),
            (self.having.is_some(), 4),
            (self.skip.is_some(), 5),
            (self.limit.is_some(), 6),
            (matches!(self.verb, Verb::Pluck(_) | Verb::Count), 7),
            (self.slip.is_some(), 8),
            (self.style != 0, 9),
        ] {
            if there {
                with(&|query| match part {
                    0 => (query.shape, query.having) = (None, None),
                    1 => (query.lookups, query.joined) = (vec![], None),
                    2 => query.filter = None,
                    3 => query.joined = None,
                    4 => query.having = None,
                    5 => query.skip = None,
                    6 => query.limit = None,
                    7 => query.verb = Verb::Rows,
                    8 => query.slip = None,
                    _ => query.style = 0,
                });
            }
        }
        for at in 0..self.order.len() {
            with(&|query| drop(query.order.remove(at)));
        }
        for at in 0..self.lookups.len() {
            with(&|query| drop(query.lookups.remove(at)));
        }
        for part in 0..3 {
            let of = |query: &Query| match part {
                0 => query.filter.clone(),
                1 => query.joined.clone(),
                _ => query.having.clone(),
            };
            for less in of(self).iter().flat_map(Expr::smaller) {
                with(&|query| match part {
                    0 => query.filter = Some(less.clone()),
                    1 => query.joined = Some(less.clone()),
                    _ => query.having = Some(less.clone()),
                });
            }
        }
        if let Some(Shape::Group(by, figures)) = &self.shape {
            for at in 0..by.len() {
                let mut by = by.clone();
                by.remove(at);
                with(&|query| query.shape = Some(Shape::Group(by.clone(), figures.clone())));
            }
            for at in 0..figures.len() {
                let mut figures = figures.clone();
                figures.remove(at);
                with(&|query| query.shape = Some(Shape::Group(by.clone(), figures.clone())));
            }
        }
        if let Verb::Change(Change::Edit(edits), image) = &self.verb {
            for less in edits.smaller() {
                with(&|query| query.verb = Verb::Change(Change::Edit(less.clone()), *image));
            }
        }
        if let Verb::Pluck(paths) = &self.verb
            && paths.len() > 1
        {
            for at in 0..paths.len() {
                let mut paths = paths.clone();
                paths.remove(at);
                with(&|query| query.verb = Verb::Pluck(paths.clone()));
            }
        }
        all
    }
}

impl Edits {
    fn smaller(&self) -> Vec<Edits> {
        let mut all = Vec::new();
        for (part, len) in
            [self.set.len(), self.unset.len(), self.inc.len(), self.push.len(), self.upsert.len()]
                .into_iter()
                .enumerate()
        {
            for at in 0..len {
                let mut edits = self.clone();
                match part {
                    0 => drop(edits.set.remove(at)),
                    1 => drop(edits.unset.remove(at)),
                    2 => drop(edits.inc.remove(at)),
                    3 => drop(edits.push.remove(at)),
                    _ => drop(edits.upsert.remove(at)),
                }
                all.push(edits);
            }
        }
        all
    }
}

impl Expr {
    fn smaller(&self) -> Vec<Expr> {
        let mut all = Vec::new();
        match self {
            Expr::And(parts) | Expr::Or(parts) => {
                all.extend(parts.iter().cloned());
                let of = |parts| match self {
                    Expr::And(_) => Expr::And(parts),
                    _ => Expr::Or(parts),
                };
                for (at, part) in parts.iter().enumerate() {
                    let mut fewer = parts.clone();
                    fewer.remove(at);
                    if fewer.len() > 1 {
                        all.push(of(fewer));
                    }
                    for less in part.smaller() {
                        let mut parts = parts.clone();
                        parts[at] = less;
                        all.push(of(parts));
                    }
                }
            }
            Expr::Not(inner) => {
                all.push((**inner).clone());
                all.extend(inner.smaller().into_iter().map(|less| Expr::Not(Box::new(less))));
            }
            Expr::In(path, values) => {
                for at in 0..values.len() {
                    let mut values = values.clone();
                    values.remove(at);
                    all.push(Expr::In(path.clone(), values));
                }
            }
            _ => {}
        }
        all
    }
}
