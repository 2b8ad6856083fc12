//! Query: PQL. What it changes goes the same ways as the other operations.

use std::sync::Arc;

use lsm::{KeyspaceId, Snapshot};
use proto::doc::Doc;
use proto::{Key, ReplyWriter, Status};

use super::Change as Writes;
use crate::auth::{Action, Principal};
use crate::catalog::{Catalog, Store};
use crate::pql::ast::{Image, Query, Select, Verb};
use crate::query::{
    self, Change, Outcome, PageSize, Plan, Running, Scope, SelectPlan, Selected, Stream, Work, edit,
};
use crate::{Engine, Refusal, document};

/// What a row of a reply takes beside its key and document.
const REPLY_HEAD: usize = 64;

impl Engine {
    /// Parses, authorises by the verb, and carries out. Rows that do not fit the page
    /// wait to be fetched.
    pub(crate) fn query(
        &self,
        who: &Principal,
        text: &str,
        parameters: Option<&[u8]>,
        size: PageSize,
        reply: ReplyWriter<'_>,
    ) -> Result<(), Refusal> {
        let query = self.queries.parse(text);
        let query = query.map_err(|e| Refusal::new(Status::BadQuery, e.to_string()))?;
        who.check(Action::of_query(&query.verb), "this query")?;
        let store = query.store.as_str();
        match (plan(&query, parameters)?, &query.verb) {
            (Plan::Get(key), _) if query.explain => {
                let running = self.queries.begin(who, text, self.query_limits());
                let view = self.view(store)?;
                let (snapshot, keyspace) = (&view.snapshot, view.store.keyspace);
                let told = query::explain_get(snapshot, keyspace, store, key, running.work())?;
                reply.document(&told);
            }
            (Plan::Insert { document, .. }, _) if query.explain => {
                let running = self.queries.begin(who, text, self.query_limits());
                let view = self.view(store)?;
                let indexes = &view.store.indexes;
                reply.document(&query::explain_insert(store, &document, indexes, running.work())?);
            }
            (Plan::Get(key), _) => self.read(store, key, reply)?,
            (Plan::Insert { document, returning }, _) => {
                let key = self.insert(store, None, &document)?;
                if returning {
                    // Whatever an insert accepts, a reply can carry.
                    let mut rows = reply.rows(true);
                    rows.push(key, &document);
                    rows.finish(None);
                } else {
                    reply.key(key);
                }
            }
            (Plan::Select(plan), Verb::Select(select)) => {
                let mut running = self.queries.begin(who, text, self.query_limits());
                let work = running.work();
                let returned = match &plan.output {
                    _ if query.explain => self.explained(store, select, &plan, work, reply)?,
                    Outcome::Mutate { how, returning } => {
                        self.mutate(store, &plan, how, *returning, work, reply)?
                    }
                    _ => {
                        let seen = self.seen(store, &plan)?;
                        match query::select(seen.scope(work), &plan)? {
                            Selected::Count(count) => {
                                reply.count(count);
                                count
                            }
                            Selected::Rows(rows) => return page(running, rows, size, reply),
                        }
                    }
                };
                running.returned = Some(returned);
            }
            (Plan::Select(_), _) => {
                return Err(Refusal::new(Status::Internal, "a plan of another query"));
            }
        }
        Ok(())
    }

    /// The next page of a cursor.
    pub(crate) fn fetch(
        &self,
        who: &Principal,
        cursor: u64,
        reply: ReplyWriter<'_>,
    ) -> Result<(), Refusal> {
        let (running, rows, size) = self.queries.resume(who, cursor)?;
        page(running, rows, size, reply)
    }

    pub(crate) fn query_limits(&self) -> query::Limits {
        query::Limits {
            memory: self.limits.query_memory,
            reply: self.limits.max_message_size,
            spill: self.limits.query_spill,
            micros: Some(self.limits.query_micros).filter(|&micros| micros > 0),
        }
    }

