//! From words to a [`Query`]: the words themselves, and moving over them.
//!
//! ```text
//! query  = store { "." step }
//! step   = get(key) | insert(document)
//!        | filter(expr) | all()
//!        | (lookup | lookupOne)(store, path = path [as name])
//!        | groupBy(path {, path}) | aggregate(name: fn([path]) {, ..})
//!        | distinct(path {, path}) | having(expr)
//!        | orderBy(path [asc|desc] {, path [asc|desc]}) | skip(n) | limit(n)
//!        | pluck(path {, path}) | count()
//!        | set(document) | unset(path {, path}) | inc(document) | push(document)
//!        | upsert(document) | replace(document) | delete()
//!        | returning([before|after]) | explain()
//! expr   = and { "or" and } ;  and = unary { "and" unary }
//! unary  = "not" unary | "(" expr ")" | path condition
//! condition = ( = != > >= < <= ) value | "in" "[" values "]"
//!        | "between" value "and" value | "contains" value
//!        | "startsWith" value | "~" value | "exists"
//! value  = number | string | true | false | null | [..] | {..} | $n
//!        | (date | decimal | objectId | uuid | binary)(..)
//! ```
//!
//! Steps are written in the order in which they act (`steps.rs`). Invariant:
//! nothing of the text is skipped: what cannot be understood is an error at its
//! place.

use super::ast::Query;
use super::error::PqlError;
use super::token::{Spanned, Token, split};
use std::ops::Range;

/// The longest text, in bytes.
pub const MAX_TEXT: usize = 64 << 10;
/// How deep parentheses, `not` and nested literals may go.
pub const MAX_NESTING: usize = 48;
/// The highest parameter.
pub const MAX_PARAMETERS: u16 = 1000;

/// Reads a query.
///
/// # Errors
/// What is wrong, where, and what was expected there.
pub fn parse(text: &str) -> Result<Query, PqlError> {
    if text.len() > MAX_TEXT {
        let message = format!(
            "the query has {} bytes, {MAX_TEXT} are allowed: pass long values as parameters ($1)",
            text.len()
        );
        return Err(PqlError::new("", 0..0, message));
    }
    if let Some(word) = of_sql(text) {
        let message = "PQL is no SQL: begin with a store and go on with steps, such as \
                       flights.filter(delay > 10).pluck(carrier, delay)";
        return Err(PqlError::new(text, word, message));
    }
    let tokens = split(text)?;
    if tokens.is_empty() {
        let message = "the query is empty: begin with a store, such as flights.count()";
        return Err(PqlError::new("", 0..0, message));
    }
    let mut parser = Parser { text, tokens, at: 0, depth: 0, parameters: 0 };
    let (store, _) = parser.name("the name of a store")?;
    let (verb, explain) = parser.steps()?;
    Ok(Query { store, verb, explain, parameters: parser.parameters })
}

/// The first word, if a statement of SQL begins with it and another word follows.
fn of_sql(text: &str) -> Option<Range<usize>> {
    let start = text.len() - text.trim_start().len();
    let (word, rest) = text[start..].split_once(|c: char| c.is_ascii_whitespace())?;
    let known = ["select", "insert", "update", "delete", "with"];
    let sql = known.iter().any(|known| known.eq_ignore_ascii_case(word));
    let goes_on = rest.trim_start().starts_with(|c: char| c.is_alphanumeric() || "*\"".contains(c));
    (sql && goes_on).then_some(start..start + word.len())
}

pub(super) struct Parser<'a> {
    pub(super) text: &'a str,
    pub(super) tokens: Vec<Spanned>,
    pub(super) at: usize,
    depth: usize,
    pub(super) parameters: u16,
}

impl<'a> Parser<'a> {
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

    pub(super) fn token_after(&self) -> Option<Token> {
        self.tokens.get(self.at + 1).map(|(token, _)| *token)
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

    pub(super) fn peek_word(&self, word: &str) -> bool {
        matches!(self.tokens.get(self.at), Some((Token::Name, span)) if &self.text[span.clone()] == word)
    }

    pub(super) fn word(&mut self, word: &str) -> bool {
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

    pub(super) fn unquote(&self, span: Range<usize>) -> Result<&'a str, PqlError> {
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

    pub(super) fn end(&self) -> Range<usize> {
        self.text.len()..self.text.len()
    }

    pub(super) fn last_end(&self) -> usize {
        self.tokens[..self.at].last().map_or(0, |(_, span)| span.end)
    }
}
