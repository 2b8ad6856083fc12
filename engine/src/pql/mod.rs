//! PQL: from a text to what it means, and back. How it is carried out:
//! [`crate::query`]. The reference for people: `docs/pql.md`.
//!
//! Invariant: one tokenizer and one parser, for every caller. A text is understood
//! whole or refused with the place and what was expected there.

pub mod ast;
mod condition;
mod error;
pub mod format;
mod highlight;
mod parse;
mod pieces;
mod steps;
mod suggest;
mod token;
mod value;
mod words;

pub use error::PqlError;
pub use format::format;
pub use highlight::{Class, Highlight, highlight};
pub use parse::{MAX_NESTING, MAX_PARAMETERS, MAX_TEXT, parse};
pub use steps::MAX_LOOKUPS;
pub(crate) use suggest::did_you_mean;

#[cfg(test)]
mod grammar_tests;
#[cfg(test)]
mod tests;
