//! A replica's side of replication: its data to begin with, and the link to its primary.
//!
//! ```text
//! begin.rs   before the data is opened: made from a snapshot, where there is none
//! link.rs    while the service runs: page after page of the primary's log
//! ```
//!
//! Invariants: the primary is called with the key of a file that its owner alone may read,
//! and only if it shows the certificate that is pinned. All that is decided about commits
//! is decided by the engine; here bytes are carried, failures are told once, and tried
//! again after pauses that grow.

mod begin;
mod link;

pub use begin::begin;
pub use link::{Ended, follow};

use crate::config::Config;
use crate::config::db::Replica;
use crate::service::Stop;
use engine::ReplicaOptions;
use planck_client::{ConnectOptions, Connection, Security};
use proto::{Reply, Request, Status};
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

/// How long an answer may take, beyond what it waits for.
const ANSWER: Duration = Duration::from_secs(30);
/// Bytes of the longest key.
const MAX_KEY: u64 = 1024;

/// Where the primary is, and how it is called.
#[derive(Clone)]
pub struct Primary {
    address: String,
    security: Security,
    user: String,
    key: String,
    /// What this replica is called there.
    pub name: String,
    /// Bytes that are asked for at once.
    pub window: u32,
}

/// Why a call came to nothing.
pub enum Failure {
    /// The primary refuses, and says why.
    Refused(Status, String),
    /// There is no answer.
    Lost(String),
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Failure::Refused(status, message) => write!(f, "{status}: {message}"),
            Failure::Lost(why) => f.write_str(why),
        }
    }
}

/// What the engine is told of this server's part.
pub fn options(config: &Config, bootstraps: u64) -> ReplicaOptions {
    let settings = &config.db.replica;
    ReplicaOptions {
        primary: settings.enabled.then(|| address(settings)),
        name: settings.name.0.clone(),
        bootstraps,
    }
}

fn address(settings: &Replica) -> String {
    let host = &settings.address.0;
    match host.contains(':') {
        true => format!("[{host}]:{}", settings.port),
        false => format!("{host}:{}", settings.port),
    }
}

impl Primary {
    /// The one that db.yaml names; `None`: none is followed.
    ///
    /// # Errors
    /// The key cannot be used.
    pub fn of(config: &Config) -> Result<Option<Primary>, Stop> {
        let settings = &config.db.replica;
        if !settings.enabled {
            return Ok(None);
        }
        let security = match &settings.fingerprint {
            Some(fingerprint) => Security::Pinned(fingerprint.0),
            None => Security::Plaintext,
        };
        Ok(Some(Primary {
            address: address(settings),
            security,
            user: settings.uid.0.clone(),
            key: key(config, settings)?,
            name: settings.name.0.clone(),
            window: u32::try_from(settings.window.get()).unwrap_or(u32::MAX),
        }))
    }

    async fn connect(&self) -> Result<Connection, Failure> {
        let options = ConnectOptions { call_timeout: ANSWER, ..ConnectOptions::default() };
        let connecting =
            Connection::connect(&self.address, self.security, &self.user, &self.key, options);
        connecting.await.map_err(|error| match error {
            planck_client::Error::Refused { status, message } => Failure::Refused(status, message),
            other => Failure::Lost(other.to_string()),
        })
    }
}

/// Asks, and gives the document that is answered.
async fn ask(to: &mut Connection, request: &Request<'_>) -> Result<Vec<u8>, Failure> {
    let packet = to.call(request).await.map_err(|error| Failure::Lost(error.to_string()))?;
    match Reply::decode(&packet) {
        Ok((_, Reply::Document(document))) => Ok(document.to_vec()),
        Ok((_, Reply::Error { status, message })) => {
            Err(Failure::Refused(status, message.to_owned()))
        }
        Ok(_) => Err(Failure::Lost("the primary answered with no document".to_owned())),
        Err(error) => Err(Failure::Lost(error.to_string())),
    }
}

fn key(config: &Config, settings: &Replica) -> Result<String, Stop> {
    let path = config.path(&settings.key_file.0);
    let refused = |why: String| {
        Stop::config(format!(
            "db.yaml: replica.key_file is {}, {why}: put the key of the primary's user {} there, \
             and make the file readable by its owner alone (chmod 600)",
            path.display(),
            settings.uid
        ))
    };
    let about =
        std::fs::metadata(&path).map_err(|e| refused(format!("which cannot be read: {e}")))?;
    if about.mode() & 0o077 != 0 {
        return Err(refused("which others than its owner may read".to_owned()));
    }
    if about.len() > MAX_KEY {
        return Err(refused(format!("which has {} bytes, and a key has fewer", about.len())));
    }
    let key = std::fs::read_to_string(&path)
        .map_err(|e| refused(format!("which cannot be read: {e}")))?;
    let key = key.trim().to_owned();
    if key.is_empty() {
        return Err(refused("which is empty".to_owned()));
    }
    Ok(key)
}

/// Pauses between attempts, that grow.
#[derive(PartialEq)]
struct Pauses(Duration);

impl Pauses {
    const FIRST: Duration = Duration::from_millis(100);
    const LONGEST: Duration = Duration::from_secs(5);

    fn new() -> Pauses {
        Pauses(Pauses::FIRST)
    }

    fn next(&mut self) -> Duration {
        let pause = self.0;
        self.0 = (self.0 * 2).min(Pauses::LONGEST);
        pause
    }

    fn begin_anew(&mut self) {
        self.0 = Pauses::FIRST;
    }
}
