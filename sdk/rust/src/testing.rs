//! A guest's handler run natively, against a host made for the test.
//!
//! ```
//! use planck_sdk::testing::ask;
//! use planck_sdk::Response;
//!
//! let answer = ask(|_| Ok(Response::text("hello")), "GET", "/", b"");
//! assert_eq!((answer.status, answer.body.as_str()), (200, "hello"));
//! ```

mod memory;

pub use memory::Memory;

use crate::{Error, Request, Response, Result};
use proto::http::{HeadersBuf, HttpRequest, HttpResponse, write_request};
use proto::service::{BODY_AT, write_error, write_head};
use proto::{ReplyWriter, Status};
use std::cell::{Cell, RefCell};

/// The other side of `host_request`: a request packet, and where the reply goes.
pub type Host = dyn FnMut(&[u8], &mut Vec<u8>);

/// Other services: the name, the request, and what is answered.
pub type Services = dyn FnMut(&str, &HttpRequest<'_>) -> Result<Response>;

thread_local! {
    static SERVICES: RefCell<Option<Box<Services>>> = const { RefCell::new(None) };
    /// The body of the last answer of a service, and how much of it was read.
    static BODY: RefCell<Option<(Vec<u8>, usize)>> = const { RefCell::new(None) };
    static HOST: RefCell<Option<Box<Host>>> = const { RefCell::new(None) };
    static PENDING: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    static LOG: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
    static NOW: Cell<u64> = const { Cell::new(1_371_124_800_000_000) };
    static RANDOM: Cell<u8> = const { Cell::new(0) };
    /// What was written of the last response while its handler ran.
    static WRITTEN: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
    /// So many pieces, and the client goes.
    static LEAVES: Cell<usize> = const { Cell::new(usize::MAX) };
}

/// Has the client of the next request go once it was sent so many pieces.
pub fn leave_after(pieces: usize) {
    LEAVES.set(pieces);
}

/// The pieces of the last response that left while its handler ran, as text; of the first
/// the body alone.
///
/// # Panics
/// If the first is no response.
pub fn pieces() -> Vec<String> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    WRITTEN.with_borrow(|all| {
        let mut texts: Vec<String> = all.iter().map(|piece| text(piece)).collect();
        if let (Some(first), Some(piece)) = (texts.first_mut(), all.first()) {
            *first = text(HttpResponse::decode(piece).expect("a head comes first").body);
        }
        texts
    })
}

/// Gives the calls of this thread to `host`, until another is set.
pub fn set_host(host: impl FnMut(&[u8], &mut Vec<u8>) + 'static) {
    HOST.set(Some(Box::new(host)));
}

/// Gives the calls of other services on this thread to `services`, until others are set.
pub fn set_services(services: impl FnMut(&str, &HttpRequest<'_>) -> Result<Response> + 'static) {
    SERVICES.set(Some(Box::new(services)));
}

/// What `now_micros` says on this thread.
pub fn set_now_micros(now: u64) {
    NOW.set(now);
}

/// The lines logged on this thread since the last call.
pub fn take_log() -> Vec<String> {
    LOG.take()
}

/// What a handler answered.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The body, as text.
    pub body: String,
    headers: Vec<(String, String)>,
    is_whole: bool,
}

impl Answer {
    /// Whether its body did not break off.
    pub fn is_whole(&self) -> bool {
        self.is_whole
    }

    /// Every header, in order.
    pub fn headers(&self) -> &[(String, String)] {
        &self.headers
    }

    /// The first header of that name.
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(other, _)| other.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }
}

