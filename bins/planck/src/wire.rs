//! The wire's requests, handed to the engine.

use engine::{Engine, Principal};
use net::wire::WireHandler;
use proto::Status;
use std::net::SocketAddr;
use std::sync::Arc;

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
    type Session = Principal;

    fn authenticate(
        &self,
        user: &str,
        key: &str,
        peer: SocketAddr,
    ) -> Result<Principal, (Status, String)> {
        match self.engine.authenticate(user, key) {
            Ok(principal) => {
                tracing::info!(%peer, user, "a session begins");
                Ok(principal)
            }
            Err(refusal) => {
                tracing::warn!(%peer, "a log-in failed: {}", refusal.message);
                Err((refusal.status, refusal.message))
            }
        }
    }

    fn handle(&self, who: &Principal, packet: &[u8], out: &mut Vec<u8>) {
        self.engine.dispatch_packet(who, packet, out);
    }
}
