//! DescribeStore: all there is to say of one store; and the row that List has of each.

use proto::doc::{DocBuf, Value};
use proto::{ReplyWriter, Status};

use crate::auth::Wanted;
use crate::catalog::{Store, unknown_wanted};
use crate::index::{Phase, progress};
use crate::options::MESSAGE_OVERHEAD;
use crate::{Engine, Refusal};

impl Engine {
    /// Answers with a document as the row of List, but with the text of the schema in
    /// `schema`, as it was set.
    pub(crate) fn describe_store(
        &self,
        store: Wanted<'_>,
        reply: ReplyWriter<'_>,
    ) -> Result<(), Refusal> {
        let catalog = self.catalogs.read();
        let found = catalog.stores.get(store.name);
        store.check(found.map(|store| store.keyspace))?;
        let found = found.ok_or_else(|| unknown_wanted(store, &catalog))?;
        let doc = self.describe(store.name, found, true)?;
        if doc.len() + MESSAGE_OVERHEAD > self.limits.max_message_size {
            let message = "the store with its schema does not fit a message: raise \
                           limits.max_message_size in db.yaml";
            return Err(Refusal::new(Status::ResultTooLarge, message));
        }
        reply.document(&doc);
        Ok(())
    }

    /// A store; `whole`: with the text of its schema.
    pub(super) fn describe(
        &self,
        name: &str,
        store: &Store,
        whole: bool,
    ) -> Result<Vec<u8>, Refusal> {
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
        match &store.schema {
            Some(schema) if whole => {
                doc.push("schema", &schema.text);
            }
            Some(_) => {
                doc.push("schema", true);
            }
            None => {}
        }
        if let Some(ttl) = &store.ttl {
            doc.doc("ttl", |doc| {
                doc.push("field", &ttl.field).push("seconds", ttl.seconds);
            });
        }
        if store.before_images {
            doc.push("before_images", true);
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
