//! What a handler answers.

use crate::{Error, Html, Result};
use proto::Status;
use proto::http::{HeadersBuf, write_response};
use serde::Serialize;
use std::borrow::Cow;

/// Bytes that the headers of most responses do with.
const HEADERS_BYTES: usize = 128;

/// Bytes of JSON that many responses do with.
const JSON_BYTES: usize = 512;

/// A status, headers and a body.
#[derive(Clone, Debug)]
pub struct Response {
    status: u16,
    headers: HeadersBuf,
    body: Vec<u8>,
    /// Its head has left; this is the last piece of its body.
    is_rest: bool,
}

impl Response {
    /// An empty response of that status, which must be 200 to 599 (or 101: see
    /// [`Response::accept`]).
    pub fn new(status: u16) -> Response {
        Response {
            status,
            headers: HeadersBuf::with_capacity(HEADERS_BYTES),
            body: Vec::new(),
            is_rest: false,
        }
    }

    /// The last piece of a body whose head has left.
    pub(crate) fn rest(body: Vec<u8>) -> Response {
        Response { body, is_rest: true, ..Response::new(200) }
    }

    /// The last piece of a body whose head has left, if it is one.
    pub(crate) fn as_rest(&self) -> Option<&[u8]> {
        self.is_rest.then_some(&self.body)
    }

    /// 200 with plain text.
    pub fn text(body: impl Into<String>) -> Response {
        Response::new(200).header("content-type", "text/plain; charset=utf-8").body(body.into())
    }

    /// 200 with a page.
    pub fn html(page: Html) -> Response {
        Response::new(200)
            .header("content-type", "text/html; charset=utf-8")
            .body(page.into_string())
    }

    /// 200 with JSON.
    ///
    /// # Errors
    /// A value that JSON cannot hold, such as a map with keys that are no strings.
    pub fn json(value: &impl Serialize) -> Result<Response> {
        let mut body = Vec::with_capacity(JSON_BYTES);
        serde_json::to_writer(&mut body, value)
            .map_err(|e| Error::new(Status::Internal, format!("a response is no JSON: {e}")))?;
        Ok(Response::new(200).header("content-type", "application/json").body(body))
    }

    /// 303: the browser goes on with GET to `location`, a path of this service.
    pub fn see_other(location: &str) -> Response {
        Response::new(303).header("location", location)
    }

    /// Another status.
    #[must_use]
    pub fn status(mut self, status: u16) -> Response {
        self.status = status;
        self
    }

    /// One more header. Line breaks become spaces, so that no value can end a header.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Response {
        let is_break = |byte: u8| matches!(byte, b'\r' | b'\n' | 0);
        let clean = match value.bytes().any(is_break) {
            true => Cow::Owned(value.replace(['\r', '\n', '\0'], " ")),
            false => Cow::Borrowed(value),
        };
        if !self.headers.push(name, clean.as_bytes()) {
            crate::host::log(crate::host::Level::Warn, "a header over 65,535 bytes was left out");
        }
        self
    }

    /// Another body.
    #[must_use]
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Response {
        self.body = body.into();
        self
    }

    /// Status, headers and body, for a test that answers as another service.
    #[cfg(not(target_arch = "wasm32"))]
    pub(crate) fn into_parts(self) -> (u16, HeadersBuf, Vec<u8>) {
        (self.status, self.headers, self.body)
    }

    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        write_response(out, self.status, &self.headers, &self.body);
    }
}
