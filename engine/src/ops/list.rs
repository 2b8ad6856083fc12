//! List: the stores, by name.

use proto::doc::{DocBuf, Value};
use proto::{Key, ReplyWriter, Status};

use crate::{Engine, Refusal};

impl Engine {
    /// Answers with a row `{ name, created_at }` for each store.
    pub(crate) fn list(&self, reply: ReplyWriter<'_>) -> Result<(), Refusal> {
        let catalog = self.catalogs.read();
        let mut rows = reply.rows(false);
        for (name, store) in &catalog.stores {
            let mut doc = DocBuf::new();
            doc.push("name", name).push("created_at", Value::DateTime(store.created_at));
            let doc = doc.finish().expect("names hold no NUL, fields are given once");
            if rows.bytes() + doc.len() > self.limits.max_message_size {
                let message = format!(
                    "the list of {} stores does not fit a message: raise limits.max_message_size \
                     in db.yaml",
                    catalog.stores.len()
                );
                return Err(Refusal::new(Status::ResultTooLarge, message));
            }
            rows.push(Key::MIN, &doc);
        }
        rows.finish(None);
        Ok(())
    }
}
