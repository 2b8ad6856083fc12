//! An authenticated session over TCP: read, carry out in order, write, again.
//!
//! What must stay true: replies leave in the order of their requests. At most
//! one batch of whole requests is at work; while it is, what is read is what
//! [`Server`] reads ahead, so that a Cancel is seen. A session whose user is gone is
//! told so and ends. Memory for a large request is taken from the budget all sessions
//! share before its bytes are received. A session that ends, however it ends, gives
//! back its place; if it broke off, what is at work is given up.

use super::admission::Admitted;
use super::carry::{self, Asked};
use super::{Shared, WireHandler};
use crate::server::Closing;
use crate::stream::Stream;
use bytes::BufMut;
use proto::wire::{Batch, Server};
use proto::{Opcode, Status};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;

/// Larger requests than this need a share of the common budget.
const READ_BYTES: usize = 64 << 10;
/// A batch is answered as far as it has come when its replies have this many bytes.
const BATCH_REPLY_BYTES: usize = 256 << 10;
/// More brief requests than these are work for a blocking thread all the same.
const BRIEF_REQUESTS: usize = 16;
/// A buffer that has grown beyond is given back rather than kept.
const KEEP_BYTES: usize = 256 << 10;
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
    let (outbox, ended) = (Vec::new(), false);
    let mut tcp = Tcp { shared, session, stream, wire, outbox, peer, closing, ended };
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
        // Of the budget all sessions share: what is held, and for how many bytes.
        let mut budget: Option<(OwnedSemaphorePermit, usize)> = None;
        loop {
            self.wire.advance(shared.micros());
            if self.wire.ready().next().is_some() {
                let next = if self.is_brief() { self.brief().await } else { self.work().await };
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
            self.wire.shrink(KEEP_BYTES);
            let due = self.wire.wants();
            if due <= READ_BYTES {
                budget = None;
            }
            let patience = match self.wire.has_part() {
                false => options.idle_timeout,
                true => options.message_timeout,
            };
            // One that is longer than the one before needs a share of its own length.
            if budget.as_ref().is_some_and(|(_, bytes)| *bytes < due) {
                budget = None;
            }
            let (stream, wire) = (&mut self.stream, &mut self.wire);
            let more = async {
                if due > READ_BYTES && budget.is_none() {
                    let kib = u32::try_from(due.div_ceil(1024)).unwrap_or(u32::MAX);
                    let share = shared.buffers.clone().acquire_many_owned(kib).await;
                    budget = Some((share.expect("the semaphore is never closed"), due));
                }
                timeout(patience, receive(stream, wire)).await
            };
            let received = tokio::select! {
                biased;
                () = self.closing.wait() => return Next::On,
                received = more => received,
            };
            match received {
                Ok(Ok(0)) => return Next::On,
                Ok(Ok(_)) => {}
                Ok(Err(error)) => {
                    tracing::debug!(peer = %self.peer, %error, "a session broke off");
                    return Next::Gone;
                }
                Err(_) => {
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
        let mut over = None;
        while over.is_none() && self.outbox.len() < BATCH_REPLY_BYTES {
            let Some((ticket, packet)) = self.wire.next_request() else { break };
            let (header, arrived) = (ticket.header, ticket.arrived);
            let cancelled = ticket.cancelled.then(|| Arc::new(AtomicBool::new(true)));
            let asked = Asked { header, packet, arrived, cancelled };
            over = carry::one(self.shared, &self.session, asked, &mut self.outbox);
            self.wire.answered(1);
        }
        self.tell(over).await
    }

    /// Carries out what waits where blocking is allowed, and goes on listening.
    async fn work(&mut self) -> Next {
        let mut batch = self.wire.detach();
        let flags = Flags::of(&batch);
        while batch.tickets().len() > 0 {
            let (shared, session) = (self.shared.clone(), self.session.clone());
            let (seen, out) = (flags.clone(), std::mem::take(&mut self.outbox));
            let job = move || carry_out(&shared, &session, batch, &seen, out);
            let job = tokio::task::spawn_blocking(job);
            let (done, broken) = self.meanwhile(job, &flags).await;
            let Ok(done) = done else {
                tracing::error!("a batch of requests was lost");
                return Next::Gone;
            };
            (batch, self.outbox) = (done.batch, done.out);
            self.wire.answered(done.answered);
            if broken {
                return Next::Gone;
            }
            match self.tell(done.over).await {
                Next::On => {}
                over => return over,
            }
        }
        Next::On
    }

    /// Waits for the end of a job, and sees who is cancelled. Says too whether the
    /// connection broke off.
    async fn meanwhile(
        &mut self,
        mut job: tokio::task::JoinHandle<Done>,
        flags: &Flags,
    ) -> (Result<Done, tokio::task::JoinError>, bool) {
        let (mut broken, mut draining) = (false, false);
        loop {
            let wants = !self.ended && !draining && self.wire.wants() > 0;
            let received = tokio::select! {
                biased;
                done = &mut job => return (done, broken),
                () = self.closing.wait(), if !draining => {
                    draining = true;
                    continue;
                }
                received = receive(&mut self.stream, &mut self.wire), if wants => received,
            };
            match received {
                Ok(0) => self.ended = true,
                Ok(_) => {
                    self.wire.advance(self.shared.micros());
                    while let Some(serial) = self.wire.cancelled() {
                        flags.set(serial);
                    }
                }
                Err(error) => {
                    tracing::debug!(peer = %self.peer, %error, "a session broke off at work");
                    flags.set_all();
                    (self.ended, broken) = (true, true);
                }
            }
        }
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
        let sent = send(&mut self.stream, &self.outbox, self.shared.options.write_timeout).await;
        if let Err(error) = &sent {
            tracing::debug!(peer = %self.peer, %error, "closed a session: its replies were not taken");
        }
        self.outbox.clear();
        self.outbox.shrink_to(KEEP_BYTES);
        sent.is_ok()
    }
}

/// Whether the requests of a batch are still wanted.
#[derive(Clone)]
struct Flags {
    first: u64,
    flags: Arc<[Arc<AtomicBool>]>,
}

impl Flags {
    fn of(batch: &Batch) -> Flags {
        let first = batch.tickets().next().map_or(0, |ticket| ticket.serial);
        let flag = |cancelled| Arc::new(AtomicBool::new(cancelled));
        Flags { first, flags: batch.tickets().map(|ticket| flag(ticket.cancelled)).collect() }
    }

    fn get(&self, serial: u64) -> Option<&Arc<AtomicBool>> {
        self.flags.get(usize::try_from(serial.checked_sub(self.first)?).ok()?)
    }

    fn set(&self, serial: u64) {
        if let Some(flag) = self.get(serial) {
            flag.store(true, Relaxed);
        }
    }

    fn set_all(&self) {
        self.flags.iter().for_each(|flag| flag.store(true, Relaxed));
    }
}

/// What a job has done, and what is left of its batch.
struct Done {
    batch: Batch,
    out: Vec<u8>,
    answered: usize,
    over: Option<Status>,
}

fn carry_out<H: WireHandler>(
    shared: &Shared<H>,
    session: &H::Session,
    mut batch: Batch,
    flags: &Flags,
    mut out: Vec<u8>,
) -> Done {
    let (mut answered, mut over) = (0, None);
    while over.is_none() && out.len() < BATCH_REPLY_BYTES {
        let Some((ticket, packet)) = batch.next_request() else { break };
        let (header, arrived) = (ticket.header, ticket.arrived);
        let cancelled = flags.get(ticket.serial).cloned();
        over = carry::one(shared, session, Asked { header, packet, arrived, cancelled }, &mut out);
        answered += 1;
    }
    Done { batch, out, answered, over }
}

/// Reads as much as is wanted and there is.
pub(super) async fn receive(stream: &mut Stream, wire: &mut Server) -> io::Result<usize> {
    let (tail, room) = wire.tail();
    tail.reserve(room.min(4 * READ_BYTES));
    stream.read_buf(&mut tail.limit(room)).await
}

/// Writes and flushes within `patience` and what 16 KiB/s take on top.
pub(super) async fn send(stream: &mut Stream, bytes: &[u8], patience: Duration) -> io::Result<()> {
    let all = async {
        stream.write_all(bytes).await?;
        stream.flush().await
    };
    match timeout(slowly(bytes.len(), patience), all).await {
        Ok(done) => done,
        Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "the peer reads too slowly")),
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
        let mut scrap = [0; 4096];
        while stream.read(&mut scrap).await? > 0 {}
        io::Result::Ok(())
    };
    // Whatever happens now, the connection is closed.
    timeout(LINGER, rest).await.ok();
}
