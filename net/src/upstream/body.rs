//! The body of an answer, while it arrives.
//!
//! What must stay true: it is read once, forwards. What is not read yet is held by the
//! window of its connection, by the kernel, and then by the upstream, which waits. A body
//! that breaks off, passes its size or its time ends in that failure, for good: half of one
//! never looks whole.

use super::exchange::{End, Flight};
use super::line::Line;
use super::stats::Failure;
use bytes::{Buf, Bytes};
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use proto::Status;
use tokio::runtime::Handle;
use tokio::time::{Instant, timeout_at};

/// A body on its way, and the call it belongs to.
pub(super) struct Arriving {
    state: State,
    /// Bytes that came and were not read.
    rest: Bytes,
    /// Bytes that may still come.
    left: u64,
    deadline: Instant,
}

enum State {
    /// More may come.
    Open(Box<(Flight, Line, Incoming)>),
    /// All has come.
    Whole,
    /// No more will.
    Failed(Failure),
}

impl Arriving {
    /// The body of a call; one that is empty is over at once.
    pub(super) async fn new(
        flight: Flight,
        line: Line,
        body: Incoming,
        most: u64,
        deadline: Instant,
    ) -> Arriving {
        let ended = body.is_end_stream();
        let state = State::Open(Box::new((flight, line, body)));
        let mut arriving = Arriving { state, rest: Bytes::new(), left: most, deadline };
        if ended {
            arriving.finish().await;
        }
        arriving
    }

    /// The call is over and all has come: its connection may serve the next.
    async fn finish(&mut self) {
        if let State::Open(open) = std::mem::replace(&mut self.state, State::Whole) {
            let (flight, line, body) = *open;
            drop(body);
            // Before the place is given back, so that whoever gets it finds the connection.
            flight.upstream.idle.put(line).await;
        }
    }

    fn fail(&mut self, how: Failure) {
        if let State::Open(open) = std::mem::replace(&mut self.state, State::Failed(how)) {
            let mut flight = open.0;
            flight.end = End::Failed(how);
            flight.upstream.note_failure(how);
        }
    }

    /// Waits until `rest` has bytes, or no more come.
    async fn fill(&mut self) {
        while self.rest.is_empty()
            && let State::Open(open) = &mut self.state
        {
            let (flight, _, body) = &mut **open;
            match timeout_at(self.deadline, body.frame()).await {
                Err(_) => self.fail(Failure::Timeout),
                Ok(None) => self.finish().await,
                Ok(Some(Err(_))) => self.fail(Failure::Broken),
                // What is no data is trailers, which nobody is given.
                Ok(Some(Ok(frame))) => {
                    let Ok(data) = frame.into_data() else { continue };
                    let len = data.len() as u64;
                    flight.upstream.counts().received_bytes += len;
                    match self.left.checked_sub(len) {
                        None => self.fail(Failure::TooLarge),
                        Some(left) => (self.left, self.rest) = (left, data),
                    }
                }
            }
        }
    }

    async fn read(&mut self, out: &mut [u8]) -> Result<usize, Status> {
        let mut filled = 0;
        while filled < out.len() {
            self.fill().await;
            let part = self.rest.len().min(out.len() - filled);
            match (&self.state, part) {
                (State::Failed(how), 0) => return Err(how.status()),
                (_, 0) => break,
                _ => {}
            }
            out[filled..filled + part].copy_from_slice(&self.rest[..part]);
            self.rest.advance(part);
            filled += part;
        }
        // So that the last byte of a body of known length ends the call.
        if let State::Open(open) = &self.state
            && self.rest.is_empty()
            && open.2.is_end_stream()
        {
            self.finish().await;
        }
        Ok(filled)
    }
}

/// The body of an answer, for the guest's thread.
pub struct UpstreamBody {
    runtime: Handle,
    arriving: Arriving,
}

impl UpstreamBody {
    pub(super) fn new(runtime: Handle, arriving: Arriving) -> UpstreamBody {
        UpstreamBody { runtime, arriving }
    }

    /// Fills `out`, and waits for it; less only where the body ends. Blocks: not for a
    /// thread that drives an async runtime.
    ///
    /// # Errors
    /// The body broke off, or passed its size or its time; what `out` holds is nothing then.
    pub fn read(&mut self, out: &mut [u8]) -> Result<usize, Status> {
        self.runtime.block_on(self.arriving.read(out))
    }
}
