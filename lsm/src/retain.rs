//! Who still needs the log: how far it may be cut.
//!
//! The log is cut below the lowest of
//! * what the page file's *older* meta page has flushed: if the newer one rots,
//!   the store opens with the older one and replays from there;
//! * what is archived, if the log is archived (`archive.rs`): without a bound, a
//!   copy that fails holds the log back until it succeeds;
//! * its newest [`Options::wal_keep_bytes`](crate::Options), for holders to come
//!   back to after a restart, which forgets them;
//! * what each holder (a replica, a watcher) has yet to read, as long as the
//!   holders' part stays within [`Options::wal_retain_bytes`](crate::Options): one
//!   that holds back more is let go, and told so.
//!
//! What must stay true:
//! * a [`Retention`] that is not gone finds every frame from its LSN on. So a
//!   segment is condemned under the lock, before it is removed, and nobody is
//!   taken in who needs a condemned one;
//! * a holder let go stays so, and stays visible, until it is dropped;
//! * holding back only ever keeps more: commits never wait for any of it.

use std::sync::Arc;
use std::sync::atomic::Ordering::{Acquire, Release};

use wal::SegmentInfo;

use crate::prims::{AtomicU64, Mutex};
use crate::{Error, Lsn, WalError};

/// A holder's LSN once it was let go.
const GONE: Lsn = Lsn::MAX;

/// All holders of a store.
#[derive(Default)]
pub(crate) struct Retain {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    holders: Vec<Arc<Slot>>,
    /// Frames below this are removed, or about to be.
    oldest: Lsn,
    let_go: u64,
    /// What the newer meta page has flushed, and the older one; 0 if unknown.
    newest: Lsn,
    older: Lsn,
}

struct Slot {
    name: String,
    /// The first frame it needs; [`GONE`].
    from: AtomicU64,
}

/// A holder of the log, as stats show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// The name it gave.
    pub name: String,
    /// The first frame it needs; `None`: it was let go.
    pub from: Option<Lsn>,
}

/// Keeps the log from [`Retention::from`] on, until it is dropped or let go.
pub struct Retention {
    slot: Arc<Slot>,
    of: Arc<Retain>,
}

impl Retention {
    /// The first frame that is kept for this holder; `None`: it was let go.
    pub fn from(&self) -> Option<Lsn> {
        let from = self.slot.from.load(Acquire);
        (from != GONE).then_some(from)
    }

    /// From now on only frames from `from` on are needed. Going back is not
    /// possible: a lower LSN changes nothing.
    ///
    /// # Errors
    /// [`WalError::Gone`]: the holder was let go; the error has the oldest frame
    /// there is. It may register anew from there, or start from a snapshot.
    pub fn advance(&self, from: Lsn) -> Result<(), Error> {
        let next = |held| (held != GONE).then(|| from.clamp(held, GONE - 1));
        match self.slot.from.fetch_update(Release, Acquire, next) {
            Ok(_) => Ok(()),
            Err(_) => {
                let oldest = self.of.inner.lock().oldest;
                Err(WalError::Gone { wanted: from, oldest }.into())
            }
        }
    }
}

impl Drop for Retention {
    fn drop(&mut self) {
        self.of.inner.lock().holders.retain(|slot| !Arc::ptr_eq(slot, &self.slot));
    }
}

impl std::fmt::Debug for Retention {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (name, from) = (&self.slot.name, self.from());
        f.debug_struct("Retention").field("name", name).field("from", &from).finish()
    }
}

/// What stats show.
#[derive(Default)]
pub(crate) struct Figures {
    pub(crate) holders: usize,
    pub(crate) oldest: Option<Lsn>,
    pub(crate) let_go: u64,
}

impl Retain {
    /// Of a store opened with all up to `flushed` in its trees.
    pub(crate) fn new(flushed: Lsn) -> Arc<Self> {
        let inner = Inner { newest: flushed, ..Inner::default() };
        Arc::new(Self { inner: Mutex::new(inner) })
    }

    /// The page file has committed: its newer meta page has all up to `flushed`.
    pub(crate) fn committed(&self, flushed: Lsn) {
        let mut inner = self.inner.lock();
        inner.older = inner.newest;
        inner.newest = flushed;
    }

    /// Whether one of `segments` is kept for the older meta page only.
    pub(crate) fn older_holds(&self, segments: &[SegmentInfo]) -> bool {
        let inner = self.inner.lock();
        let ends = segments.iter().skip(1).map(|next| next.first_lsn - 1);
        ends.filter(|last| (inner.older + 1..=inner.newest).contains(last)).count() > 0
    }

