//! The simulated world: a crashing disk, a stepped clock, seeded bytes.
//!
//! Invariant: everything here is a function of its seed and the calls made to
//! it; the same seed and the same calls give the same bytes, on any machine.
//!
//! * [`SimDisk`] keeps what is durable apart from what was written, dies at the
//!   call you name, and comes back as a power cut or a kill would leave it.
//! * [`SimClock`] stands still until advanced.
//! * [`SimEntropy`] is splitmix64.

mod clock;
mod content;
mod damage;
mod disk;
mod entropy;
mod fault;
mod file;
mod inode;
mod names;
mod rng;
mod state;
mod tally;
mod trace;

pub use clock::SimClock;
pub use disk::SimDisk;
pub use entropy::SimEntropy;
pub use fault::{Fault, Times};
pub use tally::Tally;
pub use trace::{Call, Verb};
