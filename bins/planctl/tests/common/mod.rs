//! A wire server over [`memory::Memory`], and planctl run against it.
#![allow(clippy::unwrap_used)] // Helpers of tests.
#![allow(dead_code)] // Each test binary uses a part.

pub(crate) mod memory;
pub(crate) mod real;

use memory::Memory;
use net::tls::Identity;
use net::wire::{Call, WireHandler, WireOptions};
use net::{Security, Server};
use proto::Status;
use proto::doc::Doc;
use proto::json::to_json;
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

pub(crate) const SECRET: &str = "a-secret";

/// Every third request takes so many milliseconds longer than the others.
type Uneven = Arc<AtomicU64>;

struct Handler {
    memory: Arc<Mutex<Memory>>,
    uneven: Uneven,
    asked: AtomicU64,
}

impl WireHandler for Handler {
    type Session = ();

    fn authenticate(&self, user: &str, key: &str, _: SocketAddr) -> Result<(), (Status, String)> {
        if (user, key) == ("admin", SECRET) {
            return Ok(());
        }
        Err((Status::BadCredentials, "the user or the key is wrong".to_owned()))
    }

    fn handle(&self, _: &(), packet: &[u8], _: &Call, out: &mut Vec<u8>) {
        if self.asked.fetch_add(1, Ordering::Relaxed).is_multiple_of(3) {
            std::thread::sleep(Duration::from_millis(self.uneven.load(Ordering::Relaxed)));
        }
        self.memory.lock().unwrap().handle(packet, out);
    }
}

/// A server, the directory it pretends to run in, and its memory.
pub(crate) struct Service {
    runtime: tokio::runtime::Runtime,
    server: Option<Server>,
    pub(crate) memory: Arc<Mutex<Memory>>,
    pub(crate) uneven: Uneven,
    pub(crate) dir: tempfile::TempDir,
    pub(crate) address: SocketAddr,
    pub(crate) fingerprint: String,
}

impl Service {
    pub(crate) fn start() -> Service {
        Service::serving(true)
    }

    pub(crate) fn without_tls() -> Service {
        Service::serving(false)
    }

    fn serving(tls: bool) -> Service {
        let dir = tempfile::tempdir().unwrap();
        let identity = Identity::load_or_create(&dir.path().join("tls"), &[]).unwrap();
        let security = if tls { identity.wire().unwrap() } else { Security::Plaintext };
        let memory = Arc::new(Mutex::new(Memory::default()));
        let uneven = Uneven::default();
        let options =
            WireOptions { failed_auth_delay: Duration::from_millis(1), ..Default::default() };
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let listening = net::wire::serve(
            ([127, 0, 0, 1], 0).into(),
            security,
            options,
            Handler { memory: memory.clone(), uneven: uneven.clone(), asked: AtomicU64::new(0) },
        );
        let server = runtime.block_on(listening).unwrap();
        let address = server.address();
        let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
        std::fs::create_dir(dir.path().join("run")).unwrap();
        write("run/wire.addr", &format!("{address}\n"));
        write("admin.key", &format!("{SECRET}\n"));
        if !tls {
            write("db.yaml", "tls:\n  enabled: false\n");
        }
        let fingerprint = identity.fingerprint.to_string();
        Service { runtime, server: Some(server), memory, uneven, dir, address, fingerprint }
    }

    /// Ends the server; the directory stays.
    pub(crate) fn stop(&mut self) {
        if let Some(server) = self.server.take() {
            self.runtime.block_on(server.drain());
        }
    }

    /// Runs `planctl ARGS --dir DIR`.
    pub(crate) fn run(&self, args: &[&str]) -> Ran {
        self.run_with(args, b"")
    }

    /// The same, with this on standard input.
    pub(crate) fn run_with(&self, args: &[&str], input: &[u8]) -> Ran {
        let dir = self.dir.path().to_str().unwrap();
        planctl(&[args, &["--dir", dir]].concat(), input)
    }

    /// Puts a file into the directory.
    pub(crate) fn file(&self, name: &str, text: &str) -> String {
        let path = self.dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Every document of a store as `key json`, in order.
    pub(crate) fn documents(&self, store: &str) -> Vec<String> {
        let memory = self.memory.lock().unwrap();
        let docs = memory.stores[store].iter();
        docs.map(|(key, doc)| format!("{key} {}", to_json(Doc::parse(doc).unwrap()))).collect()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.stop();
    }
}

/// What a run of planctl left.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ran {
    /// Its standard output, if it succeeded.
    #[track_caller]
    pub(crate) fn ok(self) -> String {
        assert_eq!(self.code, 0, "{self:?}");
        self.out
    }

    /// Fails unless it ended with `code`, printed no data and said `says`.
    #[track_caller]
    pub(crate) fn fails(self, code: i32, says: &str) {
        assert_eq!(self.code, code, "{self:?}");
        assert!(self.err.contains(says), "{}", self.err);
        assert_eq!(self.out, "");
    }
}

/// The binary, with nothing of the tester's surroundings.
pub(crate) fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_planctl"));
    command.args(args).env_clear().current_dir(Path::new("/"));
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

pub(crate) fn planctl(args: &[&str], input: &[u8]) -> Ran {
    let mut child = command(args).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // It may end before it has read all.
    stdin.write_all(input).ok();
    drop(stdin);
    let Output { status, stdout, stderr } = child.wait_with_output().unwrap();
    Ran {
        code: status.code().expect("it ends by itself"),
        out: String::from_utf8(stdout).unwrap(),
        err: String::from_utf8(stderr).unwrap(),
    }
}
