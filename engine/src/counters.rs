//! How many requests there were, by operation, and how many were refused.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use proto::Opcode;

/// Opcodes are 1 to this.
const LAST: usize = Opcode::ALL.len();

#[derive(Default)]
pub(crate) struct Counters {
    requests: [AtomicU64; LAST + 1],
    refused: AtomicU64,
}

// The numbers of opcodes are dense: each has its place in the array.
const _: () = {
    let mut at = 0;
    while at < LAST {
        assert!(Opcode::ALL[at] as usize == at + 1);
        at += 1;
    }
};

impl Counters {
    pub(crate) fn request(&self, opcode: Opcode) {
        self.requests[opcode as usize].fetch_add(1, Relaxed);
    }

    pub(crate) fn refused(&self) {
        self.refused.fetch_add(1, Relaxed);
    }

    /// Requests of an operation that were understood so far.
    pub(crate) fn requests(&self, opcode: Opcode) -> u64 {
        self.requests[opcode as usize].load(Relaxed)
    }

    /// Packets answered with an error so far.
    pub(crate) fn refusals(&self) -> u64 {
        self.refused.load(Relaxed)
    }
}
