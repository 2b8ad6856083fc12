//! One stream: a request packet, its reply packet.
//!
//! What must stay true: memory for a request is taken from the budget all sessions
//! share, and from its connection's part of it, before its bytes are received, and nobody
//! waits for that: what a stream does not read keeps others of its connection from being
//! received, which may hold the memory. Memory for a large reply is taken before the
//! request is begun, and that is waited for; it is kept until the reply was taken. A
//! request whose stream was stopped is given up, and its place at work is kept until it
//! has ended.

use super::super::budget::{Budget, Pace, SMALL, Share};
use super::super::carry::{self, Asked, Outcome};
use super::super::session::LINGER;
use super::super::wait::Waiting;
use super::super::{Shared, WireHandler};
use crate::server::Closing;
use proto::packet::Header;
use proto::wire::{Fault, Lone};
use proto::{Opcode, Status};
use quinn::{RecvStream, SendStream, VarInt};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use tokio::sync::Semaphore;
use tokio::time::timeout;

/// Bytes taken off a stream at once.
const READ_BYTES: usize = 64 << 10;
/// Longer packets need a share of the common budget.
const FREE_BYTES: usize = 4 << 10;

/// No reason is given: those of streams are not looked at.
const NO_REASON: VarInt = VarInt::from_u32(0);

/// What the streams of a connection share.
pub(super) struct Common<S> {
    pub(super) session: Arc<S>,
    /// Requests at work.
    pub(super) gate: Arc<Semaphore>,
    /// Of large requests being received.
    pub(super) buffers: Budget,
}

/// A packet, and its shares of the budgets.
pub(super) struct Packet {
    lone: Lone,
    _budget: Option<(Share, Share)>,
}

impl Packet {
    pub(super) fn bytes(&self) -> &[u8] {
        self.lone.bytes()
    }
}

/// What came of reading a stream.
pub(super) enum Read {
    Whole(Packet),
    Fault(Fault),
    /// It was reset, or the connection is gone.
    Gone,
}

/// Reads a stream to its end; `buffers`: what its connection may hold.
pub(super) async fn read<H>(
    shared: &Shared<H>,
    buffers: &Budget,
    recv: &mut RecvStream,
    mut lone: Lone,
) -> Read {
    let mut budget = None;
    let mut pace = Pace::receiving(&shared.buffers, shared.options.message_timeout);
    let fault = loop {
        let due = match lone.wants() {
            Ok(due) => due,
            Err(fault) => break fault,
        };
        if due > FREE_BYTES && budget.is_none() {
            // Of the connection first: who holds it all takes nothing from others.
            let share = buffers.try_share(due);
            budget = share.and_then(|share| Some((share, shared.buffers.try_share(due)?)));
            if budget.is_none() {
                let message = "there is no memory left to receive this request with others: send \
                               it again after a while";
                break Fault::new(lone.id(), Status::Busy, message);
            }
        }
        pace.has(due, budget.is_some());
        let Some(time) = pace.left() else {
            let message = "the stream was silent or slow for too long before its packet had come";
            break Fault::new(lone.id(), Status::Timeout, message);
        };
        match timeout(time, recv.read_chunk(READ_BYTES, true)).await {
            Ok(Ok(Some(chunk))) => {
                pace.moved();
                lone.feed(&chunk.bytes);
            }
            Ok(Ok(None)) => match lone.end() {
                Ok(_) => return Read::Whole(Packet { lone, _budget: budget }),
                Err(fault) => break fault,
            },
            Ok(Err(_)) => return Read::Gone,
            // It is looked again whether that may be.
            Err(_) => {}
        }
    };
    // What else comes is of no use; that it has ended already is as good.
    recv.stop(NO_REASON).ok();
    Read::Fault(fault)
}

/// Writes a packet and ends the stream; `false`: it was not taken.
pub(super) async fn write<H>(shared: &Shared<H>, send: &mut SendStream, bytes: &[u8]) -> bool {
    let mut pace = Pace::sending(&shared.replies, bytes.len(), shared.options.write_timeout);
    let mut left = bytes;
    while !left.is_empty() {
        let Some(time) = pace.left() else { break };
        match timeout(time, send.write(left)).await {
            Ok(Ok(written)) => left = &left[written..],
            Ok(Err(_)) => break,
            // It is looked again whether that may be.
            Err(_) => continue,
        }
        pace.moved();
    }
    if left.is_empty() {
        return send.finish().is_ok();
    }
    send.reset(NO_REASON).ok();
    false
}

/// Waits a while for the peer to have it all: what is closed before takes it along.
pub(super) async fn taken(send: &SendStream) {
    timeout(LINGER, send.stopped()).await.ok();
}

