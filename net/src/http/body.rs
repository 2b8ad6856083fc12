//! Bodies on their way out: bytes at hand, parts of a file read piece by piece, or pieces
//! that are made meanwhile.
//!
//! What must stay true: a file costs one piece of memory however long it is, its
//! reads never block the async threads, and a file that turns out shorter than
//! the length already told ends the connection rather than the response. So does a body
//! that breaks off where it is made, or has another length than was told.

use super::pieces::{Cut, Piece, Pieces};
use super::pulse::{AtWork, InFlight, Pulse};
use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tokio::task::JoinHandle;

/// Bytes that are read of a file, or handed to HTTP/2, at once.
const PIECE: usize = 64 << 10;

/// See the top of the file.
#[derive(Debug)]
pub(super) struct ResponseBody {
    kind: Kind,
    /// Held until the whole body has been taken.
    pub(super) in_flight: Option<InFlight>,
}

/// Another way for a body to come is another kind here.
#[derive(Debug)]
enum Kind {
    Whole(Bytes),
    Parts(Parts),
    Stream(Box<Stream>),
}

/// How a body ended that was made while it was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// With its last piece.
    Whole,
    /// It broke off where it was made, or had another length than it said.
    Cut,
    /// Nobody took it any more.
    Gone,
}

/// Told how a body ended, and how many bytes of it left.
type Told = Box<dyn FnOnce(u64, End) + Send>;

/// What gives the pieces of a body, if no thread does: it runs when they are out.
type Driver = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A body that is made while it is sent.
struct Stream {
    /// What is at hand.
    first: Bytes,
    pieces: Pieces,
    driver: Option<Driver>,
    /// Bytes still to come, if their number was told.
    left: Option<u64>,
    sent: u64,
    end: End,
    /// Why it breaks off next.
    cut: Option<&'static str>,
    told: Option<Told>,
    pulse: Option<Arc<Pulse>>,
    /// While a piece is waited for: the client is not to blame for that.
    waiting: Option<AtWork>,
}

impl std::fmt::Debug for Stream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stream").field("sent", &self.sent).finish_non_exhaustive()
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        // Behind the last byte of a length that was told nobody asks for more.
        let is_whole = self.end == End::Gone && self.left == Some(0);
        if let Some(told) = self.told.take() {
            told(self.sent, if is_whole { End::Whole } else { self.end });
        }
    }
}

/// What a body is made of, in turn.
#[derive(Debug)]
pub(super) enum Part {
    /// Words between the pieces of a file.
    Words(Bytes),
    /// So many bytes of the file.
    OfFile {
        /// The first.
        from: u64,
        /// How many.
        length: u64,
    },
}

#[derive(Debug)]
struct Parts {
    file: Arc<File>,
    parts: VecDeque<Part>,
    /// Bytes not handed over yet.
    left: u64,
    reading: Option<JoinHandle<io::Result<Bytes>>>,
}

impl ResponseBody {
    pub(super) fn empty() -> Self {
        Self::whole(Bytes::new())
    }

    pub(super) fn whole(bytes: Bytes) -> Self {
        ResponseBody { kind: Kind::Whole(bytes), in_flight: None }
    }

    /// Parts of `file` and words between them.
    pub(super) fn parts(file: Arc<File>, parts: Vec<Part>) -> Self {
        let length = |part: &Part| match part {
            Part::Words(words) => words.len() as u64,
            Part::OfFile { length, .. } => *length,
        };
        let left = parts.iter().map(length).sum();
        let parts = parts.into_iter().filter(|part| length(part) > 0).collect();
        let parts = Parts { file, parts, left, reading: None };
        ResponseBody { kind: Kind::Parts(parts), in_flight: None }
    }

    /// `first`, and then what comes; `length` bytes in all, if that is told.
    pub(super) fn stream(first: Bytes, pieces: Pieces, length: Option<u64>) -> Self {
        let stream = Stream {
            first,
            pieces,
            driver: None,
            left: length,
            sent: 0,
            end: End::Gone,
            cut: None,
            told: None,
            pulse: None,
            waiting: None,
        };
        ResponseBody { kind: Kind::Stream(Box::new(stream)), in_flight: None }
    }

    /// What `driver` gives, which lives no longer than the body.
    pub(super) fn driven(pieces: Pieces, driver: Driver) -> Self {
        let mut body = Self::stream(Bytes::new(), pieces, None);
        if let Kind::Stream(stream) = &mut body.kind {
            stream.driver = Some(driver);
        }
        body
    }

    /// The bytes, if they are all at hand.
    pub(super) fn bytes(&self) -> Option<&Bytes> {
        match &self.kind {
            Kind::Whole(bytes) => Some(bytes),
            Kind::Parts(_) | Kind::Stream(_) => None,
        }
    }

    /// Whether it is made while it is sent.
    pub(super) fn is_stream(&self) -> bool {
        matches!(self.kind, Kind::Stream(_))
    }

