//! What goes wrong in a handler, and the response it becomes.

use crate::host::{Level, log};
use crate::{Request, Response};
use proto::{Class, Status};
use std::fmt;

/// What a handler returns.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A status and what happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// The status of the engine, or of [`Error::bad_request`] and its like.
    pub status: Status,
    /// What happened and what to do.
    pub message: String,
}

impl Error {
    /// An error of that status.
    pub fn new(status: Status, message: impl Into<String>) -> Error {
        Error { status, message: message.into() }
    }

    /// The client's fault: 400.
    pub fn bad_request(message: impl Into<String>) -> Error {
        Error::new(Status::BadDocument, message)
    }

    /// What it asked for is not there: 404.
    pub fn not_found(message: impl Into<String>) -> Error {
        Error::new(Status::NotFound, message)
    }

    /// The response of a handler that failed so. Faults that are not the client's
    /// are logged; their inside is not shown.
    pub(crate) fn response(&self, request: &Request<'_>) -> Response {
        let failed = self.status.class() == Class::Failed;
        if failed {
            log(Level::Error, &format!("{} {}: {self}", request.method(), request.path()));
        }
        let message = if failed { self.status.meaning() } else { self.message.as_str() };
        let problem = serde_json::json!({
            "title": self.status.meaning(),
            "status": self.status.http(),
            "code": self.status.to_string(),
            "detail": message,
        });
        Response::new(self.status.http())
            .header("content-type", "application/problem+json")
            .body(problem.to_string())
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.status, self.message)
    }
}

impl std::error::Error for Error {}

impl From<proto::KeyPartError> for Error {
    fn from(error: proto::KeyPartError) -> Error {
        Error::new(Status::BadKey, error.to_string())
    }
}
