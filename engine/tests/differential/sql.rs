//! A query of the tester as SQL, where it means the same.
//!
//! What must stay true: beside each value stands whether it is there: 0 missing, 1
//! null, 2 a value, so that no condition is NULL: PQL has two truths, SQL three. The
//! order by that and then by the value is that of PQL: missing, null, numbers, texts.

use crate::query::{Change, Edits, Expr, Figure, PATTERNS, Query, Shape, Verb};
use crate::value::V;

/// A path as two expressions: the value, and whether it is there.
struct Place {
    value: String,
    there: String,
}

/// Whose fields the paths of a condition are.
#[derive(Clone, Copy)]
struct Names<'q> {
    query: &'q Query,
    /// Of groups, as the inner query names them.
    grouped: bool,
}

/// The statement that answers a query: two columns for each field.
pub fn select(query: &Query) -> String {
    let plain = Names { query, grouped: false };
    let mut conditions = Vec::new();
    conditions.extend(query.filter.iter().map(|filter| plain.condition(filter)));
    conditions.extend(query.joined.iter().map(|joined| plain.condition(joined)));
    let join = query.lookups.iter().filter(|lookup| lookup.one).map(|_| {
        format!(" LEFT JOIN b AS j ON j.k = (SELECT min(f.k) FROM b AS f WHERE {})", plain.on("f"))
    });
    let from = format!("FROM a{}", join.collect::<String>());
    let Some(shape) = &query.shape else {
        let rows = match &query.verb {
            Verb::Pluck(paths) => paths.iter().map(|path| plain.column(path)).collect(),
            _ => vec![plain.column("key")],
        };
        let tail = plain.order(&["key".to_owned()]) + &cut(query);
        let all = format!("SELECT {} {from}{}{tail}", rows.join(", "), wher(&conditions));
        return counted(query, all);
    };
    let (by, figures) = match shape {
        Shape::Group(by, figures) => (by, &figures[..]),
        Shape::Distinct(by) => {
            let there = by.iter().map(|path| format!("{} > 0", plain.place(path).there));
            conditions.push(format!("({})", there.collect::<Vec<_>>().join(" OR ")));
            (by, &[][..])
        }
    };
    let mut inner = Vec::new();
    for path in by {
        let Place { value, there } = plain.place(path);
        inner.push(format!("{value} AS \"{path}\", {there} AS \"{path}?\""));
    }
    for figure in figures {
        let value = plain.figure(figure);
        let alias = &figure.alias;
        inner.push(format!("{value} AS \"{alias}\", iif({value} IS NULL, 1, 2) AS \"{alias}?\""));
    }
    let grouped = by.iter().map(|path| {
        let Place { value, there } = plain.place(path);
        format!("{there}, {value}")
    });
    let grouped: Vec<String> = grouped.collect();
    let group =
        if by.is_empty() { String::new() } else { format!(" GROUP BY {}", grouped.join(", ")) };
    let inner = format!("SELECT {} {from}{}{group}", inner.join(", "), wher(&conditions));
    let outer = Names { query, grouped: true };
    let mut fields = by.clone();
    fields.extend(figures.iter().map(|figure| figure.alias.clone()));
    let shown = if let Verb::Pluck(paths) = &query.verb { paths } else { &fields };
    let shown: Vec<String> = shown.iter().map(|path| outer.column(path)).collect();
    let having: Vec<String> = query.having.iter().map(|expr| outer.condition(expr)).collect();
    let tail = outer.order(by) + &cut(query);
    counted(query, format!("SELECT {} FROM ({inner}){}{tail}", shown.join(", "), wher(&having)))
}

