//! Counters: numbers that are given out once, whatever happens.
//!
//! What must stay true: a number is given out only when the frame that moves the
//! counter beyond it is durable, in async mode too. So no crash gives it out
//! again: it is at most skipped. A counter is a key like any other: it lives in
//! the log, in a memtable, in a tree, and goes through flush and replay with them.
//! Its value is the next number, 8 bytes little-endian; without one that is 1.

use std::ops::Range;

use crate::{Batch, Error, KeyspaceId, Lsm};

/// The first number of every counter.
const FIRST: u64 = 1;

impl Lsm {
    /// Takes the next `n` numbers of the counter `key`: nobody gets them again, not
    /// after a crash, in either mode. The first is 1. Costs a commit and a sync: who
    /// needs many takes them by the hundred. Numbers taken and not used are gaps.
    ///
    /// # Errors
    /// A commit's; [`Error::Counter`] if the key holds something else, or numbers
    /// have run out. No number was taken, or none that anybody got.
    pub fn reserve(&self, keyspace: KeyspaceId, key: &[u8], n: u64) -> Result<Range<u64>, Error> {
        let (lsn, numbers) = self.commit_with(|latest| {
            let fault = |what| Error::Counter { keyspace, key: key.into(), what };
            let next = match latest.get(keyspace, key)?.as_deref().map(<[u8; 8]>::try_from) {
                None => FIRST,
                Some(Ok(bytes)) => u64::from_le_bytes(bytes),
                Some(Err(_)) => return Err(fault("its value has not 8 bytes")),
            };
            let end = next.checked_add(n).ok_or_else(|| fault("it would pass 2^64"))?;
            let mut batch = Batch::new();
            if n > 0 {
                batch.put(keyspace, key, &end.to_le_bytes());
            }
            Ok((batch, next..end))
        })?;
        self.wait_durable(lsn)?;
        Ok(numbers)
    }
}
