//! The certificates of a listener over its life: renewed, reloaded, swapped.
//!
//! What must stay true: what is served is always a whole pair that fits, swapped at
//! once; sessions that have begun go on with the one they began with. What lies in
//! the files and cannot be served leaves what is served as it is, and is said once,
//! not at every look. The key of a certificate made here is never replaced.

use super::clients::{Clients, authorities};
use super::identity::{Identity, TlsError, WARN_DAYS, make, read};
use super::{ALPN_HTTP, ALPN_WIRE, server_config};
use crate::Security;
use proto::Fingerprint;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

/// How often an end that comes near is told.
const REMIND: Duration = Duration::from_secs(24 * 60 * 60);

/// Where a certificate comes from.
#[derive(Clone, Debug)]
pub enum Source {
    /// Made in a directory, for localhost and these names, and made anew near its end.
    SelfSigned {
        /// Of `cert.pem` and `key.pem`.
        directory: PathBuf,
        /// Host names or addresses.
        names: Vec<String>,
    },
    /// `tls.cert_file`, `tls.key_file`.
    Files {
        /// The chain, server's certificate first.
        certificate: PathBuf,
        /// Its key.
        key: PathBuf,
    },
}

/// What a look at the files came to.
#[derive(Debug)]
pub enum Change {
    /// The self-signed certificate was made anew, for the same key.
    Renewed,
    /// Other files than before: new connections are served them.
    Reloaded {
        /// What clients have pinned.
        before: Fingerprint,
        /// What they must pin from now on.
        now: Fingerprint,
        /// Sentences for the operator.
        warnings: Vec<String>,
    },
    /// The authorities of clients are others than before.
    Clients,
    /// What lies in the files cannot be served, and why; what was served still is.
    Refused(TlsError),
    /// The certificate that was brought along ends in so many days.
    Ends(u64),
}

/// What is served now.
#[derive(Debug)]
pub(super) struct Served(RwLock<Arc<CertifiedKey>>);

impl Served {
    pub(super) fn new(pair: CertifiedKey) -> Served {
        Served(RwLock::new(Arc::new(pair)))
    }

    fn set(&self, pair: CertifiedKey) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(pair);
    }
}

impl ResolvesServerCert for Served {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.read().unwrap_or_else(PoisonError::into_inner).clone())
    }
}

/// Files whose content is watched.
#[derive(Debug)]
struct Watch {
    /// Of the content that is served.
    served: [u8; 32],
    /// What was said last of content that is not.
    refused: Option<String>,
}

fn digest(parts: &[&[u8]]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}

impl Watch {
    /// Whether a refusal is to be told: it is another one, or somebody asked.
    fn tells(&mut self, refusal: &TlsError, asked: bool) -> bool {
        let text = Some(refusal.to_string());
        let is_new = text != self.refused;
        self.refused = text;
        is_new || asked
    }

    fn serves(&mut self, content: [u8; 32]) {
        (self.served, self.refused) = (content, None);
    }
}

#[derive(Debug)]
struct State {
    pair: Watch,
    clients: Watch,
    identity: Identity,
    reminded: Option<SystemTime>,
}

/// See the top of the file.
#[derive(Debug)]
pub struct Certificates {
    source: Source,
    served: Arc<Served>,
    clients: Option<(PathBuf, Arc<Clients>)>,
    state: Mutex<State>,
}

impl Source {
    fn files(&self) -> (PathBuf, PathBuf) {
        match self {
            Source::SelfSigned { directory, .. } => {
                (directory.join("cert.pem"), directory.join("key.pem"))
            }
            Source::Files { certificate, key } => (certificate.clone(), key.clone()),
        }
    }

    /// What lies in the files.
    fn read(&self) -> Result<Found, TlsError> {
        let (certificate, key) = self.files();
        let (chain, secret) = (read(&certificate)?, read(&key)?);
        Ok(Found { certificate, chain, key, secret })
    }
}

/// What lay in the files of a pair.
struct Found {
    certificate: PathBuf,
    chain: Vec<u8>,
    key: PathBuf,
    secret: Vec<u8>,
}

impl Found {
    fn digest(&self) -> [u8; 32] {
        digest(&[&self.chain, &self.secret])
    }

    fn parse(&self) -> Result<Identity, TlsError> {
        Identity::parse(&self.certificate, &self.chain, &self.key, &self.secret)
    }
}

impl Certificates {
    /// Loads what `source` names, making or renewing it if it is to be made here.
    /// `client_ca`: the authorities whose certificates clients must show.
    ///
    /// # Errors
    /// A file that is not there or cannot be used; it is named.
    pub fn open(source: Source, client_ca: Option<&Path>) -> Result<Certificates, TlsError> {
        Certificates::open_at(source, client_ca, SystemTime::now())
    }

    fn open_at(
        source: Source,
        client_ca: Option<&Path>,
        now: SystemTime,
    ) -> Result<Certificates, TlsError> {
        let mut warnings = Vec::new();
        if let Source::SelfSigned { directory, names } = &source {
            warnings = Identity::kept(directory, names, now)?.warnings;
        }
        let found = source.read()?;
        let mut identity = found.parse()?;
        warnings.retain(|warning| !identity.warnings.contains(warning));
        identity.warnings.append(&mut warnings);
        if let Source::Files { certificate, .. } = &source
            && !identity.validity.holds(now)
        {
            let refusal = TlsError::NotValid { path: certificate.clone() };
            identity.warnings.push(format!("{refusal}; it is served all the same"));
        }
        let served = Arc::new(Served::new(identity.certified().map_err(TlsError::Refused)?));
        let mut watch = Watch { served: [0; 32], refused: None };
        let clients = match client_ca {
            None => None,
            Some(path) => {
                let pem = read(path)?;
                watch.serves(digest(&[&pem]));
                Some((path.to_owned(), Arc::new(Clients::new(authorities(path, &pem)?))))
            }
        };
        let pair = Watch { served: found.digest(), refused: None };
        let state = Mutex::new(State { pair, clients: watch, identity, reminded: None });
        Ok(Certificates { source, served, clients, state })
    }

