//! Ours: a process of its own for each turn, and what is asked of it over TCP
//! (`tcp.rs`) and QUIC (`quic.rs`).
//!
//! What must stay true: the process ends with the turn; its cache is as large as the
//! others'; a reply is right only if it is the one that the protocol names for that request.

use super::quic::Quic;
use super::tcp::Tcp;
use super::{Done, Peer, Server, Terms, said, trusting, wrong};
use crate::documents::{Documents, Found};
use planck_client::{Security, fingerprint_of_pem};
use proto::{Key, Reply, Request};
use shared::{CACHE_BYTES, mix};
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;

const STORE: &str = "bench";
/// Rows and bytes of a page of a scan.
const PAGE: (u32, u32) = (1000, 1 << 20);

/// How connections are made.
enum Way {
    Tcp(Security),
    Quic(Box<rustls::ClientConfig>),
}

struct Planck {
    child: Child,
    /// Kept open: it may go on to say things.
    _said: BufReader<ChildStdout>,
    version: String,
    address: SocketAddr,
    key: String,
    way: Way,
}

impl Drop for Planck {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

pub fn tls(terms: &Terms<'_>) -> Done<Box<dyn Server>> {
    start(terms, true, |terms| {
        let pem = std::fs::read(terms.dir.join("tls/cert.pem")).map_err(said)?;
        Ok(Way::Tcp(Security::Pinned(fingerprint_of_pem(&pem).map_err(said)?)))
    })
}

pub fn plain(terms: &Terms<'_>) -> Done<Box<dyn Server>> {
    start(terms, false, |_| Ok(Way::Tcp(Security::Plaintext)))
}

pub fn quic(terms: &Terms<'_>) -> Done<Box<dyn Server>> {
    start(terms, true, |terms| {
        let mut tls = trusting(&terms.dir.join("tls/cert.pem"))?;
        tls.alpn_protocols = vec![proto::packet::ALPN.to_vec()];
        Ok(Way::Quic(Box::new(tls)))
    })
}

fn start(
    terms: &Terms<'_>,
    tls: bool,
    way: impl FnOnce(&Terms<'_>) -> Done<Way>,
) -> Done<Box<dyn Server>> {
    let program = |e| format!("{} cannot be started: {e}", terms.planck.display());
    let version = Command::new(terms.planck).arg("--version").output().map_err(program)?;
    let cache = CACHE_BYTES >> 20;
    let db = format!(
        "port: 0\ntls: {{enabled: {tls}}}\nlogging: {{level: error}}\n\
         durability: {{flush_interval_in_ms: 1000}}\nindex: {{primary: {{pool_size: {cache}MiB}}}}\n"
    );
    // Pages for browsers are no part of it.
    let service = format!("http: {{port: 0}}\nwasm: {{enabled: false}}\ntls: {{enabled: {tls}}}\n");
    std::fs::write(terms.dir.join("db.yaml"), db).map_err(said)?;
    std::fs::write(terms.dir.join("service.yaml"), service).map_err(said)?;
    let mut child = Command::new(terms.planck)
        .arg("--dir")
        .arg(terms.dir)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(program)?;
    let mut out = BufReader::new(child.stdout.take().expect("it is piped"));
    let address = match ready(&mut out) {
        Ok(address) => address,
        Err(why) => {
            child.kill().ok();
            child.wait().ok();
            return Err(why);
        }
    };
    let mut planck = Planck {
        child,
        _said: out,
        version: String::from_utf8_lossy(&version.stdout).trim().to_owned(),
        address,
        key: String::new(),
        way: Way::Tcp(Security::Plaintext),
    };
    let key = std::fs::read_to_string(terms.dir.join("admin.key")).map_err(said)?;
    planck.key = key.trim().to_owned();
    planck.way = way(terms)?;
    Ok(Box::new(planck))
}

/// Where the wire listens, once it does.
fn ready(out: &mut impl BufRead) -> Done<SocketAddr> {
    let (mut address, mut all) = (None, String::new());
    for line in out.lines() {
        let line = line.map_err(said)?;
        if let Some(rest) = line.strip_prefix("planck: wire listening on ") {
            address = rest.split(' ').next().and_then(|address| address.parse().ok());
        }
        if let (Some(address), "planck: ready") = (address, line.as_str()) {
            return Ok(address);
        }
        all += &line;
        all.push('\n');
    }
    Err(said(format!("planck ended before it was ready; it said: {all}")))
}

impl Server for Planck {
    fn version(&self) -> &str {
        &self.version
    }

    fn process(&self) -> u32 {
        self.child.id()
    }

    fn connect(&self, documents: &Arc<Documents>) -> Done<Box<dyn Peer>> {
        let documents = Arc::clone(documents);
        Ok(match &self.way {
            Way::Tcp(security) => {
                Box::new(Tcp::connect(self.address, *security, &self.key, documents)?)
            }
            Way::Quic(tls) => Box::new(Quic::connect(self.address, tls, &self.key, documents)?),
        })
    }
}

/// Keys are scattered, as those of the others are.
fn key(n: u64) -> Key {
    Key(u128::from(mix(n)) << 64 | u128::from(n))
}

pub fn create() -> Request<'static> {
    Request::CreateStore { store: STORE, if_not_exists: true }
}

pub fn read(n: u64) -> Request<'static> {
    Request::Read { store: STORE, key: key(n) }
}

pub fn insert(documents: &Documents, n: u64) -> Request<'_> {
    Request::Insert { store: STORE, key: Some(key(n)), document: documents.bytes(n) }
}

pub fn scan() -> Request<'static> {
    let (rows, bytes) = PAGE;
    Request::Stream { rows, bytes, text: "bench.all()", parameters: None }
}

fn reply(packet: &[u8]) -> Done<Reply<'_>> {
    match Reply::decode(packet).map_err(said)?.1 {
        Reply::Error { status, message } => Err(said(format!("{status}: {message}"))),
        reply => Ok(reply),
    }
}

/// The answer to [`create`].
pub fn created(packet: &[u8]) -> Done {
    reply(packet).map(drop)
}

/// The answer to [`read`].
pub fn gave(documents: &Documents, n: u64, packet: &[u8]) -> Done {
    let Reply::Rows(rows) = reply(packet)? else { return Err(wrong("a Read gave no rows")) };
    let mut rows = rows.iter();
    match (rows.next(), rows.next()) {
        (Some((Some(found), document)), None) if found == key(n) => documents.check(n, document),
        _ => Err(wrong(format!("a Read gave something else than the one row {n}"))),
    }
}

/// The answer to [`insert`].
pub fn inserted(n: u64, packet: &[u8]) -> Done {
    match reply(packet)? {
        Reply::Key(found) if found == key(n) => Ok(()),
        _ => Err(wrong(format!("an Insert did not give the key of document {n}"))),
    }
}

/// A page of a scan.
pub struct Page {
    packet: Vec<u8>,
    /// Where the next one is fetched.
    pub cursor: Option<u64>,
}

impl Page {
    pub fn new(packet: Vec<u8>) -> Done<Page> {
        let Reply::Rows(rows) = reply(&packet)? else {
            return Err(wrong("a page of a scan has no rows"));
        };
        let cursor = rows.cursor;
        Ok(Page { packet, cursor })
    }

    /// Looks at all rows of it.
    pub fn look(&self, found: &mut Found<'_>) -> Done {
        match reply(&self.packet)? {
            Reply::Rows(rows) => {
                rows.iter().try_for_each(|(_, document)| found.take_once(document))
            }
            _ => Err(wrong("a page of a scan has no rows")),
        }
    }
}
