//! HTTP requests, handed to the pool of instances.
//!
//! Invariant: what went wrong inside a guest is logged and not shown; the client
//! gets a problem with a stable code.

use net::http::{GuestRequest, GuestResponse, HttpHandler};
use proto::Status;
use runtime_api::pool::{Failure, Pool};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;

/// What another thread needs to wake up, by and large.
const HAND_OVER: Duration = Duration::from_micros(100);

/// What stands behind the HTTP listener.
pub struct Pages {
    pool: Option<Arc<Pool>>,
}

impl Pages {
    /// The pool behind the listener; without one only static files are served.
    pub fn new(pool: Option<Arc<Pool>>) -> Pages {
        Pages { pool }
    }
}

impl HttpHandler for Pages {
    async fn handle(&self, request: GuestRequest) -> GuestResponse {
        let Some(pool) = &self.pool else {
            return GuestResponse::problem(Status::NotFound, "there is no file of that name here");
        };
        let (route, encoded, mut body) = (route(&request), request.encode(), Vec::new());
        if let Some(outcome) = pool.here(route, &encoded, &mut body, elsewhere) {
            return match outcome {
                Ok(_) => decode(&request, body),
                Err(trap) => refuse(&request, &Failure::Trap(trap)),
            };
        }
        let (answer, answered) = oneshot::channel();
        // If the client has gone meanwhile, nobody is left to tell.
        pool.submit(encoded, move |outcome| drop(answer.send(outcome)));
        match answered.await {
            Ok(Ok(answer)) => {
                pool.learn(route, &answer.report);
                decode(&request, answer.body)
            }
            Ok(Err(failure)) => refuse(&request, &failure),
            Err(_) => GuestResponse::problem(Status::Internal, "the service failed"),
        }
    }
}

/// Requests that take about as long as each other: the method, and the first two steps of
/// the path.
fn route(request: &GuestRequest) -> u64 {
    let path = request.target.split('?').next().unwrap_or_default();
    let mut hasher = DefaultHasher::new();
    request.method.as_str().hash(&mut hasher);
    path.split('/').skip(1).take(2).for_each(|step| step.hash(&mut hasher));
    hasher.finish()
}

/// Lets another thread go on with the work of this one, which will be long.
fn elsewhere() {
    // The other thread takes over while this one rests; one that rests too briefly has
    // its work back, and is told again.
    tokio::task::block_in_place(|| std::thread::sleep(HAND_OVER));
}

fn decode(request: &GuestRequest, body: Vec<u8>) -> GuestResponse {
    GuestResponse::decode(body).unwrap_or_else(|error| {
        tracing::error!(method = %request.method, target = %request.target, "the guest's response is none: {error}");
        GuestResponse::problem(Status::Internal, "the service failed")
    })
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
            tracing::error!(method = %request.method, target = %request.target, "the guest failed: {trap}");
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
