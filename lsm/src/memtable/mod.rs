//! One keyspace's part of a memtable set: ordered by key ascending, the versions
//! of a key by LSN descending; one writer, readers without locks, nothing ever
//! removed.
//!
//! ```text
//!  raw.rs    memory: a bump arena, entries in it, links (the only unsafe code)
//!  node.rs   fat append-only nodes, published by one order word
//!  table.rs  the tree, its one writer, and why readers miss nothing
//!  walk.rs   a walk as one LSN sees it
//! ```
//!
//! Contract: [`Memtable::insert`], [`Memtable::get`], [`Memtable::read`],
//! [`Walk`], [`Memtable::bytes`]. Nothing outside knows about nodes. Measured
//! against `BTreeMap`: `benches/memtable.rs`, figures in `lsm/README.md` and
//! `docs/decisions/0010-memtable.md`. The interleavings of its atomics:
//! `tests/interleave.rs`.

mod node;
mod raw;
mod sync;
mod table;
mod walk;

use std::sync::Arc;

pub(crate) use raw::Held;
pub(crate) use table::Memtable;
pub(crate) use walk::Walk;

use crate::Lsn;
use crate::batch::MAX_BATCH_BYTES;
use crate::value::Value;

// Lengths fit the fields of an entry.
const _: () = assert!(MAX_BATCH_BYTES <= u32::MAX as usize && crate::MAX_KEY <= u16::MAX as usize);

impl Memtable {
    /// As [`Memtable::get`], with the value to keep: the entry's LSN, and `None` for
    /// a delete.
    #[inline]
    pub(crate) fn read(self: &Arc<Self>, key: &[u8], at: Lsn) -> Option<(Lsn, Option<Value>)> {
        let mut lsn = None;
        let value = Value::from_memory(self, |table| {
            let entry = table.get(key, at)?;
            lsn = Some(entry.lsn());
            entry.value()
        });
        Some((lsn?, value))
    }
}

#[cfg(test)]
mod tests;
