//! What a listener counts of its connections.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Connections of one listener, since it began.
#[derive(Debug, Default)]
pub struct Traffic {
    accepted: AtomicU64,
    ended: AtomicU64,
    refused: AtomicU64,
}

impl Traffic {
    /// Connections that were accepted, those that are refused later included.
    pub fn accepted(&self) -> u64 {
        self.accepted.load(Relaxed)
    }

    /// Connections that there are.
    pub fn open(&self) -> u64 {
        // One that ends in between must not make it less than none.
        let ended = self.ended.load(Relaxed);
        self.accepted.load(Relaxed).saturating_sub(ended)
    }

    /// Connections that were refused for a reason worth a line of the log, whether or not
    /// there was room for it, and attempts to authenticate that failed.
    pub fn refused(&self) -> u64 {
        self.refused.load(Relaxed)
    }

    pub(crate) fn refuse(&self) {
        self.refused.fetch_add(1, Relaxed);
    }

    /// A connection, until the answer is dropped.
    pub(crate) fn begin(self: &Arc<Self>) -> Open {
        self.accepted.fetch_add(1, Relaxed);
        Open(Arc::clone(self))
    }
}

/// A connection that there is.
#[derive(Debug)]
pub(crate) struct Open(Arc<Traffic>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.ended.fetch_add(1, Relaxed);
    }
}
