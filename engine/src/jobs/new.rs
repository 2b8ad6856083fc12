//! A job, from what was asked for.
//!
//! ```text
//! {path: "/reminders/send",           required: what is called
//!  upstream?: "mail",                  a service of upstreams; else the service's own guest
//!  method?: "POST",
//!  headers?: {name: text},
//!  payload?: text, binary, or a document, which is sent as JSON,
//!  due?: datetime, or in_ms?: n,       neither: at once
//!  max_attempts?: n,
//!  idempotency_key?: text}             else the key of the job
//! ```
//!
//! What must stay true: what is wrong with a job that can be seen is told to who asks for
//! it, not found when it is run. Headers that say what only the host knows are not taken.

use proto::Status;
use proto::doc::{Binary, Doc, DocBuf, Value};
use proto::json::to_json;

use super::JobOptions;
use crate::Refusal;
use crate::error::shown;

/// Bytes of the longest path.
const MAX_PATH: usize = 2048;
/// Headers of one job.
const MAX_HEADERS: usize = 64;
/// Bytes of them.
const MAX_HEADER_BYTES: usize = 8192;
/// Bytes of the longest idempotency key.
const MAX_IDEMPOTENCY_KEY: usize = 128;
/// The most attempts a job may ask for.
const MAX_ATTEMPTS: i64 = 1000;
const METHODS: [&str; 5] = ["GET", "POST", "PUT", "PATCH", "DELETE"];

/// A job that is to be scheduled: checked.
#[derive(Clone, Debug, PartialEq)]
pub struct NewJob {
    upstream: Option<String>,
    method: String,
    path: String,
    headers: Vec<(String, String)>,
    payload: Payload,
    due: When,
    pub(super) max_attempts: Option<u32>,
    idempotency_key: Option<String>,
    /// The entry of a timetable that it is of.
    pub(super) cron: Option<String>,
}

#[derive(Clone, Debug, PartialEq)]
enum Payload {
    None,
    Text(String),
    Binary(Vec<u8>),
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum When {
    Now,
    At(i64),
    In(i64),
}

fn bad(message: impl Into<String>) -> Refusal {
    Refusal::new(Status::BadJob, message)
}

impl NewJob {
    /// Reads what was asked for.
    ///
    /// # Errors
    /// What is wrong with it, and what it may be.
    pub(crate) fn parse(document: &[u8], options: &JobOptions) -> Result<NewJob, Refusal> {
        let doc = Doc::parse(document).map_err(|e| bad(format!("the job: {e}")))?;
        let mut job = NewJob {
            upstream: None,
            method: "POST".to_owned(),
            path: String::new(),
            headers: Vec::new(),
            payload: Payload::None,
            due: When::Now,
            max_attempts: None,
            idempotency_key: None,
            cron: None,
        };
        let mut typed = false;
        for (name, value) in doc {
            match (name, value) {
                ("path", Value::String(path)) => job.path = path.to_owned(),
                ("upstream", Value::String(name)) => job.upstream = Some(name.to_owned()),
                ("method", Value::String(method)) => job.method = method.to_owned(),
                ("headers", Value::Doc(headers)) => job.headers = read_headers(headers)?,
                ("payload", Value::String(text)) => job.payload = Payload::Text(text.to_owned()),
                ("payload", Value::Binary(binary)) => {
                    job.payload = Payload::Binary(binary.bytes.to_vec());
                }
                ("payload", Value::Doc(doc)) => {
                    (job.payload, typed) = (Payload::Text(to_json(doc)), true);
                }
                ("due" | "in_ms", _) if job.due != When::Now => {
                    return Err(bad("a job has due or in_ms, not both: leave one of them out"));
                }
                ("due", Value::DateTime(at)) => job.due = When::At(at),
                ("in_ms", value) => {
                    let millis = value.as_i64().filter(|millis| *millis >= 0);
                    let wrong = || bad("in_ms is a whole number from 0 on");
                    job.due = When::In(millis.ok_or_else(wrong)?);
                }
                ("max_attempts", value) => {
                    let most = value.as_i64().filter(|n| (1..=MAX_ATTEMPTS).contains(n));
                    let wrong =
                        || bad(format!("max_attempts is a whole number from 1 to {MAX_ATTEMPTS}"));
                    let most = most.ok_or_else(wrong)?;
                    job.max_attempts = Some(u32::try_from(most).unwrap_or(u32::MAX));
                }
                ("idempotency_key", Value::String(key)) => {
                    job.idempotency_key = Some(key.to_owned());
                }
                _ => {
                    return Err(bad(format!(
                        "a job is {{path: \"/..\", upstream?: \"name\", method?: \"POST\", \
                         headers?: {{..}}, payload?: text, binary or a document, due?: datetime or \
                         in_ms?: n, max_attempts?: n, idempotency_key?: text}}, and has no {} of \
                         type {}",
                        shown(name),
                        value.type_name()
                    )));
                }
            }
        }
        if typed && !job.headers.iter().any(|(name, _)| name == "content-type") {
            job.headers.push(("content-type".to_owned(), "application/json".to_owned()));
        }
        job.check(options)?;
        Ok(job)
    }

