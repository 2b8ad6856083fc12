//! The operating system's disk, clock and entropy.
