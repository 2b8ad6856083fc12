//! The chain of steps.
//!
//! Invariant: steps come in the order in which they act, each at most once, but
//! for lookups and edits, of which there may be several; a step that changes
//! documents has a filter or `all()` before it.

use super::ast::{Edit, Image, Lookup, Mutation, Output, Path, Select, Shape, Verb};
use super::error::PqlError;
use super::parse::Parser;
use super::suggest::did_you_mean;
use super::token::Token;
use super::words::IMAGES;
use std::ops::Range;

/// Every step, in the order in which they act.
pub(super) const STEPS: [&str; 22] = [
    "get",
    "insert",
    "filter",
    "all",
    "lookup",
    "lookupOne",
    "groupBy",
    "distinct",
    "aggregate",
    "having",
    "orderBy",
    "skip",
    "limit",
    "pluck",
    "count",
    "set",
    "unset",
    "inc",
    "push",
    "upsert",
    "replace",
    "delete",
];
/// Steps that say what is told.
pub(super) const TELLING: [&str; 2] = ["returning", "explain"];
/// The most lookups of one query.
pub const MAX_LOOKUPS: usize = 8;

const ORDER: &str = "steps act in the order filter, lookup, filter, groupBy or distinct, aggregate, \
                     having, orderBy, skip, limit, then one of pluck, count, replace, delete or \
                     some of set, unset, inc, push and upsert, then returning, explain";

/// Where in the chain a step stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Start,
    Filter,
    Lookup,
    Joined,
    Shape,
    Aggregate,
    Having,
    OrderBy,
    Skip,
    Limit,
    /// `pluck`, `count`: nothing but `explain` follows.
    Read,
    Edit,
    /// `replace`, `delete`: no other change follows.
    Change,
    Returning,
    Explain,
}

impl Stage {
    /// The stage of a step that stands in a chain; `joined`: a lookup went before.
    fn of(step: &str, joined: bool) -> Option<Stage> {
        Some(match step {
            "filter" if joined => Stage::Joined,
            "filter" | "all" => Stage::Filter,
            "lookup" | "lookupOne" => Stage::Lookup,
            "groupBy" | "distinct" => Stage::Shape,
            "aggregate" => Stage::Aggregate,
            "having" => Stage::Having,
            "orderBy" => Stage::OrderBy,
            "skip" => Stage::Skip,
            "limit" => Stage::Limit,
            "pluck" | "count" => Stage::Read,
            "set" | "unset" | "inc" | "push" | "upsert" => Stage::Edit,
            "replace" | "delete" => Stage::Change,
            "returning" => Stage::Returning,
            "explain" => Stage::Explain,
            _ => return None,
        })
    }

    fn repeats(self) -> bool {
        matches!(self, Stage::Lookup | Stage::Edit)
    }

    fn mutates(self) -> bool {
        matches!(self, Stage::Edit | Stage::Change)
    }
}

/// How far a chain has come.
struct Chain {
    stage: Stage,
    /// The step before.
    last: String,
    /// Whether it said which documents.
    chosen: bool,
    select: Select,
    explain: bool,
}

