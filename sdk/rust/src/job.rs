//! Calls that are made later, once what this call does has taken effect.
//!
//! Invariant: scheduling is a write like any other: part of the call's transaction, and
//! nothing if that comes to nothing.

use crate::host::call;
use crate::store::unexpected;
use crate::{Error, Result};
use proto::{Key, NewJob, Reply, Request, Status};

/// Has a job run when it is due, once what this call does is committed; gives its key. If the
/// call fails, or is refused, nothing is scheduled.
///
/// ```
/// use planck_sdk::{Job, Request, Response, Result, schedule};
/// use std::time::Duration;
///
/// fn order(request: &Request<'_>) -> Result<Response> {
///     let job = Job::route("/orders/expire").text("42").after(Duration::from_secs(900));
///     let key = schedule(&job)?;
///     Ok(Response::text(format!("expires by job {key}")))
/// }
/// ```
///
/// # Errors
/// What the engine refused: see [`Status::BadJob`], [`Status::NoSuchUpstream`] and
/// [`Status::LimitReached`].
pub fn schedule(job: &NewJob) -> Result<Key> {
    let job = job
        .encode()
        .map_err(|e| Error::new(Status::BadJob, format!("the job cannot be written: {e}")))?;
    call(&Request::Schedule { job: &job }, |reply| match reply {
        Reply::Key(key) => Ok(key),
        _ => Err(unexpected()),
    })
}

/// Has a job run as soon as what this call does is committed: a call of a service outside is
/// delivered at least once then, with the same `idempotency-key` each time.
///
/// # Errors
/// As [`schedule`].
pub fn after_commit(job: &NewJob) -> Result<Key> {
    schedule(&job.clone().at_once())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;
    use proto::ReplyWriter;
    use proto::doc::Doc;
    use std::time::Duration;

    #[test]
    fn a_job_is_one_request_and_its_key_comes_back() {
        testing::set_host(|packet, out| {
            let (id, request) = Request::decode(packet).unwrap();
            let Request::Schedule { job } = request else { panic!("{request:?}") };
            let doc = Doc::parse(job).unwrap();
            assert_eq!(doc.get("path").and_then(|v| v.as_str()), Some("/a"));
            ReplyWriter::new(id, out).key(Key(u128::from(doc.contains("in_ms"))));
        });
        let job = NewJob::route("/a").after(Duration::from_secs(1));
        assert_eq!(schedule(&job).unwrap(), Key(1));
        assert_eq!(after_commit(&job).unwrap(), Key(0));
        let twice = NewJob::route("/a").header("a", "b").header("a", "c");
        assert_eq!(schedule(&twice).unwrap_err().status, Status::BadJob);
    }
}
