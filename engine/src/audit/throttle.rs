//! How many lines a flood makes.
//!
//! What must stay true: of what anybody can cause at will (log-ins, refusals, requests
//! that change nothing) each source has a few lines at once and then one now and then;
//! what is not written is counted, and the count is told. A source is a user, or a
//! service, whose name a user may have too, so that nobody hides another's deeds behind a
//! flood of their own. What is kept is bounded.

use std::collections::BTreeMap;

use crate::Principal;

/// Sources kept in mind; beyond, all new ones are one.
const KEPT: usize = 4096;

/// What anybody can cause.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// A user came in.
    LogIn,
    /// Somebody did not come in: nobody knows who that is, so all are one source.
    FailedLogIn,
    /// A request was refused, or changed nothing.
    Refused,
    /// Somebody was locked out.
    LockedOut,
    /// A query of another user was cancelled.
    Cancelled,
}

impl Kind {
    /// Lines at once, and nanoseconds after which there is one more.
    fn rate(self) -> (u64, u64) {
        const SECOND: u64 = 1_000_000_000;
        match self {
            Kind::LogIn | Kind::Cancelled => (60, SECOND),
            Kind::FailedLogIn | Kind::LockedOut => (100, SECOND),
            Kind::Refused => (20, 10 * SECOND),
        }
    }

    /// As told.
    pub(super) fn name(self) -> &'static str {
        match self {
            Kind::LogIn => "log-ins",
            Kind::FailedLogIn => "failed log-ins",
            Kind::Refused => "requests that were refused or changed nothing",
            Kind::LockedOut => "lock-outs",
            Kind::Cancelled => "queries of others that were cancelled",
        }
    }
}

/// Whose events they are.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct By {
    /// Empty: nobody knows.
    pub(super) name: String,
    /// It is a guest's: no user, whatever it is called.
    pub(super) service: bool,
}

impl By {
    /// A user.
    pub(super) fn user(name: &str) -> By {
        By { name: name.to_owned(), service: false }
    }
}

impl From<&Principal> for By {
    fn from(who: &Principal) -> By {
        By { name: who.name().to_owned(), service: who.is_service() }
    }
}

/// How many events of a kind and a source have no line.
pub(super) type Unsaid = (Kind, By, u64);

/// See the module.
#[derive(Default)]
pub(super) struct Throttle {
    sources: BTreeMap<(Kind, By), Source>,
}

#[derive(Clone, Copy, Default)]
struct Source {
    /// When all its lines are paid for, in monotonic nanoseconds.
    paid: u64,
    unsaid: u64,
}

impl Source {
    fn takes(&mut self, kind: Kind, now: u64) -> bool {
        let (at_once, interval) = kind.rate();
        let paid = self.paid.max(now);
        let free = paid - now <= (at_once - 1) * interval;
        if free {
            self.paid = paid.saturating_add(interval);
        }
        free
    }
}

impl Throttle {
    /// Whether there is a line for this event; if not it is counted. With the line goes
    /// how many were not written before it.
    pub(super) fn takes(&mut self, kind: Kind, by: By, now: u64) -> Option<u64> {
        let mut key = (kind, by);
        if self.sources.len() >= KEPT && !self.sources.contains_key(&key) {
            self.sources.retain(|_, source| source.unsaid > 0 || source.paid > now);
            if self.sources.len() >= KEPT {
                key.1 = By::default();
            }
        }
        let source = self.sources.entry(key).or_default();
        if source.takes(kind, now) {
            return Some(std::mem::take(&mut source.unsaid));
        }
        source.unsaid += 1;
        None
    }

    /// A source of which something was not written, if there is a line for that now.
    pub(super) fn unsaid(&mut self, now: u64) -> Option<Unsaid> {
        let waits = self.sources.iter_mut().find_map(|((kind, by), source)| {
            (source.unsaid > 0 && source.takes(*kind, now)).then_some((kind, by, source))
        });
        waits.map(|(kind, by, source)| (*kind, by.clone(), std::mem::take(&mut source.unsaid)))
    }

    /// A source of which something was not written, line or no line.
    pub(super) fn drain(&mut self) -> Option<Unsaid> {
        let waits = self.sources.iter_mut().find(|(_, source)| source.unsaid > 0);
        waits.map(|((kind, by), source)| (*kind, by.clone(), std::mem::take(&mut source.unsaid)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn each_source_has_its_lines_and_what_is_not_written_is_counted() {
        let mut throttle = Throttle::default();
        for _ in 0..20 {
            assert_eq!(throttle.takes(Kind::Refused, By::user("ann"), 7), Some(0));
        }
        for _ in 0..500 {
            assert_eq!(throttle.takes(Kind::Refused, By::user("ann"), 7), None);
        }
        assert_eq!(throttle.takes(Kind::Refused, By::user("bob"), 7), Some(0), "another source");
        assert_eq!(throttle.takes(Kind::LogIn, By::user("ann"), 7), Some(0), "another kind");
        let service = By::from(&Principal::service("ann"));
        assert_eq!(throttle.takes(Kind::Refused, service, 7), Some(0), "a service is no user");
        assert_eq!(throttle.unsaid(7), None, "there is no line for it yet");
        assert_eq!(throttle.takes(Kind::Refused, By::user("ann"), 7 + 10 * SECOND), Some(500));
        assert_eq!(throttle.takes(Kind::Refused, By::user("ann"), 7 + 10 * SECOND), None);
        let told = throttle.unsaid(7 + 20 * SECOND);
        assert_eq!(told, Some((Kind::Refused, By::user("ann"), 1)));
        assert_eq!(throttle.unsaid(u64::MAX), None, "it was told");
        while throttle.takes(Kind::Refused, By::user("ann"), 7 + 20 * SECOND).is_some() {}
        assert_eq!(throttle.drain(), Some((Kind::Refused, By::user("ann"), 1)), "at the end");
        assert_eq!(throttle.drain(), None);
    }

    #[test]
    fn sources_are_bounded_and_those_without_a_place_share_one() {
        let mut throttle = Throttle::default();
        for n in 0..KEPT {
            throttle.takes(Kind::LogIn, By::user(&n.to_string()), 0);
        }
        for _ in 0..60 {
            assert_eq!(throttle.takes(Kind::LogIn, By::user("x"), 0), Some(0));
        }
        assert_eq!(throttle.takes(Kind::LogIn, By::user("y"), 0), None, "as x: they share");
        assert_eq!(throttle.sources.len(), KEPT + 1);
        assert_eq!(throttle.takes(Kind::LogIn, By::user("z"), 2 * SECOND), Some(0), "room again");
        assert!(throttle.sources.len() < 4);
    }
}
