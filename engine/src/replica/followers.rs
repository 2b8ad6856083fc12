//! Who follows this primary.
//!
//! What must stay true: a replica's place in the log is kept for it from the first page it
//! asks for, within the bound of all holders of the log (`lsm/src/retain.rs`): one that
//! holds back more is let go, and told so by its next page. At most [`MOST`] are known; a
//! new one takes the place of one that has not asked for a while.

use std::sync::Arc;

use lsm::{Lsm, Lsn, Retention, StoreId};
use parking_lot::Mutex;
use platform::Clock;
use proto::Status;

use super::refusal;
use crate::Refusal;

/// Replicas that one primary knows at most.
pub(crate) const MOST: usize = 16;
/// Nanoseconds after which one that has not asked again may be forgotten for another,
const AWAY: u64 = 60_000_000_000;
/// and after which nothing is kept for it any more.
const FORGOTTEN: u64 = 24 * 3_600_000_000_000;

/// A replica, as its primary knows it.
pub(crate) struct Follower {
    pub(crate) id: StoreId,
    pub(crate) name: String,
    /// Commits before this one were given to it.
    pub(crate) next: Lsn,
    /// Of those it has said that they are durable there.
    pub(crate) durable: Lsn,
    /// When it asked last.
    pub(crate) seen: u64,
    hold: Option<Retention>,
}

/// See the module.
pub(crate) struct Followers {
    all: Mutex<Vec<Follower>>,
    clock: Arc<dyn Clock>,
}

impl Followers {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Followers {
        Followers { all: Mutex::default(), clock }
    }

    /// A replica asks for what comes behind `durable`, and has been given what comes before
    /// `next`. From here on the log is kept for it.
    ///
    /// # Errors
    /// [`Status::TooFarBehind`]: there is no log for it any more; [`Status::Busy`].
    pub(crate) fn asks(
        &self,
        lsm: &Lsm,
        (id, name): (StoreId, &str),
        next: Lsn,
        durable: Lsn,
    ) -> Result<(), Refusal> {
        let now = self.clock.monotonic_nanos();
        let mut all = self.all.lock();
        all.retain(|one| one.id == id || now.saturating_sub(one.seen) < FORGOTTEN);
        let at = match all.iter().position(|one| one.id == id) {
            Some(at) => at,
            None => {
                if all.len() >= MOST {
                    let longest = (0..all.len()).min_by_key(|at| all[*at].seen).unwrap_or(0);
                    if now.saturating_sub(all[longest].seen) < AWAY {
                        let message = format!(
                            "{MOST} replicas follow this primary, as many as there can be: stop \
                             one, and try again a minute later"
                        );
                        return Err(refusal(Status::Busy, message));
                    }
                    all.remove(longest);
                }
                let name = name.to_owned();
                all.push(Follower { id, name, next, durable, seen: now, hold: None });
                all.len() - 1
            }
        };
        let one = &mut all[at];
        (one.seen, one.next, one.durable) = (now, next, durable);
        let kept = one.hold.as_ref().and_then(Retention::from);
        let kept_on = match (&one.hold, kept) {
            (Some(hold), Some(from)) if from <= durable + 1 => hold.advance(durable + 1),
            // None yet; or it was let go; or the replica went back to before it.
            _ => {
                one.hold = None;
                lsm.retain(&format!("replica {}", one.name), durable + 1)
                    .map(|hold| one.hold = Some(hold))
            }
        };
        kept_on.map_err(|_| too_far(lsm, durable))
    }

    /// Calls `f` with each of them.
    pub(crate) fn each(&self, mut f: impl FnMut(&Follower, u64)) {
        let now = self.clock.monotonic_nanos();
        self.all.lock().iter().for_each(|one| f(one, now.saturating_sub(one.seen)));
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.all.lock().len()
    }

    /// Lets go of all: this server is no primary any more.
    pub(crate) fn forget(&self) {
        self.all.lock().clear();
    }
}

/// What is told to a replica whose next commit is not in the log any more.
pub(crate) fn too_far(lsm: &Lsm, durable: Lsn) -> Refusal {
    let message = format!(
        "the log begins at commit {}, and the replica has those up to {durable}: it must begin \
         anew from a snapshot; durability.log_keep and durability.log_retain in the primary's \
         db.yaml say how much of the log is kept for replicas",
        lsm.oldest_lsn()
    );
    refusal(Status::TooFarBehind, message)
}
