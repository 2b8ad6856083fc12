//! The circuit of an upstream: closed, open, half open.
//!
//! ```text
//! closed ── failure_threshold failures, no success between ──▶ open
//! open ── open_duration has passed, a call comes ──▶ half open: one call at a time
//! half open ── success_threshold successes ──▶ closed
//! half open ── a failure ──▶ open
//! ```
//!
//! Invariant: a call that was let in before the state changed says nothing about the
//! state after it. Time is given, never read.

use std::time::{Duration, Instant};

/// When a circuit opens and closes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BreakerOptions {
    /// So many failures, one after the other, open it.
    pub failure_threshold: u32,
    /// So many successes, one after the other, close it again.
    pub success_threshold: u32,
    /// How long it stays open before a call is let through for trial.
    pub open_duration: Duration,
}

impl Default for BreakerOptions {
    fn default() -> Self {
        BreakerOptions {
            failure_threshold: 5,
            success_threshold: 2,
            open_duration: Duration::from_secs(30),
        }
    }
}

/// Where a circuit stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Circuit {
    /// Calls go through.
    #[default]
    Closed,
    /// Calls are refused.
    Open,
    /// One call at a time goes through, for trial.
    HalfOpen,
}

/// What a call says about its upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It works.
    Works,
    /// It does not.
    Fails,
    /// Nothing.
    Unknown,
}

/// What a call that was let in gives back with its verdict.
#[derive(Debug)]
pub(super) struct Admitted(u64);

#[derive(Debug)]
enum State {
    Closed { failures: u32 },
    Open { since: Instant },
    HalfOpen { successes: u32, trying: bool },
}

#[derive(Debug)]
pub(super) struct Breaker {
    options: BreakerOptions,
    state: State,
    /// Goes up whenever the state changes.
    epoch: u64,
    opened: u64,
}

impl Breaker {
    pub(super) fn new(options: BreakerOptions) -> Breaker {
        Breaker { options, state: State::Closed { failures: 0 }, epoch: 0, opened: 0 }
    }

    /// Where it stands, and how often it opened.
    pub(super) fn stands(&self) -> (Circuit, u64) {
        let circuit = match self.state {
            State::Closed { .. } => Circuit::Closed,
            State::Open { .. } => Circuit::Open,
            State::HalfOpen { .. } => Circuit::HalfOpen,
        };
        (circuit, self.opened)
    }

    /// Whether a call would be refused now.
    pub(super) fn refuses(&self, now: Instant) -> bool {
        match self.state {
            State::Closed { .. } => false,
            State::Open { since } => {
                now.saturating_duration_since(since) < self.options.open_duration
            }
            State::HalfOpen { trying, .. } => trying,
        }
    }

    /// For how long calls are refused in any case: until the next one is tried.
    pub(super) fn rests(&self, now: Instant) -> Duration {
        match self.state {
            State::Open { since } => {
                self.options.open_duration.saturating_sub(now.saturating_duration_since(since))
            }
            State::Closed { .. } | State::HalfOpen { .. } => Duration::ZERO,
        }
    }

    /// Lets a call in, which must be [`Breaker::settle`]d. `None`: it is refused.
    pub(super) fn admit(&mut self, now: Instant) -> Option<Admitted> {
        if self.refuses(now) {
            return None;
        }
        match &mut self.state {
            State::Closed { .. } => {}
            State::Open { .. } => self.turn(State::HalfOpen { successes: 0, trying: true }),
            State::HalfOpen { trying, .. } => *trying = true,
        }
        Some(Admitted(self.epoch))
    }

    /// Takes the verdict of a call that was let in; says where the circuit stands if that
    /// has changed.
    pub(super) fn settle(
        &mut self,
        Admitted(epoch): Admitted,
        verdict: Verdict,
        now: Instant,
    ) -> Option<Circuit> {
        if epoch != self.epoch {
            return None;
        }
        let next = match &mut self.state {
            State::Closed { failures } => match verdict {
                Verdict::Works => {
                    *failures = 0;
                    None
                }
                Verdict::Fails => {
                    *failures += 1;
                    (*failures >= self.options.failure_threshold)
                        .then_some(State::Open { since: now })
                }
                Verdict::Unknown => None,
            },
            State::HalfOpen { successes, trying } => {
                *trying = false;
                match verdict {
                    Verdict::Works => {
                        *successes += 1;
                        (*successes >= self.options.success_threshold)
                            .then_some(State::Closed { failures: 0 })
                    }
                    Verdict::Fails => Some(State::Open { since: now }),
                    Verdict::Unknown => None,
                }
            }
            State::Open { .. } => None, // Nobody was let in.
        };
        self.turn(next?);
        Some(self.stands().0)
    }

