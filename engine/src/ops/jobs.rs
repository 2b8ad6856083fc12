//! Schedule and RetryJob.
//!
//! What must stay true: within a transaction both are writes of it, and nothing of theirs is
//! there before it is committed; by themselves each is a transaction of its own. Jobs that
//! wait are bounded in number: looked at when one is asked for, so that who asks is told, and
//! once more under the commit lock (`transaction/mod.rs`).

use proto::Key;

use crate::auth::{Action, Wanted};
use crate::jobs::{DEAD, JOBS, NewJob};
use crate::patience::Patience;
use crate::transaction::{Begins, Within};
use crate::{Engine, Principal, Refusal};

impl Engine {
    /// Schedules a job, a document; its key.
    pub(crate) fn schedule(
        &self,
        who: &Principal,
        job: &[u8],
        within: Option<&Within>,
        patience: &Patience,
    ) -> Result<Key, Refusal> {
        let job = NewJob::parse(job, self.jobs.options()?)?;
        self.in_one(who, within, patience, |within| {
            let wanted = who.wants(Action::Schedule, JOBS).part_of(Some(within));
            self.add_job(within, wanted, &job, who.name(), patience)
        })
    }

    /// Puts a job that was given up back.
    pub(crate) fn retry_job(
        &self,
        who: &Principal,
        key: Key,
        within: Option<&Within>,
        patience: &Patience,
    ) -> Result<(), Refusal> {
        self.jobs.options()?;
        self.in_one(who, within, patience, |within| {
            let wanted = |store| who.wants(Action::Schedule, store);
            self.put_back(within, (wanted(DEAD), wanted(JOBS)), key, patience)
        })
    }

    /// Adds a job to a transaction.
    pub(crate) fn add_job(
        &self,
        within: &Within,
        wanted: Wanted<'_>,
        job: &NewJob,
        by: &str,
        patience: &Patience,
    ) -> Result<Key, Refusal> {
        within.schedules(self, self.jobs.options()?)?;
        let document = job.document(by, self.now_millis());
        self.insert(wanted, None, &document, patience)
    }

    /// Does it in a transaction that there is, or in one of its own.
    fn in_one<T>(
        &self,
        who: &Principal,
        within: Option<&Within>,
        patience: &Patience,
        f: impl FnOnce(&Within) -> Result<T, Refusal>,
    ) -> Result<T, Refusal> {
        match within {
            Some(within) => f(within),
            None => {
                let within = self.within(Begins::ToWrite)?;
                let done = f(&within)?;
                self.commit_within(who, within, None, patience)?;
                Ok(done)
            }
        }
    }
}
