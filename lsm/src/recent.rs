//! The keys that the last commits wrote: what transactions are compared with.
//!
//! What must stay true:
//! * nothing is kept until the first transaction begins, nor from [`IDLE`] commits after
//!   the last one ended: who writes without any pays one look at a flag for it;
//! * while it is kept, it is filled under the commit lock, in the order of commits, with
//!   none left out: all behind `from` are there;
//! * it is bounded in bytes. A transaction that is older than what is left of it is told
//!   so, and never taken for one that nobody disturbed.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use parking_lot::Mutex;

use crate::Lsn;
use crate::batch::{Op, Ops};

/// Bytes kept of the last commits.
const MOST: usize = 32 << 20;
/// Commits without a transaction until no more of them are kept.
const IDLE: u32 = 4096;
/// Bytes that a commit takes beside its keys.
const OVERHEAD: usize = 64;

/// The keys of one commit: of each `| keyspace u32 LE | length u16 LE | key |`; without
/// a key: the keyspace was dropped.
pub(crate) struct Written {
    pub(crate) lsn: Lsn,
    keys: Box<[u8]>,
}

impl Written {
    fn new(lsn: Lsn, ops: Ops<'_>) -> Written {
        let mut keys = Vec::with_capacity(ops.size_hint().0 * 32);
        for op in ops {
            let (keyspace, key) = match op {
                Op::Put(keyspace, key, _) | Op::Delete(keyspace, key) => (keyspace, key),
                Op::DropKeyspace(keyspace) => (keyspace, &[][..]),
            };
            keys.extend_from_slice(&keyspace.0.to_le_bytes());
            keys.extend_from_slice(&(key.len() as u16).to_le_bytes());
            keys.extend_from_slice(key);
        }
        Written { lsn, keys: keys.into() }
    }

    /// Keyspaces and keys, in the order of the commit; no key: all of the keyspace.
    pub(crate) fn keys(&self) -> impl Iterator<Item = (u32, Option<&[u8]>)> {
        let mut rest = &self.keys[..];
        std::iter::from_fn(move || {
            let (keyspace, tail) = rest.split_first_chunk::<4>()?;
            let (len, tail) = tail.split_first_chunk::<2>()?;
            let (key, tail) = tail.split_at_checked(usize::from(u16::from_le_bytes(*len)))?;
            rest = tail;
            Some((u32::from_le_bytes(*keyspace), (!key.is_empty()).then_some(key)))
        })
    }

    fn bytes(&self) -> usize {
        OVERHEAD + self.keys.len()
    }
}

#[derive(Default)]
struct Ring {
    commits: VecDeque<Arc<Written>>,
    bytes: usize,
    /// All commits behind this one are there.
    from: Lsn,
    /// Since when commits are kept.
    since: Lsn,
    /// Transactions there are.
    live: usize,
    /// Commits since there was one.
    idle: u32,
}

/// See the module.
pub(crate) struct Recent {
    /// Changed under the commit lock and the ring's.
    on: AtomicBool,
    ring: Mutex<Ring>,
    most: usize,
}

impl Recent {
    pub(crate) fn new() -> Arc<Recent> {
        Arc::new(Recent { on: AtomicBool::new(false), ring: Mutex::default(), most: MOST })
    }

    /// A transaction begins; gives since which commit they are kept, if they are.
    pub(crate) fn enter(self: &Arc<Self>) -> (Live, Option<Lsn>) {
        let mut ring = self.ring.lock();
        (ring.live, ring.idle) = (ring.live + 1, 0);
        let since = self.on.load(Relaxed).then_some(ring.since);
        drop(ring);
        (Live(Arc::clone(self)), since)
    }

    /// Under the commit lock: from now on commits are kept, `applied` being the last one;
    /// gives since which one they are.
    pub(crate) fn keep(&self, applied: Lsn) -> Lsn {
        let mut ring = self.ring.lock();
        if !self.on.swap(true, Relaxed) {
            (ring.from, ring.since) = (applied, applied);
        }
        ring.since
    }

    /// Under the commit lock: a commit was made.
    #[inline]
    pub(crate) fn note(&self, lsn: Lsn, ops: Ops<'_>) {
        if self.on.load(Relaxed) {
            self.push(lsn, ops);
        }
    }

