//! The wire's requests, handed to the engine.

use crate::observe::{Observed, WireFigures};
use crate::watchers::Watchers;
use engine::{Engine, Principal};
use net::wire::{Call, Wait, Welcome, WireHandler};
use proto::packet::Header;
use proto::{Class, Opcode, ReplyWriter, Status};
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
    watchers: Arc<Watchers>,
}

/// A request at work, however it ends.
struct AtWork<'a>(&'a WireFigures);

impl Drop for AtWork<'_> {
    fn drop(&mut self) {
        self.0.at_work.fetch_sub(1, Relaxed);
    }
}

impl Wire {
    /// The engine behind the wire, where it is counted, and who waits for its commits.
    pub fn new(engine: Arc<Engine>, observed: Arc<Observed>, watchers: Arc<Watchers>) -> Wire {
        Wire { engine, observed, watchers }
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
        // It may not wait: it is answered.
        drop(self.handle_or_wait(caller, packet, &Call { may_wait: false, ..call.clone() }, out));
    }

    fn handle_or_wait(
        &self,
        caller: &Caller,
        packet: &[u8],
        call: &Call,
        out: &mut Vec<u8>,
    ) -> Option<Wait> {
        let figures = &self.observed.wire;
        figures.at_work.fetch_add(1, Relaxed);
        figures.received.fetch_add(packet.len() as u64, Relaxed);
        let (_at_work, before) = (AtWork(figures), out.len());
        let waited_micros = u64::try_from(call.waited.as_micros()).unwrap_or(u64::MAX);
        let (place, may_wait) = (call.place, call.may_wait);
        let call = engine::Call { waited_micros, cancelled: call.cancelled.clone() };
        let ask = |may_wait, out: &mut Vec<u8>| {
            self.engine.watch_or_wait(&caller.who, packet, (place, may_wait), &call, out)
        };
        let mut wait = None;
        if let Some(waits) = ask(may_wait, out) {
            let code = Header::parse(packet).map_or(0, |header| header.code);
            wait = match code == Opcode::Follow as u16 {
                true => Some(self.watchers.wait_of_replica(waits)),
                false => self.watchers.wait(waits),
            };
            match (&wait, place) {
                (Some(_), _) => {}
                // It has waited already, and lost its place for a moment.
                (None, Some(_)) => drop(ask(false, out)),
                (None, None) => busy(packet, self.watchers.most(), out),
            }
        }
        figures.sent.fetch_add(out.len().saturating_sub(before) as u64, Relaxed);
        wait
    }
}

/// What is told of a watch that may not wait.
fn busy(packet: &[u8], most: usize, out: &mut Vec<u8>) {
    let id = Header::parse(packet).map_or(0, |header| header.id);
    let message = format!(
        "{most} watches wait for changes, as many as limits.max_watchers in db.yaml allows: try \
         again when some have ended, or ask without waiting (max_wait_ms 0)"
    );
    ReplyWriter::new(id, out).error(Status::Busy, &message);
}
