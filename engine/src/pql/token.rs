//! The words of PQL.

use super::error::PqlError;
use logos::Logos;
use std::ops::Range;

/// A word. Keywords are not told from names here: `count` may be a field.
#[derive(Logos, Clone, Copy, Debug, PartialEq, Eq)]
#[logos(skip r"[ \t\r\n]+")]
pub(super) enum Token {
    #[token("(")]
    OpenParen,
    #[token(")")]
    CloseParen,
    #[token("[")]
    OpenBracket,
    #[token("]")]
    CloseBracket,
    #[token("{")]
    OpenBrace,
    #[token("}")]
    CloseBrace,
    #[token(",")]
    Comma,
    #[token(":")]
    Colon,
    #[token(".")]
    Dot,
    #[token("=")]
    #[token("==")]
    Equal,
    #[token("!=")]
    NotEqual,
    #[token(">")]
    Greater,
    #[token(">=")]
    GreaterOrEqual,
    #[token("<")]
    Less,
    #[token("<=")]
    LessOrEqual,
    #[token("~")]
    Tilde,
    #[regex(r"[\p{Alphabetic}_][\p{Alphabetic}\p{Nd}_]*")]
    Name,
    /// A field name that is no plain word: `` `dep delay` ``.
    #[regex(r"`[^`\n]+`")]
    Quoted,
    #[regex(r"-?[0-9]+")]
    Integer,
    #[regex(r"-?[0-9]+\.[0-9]+([eE][+-]?[0-9]+)?")]
    #[regex(r"-?[0-9]+[eE][+-]?[0-9]+")]
    Float,
    #[regex(r#""([^"\\]|\\.)*""#)]
    #[regex(r"'([^'\\]|\\.)*'")]
    String,
    #[regex(r"\$[0-9]+")]
    Parameter,
}

impl Token {
    /// Whether it stands between a field and what it is compared with.
    pub(super) fn compares(self) -> bool {
        matches!(
            self,
            Token::Equal
                | Token::NotEqual
                | Token::Greater
                | Token::GreaterOrEqual
                | Token::Less
                | Token::LessOrEqual
                | Token::Tilde
        )
    }

    /// How a message names it.
    pub(super) fn describe(self, text: &str) -> String {
        match self {
            Token::String => "a string".to_owned(),
            Token::Integer | Token::Float => format!("the number {text}"),
            _ => format!("`{text}`"),
        }
    }
}

/// What to write instead of the signs of other languages.
fn meant(rest: &str) -> &'static str {
    for (sign, advice) in [
        ("&", ": write `and`"),
        ("|", ": write `or`"),
        ("!", ": write `not`"),
        ("//", ", which has no comments"),
        ("/*", ", which has no comments"),
        ("#", ", which has no comments"),
        (";", ": one query is one chain, and nothing ends it"),
    ] {
        if rest.starts_with(sign) {
            return advice;
        }
    }
    ""
}

/// A word and where it stands.
pub(super) type Spanned = (Token, Range<usize>);

/// Splits a text into words.
pub(super) fn split(text: &str) -> Result<Vec<Spanned>, PqlError> {
    let mut tokens = Vec::new();
    for (token, span) in Token::lexer(text).spanned() {
        match token {
            Ok(token) => tokens.push((token, span)),
            Err(()) => {
                let found = text[span.clone()].chars().next().unwrap_or(' ');
                let message = match found {
                    '"' | '\'' => "this string has no end: close it with the same quote".to_owned(),
                    '`' => "this name has no end: close it with another `".to_owned(),
                    '$' => "a parameter is $ and a number, such as $1".to_owned(),
                    other => format!("`{other}` is no part of PQL{}", meant(&text[span.start..])),
                };
                return Err(PqlError::new(text, span, message));
            }
        }
    }
    Ok(tokens)
}
