//! Conditions: what stands in `filter(..)` and `having(..)`.

use super::ast::{Comparison, Expr, Path};
use super::error::PqlError;
use super::parse::Parser;
use super::suggest::did_you_mean;
use super::token::Token;
use std::ops::Range;

/// The operators that are words.
pub(super) const WORDED: [&str; 5] = ["in", "between", "contains", "startsWith", "exists"];

impl Parser<'_> {
    pub(super) fn expr(&mut self) -> Result<Expr, PqlError> {
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
        self.leave();
        Ok(expr)
    }

    /// Whether the word here is the field of a condition, though it reads like `not`.
    fn names_a_field(&self) -> bool {
        !matches!(
            self.tokens.get(self.at + 1),
            Some((Token::Name | Token::Quoted | Token::OpenParen, _))
        ) || matches!(
            self.tokens.get(self.at + 1),
            Some((_, span)) if WORDED.contains(&&self.text[span.clone()])
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
            Token::Less if self.peek() == Some(Token::Greater) && self.here().start == span.end => {
                let both = span.start..self.here().end;
                return Err(self.error(both, "`<>` is no operator: write `!=`"));
            }
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
        let word = &self.text[span.clone()];
        let known = [&WORDED[..], &["and", "or", "~", "="]].concat();
        let message = format!(
            "`{word}` is no operator; expected =, !=, >, >=, <, <=, ~, in, between, contains, \
             startsWith or exists{}",
            did_you_mean(word, &known)
        );
        self.error(span, message)
    }
}

fn starts_condition(token: Token) -> bool {
    token.compares() || matches!(token, Token::Name | Token::Dot)
}
