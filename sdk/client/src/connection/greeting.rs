//! What a server says of itself once a session has authenticated.
//!
//! What must stay true: a server that says nothing is as good as one that does; what it
//! did not say is 0 or empty. The document is drawn in `proto::wire`.

use crate::{Error, Result};
use proto::{Reply, wire};

/// The answer to Auth. What the server did not say is 0 or empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Greeting {
    /// Its name and release.
    pub server: String,
    /// The number of this session.
    pub session: u64,
    /// Who it is taken for.
    pub user: String,
    /// What that user may do.
    pub role: String,
    /// Bytes of one message, either way.
    pub max_message_size: u64,
    /// Requests it receives before it has answered the first of them.
    pub max_in_flight: u64,
    /// A session that is silent for so long is closed.
    pub idle_timeout_ms: u64,
}

impl Greeting {
    /// Of the reply packet to Auth, which may be empty.
    pub(crate) fn of_auth(packet: &[u8]) -> Result<Greeting> {
        let bytes = match Reply::decode(packet)?.1 {
            Reply::Error { status, message } => {
                return Err(Error::Refused { status, message: message.to_owned() });
            }
            Reply::Document(bytes) => bytes,
            _ => return Ok(Greeting::default()),
        };
        let said = wire::Greeting::decode(bytes).map_err(Error::Protocol)?;
        Ok(Greeting {
            server: said.server.to_owned(),
            session: said.session,
            user: said.user.to_owned(),
            role: said.role.to_owned(),
            max_message_size: said.max_message_size,
            max_in_flight: said.max_in_flight,
            idle_timeout_ms: said.idle_timeout_ms,
        })
    }
}
