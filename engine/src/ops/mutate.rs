//! Queries that change documents.
//!
//! What must stay true:
//! * documents are chosen in one snapshot, while others write, and then brought up to date:
//!   what was written to the store since is looked at again, the last of it when the commit
//!   lock is held. So what is changed is what meets the filter at the very place that the
//!   commit has in the order of commits, and nobody waits for the choice;
//! * where not all that meets the filter is chosen (a limit, some left out), all is chosen
//!   anew if what was written bears on that, or if not all of it is known any more:
//!   [`ATTEMPTS`] times, and then with the lock held: so a query ends.
//!
//! The lock is held for what a change costs, not for what choosing does: a scan, sorting,
//! runs on disk.

use std::collections::BTreeMap;
use std::sync::Arc;

use lsm::{Since, Snapshot};
use proto::doc::Doc;
use proto::{Key, ReplyWriter, Status};

use super::Change as Writes;
use crate::auth::Wanted;
use crate::patience::Patience;
use crate::pql::ast::Image;
use crate::query::{self, Change, Scope, SelectPlan, Work, edit};
use crate::{Engine, Refusal, document};

/// How often documents are chosen without the commit lock.
const ATTEMPTS: u32 = 3;
/// How often what was chosen is brought up to date before the lock is taken, and when so few
/// keys were written that the rest is done under it.
const ROUNDS: u32 = 4;
const FEW: usize = 64;
/// What a row of a reply takes beside its key and document.
const REPLY_HEAD: usize = 64;

/// Documents of one store, chosen in a snapshot and brought up to date; empty where only keys
/// matter.
struct Chosen {
    since: Since,
    keyspace: lsm::KeyspaceId,
    documents: Vec<(Key, Vec<u8>)>,
}

/// A query that changes documents.
struct Mutation<'q> {
    plan: &'q Arc<SelectPlan>,
    how: &'q Change,
    returning: Option<Image>,
    work: &'q Work,
}

impl Engine {
    /// All chosen documents change, or none.
    pub(super) fn mutate(
        &self,
        store: Wanted<'_>,
        plan: &Arc<SelectPlan>,
        how: &Change,
        returning: Option<Image>,
        work: &Work,
        reply: ReplyWriter<'_>,
    ) -> Result<u64, Refusal> {
        let mutation = Mutation { plan, how, returning, work };
        let (changed, images) = self.mutate_chosen(store, &mutation)?;
        if returning.is_none() {
            reply.count(changed);
            return Ok(changed);
        }
        let mut rows = reply.rows(true);
        for (key, document) in &images.rows {
            rows.push(*key, document);
        }
        rows.finish(None);
        Ok(changed)
    }

    fn mutate_chosen(
        &self,
        store: Wanted<'_>,
        mutation: &Mutation<'_>,
    ) -> Result<(u64, Images), Refusal> {
        // Asked for before the commit lock is taken.
        let random = if mutation.how.upserts() { self.keys.random() } else { 0 };
        // As part of a transaction nothing changes meanwhile.
        let attempts = if store.within().is_some() { 0 } else { ATTEMPTS };
        for _ in 0..attempts {
            if let Some(chosen) = self.chosen(store, mutation)? {
                if chosen.documents.is_empty() && !mutation.how.upserts() {
                    return Ok((0, mutation.images()));
                }
                if let Some(done) = self.change_chosen(store, mutation, chosen, random)? {
                    return Ok(done);
                }
            }
            mutation.work.holds_nothing();
        }
        self.change(store, Patience::ENDLESS, |change| {
            mutation.work.check()?;
            let (snapshot, keyspace, indexes) = (change.latest, change.keyspace, change.indexes());
            let scope = Scope { snapshot, keyspace, indexes, lookups: &[], work: mutation.work };
            let chosen = query::matching(scope, mutation.plan)?;
            self.write_chosen(change, mutation, &chosen, random)
        })
    }

