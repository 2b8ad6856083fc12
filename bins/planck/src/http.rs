//! HTTP requests, handed to the pool of instances.
//!
//! Invariant: what went wrong inside a guest is logged and not shown; the client
//! gets a problem with a stable code.

use crate::observe::Observed;
use net::http::{Answered, GuestRequest, GuestResponse, HttpHandler};
use proto::Status;
use runtime_api::pool::{Failure, Pool};
use std::sync::Arc;
use tokio::sync::oneshot;

/// What stands behind the HTTP listener.
pub struct Pages {
    pool: Option<Arc<Pool>>,
    observed: Arc<Observed>,
}

impl Pages {
    /// The pool behind the listener; without one only static files are served.
    pub fn new(pool: Option<Arc<Pool>>, observed: Arc<Observed>) -> Pages {
        Pages { pool, observed }
    }
}

impl HttpHandler for Pages {
    async fn handle(&self, request: GuestRequest) -> GuestResponse {
        let Some(pool) = &self.pool else {
            return GuestResponse::problem(Status::NotFound, "there is no file of that name here");
        };
        let (answer, answered) = oneshot::channel();
        // If the client has gone meanwhile, nobody is left to tell.
        pool.submit(request.encode(), move |outcome| drop(answer.send(outcome)));
        match answered.await {
            Ok(Ok(answer)) => GuestResponse::decode(answer.body).unwrap_or_else(|error| {
                tracing::error!(method = %request.method, path = request.path(), "the guest's response is none: {error}");
                GuestResponse::problem(Status::Internal, "the service failed")
            }),
            Ok(Err(failure)) => refuse(&request, &failure),
            Err(_) => GuestResponse::problem(Status::Internal, "the service failed"),
        }
    }

    fn answered(&self, answered: &Answered<'_>) {
        self.observed.http.answered(answered);
    }
}

fn refuse(request: &GuestRequest, failure: &Failure) -> GuestResponse {
    match failure {
        Failure::Busy { retry_after_nanos } => {
            let seconds = retry_after_nanos.div_ceil(1_000_000_000).max(1);
            let mut response = GuestResponse::problem(Status::Busy, &failure.to_string());
            response.headers.retain(|(name, _)| name != "retry-after");
            response.with_header("retry-after", seconds.to_string())
        }
        Failure::Closed => GuestResponse::problem(Status::Busy, &failure.to_string()),
        Failure::Trap(trap) => {
            tracing::error!(method = %request.method, path = request.path(), "the guest failed: {trap}");
            match trap.kind() {
                runtime_api::TrapKind::Deadline => {
                    GuestResponse::problem(Status::Timeout, "the service took too long")
                }
                runtime_api::TrapKind::RequestTooLarge => GuestResponse::problem(
                    Status::MessageTooLarge,
                    "the request is larger than the service takes",
                ),
                _ => GuestResponse::problem(Status::Internal, "the service failed"),
            }
        }
    }
}