    /// Whether somebody has yet to read a frame up to `last`.
    pub(crate) fn needs(&self, last: Lsn) -> bool {
        let inner = self.inner.lock();
        inner.holders.iter().any(|slot| slot.from.load(Acquire) <= last)
    }

    /// A holder of what is there from `from` on; `oldest` says from where on the log has
    /// frames.
    pub(crate) fn hold(
        self: &Arc<Self>,
        name: &str,
        from: Lsn,
        oldest: impl FnOnce() -> Lsn,
    ) -> Result<Retention, Error> {
        let mut inner = self.inner.lock();
        // Under the lock: nothing is condemned between the look and the entry.
        let oldest = oldest().max(inner.oldest);
        if from < oldest {
            return Err(WalError::Gone { wanted: from, oldest }.into());
        }
        Ok(self.enter(&mut inner, name, from))
    }

    fn enter(self: &Arc<Self>, inner: &mut Inner, name: &str, from: Lsn) -> Retention {
        let from = AtomicU64::new(from.clamp(1, GONE - 1));
        let slot = Arc::new(Slot { name: name.to_owned(), from });
        inner.holders.push(Arc::clone(&slot));
        Retention { slot, of: Arc::clone(self) }
    }

    /// A holder of frames that may be gone.
    #[cfg(test)]
    pub(crate) fn hold_anyway(self: &Arc<Self>, from: Lsn) -> Retention {
        self.enter(&mut self.inner.lock(), "x", from)
    }

    /// Up to which frame the log may be cut, but for its newest `keep` bytes. Lets go
    /// whoever holds back more than `most` bytes of `segments`, and condemns what is
    /// not kept.
    pub(crate) fn limit(
        &self,
        archived: Option<Lsn>,
        segments: &[SegmentInfo],
        most: u64,
        keep: u64,
    ) -> Lsn {
        let mut inner = self.inner.lock();
        let free = inner.older.min(archived.unwrap_or(Lsn::MAX)).min(before(segments, keep));
        let mut limit = free;
        let mut let_go = 0;
        for slot in &inner.holders {
            let mut from = slot.from.load(Acquire);
            while from != GONE && from <= free {
                if held_back(segments, from, free) <= most {
                    limit = limit.min(from - 1);
                    break;
                }
                // It may advance meanwhile: then look again.
                match slot.from.compare_exchange(from, GONE, Release, Acquire) {
                    Ok(_) => {
                        let_go += 1;
                        break;
                    }
                    Err(now) => from = now,
                }
            }
        }
        inner.let_go += let_go;
        // Whole segments are removed: the one with the next frame stays.
        let stays = segments.iter().rev().find(|s| s.first_lsn <= limit + 1);
        inner.oldest = inner.oldest.max(stays.map_or(0, |s| s.first_lsn));
        limit
    }

    /// All of them, in the order they came.
    pub(crate) fn holders(&self) -> Vec<Holder> {
        let inner = self.inner.lock();
        let holder = |slot: &Arc<Slot>| {
            let from = slot.from.load(Acquire);
            Holder { name: slot.name.clone(), from: (from != GONE).then_some(from) }
        };
        inner.holders.iter().map(holder).collect()
    }

    pub(crate) fn figures(&self) -> Figures {
        let inner = self.inner.lock();
        let from = inner.holders.iter().map(|slot| slot.from.load(Acquire));
        Figures {
            holders: inner.holders.len(),
            oldest: from.filter(|from| *from != GONE).min(),
            let_go: inner.let_go,
        }
    }
}

/// The last frame before the newest `keep` bytes, whole segments of them.
fn before(segments: &[SegmentInfo], keep: u64) -> Lsn {
    if keep == 0 {
        return Lsn::MAX;
    }
    let mut left = keep;
    for segment in segments.iter().rev() {
        if segment.bytes >= left {
            return segment.first_lsn - 1;
        }
        left -= segment.bytes;
    }
    0
}

/// Bytes of segments that could go, were it not for a holder that needs `from`.
fn held_back(segments: &[SegmentInfo], from: Lsn, free: Lsn) -> u64 {
    let ends = segments.iter().skip(1).map(|next| next.first_lsn - 1);
    let held = segments.iter().zip(ends).filter(|(_, last)| (from..=free).contains(last));
    held.map(|(segment, _)| segment.bytes).sum()
}
