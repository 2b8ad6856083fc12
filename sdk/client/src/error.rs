//! Why a call failed, whether it may have been carried out, and whether to try again.
//!
//! What must stay true: an error says [`Fate::NotDone`] only where the server cannot
//! have carried the request out: it was not sent whole, or the server said so itself.

use crate::tls;
use proto::codec::DecodeError;
use proto::{Class, Fingerprint, Key, Status, bridge};
use std::io;
use std::time::Duration;

/// What this crate's calls give.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What became of a request whose call failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It was certainly not carried out; nothing changed.
    NotDone,
    /// It may or may not have been carried out.
    Unknown,
    /// It was carried out; what failed is the use of its answer.
    Done,
}

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nobody listens there, or the way is blocked.
    #[error(
        "cannot reach {address}: {source}; is planck running, and is this the address it \
         printed when it started?"
    )]
    Unreachable {
        /// Host and port.
        address: String,
        /// What the system said.
        source: io::Error,
    },
    /// Something took too long.
    #[error(
        "{what} took longer than {limit:?}; the server may be overloaded or the network slow{}",
        doubt(*fate)
    )]
    Timeout {
        /// What was waited for.
        what: &'static str,
        /// How long.
        limit: Duration,
        /// Whether the request may have been carried out.
        fate: Fate,
    },
    /// Another certificate than the one pinned.
    #[error(
        "the server's certificate is not the one pinned: expected {expected}, was given {found}; \
         compare with the fingerprint planck prints when it starts. If nobody replaced the \
         certificate, somebody may be between you and the server; the key was not sent"
    )]
    WrongCertificate {
        /// The pin.
        expected: Fingerprint,
        /// What the server showed.
        found: Fingerprint,
    },
    /// The handshake failed for another reason.
    #[error(
        "the TLS handshake with {address} failed: {source}; is this the port of planck's wire, \
         and has it TLS on? (for a server with tls.enabled: false, connect without a fingerprint)"
    )]
    Handshake {
        /// Host and port.
        address: String,
        /// What TLS said.
        source: io::Error,
    },
    /// The server speaks TLS, the client was told not to.
    #[error("{address} speaks TLS: give the fingerprint planck prints when it starts")]
    NeedsTls {
        /// Host and port.
        address: String,
    },
    /// The server refused the connection, the credentials or the request.
    #[error("{status}: {message}")]
    Refused {
        /// `BadCredentials`, `KeyExists`, `Busy`, ...
        status: Status,
        /// The server's words.
        message: String,
    },
    /// What came is not the protocol.
    #[error("the server answered with something else than a reply: {0}")]
    Protocol(#[from] DecodeError),
    /// A reply over [`crate::ConnectOptions::max_message_size`], or out of order.
    #[error("the server's reply cannot be used: {0}")]
    BadReply(String),
    /// The connection ended.
    #[error("the connection to the server was lost: {source}{}", doubt(*fate))]
    Lost {
        /// What the system said.
        source: io::Error,
        /// Whether the request may have been carried out.
        fate: Fate,
    },
    /// A call before ended half-way.
    #[error("this connection broke off in an earlier call; connect again")]
    Broken,
    /// All connections are in use.
    #[error(
        "all {connections} connections of this client are in use, and {why}; ask less at once, \
         read streams of rows to their end or drop them, or raise pool.connections"
    )]
    Exhausted {
        /// How many there are.
        connections: usize,
        /// What bound was met.
        why: String,
    },
    /// Nothing was sent: what was asked, or an option, cannot be.
    #[error("{0}")]
    Invalid(String),
    /// Nothing was sent: a value of the caller is no document.
    #[error("the value cannot be sent as a document: {0}")]
    NoDocument(bridge::Error),
    /// A document of the server does not fit the type it is to be read as.
    #[error("{} is not of the type expected: {source}", named(*key))]
    WrongType {
        /// Its key, if it has one.
        key: Option<Key>,
        /// Which field, and why.
        source: bridge::Error,
    },
    /// The server's answer is of another kind than the one asked for.
    #[error("the answer is no {expected}: {advice}")]
    WrongAnswer {
        /// `number`, `rows`, ...
        expected: &'static str,
        /// What to ask instead.
        advice: &'static str,
    },
    /// There are more rows than the caller wants to hold.
    #[error("there are more than {0} rows: add limit(n), raise the bound, or read them one by one")]
    TooManyRows(usize),
}

fn doubt(fate: Fate) -> &'static str {
    match fate {
        Fate::NotDone => "; what was asked last was not done",
        Fate::Unknown => "; what was asked last may or may not be done",
        Fate::Done => "",
    }
}

