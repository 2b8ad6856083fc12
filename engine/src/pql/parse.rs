//! From words to a [`Query`].
//!
//! ```text
//! query  = store { "." step }
//! step   = get(key) | insert(document) | filter(expr) | all()
//!        | groupBy(path {, path}) | aggregate(name: fn(path) {, ..})
//!        | orderBy(path [asc|desc] {, path [asc|desc]}) | skip(n) | limit(n)
//!        | pluck(path {, path}) | count() | set(document) | delete()
//! expr   = or ;  or = and { "or" and } ;  and = unary { "and" unary }
//! unary  = "not" unary | "(" expr ")" | path condition
//! condition = ( = != > >= < <= ) value | "in" "[" values "]"
//!        | "between" value "and" value | "contains" value
//!        | "startsWith" value | "~" value | "exists"
//! value  = number | string | true | false | null | [..] | {..} | $n
//! ```
//!
//! Steps are written in the order in which they act. Invariant: nothing of the
//! text is skipped: what cannot be understood is an error at its place.

use super::ast::{
    Aggregate, Comparison, Expr, Function, KeyOperand, Operand, Order, Output, Path, Query, Select,
    Verb,
};
use super::error::PqlError;
use super::token::{Spanned, Token, split};
use super::value::Literals;
use proto::Key;
use std::ops::Range;

/// The longest text, in bytes.
pub const MAX_TEXT: usize = 64 << 10;
/// How deep parentheses, `not` and nested literals may go.
pub const MAX_NESTING: usize = 48;
/// The highest parameter.
pub const MAX_PARAMETERS: u16 = 1000;

const STEPS: &str = "filter, all, groupBy, aggregate, orderBy, skip, limit, pluck, count, set, \
                     delete, get or insert";

/// Reads a query.
pub fn parse(text: &str) -> Result<Query, PqlError> {
    if text.len() > MAX_TEXT {
        let message = format!(
            "the query has {} bytes, {MAX_TEXT} are allowed: pass long values as parameters ($1)",
            text.len()
        );
        return Err(PqlError::new("", 0..0, message));
    }
    let tokens = split(text)?;
    let mut parser = Parser { text, tokens, at: 0, depth: 0, parameters: 0 };
    let (store, _) = parser.name("the name of a store")?;
    let verb = parser.steps()?;
    Ok(Query { store, verb, parameters: parser.parameters })
}

/// Where in the chain a step stands; steps come in this order, each at most once.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Start,
    Filter,
    GroupBy,
    Aggregate,
    OrderBy,
    Skip,
    Limit,
    End,
}

pub(super) struct Parser<'a> {
    pub(super) text: &'a str,
    tokens: Vec<Spanned>,
    at: usize,
    depth: usize,
    parameters: u16,
}

impl<'a> Parser<'a> {
    fn steps(&mut self) -> Result<Verb, PqlError> {
        let mut select = Select {
            filter: None,
            order: vec![],
            skip: None,
            limit: None,
            output: Output::Documents,
        };
        let (mut stage, mut chosen) = (Stage::Start, false);
        let mut end_of_chain = "";
        while let Some((token, span)) = self.next() {
            if token != Token::Dot {
                let message = "expected `.` and a step, or the end of the query";
                return Err(self.error(span, message));
            }
            let (step, span) = self.name(STEPS)?;
            self.expect(Token::OpenParen, "`(`")?;
            if !end_of_chain.is_empty() {
                let message = format!("nothing can follow {end_of_chain}()");
                return Err(self.error(span, message));
            }
            let next = match step.as_str() {
                "get" | "insert" if stage != Stage::Start => {
                    let message = format!("{step}() stands alone: write store.{step}(..)");
                    return Err(self.error(span, message));
                }
                "get" => {
                    let key = self.key_operand()?;
                    return self.close_alone(Verb::Get(key));
                }
                "insert" => {
                    let document = self.document("insert({..}) takes one document")?;
                    return self.close_alone(Verb::Insert(document));
                }
                "filter" | "all" => Stage::Filter,
                "groupBy" => Stage::GroupBy,
                "aggregate" => Stage::Aggregate,
                "orderBy" => Stage::OrderBy,
                "skip" => Stage::Skip,
                "limit" => Stage::Limit,
                "pluck" | "count" | "set" | "delete" => Stage::End,
                other => {
                    let message = format!("`{other}` is no step; expected {STEPS}");
                    return Err(self.error(span, message));
                }
            };
            if next <= stage {
                let message = format!(
                    "{step}() cannot stand here: steps act in the order filter, groupBy, aggregate, \
                     orderBy, skip, limit, then one of pluck, count, set or delete, each once"
                );
                return Err(self.error(span, message));
            }
            stage = next;
            chosen |= matches!(step.as_str(), "filter" | "all");
            self.step(&step, span, chosen, &mut select)?;
            self.expect(Token::CloseParen, "`)`")?;
            if stage == Stage::End {
                end_of_chain = match select.output {
                    Output::Count => "count",
                    Output::Pluck(_) => "pluck",
                    Output::Set(_) => "set",
                    _ => "delete",
                };
            }
        }
        Ok(Verb::Select(select))
    }

