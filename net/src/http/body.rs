//! Bodies on their way out: bytes at hand, or parts of a file read piece by piece.
//!
//! What must stay true: a file costs one piece of memory however long it is, its
//! reads never block the async threads, and a file that turns out shorter than
//! the length already told ends the connection rather than the response.

use super::pulse::InFlight;
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
    pub(super) fn parts(file: File, parts: Vec<Part>) -> Self {
        let length = |part: &Part| match part {
            Part::Words(words) => words.len() as u64,
            Part::OfFile { length, .. } => *length,
        };
        let left = parts.iter().map(length).sum();
        let parts = parts.into_iter().filter(|part| length(part) > 0).collect();
        let parts = Parts { file: Arc::new(file), parts, left, reading: None };
        ResponseBody { kind: Kind::Parts(parts), in_flight: None }
    }

    /// The bytes, if they are all at hand.
    pub(super) fn bytes(&self) -> Option<&Bytes> {
        match &self.kind {
            Kind::Whole(bytes) => Some(bytes),
            Kind::Parts(_) => None,
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
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Kind::Parts(parts) => SizeHint::with_exact(parts.left),
        }
    }
}
