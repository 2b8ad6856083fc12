//! How many requests there were and how long they took, by operation and by where they
//! came from; how many were refused, by status.
//!
//! What must stay true: counting costs a request a few additions and two looks at the
//! clock, takes no lock and no memory.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use platform::{Distribution, Histogram};
use proto::{Opcode, Status};

/// The highest opcode. Those below that are none waste a little each.
const LAST: usize = {
    let (mut at, mut last) = (0, 0);
    while at < Opcode::ALL.len() {
        let number = Opcode::ALL[at] as usize;
        last = if number > last { number } else { last };
        at += 1;
    }
    last
};

const _: () = assert!(LAST < 256);

#[derive(Default)]
struct Operation {
    begun: AtomicU64,
    wire: Histogram,
    guest: Histogram,
}

pub(crate) struct Counters {
    operations: Box<[Operation]>,
    refused: [AtomicU64; Status::ALL.len()],
}

impl Default for Counters {
    fn default() -> Self {
        let operations = (0..=LAST).map(|_| Operation::default()).collect();
        Counters { operations, refused: [const { AtomicU64::new(0) }; Status::ALL.len()] }
    }
}

impl Counters {
    pub(crate) fn begun(&self, opcode: Opcode) {
        self.operations[opcode as usize].begun.fetch_add(1, Relaxed);
    }

    /// A request has been answered, well or not, after so long.
    pub(crate) fn ended(&self, opcode: Opcode, of_guest: bool, nanos: u64) {
        let operation = &self.operations[opcode as usize];
        let took = if of_guest { &operation.guest } else { &operation.wire };
        took.record(nanos);
    }

    pub(crate) fn refused(&self, status: Status) {
        if let Ok(at) = Status::ALL.binary_search(&status) {
            self.refused[at].fetch_add(1, Relaxed);
        }
    }

    /// Requests of an operation that were understood so far.
    pub(crate) fn requests(&self, opcode: Opcode) -> u64 {
        self.operations[opcode as usize].begun.load(Relaxed)
    }

    /// Nanoseconds that requests of an operation took so far: those of the wire, and
    /// those of guests.
    pub(crate) fn took(&self, opcode: Opcode) -> (Distribution, Distribution) {
        let operation = &self.operations[opcode as usize];
        (operation.wire.read(), operation.guest.read())
    }

    /// Packets answered with an error so far, by what was said.
    pub(crate) fn refusals(&self) -> impl Iterator<Item = (Status, u64)> {
        let counts = self.refused.iter().map(|count| count.load(Relaxed));
        Status::ALL.iter().copied().zip(counts)
    }
}
