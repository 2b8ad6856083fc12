//! Memory that all sessions of the wire share: of large requests that are being
//! received, and of large replies that wait to be taken.
//!
//! What must stay true: shares are given in the order in which they are asked for, and
//! who holds one never waits for more of the same budget: so nobody waits for ever. Who
//! holds one has time by its length ([`Pace`]), and less of it while others wait; so who
//! does not move is cut, and not who waits for it.

use super::session::slowly;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Replies up to here are not counted: they never wait for those of others.
pub(super) const SMALL: usize = 64 << 10;
/// While others wait, at least so many bytes a second must move.
const PRESSED_RATE: usize = 128 << 10;
/// While others wait, this part of the patience is left.
const PRESSED_PART: u32 = 3;
/// So often it is looked whether others wait.
const LOOK: Duration = Duration::from_secs(1);

/// So many bytes, in KiB.
#[derive(Debug)]
pub(super) struct Budget {
    kib: Arc<Semaphore>,
    all: u32,
    waiting: AtomicUsize,
}

/// A part of a budget, given back on drop.
#[derive(Debug)]
pub(super) struct Share(OwnedSemaphorePermit);

/// Somebody waits for a share, as long as this lives.
struct Waits<'a>(&'a AtomicUsize);

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

impl Budget {
    pub(super) fn new(bytes: usize) -> Budget {
        let all = kib(bytes).clamp(1, u32::try_from(Semaphore::MAX_PERMITS).unwrap_or(u32::MAX));
        let kib = Arc::new(Semaphore::new(all as usize));
        Budget { kib, all, waiting: AtomicUsize::new(0) }
    }

    /// A share of so many bytes, or of all there are; waits for it.
    pub(super) async fn share(&self, bytes: usize) -> Share {
        if let Some(share) = self.try_share(bytes) {
            return share;
        }
        self.waiting.fetch_add(1, Relaxed);
        let _waits = Waits(&self.waiting);
        let taken = self.kib.clone().acquire_many_owned(kib(bytes).min(self.all)).await;
        Share(taken.expect("the semaphore is never closed"))
    }

    /// A share of so many bytes, if there is one now.
    pub(super) fn try_share(&self, bytes: usize) -> Option<Share> {
        self.kib.clone().try_acquire_many_owned(kib(bytes).min(self.all)).ok().map(Share)
    }

    /// Whether somebody waits for a share.
    fn is_wanted(&self) -> bool {
        self.waiting.load(Relaxed) > 0
    }

    /// What is left of a share for so many bytes: what it has too much is given back;
    /// what it has too little is added, as far as there is any. Nothing is left for few.
    pub(super) fn settle(&self, share: Option<Share>, bytes: usize) -> Option<Share> {
        if bytes <= SMALL {
            return None;
        }
        let Some(Share(mut held)) = share else {
            return self.try_share(bytes);
        };
        let (wanted, has) = (kib(bytes).min(self.all) as usize, held.num_permits());
        if wanted <= has {
            drop(held.split(has - wanted));
        } else {
            let more = (wanted - has).min(self.kib.available_permits());
            let more = u32::try_from(more).unwrap_or(u32::MAX);
            if let Ok(more) = self.kib.clone().try_acquire_many_owned(more) {
                held.merge(more);
            }
        }
        Some(Share(held))
    }
}

fn kib(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(1024)).unwrap_or(u32::MAX)
}

/// How long so many bytes may take to come or to go, of which a share is held.
pub(super) struct Pace<'a> {
    budget: &'a Budget,
    bytes: usize,
    patience: Duration,
    /// Whether something must move within the patience at any time.
    steady: bool,
    /// Whether a share is held.
    holds: bool,
    began: Instant,
    moved: Instant,
}

