//! How many requests there were, by operation, and how many were refused.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use proto::Opcode;

/// The highest opcode. Those below that are none waste eight bytes each.
const LAST: usize = {
    let (mut at, mut last) = (0, 0);
    while at < Opcode::ALL.len() {
        let number = Opcode::ALL[at] as usize;
        last = if number > last { number } else { last };
        at += 1;
    }
    last
};

pub(crate) struct Counters {
    requests: [AtomicU64; LAST + 1],
    refused: AtomicU64,
}

impl Default for Counters {
    fn default() -> Self {
        let requests = [const { AtomicU64::new(0) }; LAST + 1];
        Counters { requests, refused: AtomicU64::new(0) }
    }
}

const _: () = assert!(LAST < 256);

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