    #[cold]
    fn push(&self, lsn: Lsn, ops: Ops<'_>) {
        let written = Arc::new(Written::new(lsn, ops));
        let mut ring = self.ring.lock();
        ring.idle = if ring.live == 0 { ring.idle + 1 } else { 0 };
        if ring.idle > IDLE {
            self.on.store(false, Relaxed);
            let gone = std::mem::take(&mut *ring);
            drop(ring);
            return drop(gone);
        }
        ring.bytes += written.bytes();
        ring.commits.push_back(written);
        let mut gone = Vec::new();
        while ring.bytes > self.most
            && let Some(oldest) = ring.commits.pop_front()
        {
            ring.bytes -= oldest.bytes();
            ring.from = oldest.lsn;
            gone.push(oldest);
        }
        drop(ring);
    }

    /// The commits behind `lsn`, oldest first; `None`: some of them are not kept any more.
    pub(crate) fn behind(&self, lsn: Lsn) -> Option<Vec<Arc<Written>>> {
        let ring = self.ring.lock();
        if !self.on.load(Relaxed) || lsn < ring.from {
            return None;
        }
        // From the newest: mostly none or few are behind it, and each that is looked at
        // lies elsewhere in memory.
        let behind = ring.commits.iter().rev().take_while(|written| written.lsn > lsn).count();
        Some(ring.commits.range(ring.commits.len() - behind..).cloned().collect())
    }

    /// Bytes of memory held, and transactions that there are.
    pub(crate) fn held(&self) -> (usize, usize) {
        let ring = self.ring.lock();
        (ring.bytes, ring.live)
    }
}

/// A transaction that is there.
pub(crate) struct Live(Arc<Recent>);

impl Drop for Live {
    fn drop(&mut self) {
        self.0.ring.lock().live -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Batch, KeyspaceId};

    fn batch(key: &[u8]) -> Batch {
        let mut batch = Batch::new();
        batch.put(KeyspaceId(7), key, b"value");
        batch.delete(KeyspaceId(8), b"other");
        batch.drop_keyspace(KeyspaceId(9));
        batch
    }

    #[test]
    fn nothing_is_kept_without_a_transaction_and_nothing_is_left_out_with_one() {
        let recent = Recent::new();
        recent.note(1, batch(b"a").ops());
        assert!(recent.behind(0).is_none() && recent.behind(1).is_none());
        let (live, since) = recent.enter();
        assert_eq!(since, None);
        assert_eq!(recent.keep(1), 1);
        recent.note(2, batch(b"b").ops());
        recent.note(3, batch(b"c").ops());
        assert!(recent.behind(0).is_none(), "commit 1 is not there");
        let lsns = |lsn| recent.behind(lsn).unwrap().iter().map(|w| w.lsn).collect::<Vec<_>>();
        assert_eq!((lsns(1), lsns(2), lsns(3)), (vec![2, 3], vec![3], vec![]));
        let behind = recent.behind(2).unwrap();
        let keys: Vec<_> = behind[0].keys().collect();
        assert_eq!(keys, [(7, Some(&b"c"[..])), (8, Some(b"other")), (9, None)]);
        assert_eq!(recent.enter().1, Some(1));
        assert_eq!(recent.keep(3), 1, "it was kept already");
        drop(live);
        // A while after the last one it ends.
        for lsn in 4..=u64::from(IDLE) + 3 {
            recent.note(lsn, batch(b"d").ops());
        }
        assert!(recent.behind(3).is_some());
        recent.note(u64::from(IDLE) + 4, batch(b"d").ops());
        assert!(recent.behind(u64::from(IDLE) + 4).is_none());
        assert_eq!(recent.held(), (0, 0));
    }

    #[test]
    fn it_is_bounded_and_says_what_is_not_there_any_more() {
        let most = 3 * Written::new(1, batch(b"a").ops()).bytes();
        let ring = Mutex::default();
        let recent = Arc::new(Recent { on: AtomicBool::new(false), ring, most });
        let _live = recent.enter();
        recent.keep(0);
        for lsn in 1..=5 {
            recent.note(lsn, batch(b"a").ops());
            assert!(recent.held().0 <= most);
        }
        assert_eq!(recent.behind(2).unwrap().len(), 3);
        assert!(recent.behind(1).is_none());
        // One that is larger than all of it.
        recent.note(6, batch(&[7; 1000]).ops());
        assert_eq!(recent.held(), (0, 1));
        assert!(recent.behind(5).is_none() && recent.behind(6).unwrap().is_empty());
    }
}
