//! A wire server over the real engine, on a disk in memory.
#![allow(clippy::unwrap_used)] // Helpers of tests.

use super::{Ran, SECRET, planctl};
use engine::{Engine, Limits, Options, Principal, Role};
use net::tls::Identity;
use net::wire::{Call, WireHandler, WireOptions};
use net::{Security, Server};
use platform::real::{RealClock, RealEntropy};
use platform::sim::SimDisk;
use proto::doc::Doc;
use proto::json::parse_json;
use proto::request::BatchBuf;
use proto::{Key, Reply, Request, Status};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Milliseconds a fetch takes longer.
type Slow = Arc<AtomicU64>;

struct Handler {
    engine: Arc<Engine>,
    slow: Slow,
}

/// As `planck` has it: cursors go with their session.
struct Caller(Arc<Engine>, Principal);

impl Drop for Caller {
    fn drop(&mut self) {
        self.0.end_session(&self.1);
    }
}

impl WireHandler for Handler {
    type Session = Caller;

    fn authenticate(
        &self,
        user: &str,
        key: &str,
        _: SocketAddr,
    ) -> Result<Caller, (Status, String)> {
        // The admin's hash would cost every test its time.
        let who = match key == SECRET {
            true => Principal::new(user, Role::Admin).in_session(self.engine.begin_session()),
            false => {
                let known = self.engine.authenticate(user, key);
                known.map_err(|refusal| (refusal.status, refusal.message))?
            }
        };
        Ok(Caller(self.engine.clone(), who))
    }

    fn handle(&self, caller: &Caller, packet: &[u8], _: &Call, out: &mut Vec<u8>) {
        if let Ok((_, Request::Fetch { .. })) = Request::decode(packet) {
            std::thread::sleep(Duration::from_millis(self.slow.load(Ordering::Relaxed)));
        }
        self.engine.dispatch_packet(&caller.1, packet, out);
    }
}

/// A server, its engine, and the directory it pretends to run in.
pub(crate) struct Real {
    runtime: tokio::runtime::Runtime,
    server: Mutex<Option<Server>>,
    pub(crate) engine: Arc<Engine>,
    pub(crate) slow: Slow,
    pub(crate) dir: tempfile::TempDir,
}

impl Real {
    pub(crate) fn start(limits: Limits) -> Real {
        Real::serving(limits, None)
    }

    /// Under TLS, and so by QUIC too.
    pub(crate) fn under_tls(limits: Limits) -> Real {
        let keys = tempfile::tempdir().unwrap();
        let identity = Identity::load_or_create(&keys.path().join("tls"), &[]).unwrap();
        Real::serving(limits, Some((keys, identity)))
    }

    fn serving(limits: Limits, tls: Option<(tempfile::TempDir, Identity)>) -> Real {
        let options = Options { limits, ..Options::default() };
        let (clock, entropy) = (Arc::new(RealClock::new()), Arc::new(RealEntropy));
        let engine = Arc::new(Engine::open(SimDisk::new(1), clock, entropy, options).unwrap());
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let slow = Slow::default();
        let handler = Handler { engine: engine.clone(), slow: slow.clone() };
        let (address, options) = (([127, 0, 0, 1], 0).into(), WireOptions::default());
        let security = match &tls {
            Some((_, identity)) => identity.wire().unwrap(),
            None => Security::Plaintext,
        };
        let listening = net::wire::serve(address, security, options, handler);
        let server = runtime.block_on(listening).unwrap();
        let encrypted = tls.is_some();
        let dir = tls.map_or_else(|| tempfile::tempdir().unwrap(), |(dir, _)| dir);
        std::fs::create_dir(dir.path().join("run")).unwrap();
        let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
        write("run/wire.addr", &format!("{}\n", server.address()));
        write("admin.key", &format!("{SECRET}\n"));
        if !encrypted {
            write("db.yaml", "tls:\n  enabled: false\n");
        }
        Real { runtime, server: Mutex::new(Some(server)), engine, slow, dir }
    }

    /// Asks the engine itself; what is refused fails.
    #[track_caller]
    pub(crate) fn ask(&self, request: &Request<'_>) -> Vec<u8> {
        let (mut packet, mut out) = (Vec::new(), Vec::new());
        request.encode(1, &mut packet);
        self.engine.dispatch_packet(&Principal::new("test", Role::Admin), &packet, &mut out);
        let reply = Reply::decode(&out).unwrap().1;
        assert!(!matches!(reply, Reply::Error { .. }), "{reply:?}");
        out
    }

    /// Makes a store of these documents, under keys from 0 on.
    pub(crate) fn fill(&self, store: &str, documents: impl Iterator<Item = String>) {
        self.ask(&Request::CreateStore { store, if_not_exists: false });
        let mut batch = BatchBuf::new();
        for (key, text) in documents.enumerate() {
            batch.push(Some(Key(key as u128)), &parse_json(&text).unwrap());
            if batch.bytes() > 40_000 {
                self.ask(&Request::BatchInsert { store, batch: batch.as_batch() });
                batch.clear();
            }
        }
        self.ask(&Request::BatchInsert { store, batch: batch.as_batch() });
    }

    /// A figure of the stats.
    pub(crate) fn figure(&self, name: &str) -> i64 {
        let stats = self.engine.stats().unwrap();
        Doc::parse(&stats).unwrap().path(name).and_then(|v| v.as_i64()).unwrap()
    }

    /// Runs `planctl ARGS --dir DIR`.
    pub(crate) fn run(&self, args: &[&str]) -> Ran {
        planctl(&[args, &["--dir", self.dir.path().to_str().unwrap()]].concat(), b"")
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }
}

impl Drop for Real {
    fn drop(&mut self) {
        if let Some(server) = self.server.lock().unwrap().take() {
            self.runtime.block_on(server.drain());
        }
    }
}
