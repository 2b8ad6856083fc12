//! Calls of other services: those that the operator listed under `upstreams`.
//!
//! Invariant: the host has the body of one answer at a time, so an [`Answer`] knows which
//! call it came from and never reads the body of another.

use crate::{Error, Result, host};
use proto::Status;
use proto::http::{HeadersBuf, write_request};
use proto::service::ServiceReply;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// What an [`Answer`] reads at once.
const PIECE_BYTES: usize = 64 << 10;

/// What is asked of another service.
#[derive(Clone, Debug)]
pub struct ServiceRequest {
    method: &'static str,
    target: String,
    headers: HeadersBuf,
    fits: bool,
    body: Vec<u8>,
}

impl ServiceRequest {
    fn new(method: &'static str, target: &str) -> ServiceRequest {
        ServiceRequest {
            method,
            target: target.to_owned(),
            headers: HeadersBuf::new(),
            fits: true,
            body: Vec::new(),
        }
    }

    /// GET of a path and query below the operator's URL: `/invoices?open=1`. Values that
    /// are not the guest's own must be percent-encoded; a path that leads elsewhere is refused.
    pub fn get(target: &str) -> ServiceRequest {
        ServiceRequest::new("GET", target)
    }

    /// HEAD.
    pub fn head(target: &str) -> ServiceRequest {
        ServiceRequest::new("HEAD", target)
    }

    /// POST.
    pub fn post(target: &str) -> ServiceRequest {
        ServiceRequest::new("POST", target)
    }

    /// PUT.
    pub fn put(target: &str) -> ServiceRequest {
        ServiceRequest::new("PUT", target)
    }

    /// PATCH.
    pub fn patch(target: &str) -> ServiceRequest {
        ServiceRequest::new("PATCH", target)
    }

    /// DELETE.
    pub fn delete(target: &str) -> ServiceRequest {
        ServiceRequest::new("DELETE", target)
    }

    /// One more header. Those of the connection, the host, the length and those that the
    /// operator set are the host's: it leaves out what is given here.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> ServiceRequest {
        self.fits &= self.headers.push(name, value.as_bytes());
        self
    }

    /// The body.
    #[must_use]
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> ServiceRequest {
        self.body = body.into();
        self
    }

    /// JSON as the body, with its type.
    ///
    /// # Errors
    /// A value that JSON cannot hold.
    pub fn json(self, value: &impl Serialize) -> Result<ServiceRequest> {
        let body = serde_json::to_vec(value)
            .map_err(|e| Error::new(Status::Internal, format!("a request is no JSON: {e}")))?;
        Ok(self.header("content-type", "application/json").body(body))
    }
}

/// What another service answered. Its body is read while it arrives, by [`Answer::read`] and
/// what is made of it, until the next [`call_service`]; the service's own data can be used in
/// between.
#[derive(Debug)]
pub struct Answer {
    status: u16,
    headers: Vec<(String, Vec<u8>)>,
    /// Bytes of the body read.
    at: u32,
    call: u64,
}

/// Calls the service of that name, once.
///
/// ```
/// use planck_sdk::{Request, Response, Result, ServiceRequest, call_service};
///
/// fn price(request: &Request<'_>) -> Result<Response> {
///     let wanted = ServiceRequest::get("/prices/eur").header("accept", "application/json");
///     let mut answer = call_service("prices", wanted)?;
///     if answer.status() != 200 {
///         return Ok(Response::text("no price today").status(502));
///     }
///     let price: f64 = answer.json(1 << 10)?;
///     Ok(Response::text(format!("{price}")))
/// }
/// # use planck_sdk::testing::{ask, set_services};
/// # set_services(|name, request| {
/// #     assert_eq!((name, request.target), ("prices", "/prices/eur"));
/// #     Ok(Response::text("1.25"))
/// # });
/// # assert_eq!(ask(price, "GET", "/", b"").body, "1.25");
/// ```
///
/// # Errors
/// It is not on the list, refuses, or does not answer: see the statuses `PLK-1701` to
/// `PLK-1708`. An answer of whatever status is none of these.
pub fn call_service(name: &str, request: ServiceRequest) -> Result<Answer> {
    if !request.fits {
        return Err(Error::new(Status::BadUpstreamCall, "a header has more than 65,535 bytes"));
    }
    let ServiceRequest { method, target, headers, body, .. } = request;
    let write = |out: &mut Vec<u8>| write_request(out, method, &target, "", &headers, &body);
    host::call_service(name, write, |call, reply| match reply {
        ServiceReply::Error { status, message } => Err(Error::new(status, message)),
        ServiceReply::Head(head) => Ok(Answer {
            status: head.status,
            headers: head.headers.iter().map(|(n, v)| (n.to_owned(), v.to_vec())).collect(),
            at: 0,
            call,
        }),
    })
}

