//! An authenticated session over TCP: read, carry out in order, write, again.
//!
//! What must stay true: replies leave in the order of their requests. At most
//! one batch of whole requests is at work; while it is, what is read is what
//! [`Server`] reads ahead, so that a Cancel is seen. A session whose user is gone is
//! told so and ends. Memory for a large request is taken from the budget all sessions
//! share before its bytes are received; for a large reply, before the request is begun,
//! and it is kept until the reply is written. Neither waits for the other. A session that
//! ends, however it ends, gives back its place; if it broke off, what is at work is given
//! up.

mod waits;

use super::admission::Admitted;
use super::budget::{Pace, SMALL, Share};
use super::carry::{self, Asked, Outcome};
use super::flags::Flags;
use super::wait::Waiting;
use super::{Shared, WireHandler};
use crate::server::Closing;
use crate::stream::{Stream, discard};
use bytes::BufMut;
use proto::wire::{Batch, Server};
use proto::{Opcode, Status};
use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::task::{Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, ReadBuf};
use tokio::time::timeout;

/// Larger requests than this need a share of the common budget.
const READ_BYTES: usize = 64 << 10;
/// A batch is answered as far as it has come when its replies have this many bytes.
const BATCH_REPLY_BYTES: usize = 256 << 10;
/// More brief requests than these are work for a blocking thread all the same.
const BRIEF_REQUESTS: usize = 16;
/// A buffer that has grown beyond is given back rather than kept.
const KEEP_BYTES: usize = 256 << 10;
/// What each buffer of a session may keep while nothing is under way.
const IDLE_BYTES: usize = 4 << 10;
/// What of a packet is received before there is a buffer for it.
const FIRST_BYTES: usize = 16 << 10;
/// How long a closed connection is listened to, so that its last reply arrives.
pub(super) const LINGER: Duration = Duration::from_secs(2);

/// How a session goes on.
enum Next {
    /// As before.
    On,
    /// The last reply has been given.
    Close,
    /// Nobody is there any more.
    Gone,
}

/// One session.
struct Tcp<'a, H: WireHandler> {
    shared: &'a Arc<Shared<H>>,
    session: Arc<H::Session>,
    stream: Stream,
    wire: Server,
    outbox: Vec<u8>,
    /// What the outbox holds of the budget of replies.
    share: Option<Share>,
    /// What is held of the budget of requests, and for how many bytes.
    budget: Option<(Share, usize)>,
    flags: Flags,
    peer: SocketAddr,
    closing: Closing,
    /// The client sends nothing more.
    ended: bool,
}

pub(super) async fn run<H: WireHandler>(
    shared: &Arc<Shared<H>>,
    admitted: Admitted<H::Session>,
    peer: SocketAddr,
    closing: Closing,
) {
    let Admitted { stream, session, place: _place, wire } = admitted;
    let mut tcp = Tcp {
        shared,
        session,
        stream,
        wire,
        outbox: Vec::new(),
        share: None,
        budget: None,
        flags: Flags::default(),
        peer,
        closing,
        ended: false,
    };
    match tcp.serve().await {
        // Over bytes not read the last replies would be lost with the connection.
        Next::Close | Next::On => linger(&mut tcp.stream).await,
        Next::Gone => {}
    }
}