    /// Of a body that is made while it is sent: `told` is called at its end, and `pulse`
    /// knows when it is waited for.
    pub(super) fn follow(&mut self, pulse: &Arc<Pulse>, told: Told) {
        if let Kind::Stream(stream) = &mut self.kind {
            stream.pulse = Some(Arc::clone(pulse));
            stream.told = Some(told);
        }
    }
}

fn read_piece(file: &File, from: u64, length: u64) -> io::Result<Bytes> {
    let mut piece = vec![0; usize::try_from(length).map_err(io::Error::other)?];
    file.read_exact_at(&mut piece, from)?;
    Ok(Bytes::from(piece))
}

impl Parts {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        loop {
            if let Some(reading) = &mut self.reading {
                let read = ready!(Pin::new(reading).poll(cx));
                self.reading = None;
                let read = read.map_err(io::Error::other).flatten();
                match &read {
                    Ok(piece) => self.left = self.left.saturating_sub(piece.len() as u64),
                    Err(_) => self.parts.clear(),
                }
                return Poll::Ready(Some(read));
            }
            match self.parts.front_mut() {
                None => return Poll::Ready(None),
                Some(Part::Words(words)) => {
                    let words = std::mem::take(words);
                    self.parts.pop_front();
                    self.left = self.left.saturating_sub(words.len() as u64);
                    return Poll::Ready(Some(Ok(words)));
                }
                Some(Part::OfFile { from, length }) => {
                    let (file, at, now) = (self.file.clone(), *from, (*length).min(PIECE as u64));
                    (*from, *length) = (*from + now, *length - now);
                    if *length == 0 {
                        self.parts.pop_front();
                    }
                    let reading = tokio::task::spawn_blocking(move || read_piece(&file, at, now));
                    self.reading = Some(reading);
                }
            }
        }
    }
}

impl Stream {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        if let Some(why) = self.cut {
            self.waiting = None;
            return Poll::Ready(Some(Err(io::Error::other(why))));
        }
        if self.first.is_empty() {
            match self.next(cx) {
                Poll::Pending => {
                    if self.waiting.is_none() {
                        self.waiting = self.pulse.as_ref().map(Pulse::at_work);
                    }
                    return Poll::Pending;
                }
                Poll::Ready(None) if self.left.is_none_or(|left| left == 0) => {
                    self.end = End::Whole;
                    return Poll::Ready(None);
                }
                Poll::Ready(None) => return self.cut(cx, "it is shorter than its length says"),
                Poll::Ready(Some(Err(Cut))) => return self.cut(cx, "it broke off"),
                Poll::Ready(Some(Ok(piece))) => self.first = piece.bytes,
            }
        }
        self.waiting = None;
        let piece = self.first.split_to(self.first.len().min(PIECE));
        let len = piece.len() as u64;
        if let Some(left) = &mut self.left {
            match left.checked_sub(len) {
                Some(rest) => *left = rest,
                None => return self.cut(cx, "it is longer than its length says"),
            }
        }
        self.sent += len;
        Poll::Ready(Some(Ok(piece)))
    }

    /// The next piece, which the driver is asked for when there is none.
    fn next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Piece, Cut>>> {
        let next = self.pieces.poll_next(cx);
        let Some(driver) = self.driver.as_mut().filter(|_| next.is_pending()) else { return next };
        if driver.as_mut().poll(cx).is_ready() {
            self.driver = None;
        }
        self.pieces.poll_next(cx)
    }

    /// Breaks off, but not before what was given has left: an error takes with it what
    /// waits to be written, and that is written once there is nothing more for now.
    fn cut(&mut self, cx: &Context<'_>, why: &'static str) -> Poll<Option<io::Result<Bytes>>> {
        self.end = End::Cut;
        self.cut = Some(why);
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let ResponseBody { kind, in_flight } = &mut *self;
        let next = match kind {
            Kind::Whole(bytes) if bytes.is_empty() => None,
            Kind::Whole(bytes) => Some(Ok(match in_flight {
                // In pieces: that the next is asked for shows that the last was taken.
                Some(one) if one.is_one_of_many() => bytes.split_to(bytes.len().min(PIECE)),
                _ => std::mem::take(bytes),
            })),
            Kind::Parts(parts) => ready!(parts.poll(cx)),
            Kind::Stream(stream) => ready!(stream.poll(cx)),
        };
        if let Some(one) = in_flight {
            one.beat();
        }
        Poll::Ready(next.map(|read| read.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Whole(bytes) => bytes.is_empty(),
            Kind::Parts(parts) => parts.parts.is_empty() && parts.reading.is_none(),
            Kind::Stream(stream) => stream.end == End::Whole,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Kind::Parts(parts) => SizeHint::with_exact(parts.left),
            Kind::Stream(stream) => {
                stream.left.map_or_else(SizeHint::default, SizeHint::with_exact)
            }
        }
    }
}
