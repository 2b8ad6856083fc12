//! The handler as a whole, against stores in memory.
