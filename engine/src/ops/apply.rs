//! Apply: several writes in any stores, each under a condition: all or none.
//!
//! What must stay true: conditions and writes are looked at and made against one state, under
//! one commit lock, by one [`Change`] for each store, and written as one batch; in a
//! transaction against its view, as one statement. So a document is in one step at most, and
//! no step sees what another one does. Where a condition fails, what it was compared with is
//! known to last before that is told: else a version could be told that a power cut takes
//! back and gives to another commit.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use lsm::{Batch, Snapshot};
use proto::doc::{Binary, DocBuf, Value};
use proto::request::{Act, Condition, Step, Steps};
use proto::{Key, Status};

use super::{Change, finished, key_exists, not_found};
use crate::auth::{Action, Wanted};
use crate::catalog::Store;
use crate::error::shown;
use crate::patience::Patience;
use crate::transaction::Within;
use crate::{Engine, Lsn, Principal, Refusal, document};

/// Steps between two looks at whether the answer is still wanted.
const PIECE: usize = 64;

/// The steps of one request, looked through.
struct Asked<'a> {
    steps: Steps<'a>,
    /// The stores, and what is done there at most.
    stores: BTreeMap<&'a str, Action>,
    /// Documents that are named.
    named: BTreeSet<(&'a str, Key)>,
    /// For keys that are made.
    randoms: Vec<u64>,
}

impl Engine {
    /// Carries out all steps or none. Answers `{version, keys}`: the commit that they are, 0
    /// in a transaction, and the key of each step, 16 bytes one behind the other.
    pub(crate) fn apply(
        &self,
        who: &Principal,
        steps: Steps<'_>,
        within: Option<&Within>,
        patience: &Patience,
    ) -> Result<Vec<u8>, Refusal> {
        let asked = self.look_through(steps, patience)?;
        for (store, action) in &asked.stores {
            self.allow_in(who, *action, "Apply", store)?;
        }
        let wants = |action, store| who.wants(action, store).part_of(within);
        let (version, keys) = match within {
            Some(within) => (0, self.apply_within(within, &asked, wants, patience)?),
            None => self.apply_now(&asked, wants, patience)?,
        };
        let bytes: Vec<u8> = keys.into_iter().flat_map(Key::to_bytes).collect();
        let mut doc = DocBuf::new();
        doc.push("version", i64::try_from(version).unwrap_or(i64::MAX));
        doc.push("keys", Value::Binary(Binary { subtype: 0, bytes: &bytes }));
        Ok(finished(doc))
    }

    /// What can be said of the steps without looking at any document.
    fn look_through<'a>(
        &self,
        steps: Steps<'a>,
        patience: &Patience,
    ) -> Result<Asked<'a>, Refusal> {
        let limit = self.limits.max_batch_size;
        if steps.len() > limit {
            let message = format!(
                "there are {} steps, limits.max_batch_size is {limit}: send several requests, or \
                 do it in a transaction",
                steps.len()
            );
            return Err(Refusal::new(Status::BatchTooLarge, message));
        }
        let (mut stores, mut named, mut made) = (BTreeMap::new(), BTreeSet::new(), 0);
        for (at, step) in steps.iter().enumerate() {
            if at % PIECE == 0 {
                patience.check(&*self.clock)?;
            }
            if let Some(document) = step.act.document() {
                document::check(document, &self.limits).map_err(|refusal| at_step(at, refusal))?;
            }
            match step.act.key() {
                Some(key) if !named.insert((step.store, key)) => {
                    let message = format!(
                        "document {key} of the store {} is in a step before this one too: one \
                         step can say what becomes of it, and under which condition",
                        shown(step.store)
                    );
                    return Err(at_step(at, Refusal::new(Status::BadPacket, message)));
                }
                Some(_) => {}
                None => made += 1,
            }
            let action = stores.entry(step.store).or_insert(Action::Read);
            if !matches!(step.act, Act::Check(_)) {
                *action = Action::Write;
            }
        }
        let randoms = self.keys.randoms(made);
        Ok(Asked { steps, stores, named, randoms })
    }

    fn apply_now<'a>(
        &self,
        asked: &Asked<'a>,
        wants: impl Fn(Action, &'a str) -> Wanted<'a>,
        patience: &Patience,
    ) -> Result<(Lsn, Vec<Key>), Refusal> {
        let catalog = self.catalogs.read();
        let mut seen = 0;
        let committed = self.lsm.commit_with(|latest| {
            patience.check(&*self.clock)?;
            seen = latest.lsn();
            // Who took a right away was told that it is gone: see `Engine::change`.
            let now = self.catalogs.read();
            let stores = asked.stores.iter().map(|(name, action)| {
                let wanted = wants(*action, name);
                let store = self.catalogs.resolve(&catalog, latest, wanted)?;
                wanted.stands(&now, &*self.clock, store.keyspace)?;
                Ok((*name, store))
            });
            let stores = stores.collect::<Result<BTreeMap<_, _>, Refusal>>()?;
            self.steps(asked, stores, latest, patience)
        });
        committed.map_err(|refusal| {
            if refusal.status == Status::ConditionFailed {
                // If that fails, nothing is told but that.
                let _failed = self.lsm.wait_acknowledged(seen);
            }
            self.unless_poisoned(refusal)
        })
    }

    fn apply_within<'a>(
        &self,
        within: &Within,
        asked: &Asked<'a>,
        wants: impl Fn(Action, &'a str) -> Wanted<'a>,
        patience: &Patience,
    ) -> Result<Vec<Key>, Refusal> {
        patience.check(&*self.clock)?;
        let writes = |action: &Action| *action == Action::Write;
        if asked.stores.values().any(writes) {
            within.check_writes()?;
        }
        let now = self.catalogs.read();
        let (mut stores, mut written) = (BTreeMap::new(), Vec::new());
        for (name, action) in &asked.stores {
            let wanted = wants(*action, name);
            let store = within.store(self, wanted)?;
            wanted.stands(&now, &*self.clock, store.keyspace)?;
            if writes(action) {
                written.push((*name, store.keyspace));
            }
            stores.insert(*name, store);
        }
        let (batch, keys) = self.steps(asked, stores, &within.view(), patience)?;
        within.write(self, &written, &batch)?;
        Ok(keys)
    }

    /// What all steps write to that state, and their keys.
    fn steps(
        &self,
        asked: &Asked<'_>,
        stores: BTreeMap<&str, Arc<Store>>,
        latest: &Snapshot,
        patience: &Patience,
    ) -> Result<(Batch, Vec<Key>), Refusal> {
        let mut changes: BTreeMap<&str, Change<'_>> =
            stores.into_iter().map(|(name, store)| (name, Change::new(latest, store))).collect();
        let mut randoms = asked.randoms.iter().copied();
        let mut keys = Vec::with_capacity(asked.steps.len());
        for (at, step) in asked.steps.iter().enumerate() {
            if at % PIECE == 0 {
                patience.check(&*self.clock)?;
            }
            let Some(change) = changes.get_mut(step.store) else { continue };
            let place = |refusal| at_step(at, refusal);
            keys.push(match step.act {
                Act::Insert(None, document) => {
                    let key = loop {
                        let key =
                            self.keys.make(randoms.next().unwrap_or_else(|| self.keys.random()));
                        if !asked.named.contains(&(step.store, key))
                            && change.is_free(key).map_err(place)?
                        {
                            break key;
                        }
                    };
                    change.insert(key, document);
                    key
                }
                Act::Insert(Some(key), _) | Act::Put(key, _) | Act::Replace(key, _) => {
                    one(change, key, &step).map_err(place)?
                }
                Act::Delete(key) | Act::Check(key) => one(change, key, &step).map_err(place)?,
            });
        }
        let mut changes = changes.into_values();
        let mut batch = changes.next().map_or_else(|| Ok(Batch::new()), Change::finish)?;
        for change in changes {
            batch.absorb(change.finish()?);
        }
        Ok((batch, keys))
    }
}

