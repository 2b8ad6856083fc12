//! Queries that change documents.
//!
//! What must stay true:
//! * documents are chosen in one snapshot, while others write. They are changed only if
//!   each of them, when the commit lock is held, is still what was chosen; else all is
//!   chosen anew, [`ATTEMPTS`] times, and then with the lock held: so a query ends. What
//!   comes to meet the filter after the snapshot is not chosen;
//! * a document is made (upsert) only if nothing was written to the store since the
//!   snapshot in which none was chosen; else that is looked at with the lock held;
//! * documents that go and are not given back are not kept either: those are tested with
//!   the filter again, as they are then.
//!
//! The lock is held for what a change costs, not for what choosing does: a scan, sorting,
//! runs on disk. Looking again costs nothing if the store was not written meanwhile.

use std::sync::Arc;

use lsm::Snapshot;
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
/// Documents read at once to look whether they are what was chosen.
const CHUNK: usize = 64;
/// What a row of a reply takes beside its key and document.
const REPLY_HEAD: usize = 64;

/// Documents of one store, chosen in a snapshot; empty where only keys matter.
struct Chosen {
    snapshot: Snapshot,
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
            let Some(chosen) = self.chosen(store, mutation)? else {
                mutation.work.holds_nothing();
                continue;
            };
            if chosen.documents.is_empty() && !mutation.how.upserts() {
                return Ok((0, mutation.images()));
            }
            if let Some(done) = self.change_chosen(store, mutation, &chosen, random)? {
                return Ok(done);
            }
            drop(chosen);
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
        let seen = self.seen(store, mutation.plan)?;
        let documents = match query::matching(seen.scope(mutation.work), mutation.plan) {
            Ok(documents) => documents,
            Err(_) if seen.snapshot.is_expired() => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        Ok(Some(Chosen { snapshot: seen.snapshot, keyspace: seen.store.keyspace, documents }))
    }

    /// `None`: something of it was changed meanwhile, and nothing is by this.
    fn change_chosen(
        &self,
        store: Wanted<'_>,
        mutation: &Mutation<'_>,
        chosen: &Chosen,
        random: u64,
    ) -> Result<Option<(u64, Images)>, Refusal> {
        // Its work knows the caller's patience, and its own bounds.
        self.change(store, Patience::ENDLESS, |change| {
            mutation.work.check()?;
            match chosen.stands(change, mutation)? {
                true => self.write_chosen(change, mutation, &chosen.documents, random).map(Some),
                false => Ok(None),
            }
        })
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

impl Chosen {
    /// Whether it may be changed, with the commit lock held.
    fn stands(&self, change: &Writes<'_>, mutation: &Mutation<'_>) -> Result<bool, Refusal> {
        // A store of that name that was made meanwhile is another one.
        if change.keyspace != self.keyspace {
            return Ok(false);
        }
        if !change.latest.written_since(self.keyspace, self.snapshot.lsn())? {
            return Ok(true);
        }
        let Some((_, first)) = self.documents.first() else { return Ok(false) };
        // A document has five bytes at least: these were not kept.
        let kept = !first.is_empty();
        if !kept && mutation.plan.filter.is_none() {
            for (key, _) in &self.documents {
                mutation.work.work_on(0)?;
                if !change.contains(*key)? {
                    return Ok(false);
                }
            }
            return Ok(true);
        }
        for chunk in self.documents.chunks(CHUNK) {
            let keys: Vec<[u8; 16]> = chunk.iter().map(|(key, _)| key.to_bytes()).collect();
            let now = change.latest.multi_get(self.keyspace, &keys)?;
            for ((key, chosen), now) in chunk.iter().zip(now) {
                let Some(now) = now else { return Ok(false) };
                mutation.work.work_on(now.len())?;
                let same = match kept {
                    true => chosen[..] == now[..],
                    false => query::meets(mutation.plan, *key, Doc::trusted(&now), mutation.work)?,
                };
                if !same {
                    return Ok(false);
                }
            }
        }
        Ok(true)
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
        let done = self.change_chosen(store, &mutation, &chosen, random)?;
        Ok(done.map(|(changed, _)| changed))
    }
}