    /// It is due then.
    pub(super) fn due_at(&mut self, at: i64) {
        self.due = When::At(at);
    }

    fn check(&self, options: &JobOptions) -> Result<(), Refusal> {
        let plain = |b: u8| b.is_ascii_graphic() && b != b'#';
        if !self.path.starts_with('/')
            || self.path.len() > MAX_PATH
            || !self.path.bytes().all(plain)
        {
            return Err(bad(format!(
                "path is {}: it is a path and query as a client sends them, beginning with /, up \
                 to {MAX_PATH} bytes",
                shown(&self.path)
            )));
        }
        if !METHODS.contains(&self.method.as_str()) {
            let (method, known) = (shown(&self.method), METHODS.join(", "));
            return Err(bad(format!("method is {method}: it is one of {known}")));
        }
        if let Some(name) = &self.upstream
            && !options.upstreams.contains(name)
        {
            let message = format!(
                "the service {} is not on the allowlist; add it to upstreams in service.yaml",
                shown(name)
            );
            return Err(Refusal::new(Status::NoSuchUpstream, message));
        }
        let bytes = match &self.payload {
            Payload::None => 0,
            Payload::Text(text) => text.len(),
            Payload::Binary(bytes) => bytes.len(),
        };
        if bytes > options.max_payload {
            return Err(bad(format!(
                "the payload has {bytes} bytes, and jobs.max_payload is {}: keep what is large in \
                 a document, and its key in the payload",
                options.max_payload
            )));
        }
        if let Some(key) = &self.idempotency_key {
            let fits = (1..=MAX_IDEMPOTENCY_KEY).contains(&key.len());
            if !fits || !key.bytes().all(|b| b.is_ascii_graphic()) {
                return Err(bad(format!(
                    "idempotency_key is 1 to {MAX_IDEMPOTENCY_KEY} visible characters of ASCII"
                )));
            }
        }
        Ok(())
    }

    /// The document it is kept as, asked for by somebody at a time.
    pub(crate) fn document(&self, by: &str, now: i64) -> Vec<u8> {
        let due = match self.due {
            When::Now => now,
            When::At(at) => at,
            When::In(millis) => now.saturating_add(millis),
        };
        let mut doc = DocBuf::with_capacity(256);
        doc.push("kind", if self.upstream.is_some() { "upstream" } else { "route" });
        if let Some(name) = &self.upstream {
            doc.push("upstream", name);
        }
        doc.push("method", &self.method).push("path", &self.path);
        if !self.headers.is_empty() {
            doc.doc("headers", |doc| {
                for (name, value) in &self.headers {
                    doc.push(name, value);
                }
            });
        }
        match &self.payload {
            Payload::None => {}
            Payload::Text(text) => {
                doc.push("payload", text);
            }
            Payload::Binary(bytes) => {
                doc.push("payload", Binary { subtype: 0, bytes });
            }
        }
        doc.push("due", Value::DateTime(due)).push("created", Value::DateTime(now));
        doc.push("by", by).push("state", "waiting").push("attempts", 0);
        if let Some(most) = self.max_attempts {
            doc.push("max_attempts", i64::from(most));
        }
        if let Some(key) = &self.idempotency_key {
            doc.push("idempotency_key", key);
        }
        if let Some(entry) = &self.cron {
            doc.push("cron", entry);
        }
        crate::ops::finished(doc)
    }
}

/// Headers of one call, in lower case.
fn read_headers(doc: Doc<'_>) -> Result<Vec<(String, String)>, Refusal> {
    let (mut headers, mut bytes) = (Vec::new(), 0);
    for (name, value) in doc {
        let lower = name.to_ascii_lowercase();
        let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
        let Some(value) = value.as_str().filter(|_| !name.is_empty() && name.bytes().all(token))
        else {
            return Err(bad(format!("the header {} is none: a name, and a text", shown(name))));
        };
        if !value.bytes().all(|b| b == b'\t' || (b' '..=b'~').contains(&b)) {
            return Err(bad(format!("the header {} has a value that is none", shown(name))));
        }
        if is_the_hosts(&lower) {
            return Err(bad(format!("the header {} is the host's own to set", shown(name))));
        }
        if headers.iter().any(|(other, _)| *other == lower) {
            return Err(bad(format!("the header {} is there twice", shown(name))));
        }
        bytes += name.len() + value.len();
        headers.push((lower, value.to_owned()));
    }
    if headers.len() > MAX_HEADERS || bytes > MAX_HEADER_BYTES {
        return Err(bad(format!(
            "a job may have {MAX_HEADERS} headers of {MAX_HEADER_BYTES} bytes in all"
        )));
    }
    Ok(headers)
}

/// Headers that only the host sets.
pub(super) fn is_the_hosts(name: &str) -> bool {
    name.starts_with("planck-")
        || matches!(
            name,
            "host"
                | "x-request-id"
                | "idempotency-key"
                | "content-length"
                | "connection"
                | "transfer-encoding"
                | "upgrade"
                | "te"
                | "trailer"
                | "expect"
        )
}
