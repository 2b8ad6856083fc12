//! The guest's module, changed on request: who asks, and what they are told.
//!
//! What must stay true: the engine knows nothing of modules: whoever runs the guest
//! reads, tries and changes them ([`Modules`]). Which file that is, is the operator's setting,
//! never the caller's.

use std::sync::Arc;

use proto::doc::DocBuf;
use proto::{Opcode, Status};

use crate::audit::Deed;
use crate::{Engine, Principal, Refusal};

/// The guest of the service that an engine is in.
pub trait Modules: Send + Sync {
    /// Reads the module again and has it serve; takes as long as that takes.
    ///
    /// # Errors
    /// It cannot be used: the one before serves on.
    fn reload(&self) -> Result<Reloaded, Refusal>;
}

/// What a reload came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reloaded {
    /// SHA-256 of the module that serves now, in hexadecimal.
    pub module: String,
    /// That of the one before; the same: nothing was to be done.
    pub before: String,
    /// How long it took.
    pub took_micros: u64,
}

impl Reloaded {
    /// Whether another module serves now.
    pub fn changed(&self) -> bool {
        self.module != self.before
    }
}

impl Engine {
    /// Says who changes the guest's module when an admin asks for it. Once: a second call
    /// changes nothing.
    pub fn reloads(&self, modules: Arc<dyn Modules>) {
        // The first one stays.
        drop(self.modules.set(modules));
    }

    /// Has the guest's module read again; tells of it as a document.
    ///
    /// # Errors
    /// There is no guest; the audit log cannot be written; the module cannot be used.
    pub(crate) fn reload_module(
        &self,
        deed: &Deed<'_>,
        who: &Principal,
    ) -> Result<Vec<u8>, Refusal> {
        let Some(modules) = self.modules.get() else {
            let message = "this service has no guest whose module could be read: set wasm.enabled \
                           in service.yaml and start it again";
            return Err(Refusal::new(Status::NotSetUp, message));
        };
        deed.begin()?;
        self.still_may(who, Opcode::ReloadModule)?;
        let reloaded = modules.reload()?;
        deed.tell("module", reloaded.module.as_str());
        deed.tell("changed", reloaded.changed());
        let mut doc = DocBuf::new();
        doc.push("module", reloaded.module.as_str()).push("before", reloaded.before.as_str());
        doc.push("changed", reloaded.changed());
        doc.push("took_us", i64::try_from(reloaded.took_micros).unwrap_or(i64::MAX));
        Ok(crate::ops::finished(doc))
    }
}
