//! One request carried out, whichever way it came.
//!
//! What must stay true: each request gets exactly one reply, of at most
//! `max_message_size` bytes, whatever the handler does; one that is not wanted any more
//! is not begun.

use super::{Call, Shared, Wait, WireHandler};
use proto::packet::Header;
use proto::{Kind, Opcode, ReplyWriter, Status};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

/// A request, received whole.
pub(super) struct Asked<'a> {
    pub(super) header: Header,
    pub(super) packet: &'a [u8],
    /// When, by [`Shared::micros`].
    pub(super) arrived: u64,
    /// Set once its answer is not wanted any more; `None`: that cannot be seen while it
    /// is carried out.
    pub(super) cancelled: Option<Arc<AtomicBool>>,
}

/// What came of a request.
pub(super) enum Outcome {
    /// It has its reply. If the session must end with it, why.
    Answered(Option<Status>),
    /// It has none: it waits.
    Waits(Wait),
}

/// Appends exactly one reply. If the session must end with it, says why.
pub(super) fn one<H: WireHandler>(
    shared: &Shared<H>,
    session: &H::Session,
    asked: Asked<'_>,
    out: &mut Vec<u8>,
) -> Option<Status> {
    match attempt(shared, session, &asked, (None, false), out) {
        Outcome::Answered(over) => over,
        // It may not.
        Outcome::Waits(_) => Some(Status::Internal),
    }
}

/// As [`one`], of a request that waits where it may. `place`: it did before.
pub(super) fn attempt<H: WireHandler>(
    shared: &Shared<H>,
    session: &H::Session,
    asked: &Asked<'_>,
    (place, may_wait): (Option<u64>, bool),
    out: &mut Vec<u8>,
) -> Outcome {
    let mut wait = None;
    let over = carry_out(shared, session, asked, (place, may_wait), &mut wait, out);
    wait.map_or(Outcome::Answered(over), Outcome::Waits)
}

fn carry_out<H: WireHandler>(
    shared: &Shared<H>,
    session: &H::Session,
    asked: &Asked<'_>,
    (place, may_wait): (Option<u64>, bool),
    wait: &mut Option<Wait>,
    out: &mut Vec<u8>,
) -> Option<Status> {
    let Asked { header, packet, arrived, cancelled } = asked;
    let start = out.len();
    if header.code == Opcode::Auth as u16 && header.kind == Kind::Request {
        let message = "this session has authenticated already; connect anew as another user";
        ReplyWriter::new(header.id, out).error(Status::BadPacket, message);
        return None;
    }
    if cancelled.as_ref().is_some_and(|flag| flag.load(Relaxed)) {
        let message = "the request was cancelled before it was begun";
        ReplyWriter::new(header.id, out).error(Status::Cancelled, message);
        return None;
    }
    let cancelled = cancelled.clone();
    let mut call = Call { waited: Duration::ZERO, cancelled, place, may_wait };
    if header.patience > 0 {
        call.waited = Duration::from_micros(shared.micros().saturating_sub(*arrived));
        if call.waited >= Duration::from_millis(header.patience.into()) {
            let message = format!(
                "the {} ms in which the answer was wanted passed before the request was begun",
                header.patience
            );
            ReplyWriter::new(header.id, out).error(Status::Timeout, &message);
            return None;
        }
    }
    let handle = || shared.handler.handle_or_wait(session, packet, &call, out);
    let done = catch_unwind(AssertUnwindSafe(handle)).map(|waits| *wait = waits);
    if may_wait && wait.is_some() {
        out.truncate(start);
        return None;
    }
    *wait = None;
    let reply = out.get(start..).unwrap_or_default();
    let fits = |h: &Header| h.kind == Kind::Reply && h.id == header.id;
    let head = Header::split(reply).ok().map(|(head, _)| head).filter(fits);
    let (Ok(()), Some(head)) = (done, head) else {
        tracing::error!(code = header.code, "a request got no whole reply from the engine");
        out.truncate(start);
        let message = "the request could not be carried out; see the server's log";
        ReplyWriter::new(header.id, out).error(Status::Internal, message);
        return Some(Status::Internal);
    };
    let (bytes, limit) = (reply.len(), shared.options.max_message_size);
    if bytes > limit {
        out.truncate(start);
        let message = format!(
            "the reply has {bytes} bytes, limits.max_message_size is {limit}; ask for less at a time"
        );
        ReplyWriter::new(header.id, out).error(Status::ResultTooLarge, &message);
    }
    // Whoever the session was for is gone: it gives its place back.
    (head.code == Status::NotAuthenticated as u16).then_some(Status::NotAuthenticated)
}
