//! A request as it is sent, and how long its answer is waited for.
//!
//! What must stay true: whatever carries requests, the same ones are refused before
//! anything of them is sent, and patience is told and kept in the same way.

use crate::connection::Greeting;
use crate::options::ConnectOptions;
use crate::{Error, Result};
use proto::Request;
use std::time::Duration;

/// How much longer than the patience that was sent an answer is waited for.
const GRACE: Duration = Duration::from_secs(5);
/// No message is longer, whatever the limits say: its length is written in 32 bits.
const MOST_BYTES: usize = 1 << 31;

/// The packet of a request, if it has `limit` bytes at most.
pub(crate) fn packet(
    request: &Request<'_>,
    id: u64,
    patience: Duration,
    limit: usize,
) -> Result<Vec<u8>> {
    let mut packet = Vec::new();
    // Compared before it is written too: what is far too long is not copied.
    let known = bytes(request);
    if known <= limit {
        request.encode_with_patience(id, millis(patience), &mut packet);
    }
    match known.max(packet.len()) {
        bytes if bytes > limit => Err(Error::Invalid(format!(
            "the request has {bytes} bytes, the limit is {limit}: send less at a time"
        ))),
        _ => Ok(packet),
    }
}

impl ConnectOptions {
    /// How long an answer is waited for.
    pub(crate) fn answer_within(&self, patience: Duration) -> Duration {
        match patience {
            Duration::ZERO => self.call_timeout,
            some => self.call_timeout.min(some.saturating_add(GRACE)),
        }
    }

    /// Bytes of a request: the client's own limit, or the server's if that is lower.
    pub(crate) fn request_limit(&self, greeting: &Greeting) -> usize {
        let own = self.max_message_size.min(MOST_BYTES);
        match usize::try_from(greeting.max_message_size) {
            Ok(servers) if servers > 0 => servers.min(own),
            _ => own,
        }
    }
}

/// As it is sent: 0 is none, and what is shorter than a millisecond is one.
fn millis(patience: Duration) -> u32 {
    match patience {
        Duration::ZERO => 0,
        some => u32::try_from(some.as_millis()).unwrap_or(u32::MAX).max(1),
    }
}

/// What a caller gives in bytes; the rest of a request is small.
fn bytes(request: &Request<'_>) -> usize {
    match *request {
        Request::Insert { document, .. } | Request::Update { document, .. } => document.len(),
        Request::BatchInsert { batch, .. } => batch.bytes(),
        Request::Query { text, parameters } | Request::Stream { text, parameters, .. } => {
            text.len() + parameters.map_or(0, <[u8]>::len)
        }
        Request::CreateIndex { definition, .. } | Request::CreateUser { definition, .. } => {
            definition.len()
        }
        Request::AlterStore { change, .. }
        | Request::AlterUser { change, .. }
        | Request::AlterSequence { change, .. } => change.len(),
        Request::FormatQuery { text } => text.len(),
        _ => 0,
    }
}
