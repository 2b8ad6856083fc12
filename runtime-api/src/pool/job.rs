//! A request on its way through the pool.
//!
//! What must stay true: the caller is answered exactly once. A ticket dropped
//! unanswered, by a panic or a bug, answers in its `Drop`.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use crate::{CallReport, Outlet, Trap, TrapKind};

/// What a guest answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The response bytes: a buffer of this answer's own.
    pub body: Vec<u8>,
    /// What the call used.
    pub report: CallReport,
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// Too many requests waited, or this one waited too long. It was not run.
    #[error("every instance is busy; try again in {} s", .retry_after_nanos.div_ceil(1_000_000_000))]
    Busy {
        /// When to come back, in nanoseconds from now; for `Retry-After`.
        retry_after_nanos: u64,
    },
    /// The pool is shutting down. It was not run.
    #[error(
        "the service is shutting down; send the request to another instance or try again later"
    )]
    Closed,
    /// The guest did not finish.
    #[error(transparent)]
    Trap(Trap),
}

/// Told, on the worker's thread, when a job is run: for who traces it.
pub trait Follows: Send + Sync {
    /// It is run from now on.
    fn begins(&self);
    /// It has been.
    fn ends(&self, failed: bool);
}

type Reply = Box<dyn FnOnce(Result<Answer, Failure>) + Send>;

/// A queued request and the right to answer it once.
pub(super) struct Ticket {
    request: Vec<u8>,
    /// Monotonic nanoseconds when it was queued.
    pub(super) queued: u64,
    reply: Option<Reply>,
    pub(super) follower: Option<Arc<dyn Follows>>,
    pub(super) outlet: Option<Arc<dyn Outlet>>,
}

impl Ticket {
    pub(super) fn new(
        request: Vec<u8>,
        queued: u64,
        reply: Reply,
        follower: Option<Arc<dyn Follows>>,
        outlet: Option<Arc<dyn Outlet>>,
    ) -> Self {
        Self { request, queued, reply: Some(reply), follower, outlet }
    }

    pub(super) fn request(&mut self) -> &[u8] {
        &self.request
    }

    pub(super) fn answer(mut self, answer: Result<Answer, Failure>) {
        self.send(answer);
    }

    fn send(&mut self, answer: Result<Answer, Failure>) {
        if let Some(reply) = self.reply.take() {
            // The caller's code: its panic must not end a worker.
            let _replied = catch_unwind(AssertUnwindSafe(|| reply(answer)));
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.send(Err(Failure::Trap(Trap::new(
            TrapKind::Host,
            "the request was dropped before it was run; please report this",
        ))));
    }
}
