//! A session with the server, as plain calls: the only place with async in it.

use crate::failure::{Exit, Failure};
use crate::target::Target;
use planck_client::{ConnectOptions, Connection, Pages};
use proto::{Reply, Request, Status};
use tokio::runtime::{Builder, Runtime};

/// An authenticated connection.
#[derive(Debug)]
pub(crate) struct Session {
    runtime: Runtime,
    connection: Connection,
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
        let runtime = Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|e| Failure::new(Exit::Failure, format!("cannot start: {e}")))?;
        let connecting = Connection::connect(
            &target.address,
            target.security,
            &target.user,
            &target.key,
            ConnectOptions::default(),
        );
        let connection = runtime.block_on(connecting)?;
        Ok(Session { runtime, connection })
    }

    /// Asks and waits.
    pub(crate) fn ask(&mut self, request: &Request<'_>) -> Result<Answer, Failure> {
        Ok(Answer(self.runtime.block_on(self.connection.call(request))?))
    }

    /// Asks a query, whose rows come in pages of at most so many rows and bytes.
    pub(crate) fn stream(
        &mut self,
        text: &str,
        parameters: Option<&[u8]>,
        size: (u32, u32),
    ) -> Result<Stream<'_>, Failure> {
        let pages = self.runtime.block_on(self.connection.stream(text, parameters, size))?;
        Ok(Stream { runtime: &self.runtime, pages })
    }

    /// Asks without waiting; the answers come in order from [`Session::receive`].
    pub(crate) fn send(&mut self, request: &Request<'_>) -> Result<(), Failure> {
        self.runtime.block_on(self.connection.send(request))?;
        Ok(())
    }

    /// The answer to the oldest request sent.
    pub(crate) fn receive(&mut self) -> Result<Answer, Failure> {
        Ok(Answer(self.runtime.block_on(self.connection.receive())?))
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
