//! The exports of ABI version 1, behind [`crate::export!`].
//!
//! What must stay true: an instance has one request buffer and one response
//! buffer, which grow and are kept. The host asks `alloc` for a larger request
//! buffer only between calls, so the one before is nobody's any more; that is why
//! there is no `free`.

use crate::host::{self, Level};
use crate::{Request, Response, Result, stream};
use proto::Status;
use std::cell::RefCell;

/// The version of the ABI.
pub const VERSION: i32 = 1;

/// Told to the host instead of a response: the request could not be read.
const BAD_REQUEST: i64 = -1;

thread_local! {
    static REQUEST: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    static RESPONSE: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Room for a request of `len` bytes: its address, or 0 if there is none.
pub fn alloc(len: i32) -> i32 {
    let Ok(len) = usize::try_from(len) else { return 0 };
    REQUEST.with_borrow_mut(|buffer| {
        buffer.clear();
        if buffer.try_reserve_exact(len).is_err() {
            return 0;
        }
        buffer.resize(len, 0);
        // Linear memory has 32-bit addresses; natively nobody asks.
        buffer.as_ptr().addr() as i32
    })
}

/// Runs one request that the host wrote into the buffer of [`alloc`]; the
/// response's address and length, packed, or a negative status.
pub fn process(ptr: i32, len: i32, handler: impl Fn(&Request<'_>) -> Result<Response>) -> i64 {
    let request = REQUEST.take();
    let ours = request.as_ptr().addr() as i32 == ptr;
    let bytes = usize::try_from(len).ok().and_then(|len| request.get(..len));
    let outcome = match bytes {
        Some(bytes) if ours => answer(bytes, handler),
        _ => BAD_REQUEST,
    };
    REQUEST.set(request);
    outcome
}

fn answer(bytes: &[u8], handler: impl Fn(&Request<'_>) -> Result<Response>) -> i64 {
    RESPONSE.with_borrow_mut(|out| {
        out.clear();
        if let Err(status) = respond(bytes, handler, out) {
            return status;
        }
        let (ptr, len) = (out.as_ptr().addr() as u32, out.len() as u32);
        (i64::from(ptr) << 32) | i64::from(len)
    })
}

/// Decodes a request, runs the handler, encodes its response onto `out`, or the last piece
/// of it if its head has left; a negative status if the bytes were no request, or what has
/// left is to break off.
pub(crate) fn respond(
    bytes: &[u8],
    handler: impl Fn(&Request<'_>) -> Result<Response>,
    out: &mut Vec<u8>,
) -> core::result::Result<(), i64> {
    stream::reset();
    let request = match proto::http::HttpRequest::decode(bytes) {
        Ok(request) => Request::new(request),
        Err(error) => {
            host::log(Level::Error, &error.to_string());
            return Err(BAD_REQUEST);
        }
    };
    let answer = handler(&request);
    if stream::has_begun() {
        return rest(answer, out);
    }
    let response = answer.unwrap_or_else(|error| error.response(&request));
    response.write(out);
    Ok(())
}

/// What comes behind a head that has left.
fn rest(answer: Result<Response>, out: &mut Vec<u8>) -> core::result::Result<(), i64> {
    let failed = |status: Status| Err(-i64::from(status as u16));
    match answer {
        Ok(response) => match response.as_rest() {
            Some(body) => out.extend_from_slice(body),
            None => {
                let text = "a handler answered again behind the head of its stream; return what Stream::end gives";
                host::log(Level::Error, text);
                return failed(Status::Internal);
            }
        },
        // Nobody is left to be told.
        Err(error) if error.status == Status::Cancelled => return failed(error.status),
        Err(error) => {
            let text = format!("a handler failed behind the head of its stream: {error}");
            host::log(Level::Error, &text);
            return failed(error.status);
        }
    }
    Ok(())
}