    fn step(
        &mut self,
        step: &str,
        span: Range<usize>,
        chosen: bool,
        select: &mut Select,
    ) -> Result<(), PqlError> {
        let grouped = matches!(select.output, Output::Group { .. });
        match step {
            "filter" => select.filter = Some(self.expr()?),
            "all" => {}
            "groupBy" => {
                let by = self.list(Self::path)?;
                select.output = Output::Group { by, aggregates: vec![] };
            }
            "aggregate" => {
                let figures = self.list(Self::aggregate)?;
                match &mut select.output {
                    Output::Group { aggregates, .. } => *aggregates = figures,
                    output => *output = Output::Group { by: vec![], aggregates: figures },
                }
            }
            "orderBy" => select.order = self.list(Self::order)?,
            "skip" => select.skip = Some(self.count_operand("skip")?),
            "limit" => select.limit = Some(self.count_operand("limit")?),
            "pluck" if !grouped => select.output = Output::Pluck(self.list(Self::path)?),
            // The number of groups: their rows are counted like any others.
            "count" if !grouped => select.output = Output::Count,
            "set" | "delete" if !grouped => {
                if !chosen {
                    let message = format!(
                        "{step}() needs to know which documents: put filter(..) before it, or \
                         all() if every one is meant"
                    );
                    return Err(self.error(span, message));
                }
                select.output = match step {
                    "set" => Output::Set(self.document("set({..}) takes one document")?),
                    _ => Output::Delete,
                };
            }
            _ => {
                let message = format!("{step}() cannot follow groupBy() or aggregate()");
                return Err(self.error(span, message));
            }
        }
        Ok(())
    }

    fn close_alone(&mut self, verb: Verb) -> Result<Verb, PqlError> {
        self.expect(Token::CloseParen, "`)`")?;
        match self.next() {
            None => Ok(verb),
            Some((_, span)) => Err(self.error(span, "expected the end of the query")),
        }
    }

    // Conditions.

    fn expr(&mut self) -> Result<Expr, PqlError> {
        self.chain("or", Self::and, Expr::Or)
    }

    fn and(&mut self) -> Result<Expr, PqlError> {
        self.chain("and", Self::unary, Expr::And)
    }

    fn chain(
        &mut self,
        word: &str,
        part: fn(&mut Self) -> Result<Expr, PqlError>,
        join: fn(Vec<Expr>) -> Expr,
    ) -> Result<Expr, PqlError> {
        let first = part(self)?;
        let mut parts = vec![first];
        while self.word(word) {
            parts.push(part(self)?);
        }
        Ok(if parts.len() == 1 { parts.remove(0) } else { join(parts) })
    }

