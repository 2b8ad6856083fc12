//! The server's side of a session over a stream of bytes.
//!
//! What must stay true:
//! * the first packet is an Auth of at most [`AUTH_BYTES`]; until [`Server::open`]
//!   nothing is taken behind it;
//! * requests come out in the order in which they came in, at most so many at a time
//!   that are not [`Server::answered`]; beyond, no bytes are wanted, but those in which a
//!   Cancel may stand;
//! * a Cancel is acted upon as soon as its last byte is there, told once for each
//!   request, and only of requests in flight;
//! * while requests are in flight at most [`AHEAD_BYTES`] are kept behind them, and no
//!   packet that is longer is received. At other times what is kept is one packet
//!   within the limit, and [`AHEAD_BYTES`].
//! * what is wrong is told last, behind the answers to all that came before it.

use std::collections::VecDeque;
use std::ops::Range;

use super::front::{Fault, Front, front};
use super::{AHEAD_BYTES, AUTH_BYTES};
use crate::packet::{HEADER_BYTES, Header, Kind, Opcode};

/// A request that was received whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ticket {
    /// Its header.
    pub header: Header,
    /// Requests of a session are numbered from 0 on.
    pub serial: u64,
    /// When its last byte was seen, in microseconds.
    pub arrived: u64,
    /// It was cancelled before it was begun.
    pub cancelled: bool,
    at: Range<usize>,
}

/// A request that was begun and not answered.
#[derive(Debug)]
struct Work {
    id: u64,
    serial: u64,
    cancelled: bool,
}

/// See the module.
#[derive(Debug)]
pub struct Server {
    bytes: Vec<u8>,
    /// Bytes that were looked at: they are of packets in `ready`, or done with.
    seen: usize,
    /// Bytes of a packet at most.
    limit: usize,
    /// Requests in flight at most.
    most: usize,
    open: bool,
    next: u64,
    ready: VecDeque<Ticket>,
    work: VecDeque<Work>,
    cancels: VecDeque<u64>,
    fault: Option<Fault>,
    /// The fault was told.
    ended: bool,
}

/// Requests with the bytes they stand in: for who carries them out elsewhere.
#[derive(Debug)]
pub struct Batch {
    bytes: Vec<u8>,
    tickets: VecDeque<Ticket>,
}

impl Default for Server {
    fn default() -> Server {
        Server::new()
    }
}

impl Server {
    /// Of somebody who has said nothing yet.
    pub fn new() -> Server {
        Server {
            bytes: Vec::new(),
            seen: 0,
            limit: AUTH_BYTES,
            most: 1,
            open: false,
            next: 0,
            ready: VecDeque::new(),
            work: VecDeque::new(),
            cancels: VecDeque::new(),
            fault: None,
            ended: false,
        }
    }

    /// The Auth was right: packets of so many bytes are taken from now on, and so many
    /// requests at a time.
    pub fn open(&mut self, limit: usize, most: usize) {
        (self.open, self.limit, self.most) = (true, limit, most.max(1));
    }

    /// How long the packet at the front of what is not looked at will be, as far as
    /// known: more bytes are wanted. 0: none are, for now.
    pub fn wants(&self) -> usize {
        if self.fault.is_some() {
            return 0;
        }
        let left = &self.bytes[self.seen..];
        let Front::Partial(total) = front(left, self.limit) else { return 0 };
        if !self.is_busy() {
            return total;
        }
        // Past a header it is a request: a Cancel has no body.
        let one_more = left.len() >= HEADER_BYTES && self.is_full();
        let held = self.bytes.len() - self.done();
        if one_more || total > AHEAD_BYTES || held >= AHEAD_BYTES { 0 } else { total }
    }

    /// Where bytes received are to be put, at the end, and how many at most.
    pub fn tail(&mut self) -> (&mut Vec<u8>, usize) {
        let wanted = self.wants();
        let done = self.done();
        if done > 0 {
            self.bytes.drain(..done);
            self.seen -= done;
            for ticket in &mut self.ready {
                ticket.at = ticket.at.start - done..ticket.at.end - done;
            }
        }
        let held = self.bytes.len();
        let room = match wanted {
            0 => 0,
            _ if !self.open => AUTH_BYTES.saturating_sub(held),
            _ if self.is_busy() => AHEAD_BYTES - held,
            total => (total - held).max(AHEAD_BYTES),
        };
        (&mut self.bytes, room)
    }

    /// Takes bytes, as many as there is room for; how many.
    pub fn feed(&mut self, bytes: &[u8]) -> usize {
        let (tail, room) = self.tail();
        let taken = room.min(bytes.len());
        tail.extend_from_slice(&bytes[..taken]);
        taken
    }

