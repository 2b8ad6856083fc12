//! What each word of a text is, for the query editor to colour.
//!
//! Invariant: total: any text, broken or not, is answered with ranges that rise,
//! do not overlap, lie on character boundaries and leave out nothing but space.

use super::ast::Function;
use super::condition::WORDED;
use super::steps::{STEPS, TELLING};
use super::token::Token;
use super::value::FUNCTIONS;
use super::words::{CONSTANTS, IMAGES, JOINING, NAMING, ORDERS};
use logos::Logos;
use std::ops::Range;

/// What a word is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// The store a query begins with.
    Store,
    /// `filter`, `orderBy`, ..: a step that is known.
    Step,
    /// `sum`, `date`, ..: a function that is known.
    Function,
    /// `and`, `in`, `desc`, ..: a word of the grammar.
    Keyword,
    /// A field, an alias or another name.
    Name,
    /// `=`, `~`, ..: a sign that compares.
    Operator,
    /// `.`, `(`, `,`, ..
    Punctuation,
    /// A quoted string.
    String,
    /// A number.
    Number,
    /// `true`, `false`, `null`.
    Constant,
    /// `$1`.
    Parameter,
    /// No word of PQL.
    Error,
}

/// A word: where it stands, in bytes, and what it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Highlight {
    /// Bytes of the text.
    pub range: Range<usize>,
    /// What stands there.
    pub class: Class,
}

/// Says what each word of a text is.
pub fn highlight(text: &str) -> Vec<Highlight> {
    let words: Vec<_> = Token::lexer(text).spanned().collect();
    let mut found: Vec<Highlight> = Vec::with_capacity(words.len());
    let mut depth = 0usize;
    for (at, (token, range)) in words.iter().enumerate() {
        let token = token.as_ref().ok().copied();
        let near = |at: usize| words.get(at).and_then(|(token, _)| token.as_ref().ok().copied());
        let before = at.checked_sub(1).and_then(near);
        let after = near(at + 1);
        let class = match token {
            None => Class::Error,
            Some(Token::Name) => {
                let place = Place { first: at == 0, depth, before, after };
                named(&text[range.clone()], &place)
            }
            Some(Token::Quoted) if at == 0 => Class::Store,
            Some(Token::Quoted) => Class::Name,
            Some(Token::String) => Class::String,
            Some(Token::Integer | Token::Float) => Class::Number,
            Some(Token::Parameter) => Class::Parameter,
            Some(token) if token.compares() => Class::Operator,
            Some(Token::OpenParen | Token::OpenBracket | Token::OpenBrace) => {
                depth += 1;
                Class::Punctuation
            }
            Some(Token::CloseParen | Token::CloseBracket | Token::CloseBrace) => {
                depth = depth.saturating_sub(1);
                Class::Punctuation
            }
            // Comma, colon and dot are left.
            Some(_) => Class::Punctuation,
        };
        match found.last_mut() {
            // The rest of a broken word comes a character at a time.
            Some(last)
                if class == Class::Error
                    && last.class == class
                    && last.range.end == range.start =>
            {
                last.range.end = range.end;
            }
            _ => found.push(Highlight { range: range.clone(), class }),
        }
    }
    found
}

/// Where a name stands.
struct Place {
    first: bool,
    depth: usize,
    before: Option<Token>,
    after: Option<Token>,
}

fn named(word: &str, place: &Place) -> Class {
    if place.first {
        return Class::Store;
    }
    let called = place.after == Some(Token::OpenParen);
    if place.before == Some(Token::Dot) {
        let step = place.depth == 0 && (STEPS.contains(&word) || TELLING.contains(&word));
        return match (place.depth, step) {
            (0, true) => Class::Step,
            (0, false) if called => Class::Error,
            _ => Class::Name,
        };
    }
    let value_follows = matches!(
        place.after,
        Some(
            Token::Name
                | Token::Quoted
                | Token::String
                | Token::Integer
                | Token::Float
                | Token::Parameter
                | Token::OpenParen
                | Token::OpenBracket
                | Token::OpenBrace
        )
    );
    // What is compared, or gets a value, is a field or an alias, whatever word it is.
    if place.after.is_some_and(|after| after.compares() || after == Token::Colon) {
        return Class::Name;
    }
    let is = |words: &[&str]| words.contains(&word);
    match word {
        _ if is(&CONSTANTS) => Class::Constant,
        _ if is(&JOINING) && value_follows => Class::Keyword,
        _ if (is(&ORDERS) || word == "exists")
            && !value_follows
            && place.before != Some(Token::OpenParen) =>
        {
            Class::Keyword
        }
        _ if (is(&NAMING) || is(&IMAGES)) && place.depth > 0 => Class::Keyword,
        _ if WORDED.contains(&word) && value_follows => Class::Keyword,
        _ if called && (FUNCTIONS.contains(&word) || is_aggregate(word)) => Class::Function,
        _ => Class::Name,
    }
}

fn is_aggregate(word: &str) -> bool {
    Function::ALL.iter().any(|(name, _)| *name == word)
}
