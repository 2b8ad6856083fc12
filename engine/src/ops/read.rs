//! Read: the document under a key.

use proto::{Key, ReplyWriter};

use super::not_found;
use super::page::Page;
use crate::auth::Wanted;
use crate::{Engine, Refusal};

impl Engine {
    /// Answers with one row. The document is copied once, into the reply.
    pub(crate) fn read(
        &self,
        store: Wanted<'_>,
        key: Key,
        reply: ReplyWriter<'_>,
    ) -> Result<(), Refusal> {
        let view = self.view(store)?;
        let found = view.snapshot.get(view.keyspace, &key.to_bytes())?;
        let document = found.ok_or_else(|| not_found(key))?;
        let mut page = Page::new(reply, 1, &self.limits);
        page.push(key, &document)?;
        page.finish(false);
        Ok(())
    }
}
