//! One connection of HTTP/3: handshake, then a task for each request.
//!
//! What must stay true: it ends by the verdicts that end the others (`pulse.rs`); whoever
//! has gone is worked for no longer; when the server drains, what is in flight is
//! answered, and the client is told what will not be. It counts at its
//! address once the handshake has shown that somebody is there: forged senders take nothing
//! from the address they name.

use super::super::pulse::{Pulse, Verdict};
use super::super::{GOODBYE, HttpHandler, Shared, TOO_MANY, check_interval};
use super::stream;
use crate::server::{Closing, report};
use quinn::{Incoming, VarInt};
use std::sync::Arc;
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

/// H3_NO_ERROR (RFC 9114, 8.1).
pub(super) const NO_ERROR: VarInt = VarInt::from_u32(0x100);
/// H3_EXCESSIVE_LOAD.
const EXCESSIVE_LOAD: VarInt = VarInt::from_u32(0x107);

pub(super) async fn serve<H: HttpHandler>(
    shared: Arc<Shared<H>>,
    incoming: Incoming,
    handshake: OwnedSemaphorePermit,
    mut closing: Closing,
) {
    let peer = incoming.remote_address();
    let (header, idle) = (shared.options.header_timeout, shared.options.idle_timeout);
    let field_section = u64::try_from(shared.options.max_header_size.max(8192)).unwrap_or(u64::MAX);
    let opening = async {
        let connection = incoming.accept()?.await?;
        let Some(share) = shared.shares.take(peer.ip()) else {
            shared.refusals.say(peer, TOO_MANY);
            connection.close(EXCESSIVE_LOAD, b"too many connections from this address");
            return Ok(None);
        };
        let mut builder = h3::server::builder();
        // Sizes are counted otherwise there: what lies between is refused in `head.rs`.
        builder.max_field_section_size(field_section.saturating_mul(2)).send_grease(false);
        let opened = builder.build(h3_quinn::Connection::new(connection.clone())).await;
        Ok::<_, quinn::ConnectionError>(Some((connection, opened, share)))
    };
    let opened = tokio::select! {
        biased;
        () = closing.wait() => return,
        opened = timeout(header, opening) => opened,
    };
    drop(handshake);
    let (connection, mut requests, _share) = match opened {
        Ok(Ok(Some((connection, Ok(requests), share)))) => (connection, requests, share),
        Ok(Ok(None)) => return,
        Ok(Ok(Some((_, Err(error), _)))) => return tracing::debug!(%peer, %error, "no HTTP/3"),
        Ok(Err(error)) => return tracing::debug!(%peer, %error, "a QUIC handshake broke off"),
        Err(_) => return tracing::debug!(%peer, "the QUIC handshake took too long"),
    };
    let pulse = Pulse::new();
    let mut tasks: JoinSet<()> = JoinSet::new();
    let mut check = check_interval(header, idle);
    let mut draining = false;
    loop {
        if draining && tasks.is_empty() {
            break;
        }
        tokio::select! {
            accepted = requests.accept() => match accepted {
                Ok(Some(resolver)) => {
                    let (shared, pulse) = (shared.clone(), pulse.clone());
                    let peer = connection.remote_address();
                    tasks.spawn(stream::serve(shared, pulse, peer, resolver));
                }
                Ok(None) => break,
                Err(error) => {
                    tracing::debug!(%peer, %error, "an HTTP/3 connection ended");
                    // Nobody is there to be answered.
                    return tasks.shutdown().await;
                }
            },
            Some(ended) = tasks.join_next() => report(ended),
            () = closing.wait(), if !draining => {
                // The listener waits for us, and cuts us off after drain_timeout.
                draining = true;
                if requests.shutdown(0).await.is_err() {
                    break;
                }
            }
            _ = check.tick() => match pulse.verdict(header, idle) {
                Verdict::Keep => {}
                Verdict::Cut(reason) => {
                    tracing::debug!(%peer, reason, "cut a connection");
                    return connection.close(EXCESSIVE_LOAD, reason.as_bytes());
                }
                Verdict::Idle => break,
            }
        }
    }
    while let Some(ended) = tasks.join_next().await {
        report(ended);
    }
    // Said, and heard before the end: what is in the last packets is lost with it.
    if requests.shutdown(0).await.is_ok() {
        tokio::select! {
            _ = connection.closed() => {}
            () = sleep(if draining { GOODBYE / 10 } else { GOODBYE }) => {}
        }
    }
    connection.close(NO_ERROR, b"");
}
