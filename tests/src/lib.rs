//! What the end-to-end tests share: a built `planck` run as a process in a
//! directory of its own, and `planctl` run against it.
//!
//! Invariant: no process outlives its test: [`Planck`] kills its own when dropped.

pub mod asker;
pub mod browser;
pub mod edge;
pub mod metrics;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// How long a start may take: a debug build compiles its guest slowly.
const START: Duration = Duration::from_secs(120);

/// A program of this workspace, as `cargo test --workspace` built it.
pub fn program(name: &str) -> PathBuf {
    let path = built().join(name);
    assert!(path.exists(), "{} is not built: run `cargo build --workspace`", path.display());
    path
}

/// target/PROFILE, where this test was built.
fn built() -> PathBuf {
    let test = std::env::current_exe().expect("a test has a path");
    test.ancestors().nth(2).expect("tests lie in target/PROFILE/deps").to_path_buf()
}

/// The repository.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests is a folder of it").to_path_buf()
}

/// The flights guest, as `scripts/build-guest examples/flights` built it.
pub fn flights_module() -> PathBuf {
    guest_module("flights", "scripts/build-guest examples/flights")
}

/// The guest of responses that leave while they are made, as `scripts/build-guest
/// examples/live` built it.
pub fn live_module() -> PathBuf {
    guest_module("live", "scripts/build-guest examples/live")
}

/// The guest of accounts and transfers, as `scripts/build-guest examples/transfer` built it.
pub fn transfer_module() -> PathBuf {
    guest_module("transfer", "scripts/build-guest examples/transfer")
}

/// The guest of the rules, as `scripts/build-guest examples/rules` built it.
pub fn rules_module() -> PathBuf {
    guest_module("rules", "scripts/build-guest examples/rules")
}

/// The guest of lists, as `scripts/build-guest tests/lists` built it.
pub fn lists_module() -> PathBuf {
    guest_module("lists", "scripts/build-guest tests/lists")
}

/// The notes in a language, as `scripts/build-guests` built them.
pub fn notes_module(language: &str) -> PathBuf {
    guest_module(&format!("notes-{language}"), "scripts/build-guests")
}

/// The guest that the README of a language's SDK begins with, as `scripts/build-guests` built it.
pub fn hello_module(language: &str) -> PathBuf {
    guest_module(&format!("hello-{language}"), "scripts/build-guests")
}

fn guest_module(name: &str, command: &str) -> PathBuf {
    let path = built().with_file_name("guest").join(format!("{name}.wasm"));
    assert!(path.exists(), "{} is not built: run `{command}`", path.display());
    path
}

/// A directory for a service, with both files.
pub fn service_dir(db_yaml: &str, service_yaml: Option<&str>) -> tempfile::TempDir {
    let dir =
        tempfile::Builder::new().prefix("planck-test-").tempdir().expect("a temporary directory");
    fs::write(dir.path().join("db.yaml"), db_yaml).expect("db.yaml");
    if let Some(text) = service_yaml {
        fs::write(dir.path().join("service.yaml"), text).expect("service.yaml");
    }
    dir
}

/// A stream of numbers by its seed (splitmix64).
pub struct Seeded(pub u64);

impl Seeded {
    /// The next one, below `n`.
    pub fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let x = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (x ^ (x >> 31)) % n
    }
}

/// A running `planck`.
pub struct Planck {
    child: Child,
    lines: Receiver<String>,
    /// Where the wire listens.
    pub wire: SocketAddr,
    /// Where HTTP listens, if it does.
    pub http: Option<SocketAddr>,
    /// The admin address, if it is on.
    pub admin: Option<SocketAddr>,
    /// Its directory.
    pub dir: PathBuf,
}

impl Planck {
    /// Starts `planck --dir dir` and waits until it says that it is ready.
    ///
    /// # Errors
    /// All it printed, if it ends instead.
    pub fn start(dir: &Path) -> Result<Planck, String> {
        Planck::start_program(&program("planck"), dir)
    }

    /// [`Planck::start`] with a `planck` built elsewhere.
    ///
    /// # Errors
    /// As there.
    pub fn start_program(planck: &Path, dir: &Path) -> Result<Planck, String> {
        Planck::run(Command::new(planck).arg("--dir").arg(dir), dir)
    }

    /// [`Planck::start`] with at most so many open files.
    ///
    /// # Errors
    /// As there.
    pub fn start_with_files(dir: &Path, files: usize) -> Result<Planck, String> {
        let limited = format!("ulimit -n {files}; exec \"$0\" --dir \"$1\"");
        Planck::run(
            Command::new("bash").args(["-c", &limited]).arg(program("planck")).arg(dir),
            dir,
        )
    }

    /// [`Planck::start`] on one processor: it has one network thread then.
    ///
    /// # Errors
    /// As there.
    pub fn start_on_one_processor(dir: &Path) -> Result<Planck, String> {
        let status = fs::read_to_string("/proc/self/status").expect("a process has a status");
        let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
        let list = list.expect("a process has processors").trim();
        let one = list.split(['-', ',']).next().expect("at least one");
        let planck = program("planck");
        Planck::run(
            Command::new("taskset").args(["-c", one]).arg(planck).arg("--dir").arg(dir),
            dir,
        )
    }

