//! End to end, crash and house tests
