//! The server that is attacked, and how much memory it has.

use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use proto::doc::{DocBuf, Value};
use proto::{Key, Request, Status};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tests::Planck;

use crate::Scale;
use crate::peer::{Peer, Way, encoded};

/// Where honest clients come from.
pub const HOME: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
/// The store of the honest client, and that of the attackers.
pub const HONEST: &str = "honest";
pub const FIELD: &str = "field";
/// The document that is asked for.
pub const KEY: Key = Key(7);
/// The user that attackers are when they are let in: may write, not drop.
pub const MALLORY: &str = "mallory";

/// A running `planck` with a little data in it.
pub struct Victim {
    planck: Planck,
    pub way: Way,
    pub admin_key: String,
    /// The key of [`MALLORY`].
    pub key: String,
    pub memory: Memory,
    /// Dropped last: the server's directory.
    _dir: tempfile::TempDir,
}

impl Victim {
    pub async fn start(program: &Path, scale: &Scale) -> Result<Victim, String> {
        // Room for the sessions of the attack, and for those of everybody else.
        let sessions = scale.sessions + scale.readers + 64;
        // All attackers share the lock of this machine: a second of it is enough to meet it.
        let yaml = format!(
            "port: 0\nmax_sessions: {sessions}\nlogging:\n  level: error\nsecurity:\n  \
             lockout_duration_ms: 1000\n  lockout_multiplier: 1\n"
        );
        let dir = tests::service_dir(&yaml, None);
        let planck = Planck::start_program(program, dir.path())?;
        let read = |path: &str| {
            fs::read_to_string(dir.path().join(path)).map_err(|e| format!("{path}: {e}"))
        };
        let admin_key = read("admin.key")?.trim().to_owned();
        let way = Way { address: planck.wire, tls: trust(&dir.path().join("tls/cert.pem"))? };
        let memory = Memory::watch(planck.pid());
        let mut victim = Victim { planck, way, admin_key, key: String::new(), memory, _dir: dir };
        victim.furnish().await?;
        Ok(victim)
    }

    async fn furnish(&mut self) -> Result<(), String> {
        self.key = "the key of mallory, 32 bytes long".replace([' ', ','], "-");
        let user = definition(|d| {
            d.push("role", "read_write").push("key", self.key.as_str());
        })?;
        let mut admin = self.admin().await?;
        for store in [HONEST, FIELD] {
            done(&mut admin, &Request::CreateStore { store, if_not_exists: false }).await?;
        }
        let made = Request::CreateUser { user: MALLORY, if_not_exists: false, definition: &user };
        done(&mut admin, &made).await?;
        let asked = document(400)?;
        let put = Request::Insert { store: HONEST, key: Some(KEY), document: &asked };
        done(&mut admin, &put).await?;
        // What slow readers ask for: some megabytes.
        let large = document(100_000)?;
        for n in 1..=60 {
            let put = Request::Insert { store: FIELD, key: Some(Key(n)), document: &large };
            done(&mut admin, &put).await?;
        }
        Ok(())
    }

    /// The process.
    pub fn pid(&self) -> u32 {
        self.planck.pid()
    }

    /// A session of the admin's.
    pub async fn admin(&self) -> Result<Peer, String> {
        let session = self.way.session(HOME, "admin", &self.admin_key).await;
        session.map_err(|e| format!("an honest client is not let in: {e}"))
    }

    /// Whether who comes now, with the right key, is let in and gets the right answer.
    pub async fn check_newcomer(&self) -> Result<(), String> {
        let mut peer = self.admin().await?;
        done(&mut peer, &Request::Read { store: HONEST, key: KEY }).await
    }

    /// Ends it as an operator would.
    pub async fn stop(self) -> Result<(), String> {
        let ended = tokio::task::spawn_blocking(|| self.planck.stop()).await;
        match ended.map_err(|e| e.to_string())? {
            (Some(0), _) => Ok(()),
            (code, lines) => Err(format!("planck ended with {code:?}:\n{}", lines.join("\n"))),
        }
    }
}

/// Carries out one request of an honest client.
pub async fn done(peer: &mut Peer, request: &Request<'_>) -> Result<(), String> {
    let name = request.opcode().name();
    match peer.ask(&encoded(1, request)).await {
        Ok((Status::Ok, _)) => Ok(()),
        Ok((status, message)) => Err(format!("{name} was refused: {status}: {message}")),
        Err(error) => Err(format!("{name} was not answered: {error}")),
    }
}

fn definition(fill: impl FnOnce(&mut DocBuf)) -> Result<Vec<u8>, String> {
    let mut doc = DocBuf::new();
    fill(&mut doc);
    doc.finish().map_err(|e| e.to_string())
}

/// A document with so many bytes of text in it.
pub fn document(bytes: usize) -> Result<Vec<u8>, String> {
    let text = "abcdefgh".repeat(bytes.div_ceil(8));
    definition(|d| {
        d.push("n", Value::Int64(7)).push("text", text.as_str());
    })
}

/// TLS 1.3, and the certificate of this server.
fn trust(certificate: &Path) -> Result<Arc<rustls::ClientConfig>, String> {
    let bad = |e: &dyn std::fmt::Display| format!("{}: {e}", certificate.display());
    let mut roots = rustls::RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_file(certificate).map_err(|e| bad(&e))?)
        .map_err(|e| bad(&e))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|e| e.to_string())?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"planck/1".to_vec()];
    Ok(Arc::new(config))
}

/// The resident memory of a process, looked at all the time.
pub struct Memory {
    pid: u32,
    peak: Arc<AtomicU64>,
    first: Mutex<u64>,
    ended: Arc<AtomicBool>,
    watching: Option<JoinHandle<()>>,
}

/// KiB of memory: at the beginning of something, at most, and after it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Held {
    pub before: u64,
    pub peak: u64,
    pub after: u64,
}

impl Memory {
    pub fn watch(pid: u32) -> Memory {
        let (peak, ended) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let watching = std::thread::spawn({
            let (peak, ended) = (Arc::clone(&peak), Arc::clone(&ended));
            move || {
                while !ended.load(Ordering::Relaxed) {
                    peak.fetch_max(resident(pid).unwrap_or(0), Ordering::Relaxed);
                    std::thread::sleep(Duration::from_millis(20));
                }
            }
        });
        Memory { pid, peak, first: Mutex::new(0), ended, watching: Some(watching) }
    }

    pub fn begin(&self) {
        let now = resident(self.pid).unwrap_or(0);
        *self.first.lock().unwrap_or_else(PoisonError::into_inner) = now;
        self.peak.store(now, Ordering::Relaxed);
    }

    pub fn end(&self) -> Result<Held, String> {
        let after = resident(self.pid).ok_or("planck has ended")?;
        let before = *self.first.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(Held { before, peak: self.peak.load(Ordering::Relaxed).max(after), after })
    }

    /// KiB resident now.
    pub fn now(&self) -> Result<u64, String> {
        resident(self.pid).ok_or_else(|| "planck has ended".to_owned())
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        if let Some(watching) = self.watching.take() {
            watching.join().ok();
        }
    }
}

fn resident(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix(" kB")?.trim().parse().ok()
}
