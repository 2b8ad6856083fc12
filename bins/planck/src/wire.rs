//! The wire's requests, handed to the engine.

use crate::observe::{Observed, WireFigures};
use engine::{Engine, Principal};
use net::wire::{Call, Welcome, WireHandler};
use proto::{Class, Status};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

/// Who calls in a session of the wire. Its cursors go with it.
pub struct Caller {
    engine: Arc<Engine>,
    who: Principal,
    observed: Arc<Observed>,
}

impl Drop for Caller {
    fn drop(&mut self) {
        self.engine.end_session(&self.who);
        self.observed.wire.ended.fetch_add(1, Relaxed);
    }
}

/// What stands behind the wire.
pub struct Wire {
    engine: Arc<Engine>,
    observed: Arc<Observed>,
}

/// A request at work, however it ends.
struct AtWork<'a>(&'a WireFigures);

impl Drop for AtWork<'_> {
    fn drop(&mut self) {
        self.0.at_work.fetch_sub(1, Relaxed);
    }
}

impl Wire {
    /// The engine behind the wire, and where it is counted.
    pub fn new(engine: Arc<Engine>, observed: Arc<Observed>) -> Wire {
        Wire { engine, observed }
    }
}

/// How far threads that work for strangers step back (`nice`): they get a tenth of a
/// core that others want, and all of one that nobody wants.
const STEP_BACK: i32 = 10;

impl WireHandler for Wire {
    type Session = Caller;

    fn for_strangers(&self) {
        // Of the calling thread alone, on Linux. It works without, less politely.
        if let Err(error) = rustix::process::nice(STEP_BACK) {
            tracing::debug!(%error, "a thread that works for strangers cannot step back");
        }
    }

    fn authenticate(
        &self,
        user: &str,
        key: &str,
        peer: SocketAddr,
    ) -> Result<Caller, (Status, String)> {
        match self.engine.authenticate_from(user, key, Some(&peer.to_string())) {
            Ok(who) => {
                tracing::info!(%peer, user, session = who.session(), "a session begins");
                let (engine, observed) = (Arc::clone(&self.engine), Arc::clone(&self.observed));
                observed.wire.begun.fetch_add(1, Relaxed);
                Ok(Caller { engine, who, observed })
            }
            // What came of it is said by the listener, which bounds its lines.
            Err(refusal) => {
                if refusal.status.class() == Class::Denied {
                    self.observed.wire.auth_failures.fetch_add(1, Relaxed);
                }
                Err((refusal.status, refusal.message))
            }
        }
    }

    fn welcome(&self, caller: &Caller) -> Welcome {
        Welcome {
            server: concat!("planck ", env!("CARGO_PKG_VERSION")).to_owned(),
            session: caller.who.session(),
            user: caller.who.name().to_owned(),
            role: caller.who.role().name().to_owned(),
        }
    }

    fn locked_out(&self, user: &str, peer: SocketAddr, seconds: u64) {
        self.observed.wire.lockouts.fetch_add(1, Relaxed);
        let address = peer.ip().to_string();
        self.engine.audit_lockout(Some(user), Some(&address), Some(seconds));
    }

    fn account_guarded(&self, user: &str, _: SocketAddr) {
        self.observed.wire.lockouts.fetch_add(1, Relaxed);
        self.engine.audit_lockout(Some(user), None, None);
    }

    fn handle(&self, caller: &Caller, packet: &[u8], call: &Call, out: &mut Vec<u8>) {
        let figures = &self.observed.wire;
        figures.at_work.fetch_add(1, Relaxed);
        figures.received.fetch_add(packet.len() as u64, Relaxed);
        let (_at_work, before) = (AtWork(figures), out.len());
        let waited_micros = u64::try_from(call.waited.as_micros()).unwrap_or(u64::MAX);
        let call = engine::Call { waited_micros, cancelled: call.cancelled.clone() };
        self.engine.dispatch_call(&caller.who, packet, &call, out);
        figures.sent.fetch_add(out.len().saturating_sub(before) as u64, Relaxed);
    }
}