/// Sends a request through a handler as the host would.
///
/// # Panics
/// If the request or the response is malformed.
pub fn ask(
    handler: impl Fn(&Request<'_>) -> Result<Response>,
    method: &str,
    target: &str,
    body: &[u8],
) -> Answer {
    ask_with(handler, method, target, &[], body)
}

/// [`ask`], with headers.
///
/// # Panics
/// As [`ask`].
pub fn ask_with(
    handler: impl Fn(&Request<'_>) -> Result<Response>,
    method: &str,
    target: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Answer {
    let mut given = HeadersBuf::new();
    for (name, value) in headers {
        assert!(given.push(name, value.as_bytes()), "the header {name} is too long");
    }
    let mut request = Vec::new();
    write_request(&mut request, method, target, "127.0.0.1:1", &given, body);
    let mut last = Vec::new();
    WRITTEN.take();
    let outcome = crate::abi::respond(&request, handler, &mut last);
    LEAVES.set(usize::MAX);
    let mut response = WRITTEN.with_borrow(|pieces| pieces.concat());
    let is_whole = outcome.is_ok();
    assert!(is_whole || !response.is_empty(), "the request is malformed");
    response.extend_from_slice(&last);
    let response = HttpResponse::decode(&response).expect("the response is well formed");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Answer {
        status: response.status,
        body: text(response.body),
        headers: response.headers.iter().map(|(n, v)| (n.to_owned(), text(v))).collect(),
        is_whole,
    }
}

pub(crate) mod imports {
    use super::*;

    pub(crate) fn request(packet: &[u8], out: &mut [u8]) -> usize {
        let mut reply = Vec::new();
        // Taken out while it runs, so that it may set another.
        match HOST.take() {
            Some(mut host) => {
                host(packet, &mut reply);
                HOST.with_borrow_mut(|slot| {
                    slot.get_or_insert(host);
                });
            }
            None => {
                let message = "no host: call planck_sdk::testing::set_host first";
                ReplyWriter::new(0, &mut reply).error(Status::Internal, message);
            }
        }
        deliver(reply, out)
    }

    fn deliver(reply: Vec<u8>, out: &mut [u8]) -> usize {
        let total = reply.len();
        if total <= out.len() {
            out[..total].copy_from_slice(&reply);
        } else {
            PENDING.set(reply);
        }
        total
    }

    pub(crate) fn service(name: &[u8], packet: &[u8], out: &mut [u8]) -> usize {
        let mut reply = Vec::new();
        BODY.set(None);
        match serve(name, packet) {
            Ok(response) => {
                let (status, headers, body) = response.into_parts();
                write_head(&mut reply, status, &headers);
                BODY.set(Some((body, 0)));
            }
            Err(error) => write_error(&mut reply, error.status, &error.message),
        }
        deliver(reply, out)
    }

    fn serve(name: &[u8], packet: &[u8]) -> Result<Response> {
        let name = String::from_utf8_lossy(name);
        let request = HttpRequest::decode(packet)
            .map_err(|error| Error::new(Status::BadUpstreamCall, error.to_string()))?;
        let none = || {
            let message = "no services: call planck_sdk::testing::set_services first";
            Error::new(Status::NoSuchUpstream, message)
        };
        let mut services = SERVICES.take().ok_or_else(none)?;
        let answer = services(&name, &request);
        SERVICES.with_borrow_mut(|slot| {
            slot.get_or_insert(services);
        });
        answer
    }

    pub(crate) fn read(offset: usize, out: &mut [u8]) -> i64 {
        let copy = |rest: &[u8], out: &mut [u8]| {
            let len = rest.len().min(out.len());
            out[..len].copy_from_slice(&rest[..len]);
            len
        };
        let read = match offset.checked_sub(BODY_AT as usize) {
            None => {
                PENDING.with_borrow(|pending| copy(pending.get(offset..).unwrap_or_default(), out))
            }
            Some(at) => BODY.with_borrow_mut(|body| match body {
                Some((body, next)) if *next == at => {
                    let len = copy(&body[at..], out);
                    *next += len;
                    len
                }
                Some(_) => panic!("a body is read forwards"),
                None => 0,
            }),
        };
        read as i64
    }

    pub(crate) fn write(bytes: &[u8]) -> i64 {
        WRITTEN.with_borrow_mut(|pieces| {
            if pieces.len() >= LEAVES.get() {
                return -i64::from(Status::Cancelled as u16);
            }
            pieces.push(bytes.to_vec());
            bytes.len() as i64
        })
    }

    pub(crate) fn log(_level: i32, line: &[u8]) {
        LOG.with_borrow_mut(|log| log.push(String::from_utf8_lossy(line).into_owned()));
    }

    pub(crate) fn now() -> i64 {
        NOW.get() as i64
    }

    pub(crate) fn random(out: &mut [u8]) {
        for byte in out {
            *byte = RANDOM.get();
            RANDOM.set(RANDOM.get().wrapping_add(37));
        }
    }
}
