//! The certificates of both listeners: from where, and watched while the service runs.
//!
//! Invariants: whatever lies in the files later, the service goes on with what it
//! serves; what was found is one line of the log each. Files are read where that holds
//! up nobody.

use crate::config::{Config, db};
use crate::service::Stop;
use net::tls::{Certificates, Change, Source};
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::Signal;
use tokio::time::{MissedTickBehavior, interval};

/// How often the files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// What a listener serves, or nothing if its TLS is off.
pub fn open(config: &Config, settings: &db::Tls) -> Result<Option<Arc<Certificates>>, Stop> {
    if !settings.enabled {
        return Ok(None);
    }
    let source = match (&settings.cert_file, &settings.key_file) {
        (Some(certificate), Some(key)) => {
            Source::Files { certificate: config.path(&certificate.0), key: config.path(&key.0) }
        }
        _ => Source::SelfSigned { directory: config.path("tls"), names: names(config) },
    };
    let clients = settings.client_ca_file.as_ref().map(|path| config.path(&path.0));
    let certificates = Certificates::open(source, clients.as_deref()).map_err(Stop::config)?;
    for warning in certificates.warnings() {
        tracing::warn!("{warning}");
    }
    Ok(Some(Arc::new(certificates)))
}

/// Both listeners have one self-signed certificate, which names where both listen.
fn names(config: &Config) -> Vec<String> {
    let http = config.service.iter().map(|service| service.http.host.0);
    std::iter::once(config.db.address.0).chain(http).map(|address| address.to_string()).collect()
}

/// For the line that says where a listener listens.
pub fn describe(certificates: Option<&Certificates>) -> String {
    match certificates {
        Some(certificates) => {
            let clients = match certificates.asks_clients() {
                true => ", clients must show a certificate",
                false => "",
            };
            format!("(TLS 1.3, fingerprint {}{clients})", certificates.fingerprint())
        }
        None => "(no TLS: everything is sent in the clear)".to_owned(),
    }
}

/// Looks at the files now and then, and on SIGHUP, for as long as it is polled.
pub async fn watch(all: Vec<(&'static str, Arc<Certificates>)>, mut hangup: Signal) {
    let mut clock = interval(LOOK_EVERY);
    clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
    clock.tick().await; // The first is at once, and they have just been read.
    loop {
        let asked = tokio::select! {
            Some(()) = hangup.recv() => true,
            _ = clock.tick() => false,
        };
        for (listener, certificates) in &all {
            let looking = Arc::clone(certificates);
            let looked = tokio::task::spawn_blocking(move || looking.refresh(asked)).await;
            let changes = looked.unwrap_or_else(|error| {
                tracing::error!(listener, %error, "looking at the certificates failed");
                Vec::new()
            });
            if asked && changes.is_empty() {
                tracing::info!(listener, "SIGHUP: the certificate's files are as they were");
            }
            changes.into_iter().for_each(|change| tell(listener, change));
        }
    }
}

fn tell(listener: &str, change: Change) {
    match change {
        Change::Renewed => {
            tracing::info!(
                listener,
                "the self-signed certificate was renewed, its fingerprint stays"
            );
        }
        Change::Reloaded { before, now, warnings } => {
            warnings.iter().for_each(|warning| tracing::warn!(listener, "{warning}"));
            if before == now {
                tracing::info!(listener, "a new certificate is served, its fingerprint stays");
            } else {
                tracing::warn!(
                    listener, %before, %now,
                    "a new certificate is served: clients that have pinned the fingerprint before \
                     must pin the one of now"
                );
            }
        }
        Change::Clients => {
            tracing::info!(listener, "clients must show certificates of the authorities of now");
        }
        Change::Refused(error) => {
            tracing::error!(listener, "the certificate served until now serves on: {error}");
        }
        Change::Ends(days) => {
            tracing::warn!(
                listener,
                days,
                "the certificate ends soon: replace tls.cert_file and tls.key_file"
            );
        }
    }
}
