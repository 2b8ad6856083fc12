//! The JIT backend: production.
//!
//! What must stay true:
//! * Any loop ends by fuel or by deadline. Compiled code pays for each block as it
//!   enters it, and when its slice of fuel is used up it calls the host, which
//!   looks at the clock and grants another (`meter`). No thread watches, no
//!   signal is sent.
//! * One engine per compiled module, dropped with it: an engine keeps all it has
//!   ever compiled.
//! * Machine code is loaded from disk only through `cache`, and only if it is
//!   byte for byte what this program wrote for this module, version and processor.
//! * Everything else is glue: the checks are runtime-api's.

mod cache;
mod guest;
mod link;
mod meter;
mod trust;

use std::fmt;
use std::sync::Arc;

use platform::{Clock, Disk};
use runtime_api::abi::Import;
use runtime_api::{CompileError, Facts, Host, Instance, Limits, Module, Runtime, Trap, inspect};
use wasmer::sys::{CompilerConfig, Cranelift, CraneliftOptLevel, EngineBuilder, Features};

use cache::Cache;
use meter::Meter;

/// Fuel between two looks at the clock: a fraction of a millisecond of compiled code.
const SLICE: u64 = 250_000;

/// Part of the cache's key: change it with anything here or in [`meter`] that
/// changes the code made from the same module.
const SETTINGS: &str = "cranelift speed nan-canonical meter-2";

/// Compiles to machine code.
pub struct WasmerRuntime {
    clock: Arc<dyn Clock>,
    cache: Option<Cache>,
}

impl WasmerRuntime {
    /// A runtime that measures deadlines on `clock` and compiles every time.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, cache: None }
    }

    /// Keeps compiled modules in `dir` of `disk`, which must be writable by this
    /// user only: what lies there is executed. A cache that cannot be read or
    /// written costs time, never a failure.
    #[must_use]
    pub fn with_cache(self, disk: Arc<dyn Disk>, dir: &str) -> Self {
        Self { cache: Some(Cache::new(disk, dir)), ..self }
    }

    /// How often the cache gave a module, had none, or had one that was refused.
    pub fn cache_stats(&self) -> CacheStats {
        self.cache.as_ref().map(Cache::stats).unwrap_or_default()
    }
}

pub use cache::CacheStats;

impl Runtime for WasmerRuntime {
    fn name(&self) -> &'static str {
        "wasmer"
    }

    fn compile(&self, wasm: &[u8]) -> Result<Arc<dyn Module>, CompileError> {
        let facts = inspect(wasm)?;
        let failed = |message: String| CompileError::Backend { runtime: "wasmer", message };
        let (meter, metered) = Meter::install(&facts.wasm)
            .ok_or_else(|| failed("its sections cannot be extended".to_owned()))?;
        let engine = engine(meter);
        let key = self.cache.as_ref().map(|_| cache::key(&metered, SETTINGS));
        let cached =
            self.cache.as_ref().zip(key).and_then(|(cache, key)| cache.load(&key, &engine));
        let module = match cached {
            Some(module) => module,
            None => {
                let module = wasmer::Module::new(&engine, &metered)
                    .map_err(|error| failed(error.to_string()))?;
                if let Some((cache, key)) = self.cache.as_ref().zip(key)
                    && let Ok(code) = module.serialize()
                {
                    cache.store(&key, &code);
                }
                module
            }
        };
        Ok(Arc::new(WasmerModule { engine, module, facts, clock: Arc::clone(&self.clock) }))
    }
}

/// An engine for one module.
fn engine(meter: Meter) -> wasmer::Engine {
    let mut compiler = Cranelift::new();
    compiler.canonicalize_nans(true);
    compiler.opt_level(CraneliftOptLevel::Speed);
    compiler.push_middleware(Arc::new(meter));
    // As wide as `inspect` allows; it stands in front.
    let mut features = Features::none();
    features
        .bulk_memory(true)
        .reference_types(true)
        .multi_value(true)
        .simd(true)
        .extended_const(true);
    EngineBuilder::new(compiler).set_features(Some(features)).into()
}

struct WasmerModule {
    engine: wasmer::Engine,
    module: wasmer::Module,
    facts: Facts,
    clock: Arc<dyn Clock>,
}

impl fmt::Debug for WasmerModule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WasmerModule").field("exports", &self.facts.exports).finish_non_exhaustive()
    }
}

impl Module for WasmerModule {
    fn instantiate(&self, host: Arc<dyn Host>, limits: &Limits) -> Result<Box<dyn Instance>, Trap> {
        self.facts.fits(limits)?;
        guest::start(&self.engine, &self.module, &self.facts, host, Arc::clone(&self.clock), limits)
    }

    fn writes(&self) -> bool {
        self.facts.uses(Import::Write)
    }
}