    /// `None`: the snapshot was taken away meanwhile.
    fn chosen(
        &self,
        store: Wanted<'_>,
        mutation: &Mutation<'_>,
    ) -> Result<Option<Chosen>, Refusal> {
        // In this order: `Catalogs::resolve` rests on it.
        let catalog = self.catalogs.read();
        let since = self.lsm.since()?;
        let snapshot = since.snapshot();
        let store = self.catalogs.resolve(&catalog, snapshot, store)?;
        let (keyspace, indexes) = (store.keyspace, &store.indexes);
        let scope = Scope { snapshot, keyspace, indexes, lookups: &[], work: mutation.work };
        match query::matching(scope, mutation.plan) {
            Ok(documents) => Ok(Some(Chosen { since, keyspace, documents })),
            Err(_) if snapshot.is_expired() => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// `None`: all is to be chosen anew, and nothing is changed by this.
    fn change_chosen(
        &self,
        store: Wanted<'_>,
        mutation: &Mutation<'_>,
        mut chosen: Chosen,
        random: u64,
    ) -> Result<Option<(u64, Images)>, Refusal> {
        // Most of it before the lock is taken.
        for _ in 0..ROUNDS {
            match self.catch_up(&mut chosen, &self.lsm.snapshot()?, mutation)? {
                None => return Ok(None),
                Some(keys) if keys <= FEW => break,
                Some(_) => {}
            }
        }
        // Its work knows the caller's patience, and its own bounds.
        self.change(store, Patience::ENDLESS, |change| {
            mutation.work.check()?;
            // A store of that name that was made meanwhile is another one.
            if change.keyspace != chosen.keyspace
                || self.catch_up(&mut chosen, change.latest, mutation)?.is_none()
            {
                return Ok(None);
            }
            self.write_chosen(change, mutation, &chosen.documents, random).map(Some)
        })
    }

    /// Makes of what was chosen what would be chosen in `now`, by what was written up to
    /// there: so many keys. `None`: it cannot be made of it.
    fn catch_up(
        &self,
        chosen: &mut Chosen,
        now: &Snapshot,
        mutation: &Mutation<'_>,
    ) -> Result<Option<usize>, Refusal> {
        let Mutation { plan, work, .. } = *mutation;
        let Some(keys) = self.lsm.written(&mut chosen.since, chosen.keyspace, now.lsn()) else {
            return Ok(None);
        };
        if keys.is_empty() {
            return Ok(Some(0));
        }
        if plan.skip > 0 {
            return Ok(None);
        }
        let mut written = BTreeMap::new();
        for key in &keys {
            let Ok(bytes) = <[u8; 16]>::try_from(&**key) else { continue };
            let key = Key::from_bytes(bytes);
            let document = now.get(chosen.keyspace, &bytes)?;
            work.work_on(document.as_ref().map_or(0, |document| document.len()))?;
            let matched = document
                .map(|document| query::matched(plan, key, Doc::trusted(&document), work))
                .transpose()?;
            written.insert(key, matched.flatten());
        }
        // What is chosen among all that meets the filter rests on how that was.
        let picks = plan.limit.is_some() || !plan.order.is_empty();
        let mut stands = true;
        chosen.documents.retain_mut(|(key, document)| match written.remove(key) {
            None => true,
            Some(Some(new)) => {
                stands &= !picks || !new.is_empty() && new == *document;
                *document = new;
                true
            }
            Some(None) => {
                stands &= !picks;
                false
            }
        });
        let others = written.into_iter().filter_map(|(key, new)| Some((key, new?)));
        let before = chosen.documents.len();
        chosen.documents.extend(others);
        stands &= !picks || chosen.documents.len() == before;
        Ok(stands.then_some(keys.len()))
    }

    fn write_chosen(
        &self,
        change: &mut Writes<'_>,
        mutation: &Mutation<'_>,
        chosen: &[(Key, Vec<u8>)],
        random: u64,
    ) -> Result<(u64, Images), Refusal> {
        let Mutation { plan, how, work, .. } = *mutation;
        let mut images = mutation.images();
        for (key, old) in chosen {
            let new = changed_document(how, *key, old)?;
            self.write_one(change, &mut images, work, *key, old, new)?;
        }
        if chosen.is_empty() && how.upserts() {
            let key = match query::key_of_filter(plan) {
                Some(key) if change.contains(key)? => return Err(super::key_exists(key)),
                Some(key) => key,
                None => self.free_key(change, random)?,
            };
            let new = changed_document(how, key, &proto::doc::EMPTY)?;
            self.write_one(change, &mut images, work, key, &[], new)?;
            return Ok((1, images));
        }
        Ok((chosen.len() as u64, images))
    }

    /// Writes one changed document, or removes it, and keeps what is given back.
    fn write_one(
        &self,
        change: &mut Writes<'_>,
        images: &mut Images,
        work: &Work,
        key: Key,
        old: &[u8],
        new: Option<Vec<u8>>,
    ) -> Result<(), Refusal> {
        work.work_on(new.as_ref().map_or(0, Vec::len))?;
        match &new {
            Some(new) => {
                document::check(new, &self.limits).map_err(|refusal| at(key, refusal))?;
                match old.is_empty() {
                    true => change.insert(key, new),
                    false => change.replace(key, old, new),
                }
            }
            // What was chosen to go and is not given back was not read.
            None if old.is_empty() => change.delete(key),
            None => change.remove(key, old),
        }
        // Before anything is committed it is known that the reply can carry it.
        images.keep(key, old, new, work)
    }

    /// A key that no document has.
    fn free_key(&self, change: &Writes<'_>, mut random: u64) -> Result<Key, Refusal> {
        loop {
            let key = self.keys.make(random);
            if change.is_free(key)? {
                return Ok(key);
            }
            random = self.keys.random();
        }
    }
}

impl Mutation<'_> {
    fn images(&self) -> Images {
        Images { rows: Vec::new(), bytes: REPLY_HEAD, which: self.returning }
    }
}

/// The documents a change gives back.
struct Images {
    rows: Vec<(Key, Vec<u8>)>,
    /// Bytes of the reply they make.
    bytes: usize,
    which: Option<Image>,
}

impl Images {
    fn keep(
        &mut self,
        key: Key,
        old: &[u8],
        new: Option<Vec<u8>>,
        work: &Work,
    ) -> Result<(), Refusal> {
        let document = match (self.which, new) {
            (None, _) => return Ok(()),
            (Some(Image::After), Some(new)) => new,
            // A document that was made was none before.
            (Some(Image::Before), _) if old.is_empty() => return Ok(()),
            (Some(_), _) => old.to_vec(),
        };
        self.bytes += 16 + document.len();
        if self.bytes > work.limits().reply {
            let message = format!(
                "the changed documents are larger than the {} bytes of a reply, so nothing was \
                 changed: leave out returning(), or change fewer at a time with limit(n)",
                work.limits().reply
            );
            return Err(Refusal::new(Status::ResultTooLarge, message));
        }
        self.rows.push((key, document));
        Ok(())
    }
}

/// What a document becomes; `None`: it goes.
fn changed_document(how: &Change, key: Key, old: &[u8]) -> Result<Option<Vec<u8>>, Refusal> {
    match how {
        Change::Edit(edits) => {
            let new = edit::apply(edits, Doc::trusted(old));
            new.map(Some).map_err(|why| at(key, Refusal::new(Status::BadDocument, why)))
        }
        Change::Replace(document) => Ok(Some(document.clone())),
        Change::Delete => Ok(None),
    }
}

fn at(key: Key, refusal: Refusal) -> Refusal {
    Refusal { message: format!("document {key}: {}", refusal.message), ..refusal }
}

#[cfg(test)]
use crate::{Principal, Role};

#[cfg(test)]
impl Engine {
    /// Chooses documents for a query, lets `meanwhile` happen, and changes them: how
    /// many; `None`: they were not what was chosen any more.
    pub(crate) fn change_around(
        &self,
        text: &str,
        meanwhile: impl FnOnce(),
    ) -> Result<Option<u64>, Refusal> {
        let query = self.queries.parse(text).expect("a query");
        let (store, plan) = (Wanted::own(&query.store), query::bind(&query, None).expect("a plan"));
        let query::Plan::Select(plan) = plan else { panic!("{text} chooses nothing") };
        let query::Outcome::Mutate { how, returning } = &plan.output else {
            panic!("{text} changes nothing")
        };
        let who = Principal::new("tester", Role::Admin);
        let running = self.queries.begin(&who, text, self.query_limits(), Patience::ENDLESS);
        let work = running.work();
        let mutation = Mutation { plan: &plan, how, returning: *returning, work };
        let chosen = self.chosen(store, &mutation)?.expect("a snapshot just taken");
        meanwhile();
        let random = self.keys.random();
        let done = self.change_chosen(store, &mutation, chosen, random)?;
        Ok(done.map(|(changed, _)| changed))
    }
}
