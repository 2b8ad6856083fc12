//! A query of the tester as PQL.

use crate::dice::Dice;
use crate::query::{Change, Expr, Figure, Image, PATTERNS, Query, Shape, Slip, Verb};
use crate::value::{V, key_text};

/// Writes a query as text, values as literals or, now and then, as parameters.
struct Writer {
    dice: Dice,
    parameters: Vec<V>,
}

impl Writer {
    fn value(&mut self, value: &V) -> String {
        match value.literal() {
            Some(text) if !self.dice.one_in(8) => text,
            _ => {
                self.parameters.push(value.clone());
                format!("${}", self.parameters.len())
            }
        }
    }

    fn parameter(&mut self, value: V) -> String {
        self.parameters.push(value);
        format!("${}", self.parameters.len())
    }

    /// A number of rows.
    fn rows(&mut self, n: u64) -> String {
        match self.dice.below(4) {
            0 => self.parameter(V::Long(n as i64)),
            1 => self.parameter(V::Int(n as i32)),
            _ => n.to_string(),
        }
    }

    fn document(&mut self, fields: &[(String, V)]) -> String {
        self.value(&V::Doc(fields.to_vec()))
    }

    fn expr(&mut self, expr: &Expr) -> String {
        match expr {
            Expr::And(parts) => self.parts(parts, " and "),
            Expr::Or(parts) => self.parts(parts, " or "),
            Expr::Not(inner) => format!("not ({})", self.expr(inner)),
            Expr::Compare(field, sign, with) => {
                format!("{} {sign} {}", path(field), self.value(with))
            }
            Expr::In(field, values) => {
                let values: Vec<String> = values.iter().map(|v| self.value(v)).collect();
                format!("{} in [{}]", path(field), values.join(", "))
            }
            Expr::Between(field, low, high) => {
                format!("{} between {} and {}", path(field), self.value(low), self.value(high))
            }
            Expr::Contains(field, with) => format!("{} contains {}", path(field), self.value(with)),
            Expr::StartsWith(field, start) => {
                format!("{} startsWith {}", path(field), self.value(&V::Text(start.clone())))
            }
            Expr::Matches(field, pattern) => {
                let pattern = V::Text(PATTERNS[*pattern].to_owned());
                format!("{} ~ {}", path(field), self.value(&pattern))
            }
            Expr::Exists(field) => format!("{} exists", path(field)),
        }
    }

    fn parts(&mut self, parts: &[Expr], word: &str) -> String {
        let parts: Vec<String> =
            parts.iter().map(|part| format!("({})", self.expr(part))).collect();
        parts.join(word)
    }
}

fn path(of: &str) -> String {
    of.replace("q r", "`q r`")
}

fn paths(of: &[String]) -> String {
    of.iter().map(|p| path(p)).collect::<Vec<_>>().join(", ")
}

impl Query {
    /// The query of `store` as PQL, looking up in `foreign`; and its parameters.
    pub fn text(&self, store: &str, foreign: &str) -> (String, Vec<V>) {
        let mut w = Writer { dice: Dice::new(self.style), parameters: Vec::new() };
        let mut text = store.to_owned();
        match &self.verb {
            Verb::Get(key) => {
                text += &match w.dice.below(3) {
                    0 => format!(".get({})", key_text(*key)),
                    1 => format!(".get({:?})", key_text(*key)),
                    _ => format!(".get({})", w.parameter(V::Text(key_text(*key)))),
                };
            }
            Verb::Insert(document, returning) => {
                text += &format!(".insert({})", w.value(document));
                text += if *returning { ".returning()" } else { "" };
            }
            _ => w.select(self, foreign, &mut text),
        }
        if self.slip == Some(Slip::Extra) {
            w.parameters.push(V::Null);
        }
        (text, w.parameters)
    }
}

impl Writer {
    fn select(&mut self, query: &Query, foreign: &str, text: &mut String) {
        match &query.filter {
            Some(filter) => *text += &format!(".filter({})", self.expr(filter)),
            None if matches!(query.verb, Verb::Change(..)) => *text += ".all()",
            None if self.dice.one_in(4) => *text += ".all()",
            None => {}
        }
        for lookup in &query.lookups {
            let word = if lookup.one { "lookupOne" } else { "lookup" };
            let on = format!("{} = {}", path(&lookup.local), path(&lookup.foreign));
            *text += &format!(".{word}({foreign}, {on} as {})", lookup.name);
        }
        if let Some(joined) = &query.joined {
            *text += &format!(".filter({})", self.expr(joined));
        }
        match &query.shape {
            Some(Shape::Distinct(by)) => *text += &format!(".distinct({})", paths(by)),
            Some(Shape::Group(by, figures)) => {
                if !by.is_empty() {
                    *text += &format!(".groupBy({})", paths(by));
                }
                let figure = |f: &Figure| {
                    let of = f.path.as_deref().map(path).unwrap_or_default();
                    format!("{}: {}({of})", f.alias, f.function)
                };
                let figures: Vec<String> = figures.iter().map(figure).collect();
                if !figures.is_empty() {
                    *text += &format!(".aggregate({})", figures.join(", "));
                }
            }
            None => {}
        }
        if let Some(having) = &query.having {
            *text += &format!(".having({})", self.expr(having));
        }
        if !query.order.is_empty() {
            let mut order = Vec::new();
            for (of, down) in &query.order {
                let plain = !down && self.dice.one_in(2);
                let way = if *down { " desc" } else { " asc" };
                order.push(format!("{}{}", path(of), if plain { "" } else { way }));
            }
            *text += &format!(".orderBy({})", order.join(", "));
        }
        if let Some(n) = query.skip {
            *text += &format!(".skip({})", self.rows(n));
        }
        match (query.slip, query.limit) {
            (Some(Slip::Limit), _) => {
                let wrong = self.dice.of(&[V::Int(-1), V::Text("3".to_owned()), V::Null]);
                *text += &format!(".limit({})", self.parameter(wrong));
            }
            (_, Some(n)) => *text += &format!(".limit({})", self.rows(n)),
            _ => {}
        }
        match &query.verb {
            Verb::Count => *text += ".count()",
            Verb::Pluck(fields) => *text += &format!(".pluck({})", paths(fields)),
            Verb::Change(change, image) => {
                self.change(change, text);
                match image {
                    None => {}
                    Some(Image::Before) => *text += ".returning(before)",
                    Some(Image::After) => *text += ".returning()",
                }
            }
            Verb::Rows | Verb::Get(_) | Verb::Insert(..) => {}
        }
    }

    fn change(&mut self, change: &Change, text: &mut String) {
        match change {
            Change::Delete => *text += ".delete()",
            Change::Replace(document) => *text += &format!(".replace({})", self.value(document)),
            Change::Edit(edits) => {
                for (step, fields) in [
                    ("set", &edits.set),
                    ("inc", &edits.inc),
                    ("push", &edits.push),
                    ("upsert", &edits.upsert),
                ] {
                    if !fields.is_empty() {
                        *text += &format!(".{step}({})", self.document(fields));
                    }
                }
                if !edits.unset.is_empty() {
                    *text += &format!(".unset({})", paths(&edits.unset));
                }
            }
        }
    }
}
