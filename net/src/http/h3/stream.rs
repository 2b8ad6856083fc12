//! One request of HTTP/3, and its response.
//!
//! What must stay true: a head has `header_timeout` to come; a body has as many bytes as
//! it said; each piece of the response must be taken within `idle_timeout`.

use super::super::body::ResponseBody;
use super::super::pulse::Pulse;
use super::super::{HttpHandler, Shared, answer};
use bytes::{Buf, Bytes};
use h3::error::{Code, StreamError};
use h3::server::{RequestResolver, RequestStream};
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, SizeHint};
use hyper::header::{CONTENT_LENGTH, DATE, HeaderValue};
use hyper::{Request, Response};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, SystemTime};
use tokio::time::timeout;

/// Bytes of a response that must be taken together.
const PIECE: usize = 64 << 10;

type Connection = h3_quinn::Connection;
type Sending = RequestStream<h3_quinn::SendStream<Bytes>, Bytes>;

pub(super) async fn serve<H: HttpHandler>(
    shared: Arc<Shared<H>>,
    pulse: Arc<Pulse>,
    peer: SocketAddr,
    resolver: RequestResolver<Connection, Bytes>,
) {
    let (request, stream) =
        match timeout(shared.options.header_timeout, resolver.resolve_request()).await {
            Ok(Ok(resolved)) => resolved,
            Ok(Err(error)) => return tracing::debug!(%peer, %error, "no request of HTTP/3"),
            Err(_) => return tracing::debug!(%peer, "a request's head took too long"),
        };
    let (mut sending, receiving) = stream.split();
    let left = request.headers().get(CONTENT_LENGTH).and_then(|n| n.to_str().ok()?.parse().ok());
    let body = Received { stream: receiving, left, is_over: false, is_waiting: false };
    let request: Request<Received> = request.map(|()| body);
    let response = answer::answer(&shared, &pulse, peer, None, request).await;
    let sent = send(&mut sending, response, &pulse, shared.options.idle_timeout).await;
    if let Err(code) = sent {
        sending.stop_stream(code);
    }
}

/// Why it ends early is for the client.
async fn send(
    sending: &mut Sending,
    response: Response<ResponseBody>,
    pulse: &Pulse,
    patience: Duration,
) -> Result<(), Code> {
    let (mut head, mut body) = response.into_parts();
    // Until all of it is handed over.
    let _in_flight = body.in_flight.take();
    if let Ok(date) = HeaderValue::from_str(&httpdate::fmt_http_date(SystemTime::now())) {
        head.headers.entry(DATE).or_insert(date);
    }
    taken(patience, sending.send_response(Response::from_parts(head, ()))).await?;
    pulse.beat();
    while let Some(frame) = body.frame().await {
        let Ok(Ok(mut data)) = frame.map(Frame::into_data) else {
            return Err(Code::H3_INTERNAL_ERROR);
        };
        while !data.is_empty() {
            let piece = data.split_to(data.len().min(PIECE));
            taken(patience, sending.send_data(piece)).await?;
            pulse.beat();
        }
    }
    taken(patience, sending.finish()).await
}

async fn taken(
    patience: Duration,
    sending: impl Future<Output = Result<(), StreamError>>,
) -> Result<(), Code> {
    match timeout(patience, sending).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) => Err(Code::H3_INTERNAL_ERROR),
        Err(_) => Err(Code::H3_EXCESSIVE_LOAD),
    }
}

/// The body of a request as it comes; trailers are left out.
struct Received {
    stream: RequestStream<h3_quinn::RecvStream, Bytes>,
    /// What is still to come, if it was said.
    left: Option<u64>,
    is_over: bool,
    /// A read has begun and not ended: h3-quinn has lent the stream to it.
    is_waiting: bool,
}

impl Body for Received {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let other_length = || Poll::Ready(Some(Err(io::Error::other("its length is another one"))));
        let polled = self.stream.poll_recv_data(cx);
        let polled =
            polled.map_ok(|data| data.map(|mut data| data.copy_to_bytes(data.remaining())));
        self.is_waiting = polled.is_pending();
        let received = ready!(polled);
        match received.map_err(io::Error::other) {
            Err(error) => Poll::Ready(Some(Err(error))),
            Ok(None) if self.left.is_some_and(|left| left > 0) => other_length(),
            Ok(None) => {
                self.is_over = true;
                Poll::Ready(None)
            }
            Ok(Some(data)) => {
                if let Some(left) = &mut self.left {
                    match left.checked_sub(data.len() as u64) {
                        Some(rest) => *left = rest,
                        None => return other_length(),
                    }
                }
                Poll::Ready(Some(Ok(Frame::data(data))))
            }
        }
    }

    fn size_hint(&self) -> SizeHint {
        self.left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

impl Drop for Received {
    fn drop(&mut self) {
        // h3-quinn panics while a read waits; dropping that read stops the stream as well.
        if !self.is_over && !self.is_waiting {
            // The response says why; the rest is not wanted.
            self.stream.stop_sending(Code::H3_NO_ERROR);
        }
    }
}
