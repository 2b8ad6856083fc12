//! Delete: no document under a key any more.

use proto::Key;

use super::not_found;
use crate::patience::Patience;
use crate::{Engine, Refusal};

impl Engine {
    /// Removes the document under `key`, which must be there.
    pub(crate) fn delete(&self, store: &str, key: Key, patience: &Patience) -> Result<(), Refusal> {
        self.change(store, patience, |change| {
            let old = change.get(key)?.ok_or_else(|| not_found(key))?;
            change.remove(key, &old);
            Ok(())
        })
    }
}
