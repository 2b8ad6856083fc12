//! What becomes of a job that was tried.
//!
//! What must stay true: it is looked at in the very commit that removes or changes it, and
//! nothing is done if it is not as it was when it was taken: somebody removed it, or put it
//! off, meanwhile. It is in one of the two stores at every moment.

use std::sync::atomic::Ordering::Relaxed;

use proto::doc::Doc;
use proto::http::HttpResponse;
use proto::{Key, Status};

use super::kept::{self, Job, Said, rewritten};
use super::retry::MOST_ASKED;
use super::{DEAD, JOBS};
use crate::auth::Wanted;
use crate::patience::Patience;
use crate::transaction::Within;
use crate::{CallTransaction, Engine, Principal, Refusal};

/// Bytes of an answer that are kept as the reason.
const SAID: usize = 256;

/// A job as it was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Its key.
    pub key: Key,
    /// Attempts that had failed.
    pub attempts: u32,
}

/// How an attempt ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JobEnd {
    /// It is done, and goes.
    Done,
    /// It will never be done: it is given up at once, for this reason.
    Refused(String),
    /// It failed: it is tried again, or given up if that was the last time.
    Failed(Later),
    /// It was not tried: it is put off, and that does not count as an attempt.
    Postponed(Later),
}

/// Why not now, and when at the earliest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Later {
    /// What is told of it.
    pub why: String,
    /// Milliseconds that whoever was called asks for, a day at most; the pause of the job's
    /// own comes behind them, so that not all come back at once.
    pub asked_millis: u64,
}

impl Later {
    /// When is for us to say.
    pub fn of(why: impl Into<String>) -> Later {
        Later { why: why.into(), asked_millis: 0 }
    }
}

impl Job {
    /// It, as it was taken.
    pub fn claim(&self) -> Claim {
        Claim { key: self.key, attempts: self.attempts }
    }
}

/// What was written about it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// Nothing: it is another by now.
    Another,
    Removed,
    GivenUp,
    Again,
}

impl JobEnd {
    /// What an answer of a route says of its job. A route that refuses would refuse again: it
    /// answers 503, or any 5xx, where trying again may help.
    pub fn of(response: &HttpResponse<'_>) -> JobEnd {
        match response.status {
            200..=399 => JobEnd::Done,
            400..=499 => JobEnd::Refused(Self::said("the route", response.status, response.body)),
            status => JobEnd::Failed(Later::of(Self::said("the route", status, response.body))),
        }
    }

    /// An answer as a reason: who gave it, and how it begins.
    pub fn said(who: &str, status: u16, body: &[u8]) -> String {
        let text = String::from_utf8_lossy(&body[..body.len().min(SAID)]);
        match text.trim() {
            "" => format!("{who} answered {status}"),
            text => format!("{who} answered {status}: {text}"),
        }
    }
}

impl Engine {
    /// Ends an attempt by a commit of its own. `false`: the job is not there any more as it
    /// was taken, and nothing was changed.
    ///
    /// # Errors
    /// As of a write.
    pub fn end_job(&self, claim: Claim, end: &JobEnd) -> Result<bool, Refusal> {
        let outcome = self.by_itself(|within| self.settle_job(within, claim, end))?;
        self.count(outcome, end);
        Ok(outcome != Outcome::Another)
    }

    /// Ends an attempt by the transaction of the call that it was, so that all of it takes
    /// effect together, or nothing of it. `false`: the job is not there any more as it was
    /// taken, and nothing took effect. Another commit may have disturbed it, as any call.
    ///
    /// # Errors
    /// As of [`Engine::commit_call`].
    pub fn end_job_in_call(
        &self,
        who: &Principal,
        mut transaction: CallTransaction,
        claim: Claim,
        end: &JobEnd,
    ) -> Result<bool, Refusal> {
        let within = transaction.opened(self)?;
        let outcome = self.settle_job(within, claim, end)?;
        if outcome == Outcome::Another {
            return Ok(false);
        }
        self.commit_call(who, transaction)?;
        self.count(outcome, end);
        Ok(true)
    }

