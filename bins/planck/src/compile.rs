//! The module of the guest: read, compiled, and at the start compiled while the data is
//! opened.
//!
//! What must stay true: nothing of a guest runs here.

use crate::config::{Config, Service};
use crate::guest;
use crate::service::Stop;
use runtime_api::{Module, Runtime, abi};
use sha2::{Digest, Sha256};
use std::fmt::Write;
use std::io::Read;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Instant;

/// The module that serves first, while it is compiled: on a thread of its own, beside the
/// opening of the data.
pub struct Ahead(JoinHandle<Result<Compiled, Stop>>);

/// A module in its file, compiled.
pub struct Compiled {
    /// Where it came from.
    pub source: Source,
    /// Its code.
    pub module: Arc<dyn Module>,
    /// SHA-256 of the file.
    pub hash: String,
}

impl Ahead {
    /// Begins. What is wrong with the module is told by [`Ahead::join`].
    ///
    /// # Errors
    /// The thread cannot be had.
    pub fn begin(config: &Config, service: &Service) -> Result<Ahead, Stop> {
        let path = config.module(service);
        let runtime = guest::runtime(config, service);
        let compile = move || {
            let source = Source { path, runtime: runtime? };
            let (module, hash) = source.read()?;
            let module = source.compile(&module)?;
            Ok(Compiled { source, module, hash })
        };
        let thread = std::thread::Builder::new().name("planck-compile".to_owned()).spawn(compile);
        let thread = thread.map_err(|e| Stop::io(format!("a thread cannot be started: {e}")))?;
        Ok(Ahead(thread))
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// The module cannot be used.
    pub fn join(self) -> Result<Compiled, Stop> {
        let joined = self.0.join();
        joined.unwrap_or_else(|_| Err(Stop::io("compiling the guest failed; please report this")))
    }
}

/// Where modules come from, and what makes code of them.
pub struct Source {
    path: PathBuf,
    runtime: Box<dyn Runtime>,
}

impl Source {
    /// The module in its file, and its hash.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn read(&self) -> Result<(Vec<u8>, String), Stop> {
        let mut module = Vec::new();
        // A byte more than there may be: what is larger is refused by its size.
        let most = abi::MAX_MODULE_BYTES as u64 + 1;
        std::fs::File::open(&self.path)
            .and_then(|file| file.take(most).read_to_end(&mut module))
            .map_err(|e| {
            self.fault(format!(
                "the guest's module cannot be read: {e}; put it there, set wasm.module, or set \
                     wasm.enabled: false for a service without one"
            ))
        })?;
        let mut hash = String::with_capacity(64);
        for byte in Sha256::digest(&module) {
            write!(hash, "{byte:02x}").expect("a string takes all");
        }
        Ok((module, hash))
    }

    /// Its code.
    ///
    /// # Errors
    /// It is none for this ABI.
    pub fn compile(&self, module: &[u8]) -> Result<Arc<dyn Module>, Stop> {
        let begun = Instant::now();
        let compiled = self.runtime.compile(module).map_err(|e| self.fault(e))?;
        let module = self.path.display();
        tracing::info!(%module, took = ?begun.elapsed(), "the guest is compiled");
        Ok(compiled)
    }

    /// Says of which module something is told.
    pub fn fault(&self, what: impl std::fmt::Display) -> Stop {
        Stop::config(format!("{}: {what}", self.path.display()))
    }
}
