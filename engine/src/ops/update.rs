//! Update: another document under a key.

use proto::Key;

use super::not_found;
use crate::patience::Patience;
use crate::{Engine, Refusal, document};

impl Engine {
    /// Replaces the document under `key`; with `upsert` it need not be there.
    pub(crate) fn update(
        &self,
        store: &str,
        key: Key,
        document: &[u8],
        upsert: bool,
        patience: &Patience,
    ) -> Result<(), Refusal> {
        document::check(document, &self.limits)?;
        self.change(store, patience, |change| {
            if upsert {
                change.put(key, document);
                return Ok(());
            }
            let old = change.get(key)?.ok_or_else(|| not_found(key))?;
            change.replace(key, &old, document);
            Ok(())
        })
    }
}
