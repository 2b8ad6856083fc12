//! A job as it is kept, and as it is run.
//!
//! What must stay true: whatever somebody writes to the store is read as a job or said to be
//! none, and then given up: it stands in nobody's way. What another release adds is kept when
//! the document is written anew.

use proto::Key;
use proto::doc::{Doc, DocBuf, Value};

use super::new::is_the_hosts;

/// Bytes of the longest reason that is kept.
const MAX_ERROR: usize = 1024;

/// A job that is to be run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// Its key.
    pub key: Key,
    /// The service outside that it calls; `None`: the guest.
    pub upstream: Option<String>,
    /// The method of the call.
    pub method: String,
    /// Its path and query.
    pub path: String,
    /// Its headers, in lower case.
    pub headers: Vec<(String, String)>,
    /// Its body.
    pub payload: Vec<u8>,
    /// When it is due, in milliseconds since 1970.
    pub due: i64,
    /// Attempts that have failed.
    pub attempts: u32,
    /// By which who is called knows it again.
    pub idempotency_key: String,
    /// The entry of a timetable that it is of.
    pub cron: Option<String>,
}

/// How often it has failed, by the document.
pub(super) fn attempts(doc: Doc<'_>) -> u32 {
    let attempts = doc.get("attempts").and_then(|v| v.as_i64());
    attempts.and_then(|n| u32::try_from(n).ok()).unwrap_or(0)
}

/// When it is due, by the document.
pub(super) fn due(doc: Doc<'_>) -> Option<i64> {
    match doc.get("due") {
        Some(Value::DateTime(at)) => Some(at),
        _ => None,
    }
}

impl Job {
    /// The job that a document is.
    ///
    /// # Errors
    /// Why it is none.
    pub(super) fn read(key: Key, doc: Doc<'_>) -> Result<Job, String> {
        let text = |name: &str| doc.get(name).and_then(|v| v.as_str());
        let needed = |name: &str| text(name).ok_or_else(|| format!("it has no text {name}"));
        let upstream = match text("kind") {
            Some("route") => None,
            Some("upstream") => Some(needed("upstream")?.to_owned()),
            _ => return Err("its kind is neither route nor upstream".to_owned()),
        };
        let (method, path) = (needed("method")?.to_owned(), needed("path")?.to_owned());
        if !path.starts_with('/') {
            return Err("its path does not begin with /".to_owned());
        }
        let mut headers = Vec::new();
        for (name, value) in doc.get("headers").and_then(|v| v.as_doc()).into_iter().flatten() {
            let Some(value) = value.as_str().filter(|_| !is_the_hosts(name)) else {
                return Err(format!("it has a header {name:?} that it cannot have"));
            };
            headers.push((name.to_owned(), value.to_owned()));
        }
        let payload = match doc.get("payload") {
            None | Some(Value::Null) => Vec::new(),
            Some(Value::String(text)) => text.as_bytes().to_vec(),
            Some(Value::Binary(binary)) => binary.bytes.to_vec(),
            Some(other) => return Err(format!("its payload is of type {}", other.type_name())),
        };
        Ok(Job {
            key,
            upstream,
            method,
            path,
            headers,
            payload,
            due: due(doc).ok_or("it has no datetime due")?,
            attempts: attempts(doc),
            idempotency_key: text("idempotency_key").map_or_else(|| key.to_string(), str::to_owned),
            cron: text("cron").map(str::to_owned),
        })
    }
}

/// What a document says instead of before.
pub(super) struct Said<'a> {
    pub(super) state: &'a str,
    pub(super) attempts: u32,
    /// `None`: as it was.
    pub(super) due: Option<i64>,
    /// Why it failed last, and when; `None`: it has not.
    pub(super) error: Option<(&'a str, i64)>,
}

/// The document of a job of which other things are to be said.
pub(super) fn rewritten(doc: Doc<'_>, said: &Said<'_>) -> Vec<u8> {
    let mut new = DocBuf::with_capacity(256);
    for (name, value) in doc {
        match name {
            "state" | "attempts" | "error" | "failed" => {}
            "due" if said.due.is_some() => {}
            _ => {
                new.push(name, value);
            }
        }
    }
    if let Some(due) = said.due {
        new.push("due", Value::DateTime(due));
    }
    new.push("state", said.state).push("attempts", i64::from(said.attempts));
    if let Some((error, at)) = said.error {
        let mut end = error.len().min(MAX_ERROR);
        while !error.is_char_boundary(end) {
            end -= 1;
        }
        new.push("error", &error[..end]).push("failed", Value::DateTime(at));
    }
    crate::ops::finished(new)
}
