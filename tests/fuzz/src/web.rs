//! Any bytes as what a client of the HTTP listener sends, in pieces, and any bytes as
//! what the guest gives back.

use crate::bytes::Bytes;
use crate::marks::reached;
use net::http::{GuestRequest, GuestResponse, HttpOptions, fuzz};
use proto::Status;
use proto::http::HttpRequest;
use std::sync::{Arc, Mutex, PoisonError};

/// Where the corpus of `web` comes to.
pub(crate) const PLACES: &[&str] = &[
    "GET handled",
    "POST handled",
    "with a body",
    "with a query",
    "with headers",
    "HTTP/2",
    "answered 200",
    "answered 204",
    "answered 400",
    "answered 405",
    "answered 413",
    "answered 431",
    "answered 500",
    "answered nothing",
    "the guest's message: ",
    "names: a path of 1",
    "names: a path of 2",
    "names: none",
];

const MAX_BODY: usize = 600;
const MAX_HEADER: usize = 512;

fn options() -> HttpOptions {
    HttpOptions {
        max_header_size: MAX_HEADER,
        max_body_size: MAX_BODY,
        max_streams: 4,
        ..HttpOptions::default()
    }
}

/// What every request must be that reaches a guest.
fn check(request: &GuestRequest) {
    assert!(request.body.len() <= MAX_BODY);
    let mut bytes = request.target.len();
    let ours = ["host", "x-request-id"];
    for (name, value) in request.headers.iter().filter(|(name, _)| !ours.contains(&name.as_str())) {
        bytes += name.as_str().len() + value.len() + 4;
    }
    assert!(bytes <= MAX_HEADER, "a head of {bytes} bytes came through");
    for name in ["connection", "keep-alive", "te", "transfer-encoding", "upgrade"] {
        assert!(!request.headers.contains_key(name), "{name} is of the connection");
    }
    assert_ne!(request.method, "HEAD", "it is a GET");
    assert_eq!(request.id().len(), 32);
    let bytes = request.encode();
    let read = HttpRequest::decode(&bytes).expect("what is encoded is whole");
    assert_eq!((read.method, read.target), (request.method.as_str(), request.target.as_str()));
    assert_eq!((read.headers.len(), read.body), (request.headers.len(), &request.body[..]));
    reached(format_args!("{} handled", request.method));
    for (is, place) in [
        (!request.body.is_empty(), "with a body"),
        (request.target.contains('?'), "with a query"),
        (request.headers.len() > 1, "with headers"),
    ] {
        if is {
            reached(place);
        }
    }
}

/// As bins/planck makes a response of what a guest wrote.
fn response(guest: &[u8]) -> GuestResponse {
    GuestResponse::decode(guest.to_vec()).unwrap_or_else(|error| {
        reached(format_args!("the guest's message: {error}"));
        GuestResponse::problem(Status::Internal, "the service failed")
    })
}

/// The head of the first response, which must be one, and its length that of its body.
fn first(told: &[u8], is_bodiless: bool) {
    let end = told.windows(4).position(|four| four == b"\r\n\r\n").expect("a whole head");
    // Values may have bytes that are no characters.
    let head = String::from_utf8_lossy(&told[..end]);
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|line| line.get(9..12)).expect("a status line");
    reached(format_args!("answered {status}"));
    assert!(("200"..="599").contains(&status), "{head}");
    let mut length = None;
    for line in lines {
        let (name, value) = line.split_once(':').expect("a header's line");
        assert!(!name.is_empty() && !value.contains(['\r', '\n', '\0']), "{head}");
        if name == "content-length" {
            assert_eq!(length, None, "told once");
            length = Some(value.trim().parse::<usize>().expect("a length"));
        }
    }
    if let Some(length) = length.filter(|_| !is_bodiless) {
        assert!(told.len() >= end + 4 + length, "{head}");
    }
}

/// The input: how much arrives at once, the length of the guest's answer (two bytes), the
/// answer, and what the client says. Whatever it says is answered by HTTP or not at all;
/// what reaches the guest is whole and within every limit.
pub fn web(data: &[u8]) {
    let mut input = Bytes(data);
    let piece = usize::from(input.u8()) * 4;
    let len = input.u16();
    let (guest, said) = input.0.split_at(len.min(input.0.len()));
    let (guest, seen) = (guest.to_vec(), Arc::new(Mutex::new(Vec::new())));
    let handled = Arc::clone(&seen);
    let told = fuzz::connection(options(), said, piece, move |request| {
        // Looked at behind: a panic in here would be a response.
        handled.lock().unwrap_or_else(PoisonError::into_inner).push(request);
        response(&guest)
    });
    seen.lock().unwrap_or_else(PoisonError::into_inner).iter().for_each(check);
    if told.starts_with(b"HTTP/1.1 100 ") {
        reached("told to go on");
    } else if told.starts_with(b"HTTP/1.") {
        first(&told, said.windows(4).any(|four| four == b"HEAD"));
    } else if told.is_empty() {
        reached("answered nothing");
    } else {
        assert!(said.starts_with(b"PRI * HTTP/2.0"), "{told:?}");
        reached("HTTP/2");
    }
    let path = said.split(|byte| *byte == b' ').nth(1).unwrap_or_default();
    let Ok(path) = std::str::from_utf8(path) else { return };
    match fuzz::file_names(path) {
        None => reached("names: none"),
        Some(names) => {
            let fine = |name: &String| {
                !name.is_empty()
                    && *name != ".."
                    && *name != "."
                    && !name.contains(['/', '\\', '\0'])
            };
            assert!(names.iter().all(fine), "{names:?}");
            reached(format_args!("names: a path of {}", names.len()));
        }
    }
}
