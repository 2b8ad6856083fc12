//! CreateStore and DropStore.

use proto::Opcode;

use crate::audit::Deed;
use crate::{Engine, Principal, Refusal};

impl Engine {
    /// Makes a store; with `if_not_exists` it may be there.
    pub(crate) fn create_store(
        &self,
        deed: &Deed<'_>,
        who: &Principal,
        store: &str,
        if_not_exists: bool,
    ) -> Result<(), Refusal> {
        let now = self.now_millis();
        self.change_catalog(deed, who, Opcode::CreateStore, |draft| {
            draft.create_store(store, if_not_exists, now)
        })?;
        Ok(())
    }

    /// Removes a store and its documents in one commit, and what anybody was granted in
    /// it; with `if_exists` it need not be there.
    pub(crate) fn drop_store(
        &self,
        deed: &Deed<'_>,
        who: &Principal,
        store: &str,
        if_exists: bool,
    ) -> Result<(), Refusal> {
        self.change_catalog(deed, who, Opcode::DropStore, |draft| {
            draft.drop_store(store, if_exists)
        })?;
        Ok(())
    }
}