/// The statements that change what a query changes.
pub fn update(query: &Query) -> Option<String> {
    let plain = Names { query, grouped: false };
    let filter: Vec<String> = query.filter.iter().map(|filter| plain.condition(filter)).collect();
    let tail = plain.order(&["key".to_owned()]) + &cut(query);
    let chosen = format!("k IN (SELECT a.k FROM a{}{tail})", wher(&filter));
    let Verb::Change(change, _) = &query.verb else { return None };
    Some(match change {
        Change::Delete => format!("DELETE FROM a WHERE {chosen}"),
        Change::Edit(Edits { set, inc, unset, .. }) => {
            let mut sets = Vec::new();
            for (path, value) in set {
                let there = if matches!(value, V::Null) { 1 } else { 2 };
                sets.push(format!("\"{path}\" = {}, \"{path}?\" = {there}", literal(value)));
            }
            for (path, more) in inc {
                sets.push(format!("\"{path}\" = \"{path}\" + {}", literal(more)));
            }
            for path in unset {
                sets.push(format!("\"{path}\" = NULL, \"{path}?\" = 0"));
            }
            format!("UPDATE a SET {} WHERE {chosen}", sets.join(", "))
        }
        Change::Replace(_) => return None,
    })
}

/// A value as SQL writes it.
pub fn literal(value: &V) -> String {
    match value {
        V::Null => "NULL".to_owned(),
        V::Int(n) => n.to_string(),
        V::Long(n) => n.to_string(),
        V::Double(d) => format!("{d:?}"),
        V::Text(text) => format!("'{}'", text.replace('\'', "''")),
        other => panic!("{other:?} is not made for SQLite"),
    }
}

fn wher(conditions: &[String]) -> String {
    match conditions {
        [] => String::new(),
        all => format!(" WHERE {}", all.join(" AND ")),
    }
}

fn cut(query: &Query) -> String {
    if query.skip.is_none() && query.limit.is_none() {
        return String::new();
    }
    let limit = query.limit.map_or(-1, |n| n as i64);
    format!(" LIMIT {limit} OFFSET {}", query.skip.unwrap_or(0))
}

fn counted(query: &Query, all: String) -> String {
    match query.verb {
        Verb::Count => format!("SELECT count(*) FROM ({all})"),
        _ => all,
    }
}

