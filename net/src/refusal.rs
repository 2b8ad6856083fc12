//! Why a connection is not served, as one line of the log.
//!
//! What must stay true: a stranger writes nothing into the log but its address: the
//! words are ours. However many are refused, a listener writes [`LINES`] lines in
//! [`WINDOW`] and then how many it kept to itself.

use crate::Traffic;
use rustls::{CertificateError, Error};
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

const LINES: u32 = 10;
const WINDOW: Duration = Duration::from_secs(10);

/// The lines of one listener.
#[derive(Debug, Default)]
pub(crate) struct Refusals {
    window: Mutex<Window>,
    /// Those left unsaid are counted too.
    pub(crate) traffic: Arc<Traffic>,
}

#[derive(Debug, Default)]
struct Window {
    since: Option<Instant>,
    lines: u32,
    unsaid: u64,
}

impl Refusals {
    /// Says that `peer` was refused, if there is room for it.
    pub(crate) fn say(&self, peer: SocketAddr, why: &str) {
        self.traffic.refuse();
        match self.turn(Instant::now()) {
            None => tracing::debug!(%peer, "refused a connection: {why}"),
            Some(0) => tracing::warn!(%peer, "refused a connection: {why}"),
            Some(unsaid) => tracing::warn!(%peer, unsaid, "refused a connection: {why}"),
        }
    }

    /// A line may be written: how many were not since the last.
    fn turn(&self, now: Instant) -> Option<u64> {
        let mut window = self.window.lock().unwrap_or_else(PoisonError::into_inner);
        let runs = |since: Instant| now.saturating_duration_since(since) < WINDOW;
        if !window.since.is_some_and(runs) {
            (window.since, window.lines) = (Some(now), 0);
        }
        if window.lines == LINES {
            window.unsaid = window.unsaid.saturating_add(1);
            return None;
        }
        window.lines += 1;
        Some(std::mem::take(&mut window.unsaid))
    }
}

/// What was wrong with a TLS handshake; `None` if the peer merely went away.
pub(crate) fn of_handshake(error: &io::Error) -> Option<String> {
    let tls = error.get_ref()?.downcast_ref::<Error>()?;
    Some(match tls {
        Error::InvalidMessage(_) => {
            "it does not speak TLS, which this port does: was it told to connect in the clear?"
                .to_owned()
        }
        Error::PeerIncompatible(_) => {
            format!("it cannot do TLS 1.3 as it is spoken here ({tls}); a newer client can")
        }
        Error::NoApplicationProtocol => {
            "it asked for other protocols than this port speaks: is it the right port?".to_owned()
        }
        Error::NoCertificatesPresented => {
            "it showed no certificate, and tls.client_ca_file asks for one".to_owned()
        }
        Error::InvalidCertificate(error) => of_certificate(error),
        Error::AlertReceived(alert) => {
            format!("it ended the handshake ({alert:?}): has it another fingerprint pinned?")
        }
        other => format!("the TLS handshake failed: {other}"),
    })
}

fn of_certificate(error: &CertificateError) -> String {
    match error {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "its certificate has expired".to_owned()
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "its certificate is not valid yet".to_owned()
        }
        CertificateError::UnknownIssuer => {
            "its certificate was issued by none of the authorities in tls.client_ca_file".to_owned()
        }
        // No words of theirs: a certificate can hold any.
        _ => "its certificate cannot be used".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_bounded_and_those_left_out_are_counted() {
        let (refusals, start) = (Refusals::default(), Instant::now());
        for _ in 0..LINES {
            assert_eq!(refusals.turn(start), Some(0));
        }
        for _ in 0..1000 {
            assert_eq!(refusals.turn(start + WINDOW - Duration::from_millis(1)), None);
        }
        assert_eq!(refusals.turn(start + WINDOW), Some(1000));
        assert_eq!(refusals.turn(start + WINDOW), Some(0));
    }

    #[test]
    fn who_goes_away_is_no_refusal() {
        let gone = io::Error::new(io::ErrorKind::UnexpectedEof, "tls handshake eof");
        assert_eq!(of_handshake(&gone), None);
        let reset = io::Error::from(io::ErrorKind::ConnectionReset);
        assert_eq!(of_handshake(&reset), None);
    }
}