fn named(key: Option<Key>) -> String {
    key.map_or_else(|| "a row".to_owned(), |key| format!("document {key}"))
}

impl Error {
    pub(crate) fn invalid(message: impl Into<String>) -> Error {
        Error::Invalid(message.into())
    }

    /// The same of an attempt to have a session: whatever was lost, it was no request.
    pub(crate) fn before_a_session(self, address: &str) -> Error {
        let fate = Fate::NotDone;
        match self {
            // A server that refuses the client's certificate says so only now.
            Error::Lost { source, .. } if tls::is_of_tls(&source) => {
                Error::Handshake { address: address.to_owned(), source }
            }
            Error::Lost { source, .. } => Error::Lost { source, fate },
            Error::Timeout { what, limit, .. } => Error::Timeout { what, limit, fate },
            other => other,
        }
    }

    /// The status, if it was the server that refused.
    pub fn status(&self) -> Option<Status> {
        match self {
            Error::Refused { status, .. } => Some(*status),
            _ => None,
        }
    }

    /// Whether the request may have been carried out.
    pub fn fate(&self) -> Fate {
        match self {
            Error::Timeout { fate, .. } | Error::Lost { fate, .. } => *fate,
            // What failed inside the server may have failed behind its commit.
            Error::Refused { status, .. } if status.class() == Class::Failed => Fate::Unknown,
            Error::Protocol(_) | Error::BadReply(_) => Fate::Unknown,
            Error::WrongType { .. } | Error::WrongAnswer { .. } | Error::TooManyRows(_) => {
                Fate::Done
            }
            Error::Unreachable { .. }
            | Error::WrongCertificate { .. }
            | Error::Handshake { .. }
            | Error::NeedsTls { .. }
            | Error::Refused { .. }
            | Error::Broken
            | Error::Exhausted { .. }
            | Error::Invalid(_)
            | Error::NoDocument(_) => Fate::NotDone,
        }
    }

    /// Whether the same request may be made again, whatever it is: it was certainly not
    /// carried out, and another time it may be.
    pub fn is_retryable(&self) -> bool {
        self.fate() == Fate::NotDone && self.passes()
    }

    /// Whether the reason may be gone another time.
    pub(crate) fn passes(&self) -> bool {
        match self {
            Error::Unreachable { .. }
            | Error::Timeout { .. }
            | Error::Lost { .. }
            | Error::Broken
            | Error::Exhausted { .. } => true,
            Error::Handshake { source, .. } => was_cut(source),
            Error::Refused { status, .. } => status.class() == Class::Busy,
            _ => false,
        }
    }
}

/// Whether it is the connection that ended, not the handshake that was refused.
fn was_cut(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    matches!(error.kind(), UnexpectedEof | ConnectionReset | ConnectionAborted | BrokenPipe)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn io() -> io::Error {
        io::Error::other("no")
    }

    #[test]
    fn an_error_says_whether_the_request_may_have_been_carried_out() {
        let lost = |fate| Error::Lost { source: io(), fate };
        assert!(lost(Fate::Unknown).to_string().ends_with("may or may not be done"));
        assert!(lost(Fate::NotDone).to_string().ends_with("was not done"));
        assert!(!lost(Fate::Unknown).is_retryable() && lost(Fate::NotDone).is_retryable());
        let refused = |status| Error::Refused { status, message: String::new() };
        for status in Status::ALL.iter().copied().filter(|status| *status != Status::Ok) {
            let error = refused(status);
            let unknown = matches!(
                status,
                Status::ReadOnly
                    | Status::Corrupt
                    | Status::Io
                    | Status::Internal
                    | Status::UpstreamAddress
                    | Status::UpstreamTimeout
                    | Status::UpstreamBroken
            );
            assert_eq!(error.fate() == Fate::Unknown, unknown, "{status}");
            let busy = matches!(
                status,
                Status::Busy
                    | Status::Timeout
                    | Status::NotReached
                    | Status::UpstreamBusy
                    | Status::UpstreamUnreachable
            );
            assert_eq!(error.is_retryable(), busy, "{status}");
        }
    }

    #[test]
    fn a_handshake_that_was_cut_may_succeed_later_and_one_that_was_refused_will_not() {
        let handshake = |source| Error::Handshake { address: "x:1".to_owned(), source };
        assert!(handshake(io::ErrorKind::UnexpectedEof.into()).is_retryable());
        assert!(!handshake(io()).is_retryable());
    }
}
