//! One attempt of a job: the call it is, and what becomes of it.
//!
//! What must stay true: a call of a route goes the way of a request, to the same pool, and
//! tells the host that it is a job's by the thread it runs on ([`Run::current`]): nothing a
//! client can send does. Where it made requests of the host, the host ends the job with what
//! the call did (`guest.rs`); else it is ended here, by a commit of its own.

use super::Shared;
use engine::{Claim, Job, JobEnd, JobEnded, Later};
use net::upstream::retry_after;
use proto::Status;
use proto::http::{Headers, HeadersBuf, HttpResponse, write_request};
use proto::service::ServiceReply;
use runtime_api::pool::{Answer, Errand, Failure, Follows};
use std::cell::RefCell;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::{Duration, SystemTime};

/// No upstream's own time is longer.
const PATIENCE: Duration = Duration::from_secs(3600);
/// Bytes of a body that are read so that its connection can be used again.
const BODY: usize = 64 << 10;

/// The attempt of a job that is a call of the guest.
pub struct Run {
    claim: Claim,
    ended: Mutex<Option<JobEnded>>,
}

thread_local! {
    /// The attempt whose guest this thread runs.
    static CURRENT: RefCell<Option<Arc<Run>>> = const { RefCell::new(None) };
}

impl Run {
    /// The attempt whose guest this thread runs, if it is one of a job.
    pub fn current() -> Option<Arc<Run>> {
        CURRENT.with_borrow(Clone::clone)
    }

    /// The job, as it was taken.
    pub fn claim(&self) -> Claim {
        self.claim
    }

    /// Says how the host ended the call; the first word counts.
    pub fn end(&self, how: JobEnded) {
        // Nothing is left half-done in it if a holder panicked.
        self.ended.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(how);
    }

