//! What a caller is told when something is not done.
//!
//! What must stay true: a refusal means that nothing changed, and its message
//! says what happened and what to do. Every error of the storage becomes one
//! here and nowhere else.

use std::fmt;
use std::io::ErrorKind;

use lsm::BatchError;
use proto::Status;

use crate::query::QueryError;

/// Why a request was not carried out; nothing changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// What kind of failure; never [`Status::Ok`].
    pub status: Status,
    /// What happened and what to do, for people.
    pub message: String,
}

impl Refusal {
    pub(crate) fn new(status: Status, message: impl Into<String>) -> Self {
        Refusal { status, message: message.into() }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.status, self.message)
    }
}

impl std::error::Error for Refusal {}

/// Why an engine could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// A limit is out of bounds. Change it.
    #[error("{name} is {value}, it must be {must}")]
    Option {
        /// Which.
        name: &'static str,
        /// What it was.
        value: usize,
        /// What it may be.
        must: String,
    },
    /// The storage could not be opened.
    #[error(transparent)]
    Storage(#[from] lsm::Error),
    /// The audit log cannot be opened.
    #[error("the audit log cannot be opened: {0}; free space on the disk, or mend it")]
    Audit(std::io::Error),
    /// What this server is in replication cannot be read.
    #[error("the role in replication cannot be read: {0}")]
    Replica(std::io::Error),
    /// The catalog cannot be read.
    #[error("the catalog is damaged: {0}; {advice}", advice = platform::advice::RESTORE)]
    Catalog(String),
    /// A program from before the first release wrote the catalog.
    #[error(
        "the catalog was written in format {found}, this program reads {known} only: export the \
         data with the program that wrote it"
    )]
    OlderCatalog {
        /// The format found.
        found: i64,
        /// The one known.
        known: i64,
    },
    /// A newer program wrote the catalog. Use that.
    #[error(
        "the catalog was written by a newer version (format {found}, known {known}): use that one"
    )]
    NewerCatalog {
        /// The format found.
        found: i64,
        /// The newest known.
        known: i64,
    },
}

impl OpenError {
    /// Whether another process holds the directory.
    pub fn is_locked(&self) -> bool {
        matches!(self, OpenError::Storage(lsm::Error::InUse { .. }))
    }
}

impl From<lsm::Error> for Refusal {
    fn from(error: lsm::Error) -> Self {
        let status = status_of(&error);
        let mut message = error.to_string();
        if let Some(advice) = advice(status, &error) {
            message.push_str("; ");
            message.push_str(advice);
        }
        Refusal { status, message }
    }
}

impl From<QueryError> for Refusal {
    fn from(error: QueryError) -> Self {
        match error {
            QueryError::Refused(status, message) => Refusal { status, message },
            QueryError::Storage(error) => error.into(),
        }
    }
}

fn status_of(error: &lsm::Error) -> Status {
    use lsm::Error as E;
    match error {
        E::Batch(BatchError::TooLarge(_)) => Status::BatchTooLarge,
        E::Wal(wal) => match wal {
            lsm::WalError::Poisoned(_) => Status::ReadOnly,
            lsm::WalError::Io { .. } => Status::Io,
            lsm::WalError::Corrupt { .. } => Status::Corrupt,
            lsm::WalError::TooLarge { .. } => Status::BatchTooLarge,
            _ => Status::Internal,
        },
        E::Pages(pages) => match pages {
            lsm::PagesError::Io { .. } => Status::Io,
            lsm::PagesError::Corrupt { .. } => Status::Corrupt,
            lsm::PagesError::Poisoned { .. } | lsm::PagesError::Full { .. } => Status::ReadOnly,
            _ => Status::Internal,
        },
        E::Values(values) => match values {
            lsm::ValuesError::Io { .. } => Status::Io,
            lsm::ValuesError::Corrupt { .. } | lsm::ValuesError::Missing { .. } => Status::Corrupt,
            lsm::ValuesError::Poisoned(_) => Status::ReadOnly,
            _ => Status::Internal,
        },
        E::Archive(archive) => match archive {
            lsm::ArchiveError::Io { .. } => Status::Io,
            lsm::ArchiveError::Log(_) => Status::ReadOnly,
            // The archive's files, not the store's; the message names them.
            _ => Status::Corrupt,
        },
        E::Follows(_) => Status::NotLeader,
        E::Leads => Status::WrongRole,
        E::OutOfOrder { .. } => Status::BadFollow,
        E::Unmet { .. } => Status::Changed,
        E::Conflict { .. } | E::TooOld { .. } => Status::TransactionConflict,
        E::Io { .. } => Status::Io,
        E::Corrupt { .. } | E::Frame { .. } => Status::Corrupt,
        E::Full(_) | E::NoSpace { .. } => Status::ReadOnly,
        E::TooManySnapshots { .. } | E::SnapshotExpired { .. } => Status::Busy,
        _ => Status::Internal,
    }
}