    /// Looks at the bytes that came, at `now`.
    pub fn advance(&mut self, now: u64) {
        while self.fault.is_none() {
            // What stands behind an Auth is looked at once that was right: it may be
            // longer than an Auth.
            if !self.open && self.is_full() {
                return;
            }
            self.fault = match front(&self.bytes[self.seen..], self.limit) {
                Front::Partial(_) => return,
                Front::Whole(header, total) => {
                    if self.open && header.kind == Kind::Cancel {
                        self.cancel(header.id);
                    } else if self.is_full() {
                        return;
                    } else if let Some(fault) = self.unfit(&header) {
                        self.fault = Some(fault);
                        return;
                    } else {
                        self.take(header, total, now);
                    }
                    self.seen += total;
                    None
                }
                Front::TooLarge(header, total) if self.open => {
                    Some(Fault::too_large(header.id, total, self.limit))
                }
                Front::TooLarge(header, _) => {
                    Some(self.unfit(&header).unwrap_or_else(|| Fault::large_auth(header.id)))
                }
                Front::Foreign { version, id } => Some(Fault::foreign(version, id)),
                Front::Bad(error) => Some(Fault::bad(&error)),
            };
        }
    }

    /// The requests that wait to be begun, oldest first.
    pub fn ready(&self) -> impl Iterator<Item = &Ticket> {
        self.ready.iter()
    }

    /// Begins the oldest request that waits. Its bytes stay here until more are received.
    pub fn next_request(&mut self) -> Option<(Ticket, &[u8])> {
        let ticket = self.ready.pop_front()?;
        self.work.push_back(Work::of(&ticket));
        let packet = &self.bytes[ticket.at.clone()];
        Some((ticket, packet))
    }

    /// Begins all requests that wait, and gives their bytes away with them.
    pub fn detach(&mut self) -> Batch {
        let rest = self.bytes[self.seen..].to_vec();
        let bytes = std::mem::replace(&mut self.bytes, rest);
        self.seen = 0;
        let tickets = std::mem::take(&mut self.ready);
        self.work.extend(tickets.iter().map(Work::of));
        Batch { bytes, tickets }
    }

    /// So many of the requests that were begun have been answered, the oldest.
    pub fn answered(&mut self, count: usize) {
        self.work.drain(..count.min(self.work.len()));
    }

    /// The serial of a request that was begun and is to be given up.
    pub fn cancelled(&mut self) -> Option<u64> {
        self.cancels.pop_front()
    }

    /// What is said to who sent something that cannot be taken, once all before it is
    /// answered: nothing is taken any more. Told once.
    pub fn last_word(&mut self) -> Option<Fault> {
        if self.is_busy() || self.ended {
            return None;
        }
        self.ended = self.fault.is_some();
        self.fault.clone()
    }

    /// What has come and was not taken.
    pub fn rest(&self) -> &[u8] {
        &self.bytes[self.seen..]
    }

    /// Bytes that are kept.
    pub fn kept(&self) -> usize {
        self.bytes.len()
    }

    /// Whether a packet has begun to come, and not ended.
    pub fn has_part(&self) -> bool {
        self.bytes.len() > self.seen
    }

    /// Gives memory back that was needed for a long packet: beyond `keep` bytes, if
    /// nothing is kept.
    pub fn shrink(&mut self, keep: usize) {
        if self.ready.is_empty() && !self.has_part() && self.bytes.capacity() > keep {
            (self.bytes, self.seen) = (Vec::new(), 0);
        }
    }

    /// Bytes at the front that nobody needs any more.
    fn done(&self) -> usize {
        self.ready.front().map_or(self.seen, |ticket| ticket.at.start)
    }

    fn is_busy(&self) -> bool {
        !self.ready.is_empty() || !self.work.is_empty()
    }

    fn is_full(&self) -> bool {
        self.ready.len() + self.work.len() >= self.most
    }

    /// Why a packet is not taken as the first one.
    fn unfit(&self, header: &Header) -> Option<Fault> {
        let fits = header.kind == Kind::Request && header.code == Opcode::Auth as u16;
        (!self.open && !fits).then(|| Fault::no_auth(header.id))
    }

    fn take(&mut self, header: Header, total: usize, now: u64) {
        let at = self.seen..self.seen + total;
        let (serial, arrived) = (self.next, now);
        self.next += 1;
        self.ready.push_back(Ticket { header, serial, arrived, cancelled: false, at });
    }

    fn cancel(&mut self, id: u64) {
        for ticket in self.ready.iter_mut().filter(|ticket| ticket.header.id == id) {
            ticket.cancelled = true;
        }
        for work in self.work.iter_mut().filter(|work| work.id == id && !work.cancelled) {
            work.cancelled = true;
            self.cancels.push_back(work.serial);
        }
    }
}

impl Work {
    fn of(ticket: &Ticket) -> Work {
        Work { id: ticket.header.id, serial: ticket.serial, cancelled: ticket.cancelled }
    }
}

impl Batch {
    /// The oldest request that has not been taken out yet.
    pub fn next_request(&mut self) -> Option<(Ticket, &[u8])> {
        let ticket = self.tickets.pop_front()?;
        let packet = &self.bytes[ticket.at.clone()];
        Some((ticket, packet))
    }

    /// Those that have not been taken out yet.
    pub fn tickets(&self) -> impl ExactSizeIterator<Item = &Ticket> {
        self.tickets.iter()
    }
}
