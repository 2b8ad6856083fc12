//! Insert: one document more.

use proto::Key;

use super::key_exists;
use crate::auth::Wanted;
use crate::patience::Patience;
use crate::{Engine, Refusal, document};

impl Engine {
    /// Adds a document under `key`, or under one made for it; returns the key.
    pub(crate) fn insert(
        &self,
        store: Wanted<'_>,
        key: Option<Key>,
        document: &[u8],
        patience: &Patience,
    ) -> Result<Key, Refusal> {
        document::check(document, &self.limits)?;
        let mut random = self.keys.random();
        self.change(store, patience, |change| {
            let key = match key {
                Some(key) if change.contains(key)? => return Err(key_exists(key)),
                Some(key) => key,
                None => loop {
                    let key = self.keys.make(random);
                    if change.is_free(key)? {
                        break key;
                    }
                    // Someone gave this very key, or made it in an earlier run.
                    random = self.keys.random();
                },
            };
            change.insert(key, document);
            Ok(key)
        })
    }
}
