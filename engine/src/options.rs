//! What an engine can be told, with defaults and bounds.
//!
//! What must stay true: whatever an insert accepts, a reply can carry. So a
//! document always fits a message, and so do the keys of the largest batch.

use crate::query::{CursorLimits, Held};
use crate::transaction::DeskLimits;
use crate::{AuditOptions, BackupTarget, OpenError, ReplicaOptions};

/// Room a message needs around one document: packet header, the fields of its
/// request or reply, a store's name.
pub(crate) const MESSAGE_OVERHEAD: usize = 256;

const MIN_MESSAGE: usize = 64 << 10;
/// A message that is one batch must fit one WAL frame with what is added to it.
const MAX_MESSAGE: usize = 32 << 20;
/// A transaction is one batch, and one frame of the log.
const MAX_TRANSACTION: usize = 48 << 20;
const _: () = assert!(MAX_TRANSACTION < lsm::MAX_BATCH_BYTES);
/// Cursors, and transactions, at most: they are counted one by one where a bound is near.
const MAX_CURSORS: usize = 1 << 16;

/// How an engine is opened. Every field has a default.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The storage's part. Its `wal_salt` is replaced by a random one.
    pub storage: lsm::Options,
    /// What a request may be and use.
    pub limits: Limits,
    /// Where backups go; without it they are refused.
    pub backup: Option<BackupTarget>,
    /// The audit log, in `audit/` of the engine's disk; `None`: none is written.
    pub audit: Option<AuditOptions>,
    /// Its part in replication, if it comes to have one.
    pub replica: ReplicaOptions,
}

/// What a request may be and use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Documents in one BatchInsert. Default 10,000, at least 1.
    pub max_batch_size: usize,
    /// Bytes of a packet, header included, either way. Default 16 MiB, 64 KiB to
    /// 32 MiB.
    pub max_message_size: usize,
    /// Bytes of one document. Default 4 MiB; it must fit a message.
    pub max_document_size: usize,
    /// Bytes one query may hold to sort, group, look up or change. Default 64 MiB.
    pub query_memory: usize,
    /// Bytes one query may have on disk at a time, to sort and group beyond its
    /// memory. Default 1 GiB; 0: none.
    pub query_spill: u64,
    /// Microseconds one query, or each page of one that is fetched page by page, may
    /// take; a scan and a check of indexes too. Default 60 s; 0: as long as it takes.
    pub query_micros: u64,
    /// Microseconds from which on a query is remembered as slow. Default 100 ms; 0:
    /// none is.
    pub slow_query_micros: u64,
    /// Cursors at once: queries whose next page waits to be fetched. One user may have
    /// half of them. Default 256, up to 65,536; 0: none, a result must fit a reply.
    pub max_cursors: usize,
    /// Cursors of one session at once. Default 16, at least 1.
    pub max_session_cursors: usize,
    /// Microseconds after which a cursor that nobody fetches from expires. Default 5
    /// minutes, at least 1.
    pub cursor_idle_micros: u64,
    /// Bytes of memory all cursors may hold together, sorted rows and such. Default 256
    /// MiB.
    pub cursor_memory: u64,
    /// Bytes on disk all cursors may hold together. Default 4 GiB.
    pub cursor_spill: u64,
    /// Transactions open over several requests at once. Default 256, up to 65,536; 0: none.
    pub max_transactions: usize,
    /// Of them, those of one session. Default 16, at least 1.
    pub max_session_transactions: usize,
    /// Microseconds after which a transaction that nobody uses is let go of. Default 10 s,
    /// at least 1.
    pub transaction_idle_micros: u64,
    /// Microseconds after which any is. Default 60 s, at least 1.
    pub transaction_micros: u64,
    /// Bytes that one transaction may write, with what that changes in indexes. Default 16
    /// MiB, 64 KiB to 48 MiB.
    pub max_transaction_size: usize,
    /// Bytes of memory that all of them may hold together. Default 256 MiB.
    pub transaction_memory: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            max_batch_size: 10_000,
            max_message_size: 16 << 20,
            max_document_size: 4 << 20,
            query_memory: 64 << 20,
            query_spill: 1 << 30,
            query_micros: 60_000_000,
            slow_query_micros: 100_000,
            max_cursors: 256,
            max_session_cursors: 16,
            cursor_idle_micros: 300_000_000,
            cursor_memory: 256 << 20,
            cursor_spill: 4 << 30,
            max_transactions: 256,
            max_session_transactions: 16,
            transaction_idle_micros: 10_000_000,
            transaction_micros: 60_000_000,
            max_transaction_size: 16 << 20,
            transaction_memory: 256 << 20,
        }
    }
}

