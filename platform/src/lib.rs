//! What the core may ask of the world: disk, clock, entropy.
//!
//! Invariant: below `net` and `bins`, nothing reads a clock, randomness, the
//! environment or a file except through the traits of this crate, so that the
//! simulator can replay a seed bit for bit and crash the disk at any call.
//!
//! * [`Disk`] and [`File`]: seven verbs on a file, eight on a directory.
//! * [`Clock`]: wall time and a monotonic time.
//! * [`Entropy`]: unpredictable bytes.
//! * [`advice`]: what errors about stored bytes tell their readers to do.
//! * [`real`]: the operating system's.
//! * [`sharing`]: threads that do something brief beside their own work, and are told if it is not.
//! * [`sim`]: a crashing disk, a stepped clock, seeded bytes.
//! * [`Histogram`]: how long things took, counted without a lock; it has no clock.
//! * [`Overlay`]: a disk to look at, with writes that stay in memory.

pub mod advice;
mod clock;
mod disk;
mod entropy;
mod hint;
mod histogram;
mod overlay;
mod path;
pub mod real;
pub mod sharing;
pub mod sim;

pub use clock::Clock;
pub use disk::{BLOCK, Disk, File, Lock, Mapped, Open, Shortage, shortage};
pub use entropy::Entropy;
pub use hint::prefetch;
pub use histogram::{Distribution, Histogram};
pub use overlay::Overlay;
