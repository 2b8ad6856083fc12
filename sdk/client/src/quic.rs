//! One session over QUIC: a connection, and a stream for each request.
//!
//! What must stay true: a key leaves this machine only after the server has shown what
//! is pinned. A call that ends without its answer (an error, a timeout, a dropped
//! future) resets its stream, which cancels the request, and touches no other call.
//! Of a request whose stream was not ended it is known that it was not carried out: the
//! server begins at the end of a stream.

mod lanes;
mod open;

pub(crate) use lanes::{Lane, Trunks};

use crate::connection::Greeting;
use crate::options::{ConnectOptions, Security};
use crate::{Error, Fate, Result, ask};
use proto::wire::Replies;
use proto::{Request, Status};
use quinn::{
    Connection, ConnectionError, Endpoint, ReadError, RecvStream, SendStream, VarInt, WriteError,
};
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::time::timeout;

/// Of every request: a stream has one, so ids need not differ.
const ID: u64 = 1;
/// Bytes taken off a stream at once.
const READ_BYTES: usize = 64 << 10;
/// The server does not look at the codes of streams, and 0 ends a session in good order.
const NO_REASON: VarInt = VarInt::from_u32(0);
/// For the last packets to go out.
const GOODBYE: Duration = Duration::from_secs(1);

/// One authenticated session over QUIC, for many tasks at once: clones are the same
/// session, which ends with the last of them and of the calls made on it.
///
/// Requests are carried out in no order: one that must see what another did is asked
/// after that one was answered.
#[derive(Clone, Debug)]
pub struct Session(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// Dropped with the last call, which closes it.
    connection: Connection,
    endpoint: Endpoint,
    /// Of requests in flight.
    turns: Semaphore,
    options: ConnectOptions,
    greeting: Greeting,
}

impl Session {
    /// Connects to `address` (`host:port`) and authenticates as `user`.
    ///
    /// # Errors
    /// There is no session.
    pub async fn connect(
        address: &str,
        security: Security,
        user: &str,
        key: &str,
        options: ConnectOptions,
    ) -> Result<Session> {
        let limit = options.connect_timeout;
        let connecting = async {
            let (endpoint, connection) = open::open(address, security, &options).await?;
            let turns = Semaphore::new(options.max_in_flight.clamp(1, Semaphore::MAX_PERMITS));
            let greeting = Greeting::default();
            let mut inner = Inner { connection, endpoint, turns, options, greeting };
            let request = Request::Auth { user, key };
            let limit = inner.options.request_limit(&inner.greeting);
            let packet = ask::packet(&request, ID, Duration::ZERO, limit)?;
            let reply = match inner.call(&packet, inner.options.call_timeout).await {
                Ok(reply) => reply,
                // Closed without a reply, it may have been told why.
                Err(error) => {
                    let refused = inner.connection.close_reason().and_then(|end| refusal(&end));
                    return Err(refused.unwrap_or_else(|| error.before_a_session(address)));
                }
            };
            inner.greeting = Greeting::of_auth(&reply)?;
            Ok(Session(Arc::new(inner)))
        };
        let late = Error::Timeout { what: "connecting", limit, fate: Fate::NotDone };
        timeout(limit, connecting).await.unwrap_or(Err(late))
    }

    /// What the server said of itself and of this session.
    pub fn greeting(&self) -> &Greeting {
        &self.0.greeting
    }

    /// Asks: the future waits for the whole reply packet, for [`proto::Reply::decode`].
    /// It borrows nothing, so that another task may wait. Nothing is sent before it is
    /// polled; dropped, the request is cancelled.
    ///
    /// # Errors
    /// There is no answer. What the server refuses is one: see [`proto::Reply::Error`].
    pub fn call(
        &self,
        request: &Request<'_>,
    ) -> impl Future<Output = Result<Vec<u8>>> + Send + use<> {
        self.call_within(request, Duration::ZERO)
    }

    /// As [`Session::call`]; the answer is not wanted any more after `patience`, unless
    /// that is zero: the server gives the request up then, and says `PLK-1602`.
    ///
    /// # Errors
    /// As [`Session::call`].
    pub fn call_within(
        &self,
        request: &Request<'_>,
        patience: Duration,
    ) -> impl Future<Output = Result<Vec<u8>>> + Send + use<> {
        let inner = self.0.clone();
        let limit = inner.options.request_limit(&inner.greeting);
        let packet = ask::packet(request, ID, patience, limit);
        async move { inner.call(&packet?, inner.options.answer_within(patience)).await }
    }

    /// Whether it has ended, as far as is known without asking.
    pub fn has_ended(&self) -> bool {
        self.0.connection.close_reason().is_some()
    }

    /// Says goodbye, which cancels what is in flight, and sees that it is sent. Dropping
    /// all clones is as good while the runtime goes on.
    pub async fn close(self) {
        self.0.connection.close(NO_REASON, b"");
        timeout(GOODBYE, self.0.endpoint.wait_idle()).await.ok();
    }
}

