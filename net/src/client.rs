//! The other end of the wire: connect, authenticate, ask.
//!
//! What must stay true: a key leaves this machine only after the server has
//! shown the certificate pinned (or the caller chose [`Security::Plaintext`] by
//! name). Replies come back in the order of their requests. A call that ended
//! half-way (an error, a timeout, a dropped future) leaves the connection broken
//! and says so, rather than pairing later replies with the wrong requests.
//! Sending never deadlocks: what the server answers meanwhile is read.

mod pages;

pub use pages::Pages;

use crate::stream::Stream;
use crate::tls::{self, ALPN_WIRE, Fingerprint};
use bytes::{Buf, BufMut, BytesMut};
use proto::codec::DecodeError;
use proto::wire::{BadReply, Replies};
use proto::{Reply, Request, Status};
use rustls::pki_types::ServerName;
use std::io;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// [`Client::send`] begins to write once so many bytes wait.
const SEND_BYTES: usize = 256 << 10;
const READ_BYTES: usize = 64 << 10;

/// Whom a client trusts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Security {
    /// TLS 1.3, and the server whose certificate has this fingerprint.
    Pinned(Fingerprint),
    /// Nobody in between is kept out: for `tls.enabled: false`.
    Plaintext,
}

/// Limits of a client.
#[derive(Clone, Copy, Debug)]
pub struct ClientOptions {
    /// For the connection, the handshake and Auth together.
    pub connect_timeout: Duration,
    /// For one reply to arrive.
    pub call_timeout: Duration,
    /// Bytes of one reply.
    pub max_message_size: usize,
}

impl Default for ClientOptions {
    fn default() -> Self {
        ClientOptions {
            connect_timeout: Duration::from_secs(15),
            call_timeout: Duration::from_secs(120),
            max_message_size: 64 << 20,
        }
    }
}

/// Why there is no answer. A request the server refused is an answer: see
/// [`proto::Reply::Error`].
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens there, or the way is blocked.
    #[error(
        "cannot reach {address}: {source}; is planck running, and is this the address it \
         printed when it started?"
    )]
    Unreachable {
        /// Host and port.
        address: String,
        /// What the system said.
        source: io::Error,
    },
    /// Something took too long.
    #[error(
        "{what} took longer than {seconds} s; the server may be overloaded or the network slow"
    )]
    Timeout {
        /// What was waited for.
        what: &'static str,
        /// How long.
        seconds: u64,
    },
    /// Another certificate than the one pinned.
    #[error(
        "the server's certificate is not the one pinned: expected {expected}, was given {found}; \
         compare with the fingerprint planck prints when it starts. If nobody replaced the \
         certificate, somebody may be between you and the server; the key was not sent"
    )]
    WrongCertificate {
        /// The pin.
        expected: Fingerprint,
        /// What the server showed.
        found: Fingerprint,
    },
    /// The handshake failed for another reason.
    #[error(
        "the TLS handshake with {address} failed: {source}; is this the port of planck's wire, \
         and has it TLS on? (for a server with tls.enabled: false, connect without a fingerprint)"
    )]
    Handshake {
        /// Host and port.
        address: String,
        /// What TLS said.
        source: io::Error,
    },
    /// The server speaks TLS, the client was told not to.
    #[error("{address} speaks TLS: give the fingerprint planck prints when it starts")]
    NeedsTls {
        /// Host and port.
        address: String,
    },
    /// The server refused the connection or the credentials.
    #[error("{status}: {message}")]
    Refused {
        /// `BadCredentials`, `LockedOut`, `Busy`, ...
        status: Status,
        /// The server's words.
        message: String,
    },
    /// What came is not the protocol.
    #[error("the server answered with something else than a reply: {0}")]
    Protocol(#[from] DecodeError),
    /// A reply over [`ClientOptions::max_message_size`], or out of order.
    #[error("the server's reply cannot be used: {0}")]
    BadReply(String),
    /// The connection ended.
    #[error(
        "the connection to the server was lost: {0}; what was asked last may or may not be done"
    )]
    Lost(io::Error),
    /// A call before ended half-way.
    #[error("this connection broke off in an earlier call; connect again")]
    Broken,
}

