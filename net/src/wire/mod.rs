//! Packets over TCP and QUIC: who may come in, how many, and how long they may take.
//!
//! What must stay true: before a connection has authenticated it can make us
//! act upon 4 KiB (QUIC receives 8 KiB for that), hold one of few places for ten seconds,
//! and run one bounded, throttled check of a key; nothing else, whichever way it comes,
//! and over TCP on threads of its own (`door.rs`). An authenticated session has few
//! requests at work (over TCP one batch), and is read from again, but for a bounded piece
//! ahead, only when its replies are written: a client that does not read its replies
//! stops itself. Large requests being received and large replies waiting to be taken hold
//! a share of what all sessions may hold (`budget.rs`).
//!
//! ```text
//! accept -> allowed? -> TLS -> Auth (lockout, argon2 bounded) -> a session's place
//!        -> [ read -> requests in order -> write ]* -> close          TCP
//!        -> [ stream: read -> request -> write ]*   -> close          QUIC
//! ```
//!
//! `docs/protocol.md` is what clients are told of it, `proto::wire` what packets are made
//! of bytes by.

mod admission;
mod budget;
mod carry;
mod door;
mod flags;
mod haste;
mod quic;
mod session;
mod wait;

use crate::lockout::Lockout;
use crate::refusal::Refusals;
use crate::server::{Accepted, Closing, accept_on, sockets};
use crate::share::Shares;
use crate::{AddressRange, ListenError, LockoutOptions, Security, Server};
use budget::Budget;
use door::Door;
use haste::Haste;
use proto::{Opcode, Status};
use std::net::SocketAddr;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::available_parallelism;
use std::time::{Duration, Instant};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::timeout;
pub use wait::Wait;
use wait::Waiters;

/// A peer that says nothing for so long is asked whether it is still there, ..
const KEEP_ALIVE_AFTER: Duration = Duration::from_secs(60);
/// .. so often, ..
const KEEP_ALIVE_PROBES: u32 = 6;
/// .. at this distance.
const KEEP_ALIVE_EVERY: Duration = Duration::from_secs(10);

/// What stands behind the wire: `bins` implement it over the engine.
pub trait WireHandler: Send + Sync + 'static {
    /// Who is calling, found once, given to every request.
    type Session: Send + Sync + 'static;

    /// Checks a user's key. May be slow and hungry: it runs on a thread of its own,
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

    /// Called first on each thread on which nothing is done but for strangers (handshakes
    /// of TLS over TCP, checks of keys but for a few each second): to let it yield to the
    /// others.
    fn for_strangers(&self) {}

    /// What a session is told of itself.
    fn welcome(&self, _session: &Self::Session) -> Welcome {
        Welcome::default()
    }

    /// An address has been locked out for so long: it failed too often, as `user` the
    /// last time. For who keeps account of such things; must be brief.
    fn locked_out(&self, _user: &str, _peer: SocketAddr, _seconds: u64) {}

    /// So many attempts at `user` have failed, from wherever, the last from `peer`, that
    /// strangers must wait between attempts from now on. As [`WireHandler::locked_out`].
    fn account_guarded(&self, _user: &str, _peer: SocketAddr) {}

    /// Carries out one whole request packet and appends one whole reply packet to
    /// `out`. May block: it runs where that holds up nobody else.
    fn handle(&self, session: &Self::Session, packet: &[u8], call: &Call, out: &mut Vec<u8>);

    /// As [`WireHandler::handle`], of a request that may wait ([`Call::may_wait`]): one for
    /// which there is no answer yet is not answered, and gives what it waits for. It is
    /// asked again then, and told that it was ([`Call::place`]).
    fn handle_or_wait(
        &self,
        session: &Self::Session,
        packet: &[u8],
        call: &Call,
        out: &mut Vec<u8>,
    ) -> Option<Wait> {
        self.handle(session, packet, call, out);
        None
    }

    /// Whether `handle` is done with such a request in microseconds, as a rule: then
    /// a few of them run on the async thread that received them, at a third of the
    /// latency. What waits for a sync, scans, or may have to flush is not brief; nor is
    /// what changes anything: a brief request whose reply is large may be carried out twice.
    fn is_brief(&self, operation: Opcode) -> bool {
        matches!(operation, Opcode::Ping | Opcode::Read | Opcode::ReadVersion)
    }

    /// Whether replies to such a request may have more than 64 KiB. They need a share of
    /// [`WireOptions::max_reply_bytes`] before the request is begun, if it is not brief.
    fn may_be_large(&self, operation: Opcode) -> bool {
        use Opcode::*;
        match operation {
            Read | ReadVersion | Scan | Range | Query | Stream | Fetch | Watch => true,
            Follow | Snapshot => true,
            Position | Promote | Demote => false,
            Stats | List | ListSequences | ListUsers | RunningQueries => true,
            DescribeStore | CheckIndexes | FormatQuery => true,
            // It may be any of them.
            Within => true,
            Ping | Auth | Insert | BatchInsert | Apply | Update | Delete | CloseCursor => false,
            Flush | Backup | CancelQuery | NextNumbers => false,
            CreateStore | AlterStore | DropStore | CreateIndex | DropIndex => false,
            CreateSequence | AlterSequence | DropSequence => false,
            CreateUser | AlterUser | DropUser | CreateKey | RevokeKey => false,
            Begin | Commit | Abort | Savepoint | Rollback => false,
            ReloadModule | Schedule | RetryJob => false,
        }
    }
}

