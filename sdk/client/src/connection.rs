//! One session: connect, authenticate, ask.
//!
//! What must stay true: a key leaves this machine only after the server has
//! shown what is pinned (or the caller chose [`Security::Plaintext`] by name).
//! Replies come back in the order of their requests. A call that ended half-way (an
//! error, a timeout, a dropped future) leaves the connection broken and says so,
//! rather than pairing later replies with the wrong requests. Sending never
//! deadlocks: what the server answers meanwhile is read, up to a bound.

mod greeting;
mod pages;

pub use greeting::Greeting;
pub use pages::Pages;

use crate::options::{ConnectOptions, Security};
use crate::transport::{self, Channel};
use crate::{Error, Fate, Result, ask, tls};
use bytes::{Buf, BufMut, BytesMut};
use proto::Request;
use proto::packet::Header;
use proto::wire::{BadReply, Replies};
use std::io;
use std::pin::Pin;
use std::task::{Context, Waker};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, ReadBuf, ReadHalf, WriteHalf};
use tokio::time::timeout;

/// [`Connection::send`] begins to write once so many bytes wait.
const SEND_BYTES: usize = 256 << 10;
const READ_BYTES: usize = 64 << 10;
/// A buffer that has grown beyond is given back rather than kept.
const KEEP_BYTES: usize = 256 << 10;

/// One authenticated session.
#[derive(Debug)]
pub struct Connection {
    reader: ReadHalf<Channel>,
    writer: WriteHalf<Channel>,
    replies: Replies,
    outbox: BytesMut,
    /// Bytes of the outbox that belong to requests; behind them are Cancels.
    unsent: usize,
    /// Whether nothing written waits inside TLS.
    flushed: bool,
    next_id: u64,
    broken: bool,
    options: ConnectOptions,
    greeting: Greeting,
}

