//! The one unsafe call of this crate: loading machine code.
#![allow(unsafe_code)]

use wasmer::{DeserializeError, Engine, Module};

use crate::cache::Vouched;

/// Loads code that was made by `Module::serialize`.
///
/// # Errors
/// wasmer's own header in the bytes does not fit this build or processor.
pub(crate) fn load(engine: &Engine, code: &Vouched<'_>) -> Result<Module, DeserializeError> {
    // SAFETY: `Module::deserialize` asks that the bytes be an artifact made by
    // `Module::serialize` and nothing else, since they will be run. They are:
    //
    // * `Vouched` is made in one place, `cache::check`, after the header's key and
    //   the BLAKE3 hash over every byte of the code have been compared; the hash is
    //   keyed by the cache key, so a file copied or renamed from another module,
    //   wasmer version, setting or processor fails, and so does any changed,
    //   missing or added byte. What passes is what `cache::store` was given.
    // * `cache::store` is given only what `Module::serialize` returned in this
    //   program, for the module whose hash is in the key.
    // * The hash holds no secret: it proves integrity, not origin. Origin is the
    //   directory's: it lies in the data directory, made with mode 0700, where only
    //   this user writes, who could replace this program as well.
    // * The bytes are a private copy in memory; nobody changes them after the check.
    unsafe { Module::deserialize(engine, code.bytes()) }
}