    fn unary(&mut self) -> Result<Expr, PqlError> {
        self.enter()?;
        let expr = if self.peek_word("not") && !self.names_a_field() {
            self.at += 1;
            Expr::Not(Box::new(self.unary()?))
        } else if self.take(Token::OpenParen) {
            let inner = self.expr()?;
            self.expect(Token::CloseParen, "`)`, `and` or `or`")?;
            inner
        } else {
            self.condition()?
        };
        self.depth -= 1;
        Ok(expr)
    }

    /// Whether the word here is the field of a condition, though it reads like `not`.
    fn names_a_field(&self) -> bool {
        !matches!(
            self.tokens.get(self.at + 1),
            Some((Token::Name | Token::Quoted | Token::OpenParen, _))
        ) || matches!(
            self.tokens.get(self.at + 1),
            Some((_, span)) if ["in", "between", "contains", "startsWith", "exists"].contains(&&self.text[span.clone()])
                && !matches!(self.tokens.get(self.at + 2), Some((token, _)) if starts_condition(*token))
        )
    }

    fn condition(&mut self) -> Result<Expr, PqlError> {
        let path = self.path()?;
        let Some((token, span)) = self.next() else {
            return Err(self.error(self.end(), "expected a comparison, such as `= 1`"));
        };
        let comparison = match token {
            Token::Equal => Comparison::Equal,
            Token::NotEqual => Comparison::NotEqual,
            Token::Greater => Comparison::Greater,
            Token::GreaterOrEqual => Comparison::GreaterOrEqual,
            Token::Less => Comparison::Less,
            Token::LessOrEqual => Comparison::LessOrEqual,
            Token::Tilde => {
                let pattern = self.operand()?;
                return Ok(Expr::Matches(path, pattern));
            }
            Token::Name => return self.worded_condition(path, span),
            _ => return Err(self.unknown_operator(span)),
        };
        Ok(Expr::Compare(path, comparison, self.operand()?))
    }

    fn worded_condition(&mut self, path: Path, span: Range<usize>) -> Result<Expr, PqlError> {
        match &self.text[span.clone()] {
            "in" => {
                self.expect(Token::OpenBracket, "`[`")?;
                let mut values = Vec::new();
                while !self.take(Token::CloseBracket) {
                    values.push(self.operand()?);
                    if !self.take(Token::Comma) {
                        self.expect(Token::CloseBracket, "`,` or `]`")?;
                        break;
                    }
                }
                Ok(Expr::In(path, values))
            }
            "between" => {
                let low = self.operand()?;
                if !self.word("and") {
                    return Err(self.expected("`and` and the upper end"));
                }
                Ok(Expr::Between(path, low, self.operand()?))
            }
            "contains" => Ok(Expr::Contains(path, self.operand()?)),
            "startsWith" => Ok(Expr::StartsWith(path, self.operand()?)),
            "exists" => Ok(Expr::Exists(path)),
            _ => Err(self.unknown_operator(span)),
        }
    }

    fn unknown_operator(&self, span: Range<usize>) -> PqlError {
        let message = format!(
            "`{}` is no operator; expected =, !=, >, >=, <, <=, ~, in, between, contains, \
             startsWith or exists",
            &self.text[span.clone()]
        );
        self.error(span, message)
    }

    // Small pieces.

    fn order(&mut self) -> Result<Order, PqlError> {
        let path = self.path()?;
        // Both `orderBy(a desc, b)` and the published `orderBy(a, desc)`.
        let comma = matches!(self.peek(), Some(Token::Comma));
        let word = self.tokens.get(self.at + usize::from(comma));
        let after = self.tokens.get(self.at + usize::from(comma) + 1).map(|(token, _)| *token);
        let direction = word.map(|(_, span)| &self.text[span.clone()]);
        let closes = matches!(after, Some(Token::Comma | Token::CloseParen));
        let descending = match direction {
            Some("desc") if closes => true,
            Some("asc") if closes => false,
            _ => return Ok(Order { path, descending: false }),
        };
        self.at += usize::from(comma) + 1;
        Ok(Order { path, descending })
    }