/// One authenticated session.
#[derive(Debug)]
pub struct Client {
    reader: ReadHalf<Stream>,
    writer: WriteHalf<Stream>,
    replies: Replies,
    outbox: BytesMut,
    /// Whether nothing written waits inside TLS.
    flushed: bool,
    next_id: u64,
    broken: bool,
    options: ClientOptions,
}

impl Client {
    /// Connects to `address` (`host:port`) and authenticates as `user`.
    pub async fn connect(
        address: &str,
        security: Security,
        user: &str,
        key: &str,
        options: ClientOptions,
    ) -> Result<Client, ClientError> {
        let limit = options.connect_timeout;
        let connecting = async {
            let stream = open(address, security).await?;
            let (reader, writer) = tokio::io::split(stream);
            let mut client = Client {
                reader,
                writer,
                replies: Replies::new(options.max_message_size),
                outbox: BytesMut::new(),
                flushed: true,
                next_id: 1,
                broken: false,
                options,
            };
            let reply = match client.call(&Request::Auth { user, key }).await {
                Ok(reply) => reply,
                // A TLS server answers plain bytes with an alert, which is no packet.
                Err(_)
                    if security == Security::Plaintext
                        && client.replies.received().starts_with(&[0x15, 3]) =>
                {
                    return Err(ClientError::NeedsTls { address: address.to_owned() });
                }
                Err(error) => return Err(error),
            };
            match Reply::decode(&reply)?.1 {
                Reply::Error { status, message } => {
                    Err(ClientError::Refused { status, message: message.to_owned() })
                }
                _ => Ok(client),
            }
        };
        match timeout(limit, connecting).await {
            Ok(done) => done,
            Err(_) => Err(ClientError::Timeout { what: "connecting", seconds: limit.as_secs() }),
        }
    }

    /// Asks and waits: the whole reply packet, for [`proto::Reply::decode`].
    /// With requests in flight it is an error: [`Client::receive`] their replies first.
    pub async fn call(&mut self, request: &Request<'_>) -> Result<Vec<u8>, ClientError> {
        if self.in_flight() > 0 {
            let message = "there are replies to earlier requests to receive first";
            return Err(ClientError::BadReply(message.to_owned()));
        }
        self.send(request).await?;
        self.receive().await
    }

    /// Queues a request; gives its id. Its reply is had by [`Client::receive`], in order.
    /// Writes when enough has gathered, reading replies that come meanwhile: keep
    /// [`Client::in_flight`] bounded, since those replies wait in memory.
    pub async fn send(&mut self, request: &Request<'_>) -> Result<u64, ClientError> {
        if self.broken {
            return Err(ClientError::Broken);
        }
        let id = self.next_id;
        self.next_id += 1;
        let mut packet = Vec::new();
        request.encode(id, &mut packet);
        self.outbox.extend_from_slice(&packet);
        self.replies.expect(id);
        if self.outbox.len() >= SEND_BYTES {
            self.exchange(|client| client.outbox.len() < SEND_BYTES, "sending").await?;
        }
        Ok(id)
    }

    /// The reply to the oldest request in flight: a whole packet.
    pub async fn receive(&mut self) -> Result<Vec<u8>, ClientError> {
        if self.in_flight() == 0 {
            return Err(ClientError::BadReply("no request is in flight".to_owned()));
        }
        self.exchange(|client| client.replies.has_next(), "a reply").await?;
        match self.replies.next_reply() {
            Ok(Some(packet)) => Ok(packet.to_vec()),
            Ok(None) => Err(ClientError::BadReply("it is not whole".to_owned())),
            Err(bad) => {
                self.broken = true;
                Err(bad.into())
            }
        }
    }

    /// Requests sent whose replies have not been received.
    pub fn in_flight(&self) -> usize {
        self.replies.in_flight()
    }

    /// Says goodbye. Dropping the client is as good, but for the server's log.
    pub async fn close(mut self) {
        timeout(Duration::from_secs(1), self.writer.shutdown()).await.ok();
    }

