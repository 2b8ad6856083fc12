//! BatchInsert: many documents more, all or none.

use std::collections::BTreeSet;
use std::ops::Bound;

use lsm::Direction;
use proto::request::Batch;
use proto::{Key, Status};

use super::{Change, key_exists};
use crate::auth::Wanted;
use crate::patience::Patience;
use crate::{Engine, Refusal, document};

/// Documents between two looks at whether the answer is still wanted.
const PIECE: usize = 64;

impl Engine {
    /// Adds the documents of a batch; returns their keys in its order.
    pub(crate) fn batch_insert(
        &self,
        store: Wanted<'_>,
        batch: Batch<'_>,
        patience: &Patience,
    ) -> Result<Vec<Key>, Refusal> {
        let limit = self.limits.max_batch_size;
        if batch.len() > limit {
            let message = format!(
                "the batch has {} documents, limits.max_batch_size is {limit}: send several batches",
                batch.len()
            );
            return Err(Refusal::new(Status::BatchTooLarge, message));
        }
        let mut given = BTreeSet::new();
        for (at, (key, document)) in batch.iter().enumerate() {
            if at % PIECE == 0 {
                patience.check(&*self.clock)?;
            }
            let place = |refusal: Refusal| at_document(at, refusal);
            document::check(document, &self.limits).map_err(place)?;
            if let Some(key) = key
                && !given.insert(key)
            {
                let message = format!("key {key} is given twice in the batch: give it once");
                return Err(place(Refusal::new(Status::KeyExists, message)));
            }
        }
        let mut randoms = self.keys.randoms(batch.len() - given.len()).into_iter();
        self.change(store, patience, |change| {
            let mut fresh = Fresh::default();
            let mut keys = Vec::with_capacity(batch.len());
            for (at, (key, document)) in batch.iter().enumerate() {
                if at % PIECE == 0 {
                    patience.check(&*self.clock)?;
                }
                let key = match key {
                    Some(key) if change.contains(key)? => {
                        return Err(at_document(at, key_exists(key)));
                    }
                    Some(key) => key,
                    None => loop {
                        let random = randoms.next().unwrap_or_else(|| self.keys.random());
                        let key = self.keys.make(random);
                        if !given.contains(&key) && fresh.is_free(change, key)? {
                            break key;
                        }
                    },
                };
                change.insert(key, document);
                keys.push(key);
            }
            Ok(keys)
        })
    }
}

/// Whether made keys are free. They rise, so if nothing lies behind the first,
/// nothing lies under any: one look instead of one for each.
#[derive(Default)]
struct Fresh {
    none_behind: Option<bool>,
}

impl Fresh {
    fn is_free(&mut self, change: &Change<'_>, key: Key) -> Result<bool, Refusal> {
        let none_behind = match self.none_behind {
            Some(known) => known,
            // For a transaction that would be to read all that others may add.
            None if change.latest.is_of_transaction() => false,
            None => {
                let from = key.to_bytes();
                let from = Bound::Included(&from[..]);
                let mut behind = change.latest.range(
                    change.keyspace,
                    from,
                    Bound::Unbounded,
                    Direction::Forward,
                )?;
                *self.none_behind.insert(!behind.advance()?)
            }
        };
        Ok(none_behind || change.is_free(key)?)
    }
}

fn at_document(at: usize, refusal: Refusal) -> Refusal {
    let message = format!("document {} of the batch: {}", at + 1, refusal.message);
    Refusal { message, ..refusal }
}