    fn aggregate(&mut self) -> Result<Aggregate, PqlError> {
        let (alias, _) = self.name("a name for the figure, such as `total: sum(price)`")?;
        self.expect(Token::Colon, "`:`")?;
        let (name, span) = self.name("count, sum, avg, min or max")?;
        let function = match name.as_str() {
            "count" => Function::Count,
            "sum" => Function::Sum,
            "avg" => Function::Avg,
            "min" => Function::Min,
            "max" => Function::Max,
            other => {
                let message =
                    format!("`{other}` is no aggregate; expected count, sum, avg, min or max");
                return Err(self.error(span, message));
            }
        };
        self.expect(Token::OpenParen, "`(`")?;
        let path = if self.peek() == Some(Token::CloseParen) { None } else { Some(self.path()?) };
        if path.is_none() && function != Function::Count {
            return Err(self.expected(&format!("the field to compute the {name} of")));
        }
        self.expect(Token::CloseParen, "`)`")?;
        Ok(Aggregate { alias, function, path })
    }

    fn list<T>(&mut self, item: fn(&mut Self) -> Result<T, PqlError>) -> Result<Vec<T>, PqlError> {
        let mut items = vec![item(self)?];
        while self.take(Token::Comma) {
            items.push(item(self)?);
        }
        Ok(items)
    }

    fn path(&mut self) -> Result<Path, PqlError> {
        let (mut path, start) = self.name("a field")?;
        while matches!(self.peek(), Some(Token::Dot)) {
            self.at += 1;
            path.push('.');
            match self.next() {
                // `a.0.1` reads as a name, a dot and the number 0.1.
                Some((Token::Integer | Token::Float | Token::Name, span))
                    if !self.text[span.clone()].starts_with('-') =>
                {
                    path.push_str(&self.text[span]);
                }
                Some((Token::Quoted, span)) => path.push_str(self.unquote(span)?),
                _ => {
                    self.at -= 1;
                    return Err(self.expected("a field after the dot"));
                }
            }
        }
        proto::doc::checked_path(&path)
            .map_err(|e| self.error(start.start..self.last_end(), e.to_string()))?;
        Ok(Path(path))
    }

    fn count_operand(&mut self, step: &str) -> Result<Operand, PqlError> {
        match self.peek() {
            Some(Token::Integer | Token::Parameter) => {
                let start = self.at;
                let operand = self.operand()?;
                let negative = matches!(&operand, Operand::Value(value) if value.get().as_i64().is_none_or(|n| n < 0));
                if negative {
                    let span = self.tokens[start].1.clone();
                    return Err(
                        self.error(span, format!("{step}(n) takes a whole number, 0 or more"))
                    );
                }
                Ok(operand)
            }
            _ => Err(self.expected("a whole number")),
        }
    }

    fn key_operand(&mut self) -> Result<KeyOperand, PqlError> {
        let Some((token, span)) = self.next() else {
            return Err(self.expected("a key of 32 hexadecimal digits"));
        };
        let text = match token {
            Token::Parameter => return Ok(KeyOperand::Parameter(self.parameter(span)?)),
            Token::String => &self.text[span.start + 1..span.end - 1],
            _ => {
                // A bare key may read as numbers and names: take all up to `)`.
                let start = span.start;
                while !matches!(self.peek(), None | Some(Token::CloseParen)) {
                    self.at += 1;
                }
                &self.text[start..self.last_end()]
            }
        };
        text.parse::<Key>()
            .map(KeyOperand::Key)
            .map_err(|e| self.error(span.start..self.last_end(), e.to_string()))
    }

    fn document(&mut self, message: &str) -> Result<Operand, PqlError> {
        match self.peek() {
            Some(Token::OpenBrace | Token::Parameter) => self.operand(),
            _ => Err(self.expected(message)),
        }
    }

    fn operand(&mut self) -> Result<Operand, PqlError> {
        if let Some(Token::Parameter) = self.peek() {
            let (_, span) = self.next().unwrap_or((Token::Parameter, self.end()));
            return Ok(Operand::Parameter(self.parameter(span)?));
        }
        Literals::new(self).value().map(Operand::Value)
    }

