//! The write-ahead log: frames, segments, group sync, recovery
