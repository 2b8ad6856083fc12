//! The simulated world: a crashing disk, a stepped clock, seeded bytes.
