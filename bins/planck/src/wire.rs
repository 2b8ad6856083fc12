//! The wire's requests, handed to the engine.

use engine::{Engine, Principal};
use net::wire::WireHandler;
use proto::Status;
use std::net::SocketAddr;
use std::sync::Arc;

/// Who calls in a session of the wire. Its cursors go with it.
pub struct Caller {
    engine: Arc<Engine>,
    who: Principal,
}

impl Drop for Caller {
    fn drop(&mut self) {
        self.engine.end_session(&self.who);
    }
}

/// What stands behind the wire.
pub struct Wire {
    engine: Arc<Engine>,
}

impl Wire {
    /// The engine behind the wire.
    pub fn new(engine: Arc<Engine>) -> Wire {
        Wire { engine }
    }
}

impl WireHandler for Wire {
    type Session = Caller;

    fn authenticate(
        &self,
        user: &str,
        key: &str,
        peer: SocketAddr,
    ) -> Result<Caller, (Status, String)> {
        match self.engine.authenticate_from(user, key, Some(&peer.to_string())) {
            Ok(who) => {
                tracing::info!(%peer, user, "a session begins");
                Ok(Caller { engine: Arc::clone(&self.engine), who })
            }
            Err(refusal) => {
                tracing::warn!(%peer, "a log-in failed: {}", refusal.message);
                Err((refusal.status, refusal.message))
            }
        }
    }

    fn handle(&self, caller: &Caller, packet: &[u8], out: &mut Vec<u8>) {
        self.engine.dispatch_packet(&caller.who, packet, out);
    }
}
