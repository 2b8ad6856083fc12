//! How often somebody may have a key hashed.
//!
//! What must stay true: who is no admin has at most one hash at work, and after
//! [`AT_ONCE`] of them one each [`INTERVAL`]: a hash costs 19 MiB and tens of
//! milliseconds, and log-ins wait for the same slots. What is kept of it is bounded.

use std::collections::BTreeMap;

use parking_lot::Mutex;
use proto::Status;

use crate::{Principal, Refusal, Role};

/// Hashes that need not be waited for.
const AT_ONCE: u64 = 4;
/// Nanoseconds after which there is one more.
const INTERVAL: u64 = 10_000_000_000;
/// Users kept in mind; those that have rested long enough are forgotten.
const KEPT: usize = 4096;

/// See the module.
#[derive(Default)]
pub(crate) struct Pace {
    users: Mutex<BTreeMap<String, Turn>>,
}

#[derive(Clone, Copy, Default)]
struct Turn {
    /// When all that was done is paid for, in monotonic nanoseconds.
    paid: u64,
    works: bool,
}

/// A hash that may be computed; it ends when this is dropped.
pub(crate) struct Works<'p> {
    pace: &'p Pace,
    name: Option<&'p str>,
}

impl Pace {
    /// Takes a turn.
    ///
    /// # Errors
    /// [`Status::Busy`]: one is at work, or there were too many of late.
    pub(crate) fn turn<'p>(&'p self, who: &'p Principal, now: u64) -> Result<Works<'p>, Refusal> {
        if who.role() == Role::Admin {
            return Ok(Works { pace: self, name: None });
        }
        let busy = |message: String| Err(Refusal::new(Status::Busy, message));
        let mut users = self.users.lock();
        if users.len() >= KEPT && !users.contains_key(who.name()) {
            users.retain(|_, turn| turn.works || turn.paid > now);
            if users.len() >= KEPT {
                return busy("many keys are being made: try again in a while".to_owned());
            }
        }
        let turn = users.entry(who.name().to_owned()).or_default();
        if turn.works {
            return busy("another key of yours is being made: wait for it".to_owned());
        }
        let paid = turn.paid.max(now);
        let wait = (paid - now).saturating_sub((AT_ONCE - 1) * INTERVAL);
        if wait > 0 {
            let seconds = wait.div_ceil(1_000_000_000);
            return busy(format!(
                "your key was changed several times just now: try again in {seconds} s"
            ));
        }
        *turn = Turn { paid: paid.saturating_add(INTERVAL), works: true };
        Ok(Works { pace: self, name: Some(who.name()) })
    }
}

impl Drop for Works<'_> {
    fn drop(&mut self) {
        let Some(name) = self.name else { return };
        if let Some(turn) = self.pace.users.lock().get_mut(name) {
            turn.works = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(turn: Result<Works<'_>, Refusal>) -> String {
        let Err(refusal) = turn else { panic!("it was allowed") };
        assert_eq!(refusal.status, Status::Busy);
        refusal.message
    }

    #[test]
    fn four_at_once_then_one_each_interval_and_never_two_at_work() {
        let pace = Pace::default();
        let ann = Principal::new("ann", Role::None);
        let mut now = 5;
        for _ in 0..4 {
            let works = pace.turn(&ann, now).unwrap();
            assert!(refused(pace.turn(&ann, now)).contains("wait for it"));
            drop(works);
        }
        assert!(refused(pace.turn(&ann, now)).contains("in 10 s"));
        assert!(pace.turn(&Principal::new("bob", Role::ReadWrite), now).is_ok(), "another user");
        now += INTERVAL - 1;
        assert!(refused(pace.turn(&ann, now)).contains("in 1 s"));
        now += 1;
        drop(pace.turn(&ann, now).unwrap());
        refused(pace.turn(&ann, now));
        now += 4 * INTERVAL;
        for _ in 0..4 {
            drop(pace.turn(&ann, now).unwrap());
        }
        refused(pace.turn(&ann, now));
        let admin = Principal::new("root", Role::Admin);
        let both = [pace.turn(&admin, now), pace.turn(&admin, now)];
        assert!(both.iter().all(Result::is_ok), "an admin does not wait");
    }

    #[test]
    fn those_kept_in_mind_are_bounded_and_forgotten_when_rested() {
        let pace = Pace::default();
        let user = |n: usize| Principal::new(format!("u{n}"), Role::None);
        for n in 0..KEPT {
            drop(pace.turn(&user(n), 0).unwrap());
        }
        assert!(refused(pace.turn(&user(KEPT), INTERVAL - 1)).contains("many keys"));
        assert!(pace.turn(&user(KEPT), INTERVAL).is_ok());
        assert_eq!(pace.users.lock().len(), 1);
    }
}
