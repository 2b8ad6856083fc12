//! From a fresh connection to a session: handshake, Auth, a place.
//!
//! What must stay true: nothing but one Auth packet of at most 4 KiB is read and
//! acted upon; a locked address never costs a key check; key checks in flight
//! are bounded even when their connections have gone.

use super::frame::{self, Front};
use super::session::{linger, send};
use super::{Shared, WireHandler};
use crate::server::secure;
use crate::stream::Stream;
use crate::tls::ALPN_WIRE;
use bytes::{Buf, BytesMut};
use proto::{Class, Opcode, ReplyWriter, Request, Status};
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;

/// Bytes an unauthenticated connection may send.
const AUTH_BYTES: usize = 4096;

/// A connection that has said who it is.
pub(super) struct Admitted<S> {
    pub(super) stream: Stream,
    pub(super) session: Arc<S>,
    pub(super) place: OwnedSemaphorePermit,
    /// What the client has sent behind its Auth.
    pub(super) inbox: BytesMut,
}

/// An address's share of the unauthenticated connections, given back on drop.
pub(super) struct Turn<'a> {
    table: &'a Mutex<BTreeMap<IpAddr, usize>>,
    address: IpAddr,
}

impl<'a> Turn<'a> {
    pub(super) fn take(
        table: &'a Mutex<BTreeMap<IpAddr, usize>>,
        address: IpAddr,
        limit: usize,
    ) -> Option<Turn<'a>> {
        let mut counts = table.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(address).or_insert(0);
        if *count >= limit {
            return None;
        }
        *count += 1;
        Some(Turn { table, address })
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut counts = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.address);
            }
        }
    }
}

/// Why a connection is not let in: the reply it gets, and after how long.
struct Refusal {
    id: u64,
    status: Status,
    message: String,
    delay: Duration,
}

fn refuse<T>(id: u64, status: Status, message: impl Into<String>) -> Result<T, Refusal> {
    Err(Refusal { id, status, message: message.into(), delay: Duration::ZERO })
}

pub(super) async fn admit<H: WireHandler>(
    shared: &Arc<Shared<H>>,
    stream: TcpStream,
    peer: SocketAddr,
) -> Option<Admitted<H::Session>> {
    let mut stream = match secure(stream, &shared.security, Some(ALPN_WIRE)).await {
        Ok(stream) => stream,
        Err(error) => {
            tracing::debug!(%peer, %error, "closed a connection: the TLS handshake failed");
            return None;
        }
    };
    let mut inbox = BytesMut::with_capacity(AUTH_BYTES);
    let refusal = match first_packet(&mut stream, &mut inbox).await {
        None => return None, // Gone before it said anything whole.
        Some(Err(refusal)) => refusal,
        Some(Ok(total)) => match authenticate(shared, &inbox[..total], peer).await {
            Err(refusal) => refusal,
            Ok((id, session, place)) => {
                inbox.advance(total);
                let mut reply = Vec::new();
                ReplyWriter::new(id, &mut reply).empty();
                send(&mut stream, &reply, shared.options.write_timeout).await.ok()?;
                return Some(Admitted { stream, session, place, inbox });
            }
        },
    };
    tokio::time::sleep(refusal.delay).await;
    let reply = frame::error(refusal.id, refusal.status, &refusal.message);
    if send(&mut stream, &reply, shared.options.write_timeout).await.is_ok() {
        linger(&mut stream).await;
    }
    None
}

/// Reads until `inbox` begins with a whole Auth packet; says how long it is.
async fn first_packet(stream: &mut Stream, inbox: &mut BytesMut) -> Option<Result<usize, Refusal>> {
    loop {
        let auth = Opcode::Auth as u16;
        match frame::front(inbox, AUTH_BYTES) {
            Front::Bad(error) => return Some(refuse(0, Status::BadPacket, error.to_string())),
            Front::Whole(header, _) | Front::TooLarge(header, _) if header.code != auth => {
                let message = "send Auth with a user and key first";
                return Some(refuse(header.id, Status::NotAuthenticated, message));
            }
            Front::TooLarge(header, _) => {
                let message = format!("an Auth request has at most {AUTH_BYTES} bytes");
                return Some(refuse(header.id, Status::MessageTooLarge, message));
            }
            Front::Whole(_, total) => return Some(Ok(total)),
            Front::Partial(_) => {}
        }
        // A packet within the limit fits: the buffer never grows.
        if stream.read_buf(inbox).await.ok()? == 0 {
            return None;
        }
    }
}

type Entered<S> = (u64, Arc<S>, OwnedSemaphorePermit);

async fn authenticate<H: WireHandler>(
    shared: &Arc<Shared<H>>,
    packet: &[u8],
    peer: SocketAddr,
) -> Result<Entered<H::Session>, Refusal> {
    let (id, user, key) = match Request::decode(packet) {
        Ok((id, Request::Auth { user, key })) => (id, user.to_owned(), key.to_owned()),
        Ok((id, _)) => return refuse(id, Status::NotAuthenticated, "send Auth first"),
        Err((status, error)) => return refuse(0, status, error.to_string()),
    };
    let busy = || format!("all {} sessions are taken; retry later", shared.options.max_sessions);
    check_lock(shared, id, peer)?;
    if shared.sessions.available_permits() == 0 {
        return refuse(id, Status::Busy, busy());
    }
    let turn = shared.auth.clone().acquire_owned().await.expect("the semaphore is never closed");
    check_lock(shared, id, peer)?; // Others of this address may have failed meanwhile.
    let checked = tokio::task::spawn_blocking({
        let (shared, user) = (shared.clone(), user.clone());
        move || {
            let result = shared.handler.authenticate(&user, &key, peer);
            drop(turn); // Held until the work is done, even if nobody waits for it any more.
            result
        }
    });
    match checked.await {
        Ok(Ok(session)) => {
            shared.lockout().succeeded(peer.ip(), &user);
            match shared.sessions.clone().try_acquire_owned() {
                Ok(place) => Ok((id, Arc::new(session), place)),
                Err(_) => refuse(id, Status::Busy, busy()),
            }
        }
        Ok(Err((status, message))) => {
            let mut refusal = Refusal { id, status, message, delay: Duration::ZERO };
            if status.class() == Class::Denied {
                refusal.delay = shared.options.failed_auth_delay;
                let locked = shared.lockout().failed(peer.ip(), &user, Instant::now());
                match locked {
                    Some(time) => tracing::warn!(
                        %peer, seconds = time.as_secs(),
                        "locked an address out: too many failed attempts to authenticate"
                    ),
                    None => tracing::warn!(%peer, "an attempt to authenticate failed"),
                }
            }
            Err(refusal)
        }
        Err(error) => {
            tracing::error!(%peer, %error, "checking a key panicked");
            refuse(id, Status::Internal, "the key could not be checked; see the server's log")
        }
    }
}

fn check_lock<H>(shared: &Shared<H>, id: u64, peer: SocketAddr) -> Result<(), Refusal> {
    match shared.lockout().locked(peer.ip(), Instant::now()) {
        None => Ok(()),
        Some(left) => {
            let seconds = left.as_secs() + 1;
            let message = format!(
                "too many failed attempts from {}; try again in {seconds} s",
                peer.ip().to_canonical()
            );
            refuse(id, Status::LockedOut, message)
        }
    }
}