    fn parameter(&mut self, span: Range<usize>) -> Result<u16, PqlError> {
        let number = self.text[span.start + 1..span.end].parse::<u16>().unwrap_or(0);
        if !(1..=MAX_PARAMETERS).contains(&number) {
            let message = format!("parameters are $1 to ${MAX_PARAMETERS}");
            return Err(self.error(span, message));
        }
        self.parameters = self.parameters.max(number);
        Ok(number)
    }

    // Moving over the words.

    pub(super) fn enter(&mut self) -> Result<(), PqlError> {
        self.depth += 1;
        if self.depth > MAX_NESTING {
            let message = format!("this is nested deeper than {MAX_NESTING} levels");
            return Err(self.expected_at(message));
        }
        Ok(())
    }

    pub(super) fn leave(&mut self) {
        self.depth -= 1;
    }

    pub(super) fn peek(&self) -> Option<Token> {
        self.tokens.get(self.at).map(|(token, _)| *token)
    }

    pub(super) fn next(&mut self) -> Option<Spanned> {
        let token = self.tokens.get(self.at).cloned();
        self.at += usize::from(token.is_some());
        token
    }

    pub(super) fn take(&mut self, token: Token) -> bool {
        let found = self.peek() == Some(token);
        self.at += usize::from(found);
        found
    }

    fn peek_word(&self, word: &str) -> bool {
        matches!(self.tokens.get(self.at), Some((Token::Name, span)) if &self.text[span.clone()] == word)
    }

    fn word(&mut self, word: &str) -> bool {
        let found = self.peek_word(word);
        self.at += usize::from(found);
        found
    }

    pub(super) fn expect(&mut self, token: Token, what: &str) -> Result<(), PqlError> {
        if self.take(token) { Ok(()) } else { Err(self.expected(what)) }
    }

    pub(super) fn name(&mut self, what: &str) -> Result<(String, Range<usize>), PqlError> {
        match self.next() {
            Some((Token::Name, span)) => Ok((self.text[span.clone()].to_owned(), span)),
            Some((Token::Quoted, span)) => Ok((self.unquote(span.clone())?.to_owned(), span)),
            found => {
                self.at -= usize::from(found.is_some());
                Err(self.expected(what))
            }
        }
    }

    fn unquote(&self, span: Range<usize>) -> Result<&'a str, PqlError> {
        let name = &self.text[span.start + 1..span.end - 1];
        if name.contains('.') {
            return Err(self.error(span, "a quoted name holds one field: put the dots outside"));
        }
        Ok(name)
    }

    /// The error of finding something else here than `what`.
    pub(super) fn expected(&self, what: &str) -> PqlError {
        let found = match self.tokens.get(self.at) {
            Some((token, span)) => token.describe(&self.text[span.clone()]),
            None => "the end of the query".to_owned(),
        };
        self.expected_at(format!("expected {what}, found {found}"))
    }

    fn expected_at(&self, message: String) -> PqlError {
        self.error(self.here(), message)
    }

    pub(super) fn error(&self, span: Range<usize>, message: impl Into<String>) -> PqlError {
        PqlError::new(self.text, span, message)
    }

    /// Where the word here stands.
    pub(super) fn here(&self) -> Range<usize> {
        self.tokens.get(self.at).map_or(self.end(), |(_, span)| span.clone())
    }

    fn end(&self) -> Range<usize> {
        self.text.len()..self.text.len()
    }

    fn last_end(&self) -> usize {
        self.tokens[..self.at].last().map_or(0, |(_, span)| span.end)
    }
}

fn starts_condition(token: Token) -> bool {
    matches!(
        token,
        Token::Equal
            | Token::NotEqual
            | Token::Greater
            | Token::GreaterOrEqual
            | Token::Less
            | Token::LessOrEqual
            | Token::Tilde
            | Token::Name
            | Token::Dot
    )
}
