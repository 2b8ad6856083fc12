//! From a fresh connection to a session: handshake, Auth, a place.
//!
//! What must stay true: nothing but one Auth packet of at most 4 KiB is read and
//! acted upon; who is locked out never costs a key check, and each check that a
//! guarded account lets strangers have is taken before it is made; key checks in
//! flight are bounded even when their connections have gone.

use super::frame::{self, Front};
use super::session::{linger, send};
use super::{Shared, WireHandler};
use crate::lockout::{Failure, Lock, party};
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

/// A first byte of TLS, which no packet has.
const TLS_HANDSHAKE: u8 = 0x16;

/// A party's share of the unauthenticated connections, given back on drop.
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
        let address = party(address);
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

const NO_ALPN: &str = "it did not ask for planck/1 (ALPN) in its TLS handshake; ask for it";
const NO_TLS: &str =
    "it began a TLS handshake, and tls.enabled is false here: connect in the clear, or enable TLS";

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
    let mut stream = match secure(stream, &shared.security).await {
        Ok(stream) => stream,
        Err(broken) => {
            broken.end(&shared.refusals, peer).await;
            return None;
        }
    };
    let mut inbox = BytesMut::with_capacity(AUTH_BYTES);
    // Nothing is read from who did not ask for it, or a browser could be made to speak
    // to us in HTTP.
    let first = match stream.is_for(ALPN_WIRE) {
        true => first_packet(&mut stream, &mut inbox).await,
        false => Some(refuse(0, Status::BadPacket, NO_ALPN)),
    };
    let refusal = match first {
        None => return None, // Gone before it said anything whole.
        Some(Err(refusal)) => {
            if refusal.status == Status::BadPacket {
                shared.refusals.say(peer, &refusal.message);
            }
            refusal
        }
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
            Front::Bad(_) if inbox.first() == Some(&TLS_HANDSHAKE) => {
                return Some(refuse(0, Status::BadPacket, NO_TLS));
            }
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
    let locked = shared.lockout().locked(peer.ip(), &user, Instant::now());
    not_locked(shared, id, peer, locked)?;
    if shared.sessions.available_permits() == 0 {
        return refuse(id, Status::Busy, busy());
    }
    let turn = shared.auth.clone().acquire_owned().await.expect("the semaphore is never closed");
    // Others may have failed meanwhile.
    let locked = shared.lockout().enter(peer.ip(), &user, Instant::now());
    not_locked(shared, id, peer, locked)?;
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
            shared.lockout().succeeded(peer.ip(), &user, Instant::now());
            match shared.sessions.clone().try_acquire_owned() {
                Ok(place) => Ok((id, Arc::new(session), place)),
                Err(_) => refuse(id, Status::Busy, busy()),
            }
        }
        Ok(Err((status, message))) => {
            let mut refusal = Refusal { id, status, message, delay: Duration::ZERO };
            if status.class() == Class::Denied {
                refusal.delay = shared.options.failed_auth_delay;
                let failure = shared.lockout().failed(peer.ip(), &user, Instant::now());
                failed(shared, &user, peer, failure);
            }
            Err(refusal)
        }
        Err(error) => {
            tracing::error!(%peer, %error, "checking a key panicked");
            refuse(id, Status::Internal, "the key could not be checked; see the server's log")
        }
    }
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
        tracing::warn!(%peer, "an attempt to authenticate failed");
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
