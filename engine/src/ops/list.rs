//! List: the stores that the caller may read, by name, with their indexes.

use proto::{Key, ReplyWriter, RowsWriter, Status};

use crate::{Engine, Limits, Principal, Refusal};

impl Engine {
    /// Answers with a row for each store that the caller may read: `{ name, created_at, documents, schema?: true,
    /// ttl?: {field, seconds}, indexes?: [{ name, fields, unique, sparse, filter?, state, entries,
    /// built?, reason? }] }`. `documents` and `entries` are exact; `built` is how many
    /// documents the build of an index has come to.
    pub(crate) fn list(&self, who: &Principal, reply: ReplyWriter<'_>) -> Result<(), Refusal> {
        let catalog = self.catalogs.read();
        let mut rows = reply.rows(false);
        let seen = catalog.stores.iter().filter(|(_, store)| who.may_see(store.keyspace));
        for (name, store) in seen {
            let doc = self.describe(name, store, false)?;
            fits(&rows, &doc, &self.limits)?;
            rows.push(Key::MIN, &doc);
        }
        rows.finish(None);
        Ok(())
    }
}

/// Refuses a row too many for a reply.
pub(super) fn fits(rows: &RowsWriter<'_>, doc: &[u8], limits: &Limits) -> Result<(), Refusal> {
    if rows.bytes() + doc.len() <= limits.max_message_size {
        return Ok(());
    }
    let message = "the list does not fit a message: raise limits.max_message_size in db.yaml";
    Err(Refusal::new(Status::ResultTooLarge, message))
}