impl Inner {
    /// A packet and its answer, within a time.
    async fn call(&self, packet: &[u8], limit: Duration) -> Result<Vec<u8>> {
        let mut fate = Fate::NotDone;
        let result = timeout(limit, self.exchange(packet, &mut fate)).await;
        result.unwrap_or(Err(Error::Timeout { what: "a reply", limit, fate }))
    }

    async fn exchange(&self, packet: &[u8], fate: &mut Fate) -> Result<Vec<u8>> {
        let _turn = self.turns.acquire().await.expect("the semaphore is never closed");
        let opened = self.connection.open_bi().await;
        let (send, recv) = opened.map_err(|end| lost(ended(end), *fate))?;
        let mut stream = Stream { send, recv, answered: false };
        match stream.send.write_all(packet).await {
            Ok(()) => {
                *fate = Fate::Unknown;
                // Refused only if the server has stopped it.
                stream.send.finish().ok();
            }
            // It has said why.
            Err(WriteError::Stopped(_)) => {}
            Err(WriteError::ConnectionLost(end)) => return Err(lost(ended(end), *fate)),
            Err(other) => return Err(lost(io::Error::other(other), *fate)),
        }
        let reply = stream.reply(self.options.max_message_size, *fate).await;
        stream.answered = reply.is_ok();
        reply
    }
}

/// A request on its way. Dropped before its answer has come, it is given up: what was not
/// sent is not, and the answer is stopped.
struct Stream {
    send: SendStream,
    recv: RecvStream,
    answered: bool,
}

impl Drop for Stream {
    fn drop(&mut self) {
        // Else quinn would end it in good order, as if the request were whole. What the
        // server has all of cannot be reset any more: then it is the answer's side, which
        // is stopped when it is dropped, that cancels.
        if !self.answered {
            self.send.reset(NO_REASON).ok();
        }
    }
}

impl Stream {
    /// The reply, of so many bytes at most.
    async fn reply(&mut self, limit: usize, fate: Fate) -> Result<Vec<u8>> {
        let mut replies = Replies::new(limit);
        replies.expect(ID);
        let end = loop {
            match self.recv.read_chunk(READ_BYTES, true).await {
                Ok(Some(chunk)) => {
                    let mut rest = &chunk.bytes[..];
                    while !rest.is_empty() {
                        let taken = replies.feed(rest);
                        replies.check()?;
                        if taken == 0 {
                            return Err(more());
                        }
                        rest = &rest[taken..];
                    }
                }
                Ok(None) => {
                    let words = "the stream ended before the reply was whole";
                    break io::Error::new(io::ErrorKind::UnexpectedEof, words);
                }
                Err(ReadError::ConnectionLost(end)) => break ended(end),
                Err(ReadError::Reset(_)) => {
                    let words = "the server gave the request up";
                    break io::Error::new(io::ErrorKind::ConnectionReset, words);
                }
                Err(other) => break io::Error::other(other),
            }
        };
        // However it ended: if it is whole, this is the answer.
        let Some(packet) = replies.next_reply()? else { return Err(lost(end, fate)) };
        let packet = packet.to_vec();
        match replies.received() {
            [] => Ok(packet),
            _ => Err(more()),
        }
    }
}

fn more() -> Error {
    Error::BadReply("there is more behind it".to_owned())
}

fn lost(source: io::Error, fate: Fate) -> Error {
    Error::Lost { source, fate }
}

/// The end of a connection, as the system says such things.
fn ended(end: ConnectionError) -> io::Error {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, TimedOut};
    match &end {
        ConnectionError::ConnectionClosed(close) => match alert(close.error_code.into()) {
            Some(alert) => io::Error::other(rustls::Error::AlertReceived(alert)),
            None if close.error_code == quinn::TransportErrorCode::CONNECTION_REFUSED => {
                let words = "the server has no place for another that has not authenticated";
                io::Error::new(ConnectionRefused, words)
            }
            None => io::Error::new(ConnectionAborted, end),
        },
        ConnectionError::ApplicationClosed(_) => io::Error::new(ConnectionAborted, end),
        ConnectionError::Reset => io::Error::new(ConnectionReset, end),
        ConnectionError::TimedOut => io::Error::new(TimedOut, "nothing was heard of the server"),
        _ => io::Error::other(end),
    }
}

/// What TLS said, if a code of QUIC is that.
fn alert(code: u64) -> Option<rustls::AlertDescription> {
    let alert = code.checked_sub(0x100)?;
    u8::try_from(alert).ok().map(rustls::AlertDescription::from)
}

/// What the server closed a connection with, if that is why there is no session.
fn refusal(end: &ConnectionError) -> Option<Error> {
    let ConnectionError::ApplicationClosed(close) = end else { return None };
    let status = Status::from_number(u16::try_from(close.error_code.into_inner()).ok()?)?;
    let message = String::from_utf8_lossy(&close.reason).into_owned();
    (status != Status::Ok).then_some(Error::Refused { status, message })
}
