//! Which checks of keys are made as fast as anything else, and which step back.
//!
//! What must stay true: a few checks each second step back for nobody, so that who comes
//! in gets in however busy the processors are; the rest yields, so that many of them cost
//! those who are in no more than that. Those who have logged in before have a share of
//! their own, which strangers cannot use up.

use std::time::{Duration, Instant};

/// One check that steps back for nobody, in so much time: of some 25 ms each they come to
/// a tenth of a core.
const EVERY: Duration = Duration::from_millis(250);
/// So many may come at once, after a time without.
const AT_ONCE: u32 = 8;

/// The checks of one kind of callers, as a bucket that leaks.
#[derive(Clone, Copy, Debug)]
struct Share {
    /// When the bucket is empty, if nothing comes until then.
    empty: Instant,
}

impl Share {
    fn take(&mut self, now: Instant) -> bool {
        let empty = self.empty.max(now) + EVERY;
        let fits = empty.duration_since(now) <= EVERY * AT_ONCE;
        if fits {
            self.empty = empty;
        }
        fits
    }
}

/// What is left of both shares.
#[derive(Debug)]
pub(super) struct Haste {
    known: Share,
    strangers: Share,
}

impl Haste {
    pub(super) fn new(now: Instant) -> Haste {
        let share = Share { empty: now };
        Haste { known: share, strangers: share }
    }

    /// Whether the next check, for somebody who is known to have that account or not, steps
    /// back for nobody.
    pub(super) fn take(&mut self, is_known: bool, now: Instant) -> bool {
        if is_known { self.known.take(now) } else { self.strangers.take(now) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_hasten_and_who_is_known_has_a_share_of_its_own() {
        let start = Instant::now();
        let mut haste = Haste::new(start);
        for _ in 0..AT_ONCE {
            assert!(haste.take(false, start));
        }
        for _ in 0..100 {
            assert!(!haste.take(false, start), "one too many");
        }
        assert!(haste.take(true, start), "strangers do not take what is not theirs");
        let mut count = 0;
        for millis in (0..10_000).step_by(10) {
            count += u32::from(haste.take(false, start + Duration::from_millis(millis)));
        }
        assert_eq!(count, 10_000 / 250 - 1, "one in 250 ms, however many come");
        // After a time without, so many at once again and no more.
        let later = start + Duration::from_secs(60);
        let taken = (0..100).filter(|_| haste.take(false, later)).count();
        assert_eq!(taken, AT_ONCE as usize);
    }
}