/// What is known of a request beside its packet.
#[derive(Clone, Debug, Default)]
pub struct Call {
    /// Since it arrived; zero if it has no patience.
    pub waited: Duration,
    /// Set once its answer is not wanted any more; `None`: nobody will say so.
    pub cancelled: Option<Arc<AtomicBool>>,
    /// It has waited: [`Wait::place`] of the last time.
    pub place: Option<u64>,
    /// It may wait for its answer; else it is answered now.
    pub may_wait: bool,
}

/// What a session is told of itself when it begins.
#[derive(Clone, Debug, Default)]
pub struct Welcome {
    /// Program and version, for people.
    pub server: String,
    /// The session's number.
    pub session: u64,
    /// Whose it is.
    pub user: String,
    /// What that user may do.
    pub role: String,
}

/// Limits of the wire. Every one is enforced.
#[derive(Clone, Debug)]
pub struct WireOptions {
    /// Authenticated sessions at once; the next is answered `Busy`.
    pub max_sessions: usize,
    /// Connections that have not authenticated yet, at once; further ones wait in the
    /// kernel's queue. One address may hold half of them. As many over QUIC, where
    /// further ones are refused.
    pub max_unauthenticated: usize,
    /// Requests of a session that are received and not answered; beyond, it is not read
    /// from. At least 1.
    pub max_in_flight: usize,
    /// Whether QUIC is spoken on the same port, if TLS is.
    pub quic: bool,
    /// Who may connect; empty: everybody.
    pub allowed_ips: Vec<AddressRange>,
    /// Bytes of one packet, either way. A larger request is refused and the
    /// connection closed; a larger reply becomes `ResultTooLarge`.
    pub max_message_size: usize,
    /// Bytes of large requests (over 64 KiB) being received, all sessions together;
    /// beyond, sessions wait. At least `max_message_size` is granted. One connection of
    /// QUIC has a quarter of it, or `max_message_size`.
    pub max_buffered_bytes: usize,
    /// Bytes of large replies (over 64 KiB) that wait to be taken, all sessions together;
    /// beyond, requests that may have such replies wait before they are begun. How long a
    /// reply will be is not known before: a quarter of `max_message_size` is set aside for
    /// it, so if all that are begun have replies of the largest size at once they hold
    /// four times as much. At least `max_message_size` is granted.
    pub max_reply_bytes: usize,
    /// From accept to authenticated.
    pub auth_timeout: Duration,
    /// Between two requests of a session.
    pub idle_timeout: Duration,
    /// Between two arrivals of bytes inside one request, and, with 1 s for each 16 KiB on
    /// top, from its first to its last. While others wait for memory that it holds: a third
    /// of it, and 1 s for each 128 KiB.
    pub message_timeout: Duration,
    /// For a client to take a reply off our hands; 1 s for each 16 KiB is granted on top.
    /// While others wait for memory that it holds: as `message_timeout`.
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
            max_in_flight: 64,
            quic: true,
            allowed_ips: Vec::new(),
            max_message_size: 16 << 20,
            max_buffered_bytes: 256 << 20,
            max_reply_bytes: 256 << 20,
            auth_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_millis(604_800_000),
            message_timeout: Duration::from_secs(30),
            write_timeout: Duration::from_secs(30),
            drain_timeout: Duration::from_secs(5),
            // Half of the machine at most.
            max_concurrent_auth: available_parallelism().map_or(1, |n| (n.get() / 2).max(1)),
            failed_auth_delay: Duration::from_millis(250),
            lockout: LockoutOptions::default(),
        }
    }
}

/// What all connections of one listener share.
struct Shared<H> {
    handler: Arc<H>,
    options: WireOptions,
    security: Security,
    sessions: Arc<Semaphore>,
    auth: Arc<Semaphore>,
    /// Of large requests.
    buffers: Budget,
    /// Of large replies.
    replies: Budget,
    door: Door,
    lockout: Mutex<Lockout>,
    haste: Mutex<Haste>,
    unauthenticated: Arc<Shares>,
    /// Requests that came over QUIC and are at work on blocking threads.
    quic_work: Arc<Semaphore>,
    waiters: Waiters,
    began: Instant,
    refusals: Refusals,
}

