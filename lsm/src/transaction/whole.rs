//! All writes of a transaction as one batch.
//!
//! What must stay true: it does what the writes one after the other do: each key once,
//! with its last value; the numbers of keys are moved by as much. What was made and
//! removed again is not there. The value before is that before the first of them.

use super::Transaction;
use crate::batch::{Batch, Op, Told};

/// The last operation on a key.
struct Last<'a> {
    keyspace: u32,
    key: &'a [u8],
    /// `None`: it is removed.
    value: Option<&'a [u8]>,
    /// Whether that keeps its LSN.
    versioned: bool,
    /// By how much all operations on it move the number of keys.
    moved: i64,
    /// Whether it is known that there was none before the first of them.
    made: bool,
    /// What it was before the first of them, if that is kept.
    before: Option<&'a [u8]>,
}

impl Transaction {
    /// `is_there` says of a key, if it has to be looked at again, whether it has a value in
    /// the state that is written to.
    pub(super) fn whole(&self, is_there: impl Fn(u32, &[u8]) -> Option<bool>) -> Batch {
        let mut all = Vec::with_capacity(self.writes.len());
        for Told { op, moved, versioned, before } in self.writes.ops().told() {
            let (keyspace, key, value) = match op {
                Op::Put(keyspace, key, value) => (keyspace, key, Some(value)),
                Op::Delete(keyspace, key) => (keyspace, key, None),
                Op::DropKeyspace(_) => continue,
            };
            let made = value.is_some() && moved > 0;
            let keyspace = keyspace.0;
            all.push(Last { keyspace, key, value, versioned, moved, made, before });
        }
        // Those of a key stay in their order.
        all.sort_by(|a, b| (a.keyspace, a.key).cmp(&(b.keyspace, b.key)));
        let mut batch = Batch::new();
        let mut all = all.into_iter().peekable();
        while let Some(mut last) = all.next() {
            while let Some(next) =
                all.next_if(|next| (next.keyspace, next.key) == (last.keyspace, last.key))
            {
                (last.value, last.versioned) = (next.value, next.versioned);
                last.moved += next.moved;
            }
            let there = is_there(last.keyspace, last.key);
            let was = there.unwrap_or(match last.value {
                Some(_) => last.moved <= 0,
                None => last.moved < 0,
            });
            let keyspace = crate::KeyspaceId(last.keyspace);
            if let (true, Some(before)) = (was, last.before) {
                batch.before(keyspace, last.key, before);
            }
            match (last.value, was) {
                (Some(value), was) if last.versioned => {
                    batch.put_versioned(keyspace, last.key, value, !was);
                }
                (Some(value), true) => batch.put(keyspace, last.key, value),
                (Some(value), false) => batch.put_new(keyspace, last.key, value),
                (None, true) => batch.delete_present(keyspace, last.key),
                (None, false) if last.made || there == Some(false) => {}
                (None, false) => batch.delete(keyspace, last.key),
            }
        }
        batch
    }
}
