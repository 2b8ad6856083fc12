//! Query: PQL. What it changes goes the same ways as the other operations: `mutate.rs`.

use std::sync::Arc;

use lsm::{KeyspaceId, Snapshot};
use proto::doc::Doc;
use proto::{ReplyWriter, Status};

use crate::auth::{Action, Principal, Wanted};
use crate::catalog::Store;
use crate::patience::Patience;
use crate::pql::ast::{Query, Select, Verb};
use crate::query::{
    self, Foreign, Outcome, PageSize, Plan, Running, Scope, SelectPlan, Selected, Stream, Work,
};
use crate::transaction::Within;
use crate::{Engine, Refusal};

impl Engine {
    /// Parses, authorises by the verb, and carries out. Rows that do not fit the page
    /// wait to be fetched.
    pub(crate) fn query(
        &self,
        who: &Principal,
        (text, parameters): (&str, Option<&[u8]>),
        size: PageSize,
        within: Option<&Within>,
        patience: &Patience,
        reply: ReplyWriter<'_>,
    ) -> Result<(), Refusal> {
        let query = self.queries.parse(text);
        let query = query.map_err(|e| Refusal::new(Status::BadQuery, e.to_string()))?;
        let (store, action) = (query.store.as_str(), Action::of_query(&query.verb));
        self.allow_in(who, action, "this query", store)?;
        if action == Action::Write && !query.explain {
            self.check_leads()?;
        }
        let wanted = who.wants(action, store).part_of(within);
        match (plan(&query, parameters)?, &query.verb) {
            (Plan::Get(key), _) if query.explain => {
                let running = self.begin_query(who, text, patience)?;
                let view = self.view(wanted)?;
                let (snapshot, keyspace) = (&view.snapshot, view.store.keyspace);
                let told = query::explain_get(snapshot, keyspace, store, key, running.work())?;
                reply.document(&told);
            }
            (Plan::Insert { document, .. }, _) if query.explain => {
                let running = self.begin_query(who, text, patience)?;
                let view = self.view(wanted)?;
                let indexes = &view.store.indexes;
                reply.document(&query::explain_insert(store, &document, indexes, running.work())?);
            }
            (Plan::Get(key), _) => self.read(wanted, key, reply)?,
            (Plan::Insert { document, returning }, _) => {
                let key = self.insert(wanted, None, &document, patience)?;
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
                let mut running = self.begin_query(who, text, patience)?;
                let work = running.work();
                let returned = match &plan.output {
                    _ if query.explain => self.explained(wanted, select, &plan, work, reply)?,
                    Outcome::Mutate { how, returning } => {
                        self.mutate(wanted, &plan, how, *returning, work, reply)?
                    }
                    _ => {
                        let seen = self.seen(wanted, &plan)?;
                        running.shows(seen.stores());
                        self.still_reads(who, &seen.stores())?;
                        match query::select(seen.scope(work), &plan)? {
                            Selected::Count(count) => {
                                reply.count(count);
                                count
                            }
                            Selected::Rows(rows) => {
                                running.within = within.map_or(0, |within| within.number);
                                return page(running, rows, size, || seen.stores(), reply);
                            }
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
        within: Option<&Within>,
        patience: &Patience,
        reply: ReplyWriter<'_>,
    ) -> Result<(), Refusal> {
        let number = within.map_or(0, |within| within.number);
        let (running, rows, size, stores) = self.queries.resume(who, cursor, number, patience)?;
        self.still_reads(who, &stores)?;
        page(running, rows, size, || stores, reply)
    }

    pub(crate) fn query_limits(&self) -> query::Limits {
        query::Limits {
            memory: self.limits.query_memory,
            reply: self.limits.max_message_size,
            spill: self.limits.query_spill,
            micros: Some(self.limits.query_micros).filter(|&micros| micros > 0),
        }
    }

    /// What a query sees: the store it is for, and those it looks into, which must be
    /// free to be read.
    pub(super) fn seen(&self, wanted: Wanted<'_>, plan: &SelectPlan) -> Result<Seen, Refusal> {
        if let Some(within) = wanted.within() {
            let store = within.store(self, wanted)?;
            let lookups = looked_up(wanted, plan, |wanted| within.store(self, wanted))?;
            return Ok(Seen { snapshot: within.view(), store, lookups });
        }
        // In this order: `Catalogs::resolve` rests on it.
        let catalog = self.catalogs.read();
        let snapshot = self.lsm.snapshot()?;
        let find = |wanted: Wanted<'_>| self.catalogs.resolve(&catalog, &snapshot, wanted);
        let store = find(wanted)?;
        let lookups = looked_up(wanted, plan, find)?;
        Ok(Seen { snapshot, store, lookups })
    }

    fn explained(
        &self,
        wanted: Wanted<'_>,
        select: &Select,
        plan: &Arc<SelectPlan>,
        work: &Work,
        reply: ReplyWriter<'_>,
    ) -> Result<u64, Refusal> {
        let seen = self.seen(wanted, plan)?;
        reply.document(&query::explain(seen.scope(work), wanted.name, select, plan)?);
        Ok(1)
    }
}

/// The stores that a query looks into.
fn looked_up(
    wanted: Wanted<'_>,
    plan: &SelectPlan,
    find: impl Fn(Wanted<'_>) -> Result<Arc<Store>, Refusal>,
) -> Result<Vec<Foreign>, Refusal> {
    let foreign = |store: &str| -> Result<Foreign, Refusal> {
        let store = find(wanted.looks_into(store))?;
        Ok(Foreign { keyspace: store.keyspace, indexes: store.indexes.clone() })
    };
    plan.lookups.iter().map(|lookup| foreign(&lookup.store)).collect()
}

/// Answers with a page of rows; what is left waits behind a cursor.
fn page(
    mut running: Running<'_>,
    mut rows: Stream,
    size: PageSize,
    stores: impl FnOnce() -> Vec<KeyspaceId>,
    reply: ReplyWriter<'_>,
) -> Result<(), Refusal> {
    let page = rows.page(running.work(), size, reply)?;
    running.returned = Some(page.rows.len() as u64);
    if page.more {
        page.rows.finish_with_cursor(running.wait(rows, size, stores())?);
    } else {
        page.rows.finish(None);
    }
    Ok(())
}

/// One snapshot, and the stores of a query in it.
pub(super) struct Seen {
    pub(super) snapshot: Snapshot,
    pub(super) store: Arc<Store>,
    lookups: Vec<Foreign>,
}

impl Seen {
    /// The stores whose documents it shows.
    fn stores(&self) -> Vec<KeyspaceId> {
        let looked_up = self.lookups.iter().map(|foreign| foreign.keyspace);
        std::iter::once(self.store.keyspace).chain(looked_up).collect()
    }

    pub(super) fn scope<'a>(&'a self, work: &'a Work) -> Scope<'a> {
        Scope {
            snapshot: &self.snapshot,
            keyspace: self.store.keyspace,
            indexes: &self.store.indexes,
            lookups: &self.lookups,
            work,
        }
    }
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
