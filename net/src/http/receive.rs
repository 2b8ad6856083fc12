//! The body of a request, within its limits.
//!
//! What must stay true: no body takes more memory than its limit, nor longer than it may;
//! a large one has its share of the memory for all before a byte of it is read.

use super::Shared;
use super::message::Refused;
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::Body;
use proto::Status;
use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, timeout, timeout_at};

/// Bodies above need a share of the common budget.
pub(super) const SMALL_BODY: usize = 64 << 10;
/// A body must come at this many bytes a second, after its first idle_timeout.
pub(super) const BODY_RATE: u64 = 64 << 10;
/// How much of a refused body is read, so that the client reads the refusal.
const DISCARD_BYTES: usize = 256 << 10;

/// A body as one of the versions of HTTP brings it.
pub(super) trait RequestBody:
    Body<Data = Bytes, Error: Display> + Unpin + Send + 'static
{
}

impl<B: Body<Data = Bytes, Error: Display> + Unpin + Send + 'static> RequestBody for B {}

pub(super) fn share_of_memory<H>(
    shared: &Arc<Shared<H>>,
    body: &impl Body,
) -> Result<Option<OwnedSemaphorePermit>, Refused> {
    let limit = shared.options.max_body_size;
    // Without a length told, it may become as large as is allowed.
    let due = body.size_hint().upper().map_or(limit, |n| usize::try_from(n).unwrap_or(limit));
    if due <= SMALL_BODY || due > limit {
        return Ok(None);
    }
    let kib = u32::try_from(due.div_ceil(1024)).unwrap_or(u32::MAX);
    // Never waited for: bodies not read fill the window all streams of an HTTP/2
    // connection share, and the one that has its memory could not come in.
    shared.buffers.clone().try_acquire_many_owned(kib).map(Some).map_err(|_| {
        let detail = "the server receives too many large bodies at once; retry later";
        Refused::new(Status::Busy, detail)
    })
}

/// The whole body, if it is within the limit and comes in time.
pub(super) async fn collect<B: RequestBody>(
    mut body: B,
    limit: usize,
    patience: Duration,
    expects: bool,
) -> Result<Bytes, Refused> {
    if body.is_end_stream() {
        return Ok(Bytes::new());
    }
    let told = body.size_hint().lower();
    if told > limit as u64 {
        if !expects {
            discard(&mut body).await;
        }
        return Err(too_large(limit));
    }
    let start = Instant::now();
    // Most bodies come in one piece: that one is not copied.
    let (mut first, mut whole) = (Bytes::new(), BytesMut::new());
    loop {
        let received = first.len().max(whole.len());
        let granted = Duration::from_secs(received as u64 / BODY_RATE);
        let frame = match timeout_at(start + patience + granted, body.frame()).await {
            Ok(None) => break,
            Ok(Some(Ok(frame))) => frame,
            Ok(Some(Err(error))) => {
                let detail = format!("the request's body broke off: {error}");
                return Err(Refused::malformed(400, &detail));
            }
            Err(_) => {
                let detail = "the request's body came too slowly";
                return Err(Refused::with(408, Status::Timeout, detail));
            }
        };
        let Ok(data) = frame.into_data() else { continue }; // Trailers are dropped.
        if received + data.len() > limit {
            discard(&mut body).await;
            return Err(too_large(limit));
        }
        if received == 0 {
            first = data;
        } else {
            if whole.is_empty() {
                whole.extend_from_slice(&first);
            }
            whole.extend_from_slice(&data);
        }
    }
    Ok(if whole.is_empty() { first } else { whole.freeze() })
}

fn too_large(limit: usize) -> Refused {
    let detail = format!("the request's body is larger than http.max_body_size, {limit} bytes");
    Refused::new(Status::MessageTooLarge, detail)
}

/// Reads on for a while, so that the client reads the answer.
pub(super) async fn discard<B: RequestBody>(body: &mut B) {
    let mut left = DISCARD_BYTES;
    let reading = async {
        while let Some(Ok(frame)) = body.frame().await {
            left = left.saturating_sub(frame.data_ref().map_or(0, Bytes::len));
            if left == 0 {
                return;
            }
        }
    };
    // However it ends, the refusal follows.
    timeout(Duration::from_secs(1), reading).await.ok();
}
