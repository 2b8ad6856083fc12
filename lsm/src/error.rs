//! What can go wrong, and what the caller can do about it.

use crate::batch::BatchError;

/// An error of the key-value engine.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The batch breaks a limit; nothing changed. Change the batch.
    #[error("the batch was refused: {0}")]
    Batch(#[from] BatchError),
    /// An option is out of bounds. Change it.
    #[error("option {name} is {value}: it must be {must}")]
    Option {
        /// Which.
        name: &'static str,
        /// What it was.
        value: u64,
        /// What it may be.
        must: &'static str,
    },
}
