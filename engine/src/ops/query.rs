//! Query: PQL. What it changes goes the same ways as the other operations.

use proto::doc::{Change as Edit, Doc};
use proto::{ReplyWriter, Status};

use crate::auth::{Action, Principal};
use crate::pql::{self, ast::Query};
use crate::query::{self, Outcome, Plan, Scope, SelectPlan};
use crate::{Engine, Refusal, document};

impl Engine {
    /// Parses, authorises by the verb, and carries out.
    pub(crate) fn query(
        &self,
        who: &Principal,
        text: &str,
        parameters: Option<&[u8]>,
        reply: ReplyWriter<'_>,
    ) -> Result<(), Refusal> {
        let query = pql::parse(text).map_err(|e| Refusal::new(Status::BadQuery, e.to_string()))?;
        who.check(Action::of_query(&query.verb), "this query")?;
        let store = query.store.as_str();
        match plan(&query, parameters)? {
            Plan::Get(key) => self.read(store, key, reply)?,
            Plan::Insert(document) => reply.key(self.insert(store, None, &document)?),
            Plan::Select(plan) => match &plan.output {
                Outcome::Set(fields) => reply.count(self.set(store, &plan, fields)?),
                Outcome::Delete => reply.count(self.delete_matching(store, &plan)?),
                _ => {
                    let view = self.view(store)?;
                    let scope = Scope {
                        snapshot: &view.snapshot,
                        keyspace: view.keyspace,
                        limits: self.query_limits(),
                    };
                    query::select(scope, &plan, reply)?;
                }
            },
        }
        Ok(())
    }

    fn query_limits(&self) -> query::Limits {
        query::Limits { memory: self.limits.query_memory, reply: self.limits.max_message_size }
    }

    /// `set({..})`: all chosen documents change, or none.
    fn set(&self, store: &str, plan: &SelectPlan, fields: &[u8]) -> Result<u64, Refusal> {
        let edits = Edit::sets(Doc::trusted(fields));
        self.change(store, |change| {
            let (snapshot, keyspace) = (change.latest, change.keyspace);
            let chosen =
                query::matching(Scope { snapshot, keyspace, limits: self.query_limits() }, plan)?;
            for (key, old) in &chosen {
                let place = |refusal: Refusal| {
                    let message = format!("document {key}: {}", refusal.message);
                    Refusal { message, ..refusal }
                };
                let new = Doc::trusted(old)
                    .with(&edits)
                    .map_err(|e| place(Refusal::new(Status::BadDocument, e.to_string())))?;
                document::check(&new, &self.limits).map_err(place)?;
                change.put(*key, &new);
            }
            Ok(chosen.len() as u64)
        })
    }

    /// `delete()`: all chosen documents go, or none.
    fn delete_matching(&self, store: &str, plan: &SelectPlan) -> Result<u64, Refusal> {
        self.change(store, |change| {
            let (snapshot, keyspace) = (change.latest, change.keyspace);
            let chosen =
                query::matching(Scope { snapshot, keyspace, limits: self.query_limits() }, plan)?;
            for (key, _) in &chosen {
                change.delete(*key);
            }
            Ok(chosen.len() as u64)
        })
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
