//! The operations, one to a file, and what they share: where a read looks, and
//! how a write happens (`change.rs`).
//!
//! What must stay true: a read sees one snapshot; as part of a transaction that one's view
//! (`transaction/mod.rs`). A write looks at the latest
//! state and commits under one lock, so that nothing changes between its look
//! and its commit; what takes long to find is found before, and looked at again
//! under the lock (`mutate.rs`, `expire.rs`). Who waits for a lock, or for the audit log,
//! is asked about once more behind it.

mod apply;
mod batch_insert;
mod change;
mod delete;
mod describe;
mod expire;
mod format;
mod indexes;
mod insert;
mod jobs;
mod keys;
mod list;
mod mutate;
mod page;
mod position;
mod query;
mod range;
mod read;
mod running;
mod scan;
mod sequences;
mod stats;
mod stores;
mod transactions;
mod update;
mod users;
mod verify;
mod watch;

use std::sync::Arc;

use lsm::{KeyspaceId, Lsn, Snapshot};
use platform::advice::RESTORE;
use proto::doc::DocBuf;
use proto::status::Class;
use proto::{Key, Opcode, Status};

use crate::audit::Deed;
use crate::auth::{Action, Wanted};
use crate::catalog::{Draft, Store};
use crate::patience::Patience;
use crate::transaction::Within;
use crate::{Engine, Principal, Refusal};
pub(crate) use change::Change;
pub(crate) use indexes::Tended;
pub(crate) use transactions::{committed, may_be_within};
pub use verify::IndexReport;
pub use watch::Waits;

/// What a read sees: one store of one snapshot.
pub(crate) struct View {
    pub(crate) snapshot: Snapshot,
    pub(crate) keyspace: KeyspaceId,
    /// The store as the snapshot has it: its indexes.
    pub(crate) store: Arc<Store>,
}

impl Engine {
    pub(crate) fn view(&self, store: Wanted<'_>) -> Result<View, Refusal> {
        if let Some(within) = store.within() {
            let store = within.store(self, store)?;
            return Ok(View { snapshot: within.view(), keyspace: store.keyspace, store });
        }
        // In this order: `Catalogs::resolve` rests on it.
        let catalog = self.catalogs.read();
        let snapshot = self.lsm.snapshot()?;
        let store = self.catalogs.resolve(&catalog, &snapshot, store)?;
        Ok(View { snapshot, keyspace: store.keyspace, store })
    }

    /// Commits what `f` puts into the change, or nothing if it fails, or if the answer is
    /// not wanted any more when the commit lock is had. As part of a transaction it waits
    /// for that one's commit.
    pub(crate) fn change<T>(
        &self,
        store: Wanted<'_>,
        patience: &Patience,
        f: impl FnOnce(&mut Change<'_>) -> Result<T, Refusal>,
    ) -> Result<T, Refusal> {
        if let Some(within) = store.within() {
            return self.change_within(within, store, patience, f);
        }
        let catalog = self.catalogs.read();
        let committed = self.lsm.commit_with(|latest| {
            patience.check(&*self.clock)?;
            let (wanted, store) = (store, self.catalogs.resolve(&catalog, latest, store)?);
            // Who took a right away was told that it is gone: nothing is written by it
            // from then on, however long the change has waited for the lock.
            wanted.stands(&self.catalogs.read(), &*self.clock, store.keyspace)?;
            let mut change = Change::new(latest, store);
            let out = f(&mut change)?;
            Ok::<_, Refusal>((change.finish()?, out))
        });
        match committed {
            Ok((_, out)) => {
                self.jobs.touched(store.name);
                Ok(out)
            }
            Err(refusal) => Err(self.unless_poisoned(refusal)),
        }
    }

    fn change_within<T>(
        &self,
        within: &Within,
        wanted: Wanted<'_>,
        patience: &Patience,
        f: impl FnOnce(&mut Change<'_>) -> Result<T, Refusal>,
    ) -> Result<T, Refusal> {
        patience.check(&*self.clock)?;
        within.check_writes()?;
        let store = within.store(self, wanted)?;
        let keyspace = store.keyspace;
        wanted.stands(&self.catalogs.read(), &*self.clock, keyspace)?;
        let view = within.view();
        let mut change = Change::new(&view, store);
        let out = f(&mut change)?;
        within.write(self, &[(wanted.name, keyspace)], &change.finish()?)?;
        Ok(out)
    }

    /// Changes the catalog as somebody asked by that operation. They are asked about once
    /// more when it is their turn: who took a right away was told that it is gone.
    pub(crate) fn change_catalog<T>(
        &self,
        deed: &Deed<'_>,
        who: &Principal,
        by: Opcode,
        f: impl FnOnce(&mut Draft) -> Result<T, Refusal>,
    ) -> Result<T, Refusal> {
        self.catalogs.change(&self.lsm, deed, |draft| {
            who.as_of(&draft.catalog, &*self.clock)?.check(Action::of(by), by.name())?;
            f(draft)
        })
    }

    /// Makes the storage flush, as somebody asked.
    pub(crate) fn flush_for(&self, deed: &Deed<'_>, who: &Principal) -> Result<(), Refusal> {
        deed.begin()?;
        self.still_may(who, Opcode::Flush)?;
        self.flush()?;
        Ok(())
    }

    /// Once a sync has failed, the latest state holds a commit that nobody was
    /// told of: what it says of keys that exist is not to be repeated.
    pub(crate) fn unless_poisoned(&self, refusal: Refusal) -> Refusal {
        match self.lsm.poisoned() {
            Some(why) if refusal.status.class() != Class::Failed => {
                Refusal::new(Status::ReadOnly, why)
            }
            _ => refusal,
        }
    }
}

/// The bytes of a document of ours.
pub(crate) fn finished(doc: DocBuf) -> Vec<u8> {
    doc.finish().expect("field names are constants without NUL, each given once")
}

fn not_found(key: Key) -> Refusal {
    Refusal::new(
        Status::NotFound,
        format!("there is no document under key {key}: check the key, or insert it"),
    )
}

/// A document and its version; 0: the transaction that is looked from has written it.
fn versioned(
    snapshot: &Snapshot,
    keyspace: KeyspaceId,
    key: Key,
) -> Result<Option<(lsm::Value, Lsn)>, Refusal> {
    let found = snapshot.get_versioned(keyspace, &key.to_bytes())?;
    if found.as_ref().is_some_and(|(_, version)| *version == 0) && !snapshot.is_of_transaction() {
        let message = format!("document {key} is stored without its version; {RESTORE}");
        return Err(Refusal::new(Status::Corrupt, message));
    }
    Ok(found)
}

fn key_exists(key: Key) -> Refusal {
    let message = format!(
        "there is a document under key {key} already: update it, or insert under another key, or \
         under none to get a new one"
    );
    Refusal::new(Status::KeyExists, message)
}
