//! The interpreter backend: deterministic, for tests and simulation
