//! PQL: from a text to what it means. How it is carried out: [`crate::query`].
//!
//! Invariant: one parser, for every caller. A text is understood whole or
//! refused with the place and what was expected there.

pub mod ast;
mod error;
mod parse;
mod token;
mod value;

pub use error::PqlError;
pub use parse::{MAX_NESTING, MAX_PARAMETERS, MAX_TEXT, parse};

#[cfg(test)]
mod tests;
