//! A PQL error: where, what was expected, what was found.

use std::fmt;
use std::ops::Range;

/// Why a text is no PQL query. Shown with the line it is in and a caret under
/// the place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PqlError {
    /// What is wrong and what to write instead.
    pub message: String,
    /// Bytes of the text it is about; empty at the end of the text.
    pub span: Range<usize>,
    /// The text, for the caret.
    text: String,
}

impl PqlError {
    pub(crate) fn new(text: &str, span: Range<usize>, message: impl Into<String>) -> Self {
        PqlError { message: message.into(), span, text: text.to_owned() }
    }

    /// The line (from 1) and column (from 1, in characters) of the place.
    pub fn position(&self) -> (usize, usize) {
        let before = &self.text[..self.span.start];
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
    }
}

impl fmt::Display for PqlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.text.is_empty() {
            return f.write_str(&self.message); // There is nothing to show.
        }
        let (line, column) = self.position();
        let shown = self.text.lines().nth(line - 1).unwrap_or_default();
        let line_start = self.text[..self.span.start].rfind('\n').map_or(0, |at| at + 1);
        let marked = &self.text[self.span.clone()];
        let width = marked.lines().next().map_or(1, |m| m.chars().count()).max(1);
        // Show a window of a long line, so that the caret stays in sight.
        let lead = self.text[line_start..self.span.start].chars().count();
        let cut = if shown.chars().count() <= 100 { 0 } else { lead.saturating_sub(60) };
        let window: String = shown.chars().skip(cut).take(100).collect();
        write!(f, "line {line}, column {column}: {}\n  {}\n  ", self.message, window.trim_end())?;
        write!(f, "{}{}", " ".repeat(lead - cut), "^".repeat(width.min(100 - (lead - cut).min(99))))
    }
}

impl std::error::Error for PqlError {}
