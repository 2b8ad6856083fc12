//! A query of the tester as PQL.

use crate::make::{Change, Dice, Expr, Figure, Image, PATTERNS, Query, Shape, Verb};
use crate::value::V;

/// Writes a query as text, values as literals or, now and then, as parameters.
struct Writer<'d> {
    dice: &'d mut Dice,
    parameters: Vec<V>,
}

impl Writer<'_> {
    fn value(&mut self, value: &V) -> String {
        match value.literal() {
            Some(text) if !self.dice.one_in(8) => text,
            _ => {
                self.parameters.push(value.clone());
                format!("${}", self.parameters.len())
            }
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
    /// The query as PQL, and its parameters.
    pub fn text(&self, dice: &mut Dice) -> (String, Vec<V>) {
        let mut w = Writer { dice, parameters: Vec::new() };
        let mut text = "a".to_owned();
        match &self.filter {
            Some(filter) => text += &format!(".filter({})", w.expr(filter)),
            None if matches!(self.verb, Verb::Change(..)) => text += ".all()",
            None => {}
        }
        for lookup in &self.lookups {
            let word = if lookup.one { "lookupOne" } else { "lookup" };
            let (local, foreign) = (path(&lookup.local), path(&lookup.foreign));
            text += &format!(".{word}(b, {local} = {foreign} as {})", lookup.name);
        }
        if let Some(joined) = &self.joined {
            text += &format!(".filter({})", w.expr(joined));
        }
        match &self.shape {
            Some(Shape::Distinct(by)) => text += &format!(".distinct({})", paths(by)),
            Some(Shape::Group(by, figures)) => {
                if !by.is_empty() {
                    text += &format!(".groupBy({})", paths(by));
                }
                let figure = |f: &Figure| {
                    let of = f.path.as_deref().map(path).unwrap_or_default();
                    format!("{}: {}({of})", f.alias, f.function)
                };
                let figures: Vec<String> = figures.iter().map(figure).collect();
                text += &format!(".aggregate({})", figures.join(", "));
            }
            None => {}
        }
        if let Some(having) = &self.having {
            text += &format!(".having({})", w.expr(having));
        }
        if !self.order.is_empty() {
            let order: Vec<String> = self
                .order
                .iter()
                .map(|(p, down)| format!("{} {}", path(p), if *down { "desc" } else { "asc" }))
                .collect();
            text += &format!(".orderBy({})", order.join(", "));
        }
        if let Some(n) = self.skip {
            text += &format!(".skip({n})");
        }
        if let Some(n) = self.limit {
            text += &format!(".limit({n})");
        }
        match &self.verb {
            Verb::Rows => {}
            Verb::Count => text += ".count()",
            Verb::Pluck(fields) => text += &format!(".pluck({})", paths(fields)),
            Verb::Change(change, image) => {
                match change {
                    Change::Delete => text += ".delete()",
                    Change::Replace(document) => {
                        text += &format!(".replace({})", w.value(document))
                    }
                    Change::Edit(edits) => {
                        for (step, fields) in [
                            ("set", &edits.set),
                            ("inc", &edits.inc),
                            ("push", &edits.push),
                            ("upsert", &edits.upsert),
                        ] {
                            if !fields.is_empty() {
                                text += &format!(".{step}({})", w.document(fields));
                            }
                        }
                        if !edits.unset.is_empty() {
                            text += &format!(".unset({})", paths(&edits.unset));
                        }
                    }
                }
                match image {
                    None => {}
                    Some(Image::Before) => text += ".returning(before)",
                    Some(Image::After) => text += ".returning()",
                }
            }
        }
        (text, w.parameters)
    }
}