impl<'a> Pace<'a> {
    /// Of a packet that begins to come: of which nothing is known.
    pub(super) fn receiving(budget: &'a Budget, patience: Duration) -> Pace<'a> {
        let now = Instant::now();
        let (steady, holds) = (true, false);
        Pace { budget, bytes: 0, patience, steady, holds, began: now, moved: now }
    }

    /// Of a reply that is to be taken.
    pub(super) fn sending(budget: &'a Budget, bytes: usize, patience: Duration) -> Pace<'a> {
        let holds = bytes > SMALL;
        Pace { bytes, steady: false, holds, ..Pace::receiving(budget, patience) }
    }

    /// It will have so many bytes; whether a share of them is held.
    pub(super) fn has(&mut self, bytes: usize, holds: bool) {
        (self.bytes, self.holds) = (bytes, holds);
    }

    /// What it waited until now does not count.
    pub(super) fn begin_anew(&mut self) {
        self.began = Instant::now();
        self.moved = self.began;
    }

    /// Some of it came, or went.
    pub(super) fn moved(&mut self) {
        self.moved = Instant::now();
    }

    /// How long to wait for more of it; `None`: it has taken too long.
    pub(super) fn left(&self) -> Option<Duration> {
        self.left_at(Instant::now())
    }

    fn left_at(&self, now: Instant) -> Option<Duration> {
        let since = |then| now.saturating_duration_since(then);
        let (age, rest) = (since(self.began), since(self.moved));
        let mut left = slowly(self.bytes, self.patience).saturating_sub(age);
        if self.steady {
            left = left.min(self.patience.saturating_sub(rest));
        }
        if self.holds {
            let still = self.patience / PRESSED_PART;
            let pressed = still + Duration::from_secs((self.bytes / PRESSED_RATE) as u64);
            if self.budget.is_wanted() && (rest >= still || age >= pressed) {
                return None;
            }
            left = left.min(LOOK);
        }
        (!left.is_zero()).then_some(left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::pin::pin;
    use tokio::time::timeout;

    const KIB: usize = 1024;
    const PATIENCE: Duration = Duration::from_secs(30);
    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test]
    async fn shares_are_given_to_the_last_byte_and_in_order() {
        let budget = Budget::new(100 * KIB);
        let (first, second) = (budget.share(60 * KIB).await, budget.share(40 * KIB).await);
        assert!(budget.try_share(1).is_none());
        let mut large = pin!(budget.share(70 * KIB));
        let mut small = pin!(budget.share(1));
        assert!(timeout(Duration::ZERO, &mut large).await.is_err());
        assert!(timeout(Duration::ZERO, &mut small).await.is_err());
        assert!(budget.is_wanted());
        drop(second);
        assert!(timeout(Duration::ZERO, &mut small).await.is_err(), "not before who came first");
        drop(first);
        large.await;
        small.await;
        assert!(!budget.is_wanted());
        // More than all is all.
        budget.share(1 << 30).await;
    }

    #[tokio::test]
    async fn who_gives_up_waiting_is_not_waited_for() {
        let budget = Budget::new(KIB);
        let _held = budget.share(KIB).await;
        assert!(timeout(Duration::ZERO, budget.share(KIB)).await.is_err());
        assert!(!budget.is_wanted());
    }

    #[tokio::test]
    async fn a_share_is_settled_to_what_there_is() {
        let budget = Budget::new(1000 * KIB);
        let place = Some(budget.share(100 * KIB).await);
        // One byte too many to be small.
        let share = budget.settle(place, SMALL + 1);
        assert_eq!(share.as_ref().unwrap().0.num_permits(), 65);
        let share = budget.settle(share, 700 * KIB);
        assert_eq!(budget.kib.available_permits(), 300);
        // What is not there is not waited for.
        let other = budget.settle(Some(budget.share(KIB).await), 500 * KIB);
        assert_eq!(other.as_ref().unwrap().0.num_permits(), 300);
        drop((share, budget.settle(other, SMALL)));
        assert_eq!(budget.kib.available_permits(), 1000);
        assert!(budget.settle(None, SMALL).is_none());
        assert_eq!(budget.settle(None, 65 * KIB).unwrap().0.num_permits(), 65);
    }

    #[test]
    fn what_comes_has_its_time_and_must_move() {
        let budget = Budget::new(KIB);
        let mut pace = Pace::receiving(&budget, PATIENCE);
        let began = pace.began;
        let almost = began + PATIENCE - SECOND;
        assert_eq!(pace.left_at(almost), Some(SECOND));
        pace.moved = almost;
        assert_eq!(pace.left_at(almost), Some(SECOND), "a short one has no more than that in all");
        pace.has(64 * KIB, false);
        assert_eq!(pace.left_at(almost), Some(5 * SECOND), "a second for each 16 KiB");
        assert_eq!(pace.left_at(almost + 4 * SECOND), Some(SECOND));
        assert_eq!(pace.left_at(almost + 5 * SECOND), None);
        pace.moved = began;
        assert_eq!(pace.left_at(began + PATIENCE), None, "it did not move");
        pace.begin_anew();
        assert!(pace.left_at(pace.began).is_some());
    }

    #[tokio::test]
    async fn while_others_wait_there_is_less_time() {
        let budget = Budget::new(KIB);
        let _held = budget.share(KIB).await;
        let mut pace = Pace::sending(&budget, 1 << 20, PATIENCE);
        let small = Pace::sending(&budget, SMALL, PATIENCE);
        let still = pace.began + PATIENCE / PRESSED_PART;
        assert_eq!(pace.left_at(still), Some(LOOK), "nobody waits");
        let mut waits = pin!(budget.share(KIB));
        assert!(timeout(Duration::ZERO, &mut waits).await.is_err());
        assert_eq!(pace.left_at(still), None, "it does not move");
        let moment = Duration::from_millis(1);
        assert_eq!(pace.left_at(still - moment), Some(LOOK));
        assert!(small.left_at(still).is_some(), "a small one holds nothing");
        // Eight seconds on top for a MiB.
        let over = still + 8 * SECOND;
        pace.moved = over;
        assert_eq!(pace.left_at(over - moment), Some(LOOK));
        assert_eq!(pace.left_at(over), None);
    }
}
