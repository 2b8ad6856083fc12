//! A job to be scheduled: the document of a Schedule, field by field.
//!
//! Invariant: what is left out is not written, so that the server's own rules hold for it.

use crate::doc::{Binary, Doc, DocBuf, DocError, Value};
use core::time::Duration;

/// A call to be made later: of a route of the service's own guest, or of a service outside.
///
/// ```
/// use proto::NewJob;
/// use std::time::Duration;
///
/// let remind = NewJob::route("/reminders/send").text("42").after(Duration::from_secs(3600));
/// let mail = NewJob::upstream("mail", "/send").header("x-kind", "welcome").text("hello");
/// # assert!(remind.encode().is_ok() && mail.encode().is_ok());
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct NewJob {
    upstream: Option<String>,
    path: String,
    method: Option<String>,
    headers: Vec<(String, String)>,
    payload: Payload,
    due: Option<Due>,
    max_attempts: Option<u32>,
    idempotency_key: Option<String>,
}

#[derive(Clone, Debug, PartialEq)]
enum Payload {
    None,
    Text(String),
    Bytes(Vec<u8>),
    Document(Vec<u8>),
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Due {
    At(i64),
    In(i64),
}

impl NewJob {
    fn new(upstream: Option<String>, path: &str) -> NewJob {
        NewJob {
            upstream,
            path: path.to_owned(),
            method: None,
            headers: Vec::new(),
            payload: Payload::None,
            due: None,
            max_attempts: None,
            idempotency_key: None,
        }
    }

    /// A POST to a path, with a query if it has one, of the service's own guest; as soon as
    /// it is committed.
    pub fn route(path: &str) -> NewJob {
        NewJob::new(None, path)
    }

    /// A POST to a path of a service outside, by its name in `upstreams`; as soon as it is
    /// committed.
    pub fn upstream(name: &str, path: &str) -> NewJob {
        NewJob::new(Some(name.to_owned()), path)
    }

    /// Another method.
    #[must_use]
    pub fn method(self, method: &str) -> NewJob {
        NewJob { method: Some(method.to_owned()), ..self }
    }

    /// One more header.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> NewJob {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The body, as text.
    #[must_use]
    pub fn text(self, body: impl Into<String>) -> NewJob {
        NewJob { payload: Payload::Text(body.into()), ..self }
    }

    /// The body, as bytes.
    #[must_use]
    pub fn bytes(self, body: impl Into<Vec<u8>>) -> NewJob {
        NewJob { payload: Payload::Bytes(body.into()), ..self }
    }

    /// The body: a document, which is sent as JSON.
    #[must_use]
    pub fn document(self, body: Doc<'_>) -> NewJob {
        NewJob { payload: Payload::Document(body.as_bytes().to_vec()), ..self }
    }

    /// Not before that time, in milliseconds since 1970.
    #[must_use]
    pub fn at(self, millis: i64) -> NewJob {
        NewJob { due: Some(Due::At(millis)), ..self }
    }

    /// Not before so much time has passed.
    #[must_use]
    pub fn after(self, time: Duration) -> NewJob {
        let millis = i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
        NewJob { due: Some(Due::In(millis)), ..self }
    }

    /// As soon as it is committed, whatever was said before.
    #[must_use]
    pub fn at_once(self) -> NewJob {
        NewJob { due: None, ..self }
    }

    /// Given up after so many attempts.
    #[must_use]
    pub fn max_attempts(self, attempts: u32) -> NewJob {
        NewJob { max_attempts: Some(attempts), ..self }
    }

    /// By which who is called knows it again; else that is the key of the job.
    #[must_use]
    pub fn idempotency_key(self, key: &str) -> NewJob {
        NewJob { idempotency_key: Some(key.to_owned()), ..self }
    }

    /// The document of it.
    ///
    /// # Errors
    /// A header twice, or text that no document can hold.
    pub fn encode(&self) -> Result<Vec<u8>, DocError> {
        let mut doc = DocBuf::new();
        doc.push("path", &self.path);
        for (name, text) in [
            ("upstream", &self.upstream),
            ("method", &self.method),
            ("idempotency_key", &self.idempotency_key),
        ] {
            if let Some(text) = text {
                doc.push(name, text);
            }
        }
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
            Payload::Bytes(bytes) => {
                doc.push("payload", Binary { subtype: 0, bytes });
            }
            Payload::Document(body) => {
                doc.push("payload", Doc::trusted(body));
            }
        }
        match self.due {
            None => {}
            Some(Due::At(at)) => {
                doc.push("due", Value::DateTime(at));
            }
            Some(Due::In(millis)) => {
                doc.push("in_ms", millis);
            }
        }
        if let Some(attempts) = self.max_attempts {
            doc.push("max_attempts", i64::from(attempts));
        }
        doc.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::to_json;

    #[test]
    fn a_job_says_what_was_said_of_it_and_nothing_else() {
        let said = |job: NewJob| to_json(Doc::parse(&job.encode().unwrap()).unwrap());
        assert_eq!(said(NewJob::route("/a?b=1")), r#"{"path":"/a?b=1"}"#);
        let all = NewJob::upstream("mail", "/send")
            .method("PUT")
            .header("x-a", "b")
            .text("hi")
            .after(Duration::from_secs(2))
            .max_attempts(3)
            .idempotency_key("k");
        assert_eq!(
            said(all.clone()),
            r#"{"path":"/send","upstream":"mail","method":"PUT","idempotency_key":"k","headers":{"x-a":"b"},"payload":"hi","in_ms":2000,"max_attempts":3}"#
        );
        assert!(!said(all.at_once()).contains("in_ms"));
        let doc = crate::json::parse_json(r#"{"n":1}"#).unwrap();
        let timed = NewJob::route("/a").document(Doc::trusted(&doc)).at(0);
        assert_eq!(
            said(timed),
            r#"{"path":"/a","payload":{"n":1},"due":{"$date":"1970-01-01T00:00:00Z"}}"#
        );
        assert!(NewJob::route("/").header("a", "b").header("a", "c").encode().is_err());
    }
}
