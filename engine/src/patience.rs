//! How long the caller of a request wants its answer.
//!
//! What must stay true: a request that is given up has changed nothing; what has begun
//! to commit is answered with what came of it, however late. Who says nothing of
//! patience pays nothing for it: no look at the clock of its own, no allocation.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use platform::Clock;
use proto::Status;

use crate::Refusal;

/// What a carrier of requests knows of one, beside its packet.
#[derive(Clone, Debug, Default)]
pub struct Call {
    /// Microseconds since the request arrived.
    pub waited_micros: u64,
    /// Set once the answer is not wanted any more.
    pub cancelled: Option<Arc<AtomicBool>>,
}

/// How long an answer is wanted.
#[derive(Clone, Debug, Default)]
pub(crate) struct Patience {
    /// On the monotonic clock, in nanoseconds, and how many milliseconds were given.
    until: Option<(u64, u32)>,
    cancelled: Option<Arc<AtomicBool>>,
}

impl Patience {
    /// Of whoever waits however long it takes.
    pub(crate) const ENDLESS: &'static Patience = &Patience { until: None, cancelled: None };

    /// As the header of a request and its carrier say, at the moment `now` of the
    /// monotonic clock; `millis` 0: no end.
    pub(crate) fn new(millis: u32, call: &Call, now: u64) -> Patience {
        let until = (millis > 0).then(|| {
            let (nanos, waited) = (u64::from(millis) * 1_000_000, call.waited_micros);
            let left = nanos.saturating_sub(waited.saturating_mul(1000));
            (now.saturating_add(left), millis)
        });
        Patience { until, cancelled: call.cancelled.clone() }
    }

    /// Whether it has an end at all.
    pub(crate) fn is_endless(&self) -> bool {
        self.until.is_none() && self.cancelled.is_none()
    }

    /// When it ends, on the monotonic clock in nanoseconds.
    pub(crate) fn until(&self) -> Option<u64> {
        self.until.map(|(until, _)| until)
    }

    /// For who is about to take a while, or to commit.
    ///
    /// # Errors
    /// The answer is not wanted any more.
    pub(crate) fn check(&self, clock: &dyn Clock) -> Result<(), Refusal> {
        if self.is_endless() { Ok(()) } else { self.look(clock) }
    }

    #[cold]
    fn look(&self, clock: &dyn Clock) -> Result<(), Refusal> {
        if self.cancelled.as_ref().is_some_and(|cancelled| cancelled.load(Relaxed)) {
            return Err(cancelled());
        }
        let Some((until, millis)) = self.until else { return Ok(()) };
        if clock.monotonic_nanos() < until {
            return Ok(());
        }
        let message = format!(
            "the {millis} ms in which the answer was wanted have passed, and nothing changed: ask \
             for less, or wait longer"
        );
        Err(Refusal::new(Status::Timeout, message))
    }
}

fn cancelled() -> Refusal {
    Refusal::new(Status::Cancelled, "the request was cancelled, and nothing changed")
}

#[cfg(test)]
mod tests {
    use super::*;
    use platform::sim::SimClock;
    use std::time::Duration;

    #[test]
    fn it_ends_so_long_after_the_request_arrived_and_not_before() {
        let clock = SimClock::new(0);
        clock.advance(Duration::from_millis(10));
        let status = |patience: &Patience| patience.check(&clock).map_err(|why| why.status);
        let call = |waited_micros| Call { waited_micros, cancelled: None };
        let fresh = Patience::new(5, &call(0), clock.monotonic_nanos());
        let waited = Patience::new(5, &call(4_000), clock.monotonic_nanos());
        let late = Patience::new(5, &call(5_000), clock.monotonic_nanos());
        let older_than_anything = Patience::new(5, &call(u64::MAX), clock.monotonic_nanos());
        assert_eq!(status(&fresh), Ok(()));
        assert_eq!(status(&waited), Ok(()));
        assert_eq!(status(&late), Err(Status::Timeout));
        assert_eq!(status(&older_than_anything), Err(Status::Timeout));
        clock.advance(Duration::from_micros(999));
        assert_eq!(status(&waited), Ok(()));
        clock.advance(Duration::from_micros(1));
        assert_eq!(status(&waited), Err(Status::Timeout));
        assert_eq!(status(&fresh), Ok(()));
        let endless = Patience::new(0, &call(u64::MAX), clock.monotonic_nanos());
        assert!(endless.is_endless() && Patience::ENDLESS.is_endless());
        assert_eq!(status(&endless), Ok(()));
        assert_eq!(
            Patience::new(u32::MAX, &call(0), clock.monotonic_nanos()).until(),
            Some(4_294_967_306_000_000)
        );
    }

    #[test]
    fn a_cancelled_request_says_so_first() {
        let (clock, flag) = (SimClock::new(0), Arc::new(AtomicBool::new(false)));
        let call = Call { waited_micros: 0, cancelled: Some(Arc::clone(&flag)) };
        let patience = Patience::new(0, &call, clock.monotonic_nanos());
        assert!(!patience.is_endless());
        assert_eq!(patience.check(&clock), Ok(()));
        flag.store(true, Relaxed);
        assert_eq!(patience.check(&clock).unwrap_err().status, Status::Cancelled);
        let patience =
            Patience::new(1, &Call { waited_micros: 9_000, ..call }, clock.monotonic_nanos());
        assert_eq!(patience.check(&clock).unwrap_err().status, Status::Cancelled);
    }
}
