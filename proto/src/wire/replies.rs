//! The client's side of a session over a stream of bytes: its replies.
//!
//! What must stay true: a reply is that of the oldest request that has none, or the
//! client is told that it is not; bytes are kept for so many replies within the limit as
//! there are requests in flight, and [`AHEAD_BYTES`]: who sends much before it takes
//! replies bounds what it has in flight.

use std::collections::VecDeque;

use super::AHEAD_BYTES;
use super::front::{Front, front};
use crate::codec::DecodeError;
use crate::packet::{Header, VERSION};
use crate::{Reply, Status};

/// Why what came is of no use: nothing after it is, either.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BadReply {
    /// It is not the protocol.
    Protocol(DecodeError),
    /// The server speaks another version.
    Version(u8),
    /// It is longer than was agreed to.
    TooLarge {
        /// How long.
        bytes: usize,
        /// How long it may be.
        limit: usize,
    },
    /// It answers another request than the oldest, or none.
    OutOfOrder {
        /// Which.
        id: u64,
    },
    /// The server speaks of the connection, which ends.
    LastWord {
        /// Why.
        status: Status,
        /// The server's words.
        message: String,
    },
}

impl std::fmt::Display for BadReply {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            BadReply::Protocol(error) => error.fmt(f),
            BadReply::Version(version) => write!(
                f,
                "the server speaks version {version} of the protocol and this client version \
                 {VERSION}: use a client and server of the same release"
            ),
            BadReply::TooLarge { bytes, limit } => {
                write!(f, "the reply has {bytes} bytes, the limit is {limit}")
            }
            BadReply::OutOfOrder { id } => {
                write!(f, "the reply answers request {id}, which is not the oldest in flight")
            }
            BadReply::LastWord { status, message } => write!(f, "{status}: {message}"),
        }
    }
}

impl std::error::Error for BadReply {}

/// See the module.
#[derive(Debug)]
pub struct Replies {
    bytes: Vec<u8>,
    /// Bytes at the front that were given out.
    done: usize,
    limit: usize,
    waiting: VecDeque<u64>,
}

impl Replies {
    /// Replies of so many bytes at most.
    pub fn new(limit: usize) -> Replies {
        Replies { bytes: Vec::new(), done: 0, limit, waiting: VecDeque::new() }
    }

    /// A request of that id was sent.
    pub fn expect(&mut self, id: u64) {
        self.waiting.push_back(id);
    }

    /// Requests that were sent and have no reply yet.
    pub fn in_flight(&self) -> usize {
        self.waiting.len()
    }

    /// Where bytes received are to be put, at the end, and how many at most.
    pub fn tail(&mut self) -> (&mut Vec<u8>, usize) {
        self.bytes.drain(..self.done);
        self.done = 0;
        let held = self.bytes.len();
        let wanted = match front(&self.bytes, self.limit) {
            Front::Partial(total) => (total - held).max(AHEAD_BYTES),
            Front::Whole(..) => AHEAD_BYTES,
            _ => 0,
        };
        let most = self.limit.saturating_mul(self.waiting.len()).saturating_add(AHEAD_BYTES);
        let room = wanted.min(most.saturating_sub(held));
        (&mut self.bytes, room)
    }

    /// Takes bytes, as many as there is room for; how many.
    pub fn feed(&mut self, bytes: &[u8]) -> usize {
        let (tail, room) = self.tail();
        let taken = room.min(bytes.len());
        tail.extend_from_slice(&bytes[..taken]);
        taken
    }

    /// What was received and not given out.
    pub fn received(&self) -> &[u8] {
        &self.bytes[self.done..]
    }

    /// Whether [`Replies::next_reply`] has something to say, if only that it is no reply.
    pub fn has_next(&self) -> bool {
        !matches!(front(self.received(), self.limit), Front::Partial(_))
    }

    /// Looks at what came next.
    ///
    /// # Errors
    /// It is no packet that can be taken.
    pub fn check(&self) -> Result<(), BadReply> {
        self.whole().map(drop)
    }

    /// The next reply packet, if all of it is there.
    ///
    /// # Errors
    /// What came is no reply to the oldest request.
    pub fn next_reply(&mut self) -> Result<Option<&[u8]>, BadReply> {
        let Some((header, total)) = self.whole()? else { return Ok(None) };
        let packet = self.done..self.done + total;
        if self.waiting.front() != Some(&header.id) {
            return Err(out_of_order(&header, &self.bytes[packet]));
        }
        self.waiting.pop_front();
        self.done = packet.end;
        Ok(Some(&self.bytes[packet]))
    }

    fn whole(&self) -> Result<Option<(Header, usize)>, BadReply> {
        match front(self.received(), self.limit) {
            Front::Partial(_) => Ok(None),
            Front::Whole(header, total) => Ok(Some((header, total))),
            Front::TooLarge(_, bytes) => Err(BadReply::TooLarge { bytes, limit: self.limit }),
            Front::Foreign { version, .. } => Err(BadReply::Version(version)),
            Front::Bad(error) => Err(BadReply::Protocol(error)),
        }
    }
}

fn out_of_order(header: &Header, packet: &[u8]) -> BadReply {
    match Reply::decode(packet) {
        // Id 0 is no request's.
        Ok((0, Reply::Error { status, message })) => {
            BadReply::LastWord { status, message: message.to_owned() }
        }
        Ok(_) => BadReply::OutOfOrder { id: header.id },
        Err(error) => BadReply::Protocol(error),
    }
}
