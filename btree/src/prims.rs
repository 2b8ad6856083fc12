//! The atomics of what is tried in every interleaving: `lsm/tests/interleave` compiles
//! the same text on loom's.

pub(crate) use std::sync::OnceLock;
pub(crate) use std::sync::atomic::AtomicUsize;
