//! Commits of every kind, and what they must have done.

use lsm::{Batch, Expect, KeyspaceId, Lsm, Lsn, State};
use platform::sim::Verb;

use crate::model::Write;
use crate::plan::{Put, Require, counter, key, short};
use crate::world::{Done, Failure, World, faults};

impl World {
    pub(crate) fn commit(&mut self, puts: &[Put]) -> Result<(), Failure> {
        let (writes, batch) = batch_of(puts);
        self.write("commit", &writes, |lsm| lsm.commit(&batch).map(|lsn| (lsn, ()))).map(drop)
    }

    /// A commit that is refused if the key is not as required, and only then.
    pub(super) fn commit_if(
        &mut self,
        require: Require,
        keyspace: u32,
        number: u32,
        puts: &[Put],
    ) -> Result<(), Failure> {
        let (writes, mut batch) = batch_of(puts);
        let (key, last) = (key(number), self.model.last());
        let now = self.model.get(keyspace, &key, last).cloned();
        let other = match require {
            Require::ValueOf(back) => {
                self.model.get(keyspace, &key, last.saturating_sub(back)).cloned()
            }
            _ => None,
        };
        let (expect, holds) = match (require, &other) {
            (Require::Present, _) => (Expect::Present, now.is_some()),
            (Require::ValueOf(_), Some(value)) => {
                (Expect::Value(value), now.as_ref() == Some(value))
            }
            (Require::Absent | Require::ValueOf(_), _) => (Expect::Absent, now.is_none()),
        };
        batch.require(KeyspaceId(keyspace), &key, expect);
        if holds || self.lsm().poisoned().is_some() {
            return self
                .write("commit", &writes, |lsm| lsm.commit(&batch).map(|l| (l, ())))
                .map(drop);
        }
        // A refusal that is expected is no failure.
        let done = self.run("refused commit", |lsm| match lsm.commit(&batch) {
            Err(lsm::Error::Unmet { .. }) => Ok(None),
            other => other.map(Some),
        })?;
        match done {
            Done::Ok(Some(lsn)) => Err(format!("commit {lsn} was taken, its requirement unmet")),
            Done::Ok(None) => {
                self.mark("commit refused, its requirement unmet");
                Ok(())
            }
            Done::Crashed => Ok(()),
            Done::Failed => {
                self.note_poison();
                Ok(())
            }
        }
    }

    /// Takes numbers off a counter: never one that was given out before.
    pub(super) fn reserve(&mut self, keyspace: u32, number: u32, n: u64) -> Result<(), Failure> {
        let key = key(number);
        let before = self.model.get(keyspace, &key, self.model.last()).cloned();
        let next = match before.as_deref().map(<[u8; 8]>::try_from) {
            None => 1,
            Some(Ok(bytes)) => u64::from_le_bytes(bytes),
            Some(Err(_)) => return Ok(()),
        };
        let Some(end) = next.checked_add(n) else { return Ok(()) };
        let writes = [Write::Put(keyspace, key.clone(), counter(end))];
        let taken = self.write("commit", &writes, |lsm| {
            let numbers = lsm.reserve(KeyspaceId(keyspace), &key, n)?;
            Ok((lsm.last_lsn(), numbers))
        })?;
        let Some(taken) = taken else {
            // In async mode the commit itself was taken; only its sync failed, so
            // nobody got the numbers.
            if let Some(lsm) = &self.lsm
                && lsm.poisoned().is_some()
                && !self.is_sync()
            {
                self.acked = lsm.last_lsn();
            }
            return Ok(());
        };
        if taken != (next..end) {
            return Err(format!("reserved {taken:?}, not {:?}", next..end));
        }
        if self.lsm().durable_lsn() < self.acked {
            return Err(format!("numbers {taken:?} were given out before they were durable"));
        }
        Ok(())
    }