impl<H: WireHandler> Tcp<'_, H> {
    /// To the end of the session.
    async fn serve(&mut self) -> Next {
        let shared = self.shared;
        let options = &shared.options;
        // Of the packet that is coming.
        let mut pace: Option<Pace<'_>> = None;
        loop {
            self.wire.advance(shared.micros());
            if self.wire.ready().next().is_some() {
                pace = None;
                // Boxed: a session that waits has no room for what it does at work.
                let next =
                    if self.is_brief() { self.brief().await } else { Box::pin(self.work()).await };
                match next {
                    Next::On => continue,
                    over => return over,
                }
            }
            if let Some(fault) = self.wire.last_word() {
                fault.write(&mut self.outbox);
                return if self.send().await { Next::Close } else { Next::Gone };
            }
            if self.ended {
                return Next::On;
            }
            self.wire.shrink(IDLE_BYTES);
            self.outbox.shrink_to(IDLE_BYTES);
            let due = self.wire.wants();
            // One that is longer than the one before needs a share of its own length.
            let held = self.budget.as_ref().map_or(0, |(_, bytes)| *bytes);
            if due <= READ_BYTES || held < due {
                self.budget = None;
            }
            if !self.wire.has_part() {
                pace = None;
            }
            let begins = || Pace::receiving(&shared.buffers, options.message_timeout);
            let (stream, wire, budget) = (&mut self.stream, &mut self.wire, &mut self.budget);
            let more = async {
                if !wire.has_part() {
                    return timeout(options.idle_timeout, receive(stream, wire)).await.ok();
                }
                let pace = pace.get_or_insert_with(begins);
                if due > READ_BYTES && budget.is_none() {
                    *budget = Some((shared.buffers.share(due).await, due));
                    pace.begin_anew();
                }
                pace.has(due, budget.is_some());
                loop {
                    let received = timeout(pace.left()?, receive(stream, wire)).await;
                    if let Ok(received) = received {
                        pace.moved();
                        return Some(received);
                    }
                }
            };
            let received = tokio::select! {
                biased;
                () = self.closing.wait() => return Next::On,
                received = more => received,
            };
            match received {
                Some(Ok(0)) => return Next::On,
                Some(Ok(_)) => {}
                Some(Err(error)) => {
                    tracing::debug!(peer = %self.peer, %error, "a session broke off");
                    return Next::Gone;
                }
                None => {
                    tracing::debug!(peer = %self.peer, "closed a session: it was silent for too long");
                    return Next::On;
                }
            }
        }
    }

    /// Whether all that waits are few requests that do not hold up a thread.
    fn is_brief(&self) -> bool {
        let handler = &self.shared.handler;
        let brief = |code| Opcode::from_number(code).is_some_and(|code| handler.is_brief(code));
        let mut waiting = self.wire.ready();
        waiting.by_ref().take(BRIEF_REQUESTS).all(|ticket| brief(ticket.header.code))
            && waiting.next().is_none()
    }

    /// Carries out here what waits, or as much of it as makes replies for one write.
    ///
    /// Measured, one client asking and waiting: 13 us a call here, 31 to 38 us through
    /// the blocking threads, 22 us with `block_in_place`, which at 32 clients answers
    /// half as many calls a second as either.
    async fn brief(&mut self) -> Next {
        let (shared, mut over) = (self.shared, None);
        while over.is_none() && self.outbox.len() < BATCH_REPLY_BYTES {
            let Some((ticket, packet)) = self.wire.next_request() else { break };
            let (header, arrived) = (ticket.header, ticket.arrived);
            let asked = || {
                let cancelled = ticket.cancelled.then(|| Arc::new(AtomicBool::new(true)));
                Asked { header, packet, arrived, cancelled }
            };
            let start = self.outbox.len();
            over = carry::one(shared, &self.session, asked(), &mut self.outbox);
            if self.outbox.len() - start > SMALL && self.share.is_none() {
                self.share = shared.replies.try_share(shared.place());
                if self.share.is_none() {
                    // Nobody waits with a large reply in memory: it is made again.
                    self.outbox.truncate(start);
                    self.outbox.shrink_to(KEEP_BYTES);
                    self.share = Some(shared.replies.share(shared.place()).await);
                    over = carry::one(shared, &self.session, asked(), &mut self.outbox);
                }
            }
            self.wire.answered(1);
        }
        self.tell(over).await
    }

    /// Carries out what waits where blocking is allowed, and goes on listening.
    async fn work(&mut self) -> Next {
        let shared = self.shared;
        let mut batch = self.wire.detach();
        self.flags.begin(&batch);
        while batch.tickets().len() > 0 {
            if may_be_large(shared, &batch) {
                let share = shared.replies.share(shared.place());
                let (Some(share), _) = self.meanwhile(share, true).await else {
                    return Next::Gone;
                };
                self.share = Some(share);
            }
            let session = self.session.clone();
            let (seen, out) = (self.flags.clone(), std::mem::take(&mut self.outbox));
            let job = {
                let shared = shared.clone();
                move || carry_out(&shared, &session, batch, &seen, out)
            };
            let job = tokio::task::spawn_blocking(job);
            let (Some(Ok(done)), broken) = self.meanwhile(job, false).await else {
                tracing::error!("a batch of requests was lost");
                return Next::Gone;
            };
            (batch, self.outbox) = (done.batch, done.out);
            self.wire.answered(done.answered);
            if broken {
                return Next::Gone;
            }
            // Its bytes are gone, however long the replies take to be taken.
            if batch.tickets().len() == 0 {
                self.budget = None;
            }
            if let Some(waiting) = done.waiting {
                // What was answered before it is not kept waiting.
                match self.tell(None).await {
                    Next::On => {}
                    over => return over,
                }
                match self.wait(waiting).await {
                    Next::On => continue,
                    over => return over,
                }
            }
            match self.tell(done.over).await {
                Next::On => {}
                over => return over,
            }
        }
        Next::On
    }

    /// Looks at what was received for who is cancelled.
    fn listen(&mut self) {
        self.wire.advance(self.shared.micros());
        while let Some(serial) = self.wire.cancelled() {
            self.flags.set(serial);
        }
    }

    /// Waits for something, and sees who is cancelled meanwhile. Says too whether the
    /// connection broke off; what is waited for in `vain` then is given up.
    async fn meanwhile<T>(
        &mut self,
        what: impl Future<Output = T>,
        vain: bool,
    ) -> (Option<T>, bool) {
        let mut what = std::pin::pin!(what);
        let (mut broken, mut draining) = (false, false);
        while !(broken && vain) {
            let wants = !self.ended && !draining && self.wire.wants() > 0;
            let received = tokio::select! {
                biased;
                done = &mut what => return (Some(done), broken),
                () = self.closing.wait(), if !draining => {
                    draining = true;
                    continue;
                }
                received = receive(&mut self.stream, &mut self.wire), if wants => received,
            };
            match received {
                Ok(0) => self.ended = true,
                Ok(_) => self.listen(),
                Err(error) => {
                    tracing::debug!(peer = %self.peer, %error, "a session broke off at work");
                    self.flags.set_all();
                    (self.ended, broken) = (true, true);
                }
            }
        }
        (None, broken)
    }

    /// Sends what there is; `over`: it is the last of it.
    async fn tell(&mut self, over: Option<Status>) -> Next {
        match (self.send().await, over) {
            (false, _) => Next::Gone,
            (true, None) => Next::On,
            (true, Some(_)) => Next::Close,
        }
    }

    async fn send(&mut self) -> bool {
        let replies = &self.shared.replies;
        self.share = replies.settle(self.share.take(), self.outbox.len());
        let sent = send(self.shared, &mut self.stream, &self.outbox).await;
        if let Err(error) = &sent {
            tracing::debug!(peer = %self.peer, %error, "closed a session: its replies were not taken");
        }
        self.outbox.clear();
        self.outbox.shrink_to(KEEP_BYTES);
        self.share = None;
        sent.is_ok()
    }
}

