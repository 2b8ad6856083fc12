//! One connection: handshake, Auth on its first stream, then a task for each stream.
//!
//! What must stay true: a session has a place, which it gives back when it ends and what
//! it had at work has ended too; a connection that is gone cancels what is at work. A
//! connection that ends says why by the number of a status; 0: the server stops.

use super::super::admission::{Refusal, authenticate};
use super::super::budget::Budget;
use super::super::{Shared, WireHandler};
use super::stream::{self, Common, Read};
use crate::quic::WINDOW;
use crate::server::Closing;
use crate::tls::ALPN_WIRE;
use proto::Status;
use proto::wire::Lone;
use quinn::crypto::rustls::HandshakeData;
use quinn::{Connection, Incoming, VarInt};
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

/// Requests of one connection at work at once; what waits for its reply to be read counts.
const AT_WORK: usize = 8;
/// Large requests being received on one connection hold one part in so many of what all
/// may hold.
const PARTS: usize = 4;

/// A connection that has said who it is.
struct Admitted<S> {
    connection: Connection,
    session: Arc<S>,
    _place: OwnedSemaphorePermit,
}

/// Why a connection ends, as the peer is told.
fn code(status: Status) -> VarInt {
    VarInt::from_u32(u32::from(status as u16))
}

pub(super) async fn serve<H: WireHandler>(
    shared: Arc<Shared<H>>,
    incoming: Incoming,
    place: OwnedSemaphorePermit,
    mut closing: Closing,
) {
    let peer = incoming.remote_address();
    let admitted = tokio::select! {
        biased;
        () = closing.wait() => return,
        admitted = timeout(shared.options.auth_timeout, admit(&shared, incoming)) => admitted,
    };
    drop(place);
    match admitted {
        Ok(Some(admitted)) => run(&shared, admitted, closing).await,
        Ok(None) => {}
        Err(_) => tracing::debug!(%peer, "closed a connection: it did not authenticate in time"),
    }
}

/// Handshake and Auth. What is dropped on the way is closed by that.
async fn admit<H: WireHandler>(
    shared: &Arc<Shared<H>>,
    incoming: Incoming,
) -> Option<Admitted<H::Session>> {
    let peer = incoming.remote_address();
    // Not before it is known to be there: else others could take its share.
    let share = || shared.unauthenticated.take(peer.ip());
    let known = incoming.remote_address_validated();
    let early = if known { Some(share()?) } else { None };
    let connection = match incoming.accept() {
        Ok(connecting) => connecting.await,
        Err(error) => Err(error),
    };
    let connection = match connection {
        Ok(connection) => connection,
        Err(error) => {
            tracing::debug!(%peer, %error, "closed a connection: the QUIC handshake failed");
            return None;
        }
    };
    let Some(_share) = early.or_else(share) else {
        shared.refusals.say(peer, "too many unauthenticated from its address");
        connection.close(code(Status::Busy), b"too many that have not authenticated");
        return None;
    };
    if !asked_for_wire(&connection) {
        connection.close(code(Status::UnknownVersion), b"another protocol was asked for");
        return None;
    }
    let (mut send, mut recv) = connection.accept_bi().await.ok()?;
    let read = stream::read(shared, &shared.buffers, &mut recv, Lone::auth()).await;
    let refusal: Refusal = match read {
        Read::Gone => return None,
        Read::Fault(fault) => fault.into(),
        Read::Whole(packet) => match authenticate(shared, packet.bytes(), peer).await {
            Err(refusal) => refusal,
            Ok((session, place, reply)) => {
                let most = u32::try_from(shared.options.max_in_flight.max(1)).unwrap_or(u32::MAX);
                connection.set_max_concurrent_bi_streams(VarInt::from_u32(most));
                connection.set_receive_window(VarInt::from_u32(WINDOW));
                if !stream::write(shared, &mut send, &reply).await {
                    return None;
                }
                return Some(Admitted { connection, session, _place: place });
            }
        },
    };
    sleep(refusal.delay).await;
    let mut reply = Vec::new();
    refusal.fault.write(&mut reply);
    if stream::write(shared, &mut send, &reply).await {
        stream::taken(&send).await;
    }
    connection.close(code(refusal.fault.status), b"see the reply to Auth");
    None
}

/// Whether the handshake agreed on what is spoken here.
fn asked_for_wire(connection: &Connection) -> bool {
    let agreed = connection.handshake_data().and_then(|data| data.downcast::<HandshakeData>().ok());
    agreed.and_then(|data| data.protocol).as_deref() == Some(ALPN_WIRE)
}

/// To the end of the session.
async fn run<H: WireHandler>(
    shared: &Arc<Shared<H>>,
    admitted: Admitted<H::Session>,
    mut closing: Closing,
) {
    let Admitted { connection, session, _place } = admitted;
    let options = &shared.options;
    let gate = Arc::new(Semaphore::new(AT_WORK));
    let part = (options.max_buffered_bytes / PARTS).max(options.max_message_size);
    let common = Arc::new(Common { session, gate, buffers: Budget::new(part) });
    let mut streams: JoinSet<Option<Status>> = JoinSet::new();
    let idle = options.idle_timeout;
    let end = loop {
        let resting = streams.is_empty();
        let silence = async {
            match resting {
                true => sleep(idle).await,
                false => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = closing.wait() => break None,
            Some(ended) = streams.join_next() => match ended {
                Ok(None) => {}
                Ok(over) => break over,
                Err(error) => {
                    tracing::error!(%error, "a request's task failed");
                    break Some(Status::Internal);
                }
            },
            opened = connection.accept_bi() => match opened {
                Ok((send, recv)) => {
                    let (shared, common) = (shared.clone(), common.clone());
                    streams.spawn(stream::serve(shared, common, send, recv, closing.clone()));
                }
                Err(error) => {
                    tracing::debug!(peer = %connection.remote_address(), %error, "a session ended");
                    break None;
                }
            },
            () = silence => {
                tracing::debug!(
                    peer = %connection.remote_address(),
                    "closed a session: it was silent for too long"
                );
                break Some(Status::Timeout);
            }
        }
    };
    if let Some(status) = end {
        connection.close(code(status), status.meaning().as_bytes());
    }
    // Else what is in flight is answered; or the peer has gone, and it was cancelled.
    while streams.join_next().await.is_some() {}
    connection.close(VarInt::from_u32(0), b"the server stops");
}
