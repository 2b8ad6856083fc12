//! The imports of ABI version 1: the host's side, as safe functions.
//!
//! Invariant: all `unsafe` of a guest is in [`imports`], and every call there
//! passes the address and length of a slice that lives through the call, which is
//! all the host asks for (it checks them against linear memory besides).

use crate::Error;
use proto::service::{BODY_AT, ServiceReply};
use proto::{Reply, Request, Status};
use std::cell::{Cell, RefCell};

/// How important a log line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Something failed.
    Error = 0,
    /// Something looks wrong.
    Warn = 1,
    /// What an operator wants to know.
    Info = 2,
    /// What a developer wants to know.
    Debug = 3,
}

/// A packet and the reply to it; kept, so that a call allocates nothing once warm.
#[derive(Default)]
struct Buffers {
    packet: Vec<u8>,
    /// Never shortened, so that its bytes are zeroed once and not per call.
    reply: Vec<u8>,
}

/// A reply buffer that grew past this is given back: one large range must not
/// hold an instance's memory for good.
const KEEP_BYTES: usize = 4 << 20;

thread_local! {
    static BUFFERS: RefCell<Buffers> = RefCell::default();
    /// The last call of a service.
    static CALL: Cell<u64> = const { Cell::new(0) };
}

/// Runs one operation on the service's data and gives its reply to `read`.
///
/// # Errors
/// What the engine refused, or a reply that cannot be read.
pub fn call<R>(
    request: &Request<'_>,
    read: impl FnOnce(Reply<'_>) -> Result<R, Error>,
) -> Result<R, Error> {
    let write = |packet: &mut Vec<u8>| request.encode(0, packet);
    exchange(write, imports::request, |packet| match Reply::decode(packet) {
        Ok((_, Reply::Error { status, message })) => Err(Error::new(status, message)),
        Ok((_, reply)) => read(reply),
        Err(error) => Err(Error::new(Status::Internal, error.to_string())),
    })
}

/// Calls another service with the request that `write` writes, and gives the answer, with the
/// number of the call, to `read`. The body comes by [`read_body`].
///
/// # Errors
/// What `read` makes of it, or a reply that cannot be read.
pub fn call_service<R>(
    name: &str,
    write: impl FnOnce(&mut Vec<u8>),
    read: impl FnOnce(u64, ServiceReply<'_>) -> Result<R, Error>,
) -> Result<R, Error> {
    let call = CALL.get() + 1;
    CALL.set(call);
    let send = |packet: &[u8], out: &mut [u8]| imports::service(name.as_bytes(), packet, out);
    exchange(write, send, |packet| match ServiceReply::decode(packet) {
        Ok(reply) => read(call, reply),
        Err(error) => Err(Error::new(Status::Internal, error.to_string())),
    })
}

/// Fills `out` with the body that a call is answered with, from the byte `at` on, which must
/// be the next; less only where it ends.
///
/// # Errors
/// It broke off, passed a limit, or ended with another call.
pub fn read_body(call: u64, at: u32, out: &mut [u8]) -> Result<usize, Error> {
    if CALL.get() != call {
        return Err(Error::new(
            Status::BadUpstreamCall,
            "the body ended with the next call of a service: read it before",
        ));
    }
    let read = imports::read(BODY_AT.saturating_add(at) as usize, out);
    usize::try_from(read).map_err(|_| {
        let status = u16::try_from(-read).ok().and_then(Status::from_number);
        let status = status.unwrap_or(Status::Internal);
        Error::new(status, status.meaning())
    })
}

/// Gives the next bytes of the response: first a whole head, and what there is of the body.
///
/// # Errors
/// The client has gone, or wants no body.
pub fn write(bytes: &[u8]) -> Result<(), Error> {
    if imports::write(bytes) < 0 {
        return Err(Error::new(Status::Cancelled, "the client has gone"));
    }
    Ok(())
}

/// Sends the packet that `write` writes, and gives the reply packet to `read`.
fn exchange<R>(
    write: impl FnOnce(&mut Vec<u8>),
    send: impl FnOnce(&[u8], &mut [u8]) -> usize,
    read: impl FnOnce(&[u8]) -> Result<R, Error>,
) -> Result<R, Error> {
    // Taken out, so that `read` may call the host again.
    let mut buffers = BUFFERS.take();
    buffers.packet.clear();
    write(&mut buffers.packet);
    if buffers.reply.is_empty() {
        buffers.reply.resize(16 << 10, 0);
    }
    let mut total = send(&buffers.packet, &mut buffers.reply);
    if total > buffers.reply.len() {
        // The host keeps what did not fit; the operation is not run again.
        buffers.reply.resize(total, 0);
        total = usize::try_from(imports::read(0, &mut buffers.reply)).unwrap_or_default();
    }
    let outcome = read(buffers.reply.get(..total).unwrap_or_default());
    if buffers.reply.len() > KEEP_BYTES {
        buffers.reply = Vec::new();
    }
    BUFFERS.set(buffers);
    outcome
}

/// Writes a line to the service's log.
pub fn log(level: Level, line: &str) {
    imports::log(level as i32, line.as_bytes());
}

/// Wall time in microseconds since 1970-01-01T00:00:00Z.
pub fn now_micros() -> u64 {
    imports::now() as u64
}

/// Fills `out` with random bytes, at most 64 KiB.
pub fn random(out: &mut [u8]) {
    imports::random(out);
}

#[cfg(target_arch = "wasm32")]
#[allow(unsafe_code)]
mod imports {
    #[link(wasm_import_module = "planck")]
    unsafe extern "C" {
        fn host_request(ptr: *const u8, len: usize, out: *mut u8, cap: usize) -> i64;
        fn host_read(offset: usize, ptr: *mut u8, len: usize) -> i64;
        fn host_call_service(
            name: *const u8,
            name_len: usize,
            ptr: *const u8,
            len: usize,
            out: *mut u8,
            cap: usize,
        ) -> i64;
        fn host_log(level: i32, ptr: *const u8, len: usize);
        fn host_now() -> i64;
        fn host_random(ptr: *mut u8, len: usize);
        fn host_write(ptr: *const u8, len: usize) -> i64;
    }

    pub(super) fn write(bytes: &[u8]) -> i64 {
        // SAFETY: a whole slice, only read, that outlives the call.
        unsafe { host_write(bytes.as_ptr(), bytes.len()) }
    }

    pub(super) fn request(packet: &[u8], out: &mut [u8]) -> usize {
        // SAFETY: both are whole slices that outlive the call; the host writes at
        // most `out.len()` bytes into `out` and never calls back into the guest.
        let total =
            unsafe { host_request(packet.as_ptr(), packet.len(), out.as_mut_ptr(), out.len()) };
        total as usize
    }

    pub(super) fn service(name: &[u8], packet: &[u8], out: &mut [u8]) -> usize {
        // SAFETY: three whole slices that outlive the call; the host writes at most
        // `out.len()` bytes into `out` and never calls back into the guest.
        let total = unsafe {
            host_call_service(
                name.as_ptr(),
                name.len(),
                packet.as_ptr(),
                packet.len(),
                out.as_mut_ptr(),
                out.len(),
            )
        };
        total as usize
    }

    pub(super) fn read(offset: usize, out: &mut [u8]) -> i64 {
        // SAFETY: a whole slice that outlives the call; the host writes at most
        // `out.len()` bytes and returns how many, or a negative status.
        unsafe { host_read(offset, out.as_mut_ptr(), out.len()) }
    }

    pub(super) fn log(level: i32, line: &[u8]) {
        // SAFETY: a whole slice, only read, that outlives the call.
        unsafe { host_log(level, line.as_ptr(), line.len()) }
    }

    pub(super) fn now() -> i64 {
        // SAFETY: takes no pointer.
        unsafe { host_now() }
    }

    pub(super) fn random(out: &mut [u8]) {
        // SAFETY: a whole slice that outlives the call; the host fills it.
        unsafe { host_random(out.as_mut_ptr(), out.len()) }
    }
}

#[cfg(not(target_arch = "wasm32"))]
use crate::testing::imports;
