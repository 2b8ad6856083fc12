//! List: the stores, by name, with their indexes.

use proto::doc::{DocBuf, Value};
use proto::{Key, ReplyWriter, RowsWriter, Status};

use crate::catalog::Store;
use crate::index::{Phase, progress};
use crate::{Engine, Limits, Refusal};

impl Engine {
    /// Answers with a row for each store: `{ name, created_at, documents, schema?: true,
    /// ttl?: {field, seconds}, indexes?: [{ name, fields, unique, sparse, filter?, state, entries,
    /// built?, reason? }] }`. `documents` and `entries` are exact; `built` is how many
    /// documents the build of an index has come to.
    pub(crate) fn list(&self, reply: ReplyWriter<'_>) -> Result<(), Refusal> {
        let catalog = self.catalogs.read();
        let mut rows = reply.rows(false);
        for (name, store) in &catalog.stores {
            let doc = self.describe(name, store)?;
            fits(&rows, &doc, &self.limits)?;
            rows.push(Key::MIN, &doc);
        }
        rows.finish(None);
        Ok(())
    }

    fn describe(&self, name: &str, store: &Store) -> Result<Vec<u8>, Refusal> {
        let mut built = Vec::new();
        if store.indexes.iter().any(|index| index.phase == Phase::Building) {
            let snapshot = self.lsm.snapshot()?;
            for index in &store.indexes {
                built.push(figure(progress(&snapshot, index)?.documents));
            }
        }
        let mut doc = DocBuf::new();
        doc.push("name", name).push("created_at", Value::DateTime(store.created_at));
        doc.push("documents", figure(store.documents_now(self)));
        if store.schema.is_some() {
            doc.push("schema", true);
        }
        if let Some(ttl) = &store.ttl {
            doc.doc("ttl", |doc| {
                doc.push("field", &ttl.field).push("seconds", ttl.seconds);
            });
        }
        if !store.indexes.is_empty() {
            doc.array("indexes", |list| {
                for (at, index) in store.indexes.iter().enumerate() {
                    list.item_doc(|doc| {
                        doc.push("name", &index.name);
                        index.definition.describe(doc);
                        doc.push("state", index.phase.name());
                        doc.push("entries", figure(index.entries_now(self)));
                        match &index.phase {
                            Phase::Building => {
                                doc.push("built", built[at]);
                            }
                            Phase::Failed(reason) => {
                                doc.push("reason", reason);
                            }
                            Phase::Ready => {}
                        }
                    });
                }
            });
        }
        doc.finish().map_err(|e| Refusal::new(Status::Internal, format!("{e}; please report this")))
    }
}

fn figure(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// Refuses a row too many for a reply.
pub(super) fn fits(rows: &RowsWriter<'_>, doc: &[u8], limits: &Limits) -> Result<(), Refusal> {
    if rows.bytes() + doc.len() <= limits.max_message_size {
        return Ok(());
    }
    let message = "the list does not fit a message: raise limits.max_message_size in db.yaml";
    Err(Refusal::new(Status::ResultTooLarge, message))
}
