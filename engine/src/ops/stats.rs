//! Stats: figures of the engine, as one document.

use proto::doc::DocBuf;
use proto::{Opcode, Status};

use crate::{Engine, Refusal};

impl Engine {
    /// Figures as a BSON document: numbers under their names (bytes end in
    /// `_bytes`), `requests` by operation since the engine was opened, and the
    /// reasons `poisoned`, `flush_error` and `trim_error` where there are any.
    ///
    /// # Errors
    /// The table of the value log's dead bytes cannot be read.
    pub fn stats(&self) -> Result<Vec<u8>, Refusal> {
        let storage = self.lsm.stats()?;
        let catalog = self.catalogs.read();
        let mut doc = DocBuf::with_capacity(1024);
        let figures = [
            ("stores", catalog.stores.len() as u64),
            ("users", catalog.users.len() as u64),
            ("lsn", storage.last_lsn),
            ("visible_lsn", storage.visible_lsn),
            ("durable_lsn", storage.durable_lsn),
            ("flushed_lsn", storage.flushed_lsn),
            ("memtable_bytes", storage.memtable_bytes as u64),
            ("frozen_memtables", storage.frozen as u64),
            ("snapshots", storage.snapshots as u64),
            ("wal_bytes", storage.wal_bytes),
            ("page_file_bytes", storage.page_file_bytes),
            ("free_page_bytes", storage.free_page_bytes),
            ("vlog_bytes", storage.value_bytes),
            ("vlog_dead_bytes", storage.dead_value_bytes),
            ("cache_hits", storage.cache_hits),
            ("cache_misses", storage.cache_misses),
            ("refused", self.counters.refusals()),
        ];
        for (name, number) in figures {
            doc.push(name, figure(number));
        }
        doc.doc("requests", |requests| {
            for &opcode in Opcode::ALL {
                requests.push(opcode.name(), figure(self.counters.requests(opcode)));
            }
        });
        for (name, reason) in [
            ("poisoned", &storage.poisoned),
            ("flush_error", &storage.flush_error),
            ("trim_error", &storage.trim_error),
        ] {
            if let Some(reason) = reason {
                doc.push(name, reason);
            }
        }
        doc.finish().map_err(|e| Refusal::new(Status::Internal, format!("{e}; please report this")))
    }
}

fn figure(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