    fn run(command: &mut Command, dir: &Path) -> Result<Planck, String> {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("planck starts");
        let lines = collect(&mut child);
        let (mut wire, mut http, mut admin, mut said) = (None, None, None, String::new());
        loop {
            let Ok(line) = lines.recv_timeout(START) else {
                let status = child.wait().map_or_else(|e| e.to_string(), |s| s.to_string());
                return Err(format!("planck ended with {status}:\n{said}"));
            };
            said += &line;
            said.push('\n');
            if let Some(rest) = line.strip_prefix("planck: wire listening on ") {
                wire = rest.split(' ').next().and_then(|address| address.parse().ok());
            }
            if let Some(rest) = line.strip_prefix("planck: http listening on ") {
                let address = rest.split("://").nth(1).unwrap_or(rest);
                http = address.split(' ').next().and_then(|address| address.parse().ok());
            }
            if let Some(rest) = line.strip_prefix("planck: admin listening on http://") {
                admin = rest.split(' ').next().and_then(|address| address.parse().ok());
            }
            if line == "planck: ready" {
                break;
            }
        }
        let wire = wire.expect("planck names its wire address before it is ready");
        Ok(Planck { child, lines, wire, http, admin, dir: dir.to_path_buf() })
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// kill -9.
    pub fn kill(mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it is ours");
    }

    /// SIGTERM; the exit code, and the lines it printed since it was ready.
    pub fn stop(mut self) -> (Option<i32>, Vec<String>) {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args(["-TERM", &pid]).status().expect("kill runs");
        assert!(sent.success(), "planck has gone before it was stopped");
        let status = self.child.wait().expect("it is ours");
        (status.code(), self.lines.iter().collect())
    }

    /// The page of `/metrics`.
    pub fn page(&self) -> metrics::Page {
        let (status, text) = self.look("/metrics");
        assert_eq!(status, 200, "{text}");
        metrics::Page::parse(&text).unwrap_or_else(|why| panic!("{why}"))
    }

    /// One figure of it.
    pub fn figure(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.page().value(name, labels).unwrap_or_else(|| panic!("no {name} {labels:?}"))
    }

    /// Runs `planctl` against it.
    pub fn planctl(&self, arguments: &[&str]) -> Output {
        Command::new(program("planctl"))
            .args(arguments)
            .arg("--dir")
            .arg(&self.dir)
            .stdin(Stdio::null())
            .output()
            .expect("planctl runs")
    }

    /// Runs `planctl`, expects success, and gives what it printed.
    pub fn planctl_ok(&self, arguments: &[&str]) -> String {
        let output = self.planctl(arguments);
        let (out, err) =
            (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "planctl {arguments:?}: {}\n{out}{err}", output.status);
        out.trim_end().to_owned()
    }

    /// A plain HTTP/1.1 request on a connection of its own: status and body.
    pub fn request(&self, method: &str, target: &str, body: &str) -> (u16, String) {
        ask(self.http.expect("HTTP is on"), method, target, "", body)
    }

    /// As [`Planck::request`], with headers of one's own, each ended by `\r\n`.
    pub fn request_with(
        &self,
        method: &str,
        target: &str,
        headers: &str,
        body: &str,
    ) -> (u16, String) {
        ask(self.http.expect("HTTP is on"), method, target, headers, body)
    }

    /// GET of the admin address: status and body.
    pub fn look(&self, target: &str) -> (u16, String) {
        ask(self.admin.expect("the admin address is on"), "GET", target, "", "")
    }

    /// SIGHUP.
    pub fn hang_up(&self) {
        let pid = self.pid().to_string();
        let sent = Command::new("kill").args(["-HUP", &pid]).status().expect("kill runs");
        assert!(sent.success(), "planck has gone");
    }

    /// GET: status and body.
    pub fn get(&self, target: &str) -> (u16, String) {
        self.request("GET", target, "")
    }
}

/// Waits until something is so. It must come true: a hang is the failure.
pub fn until(what: &str, mut reached: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(60);
    while !reached() {
        assert!(Instant::now() < end, "it does not come true: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A plain HTTP/1.1 request on a connection of its own: status and body.
pub fn ask(
    address: SocketAddr,
    method: &str,
    target: &str,
    headers: &str,
    body: &str,
) -> (u16, String) {
    let mut stream = TcpStream::connect(address).expect("HTTP listens");
    let head = format!(
        "{method} {target} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\
             content-type: application/x-www-form-urlencoded\r\n{headers}content-length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(head.as_bytes()).expect("the request is taken");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("the answer ends");
    let answer = String::from_utf8_lossy(&answer);
    let (head, body) = answer.split_once("\r\n\r\n").expect("an answer has a head");
    let status = head.split(' ').nth(1).and_then(|s| s.parse().ok()).expect("a status");
    (status, body.to_owned())
}

impl Drop for Planck {
    fn drop(&mut self) {
        // It may have ended already; either way it is gone afterwards.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// The lines of both outputs, until the process ends.
fn collect(child: &mut Child) -> Receiver<String> {
    let (sender, lines) = channel();
    let outputs: [Option<Box<dyn Read + Send>>; 2] = [
        child.stdout.take().map(|out| Box::new(out) as Box<dyn Read + Send>),
        child.stderr.take().map(|err| Box::new(err) as Box<dyn Read + Send>),
    ];
    for output in outputs.into_iter().flatten() {
        let sender = sender.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
    }
    lines
}
