//! RunningQueries, CancelQuery: whose they are, and everybody's for an admin.

use proto::doc::DocBuf;
use proto::{Key, ReplyWriter, Status};

use crate::audit::Deed;
use crate::auth::{Principal, Role};
use crate::{Engine, Refusal};

impl Engine {
    /// Answers with a row `{id, user, state, time_us, query}` for each query of the
    /// caller that runs (`running`) or waits for a Fetch (`waiting`), oldest first; for
    /// an admin, of everybody. Of very many as many as fit a message.
    pub(crate) fn list_queries(
        &self,
        who: &Principal,
        reply: ReplyWriter<'_>,
    ) -> Result<(), Refusal> {
        let mut rows = reply.rows(false);
        for query in self.queries.list(whose(who)) {
            let mut doc = DocBuf::new();
            doc.push("id", number(query.id)).push("user", query.user.as_str());
            doc.push("state", if query.waits { "waiting" } else { "running" });
            doc.push("time_us", number(query.micros)).push("query", query.text.as_str());
            let doc = doc
                .finish()
                .map_err(|e| Refusal::new(Status::Internal, format!("{e}; please report this")))?;
            if rows.bytes() + doc.len() > self.limits.max_message_size {
                break;
            }
            rows.push(Key::MIN, &doc);
        }
        rows.finish(None);
        Ok(())
    }

    /// Ends a query of the caller, or for an admin anybody's.
    pub(crate) fn cancel_of(
        &self,
        deed: &Deed<'_>,
        who: &Principal,
        id: u64,
    ) -> Result<(), Refusal> {
        // A number is given once: it is the same one's query a moment later.
        let owner = self.queries.owner(id);
        if self.queries.cancel(id, whose(who)) {
            if let Some(other) = owner.filter(|owner| !who.is_user_of(owner)) {
                deed.cancels(id, &other);
            }
            return Ok(());
        }
        let whose = if who.role() == Role::Admin { "" } else { " of yours" };
        let message = format!(
            "no query {id}{whose} runs or waits: it may have ended; `planctl queries` shows those \
             that do"
        );
        Err(Refusal::new(Status::UnknownQuery, message))
    }
}

/// Whose queries somebody may see and end; `None`: everybody's.
pub(super) fn whose(who: &Principal) -> Option<&Principal> {
    Some(who).filter(|who| who.role() != Role::Admin)
}

fn number(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}