impl Answer {
    /// The status: 200 to 599.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// The first header of that name, if it is UTF-8; case does not matter.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut all = self.headers.iter();
        let (_, value) = all.find(|(other, _)| other.eq_ignore_ascii_case(name))?;
        std::str::from_utf8(value).ok()
    }

    /// Fills `out` with what comes next of the body; less only where it ends.
    ///
    /// # Errors
    /// It broke off, passed a limit of the operator's, or ended with another call.
    pub fn read(&mut self, out: &mut [u8]) -> Result<usize> {
        let read = host::read_body(self.call, self.at, out)?;
        self.at = self.at.saturating_add(u32::try_from(read).unwrap_or(u32::MAX));
        Ok(read)
    }

    /// The rest of the body, if it is at most `most` bytes.
    ///
    /// # Errors
    /// As [`Answer::read`], or it is more.
    pub fn bytes(&mut self, most: usize) -> Result<Vec<u8>> {
        let mut all = Vec::new();
        loop {
            let at = all.len();
            all.resize(at + PIECE_BYTES.min(most.saturating_sub(at).saturating_add(1)), 0);
            let read = self.read(&mut all[at..])?;
            if at + read > most {
                return Err(Error::new(
                    Status::UpstreamTooLarge,
                    format!("the body has more than the {most} bytes expected"),
                ));
            }
            let ended = at + read < all.len();
            all.truncate(at + read);
            if ended {
                return Ok(all);
            }
        }
    }

    /// The rest of the body as JSON, if it is at most `most` bytes.
    ///
    /// # Errors
    /// As [`Answer::bytes`], or it is not the JSON expected.
    pub fn json<T: DeserializeOwned>(&mut self, most: usize) -> Result<T> {
        serde_json::from_slice(&self.bytes(most)?).map_err(|e| {
            Error::new(
                Status::UpstreamBroken,
                format!("the service answered what is not the JSON expected: {e}"),
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Response;
    use crate::testing::set_services;

    #[test]
    fn a_request_reaches_the_service_and_its_answer_comes_back() {
        set_services(|name, request| {
            assert_eq!((name, request.method, request.target), ("stock", "POST", "/a?b=c"));
            assert_eq!(request.headers.get("content-type"), Some(&b"application/json"[..]));
            assert_eq!((request.body, request.peer), (&b"[1,2]"[..], ""));
            Ok(Response::new(201).header("x-a", "b").body("[3]"))
        });
        let request = ServiceRequest::post("/a?b=c").json(&[1, 2]).unwrap();
        let mut answer = call_service("stock", request).unwrap();
        assert_eq!((answer.status(), answer.header("X-A")), (201, Some("b")));
        assert_eq!(answer.json::<Vec<u8>>(3).unwrap(), [3]);
        assert_eq!(answer.read(&mut [0; 4]).unwrap(), 0);
    }

    #[test]
    fn a_large_body_is_read_in_pieces_and_to_its_bound() {
        let body: Vec<u8> = (0..200_000_u32).map(|n| n as u8).collect();
        let given = body.clone();
        set_services(move |_, _| Ok(Response::new(200).body(given.clone())));
        let call = || call_service("stock", ServiceRequest::get("/")).unwrap();
        assert_eq!(call().bytes(200_000).unwrap(), body);
        let error = call().bytes(199_999).unwrap_err();
        assert_eq!(error.status, Status::UpstreamTooLarge);
        let (mut answer, mut out) = (call(), [0; 7]);
        assert_eq!(answer.read(&mut out).unwrap(), 7);
        assert_eq!(answer.bytes(1 << 20).unwrap(), body[7..]);
    }

    #[test]
    fn an_answer_never_reads_the_body_of_another() {
        set_services(|_, _| Ok(Response::text("body")));
        let mut first = call_service("stock", ServiceRequest::get("/1")).unwrap();
        let mut second = call_service("stock", ServiceRequest::get("/2")).unwrap();
        let error = first.bytes(10).unwrap_err();
        assert!(error.message.contains("ended with the next call"), "{error}");
        assert_eq!(second.bytes(10).unwrap(), b"body");
    }

    #[test]
    fn a_refusal_is_an_error_and_so_is_a_head_that_does_not_fit() {
        set_services(|_, _| Err(Error::new(Status::UpstreamTimeout, "late")));
        let error = call_service("stock", ServiceRequest::get("/")).unwrap_err();
        assert_eq!((error.status, error.message.as_str()), (Status::UpstreamTimeout, "late"));
        let long = ServiceRequest::get("/").header("a", &"x".repeat(65_536));
        assert_eq!(call_service("stock", long).unwrap_err().status, Status::BadUpstreamCall);
    }
}
