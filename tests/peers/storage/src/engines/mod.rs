//! The engines behind one small trait.
//!
//! What must stay true: each adapter uses its engine as its own users would, in
//! one store of 16-byte keys; a failure ends the program (a bench that goes on
//! after an error measures nothing).

mod fjall;
mod lmdb;
mod planck;
mod redb;
mod rocks;
mod sqlite;

use crate::work::Key;
pub use shared::CACHE_BYTES;
use std::path::Path;

/// Bytes of a write buffer, where an engine has one.
pub const BUFFER_BYTES: usize = 64 << 20;

/// When a write is acknowledged.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// A killed process loses nothing; a power cut may.
    Fast,
    /// A power cut loses nothing.
    Durable,
}

/// One store, open. Dropped, it is closed in order.
pub trait Store: Send + Sync {
    /// One write, acknowledged as the mode says.
    fn put(&self, key: &Key, value: &[u8]);
    /// Several at once, atomically.
    fn batch(&self, rows: &[(Key, &[u8])]);
    /// Whether the key is there; lends its value.
    fn get(&self, key: &Key, see: &mut dyn FnMut(&[u8])) -> bool;
    /// Up to `count` entries from `from` on; lends the values.
    fn scan(&self, from: &Key, count: usize, see: &mut dyn FnMut(&[u8])) -> usize;
    /// Returns when the background work that its users wait for is done.
    fn settle(&self);
}

/// An engine that can be opened.
#[derive(Clone, Copy)]
pub struct Engine {
    pub name: &'static str,
    pub open: fn(&Path, Mode) -> Box<dyn Store>,
    /// What it verifies when it reads, and what its `Fast` mode means.
    pub checks: &'static str,
}

/// All of them, ours first.
pub const ALL: &[Engine] = &[
    Engine {
        name: "planck",
        open: planck::open,
        checks: "every page on load, every record on read",
    },
    Engine { name: "rocksdb", open: rocks::plain, checks: "every block on load" },
    Engine {
        name: "blobdb",
        open: rocks::blobs,
        checks: "every block on load, every blob on read",
    },
    Engine { name: "fjall", open: fjall::plain, checks: "every block on load" },
    Engine { name: "fjall-kv", open: fjall::separated, checks: "every block and blob on load" },
    Engine {
        name: "redb",
        open: redb::open,
        checks: "nothing on read; fast mode loses all since the last durable commit when killed",
    },
    Engine { name: "lmdb", open: lmdb::open, checks: "nothing on read" },
    Engine { name: "sqlite", open: sqlite::open, checks: "nothing on read" },
];
