//! From a fresh connection to a session: handshake, Auth, a place.
//!
//! What must stay true: nothing but one Auth packet of at most 4 KiB is read and
//! acted upon; who is locked out never costs a key check, and each check that a
//! guarded account lets strangers have, or a locked address those who are known, is
//! taken before it is made; key checks in
//! flight are bounded even when their connections have gone.

use super::session::{linger, receive, send};
use super::{Shared, WireHandler};
use crate::lockout::{Failure, Lock};
use crate::server::secure;
use crate::stream::Stream;
use crate::tls::ALPN_WIRE;
use proto::wire::{Fault, Greeting, Server};
use proto::{Class, ReplyWriter, Request, Status};
use std::net::SocketAddr;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tokio::time::timeout_at;

/// A connection that has said who it is.
pub(super) struct Admitted<S> {
    pub(super) stream: Stream,
    pub(super) session: Arc<S>,
    pub(super) place: OwnedSemaphorePermit,
    /// What the client has sent behind its Auth.
    pub(super) wire: Server,
}

/// A first byte of TLS, which no packet has.
const TLS_HANDSHAKE: u8 = 0x16;

const NO_ALPN: &str = "it did not ask for planck/1 (ALPN) in its TLS handshake; ask for it";
const NO_TLS: &str =
    "it began a TLS handshake, and tls.enabled is false here: connect in the clear, or enable TLS";

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
    let mut stream = match secure(stream, &shared.security).await {
        Ok(stream) => stream,
        Err(broken) => {
            broken.end(&shared.refusals, peer).await;
            return None;
        }
    };
    let mut wire = Server::new();
    let refusal: Refusal = loop {
        // Nothing is read from who did not ask for it, or a browser could be made to
        // speak to us in HTTP.
        if !stream.is_for(ALPN_WIRE) {
            break Fault::new(0, Status::BadPacket, NO_ALPN).into();
        }
        wire.advance(shared.micros());
        if let Some((_, packet)) = wire.next_request() {
            match authenticate(shared, packet, peer).await {
                Err(refusal) => break refusal,
                Ok((session, place, reply)) => {
                    send(shared, &mut stream, &reply).await.ok()?;
                    wire.answered(1);
                    wire.open(shared.options.max_message_size, shared.options.max_in_flight);
                    return Some(Admitted { stream, session, place, wire });
                }
            }
        }
        if let Some(mut fault) = wire.last_word() {
            if wire.rest().first() == Some(&TLS_HANDSHAKE) {
                fault = Fault::new(0, Status::BadPacket, NO_TLS);
            }
            break fault.into();
        }
        if receive(&mut stream, &mut wire).await.ok()? == 0 {
            return None; // Gone before it said anything whole.
        }
    };
    if refusal.fault.status == Status::BadPacket {
        shared.refusals.say(peer, &refusal.fault.message);
    }
    tokio::time::sleep(refusal.delay).await;
    let mut reply = Vec::new();
    refusal.fault.write(&mut reply);
    if send(shared, &mut stream, &reply).await.is_ok() {
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
    let locked = shared.lockout().locked(peer.ip(), &user, Instant::now());
    not_locked(shared, id, peer, locked)?;
    if shared.sessions.available_permits() == 0 {
        return refuse(id, Status::Busy, busy());
    }
    // Before the connection is cut for taking too long: whoever waits is told why.
    let until = tokio::time::Instant::now() + shared.options.auth_timeout / 5 * 4;
    let late = || "the key was not checked in time: the server has much to do; retry later";
    let Ok(turn) = timeout_at(until, shared.auth.clone().acquire_owned()).await else {
        return refuse(id, Status::Busy, late());
    };
    let turn = turn.expect("the semaphore is never closed");
    // Others may have failed meanwhile.
    let now = Instant::now();
    let locked = shared.lockout().enter(peer.ip(), &user, now);
    not_locked(shared, id, peer, locked)?;
    let is_known = shared.lockout().is_known(peer.ip(), &user, now);
    let hastens = shared.haste.lock().unwrap_or_else(PoisonError::into_inner).take(is_known, now);
    // A thread of its own: one that yields to others cannot be made to stop doing so.
    let (tell, checked) = oneshot::channel();
    let began = std::thread::Builder::new().name("planck-key".to_owned()).spawn({
        let (shared, user) = (shared.clone(), user.clone());
        move || {
            if !hastens {
                shared.handler.for_strangers();
            }
            let result = shared.handler.authenticate(&user, &key, peer);
            // Here, even if nobody waits for it any more: it counts, and may be slow to tell.
            if let Err((status, _)) = &result
                && status.class() == Class::Denied
            {
                let failure = shared.lockout().failed(peer.ip(), &user, Instant::now());
                failed(&shared, &user, peer, failure);
            }
            drop(turn); // Held until the work is done, even if nobody waits for it any more.
            tell.send(result).ok();
        }
    });
    if let Err(error) = began {
        tracing::error!(%error, "no thread to check a key; raise the limit (ulimit -u)");
        return refuse(id, Status::Busy, "there is no thread to check the key: retry later");
    }
    let Ok(checked) = timeout_at(until, checked).await else {
        return refuse(id, Status::Busy, late());
    };
    match checked {
        Ok(Ok(session)) => {
            shared.lockout().succeeded(peer.ip(), &user, Instant::now());
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
            }
            Err(refusal)
        }
        Err(_) => {
            tracing::error!(%peer, "checking a key panicked");
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

/// Tells what a failed attempt came to: the log, and who keeps account of such things.
fn failed<H: WireHandler>(shared: &Shared<H>, user: &str, peer: SocketAddr, failure: Failure) {
    if let Some(time) = failure.address_locked {
        let seconds = time.as_secs();
        tracing::warn!(
            %peer, seconds,
            "locked an address out: too many failed attempts to authenticate"
        );
        shared.handler.locked_out(user, peer, seconds);
    } else {
        shared.refusals.say(peer, "an attempt to authenticate failed");
    }
    if failure.account_guarded {
        tracing::warn!(
            %peer,
            "too many failed attempts at one account: addresses that have not logged in to it \
             lately must wait between attempts"
        );
        shared.handler.account_guarded(user, peer);
    }
}

fn not_locked<H>(
    shared: &Shared<H>,
    id: u64,
    peer: SocketAddr,
    lock: Option<Lock>,
) -> Result<(), Refusal> {
    let Some(lock) = lock else { return Ok(()) };
    let address = peer.ip().to_canonical();
    let message = match lock {
        Lock::Address(left) => {
            let seconds = left.as_secs() + 1;
            format!("too many failed attempts from {address}; try again in {seconds} s")
        }
        Lock::Account(left) => {
            let seconds = left.as_secs() + 1;
            format!(
                "too many failed attempts at this account from many addresses; try again in \
                 {seconds} s, or from an address that has logged in to it lately, or on the \
                 server's machine"
            )
        }
    };
    shared.refusals.say(peer, &message);
    refuse(id, Status::LockedOut, message)
}

#[cfg(test)]
mod tests;
