//! From a fresh connection to a session: handshake, Auth, a place.
//!
//! What must stay true: nothing but one Auth packet of at most 4 KiB is read and
//! acted upon; a locked address never costs a key check; key checks in flight
//! are bounded even when their connections have gone.

use super::session::{linger, receive, send};
use super::{Shared, WireHandler};
use crate::server::secure;
use crate::stream::Stream;
use crate::tls::ALPN_WIRE;
use proto::wire::{Fault, Greeting, Server};
use proto::{Class, ReplyWriter, Request, Status};
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;

/// A connection that has said who it is.
pub(super) struct Admitted<S> {
    pub(super) stream: Stream,
    pub(super) session: Arc<S>,
    pub(super) place: OwnedSemaphorePermit,
    /// What the client has sent behind its Auth.
    pub(super) wire: Server,
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
pub(super) struct Refusal {
    pub(super) fault: Fault,
    pub(super) delay: Duration,
}

impl From<Fault> for Refusal {
    fn from(fault: Fault) -> Refusal {
        Refusal { fault, delay: Duration::ZERO }
    }
}

fn refuse<T>(id: u64, status: Status, message: impl Into<String>) -> Result<T, Refusal> {
    Err(Fault::new(id, status, message).into())
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
    let mut wire = Server::new();
    let refusal: Refusal = loop {
        wire.advance(shared.micros());
        if let Some((_, packet)) = wire.next_request() {
            match authenticate(shared, packet, peer).await {
                Err(refusal) => break refusal,
                Ok((session, place, reply)) => {
                    send(&mut stream, &reply, shared.options.write_timeout).await.ok()?;
                    wire.answered(1);
                    wire.open(shared.options.max_message_size, shared.options.max_in_flight);
                    return Some(Admitted { stream, session, place, wire });
                }
            }
        }
        if let Some(fault) = wire.last_word() {
            break fault.into();
        }
        if receive(&mut stream, &mut wire).await.ok()? == 0 {
            return None; // Gone before it said anything whole.
        }
    };
    tokio::time::sleep(refusal.delay).await;
    let mut reply = Vec::new();
    refusal.fault.write(&mut reply);
    if send(&mut stream, &reply, shared.options.write_timeout).await.is_ok() {
        linger(&mut stream).await;
    }
    None
}

/// Who came in, their place, and what they are told: a reply packet.
type Entered<S> = (Arc<S>, OwnedSemaphorePermit, Vec<u8>);

/// Looks at an Auth packet, whichever way it came.
pub(super) async fn authenticate<H: WireHandler>(
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
                Ok(place) => {
                    let mut reply = Vec::new();
                    ReplyWriter::new(id, &mut reply).document(&greeting(shared, &session));
                    Ok((Arc::new(session), place, reply))
                }
                Err(_) => refuse(id, Status::Busy, busy()),
            }
        }
        Ok(Err((status, message))) => {
            let mut refusal = Refusal::from(Fault::new(id, status, message));
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

/// What is said of a session to whom it belongs.
fn greeting<H: WireHandler>(shared: &Shared<H>, session: &H::Session) -> Vec<u8> {
    let (welcome, options) = (shared.handler.welcome(session), &shared.options);
    let greeting = Greeting {
        server: &welcome.server,
        session: welcome.session,
        user: &welcome.user,
        role: &welcome.role,
        max_message_size: options.max_message_size as u64,
        max_in_flight: options.max_in_flight as u64,
        idle_timeout_ms: u64::try_from(options.idle_timeout.as_millis()).unwrap_or(u64::MAX),
    };
    greeting.encode()
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