impl Parser<'_> {
    /// The steps behind the store; and whether they are to be explained.
    pub(super) fn steps(&mut self) -> Result<(Verb, bool), PqlError> {
        let select = Select {
            filter: None,
            lookups: vec![],
            joined: None,
            shape: None,
            having: None,
            order: vec![],
            skip: None,
            limit: None,
            output: Output::Rows,
        };
        let last = String::new();
        let mut chain = Chain { stage: Stage::Start, last, chosen: false, select, explain: false };
        while let Some((step, span)) = self.dot_step()? {
            if matches!(step.as_str(), "get" | "insert") {
                if chain.stage != Stage::Start {
                    let message = format!("{step}() stands alone: write store.{step}(..)");
                    return Err(self.error(span, message));
                }
                return self.alone(&step);
            }
            self.chained(&step, span, &mut chain)?;
            self.expect(Token::CloseParen, "`)`")?;
            chain.last = step;
        }
        Ok((Verb::Select(Box::new(chain.select)), chain.explain))
    }

    /// `.step(`, or the end of the text.
    fn dot_step(&mut self) -> Result<Option<(String, Range<usize>)>, PqlError> {
        let Some((token, span)) = self.next() else { return Ok(None) };
        if token != Token::Dot {
            let message = "expected `.` and a step, or the end of the query";
            return Err(self.error(span, message));
        }
        let (step, span) = self.name("a step, such as filter(..), after the dot")?;
        let known = [&STEPS[..], &TELLING].concat();
        if !known.contains(&step.as_str()) {
            let near = did_you_mean(&step, &known);
            let message = match near.is_empty() {
                true => format!(
                    "`{step}` is no step; expected {} or explain",
                    known[..known.len() - 1].join(", ")
                ),
                false => format!("`{step}` is no step{near}"),
            };
            return Err(self.error(span, message));
        }
        self.expect(Token::OpenParen, "`(`")?;
        Ok(Some((step, span)))
    }

    /// `get` or `insert`, and what may follow it.
    fn alone(&mut self, step: &str) -> Result<(Verb, bool), PqlError> {
        let verb = match step {
            "get" => Verb::Get(self.key_operand()?),
            _ => Verb::Insert {
                document: self.document("insert({..}) takes one document")?,
                returning: false,
            },
        };
        self.expect(Token::CloseParen, "`)`")?;
        let (mut verb, mut told) = (verb, false);
        while let Some((next, span)) = self.dot_step()? {
            match (next.as_str(), &mut verb) {
                _ if told => return Err(self.error(span, "nothing can follow explain()")),
                ("explain", _) => told = true,
                ("returning", Verb::Insert { returning, .. }) if !*returning => {
                    *returning = true;
                    if self.image(Image::After)? == Image::Before {
                        let message = "there is no document before an insert: write returning()";
                        return Err(self.error(span, message));
                    }
                }
                (_, Verb::Insert { .. }) => {
                    let message = "only returning() and explain() can follow insert(), each once: \
                                   expected the end of the query";
                    return Err(self.error(span, message));
                }
                _ => {
                    let message =
                        "only explain() can follow get(): expected it or the end of the query";
                    return Err(self.error(span, message));
                }
            }
            self.expect(Token::CloseParen, "`)`")?;
        }
        Ok((verb, told))
    }

    /// One step of a chain, up to its closing parenthesis.
    fn chained(
        &mut self,
        step: &str,
        span: Range<usize>,
        chain: &mut Chain,
    ) -> Result<(), PqlError> {
        let Some(next) = Stage::of(step, !chain.select.lookups.is_empty()) else {
            return Err(self.error(span, format!("{step}() cannot stand here: {ORDER}")));
        };
        if let Some(message) = misplaced(step, next, chain) {
            return Err(self.error(span, message));
        }
        chain.stage = next;
        let select = &mut chain.select;
        match step {
            "filter" if next == Stage::Joined => select.joined = Some(self.expr()?),
            "filter" => {
                select.filter = Some(self.expr()?);
                chain.chosen = true;
            }
            "all" => chain.chosen = true,
            "lookup" | "lookupOne" => {
                let lookup = self.lookup(step == "lookupOne", &select.lookups)?;
                select.lookups.push(lookup);
            }
            "groupBy" => {
                let by = self.fields(step)?;
                select.shape = Some(Shape::Group { by, aggregates: vec![] });
            }
            "distinct" => select.shape = Some(Shape::Distinct(self.fields(step)?)),
            "aggregate" => {
                let by = select.shape.as_ref().map_or(&[][..], Shape::by);
                let figures = self.figures(by)?;
                match &mut select.shape {
                    Some(Shape::Group { aggregates, .. }) => *aggregates = figures,
                    shape => *shape = Some(Shape::Group { by: vec![], aggregates: figures }),
                }
            }
            "having" => {
                let expr = self.expr()?;
                let mut stranger = None;
                if let Some(shape) = &select.shape {
                    expr.paths(&mut |path| {
                        if !in_group(shape, path) {
                            stranger = Some(path.0.clone());
                        }
                    });
                }
                if let Some(path) = stranger {
                    return Err(self.error(span, no_field_of_groups("having", &path)));
                }
                select.having = Some(expr);
            }
            "orderBy" => {
                select.order = self.list(Self::order)?;
                if let Some(shape) = &select.shape {
                    let stranger = select.order.iter().find(|o| !in_group(shape, &o.path));
                    if let Some(order) = stranger {
                        let message = no_field_of_groups("orderBy", &order.path.0);
                        return Err(self.error(span, message));
                    }
                }
            }
            "skip" => select.skip = Some(self.count_operand("skip")?),
            "limit" => select.limit = Some(self.count_operand("limit")?),
            "pluck" => {
                let paths = self.fields(step)?;
                let stranger = select
                    .shape
                    .as_ref()
                    .and_then(|shape| paths.iter().find(|path| !in_group(shape, path)));
                if let Some(path) = stranger {
                    return Err(self.error(span, no_field_of_groups("pluck", &path.0)));
                }
                select.output = Output::Pluck(paths);
            }
            "count" => select.output = Output::Count,
            "returning" => {
                let deletes =
                    matches!(&select.output, Output::Mutate { how: Mutation::Delete, .. });
                let image = self.image(if deletes { Image::Before } else { Image::After })?;
                if deletes && image == Image::After {
                    let message = "there is no document after a delete: write returning(before)";
                    return Err(self.error(span, message));
                }
                if let Output::Mutate { returning, .. } = &mut select.output {
                    *returning = Some(image);
                }
            }
            "explain" => chain.explain = true,
            _ => self.change(step, &mut select.output)?,
        }
        Ok(())
    }

    /// A step that changes documents.
    fn change(&mut self, step: &str, output: &mut Output) -> Result<(), PqlError> {
        let takes = format!("{step}({{..}}) takes one document");
        let edit = match step {
            "set" => Edit::Set(self.document(&takes)?),
            "unset" => Edit::Unset(self.list(Self::path)?),
            "inc" => Edit::Inc(self.document(&takes)?),
            "push" => Edit::Push(self.document(&takes)?),
            "upsert" => Edit::Upsert(self.document(&takes)?),
            other => {
                let how = match other {
                    "replace" => Mutation::Replace(self.document(&takes)?),
                    _ => Mutation::Delete,
                };
                *output = Output::Mutate { how, returning: None };
                return Ok(());
            }
        };
        match output {
            Output::Mutate { how: Mutation::Edit(edits), .. } => edits.push(edit),
            _ => *output = Output::Mutate { how: Mutation::Edit(vec![edit]), returning: None },
        }
        Ok(())
    }

    /// What stands in `returning(..)`.
    fn image(&mut self, otherwise: Image) -> Result<Image, PqlError> {
        if self.peek() == Some(Token::CloseParen) {
            return Ok(otherwise);
        }
        match self.name("before, after or `)`")? {
            (word, _) if word == "before" => Ok(Image::Before),
            (word, _) if word == "after" => Ok(Image::After),
            (word, span) => {
                let near = did_you_mean(&word, &IMAGES);
                Err(self.error(span, format!("expected before or after, found `{word}`{near}")))
            }
        }
    }

    /// `store, local = foreign [as name]`.
    fn lookup(&mut self, one: bool, others: &[Lookup]) -> Result<Lookup, PqlError> {
        let start = self.here();
        if others.len() == MAX_LOOKUPS {
            let message = format!("a query may have {MAX_LOOKUPS} lookups");
            return Err(self.error(start, message));
        }
        let (store, mut span) = self.name("the name of another store")?;
        self.expect(Token::Comma, "`,` and the fields to compare, such as `carrier = code`")?;
        let local = self.path()?;
        self.expect(Token::Equal, "`=` and the field of the other store")?;
        let foreign = self.path()?;
        let mut name = store.clone();
        if self.peek_word("as") {
            self.at += 1;
            (name, span) = self.name("a name for what is found")?;
        }
        let taken = others.iter().any(|other| other.name == name);
        if taken || name == "key" || name.contains('.') {
            let message = format!("what is found cannot be put in `{name}`: add `as` and a name");
            return Err(self.error(span, message));
        }
        Ok(Lookup { store, local, foreign, name, one })
    }
}

