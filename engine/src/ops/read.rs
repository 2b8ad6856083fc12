//! Read, ReadVersion: the document under a key, and its version.

use proto::packet::HEADER_BYTES;
use proto::{Key, ReplyWriter};

use super::page::{Page, too_large};
use super::{not_found, versioned};
use crate::auth::Wanted;
use crate::{Engine, Refusal};

/// What comes before the document in the body of the reply of a ReadVersion.
const VERSIONED_BYTES: usize = 9;

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

    /// As [`Engine::read`], with the document's version: the commit that wrote it; 0, if
    /// that is the transaction that it is read in.
    pub(crate) fn read_version(
        &self,
        store: Wanted<'_>,
        key: Key,
        reply: ReplyWriter<'_>,
    ) -> Result<(), Refusal> {
        let view = self.view(store)?;
        let found = versioned(&view.snapshot, view.keyspace, key)?;
        let (document, version) = found.ok_or_else(|| not_found(key))?;
        let room = self.limits.max_message_size;
        if HEADER_BYTES + VERSIONED_BYTES + document.len() > room {
            return Err(too_large(key, document.len(), room));
        }
        reply.versioned(version, &document);
        Ok(())
    }
}
