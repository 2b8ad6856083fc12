//! The answer to one request of a guest that may give it in pieces: whole, when its call has
//! ended, or from its first `host_write` on.
//!
//! What must stay true: there is one head. A call that fails behind it breaks the body off,
//! so that the client sees that it is not whole; what went wrong stands in the log. A trace
//! ends with the call, not with the head.

use crate::http::{decode, refuse};
use crate::trace::{Following, Trace, Tracer, Value};
use net::http::{Giver, GuestRequest, GuestResponse, Piece, Ungiven, pieces};
use runtime_api::pool::{Failure, Follows};
use runtime_api::{Outlet, Unwritten};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::oneshot;

/// Characters of a path that a trace tells.
const PATH: usize = 256;

/// A request's trace, and who is told when it is finished.
pub struct Traced {
    pub tracer: Arc<Tracer>,
    pub trace: Arc<Trace>,
}

impl Traced {
    /// Ends the trace of a request that was answered so.
    pub fn finish(&self, request: &GuestRequest, status: u16, is_cut: bool) {
        let path: String = request.path().chars().take(PATH).collect();
        let attributes = vec![
            ("http.request.method", Value::Text(request.method.to_string())),
            ("url.path", Value::Text(path)),
            ("http.response.status_code", Value::Number(status.into())),
        ];
        self.tracer.finish(&self.trace, attributes, is_cut || status >= 500);
    }
}

/// See the top of the file.
pub struct Reply {
    request: Arc<GuestRequest>,
    traced: Option<Traced>,
    state: Mutex<State>,
}

enum State {
    /// Nothing has left yet; here the head goes.
    Waiting(oneshot::Sender<GuestResponse>),
    /// A head of that status has left, and here its body goes.
    Streaming(u16, Giver),
    /// Nobody waits for it any more.
    Over,
}

impl Reply {
    /// The answer to `request`, whose head goes to `head`.
    pub fn new(
        request: Arc<GuestRequest>,
        head: oneshot::Sender<GuestResponse>,
        traced: Option<Traced>,
    ) -> Arc<Reply> {
        Arc::new(Reply { request, traced, state: Mutex::new(State::Waiting(head)) })
    }

    /// Who is told when the call is run.
    pub fn follower(&self) -> Option<Arc<dyn Follows>> {
        let trace = Arc::clone(&self.traced.as_ref()?.trace);
        Some(Arc::new(Following(trace)))
    }

    /// The call has ended: with what it returned, or not.
    pub fn finish(&self, outcome: Result<Vec<u8>, Failure>) {
        let state = std::mem::replace(&mut *self.lock(), State::Over);
        let (status, is_cut) = match (state, outcome) {
            (State::Waiting(head), outcome) => {
                let response = match outcome {
                    Ok(body) => decode(&self.request, body),
                    Err(failure) => refuse(&self.request, &failure),
                };
                let status = response.status;
                // If the client has gone meanwhile, nobody is left to tell.
                drop(head.send(response));
                (status, false)
            }
            (State::Streaming(status, giver), Ok(last)) => {
                giver.finish(last.into());
                (status, false)
            }
            (State::Streaming(status, giver), Err(failure)) => {
                self.broke_off(&failure, giver.is_gone());
                (status, true)
            }
            (State::Over, outcome) => {
                outcome.err().iter().for_each(|failure| self.broke_off(failure, true));
                (499, true)
            }
        };
        if let Some(traced) = &self.traced {
            traced.finish(&self.request, status, is_cut);
        }
    }

    /// A guest that ends its call since nobody listens does as it should.
    fn broke_off(&self, failure: &Failure, is_gone: bool) {
        let (request_id, method, path) =
            (self.request.id(), &self.request.method, self.request.path());
        if is_gone {
            tracing::debug!(request_id, %method, path, "the client has gone: {failure}");
        } else {
            tracing::error!(request_id, %method, path, "the guest failed in the middle of its response: {failure}");
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Each change is one step: a holder that panicked leaves nothing half-done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The head and what came with it.
    fn begin(&self, state: &mut State, first: Vec<u8>) -> Result<(), Unwritten> {
        let response = GuestResponse::decode(first);
        let mut response = response.map_err(|error| Unwritten::Malformed(error.to_string()))?;
        let (giver, more) = pieces();
        response.more = Some(more);
        let streaming = State::Streaming(response.status, giver);
        let State::Waiting(head) = std::mem::replace(state, State::Over) else {
            return Err(Unwritten::Gone);
        };
        head.send(response).map_err(|_| Unwritten::Gone)?;
        *state = streaming;
        Ok(())
    }
}

impl Outlet for Reply {
    fn write(&self, piece: Vec<u8>, is_end: bool, patience_nanos: u64) -> Result<(), Unwritten> {
        // Nobody else wants the lock while the call runs.
        let mut state = self.lock();
        let giver = match &*state {
            State::Waiting(_) => return self.begin(&mut state, piece),
            State::Streaming(_, giver) => giver,
            State::Over => return Err(Unwritten::Gone),
        };
        let piece = Piece { bytes: piece.into(), is_end };
        let piece = match giver.try_give(piece) {
            Ok(()) => return Ok(()),
            Err(Ungiven::Gone) => return Err(Unwritten::Gone),
            Err(Ungiven::Full(piece)) => piece,
        };
        platform::sharing::long_ahead();
        // What else this thread has to do goes on elsewhere for all of the wait.
        let patience = Duration::from_nanos(patience_nanos);
        match tokio::task::block_in_place(|| giver.give(piece, patience)) {
            Ok(()) => Ok(()),
            Err(Ungiven::Gone) => Err(Unwritten::Gone),
            Err(Ungiven::Full(_)) => Err(Unwritten::Late),
        }
    }
}
