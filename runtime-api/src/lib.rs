//! What a WASM runtime must do for Planck: traits, guest ABI, limits, pool, conformance suite.
//!
//! What must stay true:
//! * A backend knows nothing of Planck: it compiles a module that [`inspect`]
//!   has vetted, calls exports, and shows memory through [`GuestMemory`]. Every
//!   check of a pointer, a length, a limit or a signature is in this crate, once.
//! * A guest cannot hold a thread for ever: whatever it does ends by fuel or by
//!   deadline, whichever comes first ([`HostState::grant`]).
//! * A violation or a trap costs one instance and nothing else.
//!
//! The ABI for guest authors is `docs/abi.md`; [`abi`] is the same in code.
//!
//! ```text
//!  bins ──▶ Pool ──▶ Instance (AbiInstance over a backend's Guest) ──▶ guest
//!                                      ▲                                │ imports
//!                                      └── HostState ◀── backend glue ◀─┘
//!                                             └──▶ Host (engine, through bins)
//! ```

pub mod abi;
#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
pub mod edit;
mod error;
mod guest;
mod host;
mod inspect;
mod limits;
mod memory;
mod outlet;
pub mod pool;
mod state;
pub mod wasi;

use std::sync::Arc;

pub use error::{CompileError, Trap, TrapKind};
pub use guest::{AbiInstance, Guest};
pub use host::{CallKind, Host, LogLevel, ServiceBody, Verdict};
pub use inspect::{Facts, inspect};
pub use limits::Limits;
pub use memory::GuestMemory;
pub use outlet::{Outlet, PIECE_BYTES, Unwritten};
pub use pool::{Pool, PoolOptions};
pub use state::HostState;

/// A backend: turns WebAssembly bytes into modules.
pub trait Runtime: Send + Sync {
    /// The name `service.yaml` knows it by: `wasmer` or `wasmi`.
    fn name(&self) -> &'static str;

    /// Checks and compiles a module; runs none of its code.
    ///
    /// # Errors
    /// The bytes are no module this ABI can run: [`CompileError`] says why.
    fn compile(&self, wasm: &[u8]) -> Result<Arc<dyn Module>, CompileError>;
}

/// A compiled module; any number of instances can be made of it.
pub trait Module: Send + Sync + std::fmt::Debug {
    /// Makes an instance with memory of its own and runs, as one call under
    /// `limits`: the start section, `_initialize`, `planck_abi`, `init`.
    ///
    /// # Errors
    /// The trap that stopped it, as for a call.
    fn instantiate(&self, host: Arc<dyn Host>, limits: &Limits) -> Result<Box<dyn Instance>, Trap>;

    /// Whether it imports `host_write`, so that its responses may leave while it runs.
    fn writes(&self) -> bool {
        false
    }
}

/// A live instance. Not `Send`: it is made, used and dropped on one thread.
pub trait Instance {
    /// Hands `request` to the guest's `process`; its answer replaces what
    /// `response` held. On an error `response` is empty.
    ///
    /// # Errors
    /// The trap that ended the call. If [`TrapKind::kills`] the instance is dead:
    /// drop it, every later call is refused.
    fn process(&mut self, request: &[u8], response: &mut Vec<u8>) -> Result<CallReport, Trap>;

    /// As [`Instance::process`], with a place for what the guest gives to `host_write`. If it
    /// gave anything, `response` holds the last piece of the body and no head. This default
    /// is for modules that do not write.
    ///
    /// # Errors
    /// As for [`Instance::process`].
    fn process_to(
        &mut self,
        request: &[u8],
        response: &mut Vec<u8>,
        outlet: Arc<dyn Outlet>,
    ) -> Result<CallReport, Trap> {
        drop(outlet);
        self.process(request, response)
    }

    /// What the last call used, whether it succeeded or not.
    fn last_call(&self) -> CallReport;

    /// Bytes of linear memory it holds now.
    fn memory_bytes(&self) -> u64;
}

/// What one call used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CallReport {
    /// Units of metered work. Repeats exactly on wasmi; never compare it between backends.
    pub fuel: u64,
    /// Time from first instruction to last, in nanoseconds of the runtime's clock.
    pub nanos: u64,
    /// Calls of imports.
    pub host_calls: u32,
    /// Bytes of linear memory when it ended.
    pub memory_bytes: u64,
}
