//! Documents that expire: removed some time after the date in a field.
//!
//! What must stay true: they go the way of every write, indexes and all, a bounded
//! number at a time; under the commit lock each is looked at again, so that one that was
//! given a later date meanwhile stays; and so is the rule itself: nothing is removed by
//! one that was changed meanwhile. A document without a date in the field never
//! expires; one with several (an array) by the earliest.

use std::ops::Bound::{self, Unbounded};
use std::ops::ControlFlow;

use proto::doc::{Arrays, Doc, Value};
use proto::{Key, Status};

use crate::catalog::{Store, TTL_INDEX, Ttl};
use crate::index::{Bounds, Scan};
use crate::patience::Patience;
use crate::{Engine, Refusal};

/// Documents removed in one step; fewer where they do not fit into one batch.
const PIECE: usize = 64;

impl Engine {
    /// Removes some documents of one store that have expired; how many. Stores take
    /// turns: `last` is the one that was served last. What ails one keeps no other from
    /// its turn; the first refusal is answered along with what was removed.
    pub(super) fn expire_piece(&self, last: &mut String) -> (u64, Result<(), Refusal>) {
        let catalog = self.catalogs.read();
        let after = catalog.stores.range::<str, _>((Bound::Excluded(last.as_str()), Unbounded));
        let before = catalog.stores.range::<str, _>((Unbounded, Bound::Included(last.as_str())));
        let mut ailing = Ok(());
        for (name, store) in after.chain(before) {
            match self.expire_of(name, store) {
                Ok(0) => {}
                Ok(removed) => {
                    last.clone_from(name);
                    return (removed, ailing);
                }
                // Dropped, or renamed: the next call sees the catalog as it is.
                Err(gone) if gone.status == Status::UnknownStore => {}
                Err(refusal) => ailing = ailing.and(Err(refusal)),
            }
        }
        (0, ailing)
    }

    /// Removes some documents that have expired, of a store as a catalog has it; none
    /// if the store is another by now, or its documents are to expire otherwise.
    fn expire_of(&self, name: &str, store: &Store) -> Result<u64, Refusal> {
        let Some(ttl) = &store.ttl else { return Ok(0) };
        let until = cutoff(ttl, self.now_millis());
        let mut most = PIECE;
        loop {
            match self.expire_some(name, store, ttl, until, most) {
                Err(large) if large.status == Status::BatchTooLarge && most > 1 => most /= 2,
                removed => return removed,
            }
        }
    }

    /// So many documents at most.
    fn expire_some(
        &self,
        name: &str,
        store: &Store,
        ttl: &Ttl,
        until: i64,
        most: usize,
    ) -> Result<u64, Refusal> {
        let keys = self.expired(name, until, most)?;
        if keys.is_empty() {
            return Ok(0);
        }
        self.change(name, Patience::ENDLESS, |change| {
            let now = change.store();
            if (now.keyspace, now.ttl.as_ref()) != (store.keyspace, Some(ttl)) {
                return Ok(0);
            }
            let mut removed = 0;
            for key in keys {
                let Some(old) = change.get(key)? else { continue };
                if has_expired(Doc::trusted(&old), &ttl.field, until) {
                    change.remove(key, &old);
                    removed += 1;
                }
            }
            Ok(removed)
        })
    }

    /// Some of the documents with a date up to `until`, each once.
    fn expired(&self, store: &str, until: i64, most: usize) -> Result<Vec<Key>, Refusal> {
        let view = self.view(store)?;
        let Some(index) = view.store.index(TTL_INDEX).filter(|index| index.is_ready()) else {
            return Ok(Vec::new());
        };
        let low = index.prefix(&[Some(Value::DateTime(i64::MIN))]).bytes;
        let high = index.prefix(&[Some(Value::DateTime(until))]).bytes;
        let bounds = Bounds { low: Bound::Included(low), high: Bounds::behind(&high) };
        let mut scan = Scan::open(&view.snapshot, index, &bounds, false)?;
        let mut keys = Vec::new();
        while keys.len() < most && scan.advance()? {
            keys.push(scan.document()?);
        }
        keys.sort_unstable();
        keys.dedup();
        Ok(keys)
    }
}

/// Dates up to this one have expired.
fn cutoff(ttl: &Ttl, now_millis: i64) -> i64 {
    now_millis.saturating_sub(ttl.seconds.saturating_mul(1000))
}

fn has_expired(doc: Doc<'_>, field: &str, until: i64) -> bool {
    let end = doc.visit(field, Arrays::Both, &mut |value| match value {
        Value::DateTime(date) if date <= until => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    });
    end.is_break()
}

#[cfg(test)]
impl Engine {
    /// As [`Engine::expire_piece`] of one that read the catalog a while ago.
    pub(crate) fn expire_under(&self, catalog: &crate::catalog::Catalog, store: &str) -> u64 {
        self.expire_of(store, &catalog.stores[store]).unwrap()
    }
}