impl Names<'_> {
    fn place(&self, path: &str) -> Place {
        if self.grouped {
            return Place { value: format!("\"{path}\""), there: format!("\"{path}?\"") };
        }
        match path.strip_prefix("j.") {
            Some(of) => {
                let Place { value, there } = place("j", of);
                Place { value, there: format!("iif(j.k IS NULL, 0, {there})") }
            }
            None => place("a", path),
        }
    }

    fn column(&self, path: &str) -> String {
        let Place { value, there } = self.place(path);
        format!("{value}, {there}")
    }

    /// By what was asked for, and among equals by these.
    fn order(&self, last: &[String]) -> String {
        let asked = self.query.order.iter().map(|(path, down)| (path, *down));
        let terms = asked.chain(last.iter().map(|path| (path, false))).map(|(path, down)| {
            let Place { value, there } = self.place(path);
            let way = if down { " DESC" } else { "" };
            format!("{there}{way}, {value}{way}")
        });
        let terms: Vec<String> = terms.collect();
        if terms.is_empty() { String::new() } else { format!(" ORDER BY {}", terms.join(", ")) }
    }

    /// Whether a document of `b`, named `foreign`, is one that the lookup finds.
    fn on(&self, foreign: &str) -> String {
        let lookup = &self.query.lookups[0];
        let (here, other) = (place("a", &lookup.local), place(foreign, &lookup.foreign));
        format!(
            "({} = {} AND ({there} = 1 OR {there} = 2 AND {} = {}))",
            here.there,
            other.there,
            here.value,
            other.value,
            there = here.there
        )
    }

    fn figure(&self, figure: &Figure) -> String {
        let Some(path) = &figure.path else { return "count(*)".to_owned() };
        let value = self.place(path).value;
        let numbers = format!("CASE WHEN typeof({value}) IN ('integer', 'real') THEN {value} END");
        match figure.function {
            "sum" => format!("coalesce(sum({numbers}), 0)"),
            "avg" => format!("avg({numbers})"),
            function => format!("{function}({value})"),
        }
    }

    fn condition(&self, expr: &Expr) -> String {
        let all = |parts: &[Expr], word: &str| {
            let parts: Vec<String> = parts.iter().map(|part| self.condition(part)).collect();
            format!("({})", parts.join(word))
        };
        match expr {
            Expr::And(parts) => all(parts, " AND "),
            Expr::Or(parts) => all(parts, " OR "),
            Expr::Not(inner) => format!("NOT {}", self.condition(inner)),
            Expr::Compare(path, "!=", with) => {
                format!("NOT {}", self.test(path, &|place| compared(place, path, "=", with)))
            }
            Expr::Compare(path, sign, with) => {
                self.test(path, &|place| compared(place, path, sign, with))
            }
            Expr::In(path, values) => self.test(path, &|place| {
                let any = values.iter().map(|value| compared(place, path, "=", value));
                format!("(0{})", any.map(|one| format!(" OR {one}")).collect::<String>())
            }),
            Expr::Between(path, low, high) => self.test(path, &|place| {
                let (low, high) =
                    (compared(place, path, ">=", low), compared(place, path, "<=", high));
                format!("({low} AND {high})")
            }),
            Expr::Contains(path, V::Text(part)) => {
                let part = literal(&V::Text(part.clone()));
                self.text(path, &|value| format!("instr({value}, {part}) > 0"))
            }
            Expr::Contains(..) => "0".to_owned(),
            Expr::StartsWith(path, start) => {
                let text = literal(&V::Text(start.clone()));
                self.text(path, &|value| format!("substr({value}, 1, length({text})) = {text}"))
            }
            Expr::Matches(path, pattern) => self.text(path, &|value| match PATTERNS[*pattern] {
                "^a" => format!("{value} GLOB 'a*'"),
                "b$" => format!("{value} GLOB '*b'"),
                "a" => format!("{value} GLOB '*a*'"),
                "(?i)^B" => format!("{value} LIKE 'b%'"),
                other => panic!("{other} is not known here"),
            }),
            Expr::Exists(path) => self.test(path, &|place| format!("{} > 0", place.there)),
        }
    }

    fn text(&self, path: &str, test: &dyn Fn(&str) -> String) -> String {
        self.test(path, &|Place { value, .. }| {
            format!("(typeof({value}) = 'text' AND {})", test(value))
        })
    }

    /// A test of one value; of an array of documents that a lookup found, of any.
    fn test(&self, path: &str, test: &dyn Fn(&Place) -> String) -> String {
        match (path.strip_prefix("j."), self.query.lookups.first()) {
            (Some(of), Some(lookup)) if !lookup.one && !self.grouped => {
                let any =
                    format!("FROM b AS m WHERE {} AND {}", self.on("m"), test(&place("m", of)));
                format!("EXISTS (SELECT 1 {any})")
            }
            _ => format!("({})", test(&self.place(path))),
        }
    }
}

/// A field of a table: a column, or a piece of the column `doc`.
fn place(table: &str, path: &str) -> Place {
    if path == "key" {
        // No bare number: where rows are ordered and grouped that would name a column.
        let there = format!("iif({table}.k IS NULL, 0, 2)");
        return Place { value: format!("{table}.k"), there };
    }
    if path.contains('.') {
        let (of, at) = (format!("{table}.doc"), format!("'$.{path}'"));
        let there = format!(
            "CASE json_type({of}, {at}) WHEN 'null' THEN 1 ELSE iif(json_type({of}, {at}) IS NULL, 0, 2) END"
        );
        return Place { value: format!("json_extract({of}, {at})"), there: format!("({there})") };
    }
    Place { value: format!("{table}.\"{path}\""), there: format!("{table}.\"{path}?\"") }
}

fn compared(Place { value, there }: &Place, path: &str, sign: &str, with: &V) -> String {
    let written = literal(with);
    match with {
        // Null equals itself, and is not less or greater.
        V::Null => match sign {
            "=" | ">=" | "<=" => format!("{there} = 1"),
            _ => "0".to_owned(),
        },
        // What holds one kind alone: here NULL is SQLite's own, and is no truth.
        V::Text(_) if path == "s" => format!("coalesce({value} {sign} {written}, 0)"),
        V::Int(_) | V::Long(_) | V::Double(_) if path == "n" || path == "b" => {
            format!("coalesce({value} {sign} {written}, 0)")
        }
        V::Text(_) => format!("(typeof({value}) = 'text' AND {value} {sign} {written})"),
        _ => format!("(typeof({value}) IN ('integer', 'real') AND {value} {sign} {written})"),
    }
}
