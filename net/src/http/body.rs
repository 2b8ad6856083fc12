//! Bodies on their way out: bytes at hand, or a file read piece by piece.
//!
//! What must stay true: a file costs one piece of memory however long it is, its
//! reads never block the async threads, and a file that turns out shorter than
//! the length already told ends the connection rather than the response.

use super::pulse::InFlight;
use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use std::fs::File;
use std::io::{self, Read};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::task::JoinHandle;

const PIECE: u64 = 64 << 10;

/// See the top of the file.
#[derive(Debug)]
pub(super) struct ResponseBody {
    kind: Kind,
    /// Held until hyper has taken the whole body.
    pub(super) in_flight: Option<InFlight>,
}

#[derive(Debug)]
enum Kind {
    Full(Bytes),
    File { left: u64, state: Reading },
}

#[derive(Debug)]
enum Reading {
    Here(File),
    Away(JoinHandle<io::Result<(File, Bytes)>>),
    Ended,
}

impl ResponseBody {
    pub(super) fn empty() -> Self {
        Self::full(Bytes::new())
    }

    pub(super) fn full(bytes: Bytes) -> Self {
        ResponseBody { kind: Kind::Full(bytes), in_flight: None }
    }

    /// The first `length` bytes of `file`.
    pub(super) fn file(file: File, length: u64) -> Self {
        let state = if length == 0 { Reading::Ended } else { Reading::Here(file) };
        ResponseBody { kind: Kind::File { left: length, state }, in_flight: None }
    }
}

fn read_piece(mut file: File, length: u64) -> io::Result<(File, Bytes)> {
    let mut piece = Vec::with_capacity(usize::try_from(length).unwrap_or_default());
    (&mut file).take(length).read_to_end(&mut piece)?;
    if piece.is_empty() {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the file became shorter"));
    }
    Ok((file, Bytes::from(piece)))
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let (left, state) = match &mut self.kind {
            Kind::Full(bytes) if bytes.is_empty() => return Poll::Ready(None),
            Kind::Full(bytes) => {
                return Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes)))));
            }
            Kind::File { left, state } => (left, state),
        };
        loop {
            match std::mem::replace(state, Reading::Ended) {
                Reading::Ended => return Poll::Ready(None),
                Reading::Here(file) => {
                    let length = (*left).min(PIECE);
                    let reading = tokio::task::spawn_blocking(move || read_piece(file, length));
                    *state = Reading::Away(reading);
                }
                Reading::Away(mut reading) => {
                    let polled = Pin::new(&mut reading).poll(cx);
                    if polled.is_pending() {
                        *state = Reading::Away(reading);
                    }
                    let (file, piece) = ready!(polled).map_err(io::Error::other)??;
                    *left = left.saturating_sub(piece.len() as u64);
                    if *left > 0 {
                        *state = Reading::Here(file);
                    }
                    return Poll::Ready(Some(Ok(Frame::data(piece))));
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Full(bytes) => bytes.is_empty(),
            Kind::File { state, .. } => matches!(state, Reading::Ended),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Kind::File { left, .. } => SizeHint::with_exact(*left),
        }
    }
}
