//! An authenticated session: read, carry out in order, write, again.
//!
//! What must stay true: replies leave in the order of their requests. At most
//! one batch of whole requests is at work; its replies are written before more is
//! read. A session whose user is gone is told so and ends. Memory for a large request is taken from the budget all sessions share
//! before its bytes are received. A session that ends, however it ends, gives
//! back its place.

use super::admission::Admitted;
use super::frame::{self, Front};
use super::{Shared, WireHandler};
use crate::server::Closing;
use crate::stream::Stream;
use bytes::BytesMut;
use proto::packet::Header;
use proto::{Kind, Opcode, ReplyWriter, Status};
use std::io;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

/// Bytes read at once; larger requests need a share of the common budget.
const READ_BYTES: usize = 64 << 10;
/// A batch ends when its replies have this many bytes, or it had so many requests.
const BATCH_REPLY_BYTES: usize = 256 << 10;
const BATCH_REQUESTS: usize = 256;
/// More brief requests than these are work for a blocking thread all the same.
const BRIEF_REQUESTS: usize = 16;
/// A buffer that has grown beyond is given back rather than kept.
const KEEP_BYTES: usize = 256 << 10;
/// How long a closed connection is listened to, so that its last reply arrives.
const LINGER: Duration = Duration::from_secs(2);

/// What follows a batch.
#[derive(Debug, PartialEq, Eq)]
enum Next {
    /// More whole requests are in the buffer.
    Again,
    /// More bytes are needed, that many in all for the packet at the front.
    Read(usize),
    /// The last reply has been given.
    Close,
}

pub(super) async fn run<H: WireHandler>(
    shared: &Arc<Shared<H>>,
    admitted: Admitted<H::Session>,
    peer: SocketAddr,
    mut closing: Closing,
) {
    let Admitted { mut stream, session, place: _place, mut inbox } = admitted;
    let options = &shared.options;
    let mut outbox = Vec::new();
    let mut budget = None;
    loop {
        let next;
        (inbox, outbox, next) = batch(shared, &session, inbox, outbox).await;
        if !outbox.is_empty() {
            if let Err(error) = send(&mut stream, &outbox, options.write_timeout).await {
                tracing::debug!(%peer, %error, "closed a session: its replies were not taken");
                return;
            }
            outbox.clear();
            outbox.shrink_to(KEEP_BYTES);
        }
        let due = match next {
            Next::Again => continue,
            Next::Close => return linger(&mut stream).await,
            Next::Read(due) => due,
        };
        if inbox.is_empty() && inbox.capacity() > KEEP_BYTES {
            inbox = BytesMut::new();
        }
        if due <= READ_BYTES {
            budget = None;
        }
        let patience =
            if inbox.is_empty() { options.idle_timeout } else { options.message_timeout };
        let more = async {
            if due > READ_BYTES && budget.is_none() {
                let kib = u32::try_from(due.div_ceil(1024)).unwrap_or(u32::MAX);
                let share = shared.buffers.clone().acquire_many_owned(kib).await;
                budget = Some(share.expect("the semaphore is never closed"));
            }
            inbox.reserve(READ_BYTES.max((due - inbox.len()).min(4 * READ_BYTES)));
            timeout(patience, stream.read_buf(&mut inbox)).await
        };
        let received = tokio::select! {
            biased;
            () = closing.wait() => break,
            received = more => received,
        };
        match received {
            Ok(Ok(0)) => return,
            Ok(Ok(_)) => {}
            Ok(Err(error)) => return tracing::debug!(%peer, %error, "a session broke off"),
            Err(_) => {
                tracing::debug!(%peer, "closed a session: it was silent for too long");
                break;
            }
        }
    }
    // Tell the client in TLS that this is the end, not a cut.
    timeout(LINGER, stream.shutdown()).await.ok();
}

/// Carries out the whole requests at the front of `inbox`: here if they are few and
/// brief, else where blocking is allowed.
///
/// Measured, one client asking and waiting: 13 us a call here, 31 to 38 us through
/// the blocking threads, 22 us with `block_in_place`, which at 32 clients answers
/// half as many calls a second as either.
async fn batch<H: WireHandler>(
    shared: &Arc<Shared<H>>,
    session: &Arc<H::Session>,
    mut inbox: BytesMut,
    mut outbox: Vec<u8>,
) -> (BytesMut, Vec<u8>, Next) {
    let limit = shared.options.max_message_size;
    if let Front::Partial(due) = frame::front(&inbox, limit) {
        return (inbox, outbox, Next::Read(due));
    }
    if is_brief(&shared.handler, &inbox, limit) {
        let next = carry_out(&shared.handler, session, &mut inbox, &mut outbox, limit);
        return (inbox, outbox, next);
    }
    let (shared, session) = (shared.clone(), session.clone());
    let work = move || {
        let next = carry_out(&shared.handler, &session, &mut inbox, &mut outbox, limit);
        (inbox, outbox, next)
    };
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => {
            tracing::error!(%error, "a batch of requests was lost");
            (BytesMut::new(), Vec::new(), Next::Close)
        }
    }
}