    /// Writes what is queued and reads what comes, until `done`.
    async fn exchange(
        &mut self,
        done: impl Fn(&Client) -> bool,
        what: &'static str,
    ) -> Result<(), ClientError> {
        if self.broken {
            return Err(ClientError::Broken);
        }
        self.broken = true; // Until this ends well.
        let limit = self.options.call_timeout;
        let work = async {
            while !done(self) {
                self.replies.check()?;
                let (tail, room) = self.replies.tail();
                tail.reserve(room.min(READ_BYTES));
                let mut tail = tail.limit(room);
                let reading = async {
                    // What has come is to be received before there is room for more.
                    match room {
                        0 => std::future::pending().await,
                        _ => self.reader.read_buf(&mut tail).await,
                    }
                };
                if self.outbox.is_empty() && self.flushed {
                    ended(reading.await)?;
                    continue;
                }
                // Cancelled when bytes arrive first: what is written must be taken off
                // the outbox in the same breath.
                let writing = async {
                    if self.outbox.is_empty() {
                        self.writer.flush().await?;
                        self.flushed = true;
                    } else {
                        let written = self.writer.write(&self.outbox).await?;
                        self.outbox.advance(written);
                        self.flushed = false;
                    }
                    io::Result::Ok(())
                };
                tokio::select! {
                    read = reading => ended(read)?,
                    // The server may have said why before it closed.
                    written = writing => if let Err(error) = written {
                        self.last_words(error).await?;
                    },
                }
            }
            Ok(())
        };
        let result = match timeout(limit, work).await {
            Ok(result) => result,
            Err(_) => Err(ClientError::Timeout { what, seconds: limit.as_secs() }),
        };
        self.broken = result.is_err();
        result
    }

    /// After a failed write: reads to the end. Fine if a whole packet came.
    async fn last_words(&mut self, error: io::Error) -> Result<(), ClientError> {
        self.outbox.clear();
        self.flushed = true;
        while !self.replies.has_next() {
            self.replies.check()?;
            let (tail, room) = self.replies.tail();
            tail.reserve(room.min(READ_BYTES));
            match self.reader.read_buf(&mut tail.limit(room)).await {
                Ok(0) | Err(_) => return Err(ClientError::Lost(error)),
                Ok(_) => {}
            }
        }
        Ok(())
    }
}

impl From<BadReply> for ClientError {
    fn from(bad: BadReply) -> ClientError {
        match bad {
            BadReply::Protocol(error) => ClientError::Protocol(error),
            BadReply::LastWord { status, message } => ClientError::Refused { status, message },
            other => ClientError::BadReply(other.to_string()),
        }
    }
}

fn ended(read: io::Result<usize>) -> Result<(), ClientError> {
    match read {
        Ok(0) => Err(ClientError::Lost(io::Error::new(
            io::ErrorKind::UnexpectedEof,
            "the server closed it",
        ))),
        Ok(_) => Ok(()),
        Err(error) => Err(ClientError::Lost(error)),
    }
}

async fn open(address: &str, security: Security) -> Result<Stream, ClientError> {
    let unreachable = |source| ClientError::Unreachable { address: address.to_owned(), source };
    let stream = TcpStream::connect(address).await.map_err(unreachable)?;
    stream.set_nodelay(true).map_err(unreachable)?;
    let Security::Pinned(pin) = security else { return Ok(Stream::Plain(stream)) };
    // The name is not what is trusted; it is sent only so that there is one.
    let name = ServerName::try_from("localhost").expect("localhost is a name");
    let connector = tokio_rustls::TlsConnector::from(tls::client_config(pin));
    let handshake = |source| ClientError::Handshake { address: address.to_owned(), source };
    match connector.connect(name, stream).await {
        Ok(stream) if stream.get_ref().1.alpn_protocol() == Some(ALPN_WIRE) => {
            Ok(Stream::Tls(Box::new(stream.into())))
        }
        Ok(_) => Err(handshake(io::Error::other("the server does not offer planck's protocol"))),
        Err(error) => Err(match tls::pin_mismatch(&error) {
            Some(found) => {
                ClientError::WrongCertificate { expected: found.expected, found: found.found }
            }
            None => handshake(error),
        }),
    }
}

const _: fn() = || {
    fn may_move_between_tasks<T: Send>() {}
    may_move_between_tasks::<Client>();
};
