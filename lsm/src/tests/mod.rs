//! Tests of modules whose text `tests/interleave` compiles too, and which so have
//! none in them.

#![allow(clippy::unwrap_used)]

mod lease;
mod registry;
mod retain;