impl Limits {
    /// Says which limit is out of bounds, and what it may be.
    pub(crate) fn check(&self) -> Result<(), OpenError> {
        let option = |name, value, must: String| Err(OpenError::Option { name, value, must });
        let message = self.max_message_size;
        if !(MIN_MESSAGE..=MAX_MESSAGE).contains(&message) {
            let must = format!("{MIN_MESSAGE} to {MAX_MESSAGE} bytes");
            return option("limits.max_message_size", message, must);
        }
        let room = message - MESSAGE_OVERHEAD;
        if !(5..=room).contains(&self.max_document_size) {
            let must = format!(
                "5 to {room} bytes: limits.max_message_size less {MESSAGE_OVERHEAD} for what is \
                 around a document"
            );
            return option("limits.max_document_size", self.max_document_size, must);
        }
        let keys = room / 16;
        if !(1..=keys).contains(&self.max_batch_size) {
            let must = format!(
                "1 to {keys}: the keys of a batch are answered in one message of \
                 limits.max_message_size"
            );
            return option("limits.max_batch_size", self.max_batch_size, must);
        }
        if self.query_memory == 0 {
            return option("limits.query_memory", 0, "at least 1 byte".to_owned());
        }
        if self.max_cursors > MAX_CURSORS {
            let must = format!("0 to {MAX_CURSORS}");
            return option("limits.max_cursors", self.max_cursors, must);
        }
        if self.max_session_cursors == 0 {
            let must = "at least 1; set limits.max_cursors to 0 for none".to_owned();
            return option("limits.max_session_cursors", 0, must);
        }
        if self.cursor_idle_micros == 0 {
            return option("limits.cursor_idle_ms", 0, "at least 1".to_owned());
        }
        if self.max_transactions > MAX_CURSORS {
            let must = format!("0 to {MAX_CURSORS}");
            return option("limits.max_transactions", self.max_transactions, must);
        }
        if self.max_session_transactions == 0 {
            let must = "at least 1; set limits.max_transactions to 0 for none".to_owned();
            return option("limits.max_session_transactions", 0, must);
        }
        if self.transaction_idle_micros == 0 {
            return option("limits.transaction_idle_ms", 0, "at least 1".to_owned());
        }
        if self.transaction_micros == 0 {
            return option("limits.transaction_time_ms", 0, "at least 1".to_owned());
        }
        if !(MIN_MESSAGE..=MAX_TRANSACTION).contains(&self.max_transaction_size) {
            let must = format!("{MIN_MESSAGE} to {MAX_TRANSACTION} bytes");
            return option("limits.max_transaction_size", self.max_transaction_size, must);
        }
        Ok(())
    }

    pub(crate) fn of_transactions(&self) -> DeskLimits {
        DeskLimits {
            all: self.max_transactions,
            session: self.max_session_transactions,
            idle: self.transaction_idle_micros.saturating_mul(1000),
            time: self.transaction_micros.saturating_mul(1000),
        }
    }

    pub(crate) fn of_cursors(&self) -> CursorLimits {
        CursorLimits {
            all: self.max_cursors,
            session: self.max_session_cursors,
            held: Held { memory: self.cursor_memory, disk: self.cursor_spill },
            idle_nanos: self.cursor_idle_micros.saturating_mul(1000),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(change: impl FnOnce(&mut Limits)) -> Option<String> {
        let mut limits = Limits::default();
        change(&mut limits);
        limits.check().err().map(|e| e.to_string())
    }

    #[test]
    fn each_limit_at_its_edges() {
        assert_eq!(fault(|_| ()), None);
        assert_eq!(fault(|l| l.max_message_size = 32 << 20), None);
        let error = fault(|l| l.max_message_size = (32 << 20) + 1).unwrap();
        assert!(error.starts_with("limits.max_message_size is 33554433, it must be 65536 to"));
        assert!(fault(|l| l.max_message_size = (64 << 10) - 1).is_some());

        let room = (16 << 20) - MESSAGE_OVERHEAD;
        assert_eq!(fault(|l| l.max_document_size = room), None);
        assert!(fault(|l| l.max_document_size = room + 1).unwrap().contains("max_document_size"));
        assert_eq!(fault(|l| l.max_document_size = 5), None);
        assert!(fault(|l| l.max_document_size = 4).is_some());

        assert_eq!(fault(|l| l.max_batch_size = room / 16), None);
        assert!(fault(|l| l.max_batch_size = room / 16 + 1).unwrap().contains("max_batch_size"));
        assert!(fault(|l| l.max_batch_size = 0).is_some());
        assert!(fault(|l| l.query_memory = 0).is_some());

        assert_eq!(fault(|l| (l.max_cursors, l.max_session_cursors) = (0, 1)), None);
        assert_eq!(fault(|l| l.max_cursors = 65_536), None);
        assert!(fault(|l| l.max_cursors = 65_537).unwrap().contains("max_cursors is 65537"));
        assert!(fault(|l| l.max_session_cursors = 0).unwrap().contains("max_session_cursors"));
        assert_eq!(fault(|l| (l.max_transactions, l.max_session_transactions) = (0, 1)), None);
        assert_eq!(fault(|l| l.max_transactions = 65_536), None);
        assert!(
            fault(|l| l.max_transactions = 65_537).unwrap().contains("limits.max_transactions")
        );
        let none = fault(|l| l.max_session_transactions = 0).unwrap();
        assert!(none.contains("limits.max_session_transactions"));
        assert!(fault(|l| l.transaction_idle_micros = 0).unwrap().contains("transaction_idle_ms"));
        assert!(fault(|l| l.transaction_micros = 0).unwrap().contains("transaction_time_ms"));
        for (bytes, fits) in
            [((64 << 10) - 1, false), (64 << 10, true), (48 << 20, true), ((48 << 20) + 1, false)]
        {
            assert_eq!(fault(|l| l.max_transaction_size = bytes).is_none(), fits, "{bytes}");
        }
        assert!(fault(|l| l.cursor_idle_micros = 0).unwrap().contains("cursor_idle_ms"));
    }
}
