//! Documents that expire: removed some time after the date in a field.
//!
//! What must stay true: they go the way of every write, indexes and all, a bounded
//! number at a time; under the commit lock each is looked at again, so that one that was
//! given a later date meanwhile stays. A document without a date in the field never
//! expires; one with several (an array) by the earliest.

use std::ops::{Bound, ControlFlow};

use proto::Key;
use proto::doc::{Arrays, Doc, Value};

use crate::catalog::{TTL_INDEX, Ttl};
use crate::index::{Bounds, Scan};
use crate::{Engine, Refusal};

/// Documents removed in one step.
const PIECE: usize = 64;

impl Engine {
    /// Removes some documents that have expired; how many.
    pub(crate) fn expire_piece(&self) -> Result<u64, Refusal> {
        let catalog = self.catalogs.read();
        for (name, store) in &catalog.stores {
            let Some(ttl) = &store.ttl else { continue };
            let until = cutoff(ttl, self.now_millis());
            let keys = match self.expired(name, until) {
                Ok(keys) => keys,
                // Dropped, or renamed: the next call sees the catalog as it is.
                Err(gone) if gone.status == proto::Status::UnknownStore => continue,
                Err(refusal) => return Err(refusal),
            };
            if keys.is_empty() {
                continue;
            }
            let removed = self.change(name, |change| {
                let mut removed = 0;
                for key in keys {
                    let Some(old) = change.get(key)? else { continue };
                    if has_expired(Doc::trusted(&old), &ttl.field, until) {
                        change.remove(key, &old);
                        removed += 1;
                    }
                }
                Ok(removed)
            });
            match removed {
                Ok(0) => {}
                Ok(removed) => return Ok(removed),
                Err(gone) if gone.status == proto::Status::UnknownStore => {}
                Err(refusal) => return Err(refusal),
            }
        }
        Ok(0)
    }

    /// Some of the documents with a date up to `until`, each once.
    fn expired(&self, store: &str, until: i64) -> Result<Vec<Key>, Refusal> {
        let view = self.view(store)?;
        let Some(index) = view.store.index(TTL_INDEX).filter(|index| index.is_ready()) else {
            return Ok(Vec::new());
        };
        let low = index.prefix(&[Some(Value::DateTime(i64::MIN))]).bytes;
        let high = index.prefix(&[Some(Value::DateTime(until))]).bytes;
        let bounds = Bounds { low: Bound::Included(low), high: Bounds::behind(&high) };
        let mut scan = Scan::open(&view.snapshot, index, &bounds, false)?;
        let mut keys = Vec::new();
        while keys.len() < PIECE && scan.advance()? {
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
