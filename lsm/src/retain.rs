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
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Acquire, Release};

use parking_lot::Mutex;
use wal::SegmentInfo;

use crate::health::Health;
use crate::{Error, Lsm, Lsn, WalError};

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

/// The durable frames of the log, in order: made by [`Lsm::frames`]. Damage it meets is
/// counted in the store's stats.
pub struct LogCursor {
    cursor: wal::Cursor,
    health: Arc<Health>,
}

impl LogCursor {
    /// The next durable frame, or `None` if there is none yet: ask again later.
    ///
    /// # Errors
    /// [`WalError::Gone`] if truncation overtook it; damage, or a disk that does not
    /// read. It stays where it was.
    #[allow(clippy::should_implement_trait)] // lending: the frame borrows the buffer
    pub fn next(&mut self) -> Result<Option<wal::Frame<'_>>, Error> {
        match self.cursor.next() {
            Ok(frame) => Ok(frame),
            Err(error) => {
                let error = Error::from(error);
                self.health.met_again(&error);
                Err(error)
            }
        }
    }

    /// The LSN of the frame that [`LogCursor::next`] hands out next.
    #[must_use]
    pub fn position(&self) -> Lsn {
        self.cursor.position()
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

    fn hold(self: &Arc<Self>, name: &str, from: Lsn, wal: &wal::Wal) -> Result<Retention, Error> {
        let mut inner = self.inner.lock();
        // Under the lock: nothing is condemned between the look and the entry.
        let oldest = wal.segments().first().map_or(1, |s| s.first_lsn).max(inner.oldest);
        if from < oldest {
            return Err(WalError::Gone { wanted: from, oldest }.into());
        }
        let from = AtomicU64::new(from.clamp(1, GONE - 1));
        let slot = Arc::new(Slot { name: name.to_owned(), from });
        inner.holders.push(Arc::clone(&slot));
        Ok(Retention { slot, of: Arc::clone(self) })
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

impl Lsm {
    /// Keeps the log's frames from `from` on for a reader, within
    /// [`Options::wal_retain_bytes`](crate::Options), until the [`Retention`] is
    /// dropped. `name` is for stats; it need not be one of a kind.
    ///
    /// # Errors
    /// [`WalError::Gone`] if the log no longer has `from`; it says from where on it
    /// has.
    pub fn retain(&self, name: &str, from: Lsn) -> Result<Retention, Error> {
        self.retain.hold(name, from, &self.wal)
    }

    /// The log's durable frames from `from` on, now and as they come. They stay
    /// there only for who retains them: [`Lsm::retain`].
    ///
    /// # Errors
    /// [`WalError::Gone`] if the log no longer has `from`.
    pub fn frames(&self, from: Lsn) -> Result<LogCursor, Error> {
        Ok(LogCursor { cursor: self.wal.cursor(from)?, health: Arc::clone(&self.health) })
    }

    /// Who keeps the log from being cut, in the order they came.
    pub fn holders(&self) -> Vec<Holder> {
        let inner = self.retain.inner.lock();
        let holder = |slot: &Arc<Slot>| {
            let from = slot.from.load(Acquire);
            Holder { name: slot.name.clone(), from: (from != GONE).then_some(from) }
        };
        inner.holders.iter().map(holder).collect()
    }

    /// Up to which frame the log may be cut: the end of a segment.
    pub(crate) fn trim_limit(&self) -> Lsn {
        let segments = self.wal.segments();
        let most = self.options.wal_retain_bytes;
        let keep = self.options.wal_keep_bytes;
        let limit = self.retain.limit(self.archiving.archived(), &segments, most, keep);
        // What was condemned, not what the log may look like a moment later: a holder
        // may be taken in from the first frame that stays here.
        let stays = segments.iter().rev().find(|s| s.first_lsn <= limit + 1);
        stays.map_or(0, |s| s.first_lsn - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Segments of 100 bytes and 10 frames each: 1 to 10, 11 to 20, ...
    fn segments() -> Vec<SegmentInfo> {
        let segment = |i: u64| {
            let (first_lsn, last_lsn) = (i * 10 + 1, i * 10 + 10);
            SegmentInfo { number: i + 1, first_lsn, last_lsn, bytes: 100, sealed: i < 5 }
        };
        (0..6).map(segment).collect()
    }

    fn hold(of: &Arc<Retain>, from: Lsn) -> Retention {
        let slot = Arc::new(Slot { name: "x".into(), from: AtomicU64::new(from) });
        of.inner.lock().holders.push(Arc::clone(&slot));
        Retention { slot, of: Arc::clone(of) }
    }

    #[test]
    fn the_lowest_of_all_is_the_limit() {
        let of = Retain::new(30);
        let segments = segments();
        // Nothing goes before it is known what the older meta page has:
        assert_eq!(of.limit(None, &segments, 1000, 0), 0);
        assert!(of.older_holds(&segments));
        of.committed(45);
        assert_eq!(of.limit(None, &segments, 1000, 0), 30);
        assert!(of.older_holds(&segments), "31 to 40");
        of.committed(45);
        assert_eq!(of.limit(None, &segments, 1000, 0), 45, "both meta pages have 45");
        assert!(!of.older_holds(&segments));
        of.committed(55);
        assert_eq!(of.limit(None, &segments, 1000, 0), 45);
        assert_eq!(of.limit(Some(40), &segments, 1000, 0), 40);
        assert_eq!(of.limit(Some(0), &segments, 1000, 0), 0);
        let one = hold(&of, 32);
        let two = hold(&of, 60);
        assert_eq!(of.limit(None, &segments, 1000, 0), 31);
        one.advance(44).unwrap();
        assert_eq!(of.limit(None, &segments, 1000, 0), 43);
        one.advance(33).unwrap();
        assert_eq!(of.limit(None, &segments, 1000, 0), 43, "never back");
        drop(one);
        assert_eq!(of.limit(None, &segments, 1000, 0), 45);
        assert_eq!(
            (two.from(), of.figures().oldest, of.figures().holders),
            (Some(60), Some(60), 1)
        );
    }

    #[test]
    fn the_newest_bytes_are_kept_for_who_comes_back() {
        let segments = segments();
        for (keep, limit) in
            [(0, 45), (1, 45), (100, 45), (101, 40), (200, 40), (201, 30), (600, 0), (601, 0)]
        {
            let of = Retain::new(45);
            of.committed(60);
            assert_eq!(of.limit(None, &segments, 1000, keep), limit, "{keep}");
        }
    }

    #[test]
    fn who_holds_back_too_much_is_let_go_and_told_where_the_log_begins() {
        // Given two holders, all flushed up to 45,
        let segments = segments();
        let of = Retain::new(45);
        of.committed(60);
        let (far, near) = (hold(&of, 5), hold(&of, 25));
        // 1..=10 to 31..=40 could go, were it not for them: 4 segments, and 2.
        assert_eq!(of.limit(None, &segments, 400, 0), 4);
        // when only 3 may be held back, then the further one goes,
        assert_eq!(of.limit(None, &segments, 399, 0), 24);
        assert_eq!(far.from(), None);
        let error = far.advance(12).unwrap_err();
        let Error::Wal(WalError::Gone { wanted, oldest }) = error else { panic!("{error}") };
        assert_eq!((wanted, oldest), (12, 21));
        // stays so, stays visible,
        assert_eq!(of.limit(None, &segments, 1000, 0), 24);
        assert_eq!((of.figures().holders, of.figures().let_go), (2, 1));
        // and one that holds back nothing that could go is never let go.
        near.advance(46).unwrap();
        assert_eq!(of.limit(None, &segments, 0, 0), 45);
        assert_eq!(near.from(), Some(46));
        // Nor is one blamed for what the archive holds back.
        let slow = hold(&of, 21);
        assert_eq!(of.limit(Some(22), &segments, 0, 0), 20);
        assert_eq!(slow.from(), Some(21));
    }
}
