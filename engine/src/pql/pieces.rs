//! The small pieces that steps are made of: fields, orders, figures, keys.

use super::ast::{Aggregate, Function, KeyOperand, Operand, Order, Path};
use super::error::PqlError;
use super::parse::{MAX_PARAMETERS, Parser};
use super::suggest::did_you_mean;
use super::token::Token;
use super::value::Literals;
use proto::Key;
use std::collections::BTreeSet;
use std::ops::Range;

impl<'a> Parser<'a> {
    pub(super) fn order(&mut self) -> Result<Order, PqlError> {
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
        let (alias, span) = self.name("a name for the figure, such as `total: sum(price)`")?;
        if self.peek() == Some(Token::OpenParen) {
            let message = format!("a figure needs a name: write `name: {alias}(..)`");
            return Err(self.error(span, message));
        }
        self.expect(Token::Colon, "`:`")?;
        let (name, span) = self.name("count, sum, avg, min or max")?;
        let known = Function::ALL.map(|(name, _)| name);
        let Some((_, function)) = Function::ALL.into_iter().find(|(known, _)| *known == name)
        else {
            let message = format!(
                "`{name}` is no aggregate; expected count, sum, avg, min or max{}",
                did_you_mean(&name, &known)
            );
            return Err(self.error(span, message));
        };
        self.expect(Token::OpenParen, "`(`")?;
        let path = if self.peek() == Some(Token::CloseParen) { None } else { Some(self.path()?) };
        if path.is_none() && function != Function::Count {
            return Err(self.expected(&format!("the field to compute the {name} of")));
        }
        self.expect(Token::CloseParen, "`)`")?;
        Ok(Aggregate { alias, function, path })
    }

    pub(super) fn list<T>(
        &mut self,
        item: fn(&mut Self) -> Result<T, PqlError>,
    ) -> Result<Vec<T>, PqlError> {
        let mut items = vec![item(self)?];
        while self.take(Token::Comma) {
            items.push(item(self)?);
        }
        Ok(items)
    }

    /// The fields of `step`, each of which makes one of the rows: each is named once.
    pub(super) fn fields(&mut self, step: &str) -> Result<Vec<Path>, PqlError> {
        let (mut paths, mut seen) = (Vec::new(), BTreeSet::new());
        loop {
            let start = self.here().start;
            let path = self.path()?;
            if !seen.insert(path.0.clone()) {
                let message = format!("{step}({}) is there already: name each field once", path.0);
                return Err(self.error(start..self.last_end(), message));
            }
            paths.push(path);
            if !self.take(Token::Comma) {
                return Ok(paths);
            }
        }
    }

    /// The figures of groups that have these fields: each has a name of its own.
    pub(super) fn figures(&mut self, by: &[Path]) -> Result<Vec<Aggregate>, PqlError> {
        let mut taken: BTreeSet<String> = by.iter().map(|path| path.0.clone()).collect();
        let mut figures = Vec::new();
        loop {
            let place = self.here();
            let figure = self.aggregate()?;
            if !taken.insert(figure.alias.clone()) {
                let message = format!(
                    "a group has a field `{}` already: give the figure another name",
                    figure.alias
                );
                return Err(self.error(place, message));
            }
            figures.push(figure);
            if !self.take(Token::Comma) {
                return Ok(figures);
            }
        }
    }

    pub(super) fn path(&mut self) -> Result<Path, PqlError> {
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

    pub(super) fn count_operand(&mut self, step: &str) -> Result<Operand, PqlError> {
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

    pub(super) fn key_operand(&mut self) -> Result<KeyOperand, PqlError> {
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

    pub(super) fn document(&mut self, message: &str) -> Result<Operand, PqlError> {
        match self.peek() {
            Some(Token::OpenBrace | Token::Parameter) => self.operand(),
            _ => Err(self.expected(message)),
        }
    }

    pub(super) fn operand(&mut self) -> Result<Operand, PqlError> {
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
}