/// Carries out the request of a stream. If the session must end with it, says why.
pub(super) async fn serve<H: WireHandler>(
    shared: Arc<Shared<H>>,
    common: Arc<Common<H::Session>>,
    mut send: SendStream,
    mut recv: RecvStream,
    mut closing: Closing,
) -> Option<Status> {
    let limit = shared.options.max_message_size;
    let packet = match read(&shared, &common.buffers, &mut recv, Lone::request(limit)).await {
        Read::Whole(packet) => packet,
        Read::Fault(fault) => {
            let mut reply = Vec::new();
            fault.write(&mut reply);
            if write(&shared, &mut send, &reply).await {
                taken(&send).await;
            }
            return None;
        }
        Read::Gone => {
            send.reset(NO_REASON).ok();
            return None;
        }
    };
    let arrived = shared.micros();
    let Ok(header) = Header::parse(packet.bytes()) else { return Some(Status::Internal) };
    let flag = Arc::new(AtomicBool::new(false));
    let operation = Opcode::from_number(header.code);
    let brief = operation.is_some_and(|code| shared.handler.is_brief(code));
    let large = operation.is_some_and(|code| shared.handler.may_be_large(code));
    let mut at = At::First(packet);
    let (turn, share, over, reply) = loop {
        let has_waited = matches!(at, At::Again(..));
        // The first two are kept until the reply was taken: so few replies are in memory.
        let turns = async {
            let turn = common.gate.clone().acquire_owned().await;
            let turn = turn.expect("the semaphore is never closed");
            if brief {
                return (turn, None, None, None);
            }
            let share = match large {
                true => Some(shared.replies.share(shared.place()).await),
                false => None,
            };
            let again = match has_waited {
                true => Some(shared.waiters.turn().await),
                false => None,
            };
            let work = shared.quic_work.clone().acquire_owned().await;
            (turn, share, again, Some(work.expect("the semaphore is never closed")))
        };
        let (turn, mut share, again, work) = tokio::select! {
            turns = turns => turns,
            _ = send.stopped() => {
                send.reset(NO_REASON).ok();
                return None;
            }
        };
        if let (true, At::First(packet)) = (brief, &at) {
            let make = || {
                let mut reply = Vec::new();
                let asked = Asked { header, packet: packet.bytes(), arrived, cancelled: None };
                (carry::one(&shared, &common.session, asked, &mut reply), reply)
            };
            let mut made = make();
            if made.1.len() > SMALL {
                share = shared.replies.try_share(shared.place());
                if share.is_none() {
                    // Nobody waits with a large reply in memory: it is made again.
                    drop(made);
                    share = Some(shared.replies.share(shared.place()).await);
                    made = make();
                }
            }
            break (turn, share, made.0, made.1);
        }
        let mut job = tokio::task::spawn_blocking({
            let (shared, common, flag) = (shared.clone(), common.clone(), flag.clone());
            move || {
                let mut reply = Vec::new();
                let tried =
                    at.attempt(&shared, &common.session, (header, arrived), flag, &mut reply);
                drop(work);
                (tried, reply)
            }
        });
        let done = tokio::select! {
            biased;
            done = &mut job => done,
            _ = send.stopped() => {
                flag.store(true, Relaxed);
                job.await
            }
        };
        // Not before its thread has nothing to do: the next one needs no other.
        drop(again);
        match done {
            Ok((Tried::Answered(over), reply)) => break (turn, share, over, reply),
            Ok((Tried::Waits(mut waiting), _)) => {
                drop((turn, share));
                let is_news = tokio::select! {
                    biased;
                    _ = send.stopped() => {
                        send.reset(NO_REASON).ok();
                        return None;
                    }
                    () = closing.wait() => false,
                    is_news = waiting.news() => is_news,
                };
                at = At::Again(waiting, !is_news);
            }
            Err(error) => {
                tracing::error!(%error, "a request was lost");
                return Some(Status::Internal);
            }
        }
    };
    if flag.load(Relaxed) {
        send.reset(NO_REASON).ok();
        return over;
    }
    let share = shared.replies.settle(share, reply.len());
    let written = write(&shared, &mut send, &reply).await;
    drop((turn, reply));
    if written {
        taken(&send).await;
    }
    drop(share);
    over
}

/// Where the request of a stream is.
enum At {
    First(Packet),
    /// It has waited; `true`: it is answered now.
    Again(Box<Waiting>, bool),
}

/// What came of an attempt.
enum Tried {
    Answered(Option<Status>),
    Waits(Box<Waiting>),
}

impl At {
    fn attempt<H: WireHandler>(
        self,
        shared: &Shared<H>,
        session: &H::Session,
        (header, arrived): (Header, u64),
        flag: Arc<AtomicBool>,
        reply: &mut Vec<u8>,
    ) -> Tried {
        match self {
            At::First(packet) => {
                let asked =
                    Asked { header, packet: packet.bytes(), arrived, cancelled: Some(flag) };
                match carry::attempt(shared, session, &asked, (None, true), reply) {
                    Outcome::Answered(over) => Tried::Answered(over),
                    Outcome::Waits(wait) => Tried::Waits(Box::new(Waiting::new(&asked, wait))),
                }
            }
            At::Again(mut waiting, is_last) => match waiting.ask(shared, session, is_last, reply) {
                ControlFlow::Break(over) => Tried::Answered(over),
                ControlFlow::Continue(()) => Tried::Waits(waiting),
            },
        }
    }
}