/// A step on a document whose key is known. What is there is read once, and only as far as
/// it is needed.
fn one(change: &mut Change<'_>, key: Key, step: &Step<'_>) -> Result<Key, Refusal> {
    let by_version = matches!(step.condition, Some(Condition::Version(_)));
    if by_version || matches!(step.act, Act::Replace(..) | Act::Delete(_)) {
        let old = change.get_versioned(key)?;
        check(step, key, old.as_ref().map(|(_, version)| *version))?;
        let old = old.as_ref().map(|(old, _)| &old[..]);
        match (step.act, old) {
            (Act::Insert(..), Some(_)) => return Err(key_exists(key)),
            (Act::Insert(_, new) | Act::Put(_, new), None) => change.insert(key, new),
            (Act::Put(_, new) | Act::Replace(_, new), Some(old)) => change.replace(key, old, new),
            (Act::Replace(..) | Act::Delete(_), None) => return Err(not_found(key)),
            (Act::Delete(_), Some(old)) => change.remove(key, old),
            (Act::Check(_), _) => {}
        }
        return Ok(key);
    }
    let there = match (step.act, step.condition) {
        // Nothing rests on what is there.
        (Act::Put(_, new), None) => {
            change.put(key, new);
            return Ok(key);
        }
        _ => change.contains(key)?,
    };
    let holds = match step.condition {
        Some(Condition::Absent) => !there,
        Some(Condition::Present) => there,
        _ => true,
    };
    if !holds {
        let found = change.get_versioned(key)?;
        check(step, key, found.map(|(_, version)| version))?;
    }
    match (step.act, there) {
        (Act::Insert(..), true) => return Err(key_exists(key)),
        (Act::Insert(_, new) | Act::Put(_, new), false) => change.insert(key, new),
        (Act::Put(_, new), true) => change.put(key, new),
        _ => {}
    }
    Ok(key)
}

/// Whether the condition of a step holds of what was found.
fn check(step: &Step<'_>, key: Key, found: Option<Lsn>) -> Result<(), Refusal> {
    let wanted = match (step.condition, found) {
        (None, _) | (Some(Condition::Absent), None) | (Some(Condition::Present), Some(_)) => {
            return Ok(());
        }
        (Some(Condition::Version(wanted)), Some(found)) if wanted == found => return Ok(()),
        (Some(Condition::Absent), _) => "not to be there".to_owned(),
        (Some(Condition::Present), _) => "to be there".to_owned(),
        (Some(Condition::Version(wanted)), _) => format!("to have version {wanted}"),
    };
    let found = match found {
        None => "is not there".to_owned(),
        Some(0) => "was written by this transaction itself, so it has no version yet".to_owned(),
        Some(found) => format!("has version {found}"),
    };
    let message = format!(
        "document {key} of the store {} was {wanted}, and {found}: nothing was written, read it \
         again",
        shown(step.store)
    );
    Err(Refusal::new(Status::ConditionFailed, message))
}

fn at_step(at: usize, refusal: Refusal) -> Refusal {
    Refusal { message: format!("step {}: {}", at + 1, refusal.message), ..refusal }
}
