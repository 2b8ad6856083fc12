//! The connections of a pool over QUIC: each has room for a few calls at once.
//!
//! What must stay true: a connection is made only when all that are there are full, and
//! not by two callers for the same need. One on which a call failed takes no new ones,
//! lets those end that it has, and is closed with the last of them: with it go cursors
//! that nobody knows.

use super::Session;
use crate::options::Config;
use crate::{Error, Fate, Result};
use proto::Request;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout};

/// Calls on one connection at once, if the server allows so many: it carries out no more
/// of them, and what waits there behind slow ones could be elsewhere.
const LANES: usize = 8;

/// The connections that are open.
#[derive(Debug, Default)]
pub(crate) struct Trunks(tokio::sync::Mutex<Vec<Weak<Trunk>>>);

#[derive(Debug)]
struct Trunk {
    session: Session,
    lanes: Arc<Semaphore>,
    /// Whether a call failed on it.
    spoiled: AtomicBool,
    /// When a call ended last.
    used: Mutex<Instant>,
}

/// Room for one call at a time on a connection.
#[derive(Debug)]
pub(crate) struct Lane {
    trunk: Arc<Trunk>,
    /// Whether whatever was asked on it has left nothing behind.
    clean: bool,
    _lane: OwnedSemaphorePermit,
}

impl Trunks {
    /// A lane of a connection with room, or of a new one.
    pub(crate) async fn lane(&self, config: &Config) -> Result<Lane> {
        let Config { address, security, user, key, connect, .. } = config;
        let limit = connect.connect_timeout;
        let late = Error::Timeout { what: "connecting", limit, fate: Fate::NotDone };
        // Kept while one is made, which has room for who waits here.
        let mut open = timeout(limit, self.0.lock()).await.map_err(|_| late)?;
        open.retain(|trunk| trunk.strong_count() > 0);
        if let Some(lane) = open.iter().filter_map(Weak::upgrade).find_map(Trunk::lane) {
            return Ok(lane);
        }
        let session = Session::connect(address, *security, user, key, connect.clone()).await?;
        let allowed = match usize::try_from(session.greeting().max_in_flight) {
            Ok(servers) if servers > 0 => servers.min(connect.max_in_flight),
            _ => connect.max_in_flight,
        };
        let lanes = Arc::new(Semaphore::new(allowed.clamp(1, LANES)));
        let used = Mutex::new(Instant::now());
        let trunk = Arc::new(Trunk { session, lanes, spoiled: AtomicBool::new(false), used });
        open.push(Arc::downgrade(&trunk));
        trunk.lane().ok_or(Error::Broken)
    }
}

impl Trunk {
    fn lane(self: Arc<Self>) -> Option<Lane> {
        let used = *self.used.lock().unwrap_or_else(PoisonError::into_inner);
        // What the server is about to close is no use: a request could cross that.
        let servers = Duration::from_millis(self.session.greeting().idle_timeout_ms / 2);
        if self.ended() || (!servers.is_zero() && used.elapsed() >= servers) {
            return None;
        }
        let lane = self.lanes.clone().try_acquire_owned().ok()?;
        Some(Lane { trunk: self, clean: true, _lane: lane })
    }

    fn ended(&self) -> bool {
        self.spoiled.load(Ordering::Relaxed) || self.session.has_ended()
    }
}

impl Lane {
    pub(crate) fn session(&self) -> &Session {
        &self.trunk.session
    }

    pub(crate) async fn call_within(
        &mut self,
        request: &Request<'_>,
        patience: Duration,
    ) -> Result<Vec<u8>> {
        // Given up half-way, these may leave a cursor that nobody knows.
        let leaves = matches!(
            request,
            Request::Query { .. } | Request::Stream { .. } | Request::Fetch { .. }
        );
        self.clean &= !leaves;
        let result = self.trunk.session.call_within(request, patience).await;
        *self.trunk.used.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        self.clean = matches!(result, Ok(_) | Err(Error::Invalid(_)));
        result
    }

    pub(crate) fn is_clean(&self) -> bool {
        self.clean
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.trunk.ended()
    }

    /// Gives the lane up, and with it the connection, once it is free of calls.
    pub(crate) fn discard(mut self) {
        self.clean = false;
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        if !self.clean {
            self.trunk.spoiled.store(true, Ordering::Relaxed);
        }
    }
}