    fn turn(&mut self, state: State) {
        self.opened += u64::from(matches!(state, State::Open { .. }));
        self.state = state;
        self.epoch += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPEN: Duration = Duration::from_secs(30);

    fn breaker() -> (Breaker, Instant) {
        let options =
            BreakerOptions { failure_threshold: 3, success_threshold: 2, open_duration: OPEN };
        (Breaker::new(options), Instant::now())
    }

    fn call(breaker: &mut Breaker, verdict: Verdict, now: Instant) -> Option<Circuit> {
        let admitted = breaker.admit(now).expect("it is let in");
        breaker.settle(admitted, verdict, now)
    }

    #[test]
    fn failures_in_a_row_open_it_and_a_success_between_does_not_let_them() {
        let (mut breaker, now) = breaker();
        for verdict in [Verdict::Fails, Verdict::Fails, Verdict::Works, Verdict::Fails] {
            assert_eq!(call(&mut breaker, verdict, now), None);
        }
        assert_eq!(call(&mut breaker, Verdict::Unknown, now), None);
        assert_eq!(call(&mut breaker, Verdict::Fails, now), None);
        assert_eq!(call(&mut breaker, Verdict::Fails, now), Some(Circuit::Open));
        assert!(breaker.admit(now).is_none());
        assert_eq!(breaker.stands(), (Circuit::Open, 1));
    }

    #[test]
    fn half_open_tries_one_call_at_a_time_and_closes_after_enough() {
        let (mut breaker, begun) = breaker();
        for _ in 0..3 {
            call(&mut breaker, Verdict::Fails, begun);
        }
        assert!(breaker.refuses(begun + OPEN - Duration::from_nanos(1)));
        assert_eq!((breaker.rests(begun), breaker.rests(begun + OPEN)), (OPEN, Duration::ZERO));
        let nearly = Duration::from_nanos(1);
        assert_eq!(breaker.rests(begun + OPEN - nearly), nearly);
        let now = begun + OPEN;
        let trial = breaker.admit(now).expect("the trial");
        assert!(breaker.admit(now).is_none(), "one at a time");
        assert_eq!(breaker.settle(trial, Verdict::Works, now), None);
        // A trial that says nothing makes room for the next.
        assert_eq!(call(&mut breaker, Verdict::Unknown, now), None);
        assert_eq!(breaker.stands().0, Circuit::HalfOpen);
        assert_eq!(call(&mut breaker, Verdict::Works, now), Some(Circuit::Closed));
        assert!(!breaker.refuses(now));
    }

    #[test]
    fn a_trial_that_fails_opens_it_for_its_whole_time() {
        let (mut breaker, begun) = breaker();
        for _ in 0..3 {
            call(&mut breaker, Verdict::Fails, begun);
        }
        let now = begun + OPEN + OPEN / 2;
        assert_eq!(call(&mut breaker, Verdict::Fails, now), Some(Circuit::Open));
        assert!(breaker.refuses(now + OPEN - Duration::from_nanos(1)));
        assert!(!breaker.refuses(now + OPEN));
        assert_eq!(breaker.stands(), (Circuit::Open, 2));
    }

    #[test]
    fn a_call_from_before_says_nothing_about_after() {
        let (mut breaker, begun) = breaker();
        let old = breaker.admit(begun).expect("closed");
        let older = breaker.admit(begun).expect("closed");
        for _ in 0..3 {
            call(&mut breaker, Verdict::Fails, begun);
        }
        assert_eq!(breaker.settle(old, Verdict::Works, begun), None);
        let now = begun + OPEN;
        let trial = breaker.admit(now).expect("the trial");
        assert_eq!(breaker.settle(older, Verdict::Fails, now), None);
        assert!(breaker.admit(now).is_none(), "the trial still runs");
        assert_eq!(breaker.settle(trial, Verdict::Works, now), None);
        assert_eq!(breaker.stands(), (Circuit::HalfOpen, 1));
    }
}