/// Whether a reply to any request of a batch may be large.
fn may_be_large<H: WireHandler>(shared: &Shared<H>, batch: &Batch) -> bool {
    let large = |code| Opcode::from_number(code).is_some_and(|o| shared.handler.may_be_large(o));
    batch.tickets().any(|ticket| large(ticket.header.code))
}

/// What a job has done, and what is left of its batch.
struct Done {
    batch: Batch,
    out: Vec<u8>,
    answered: usize,
    over: Option<Status>,
    /// The one behind those, if it waits; it is none of the batch any more.
    waiting: Option<Waiting>,
}

fn carry_out<H: WireHandler>(
    shared: &Shared<H>,
    session: &H::Session,
    mut batch: Batch,
    flags: &Flags,
    mut out: Vec<u8>,
) -> Done {
    let (mut answered, mut over, mut waiting) = (0, None, None);
    while over.is_none() && out.len() < BATCH_REPLY_BYTES {
        let Some((ticket, packet)) = batch.next_request() else { break };
        let (header, arrived) = (ticket.header, ticket.arrived);
        let cancelled = flags.get(ticket.serial).cloned();
        let asked = Asked { header, packet, arrived, cancelled };
        match carry::attempt(shared, session, &asked, (None, true), &mut out) {
            Outcome::Answered(why) => over = why,
            Outcome::Waits(wait) => {
                waiting = Some(Waiting::new(&asked, wait));
                break;
            }
        }
        answered += 1;
    }
    Done { batch, out, answered, over, waiting }
}

/// Reads as much as is wanted and there is. Where nothing has come yet no memory is held
/// while it waits: the first bytes come by the stack of the thread that finds them.
pub(super) async fn receive(stream: &mut Stream, wire: &mut Server) -> io::Result<usize> {
    let (tail, room) = wire.tail();
    if !tail.is_empty() {
        tail.reserve(room.min(4 * READ_BYTES));
        return stream.read_buf(&mut tail.limit(room)).await;
    }
    poll_fn(|cx| {
        let mut scrap = [const { MaybeUninit::uninit() }; FIRST_BYTES];
        let mut first = ReadBuf::uninit(&mut scrap[..room.min(FIRST_BYTES)]);
        ready!(Pin::new(&mut *stream).poll_read(cx, &mut first))?;
        tail.extend_from_slice(first.filled());
        Poll::Ready(Ok(first.filled().len()))
    })
    .await
}

/// Writes and flushes within `write_timeout` and what 16 KiB/s take on top.
pub(super) async fn send<H>(
    shared: &Shared<H>,
    stream: &mut Stream,
    bytes: &[u8],
) -> io::Result<()> {
    let slow = || io::Error::new(io::ErrorKind::TimedOut, "the peer reads too slowly");
    let mut pace = Pace::sending(&shared.replies, bytes.len(), shared.options.write_timeout);
    let mut left = bytes;
    while !left.is_empty() {
        let time = pace.left().ok_or_else(slow)?;
        // If nothing moved it is looked again whether that may be.
        let Ok(written) = timeout(time, stream.write(left)).await else { continue };
        match written? {
            0 => return Err(io::ErrorKind::WriteZero.into()),
            n => left = &left[n..],
        }
        pace.moved();
    }
    loop {
        if let Ok(flushed) = timeout(pace.left().ok_or_else(slow)?, stream.flush()).await {
            return flushed;
        }
    }
}

/// `patience`, and what so many bytes take at 16 KiB/s.
pub(super) fn slowly(bytes: usize, patience: Duration) -> Duration {
    patience.saturating_add(Duration::from_secs(bytes as u64 / (16 << 10)))
}

/// Ends our side, then listens for a while: closing over bytes not read would
/// reset the connection and take the last reply with it.
pub(super) async fn linger(stream: &mut Stream) {
    let rest = async {
        stream.shutdown().await?;
        discard(stream).await
    };
    // Whatever happens now, the connection is closed.
    timeout(LINGER, rest).await.ok();
}