impl<H: WireHandler> Shared<H> {
    fn new(
        security: Security,
        options: WireOptions,
        handler: H,
    ) -> std::io::Result<Arc<Shared<H>>> {
        let handler = Arc::new(handler);
        let door = Door::open({
            let handler = Arc::clone(&handler);
            move || handler.for_strangers()
        })?;
        let semaphore = |n: usize| Arc::new(Semaphore::new(n.clamp(1, Semaphore::MAX_PERMITS)));
        let at_least = |bytes: usize| Budget::new(bytes.max(options.max_message_size));
        Ok(Arc::new(Shared {
            handler,
            door,
            security,
            sessions: semaphore(options.max_sessions),
            auth: semaphore(options.max_concurrent_auth),
            buffers: at_least(options.max_buffered_bytes),
            replies: at_least(options.max_reply_bytes),
            lockout: Mutex::new(Lockout::new(options.lockout)),
            haste: Mutex::new(Haste::new(Instant::now())),
            unauthenticated: Shares::of(options.max_unauthenticated),
            refusals: Refusals::default(),
            quic_work: semaphore(quic::WORK),
            waiters: Waiters::new(),
            began: Instant::now(),
            options,
        }))
    }
}

impl<H> Shared<H> {
    /// What is set aside for a reply before it is made.
    fn place(&self) -> usize {
        (self.options.max_message_size / 4).max(1)
    }

    fn lockout(&self) -> std::sync::MutexGuard<'_, Lockout> {
        // Nothing is left half-done in the table if a holder panicked.
        self.lockout.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Microseconds since the listener began.
    fn micros(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX)
    }
}

/// Listens on `address` (port 0: the system chooses), by TCP and, if that is asked for
/// and there is TLS, by QUIC on the same port, and serves `handler`.
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
    let tls = match &security {
        Security::Tls(config) if options.quic => Some(Arc::clone(config)),
        _ => None,
    };
    let (listener, udp, address) = sockets(address, tls.is_some()).await?;
    let threads = |source| ListenError { address, by: "TCP", source };
    let shared = Shared::new(security, options, handler).map_err(threads)?;
    let traffic = Arc::clone(&shared.refusals.traffic);
    let (sender, closing) = Closing::new();
    let mut accepting = Vec::new();
    if let (Some(tls), Some(udp)) = (tls, udp) {
        let failed = |source| ListenError { address, by: "UDP", source };
        let endpoint = quic::endpoint(udp, tls, &shared.options).map_err(failed)?;
        accepting.push(tokio::spawn(quic::accept(endpoint, shared.clone(), closing.clone())));
    }
    let serve = move |accepted| connection(shared.clone(), accepted);
    let counted = Arc::clone(&traffic);
    accepting.push(tokio::spawn(accept_on(listener, places, drain, counted, closing, serve)));
    Ok(Server::new(address, sender, accepting, traffic))
}

/// Has the kernel ask a silent peer whether it is there.
fn keep_alive(stream: &TcpStream) -> std::io::Result<()> {
    let how = socket2::TcpKeepalive::new()
        .with_time(KEEP_ALIVE_AFTER)
        .with_interval(KEEP_ALIVE_EVERY)
        .with_retries(KEEP_ALIVE_PROBES);
    socket2::SockRef::from(stream).set_tcp_keepalive(&how)
}

async fn connection<H: WireHandler>(shared: Arc<Shared<H>>, accepted: Accepted) {
    let Accepted { stream, peer, place, mut closing } = accepted;
    if !AddressRange::allows(&shared.options.allowed_ips, peer.ip()) {
        return shared.refusals.say(peer, "the address is not in allowed_ips");
    }
    if let Err(error) = keep_alive(&stream) {
        // It works without; what is lost is that a peer that vanished is noticed.
        tracing::debug!(%peer, %error, "TCP keep-alive cannot be set");
    }
    let Some(share) = shared.unauthenticated.take(peer.ip()) else {
        return shared.refusals.say(peer, "too many unauthenticated from its address");
    };
    let admitted = shared.door.run({
        let shared = shared.clone();
        let time = shared.options.auth_timeout;
        async move { timeout(time, admission::admit(&shared, stream, peer)).await }
    });
    let admitted = tokio::select! {
        biased;
        () = closing.wait() => return,
        admitted = admitted => admitted,
    };
    drop((share, place));
    match admitted {
        Some(Ok(Some(admitted))) => session::run(&shared, admitted, peer, closing).await,
        Some(Ok(None)) | None => {}
        Some(Err(_)) => {
            tracing::debug!(%peer, "closed a connection: it did not authenticate in time");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    #[tokio::test]
    async fn silent_peers_are_asked_whether_they_are_there() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let _client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        keep_alive(&stream).unwrap();
        let socket = socket2::SockRef::from(&stream);
        assert!(socket.keepalive().unwrap());
        assert_eq!(socket.tcp_keepalive_time().unwrap(), KEEP_ALIVE_AFTER);
        assert_eq!(socket.tcp_keepalive_interval().unwrap(), KEEP_ALIVE_EVERY);
        assert_eq!(socket.tcp_keepalive_retries().unwrap(), KEEP_ALIVE_PROBES);
    }
}