/// What the storage's own message leaves to say.
fn advice(status: Status, error: &lsm::Error) -> Option<&'static str> {
    if let lsm::Error::NoSpace { .. } | lsm::Error::Archive(_) = error {
        return None; // It says so, and goes on by itself.
    }
    if disk_full(error) {
        return Some("the disk is full: free some space, then restart the service");
    }
    match status {
        Status::Io => Some("check the disk, then try again; restart if writes are refused"),
        Status::BatchTooLarge => Some("change fewer documents at once"),
        Status::Internal => Some("please report this with the server's log"),
        // These name what to do themselves.
        _ => None,
    }
}

/// Whether an error, or what caused it, is a full disk.
fn disk_full(error: &lsm::Error) -> bool {
    if let lsm::Error::Full(inner) = error {
        return disk_full(inner);
    }
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(io) = error.downcast_ref::<std::io::Error>() {
            return matches!(io.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded);
        }
        cause = error.source();
    }
    false
}

/// Text of a stranger, short enough for a message.
pub(crate) fn shown(text: &str) -> String {
    let mut short: String = text.chars().take(80).collect();
    if short.len() < text.len() {
        short.push_str("..");
    }
    format!("{short:?}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;

    fn io_error(kind: ErrorKind) -> lsm::Error {
        let source = io::Error::new(kind, "the disk's words");
        lsm::Error::Io { doing: "write", file: "trees.pages".to_owned(), source }
    }

    #[test]
    fn each_error_of_the_storage_has_its_status_and_says_what_to_do() {
        let poisoned = || lsm::WalError::Poisoned("mend the disk, then restart".to_owned());
        let pages_full = lsm::PagesError::Full { path: "trees.pages".to_owned() };
        let missing = lsm::ValuesError::Missing { file: "vlog/1".to_owned() };
        let hole = lsm::ArchiveError::Hole { dir: "archive".to_owned(), first: 1, last: 2 };
        let (keyspace, key) = (lsm::KeyspaceId(1), Box::from(*b"k"));
        let unmet = lsm::Error::Unmet { keyspace, key, what: lsm::Unmet::IsPresent };
        for (error, status, words) in [
            (io_error(ErrorKind::Other), Status::Io, "the disk's words; check the disk"),
            (io_error(ErrorKind::StorageFull), Status::Io, "the disk is full: free some space"),
            (lsm::Error::Wal(poisoned()), Status::ReadOnly, "then restart"),
            (
                lsm::Error::Full(Box::new(io_error(ErrorKind::StorageFull))),
                Status::ReadOnly,
                "trees.pages: the disk's words; the disk is full",
            ),
            (lsm::Error::Pages(pages_full), Status::ReadOnly, "spread the data"),
            (lsm::Error::Values(missing), Status::Corrupt, "put it back"),
            (
                lsm::Error::Batch(BatchError::TooLarge(1 << 30)),
                Status::BatchTooLarge,
                "change fewer documents at once",
            ),
            (unmet, Status::Changed, "nothing was written: read it again"),
            (lsm::Error::Follows("write there".into()), Status::NotLeader, "write there"),
            (lsm::Error::Archive(hole), Status::Corrupt, "begin a new archive"),
            (lsm::Error::Cursor, Status::Internal, "please report this"),
        ] {
            let refusal = Refusal::from(error);
            assert_eq!(refusal.status, status, "{refusal}");
            assert!(refusal.message.contains(words), "{refusal}");
        }
    }

    #[test]
    fn what_a_stranger_wrote_is_shown_short_and_quoted() {
        assert_eq!(shown("a\"b\n"), r#""a\"b\n""#);
        assert_eq!(shown(&"é".repeat(100)), format!("\"{}..\"", "é".repeat(80)));
    }
}
