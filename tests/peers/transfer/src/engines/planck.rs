//! The `planck` process, in a directory of its own for each turn.

use super::{Done, Terms, Total, said};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

/// For an answer to what is asked on the side.
const PATIENCE: Duration = Duration::from_secs(120);

/// A process that ends with this.
pub struct Planck {
    child: Child,
    /// Kept open: it may go on to say things.
    _said: BufReader<ChildStdout>,
    pub version: String,
    pub wire: SocketAddr,
    pub http: SocketAddr,
    admin: SocketAddr,
    /// Of its first user.
    pub key: String,
}

impl Drop for Planck {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

impl Planck {
    /// Starts it with the guest of examples/transfer; as it comes, but for TLS, the log and
    /// when commits are durable.
    pub fn start(terms: &Terms<'_>, runtime: &str) -> Done<Planck> {
        let args = terms.args;
        let program = |e| format!("{} cannot be started: {e}", args.planck.display());
        let version = Command::new(&args.planck).arg("--version").output().map_err(program)?;
        let flush = if terms.sync { 0 } else { 1000 };
        // Each of those that ask may wait for the disk: it needs a thread for that.
        let instances = args.together.max(4);
        let db = format!(
            "port: 0\ntls: {{enabled: false}}\nlogging: {{level: error}}\n\
             admin: {{enabled: true, port: 0}}\n\
             durability: {{flush_interval_in_ms: {flush}}}\n"
        );
        let service = format!(
            "name: transfer\nhttp: {{port: 0}}\ntls: {{enabled: false}}\n\
             wasm: {{runtime: {runtime}, max_instances: {instances}}}\n"
        );
        let module = terms.dir.join("wasm");
        std::fs::create_dir_all(&module).map_err(said)?;
        std::fs::copy(&args.module, module.join("planck.transfer.wasm")).map_err(|e| {
            format!("{} (scripts/build-guest examples/transfer): {e}", args.module.display())
        })?;
        std::fs::write(terms.dir.join("db.yaml"), db).map_err(said)?;
        std::fs::write(terms.dir.join("service.yaml"), service).map_err(said)?;
        let mut child = Command::new(&args.planck)
            .arg("--dir")
            .arg(terms.dir)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(program)?;
        let mut out = BufReader::new(child.stdout.take().expect("it is piped"));
        let found = ready(&mut out);
        let [wire, http, admin] = found.inspect_err(|_| {
            child.kill().ok();
            child.wait().ok();
        })?;
        let version = String::from_utf8_lossy(&version.stdout).trim().to_owned();
        let mut planck =
            Planck { child, _said: out, version, wire, http, admin, key: String::new() };
        let key = std::fs::read_to_string(terms.dir.join("admin.key")).map_err(said)?;
        planck.key = key.trim().to_owned();
        Ok(planck)
    }

    /// Opens accounts by the guest.
    pub fn fill(&self, accounts: u64) -> Done {
        for first in (0..accounts).step_by(1000) {
            let count = (accounts - first).min(1000);
            let cents = crate::work::CENTS;
            ask(self.http, "POST", &format!("/accounts/{first}/{count}/{cents}"))?;
        }
        Ok(())
    }

    /// By the guest.
    pub fn total(&self) -> Done<Total> {
        let text = ask(self.http, "GET", "/total")?;
        let numbers: Vec<i128> = text.split_whitespace().filter_map(|n| n.parse().ok()).collect();
        match numbers[..] {
            [accounts, cents, least] => {
                Ok(Total { accounts: accounts as u64, cents, least: least as i64 })
            }
            _ => Err(format!("the total is {text:?}")),
        }
    }

    /// A figure of `/metrics`.
    pub fn figure(&self, name: &str) -> Done<u64> {
        let page = ask(self.admin, "GET", "/metrics")?;
        let line = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        let number = line.and_then(|number| number.parse::<f64>().ok());
        number.map(|n| n as u64).ok_or_else(|| format!("/metrics has no {name}"))
    }
}

/// Where it listens, by the lines it prints.
fn ready(out: &mut impl BufRead) -> Done<[SocketAddr; 3]> {
    let (mut found, mut all) = ([None; 3], String::new());
    for line in out.lines() {
        let line = line.map_err(said)?;
        let names =
            ["wire listening on ", "http listening on http://", "admin listening on http://"];
        for (place, name) in found.iter_mut().zip(names) {
            if let Some(rest) = line.strip_prefix("planck: ").and_then(|l| l.strip_prefix(name)) {
                *place = rest.split(' ').next().and_then(|address| address.parse().ok());
            }
        }
        if let ([Some(wire), Some(http), Some(admin)], "planck: ready") = (found, line.as_str()) {
            return Ok([wire, http, admin]);
        }
        all += &line;
        all.push('\n');
    }
    Err(format!("planck ended before it was ready; it said: {all}"))
}

/// One request on a connection of its own; the body of an answer that is a success.
fn ask(address: SocketAddr, method: &str, target: &str) -> Done<String> {
    let mut stream = TcpStream::connect(address).map_err(said)?;
    stream.set_read_timeout(Some(PATIENCE)).map_err(said)?;
    let request = format!(
        "{method} {target} HTTP/1.1\r\nhost: h\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).map_err(said)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).map_err(said)?;
    match answer.split_once("\r\n\r\n") {
        Some((head, body)) if head.starts_with("HTTP/1.1 2") => Ok(body.to_owned()),
        _ => Err(format!("{method} {target}: {answer}")),
    }
}
