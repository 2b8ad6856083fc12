//! The key-value engine: memtables, snapshots, atomic batches, flush, recovery