/// Whether all that waits in `inbox` are few requests that do not hold up a thread.
fn is_brief<H: WireHandler>(handler: &H, inbox: &[u8], limit: usize) -> bool {
    let mut rest = inbox;
    for _ in 0..BRIEF_REQUESTS {
        match frame::front(rest, limit) {
            Front::Whole(header, total) => {
                if !Opcode::from_number(header.code).is_some_and(|code| handler.is_brief(code)) {
                    return false;
                }
                rest = &rest[total..];
            }
            _ => return true,
        }
    }
    false
}

fn carry_out<H: WireHandler>(
    handler: &H,
    session: &H::Session,
    inbox: &mut BytesMut,
    out: &mut Vec<u8>,
    limit: usize,
) -> Next {
    for _ in 0..BATCH_REQUESTS {
        if out.len() >= BATCH_REPLY_BYTES {
            return Next::Again;
        }
        match frame::front(inbox, limit) {
            Front::Partial(due) => return Next::Read(due),
            Front::Whole(header, total) => {
                let packet = inbox.split_to(total);
                if !one(handler, session, header, &packet, out, limit) {
                    return Next::Close;
                }
            }
            Front::TooLarge(header, total) => {
                let message = format!(
                    "the request has {total} bytes, limits.max_message_size is {limit}; \
                     send less at a time"
                );
                ReplyWriter::new(header.id, out).error(Status::MessageTooLarge, &message);
                return Next::Close;
            }
            Front::Bad(error) => {
                ReplyWriter::new(0, out).error(Status::BadPacket, &error.to_string());
                return Next::Close;
            }
        }
    }
    Next::Again
}

/// Appends exactly one reply. Says whether the session may go on.
fn one<H: WireHandler>(
    handler: &H,
    session: &H::Session,
    header: Header,
    packet: &[u8],
    out: &mut Vec<u8>,
    limit: usize,
) -> bool {
    let start = out.len();
    if header.code == Opcode::Auth as u16 && header.kind == Kind::Request {
        let message = "this session has authenticated already; connect anew as another user";
        ReplyWriter::new(header.id, out).error(Status::BadPacket, message);
        return true;
    }
    let done = catch_unwind(AssertUnwindSafe(|| handler.handle(session, packet, out)));
    let reply = out.get(start..).unwrap_or_default();
    let fits = |h: &Header| h.kind == Kind::Reply && h.id == header.id;
    let head = Header::split(reply).ok().map(|(head, _)| head).filter(fits);
    let (Ok(()), Some(head)) = (done, head) else {
        tracing::error!(code = header.code, "a request got no whole reply from the engine");
        out.truncate(start);
        let message = "the request could not be carried out; see the server's log";
        ReplyWriter::new(header.id, out).error(Status::Internal, message);
        return false;
    };
    let bytes = reply.len();
    if bytes > limit {
        out.truncate(start);
        let message = format!(
            "the reply has {bytes} bytes, limits.max_message_size is {limit}; ask for less at a time"
        );
        ReplyWriter::new(header.id, out).error(Status::ResultTooLarge, &message);
    }
    // Whoever the session was for is gone: it gives its place back.
    head.code != Status::NotAuthenticated as u16
}

/// Writes and flushes within `patience` and what 16 KiB/s take on top.
pub(super) async fn send(stream: &mut Stream, bytes: &[u8], patience: Duration) -> io::Result<()> {
    let slow = Duration::from_secs(bytes.len() as u64 / (16 << 10));
    let all = async {
        stream.write_all(bytes).await?;
        stream.flush().await
    };
    match timeout(patience.saturating_add(slow), all).await {
        Ok(done) => done,
        Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "the peer reads too slowly")),
    }
}

/// Ends our side, then listens for a while: closing over bytes not read would
/// reset the connection and take the last reply with it.
pub(super) async fn linger(stream: &mut Stream) {
    let rest = async {
        stream.shutdown().await?;
        let mut scrap = [0; 4096];
        while stream.read(&mut scrap).await? > 0 {}
        io::Result::Ok(())
    };
    // Whatever happens now, the connection is closed.
    timeout(LINGER, rest).await.ok();
}
