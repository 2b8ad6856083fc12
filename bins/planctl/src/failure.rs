//! Why a command failed, and the exit code that says so.
//!
//! What must stay true: scripts decide by the code, people by the sentence. The
//! code of what a server refused follows from [`Status::class`] alone.

use planck_client::Error;
use proto::{Class, Status};
use std::io;
use std::process::ExitCode;

/// Exit codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Exit {
    /// Something failed that is nobody's mistake.
    Failure = 1,
    /// The options do not fit together.
    Usage = 2,
    /// What was named is not there.
    NotFound = 3,
    /// Not allowed.
    Denied = 4,
    /// There is something in the way already.
    Conflict = 5,
    /// No server, or none that can take the request now: try later.
    Unreachable = 6,
    /// The query or the data is wrong.
    Invalid = 7,
}

impl Exit {
    /// For what a server answered.
    pub(crate) fn of(status: Status) -> Exit {
        match status.class() {
            Class::Ok | Class::Failed => Exit::Failure,
            Class::Invalid | Class::TooLarge => Exit::Invalid,
            Class::NotFound => Exit::NotFound,
            Class::Denied => Exit::Denied,
            Class::Conflict => Exit::Conflict,
            Class::Busy => Exit::Unreachable,
        }
    }

    /// For what the system said about a file.
    pub(crate) fn of_io(error: &io::Error) -> Exit {
        match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Exit::NotFound,
            io::ErrorKind::PermissionDenied => Exit::Denied,
            io::ErrorKind::AlreadyExists => Exit::Conflict,
            _ => Exit::Failure,
        }
    }
}

/// The end of a command that did not do what was asked.
#[derive(Debug)]
pub(crate) enum Failure {
    /// To be told.
    Told {
        /// The exit code.
        exit: Exit,
        /// What happened, where, and what to do.
        message: String,
    },
    /// Whoever read our output has gone: nobody is left to tell.
    PipeClosed,
}

impl Failure {
    pub(crate) fn new(exit: Exit, message: impl Into<String>) -> Failure {
        Failure::Told { exit, message: message.into() }
    }

    /// The options do not fit together.
    pub(crate) fn usage(message: impl Into<String>) -> Failure {
        Failure::new(Exit::Usage, message)
    }

    /// The data is wrong.
    pub(crate) fn invalid(message: impl Into<String>) -> Failure {
        Failure::new(Exit::Invalid, message)
    }

    /// The server refused.
    pub(crate) fn refused(status: Status, message: &str) -> Failure {
        Failure::new(Exit::of(status), format!("{status}: {message}"))
    }

    /// `what` was tried on a file: "cannot read flights.csv".
    pub(crate) fn file(what: &str, path: &std::path::Path, error: &io::Error) -> Failure {
        Failure::new(Exit::of_io(error), format!("cannot {what} {}: {error}", path.display()))
    }

    /// Standard output could not be written.
    pub(crate) fn output(error: &io::Error) -> Failure {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Failure::PipeClosed;
        }
        Failure::new(Exit::Failure, format!("cannot write the output: {error}"))
    }

    /// Puts more before or after the message.
    pub(crate) fn map(self, change: impl FnOnce(String) -> String) -> Failure {
        match self {
            Failure::Told { exit, message } => Failure::Told { exit, message: change(message) },
            Failure::PipeClosed => Failure::PipeClosed,
        }
    }

    /// Tells it on stderr; gives the code to end with.
    pub(crate) fn report(self) -> ExitCode {
        match self {
            Failure::PipeClosed => ExitCode::SUCCESS,
            Failure::Told { exit, message } => {
                crate::output::note(&format!("planctl: {message}"));
                ExitCode::from(exit as u8)
            }
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        let exit = match &error {
            Error::Unreachable { .. }
            | Error::Timeout { .. }
            | Error::Handshake { .. }
            | Error::Lost { .. }
            | Error::Broken
            | Error::Exhausted { .. } => Exit::Unreachable,
            Error::WrongCertificate { .. } => Exit::Denied,
            Error::NeedsTls { .. } => Exit::Usage,
            Error::Refused { status, .. } => Exit::of(*status),
            Error::Invalid(_) | Error::NoDocument(_) | Error::TooManyRows(_) => Exit::Invalid,
            Error::Protocol(_)
            | Error::BadReply(_)
            | Error::WrongType { .. }
            | Error::WrongAnswer { .. } => Exit::Failure,
        };
        Failure::new(exit, error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use planck_client::Fate;

    #[test]
    fn the_exit_code_follows_from_the_class() {
        for (status, exit) in [
            (Status::BadQuery, 7),
            (Status::DocumentTooLarge, 7),
            (Status::UnknownStore, 3),
            (Status::NotFound, 3),
            (Status::Forbidden, 4),
            (Status::BadCredentials, 4),
            (Status::StoreExists, 5),
            (Status::KeyExists, 5),
            (Status::Busy, 6),
            (Status::Timeout, 6),
            (Status::Corrupt, 1),
            (Status::ReadOnly, 1),
        ] {
            assert_eq!(Exit::of(status) as u8, exit, "{status}");
        }
    }

    #[test]
    fn a_client_that_cannot_connect_says_6_and_one_that_was_refused_why() {
        let code = |error: Error| match Failure::from(error) {
            Failure::Told { exit, .. } => exit as u8,
            Failure::PipeClosed => 0,
        };
        let io = || io::Error::other("no");
        assert_eq!(code(Error::Unreachable { address: "x:1".into(), source: io() }), 6);
        assert_eq!(code(Error::Lost { source: io(), fate: Fate::Unknown }), 6);
        assert_eq!(code(Error::NeedsTls { address: "x:1".into() }), 2);
        let refused = |status| Error::Refused { status, message: String::new() };
        assert_eq!(code(refused(Status::BadCredentials)), 4);
        assert_eq!(code(refused(Status::Busy)), 6);
    }

    #[test]
    fn a_closed_pipe_is_no_failure_and_a_full_disk_is() {
        let closed = io::Error::from(io::ErrorKind::BrokenPipe);
        assert!(matches!(Failure::output(&closed), Failure::PipeClosed));
        let full = io::Error::from(io::ErrorKind::StorageFull);
        assert!(matches!(Failure::output(&full), Failure::Told { exit: Exit::Failure, .. }));
    }
}
