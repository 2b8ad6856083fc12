//! A response that leaves while its handler runs.
//!
//! Invariant: once the head has left there is no other answer: a handler that then fails, or
//! answers anew, breaks the body off, and the client sees that it is not whole.

use crate::{Error, Response, Result, host};
use proto::Status;
use std::cell::Cell;
use std::fmt::{self, Write as _};

/// Bytes that are gathered before they leave.
const GATHER_BYTES: usize = 16 << 10;

thread_local! {
    /// Whether the head of this call has left.
    static BEGUN: Cell<bool> = const { Cell::new(false) };
}

/// The body of a response whose head has left: see [`Response::stream`].
#[derive(Debug)]
pub struct Stream {
    buffer: Vec<u8>,
}

/// A call begins: nothing has left.
pub(crate) fn reset() {
    BEGUN.set(false);
}

/// Whether the head of this call has left.
pub(crate) fn has_begun() -> bool {
    BEGUN.get()
}

impl Response {
    /// Sends status, headers and what there is of a body now; the rest follows by
    /// [`Stream::write`] while the handler runs, as much as it likes, and ends with
    /// [`Stream::end`].
    ///
    /// ```
    /// use planck_sdk::{Request, Response, Result};
    ///
    /// fn numbers(_: &Request<'_>) -> Result<Response> {
    ///     let mut out = Response::new(200).header("content-type", "text/csv").stream()?;
    ///     for n in 0..100_000_u64 {
    ///         write!(out, "{n},{}\n", n * n)?;
    ///     }
    ///     Ok(out.end())
    /// }
    /// # let answer = planck_sdk::testing::ask(numbers, "GET", "/", b"");
    /// # assert!(answer.body.ends_with("\n99999,9999800001\n"));
    /// ```
    ///
    /// All of it is one call under the limits of a call: the host waits for a slow client, but
    /// no longer than `wasm.deadline_in_ms`.
    ///
    /// # Errors
    /// The client has gone, or wants no body (HEAD): to be returned, like any other error.
    pub fn stream(self) -> Result<Stream> {
        let mut head = Vec::new();
        self.write(&mut head);
        BEGUN.set(true);
        host::write(&head)?;
        head.clear();
        Ok(Stream { buffer: head })
    }
}

impl Stream {
    /// Adds to the body. What is small is gathered; [`Stream::flush`] sends it.
    ///
    /// # Errors
    /// The client has gone.
    pub fn write(&mut self, bytes: impl AsRef<[u8]>) -> Result<()> {
        let bytes = bytes.as_ref();
        if self.buffer.len() + bytes.len() >= GATHER_BYTES {
            self.flush()?;
        }
        if bytes.len() >= GATHER_BYTES {
            return host::write(bytes);
        }
        self.buffer.extend_from_slice(bytes);
        Ok(())
    }

    /// For `write!(stream, ..)`.
    ///
    /// # Errors
    /// The client has gone.
    pub fn write_fmt(&mut self, text: fmt::Arguments<'_>) -> Result<()> {
        if let Some(text) = text.as_str() {
            return self.write(text);
        }
        let mut adapter = Adapter { stream: self, failed: None };
        match adapter.write_fmt(text) {
            Ok(()) => Ok(()),
            Err(fmt::Error) => Err(adapter.failed.unwrap_or_else(|| {
                Error::new(Status::Internal, "a value could not be written as text")
            })),
        }
    }

    /// Sends what was gathered.
    ///
    /// # Errors
    /// The client has gone.
    pub fn flush(&mut self) -> Result<()> {
        if !self.buffer.is_empty() {
            host::write(&self.buffer)?;
            self.buffer.clear();
        }
        Ok(())
    }

    /// Ends the body: what the handler has to return.
    pub fn end(self) -> Response {
        Response::rest(self.buffer)
    }
}

/// Keeps the error that formatting has no place for.
struct Adapter<'a> {
    stream: &'a mut Stream,
    failed: Option<Error>,
}

impl fmt::Write for Adapter<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.stream.write(text).map_err(|error| {
            self.failed = Some(error);
            fmt::Error
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Request;
    use crate::testing::{ask, leave_after, pieces, take_log};

    fn report(request: &Request<'_>) -> Result<Response> {
        let mut out = Response::text("begin ").status(201).stream()?;
        for n in 0..3 {
            write!(out, "{n};")?;
        }
        match request.path() {
            "/flush" => out.flush()?,
            "/large" => out.write([b'x'; GATHER_BYTES])?,
            "/fail" => return Err(Error::bad_request("too late")),
            "/anew" => return Ok(Response::text("another")),
            _ => {}
        }
        out.write("end")?;
        Ok(out.end())
    }

    #[test]
    fn pieces_are_gathered_and_the_last_is_returned() {
        let answer = ask(report, "GET", "/", b"");
        assert_eq!((answer.status, answer.body.as_str()), (201, "begin 0;1;2;end"));
        assert_eq!(pieces(), ["begin "]);
        assert_eq!(ask(report, "GET", "/flush", b"").body, "begin 0;1;2;end");
        assert_eq!(pieces(), ["begin ", "0;1;2;"]);
        assert_eq!(ask(report, "GET", "/large", b"").body.len(), 15 + GATHER_BYTES);
        assert_eq!(pieces().len(), 3);
        // The next call begins anew.
        assert_eq!(ask(|_| Ok(Response::text("whole")), "GET", "/", b"").body, "whole");
        assert_eq!(pieces(), [""; 0]);
    }

    #[test]
    fn a_failure_behind_the_head_breaks_off() {
        for (path, log) in [("/fail", "too late"), ("/anew", "answered again")] {
            let answer = ask(report, "GET", path, b"");
            assert_eq!((answer.is_whole(), answer.status), (false, 201), "{path}");
            assert!(take_log().concat().contains(log), "{path}");
        }
        assert!(ask(report, "GET", "/", b"").is_whole());
    }

    #[test]
    fn a_client_that_has_gone_ends_the_handler() {
        leave_after(1);
        let answer = ask(report, "GET", "/flush", b"");
        assert!(!answer.is_whole());
        assert_eq!(pieces(), ["begin "]);
        assert_eq!(take_log(), [""; 0], "nobody has to be told");
    }
}
