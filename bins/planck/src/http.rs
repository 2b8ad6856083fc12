//! HTTP requests, handed to the guests.
//!
//! Invariant: what went wrong inside a guest is logged and not shown; the client
//! gets a problem with a stable code, and the id by which the line of the log is found.
//! The task of a connection never runs a guest that gives its response in pieces: it has
//! to send them meanwhile.

use crate::follow::Following;
use crate::guests::Guests;
use crate::observe::Observed;
use crate::reply::{Reply, Traced};
use crate::trace::{Following as Traces, Parent, Trace, Tracer};
use crate::watchers::Watchers;
use engine::{Engine, Principal};
use net::http::{Answered, Follow, GuestRequest, GuestResponse, HttpHandler};
use proto::Status;
use runtime_api::Outlet;
use runtime_api::pool::{Errand, Failure, Follows, Pool};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::sync::oneshot;

/// What another thread needs to wake up, by and large.
const HAND_OVER: Duration = Duration::from_micros(100);

/// What stands behind the HTTP listener.
pub struct Pages {
    guests: Option<Arc<Guests>>,
    observed: Arc<Observed>,
    tracer: Option<Arc<Tracer>>,
    followed: Followed,
}

/// What event streams follow, and as whom.
pub struct Followed {
    pub engine: Weak<Engine>,
    pub watchers: Arc<Watchers>,
    pub who: Principal,
}

impl Pages {
    /// The guests behind the listener; without any only static files are served.
    pub fn new(
        guests: Option<Arc<Guests>>,
        observed: Arc<Observed>,
        tracer: Option<Tracer>,
        followed: Followed,
    ) -> Pages {
        Pages { guests, observed, tracer: tracer.map(Arc::new), followed }
    }

    async fn answer(&self, request: &GuestRequest, trace: Option<Arc<Trace>>) -> GuestResponse {
        let Some(guests) = &self.guests else {
            return no_file(request);
        };
        // Another one may serve a moment later: this one then hands the request on.
        let pool = guests.pool();
        let follower = trace.map(|trace| Arc::new(Traces(trace)) as Arc<dyn Follows>);
        let (route, encoded, mut body) = (route(request), request.encode(), Vec::new());
        let here = pool.here(route, &encoded, &mut body, follower.as_deref(), None, elsewhere);
        let errand = match here {
            Ok(Ok(_)) => return decode(request, body),
            Ok(Err(trap)) => return refuse(request, &Failure::Trap(trap)),
            Err(errand) => errand,
        };
        let (answer, answered) = oneshot::channel();
        // If the client has gone meanwhile, nobody is left to tell.
        let tell = move |outcome| drop(answer.send(outcome));
        pool.submit_followed(encoded, follower, None, errand, tell);
        match answered.await {
            Ok(Ok(answer)) => {
                pool.learn(route, &answer.report);
                decode(request, answer.body)
            }
            Ok(Err(failure)) => refuse(request, &failure),
            Err(_) => request.problem(Status::Internal, "the service failed"),
        }
    }

    /// The answer of a guest that may give it in pieces: its call is no part of this task,
    /// which sends them.
    async fn stream(
        &self,
        pool: &Arc<Pool>,
        request: Arc<GuestRequest>,
        traced: Option<Traced>,
    ) -> GuestResponse {
        let (route, encoded) = (route(&request), request.encode());
        let (head, answered) = oneshot::channel();
        let failed = request.problem(Status::Internal, "the service failed");
        let reply = Reply::new(request, head, traced);
        let pool = Arc::clone(pool);
        if pool.options().seats == 0 {
            submit(&pool, route, encoded, Errand::default(), reply);
        } else {
            tokio::spawn(async move { run(&pool, route, encoded, reply) });
        }
        answered.await.unwrap_or(failed)
    }
}

/// Runs a call on this thread if it may be, else hands it to the workers.
fn run(pool: &Arc<Pool>, route: u64, encoded: Vec<u8>, reply: Arc<Reply>) {
    let (follower, outlet) = (reply.follower(), Arc::clone(&reply) as Arc<dyn Outlet>);
    let mut last = Vec::new();
    let follower = follower.as_deref();
    match pool.here(route, &encoded, &mut last, follower, Some(outlet), elsewhere) {
        Ok(outcome) => reply.finish(outcome.map(|_| last).map_err(Failure::Trap)),
        Err(errand) => submit(pool, route, encoded, errand, reply),
    }
}

fn submit(pool: &Arc<Pool>, route: u64, encoded: Vec<u8>, errand: Errand, reply: Arc<Reply>) {
    let (follower, outlet) = (reply.follower(), Arc::clone(&reply) as Arc<dyn Outlet>);
    let learning = Arc::clone(pool);
    pool.submit_followed(encoded, follower, Some(outlet), errand, move |outcome| {
        if let Ok(answer) = &outcome {
            learning.learn(route, &answer.report);
        }
        reply.finish(outcome.map(|answer| answer.body));
    });
}

impl HttpHandler for Pages {
    async fn handle(&self, request: Arc<GuestRequest>) -> GuestResponse {
        let traced = self.tracer.as_ref().and_then(|tracer| {
            let parent = request.headers.get("traceparent");
            let parent = parent.and_then(|value| Parent::parse(value.as_bytes()));
            let trace = tracer.begin(parent)?;
            Some(Traced { tracer: Arc::clone(tracer), trace })
        });
        let pool = self.guests.as_ref().map(|guests| guests.pool());
        if let Some(pool) = pool.filter(|pool| pool.writes()) {
            return self.stream(&pool, request, traced).await;
        }
        let trace = traced.as_ref().map(|traced| Arc::clone(&traced.trace));
        let response = self.answer(&request, trace).await;
        if let Some(traced) = traced {
            traced.finish(&request, response.status, false);
        }
        response
    }

    fn follow(&self, what: &str, last_id: Option<&str>) -> Result<Box<dyn Follow>, String> {
        let Followed { engine, watchers, who } = &self.followed;
        Ok(Box::new(Following::new((engine, watchers), who.clone(), what, last_id)?))
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

/// What a guest returned, as a response.
pub fn decode(request: &GuestRequest, body: Vec<u8>) -> GuestResponse {
    GuestResponse::decode(body).unwrap_or_else(|error| {
        tracing::error!(request_id = request.id(), method = %request.method, path = request.path(), "the guest's response is none: {error}");
        request.problem(Status::Internal, "the service failed")
    })
}

/// What a client is told of a call that failed.
pub fn refuse(request: &GuestRequest, failure: &Failure) -> GuestResponse {
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
