//! What one call at a time is asked on: a connection of TCP, or a lane of one of QUIC.
//!
//! What must stay true: nothing above knows which it is. A line that is not as good as
//! new says so; who lets go of it then gives up the session it belongs to, and what is
//! bound to that.

use crate::Result;
use crate::connection::{Connection, Greeting};
use crate::options::{Config, Transport};
#[cfg(feature = "quic")]
use crate::quic::{Lane, Trunks};
use proto::Request;
use std::time::Duration;

/// Where lines come from.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    #[cfg(feature = "quic")]
    trunks: Trunks,
}

/// See the module.
#[derive(Debug)]
pub(crate) enum Line {
    Tcp(Box<Connection>),
    #[cfg(feature = "quic")]
    Quic(Lane),
}

impl Lines {
    /// A new one.
    pub(crate) async fn open(&self, config: &Config) -> Result<Line> {
        match config.transport {
            Transport::Tcp => {
                let Config { address, security, user, key, connect, .. } = config;
                let connecting =
                    Connection::connect(address, *security, user, key, connect.clone());
                Ok(Line::Tcp(Box::new(connecting.await?)))
            }
            #[cfg(feature = "quic")]
            Transport::Quic => Ok(Line::Quic(self.trunks.lane(config).await?)),
        }
    }
}

impl Line {
    /// Asks and waits: the whole reply packet.
    pub(crate) async fn call_within(
        &mut self,
        request: &Request<'_>,
        patience: Duration,
    ) -> Result<Vec<u8>> {
        match self {
            Line::Tcp(connection) => connection.call_within(request, patience).await,
            #[cfg(feature = "quic")]
            Line::Quic(lane) => lane.call_within(request, patience).await,
        }
    }

    /// What the server said of the session.
    pub(crate) fn greeting(&self) -> &Greeting {
        match self {
            Line::Tcp(connection) => connection.greeting(),
            #[cfg(feature = "quic")]
            Line::Quic(lane) => lane.session().greeting(),
        }
    }

    /// Whether another call can be made on it, as if it were new.
    pub(crate) fn is_idle(&self) -> bool {
        match self {
            Line::Tcp(connection) => connection.is_idle(),
            #[cfg(feature = "quic")]
            Line::Quic(lane) => lane.is_clean(),
        }
    }

    /// Whether an idle line has ended, as far as is known without asking.
    pub(crate) fn has_ended(&mut self) -> bool {
        match self {
            Line::Tcp(connection) => connection.has_ended(),
            #[cfg(feature = "quic")]
            Line::Quic(lane) => lane.has_ended(),
        }
    }

    /// Gives its session up.
    pub(crate) fn discard(self) {
        match self {
            Line::Tcp(connection) => drop(connection),
            #[cfg(feature = "quic")]
            Line::Quic(lane) => lane.discard(),
        }
    }
}