    fn ended(&self) -> Option<JobEnded> {
        self.ended.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Marks the thread that runs it.
struct Marks(Arc<Run>);

impl Follows for Marks {
    fn begins(&self) {
        CURRENT.set(Some(Arc::clone(&self.0)));
    }

    fn ends(&self, _failed: bool) {
        CURRENT.set(None);
    }
}

/// An end by what was answered: one that failed comes again no earlier than the answer says.
fn told(end: JobEnd, headers: &Headers<'_>) -> JobEnd {
    let JobEnd::Failed(later) = end else { return end };
    let asked = headers.get("retry-after").and_then(|text| retry_after(text, SystemTime::now()));
    JobEnd::Failed(Later { asked_millis: millis(asked.unwrap_or_default()), ..later })
}

/// No earlier than that.
fn millis(wait: Duration) -> u64 {
    u64::try_from(wait.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}

/// The request of a job: what the guest, or the service outside, is sent.
fn request_of(job: &Job, peer: &str) -> Vec<u8> {
    let (key, attempt) = (job.key.to_string(), (job.attempts + 1).to_string());
    let mut headers = HeadersBuf::new();
    let mut fits = true;
    let mut push = |name: &str, value: &str| fits &= headers.push(name, value.as_bytes());
    push("idempotency-key", &job.idempotency_key);
    if job.upstream.is_none() {
        push("host", "localhost");
        push("x-request-id", &format!("job-{key}"));
        push("planck-job", &key);
        push("planck-attempt", &attempt);
        if let Some(entry) = &job.cron {
            push("planck-cron", entry);
        }
    }
    for (name, value) in &job.headers {
        push(name, value);
    }
    if !fits {
        tracing::warn!(job = key, "a job's headers were cut");
    }
    let mut out = Vec::with_capacity(job.payload.len() + 512);
    write_request(&mut out, &job.method, &job.path, peer, &headers, &job.payload);
    out
}

/// Makes one attempt; how it ended, unless that is written already, or was cut short.
pub fn attempt(shared: &Shared, job: &Job) -> Option<JobEnd> {
    match &job.upstream {
        Some(name) => Some(deliver(shared, name, job)),
        None => call_route(shared, job),
    }
}

fn call_route(shared: &Shared, job: &Job) -> Option<JobEnd> {
    let run = Arc::new(Run { claim: job.claim(), ended: Mutex::new(None) });
    let (answer, answered) = mpsc::channel();
    let follower: Arc<dyn Follows> = Arc::new(Marks(Arc::clone(&run)));
    let request = request_of(job, "127.0.0.1:0");
    // Whoever waits for it waits below.
    let tell = move |outcome| drop(answer.send(outcome));
    let pool = shared.guests.pool();
    pool.submit_followed(request, Some(follower), None, Errand::default(), tell);
    let outcome = answered.recv();
    match run.ended() {
        Some(JobEnded::Settled | JobEnded::Gone) => return None,
        Some(JobEnded::Failed(why)) => return Some(JobEnd::Failed(Later::of(why))),
        None => {}
    }
    match outcome {
        Ok(Ok(Answer { body, .. })) => Some(match HttpResponse::decode(&body) {
            Ok(response) => told(JobEnd::of(&response), &response.headers),
            Err(error) => {
                JobEnd::Failed(Later::of(format!("the guest's response is none: {error}")))
            }
        }),
        // It was not run: that is nothing the job could do better next time.
        Ok(Err(busy @ Failure::Busy { .. })) => {
            Some(JobEnd::Postponed(Later::of(busy.to_string())))
        }
        // The service stops: the next start finds it due.
        Ok(Err(Failure::Closed)) | Err(_) => None,
        Ok(Err(Failure::Trap(trap))) => Some(JobEnd::Failed(Later::of(trap.to_string()))),
    }
}

fn deliver(shared: &Shared, name: &str, job: &Job) -> JobEnd {
    let mut reply = Vec::new();
    let outside = shared.guests.outside();
    let body = outside.deliver(name, &request_of(job, ""), PATIENCE, &mut reply);
    let head = match ServiceReply::decode(&reply) {
        Ok(ServiceReply::Head(head)) => head,
        Ok(ServiceReply::Error { status, message }) => {
            return unanswered(status, message, outside.rests(name));
        }
        Err(error) => {
            return JobEnd::Failed(Later::of(format!("the answer cannot be read: {error}")));
        }
    };
    // What was answered first of all is its status; a body that breaks off changes nothing.
    let mut text = vec![0; BODY];
    let read = body.map_or(0, |mut body| body.read(&mut text).unwrap_or(0));
    let who = format!("the upstream '{name}'");
    match head.status {
        200..=299 => JobEnd::Done,
        408 | 425 | 429 | 500.. => {
            let why = JobEnd::said(&who, head.status, &text[..read]);
            told(JobEnd::Failed(Later::of(why)), &head.headers)
        }
        // A redirect is not followed, and the same refusal would come again.
        status => JobEnd::Refused(JobEnd::said(&who, status, &text[..read])),
    }
}

/// What becomes of a call that had no answer; who was to be called is left alone for `rests`.
fn unanswered(status: Status, message: &str, rests: Duration) -> JobEnd {
    let why = format!("{status}: {message}");
    match status {
        // Nothing was sent, since others fail: it says nothing of this job. Tried before that
        // is over it would only take the place of those that can be done.
        Status::UpstreamBusy => JobEnd::Postponed(Later { why, asked_millis: millis(rests) }),
        Status::NoSuchUpstream | Status::BadUpstreamCall => JobEnd::Refused(why),
        _ => JobEnd::Failed(Later::of(why)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::http::{HttpRequest, write_response};

    fn job() -> Job {
        Job {
            key: proto::Key(0xab),
            upstream: None,
            method: "POST".to_owned(),
            path: "/a?b=1".to_owned(),
            headers: vec![("x-a".to_owned(), "b".to_owned())],
            payload: b"body".to_vec(),
            due: 0,
            attempts: 2,
            idempotency_key: "k".to_owned(),
            cron: Some("nightly".to_owned()),
        }
    }

    #[test]
    fn a_route_is_told_whose_call_it_is_and_a_service_outside_only_the_key() {
        let key = proto::Key(0xab).to_string();
        let bytes = request_of(&job(), "127.0.0.1:0");
        let request = HttpRequest::decode(&bytes).unwrap();
        assert_eq!(
            (request.method, request.target, request.body),
            ("POST", "/a?b=1", &b"body"[..])
        );
        for (name, value) in [
            ("planck-job", key.as_str()),
            ("planck-attempt", "3"),
            ("planck-cron", "nightly"),
            ("idempotency-key", "k"),
            ("x-a", "b"),
        ] {
            assert_eq!(request.headers.get(name), Some(value.as_bytes()), "{name}");
        }
        let bytes = request_of(&Job { upstream: Some("mail".to_owned()), ..job() }, "");
        let request = HttpRequest::decode(&bytes).unwrap();
        let names: Vec<&str> = request.headers.iter().map(|(name, _)| name).collect();
        assert_eq!((names, request.peer), (vec!["idempotency-key", "x-a"], ""));
    }

    #[test]
    fn who_answers_says_when_to_come_again() {
        for (text, asked_millis) in
            [("2", 2000), ("0", 0), ("soon", 0), ("Sun, 06 Nov 1994 08:49:37 GMT", 0)]
        {
            let (mut headers, mut bytes) = (HeadersBuf::new(), Vec::new());
            assert!(headers.push("retry-after", text.as_bytes()));
            write_response(&mut bytes, 503, &headers, b"");
            let answer = HttpResponse::decode(&bytes).unwrap();
            let end = told(JobEnd::of(&answer), &answer.headers);
            let why = "the route answered 503".to_owned();
            assert_eq!(end, JobEnd::Failed(Later { why, asked_millis }), "{text}");
        }
    }

    #[test]
    fn an_answer_says_what_becomes_of_its_job() {
        let end = |status| {
            let mut bytes = Vec::new();
            write_response(&mut bytes, status, &HeadersBuf::new(), b"why\n");
            JobEnd::of(&HttpResponse::decode(&bytes).unwrap())
        };
        assert_eq!((end(200), end(303)), (JobEnd::Done, JobEnd::Done));
        assert_eq!(end(404), JobEnd::Refused("the route answered 404: why".to_owned()));
        assert_eq!(end(503), JobEnd::Failed(Later::of("the route answered 503: why")));
        let of = |status| unanswered(status, "x", Duration::from_micros(7001));
        let put_off = Later { why: "PLK-1704: x".to_owned(), asked_millis: 8 };
        assert_eq!(of(Status::UpstreamBusy), JobEnd::Postponed(put_off));
        assert!(matches!(of(Status::UpstreamUnreachable), JobEnd::Failed(_)));
        assert!(matches!(of(Status::UpstreamTimeout), JobEnd::Failed(_)));
        assert!(matches!(of(Status::NoSuchUpstream), JobEnd::Refused(_)));
    }
}