    fn count(&self, outcome: Outcome, end: &JobEnd) {
        let jobs = &self.jobs;
        let add = |counter: &std::sync::atomic::AtomicU64, one| {
            counter.fetch_add(u64::from(one), Relaxed);
        };
        add(&jobs.done, outcome == Outcome::Removed);
        add(&jobs.given_up, outcome == Outcome::GivenUp);
        let known = outcome != Outcome::Another;
        add(&jobs.failed, known && matches!(end, JobEnd::Failed(_) | JobEnd::Refused(_)));
        add(&jobs.postponed, known && matches!(end, JobEnd::Postponed(_)));
    }

    fn settle_job(&self, within: &Within, claim: Claim, end: &JobEnd) -> Result<Outcome, Refusal> {
        let wanted = Wanted::own(JOBS).part_of(Some(within));
        let (key, now) = (claim.key, self.now_millis());
        let mut given_up = None;
        let outcome = self.change(wanted, Patience::ENDLESS, |change| {
            let old = change.get(key)?;
            let Some(old) = old.filter(|old| kept::attempts(Doc::trusted(old)) == claim.attempts)
            else {
                return Ok(Outcome::Another);
            };
            let doc = Doc::trusted(&old);
            let retry = self.jobs.options().map(|options| options.retry).unwrap_or_default();
            let (attempts, error, asked) = match end {
                JobEnd::Done => {
                    change.remove(key, &old);
                    return Ok(Outcome::Removed);
                }
                JobEnd::Postponed(later) => (claim.attempts, &later.why, later.asked_millis),
                JobEnd::Refused(why) => (claim.attempts.saturating_add(1), why, 0),
                JobEnd::Failed(later) => {
                    (claim.attempts.saturating_add(1), &later.why, later.asked_millis)
                }
            };
            let most = doc.get("max_attempts").and_then(|v| u32::try_from(v.as_i64()?).ok());
            let is_last = match end {
                JobEnd::Postponed(_) => false,
                JobEnd::Refused(_) => true,
                _ => attempts >= most.unwrap_or(retry.max_attempts),
            };
            let error = Some((error.as_str(), now));
            if is_last {
                let said = Said { state: "dead", attempts, due: None, error };
                given_up = Some(rewritten(doc, &said));
                change.remove(key, &old);
                return Ok(Outcome::GivenUp);
            }
            let pause = retry.pause(key, attempts).saturating_add(asked.min(MOST_ASKED));
            let pause = i64::try_from(pause).unwrap_or(i64::MAX);
            let due = Some(now.saturating_add(pause));
            let state = if attempts == 0 { "waiting" } else { "retrying" };
            let said = Said { state, attempts, due, error };
            change.replace(key, &old, &rewritten(doc, &said));
            Ok(Outcome::Again)
        })?;
        if let Some(document) = given_up {
            let wanted = Wanted::own(DEAD).part_of(Some(within));
            // One of that key may have been put back, and written anew.
            self.change(wanted, Patience::ENDLESS, |change| {
                change.put(key, &document);
                Ok(())
            })?;
        }
        Ok(outcome)
    }

    /// Puts a job that was given up back among those that wait, as if it had never been
    /// tried.
    pub(crate) fn put_back(
        &self,
        within: &Within,
        (dead, jobs): (Wanted<'_>, Wanted<'_>),
        key: Key,
        patience: &Patience,
    ) -> Result<(), Refusal> {
        let now = self.now_millis();
        let (dead, jobs) = (dead.part_of(Some(within)), jobs.part_of(Some(within)));
        let document = self.change(dead, patience, |change| {
            let Some(old) = change.get(key)? else {
                let message = format!(
                    "no job of the key {key} was given up: look for it in the store {DEAD}, it may \
                     be back already"
                );
                return Err(Refusal::new(Status::NotFound, message));
            };
            let said = Said { state: "waiting", attempts: 0, due: Some(now), error: None };
            let document = rewritten(Doc::trusted(&old), &said);
            change.remove(key, &old);
            Ok(document)
        })?;
        within.schedules(self, self.jobs.options()?)?;
        self.change(jobs, patience, |change| {
            if change.contains(key)? {
                let message = format!(
                    "a job of the key {key} waits in the store {JOBS}: remove one of the two"
                );
                return Err(Refusal::new(Status::KeyExists, message));
            }
            change.put(key, &document);
            Ok(())
        })
    }
}