    /// What a query that reads sees.
    fn seen(&self, store: &str, plan: &SelectPlan) -> Result<Seen, Refusal> {
        // In this order: `Catalogs::resolve` rests on it.
        let catalog = self.catalogs.read();
        let snapshot = self.lsm.snapshot()?;
        let store = self.catalogs.resolve(&catalog, &snapshot, store)?;
        let lookups = self.looked_up(&catalog, &snapshot, plan)?;
        Ok(Seen { snapshot, store, lookups })
    }

    fn looked_up(
        &self,
        catalog: &Catalog,
        snapshot: &Snapshot,
        plan: &SelectPlan,
    ) -> Result<Vec<KeyspaceId>, Refusal> {
        let lookups = plan.lookups.iter();
        let keyspace = |store| Ok(self.catalogs.resolve(catalog, snapshot, store)?.keyspace);
        lookups.map(|lookup| keyspace(&lookup.store)).collect()
    }

    fn explained(
        &self,
        store: &str,
        select: &Select,
        plan: &Arc<SelectPlan>,
        work: &Work,
        reply: ReplyWriter<'_>,
    ) -> Result<u64, Refusal> {
        let seen = self.seen(store, plan)?;
        reply.document(&query::explain(seen.scope(work), store, select, plan)?);
        Ok(1)
    }

    /// All chosen documents change, or none.
    fn mutate(
        &self,
        store: &str,
        plan: &Arc<SelectPlan>,
        how: &Change,
        returning: Option<Image>,
        work: &Work,
        reply: ReplyWriter<'_>,
    ) -> Result<u64, Refusal> {
        // Asked for before the commit lock is taken.
        let random = if how.upserts() { self.keys.random() } else { 0 };
        let (changed, images) = self.change(store, |change| {
            let (snapshot, keyspace, indexes) = (change.latest, change.keyspace, change.indexes());
            let scope = Scope { snapshot, keyspace, indexes, lookups: &[], work };
            let chosen = query::matching(scope, plan)?;
            let mut images = Images { rows: Vec::new(), bytes: REPLY_HEAD, which: returning };
            for (key, old) in &chosen {
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
        })?;
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
            if !change.contains(key)? {
                return Ok(key);
            }
            random = self.keys.random();
        }
    }
}

/// Answers with a page of rows; what is left waits behind a cursor.
fn page(
    mut running: Running<'_>,
    mut rows: Stream,
    size: PageSize,
    reply: ReplyWriter<'_>,
) -> Result<(), Refusal> {
    let page = rows.page(running.work(), size, reply)?;
    running.returned = Some(page.rows.len() as u64);
    if page.more {
        page.rows.finish_with_cursor(running.wait(rows, size)?);
    } else {
        page.rows.finish(None);
    }
    Ok(())
}

/// One snapshot, and the stores of a query in it.
struct Seen {
    snapshot: Snapshot,
    store: Arc<Store>,
    lookups: Vec<KeyspaceId>,
}

impl Seen {
    fn scope<'a>(&'a self, work: &'a Work) -> Scope<'a> {
        Scope {
            snapshot: &self.snapshot,
            keyspace: self.store.keyspace,
            indexes: &self.store.indexes,
            lookups: &self.lookups,
            work,
        }
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

/// Puts the parameters in their places.
fn plan(query: &Query, parameters: Option<&[u8]>) -> Result<Plan, Refusal> {
    let bad = |message: String| Refusal::new(Status::BadParameter, message);
    let given = parameters.map(Doc::parse).transpose();
    let given = given.map_err(|e| bad(format!("the query's parameters: {e}")))?;
    // Without parameters it is the query itself that does not fit.
    let without = query.parameters == 0 && given.is_none();
    let status = if without { Status::BadQuery } else { Status::BadParameter };
    query::bind(query, given).map_err(|message| Refusal::new(status, message))
}