    /// Reads a counter and writes one more, as one step.
    pub(super) fn count(&mut self, keyspace: u32, number: u32) -> Result<(), Failure> {
        let (id, key) = (KeyspaceId(keyspace), key(number));
        let before = self.model.get(keyspace, &key, self.model.last()).cloned();
        let next = counter(count_of(before.as_deref()) + 1);
        let writes = [Write::Put(keyspace, key.clone(), next)];
        let read = self.write("commit_with", &writes, |lsm| {
            lsm.commit_with(|snapshot| {
                let found = snapshot.get(id, &key)?.map(lsm::Value::into_vec);
                let mut batch = Batch::new();
                put_in(&mut batch, keyspace, &key, &counter(count_of(found.as_deref()) + 1));
                Ok::<_, lsm::Error>((batch, found))
            })
        })?;
        match read {
            Some(found) if found.as_deref() != before.as_deref() => Err(format!(
                "commit_with read {}, not {}",
                short(found.as_deref()),
                short(before.as_deref())
            )),
            _ => Ok(()),
        }
    }

    /// A commit of `writes`, however it is made.
    pub(crate) fn write<T>(
        &mut self,
        name: &str,
        writes: &[Write],
        op: impl FnOnce(&Lsm) -> Result<(Lsn, T), lsm::Error>,
    ) -> Result<Option<T>, Failure> {
        let (last, poisoned) = (self.model.last(), self.lsm().poisoned().is_some());
        if !poisoned {
            self.tried(writes);
        }
        let dropping = writes.iter().any(|write| matches!(write, Write::Drop(_)));
        let before = self.disk.tally();
        let drops_behind = self.unflushed_drops;
        match self.run(name, op)? {
            Done::Ok((lsn, out)) => {
                if poisoned {
                    return Err(format!("commit {lsn} was taken by a log that had failed"));
                }
                if lsn != self.model.last() {
                    return Err(format!("commit {lsn} came after {last}"));
                }
                self.acked = lsn;
                if self.is_sync() && self.lsm().durable_lsn() < lsn {
                    return Err(format!("commit {lsn} was acknowledged before it was durable"));
                }
                if self.called(Verb::Write, "trees.pages") {
                    self.mark("commit flushed a set itself");
                }
                if let Some(state) = self.refused.take() {
                    self.mark(state);
                }
                if let State::ReadOnly { why, .. } = self.lsm().state() {
                    return Err(format!("commit {lsn} was taken by a store that says: {why}"));
                }
                if dropping {
                    self.unflushed_drops = lsn;
                }
                self.tell(|| format!("commit {lsn}"));
                Ok(Some(out))
            }
            Done::Crashed => {
                if dropping {
                    self.mark("drop in flight at a crash");
                }
                if drops_behind > 0 {
                    self.mark("drop not yet flushed at a crash");
                }
                Ok(None)
            }
            Done::Failed => {
                if self.lsm().poisoned().is_none() {
                    // Nothing of it is there, now or after a crash.
                    self.model.cut(last);
                    let now = self.disk.tally();
                    // (A requirement may also meet a want of descriptors: it reads.)
                    let shortage = now.no_space - before.no_space;
                    let only = shortage > 0 && faults(&now) - faults(&before) == shortage;
                    if only && !self.damaged() && self.lsm().state() == State::Healthy {
                        return Err("a commit was refused, the store says that it is well".into());
                    }
                    if now.no_space > before.no_space {
                        self.refused = Some("commit refused for want of space, then taken");
                    } else if now.no_descriptors > before.no_descriptors {
                        self.refused = Some("commit refused for want of descriptors, then taken");
                    }
                } else {
                    self.note_poison();
                }
                Ok(None)
            }
        }
    }
}

/// Values of odd keyspaces keep the commit that wrote them.
pub(crate) fn put_in(batch: &mut Batch, keyspace: u32, key: &[u8], value: &[u8]) {
    match keyspace % 2 {
        0 => batch.put(KeyspaceId(keyspace), key, value),
        _ => batch.put_versioned(KeyspaceId(keyspace), key, value, false),
    }
}

/// The writes of a commit, for the model and for the store.
fn batch_of(puts: &[Put]) -> (Vec<Write>, Batch) {
    let writes: Vec<Write> = puts.iter().map(|put| put.write()).collect();
    let mut batch = Batch::new();
    for write in &writes {
        match write {
            Write::Put(keyspace, key, value) => put_in(&mut batch, *keyspace, key, value),
            Write::Delete(keyspace, key) => batch.delete(KeyspaceId(*keyspace), key),
            Write::Drop(keyspace) => batch.drop_keyspace(KeyspaceId(*keyspace)),
        }
    }
    (writes, batch)
}

/// A counter's value, 0 if the key holds something else.
fn count_of(value: Option<&[u8]>) -> u64 {
    value.and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_le_bytes)
}
