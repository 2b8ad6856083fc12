//! A session with the server, as plain calls: the only place with async in it.
//!
//! What must stay true: whatever carries the packets, requests are carried out in the
//! order in which they are sent.

mod in_order;

use crate::failure::{Exit, Failure};
use crate::options::Transport;
use crate::target::Target;
use in_order::InOrder;
use planck_client::{ConnectOptions, Connection, Pages};
use proto::{Reply, Request, Status};
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;

/// Within which the last packet of QUIC goes out.
const GOODBYE: Duration = Duration::from_millis(50);

/// An authenticated connection.
#[derive(Debug)]
pub(crate) struct Session {
    runtime: Runtime,
    wire: Wire,
}

#[derive(Debug)]
enum Wire {
    Tcp(Box<Connection>),
    Quic(planck_client::Session, InOrder),
}

/// The pages of a query, one at a time.
#[derive(Debug)]
pub(crate) struct Stream<'s> {
    runtime: &'s Runtime,
    pages: Pages<'s>,
}

/// One reply packet.
#[derive(Debug)]
pub(crate) struct Answer(Vec<u8>);

impl Session {
    /// Connects and authenticates.
    pub(crate) fn open(target: &Target) -> Result<Session, Failure> {
        let Target { address, security, transport, user, key } = target;
        let runtime = match transport {
            Transport::Tcp => Builder::new_current_thread().enable_all().build(),
            // What keeps a connection of QUIC alive runs between the calls, too.
            Transport::Quic => Builder::new_multi_thread().worker_threads(1).enable_all().build(),
        };
        let runtime =
            runtime.map_err(|e| Failure::new(Exit::Failure, format!("cannot start: {e}")))?;
        let options = ConnectOptions::default();
        let wire = match transport {
            Transport::Tcp => {
                let connecting = Connection::connect(address, *security, user, key, options);
                Wire::Tcp(Box::new(runtime.block_on(connecting)?))
            }
            Transport::Quic => {
                let connecting =
                    planck_client::Session::connect(address, *security, user, key, options);
                Wire::Quic(runtime.block_on(connecting)?, InOrder::start(&runtime))
            }
        };
        Ok(Session { runtime, wire })
    }

    /// Asks and waits.
    pub(crate) fn ask(&mut self, request: &Request<'_>) -> Result<Answer, Failure> {
        let answer = match &mut self.wire {
            Wire::Tcp(connection) => self.runtime.block_on(connection.call(request)),
            Wire::Quic(session, _) => self.runtime.block_on(session.call(request)),
        };
        Ok(Answer(answer?))
    }

    /// Asks a query, whose rows come in pages of at most so many rows and bytes.
    pub(crate) fn stream(
        &mut self,
        text: &str,
        parameters: Option<&[u8]>,
        size: (u32, u32),
    ) -> Result<Stream<'_>, Failure> {
        let pages = match &mut self.wire {
            Wire::Tcp(connection) => {
                self.runtime.block_on(connection.stream(text, parameters, size))
            }
            Wire::Quic(session, _) => self.runtime.block_on(session.stream(text, parameters, size)),
        };
        Ok(Stream { runtime: &self.runtime, pages: pages? })
    }

    /// Asks without waiting; the answers come in order from [`Session::receive`].
    pub(crate) fn send(&mut self, request: &Request<'_>) -> Result<(), Failure> {
        match &mut self.wire {
            Wire::Tcp(connection) => self.runtime.block_on(connection.send(request)).map(drop)?,
            Wire::Quic(session, in_order) => in_order.send(session, request)?,
        }
        Ok(())
    }

    /// The answer to the oldest request sent.
    pub(crate) fn receive(&mut self) -> Result<Answer, Failure> {
        let answer = match &mut self.wire {
            Wire::Tcp(connection) => self.runtime.block_on(connection.receive()),
            Wire::Quic(_, in_order) => self.runtime.block_on(in_order.receive()),
        };
        Ok(Answer(answer?))
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // Who dies without a word is missed for two minutes only, and so are its cursors.
        if let Wire::Quic(session, _) = &self.wire {
            let session = session.clone();
            self.runtime.block_on(async { timeout(GOODBYE, session.close()).await.ok() });
        }
    }
}

impl Stream<'_> {
    /// The next page; `None` after the last one.
    pub(crate) fn next(&mut self) -> Result<Option<Answer>, Failure> {
        Ok(self.runtime.block_on(self.pages.next())?.map(Answer))
    }
}

impl Answer {
    /// A packet as if it had come.
    #[cfg(test)]
    pub(crate) fn of(packet: Vec<u8>) -> Answer {
        Answer(packet)
    }

    /// What it says; what the server refused is a failure.
    pub(crate) fn reply(&self) -> Result<Reply<'_>, Failure> {
        match self.outcome()? {
            Ok(reply) => Ok(reply),
            Err((status, message)) => Err(Failure::refused(status, message)),
        }
    }

    /// What it says, a refusal included. Fails only if it is no reply.
    pub(crate) fn outcome(&self) -> Result<Result<Reply<'_>, (Status, &str)>, Failure> {
        match Reply::decode(&self.0) {
            Ok((_, Reply::Error { status, message })) => Ok(Err((status, message))),
            Ok((_, reply)) => Ok(Ok(reply)),
            Err(error) => Err(Failure::new(Exit::Failure, error.to_string())),
        }
    }
}

/// A reply of a shape the request does not have.
pub(crate) fn unexpected() -> Failure {
    Failure::new(
        Exit::Failure,
        "the server answered with something this planctl does not expect; use planck and \
         planctl of the same release",
    )
}
