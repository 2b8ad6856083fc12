//! Which jobs are due.
//!
//! What must stay true: they are given in the order of their time, a bounded number at once;
//! finding them costs what they are, not what waits behind them.

use std::ops::Bound;

use lsm::Snapshot;
use proto::Key;
use proto::doc::{Doc, Value};

use super::kept::{Job, due};
use super::{Claim, DUE_INDEX, JOBS};
use crate::auth::Wanted;
use crate::index::{Bounds, Index, Scan};
use crate::{Engine, Refusal};

/// Entries that figures look at one by one, before they guess.
const LOOK: u64 = 1024;

/// What is due, and what will be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Due {
    /// Jobs whose time has come, the earliest first.
    pub now: Vec<Key>,
    /// The time of the first that is not among them, in milliseconds since 1970.
    pub next: Option<i64>,
}

fn bounds(index: &Index, until: i64) -> Bounds {
    let at = |at| index.prefix(&[Some(Value::DateTime(at))]).bytes;
    // Dates sort together; what has none is never due.
    Bounds { low: Bound::Included(at(i64::MIN)), high: Bounds::behind(&at(until)) }
}

impl Engine {
    /// So many of the jobs that are due, but for those that `is_taken` knows.
    ///
    /// # Errors
    /// The storage's.
    pub fn due_jobs(&self, most: usize, is_taken: impl Fn(Key) -> bool) -> Result<Due, Refusal> {
        let (now, mut found) = (self.now_millis(), Due::default());
        if !self.leads() {
            // The primary runs them.
            return Ok(found);
        }
        self.walk_due(|snapshot, store, index| {
            let mut scan = Scan::open(snapshot, index, &bounds(index, i64::MAX), false)?;
            while scan.advance()? {
                let key = scan.document()?;
                if is_taken(key) {
                    continue;
                }
                let Some(at) = snapshot.get(store, &key.to_bytes())? else { continue };
                let Some(at) = due(Doc::trusted(&at)) else { continue };
                if at > now || found.now.len() == most {
                    found.next = Some(at);
                    break;
                }
                found.now.push(key);
            }
            Ok(())
        })?;
        Ok(found)
    }

    /// The job of a key as it is now, if it is there and due; what is none is given up.
    ///
    /// # Errors
    /// As of a write.
    pub fn take_job(&self, key: Key) -> Result<Option<Job>, Refusal> {
        if !self.leads() {
            return Ok(None);
        }
        let view = self.view(Wanted::own(JOBS))?;
        let Some(bytes) = view.snapshot.get(view.keyspace, &key.to_bytes())? else {
            return Ok(None);
        };
        let doc = Doc::trusted(&bytes);
        if due(doc).is_none_or(|due| due > self.now_millis()) {
            return Ok(None);
        }
        match Job::read(key, doc) {
            Ok(job) => Ok(Some(job)),
            Err(why) => {
                let claim = Claim { key, attempts: super::kept::attempts(doc) };
                let why = format!("it is no job: {why}");
                self.end_job(claim, &super::JobEnd::Refused(why))?;
                Ok(None)
            }
        }
    }

    /// How many are due, and for how many milliseconds the first has been.
    pub(super) fn due_figures(&self) -> Result<(u64, u64), Refusal> {
        let (now, mut figures) = (self.now_millis(), (0, 0));
        self.walk_due(|snapshot, store, index| {
            let bounds = bounds(index, now);
            let count = index.estimate(snapshot, &bounds, LOOK)?.entries;
            let mut scan = Scan::open(snapshot, index, &bounds, false)?;
            if scan.advance()? {
                let first = snapshot.get(store, &scan.document()?.to_bytes())?;
                let at = first.and_then(|first| due(Doc::trusted(&first))).unwrap_or(now);
                figures = (count, u64::try_from(now.saturating_sub(at)).unwrap_or(0));
            }
            Ok(())
        })?;
        Ok(figures)
    }

    /// Looks at the index of the jobs, if there is one.
    fn walk_due(
        &self,
        f: impl FnOnce(&Snapshot, lsm::KeyspaceId, &Index) -> Result<(), Refusal>,
    ) -> Result<(), Refusal> {
        if self.own_store(JOBS).is_none() {
            return Ok(());
        }
        let view = self.view(Wanted::own(JOBS))?;
        match view.store.index(DUE_INDEX).filter(|index| index.is_ready()) {
            Some(index) => f(&view.snapshot, view.keyspace, index),
            None => Ok(()),
        }
    }
}
