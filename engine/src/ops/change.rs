//! A write being made: the latest state of a store, and what will change there.
//!
//! What must stay true: this is the one place that writes documents, so that nothing
//! passes the indexes by: each document is written with what it changes in them, in one
//! batch, against the state it is written to; nothing passes the store's schema by; and
//! what was there goes along where the store keeps it (in a transaction it then counts as
//! read). A document is written once in a change. What is wrong with one is kept, and told before anything is committed.

use std::sync::Arc;

use lsm::{Batch, KeyspaceId, Lsn, Snapshot};
use proto::Key;
use proto::doc::Doc;

use crate::Refusal;
use crate::catalog::Store;
use crate::index::{Index, Kept};

/// See the module.
pub(crate) struct Change<'a> {
    pub(super) latest: &'a Snapshot,
    pub(super) keyspace: KeyspaceId,
    store: Arc<Store>,
    batch: Batch,
    kept: Kept,
    fault: Option<Refusal>,
    #[cfg(debug_assertions)]
    written: std::collections::BTreeSet<Key>,
}

/// What is known of the document before.
#[derive(Clone, Copy)]
enum Before<'d> {
    /// Nothing.
    Unknown,
    /// There was none.
    None,
    /// It was this.
    Was(&'d [u8]),
}

impl<'a> Change<'a> {
    pub(super) fn new(latest: &'a Snapshot, store: Arc<Store>) -> Self {
        Change {
            latest,
            keyspace: store.keyspace,
            store,
            batch: Batch::new(),
            kept: Kept::default(),
            fault: None,
            #[cfg(debug_assertions)]
            written: std::collections::BTreeSet::new(),
        }
    }

    pub(crate) fn get(&self, key: Key) -> Result<Option<lsm::Value>, Refusal> {
        Ok(self.latest.get(self.keyspace, &key.to_bytes())?)
    }

    /// As [`Change::get`], with its version: see [`super::versioned`].
    pub(super) fn get_versioned(&self, key: Key) -> Result<Option<(lsm::Value, Lsn)>, Refusal> {
        super::versioned(self.latest, self.keyspace, key)
    }

    /// The store in the state that is written to.
    pub(super) fn store(&self) -> &Store {
        &self.store
    }

    /// The indexes of the store in the state that is written to.
    pub(super) fn indexes(&self) -> &[Arc<Index>] {
        &self.store.indexes
    }

    /// Whether there is a document under `key`. Cheaper than to get it.
    pub(crate) fn contains(&self, key: Key) -> Result<bool, Refusal> {
        Ok(self.latest.contains(self.keyspace, &key.to_bytes())?)
    }

    /// Whether no document is under `key`, which is about to be inserted. That it was asked
    /// is forgotten: what a transaction inserts counts as read anyway.
    pub(super) fn is_free(&self, key: Key) -> Result<bool, Refusal> {
        Ok(!self.latest.glance(self.keyspace, &key.to_bytes())?)
    }

    /// Writes a document, whatever is under `key`.
    pub(crate) fn put(&mut self, key: Key, document: &[u8]) {
        self.note(key, Before::Unknown, Some(document));
    }

    /// Writes a document under `key`, under which there is none.
    pub(super) fn insert(&mut self, key: Key, document: &[u8]) {
        self.note(key, Before::None, Some(document));
    }

    /// Writes a document in the place of `old`, which is under `key`.
    pub(crate) fn replace(&mut self, key: Key, old: &[u8], document: &[u8]) {
        self.note(key, Before::Was(old), Some(document));
    }

    /// Removes whatever is under `key`.
    pub(super) fn delete(&mut self, key: Key) {
        self.note(key, Before::Unknown, None);
    }

    /// Removes `old`, which is under `key`.
    pub(crate) fn remove(&mut self, key: Key, old: &[u8]) {
        self.note(key, Before::Was(old), None);
    }

    /// The batch, if nothing is wrong with it.
    pub(super) fn finish(self) -> Result<Batch, Refusal> {
        if let Some(fault) = self.fault {
            return Err(fault);
        }
        self.kept.check(&self.store, self.latest)?;
        Ok(self.batch)
    }

    fn note(&mut self, key: Key, before: Before<'_>, document: Option<&[u8]>) {
        #[cfg(debug_assertions)]
        assert!(self.written.insert(key), "document {key} is written twice in one change");
        if self.fault.is_none()
            && let Err(fault) = self.write(key, before, document)
        {
            self.fault = Some(fault);
        }
    }

    fn write(&mut self, key: Key, before: Before<'_>, new: Option<&[u8]>) -> Result<(), Refusal> {
        if let (Some(schema), Some(new)) = (&self.store.schema, new) {
            schema.check(key, Doc::trusted(new))?;
        }
        let bytes = key.to_bytes();
        let (indexed, images) = (self.store.is_indexed(), self.store.before_images);
        let read;
        let (was, old) = match before {
            Before::None => (false, None),
            Before::Was(old) => (true, Some(old)),
            Before::Unknown if indexed || images => {
                read = self.latest.get(self.keyspace, &bytes)?;
                (read.is_some(), read.as_deref())
            }
            // Nothing rests on what is there but a count, which the commit sees to.
            Before::Unknown if new.is_some() && self.latest.is_of_transaction() => {
                self.batch.unread(self.keyspace, &bytes);
                (self.latest.glance(self.keyspace, &bytes)?, None)
            }
            Before::Unknown => (self.latest.contains(self.keyspace, &bytes)?, None),
        };
        if indexed {
            self.kept.write(&self.store, self.latest, &mut self.batch, key, old, new)?;
        }
        if let (true, true, Some(old)) = (images, was, old) {
            self.batch.before(self.keyspace, &bytes, old);
        }
        match (was, new) {
            (was, Some(new)) => self.batch.put_versioned(self.keyspace, &bytes, new, !was),
            (true, None) => self.batch.delete_present(self.keyspace, &bytes),
            (false, None) => {}
        }
        Ok(())
    }
}
