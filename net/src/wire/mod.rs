//! Packets over TCP: who may come in, how many, and how long they may take.
//!
//! What must stay true: before a connection has authenticated it can make us
//! read 4 KiB, hold one of few places for ten seconds, and run one bounded,
//! throttled check of a key; nothing else. An authenticated session has at most
//! one batch of requests at work, and is read from again only when its replies
//! are written: a client that does not read its replies stops itself.
//!
//! ```text
//! accept -> allowed? -> TLS -> Auth (lockout, argon2 bounded) -> a session's place
//!        -> [ read -> requests in order -> write ]* -> close
//! ```

mod admission;
mod frame;
mod session;

use crate::lockout::Lockout;
use crate::refusal::Refusals;
use crate::server::{Accepted, listen};
use crate::{AddressRange, ListenError, LockoutOptions, Security, Server};
use proto::{Opcode, Status};
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Semaphore;

/// What stands behind the wire: `bins` implement it over the engine.
pub trait WireHandler: Send + Sync + 'static {
    /// Who is calling, found once, given to every request.
    type Session: Send + Sync + 'static;

    /// Checks a user's key. May be slow and hungry: it runs on a blocking thread,
    /// [`WireOptions::max_concurrent_auth`] at once.
    ///
    /// # Errors
    /// The status and sentence to answer with. Statuses of the class `Denied` count
    /// as failed attempts of the peer's address.
    fn authenticate(
        &self,
        user: &str,
        key: &str,
        peer: SocketAddr,
    ) -> Result<Self::Session, (Status, String)>;

    /// An address has been locked out for so long: it failed too often, as `user` the
    /// last time. For who keeps account of such things; must be brief.
    fn locked_out(&self, _user: &str, _peer: SocketAddr, _seconds: u64) {}

    /// So many attempts at `user` have failed, from wherever, the last from `peer`, that
    /// strangers must wait between attempts from now on. As [`WireHandler::locked_out`].
    fn account_guarded(&self, _user: &str, _peer: SocketAddr) {}

    /// Carries out one whole request packet and appends one whole reply packet to
    /// `out`. May block: it runs where that holds up nobody else.
    fn handle(&self, session: &Self::Session, packet: &[u8], out: &mut Vec<u8>);

    /// Whether `handle` is done with such a request in microseconds, as a rule: then
    /// a few of them run on the async thread that received them, at a third of the
    /// latency. What waits for a sync, scans, or may have to flush is not brief.
    fn is_brief(&self, operation: Opcode) -> bool {
        matches!(operation, Opcode::Ping | Opcode::Read)
    }
}

/// Limits of the wire. Every one is enforced.
#[derive(Clone, Debug)]
pub struct WireOptions {
    /// Authenticated sessions at once; the next is answered `Busy`.
    pub max_sessions: usize,
    /// Connections that have not authenticated yet, at once; further ones wait in the
    /// kernel's queue. One address may hold half of them.
    pub max_unauthenticated: usize,
    /// Who may connect; empty: everybody.
    pub allowed_ips: Vec<AddressRange>,
    /// Bytes of one packet, either way. A larger request is refused and the
    /// connection closed; a larger reply becomes `ResultTooLarge`.
    pub max_message_size: usize,
    /// Bytes of large requests (over 64 KiB) being received, all sessions together;
    /// beyond, sessions wait. At least `max_message_size` is granted.
    pub max_buffered_bytes: usize,
    /// From accept to authenticated.
    pub auth_timeout: Duration,
    /// Between two requests of a session.
    pub idle_timeout: Duration,
    /// Between two arrivals of bytes inside one request.
    pub message_timeout: Duration,
    /// For a client to take a reply off our hands; 16 KiB/s are granted on top.
    pub write_timeout: Duration,
    /// For requests in flight, once the server drains.
    pub drain_timeout: Duration,
    /// Keys checked at once.
    pub max_concurrent_auth: usize,
    /// How long the answer to a wrong key is held back.
    pub failed_auth_delay: Duration,
    /// When an address, or all that try one account, have failed too often.
    pub lockout: LockoutOptions,
}

impl Default for WireOptions {
    fn default() -> Self {
        WireOptions {
            max_sessions: 128,
            max_unauthenticated: 64,
            allowed_ips: Vec::new(),
            max_message_size: 16 << 20,
            max_buffered_bytes: 256 << 20,
            auth_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_millis(604_800_000),
            message_timeout: Duration::from_secs(30),
            write_timeout: Duration::from_secs(30),
            drain_timeout: Duration::from_secs(5),
            max_concurrent_auth: 2,
            failed_auth_delay: Duration::from_millis(250),
            lockout: LockoutOptions::default(),
        }
    }
}

/// What all connections of one listener share.
struct Shared<H> {
    handler: H,
    options: WireOptions,
    security: Security,
    sessions: Arc<Semaphore>,
    auth: Arc<Semaphore>,
    /// In KiB.
    buffers: Arc<Semaphore>,
    lockout: Mutex<Lockout>,
    unauthenticated: Mutex<BTreeMap<IpAddr, usize>>,
    refusals: Refusals,
}

impl<H> Shared<H> {
    fn new(security: Security, options: WireOptions, handler: H) -> Shared<H> {
        let semaphore = |n: usize| Arc::new(Semaphore::new(n.clamp(1, Semaphore::MAX_PERMITS)));
        let buffered = options.max_buffered_bytes.max(options.max_message_size);
        Shared {
            handler,
            security,
            sessions: semaphore(options.max_sessions),
            auth: semaphore(options.max_concurrent_auth),
            buffers: semaphore(buffered.div_ceil(1024)),
            lockout: Mutex::new(Lockout::new(options.lockout)),
            unauthenticated: Mutex::new(BTreeMap::new()),
            refusals: Refusals::default(),
            options,
        }
    }

    fn lockout(&self) -> std::sync::MutexGuard<'_, Lockout> {
        // Nothing is left half-done in the table if a holder panicked.
        self.lockout.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Listens on `address` (port 0: the system chooses) and serves `handler`.
///
/// # Errors
/// The address cannot be listened on.
pub async fn serve<H: WireHandler>(
    address: SocketAddr,
    security: Security,
    options: WireOptions,
    handler: H,
) -> Result<Server, ListenError> {
    let (places, drain) = (options.max_unauthenticated, options.drain_timeout);
    let shared = Arc::new(Shared::new(security, options, handler));
    listen(address, places, drain, move |accepted| connection(shared.clone(), accepted)).await
}

async fn connection<H: WireHandler>(shared: Arc<Shared<H>>, accepted: Accepted) {
    let Accepted { stream, peer, place, mut closing } = accepted;
    if !AddressRange::allows(&shared.options.allowed_ips, peer.ip()) {
        return shared.refusals.say(peer, "the address is not in allowed_ips");
    }
    let Some(turn) = admission::Turn::take(&shared.unauthenticated, peer.ip(), places(&shared))
    else {
        return shared.refusals.say(peer, "too many unauthenticated from its address");
    };
    let admitted = tokio::select! {
        biased;
        () = closing.wait() => return,
        admitted = tokio::time::timeout(
            shared.options.auth_timeout,
            admission::admit(&shared, stream, peer),
        ) => admitted,
    };
    drop((turn, place));
    match admitted {
        Ok(Some(admitted)) => session::run(&shared, admitted, peer, closing).await,
        Ok(None) => {}
        Err(_) => tracing::debug!(%peer, "closed a connection: it did not authenticate in time"),
    }
}

fn places<H>(shared: &Shared<H>) -> usize {
    shared.options.max_unauthenticated.div_ceil(2)
}