/// Why a step cannot stand behind the others, if it cannot.
fn misplaced(step: &str, next: Stage, chain: &Chain) -> Option<String> {
    let grouped = chain.select.shape.is_some();
    let last = &chain.last;
    if chain.stage == Stage::Explain || (chain.stage == Stage::Read && next != Stage::Explain) {
        return Some(format!(
            "nothing can follow {last}(){}",
            match chain.stage {
                Stage::Explain => "",
                _ => " but explain()",
            }
        ));
    }
    if next <= chain.stage && !(next == chain.stage && next.repeats()) {
        return Some(format!("{step}() cannot stand here: {ORDER}"));
    }
    match next {
        Stage::Aggregate if matches!(chain.select.shape, Some(Shape::Distinct(_))) => {
            Some("aggregate() cannot follow distinct(): write groupBy(..).aggregate(..)".to_owned())
        }
        Stage::Having if !grouped => Some(
            "having() chooses groups: put groupBy(..) or aggregate(..) before it; filter(..) \
             chooses documents"
                .to_owned(),
        ),
        Stage::Edit | Stage::Change if grouped => {
            let shaped = if matches!(chain.select.shape, Some(Shape::Distinct(_))) {
                "distinct()"
            } else {
                "groupBy() or aggregate()"
            };
            Some(format!("{step}() cannot follow {shaped}: groups are no stored documents"))
        }
        Stage::Edit | Stage::Change if !chain.select.lookups.is_empty() => Some(format!(
            "{step}() cannot follow {}(): choose the documents to change by their own fields",
            if chain.select.lookups[0].one { "lookupOne" } else { "lookup" }
        )),
        Stage::Change if chain.stage == Stage::Edit => {
            Some(format!("{step}() cannot follow {last}(): it changes whole documents"))
        }
        _ if next.mutates() && !chain.chosen => Some(format!(
            "{step}() needs to know which documents: put filter(..) before it, or all() if every \
             one is meant"
        )),
        Stage::Returning if !chain.stage.mutates() => Some(
            "returning() says which documents a change gives back: put it behind set, delete or \
             another change"
                .to_owned(),
        ),
        _ => None,
    }
}

/// Whether groups of this shape have the field.
fn in_group(shape: &Shape, Path(path): &Path) -> bool {
    let within = |Path(group): &Path| {
        path.strip_prefix(group.as_str())
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    };
    shape.by().iter().any(within) || shape.aggregates().iter().any(|figure| figure.alias == *path)
}

fn no_field_of_groups(step: &str, path: &str) -> String {
    format!(
        "{step}({path}): a group has only the fields of groupBy() or distinct() and the figures of \
         aggregate(); use one of those"
    )
}