    /// For [`crate::wire::serve`].
    ///
    /// # Errors
    /// TLS cannot be configured.
    pub fn wire(&self) -> Result<Security, TlsError> {
        self.security(&[ALPN_WIRE])
    }

    /// For [`crate::http::serve`]: HTTP/2 preferred, HTTP/1.1 as well.
    ///
    /// # Errors
    /// TLS cannot be configured.
    pub fn http(&self) -> Result<Security, TlsError> {
        self.security(&ALPN_HTTP)
    }

    fn security(&self, alpn: &[&[u8]]) -> Result<Security, TlsError> {
        let clients = self.clients.as_ref().map(|(_, clients)| clients.clone());
        let clients = clients.map(|clients| clients as Arc<dyn ClientCertVerifier>);
        server_config(self.served.clone(), clients, alpn).map(Security::Tls)
    }

    /// What clients pin now.
    pub fn fingerprint(&self) -> Fingerprint {
        self.state().identity.fingerprint
    }

    /// When what is served now ends, in seconds since 1970.
    pub fn ends(&self) -> u64 {
        self.state().identity.validity.ends()
    }

    /// Sentences for the operator; it works all the same.
    pub fn warnings(&self) -> Vec<String> {
        self.state().identity.warnings.clone()
    }

    /// Whether clients must show a certificate.
    pub fn asks_clients(&self) -> bool {
        self.clients.is_some()
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        // Nothing is left half-done in it if a holder panicked.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks at the files, and serves from now on what they hold if that can be served.
    /// Renews what is to be renewed. `asked`: somebody wants to know, so that what was
    /// said before is said again. Reads files: for a thread that may block.
    pub fn refresh(&self, asked: bool) -> Vec<Change> {
        self.refresh_at(asked, SystemTime::now())
    }

    fn refresh_at(&self, asked: bool, now: SystemTime) -> Vec<Change> {
        let mut changes = Vec::new();
        let mut state = self.state();
        match self.look(&mut state, now) {
            Ok(change) => changes.extend(change),
            Err(error) if state.pair.tells(&error, asked) => changes.push(Change::Refused(error)),
            Err(_) => {}
        }
        if let Some((path, clients)) = &self.clients {
            let read = read(path).and_then(|pem| {
                let content = digest(&[&pem]);
                let is_new = content != state.clients.served;
                let verifier = is_new.then(|| authorities(path, &pem)).transpose()?;
                Ok((content, verifier))
            });
            match read {
                Ok((content, verifier)) => {
                    state.clients.serves(content);
                    if let Some(verifier) = verifier {
                        clients.set(verifier);
                        changes.push(Change::Clients);
                    }
                }
                Err(error) if state.clients.tells(&error, asked) => {
                    changes.push(Change::Refused(error));
                }
                Err(_) => {}
            }
        }
        changes.extend(self.reminder(&mut state, asked, now));
        changes
    }

    /// Serves what the files hold; renews it if it is ours and near its end. In this
    /// order: another listener of this service may have renewed it already.
    fn look(&self, state: &mut State, now: SystemTime) -> Result<Option<Change>, TlsError> {
        let change = self.pair(state, now)?;
        match &self.source {
            Source::SelfSigned { directory, names } if state.identity.is_due(now) => {
                make(directory, names, now)?;
                Ok(self.pair(state, now)?.and(Some(Change::Renewed)))
            }
            _ => Ok(change),
        }
    }

    /// Serves the pair in the files, if it is another one and can be served.
    fn pair(&self, state: &mut State, now: SystemTime) -> Result<Option<Change>, TlsError> {
        let found = self.source.read()?;
        let content = found.digest();
        if content == state.pair.served {
            state.pair.refused = None;
            return Ok(None);
        }
        let identity = found.parse()?;
        if !identity.validity.holds(now) {
            return Err(TlsError::NotValid { path: self.source.files().0 });
        }
        self.served.set(identity.certified().map_err(TlsError::Refused)?);
        state.pair.serves(content);
        let before = std::mem::replace(&mut state.identity, identity).fingerprint;
        state.reminded = None;
        let warnings = state.identity.warnings.clone();
        Ok(Some(Change::Reloaded { before, now: state.identity.fingerprint, warnings }))
    }

    /// Says once a day that the certificate of somebody else ends soon.
    fn reminder(&self, state: &mut State, asked: bool, now: SystemTime) -> Option<Change> {
        let ours = matches!(self.source, Source::SelfSigned { .. });
        if ours || !state.identity.validity.is_over_within(WARN_DAYS, now) {
            return None;
        }
        let said = state.reminded.and_then(|then| now.duration_since(then).ok());
        if !asked && said.is_some_and(|ago| ago < REMIND) {
            return None;
        }
        state.reminded = Some(now);
        Some(Change::Ends(state.identity.validity.days_left(now)))
    }
}

#[cfg(test)]
mod tests;
