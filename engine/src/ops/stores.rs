//! CreateStore and DropStore.

use crate::audit::Deed;
use crate::{Engine, Refusal};

impl Engine {
    /// Makes a store; with `if_not_exists` it may be there.
    pub(crate) fn create_store(
        &self,
        deed: &Deed<'_>,
        store: &str,
        if_not_exists: bool,
    ) -> Result<(), Refusal> {
        let now = self.now_millis();
        self.catalogs
            .change(&self.lsm, deed, |draft| draft.create_store(store, if_not_exists, now))?;
        Ok(())
    }

    /// Removes a store and its documents in one commit, and what anybody was granted in
    /// it; with `if_exists` it need not be there.
    pub(crate) fn drop_store(
        &self,
        deed: &Deed<'_>,
        store: &str,
        if_exists: bool,
    ) -> Result<(), Refusal> {
        self.catalogs.change(&self.lsm, deed, |draft| draft.drop_store(store, if_exists))?;
        Ok(())
    }
}
