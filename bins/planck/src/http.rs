//! HTTP requests, handed to the guests.
//!
//! Invariant: what went wrong inside a guest is logged and not shown; the client
//! gets a problem with a stable code, and the id by which the line of the log is found.

use crate::guests::Guests;
use crate::observe::Observed;
use crate::trace::{Following, Parent, Trace, Tracer, Value};
use net::http::{Answered, GuestRequest, GuestResponse, HttpHandler};
use proto::Status;
use runtime_api::pool::{Failure, Follows};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;

/// Characters of a path that a trace tells.
const PATH: usize = 256;
/// What another thread needs to wake up, by and large.
const HAND_OVER: Duration = Duration::from_micros(100);

/// What stands behind the HTTP listener.
pub struct Pages {
    guests: Option<Arc<Guests>>,
    observed: Arc<Observed>,
    tracer: Option<Tracer>,
}

impl Pages {
    /// The guests behind the listener; without any only static files are served.
    pub fn new(
        guests: Option<Arc<Guests>>,
        observed: Arc<Observed>,
        tracer: Option<Tracer>,
    ) -> Pages {
        Pages { guests, observed, tracer }
    }

    async fn answer(&self, request: &GuestRequest, trace: Option<Arc<Trace>>) -> GuestResponse {
        let Some(guests) = &self.guests else {
            return no_file(request);
        };
        // Another one may serve a moment later: this one then hands the request on.
        let pool = guests.pool();
        let follower = trace.map(|trace| Arc::new(Following(trace)) as Arc<dyn Follows>);
        let (route, encoded, mut body) = (route(request), request.encode(), Vec::new());
        if let Some(outcome) = pool.here(route, &encoded, &mut body, follower.as_deref(), elsewhere)
        {
            return match outcome {
                Ok(_) => decode(request, body),
                Err(trap) => refuse(request, &Failure::Trap(trap)),
            };
        }
        let (answer, answered) = oneshot::channel();
        // If the client has gone meanwhile, nobody is left to tell.
        pool.submit_followed(encoded, follower, move |outcome| drop(answer.send(outcome)));
        match answered.await {
            Ok(Ok(answer)) => {
                pool.learn(route, &answer.report);
                decode(request, answer.body)
            }
            Ok(Err(failure)) => refuse(request, &failure),
            Err(_) => request.problem(Status::Internal, "the service failed"),
        }
    }
}

impl HttpHandler for Pages {
    async fn handle(&self, request: GuestRequest) -> GuestResponse {
        let Some(tracer) = &self.tracer else { return self.answer(&request, None).await };
        let parent = request.headers.get("traceparent");
        let parent = parent.and_then(|value| Parent::parse(value.as_bytes()));
        let Some(trace) = tracer.begin(parent) else { return self.answer(&request, None).await };
        let response = self.answer(&request, Some(Arc::clone(&trace))).await;
        let path: String = request.path().chars().take(PATH).collect();
        let attributes = vec![
            ("http.request.method", Value::Text(request.method.to_string())),
            ("url.path", Value::Text(path)),
            ("http.response.status_code", Value::Number(response.status.into())),
        ];
        tracer.finish(&trace, attributes, response.status >= 500);
        response
    }

    fn answered(&self, answered: &Answered<'_>) {
        self.observed.http.answered(answered);
    }
}

/// Without a guest there are files to read, and nothing else to do.
fn no_file(request: &GuestRequest) -> GuestResponse {
    let (status, detail) = match request.method.as_str() {
        "GET" | "OPTIONS" => {
            return request.problem(Status::NotFound, "there is no file of that name here");
        }
        "POST" | "PUT" | "PATCH" | "DELETE" => (405, "there are files here, which are only read"),
        _ => (501, "this server knows no such method"),
    };
    let mut response = request.problem(Status::UnknownOpcode, detail);
    response.status = status;
    response.with_header("allow", "GET, HEAD, OPTIONS")
}

/// Requests that take about as long as each other: the method, and the first two steps of
/// the path.
fn route(request: &GuestRequest) -> u64 {
    let mut hasher = DefaultHasher::new();
    request.method.as_str().hash(&mut hasher);
    request.path().split('/').skip(1).take(2).for_each(|step| step.hash(&mut hasher));
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
        tracing::error!(request_id = request.id(), method = %request.method, path = request.path(), "the guest's response is none: {error}");
        request.problem(Status::Internal, "the service failed")
    })
}

fn refuse(request: &GuestRequest, failure: &Failure) -> GuestResponse {
    match failure {
        Failure::Busy { retry_after_nanos } => {
            let seconds = retry_after_nanos.div_ceil(1_000_000_000).max(1);
            let mut response = request.problem(Status::Busy, &failure.to_string());
            response.headers.retain(|(name, _)| name != "retry-after");
            response.with_header("retry-after", seconds.to_string())
        }
        Failure::Closed => request.problem(Status::Busy, &failure.to_string()),
        Failure::Trap(trap) => {
            tracing::error!(request_id = request.id(), method = %request.method, path = request.path(), "the guest failed: {trap}");
            match trap.kind() {
                runtime_api::TrapKind::Deadline => {
                    request.problem(Status::Timeout, "the service took too long")
                }
                runtime_api::TrapKind::RequestTooLarge => request.problem(
                    Status::MessageTooLarge,
                    "the request is larger than the service takes",
                ),
                _ => request.problem(Status::Internal, "the service failed"),
            }
        }
    }
}