impl Connection {
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
    ) -> Result<Connection> {
        let limit = options.connect_timeout;
        let connecting = async {
            let channel = transport::open(address, security, &options).await?;
            let (reader, writer) = tokio::io::split(channel);
            let mut connection = Connection {
                reader,
                writer,
                replies: Replies::new(options.max_message_size),
                outbox: BytesMut::new(),
                unsent: 0,
                flushed: true,
                next_id: 1,
                broken: false,
                options,
                greeting: Greeting::default(),
            };
            let reply = match connection.call(&Request::Auth { user, key }).await {
                Ok(reply) => reply,
                // A TLS server answers plain bytes with an alert, which is no packet.
                Err(_)
                    if security == Security::Plaintext
                        && connection.replies.received().starts_with(&[0x15, 3]) =>
                {
                    return Err(Error::NeedsTls { address: address.to_owned() });
                }
                Err(error) => return Err(error.before_a_session(address)),
            };
            connection.greeting = Greeting::of_auth(&reply)?;
            Ok(connection)
        };
        let late = Error::Timeout { what: "connecting", limit, fate: Fate::NotDone };
        timeout(limit, connecting).await.unwrap_or(Err(late))
    }

    /// What the server said of itself and of this session.
    pub fn greeting(&self) -> &Greeting {
        &self.greeting
    }

    /// Asks and waits: the whole reply packet, for [`proto::Reply::decode`].
    ///
    /// # Errors
    /// There is no answer, or there are requests in flight: [`Connection::receive`] their
    /// replies first. What the server refuses is an answer: see [`proto::Reply::Error`].
    pub async fn call(&mut self, request: &Request<'_>) -> Result<Vec<u8>> {
        self.call_within(request, Duration::ZERO).await
    }

    /// As [`Connection::call`]; the answer is not wanted any more after `patience`, unless
    /// that is zero: the server gives the request up then, and says `PLK-1602`.
    ///
    /// # Errors
    /// As [`Connection::call`].
    pub async fn call_within(
        &mut self,
        request: &Request<'_>,
        patience: Duration,
    ) -> Result<Vec<u8>> {
        if self.in_flight() > 0 && !self.broken {
            return Err(Error::invalid("there are replies to earlier requests to receive first"));
        }
        self.send_within(request, patience).await?;
        self.receive_for(self.options.answer_within(patience)).await
    }

    /// Queues a request; gives its id. Its reply is had by [`Connection::receive`], in
    /// order. Writes when enough has gathered, reading replies that come meanwhile:
    /// those wait in memory, up to [`ConnectOptions::max_unread`].
    ///
    /// # Errors
    /// The connection is broken, or a bound is met: then nothing was queued.
    pub async fn send(&mut self, request: &Request<'_>) -> Result<u64> {
        self.send_within(request, Duration::ZERO).await
    }

    /// As [`Connection::send`]; the answer is not wanted any more so long after the
    /// request has come to the server, unless `patience` is zero.
    ///
    /// # Errors
    /// As [`Connection::send`].
    pub async fn send_within(&mut self, request: &Request<'_>, patience: Duration) -> Result<u64> {
        if self.broken {
            return Err(Error::Broken);
        }
        self.check_room()?;
        let id = self.next_id;
        let limit = self.options.request_limit(&self.greeting);
        let packet = ask::packet(request, id, patience, limit)?;
        self.next_id += 1;
        self.outbox.extend_from_slice(&packet);
        self.unsent = self.outbox.len();
        self.replies.expect(id);
        if self.outbox.len() >= SEND_BYTES {
            let limit = self.options.call_timeout;
            self.exchange(|client| client.outbox.len() < SEND_BYTES, "sending", limit).await?;
        }
        Ok(id)
    }

    /// Says that the answer to a request in flight is not wanted any more. It is answered
    /// all the same: with its result, or with `PLK-1603 Cancelled`, and then nothing has
    /// changed. A request that was answered already is none of the server's business.
    ///
    /// # Errors
    /// The connection is broken.
    pub async fn cancel(&mut self, id: u64) -> Result<()> {
        if self.broken {
            return Err(Error::Broken);
        }
        self.outbox.extend_from_slice(&Header::cancel(id).to_bytes());
        self.flush().await
    }

    /// Writes what is queued, without waiting for its replies.
    ///
    /// # Errors
    /// The connection is broken.
    pub async fn flush(&mut self) -> Result<()> {
        let limit = self.options.call_timeout;
        self.exchange(|client| client.outbox.is_empty() && client.flushed, "sending", limit).await
    }

    /// The reply to the oldest request in flight: a whole packet.
    ///
    /// # Errors
    /// There is no answer, or no request in flight.
    pub async fn receive(&mut self) -> Result<Vec<u8>> {
        self.receive_for(self.options.call_timeout).await
    }

    async fn receive_for(&mut self, limit: Duration) -> Result<Vec<u8>> {
        if self.in_flight() == 0 {
            return Err(Error::invalid("no request is in flight"));
        }
        self.exchange(|client| client.replies.has_next(), "a reply", limit).await?;
        let packet = match self.replies.next_reply() {
            Ok(Some(packet)) => packet.to_vec(),
            Ok(None) => return Err(Error::BadReply("it is not whole".to_owned())),
            Err(bad) => {
                self.broken = true;
                return Err(bad.into());
            }
        };
        if packet.len() > KEEP_BYTES && self.in_flight() == 0 && self.replies.received().is_empty()
        {
            self.replies = Replies::new(self.options.max_message_size);
        }
        Ok(packet)
    }

    /// Requests sent whose replies have not been received.
    pub fn in_flight(&self) -> usize {
        self.replies.in_flight()
    }

    /// Says goodbye. Dropping the connection is as good, but for the server's log.
    pub async fn close(mut self) {
        timeout(Duration::from_secs(1), self.writer.shutdown()).await.ok();
    }

    /// Whether another call can be made on it, as if it were new.
    pub(crate) fn is_idle(&self) -> bool {
        let empty = self.in_flight() == 0 && self.replies.received().is_empty();
        empty && self.outbox.is_empty() && !self.broken
    }

    /// Whether an idle connection has ended, as far as is known without asking: it was
    /// closed, or there are bytes that nobody asked for.
    pub(crate) fn has_ended(&mut self) -> bool {
        let mut byte = [0];
        let mut context = Context::from_waker(Waker::noop());
        let reading =
            Pin::new(&mut self.reader).poll_read(&mut context, &mut ReadBuf::new(&mut byte));
        reading.is_ready()
    }

    /// Whether another request may be queued.
    fn check_room(&self) -> Result<()> {
        let ConnectOptions { max_in_flight, max_unread, .. } = self.options;
        if self.in_flight() >= max_in_flight {
            let message = format!(
                "{max_in_flight} requests are in flight, as many as connect.max_in_flight \
                 allows: receive their replies first"
            );
            return Err(Error::Invalid(message));
        }
        let bytes = self.replies.received().len();
        if bytes > max_unread {
            return Err(Error::Invalid(unread(bytes, max_unread)));
        }
        Ok(())
    }

    /// What became of the requests in flight if the connection ends now. Only of a single
    /// one it is known that the server cannot have it: some of its bytes are still here.
    fn fate(&self) -> Fate {
        match self.in_flight() {
            0 => Fate::NotDone,
            1 if self.unsent > 0 => Fate::NotDone,
            _ => Fate::Unknown,
        }
    }

    fn lost(&self, source: io::Error) -> Error {
        Error::Lost { source, fate: self.fate() }
    }

    /// Writes what is queued and reads what comes, until `done`.
    async fn exchange(
        &mut self,
        done: impl Fn(&Connection) -> bool,
        what: &'static str,
        limit: Duration,
    ) -> Result<()> {
        if self.broken {
            return Err(Error::Broken);
        }
        self.broken = true; // Until this ends well.
        let result = match timeout(limit, self.carry(done)).await {
            Ok(result) => result,
            Err(_) => Err(Error::Timeout { what, limit, fate: self.fate() }),
        };
        self.broken = result.is_err();
        result
    }

    async fn carry(&mut self, done: impl Fn(&Connection) -> bool) -> Result<()> {
        while !done(self) {
            self.check_unread()?;
            self.replies.check()?;
            self.write_or_read().await?;
        }
        Ok(())
    }

    /// Writes some of what is queued, unless something can be read first.
    async fn write_or_read(&mut self) -> Result<()> {
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
            let read = reading.await;
            return self.ended(read);
        }
        // Cancelled when bytes arrive first: what is written must be taken off the outbox
        // in the same breath.
        let writing = async {
            if self.outbox.is_empty() {
                self.writer.flush().await?;
                self.flushed = true;
            } else {
                let written = self.writer.write(&self.outbox).await?;
                self.outbox.advance(written);
                self.unsent = self.unsent.saturating_sub(written);
                self.flushed = false;
            }
            io::Result::Ok(())
        };
        tokio::select! {
            read = reading => self.ended(read),
            written = writing => match written {
                Ok(()) => Ok(()),
                // The server may have said why before it closed.
                Err(error) => self.last_words(error).await,
            },
        }
    }

    /// After a failed write: reads to the end. Fine if a whole packet came.
    async fn last_words(&mut self, error: io::Error) -> Result<()> {
        let fate = self.fate();
        self.outbox.clear();
        self.flushed = true;
        while !self.replies.has_next() {
            let (tail, room) = self.replies.tail();
            tail.reserve(room.min(READ_BYTES));
            match self.reader.read_buf(&mut tail.limit(room)).await {
                Err(said) if tls::is_of_tls(&said) => {
                    return Err(Error::Lost { source: said, fate });
                }
                Ok(0) | Err(_) => return Err(Error::Lost { source: error, fate }),
                Ok(_) => {}
            }
        }
        Ok(())
    }

    /// Bounds the replies that came while a request was sent. A single one is bounded by
    /// its own limit.
    fn check_unread(&self) -> Result<()> {
        let (bytes, limit) = (self.replies.received().len(), self.options.max_unread);
        if bytes > limit && self.replies.has_next() {
            return Err(Error::BadReply(unread(bytes, limit)));
        }
        Ok(())
    }

    fn ended(&self, read: io::Result<usize>) -> Result<()> {
        match read {
            Ok(0) => {
                Err(self.lost(io::Error::new(io::ErrorKind::UnexpectedEof, "the server closed it")))
            }
            Ok(_) => Ok(()),
            Err(error) => Err(self.lost(error)),
        }
    }
}

fn unread(bytes: usize, limit: usize) -> String {
    format!(
        "{bytes} bytes of replies wait to be received, connect.max_unread is {limit}: receive \
         them first"
    )
}

impl From<BadReply> for Error {
    fn from(bad: BadReply) -> Error {
        match bad {
            BadReply::Protocol(error) => Error::Protocol(error),
            BadReply::LastWord { status, message } => Error::Refused { status, message },
            other => Error::BadReply(other.to_string()),
        }
    }
}

const _: fn() = || {
    fn may_move_between_tasks<T: Send>() {}
    may_move_between_tasks::<Connection>();
};
