//! One stream: a request packet, its reply packet.
//!
//! What must stay true: memory for a request is taken from the budget all sessions
//! share before its bytes are received, and nobody waits for that: what a stream does
//! not read keeps others of its connection from being received, which may hold the
//! memory. A request whose stream was stopped is given up, and its place at work is
//! kept until it has ended.

use super::super::carry::{self, Asked};
use super::super::session::{LINGER, slowly};
use super::super::{Shared, WireHandler};
use proto::packet::Header;
use proto::wire::{Fault, Lone};
use proto::{Opcode, Status};
use quinn::{RecvStream, SendStream, VarInt};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

/// Bytes taken off a stream at once.
const READ_BYTES: usize = 64 << 10;
/// Longer packets need a share of the common budget.
const FREE_BYTES: usize = 4 << 10;

/// No reason is given: those of streams are not looked at.
const NO_REASON: VarInt = VarInt::from_u32(0);

/// A packet, and its share of the budget.
pub(super) struct Packet {
    lone: Lone,
    _budget: Option<OwnedSemaphorePermit>,
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

/// Reads a stream to its end.
pub(super) async fn read<H>(shared: &Shared<H>, recv: &mut RecvStream, mut lone: Lone) -> Read {
    let mut budget = None;
    let fault = loop {
        let due = match lone.wants() {
            Ok(due) => due,
            Err(fault) => break fault,
        };
        if due > FREE_BYTES && budget.is_none() {
            let kib = u32::try_from(due.div_ceil(1024)).unwrap_or(u32::MAX);
            let Ok(share) = shared.buffers.clone().try_acquire_many_owned(kib) else {
                let message = "there is no memory left to receive this request with others: send \
                               it again after a while";
                break Fault::new(lone.id(), Status::Busy, message);
            };
            budget = Some(share);
        }
        let patience = shared.options.message_timeout;
        match timeout(patience, recv.read_chunk(READ_BYTES, true)).await {
            Ok(Ok(Some(chunk))) => lone.feed(&chunk.bytes),
            Ok(Ok(None)) => match lone.end() {
                Ok(_) => return Read::Whole(Packet { lone, _budget: budget }),
                Err(fault) => break fault,
            },
            Ok(Err(_)) => return Read::Gone,
            Err(_) => {
                let message = "the stream was silent for too long before its packet had come";
                break Fault::new(lone.id(), Status::Timeout, message);
            }
        }
    };
    // What else comes is of no use; that it has ended already is as good.
    recv.stop(NO_REASON).ok();
    Read::Fault(fault)
}

/// Writes a packet and ends the stream; `false`: it was not taken.
pub(super) async fn write<H>(shared: &Shared<H>, send: &mut SendStream, bytes: &[u8]) -> bool {
    let patience = slowly(bytes.len(), shared.options.write_timeout);
    let written = matches!(timeout(patience, send.write_all(bytes)).await, Ok(Ok(())));
    if written {
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
    session: Arc<H::Session>,
    gate: Arc<Semaphore>,
    mut send: SendStream,
    mut recv: RecvStream,
) -> Option<Status> {
    let limit = shared.options.max_message_size;
    let packet = match read(&shared, &mut recv, Lone::request(limit)).await {
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
    let brief = Opcode::from_number(header.code).is_some_and(|code| shared.handler.is_brief(code));
    let turns = async {
        let turn = gate.acquire_owned().await.expect("the semaphore is never closed");
        if brief {
            return (turn, None);
        }
        let work = shared.quic_work.clone().acquire_owned().await;
        (turn, Some(work.expect("the semaphore is never closed")))
    };
    // The first is kept until the reply was taken: so few replies are in memory.
    let (turn, work) = tokio::select! {
        turns = turns => turns,
        _ = send.stopped() => {
            send.reset(NO_REASON).ok();
            return None;
        }
    };
    let (over, reply) = if brief {
        let mut reply = Vec::new();
        let bytes = packet.bytes();
        let asked = Asked { header, packet: bytes, arrived, cancelled: None };
        (carry::one(&shared, &session, asked, &mut reply), reply)
    } else {
        let mut job = tokio::task::spawn_blocking({
            let (shared, flag) = (shared.clone(), flag.clone());
            move || {
                let mut reply = Vec::new();
                let cancelled = Some(flag);
                let asked = Asked { header, packet: packet.bytes(), arrived, cancelled };
                let over = carry::one(&shared, &session, asked, &mut reply);
                drop((work, packet));
                (over, reply)
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
        match done {
            Ok(done) => done,
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
    let written = write(&shared, &mut send, &reply).await;
    drop(turn);
    if written {
        taken(&send).await;
    }
    over
}
