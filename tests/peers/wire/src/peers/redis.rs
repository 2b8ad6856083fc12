//! Redis over TCP, with TLS and without. `scripts/peers` starts the server, and says
//! where it listens and which certificate it has.
//!
//! What must stay true: what it holds is this turn's alone, and gone behind it.

use super::{Done, Peer, Server, Terms, named, said, wrong};
use crate::documents::{Documents, Found};
use redis::{Client, Cmd, Connection, TlsCertificates, cmd, pipe};
use std::sync::Arc;

/// Where the server's ports and certificate are named.
const PORT: &str = "PEERS_REDIS_PORT";
const TLS_PORT: &str = "PEERS_REDIS_TLS_PORT";
const CERTIFICATE: &str = "PEERS_CERTIFICATE";
/// Keys that a scan looks at in one step.
const STEP: usize = 1000;
/// Where the next step begins (0: there is none), and the keys of this one.
type Step = (u64, Vec<Vec<u8>>);

struct Redis {
    client: Client,
    version: String,
    process: u32,
}

pub fn plain(_: &Terms<'_>) -> Done<Box<dyn Server>> {
    open(Client::open(format!("redis://127.0.0.1:{}/", named(PORT)?)).map_err(said)?)
}

pub fn tls(_: &Terms<'_>) -> Done<Box<dyn Server>> {
    // Its driver takes the provider of the process; that there is one already is as good.
    rustls::crypto::ring::default_provider().install_default().ok();
    let root = std::fs::read(named(CERTIFICATE)?).map_err(said)?;
    let certificates = TlsCertificates { client_tls: None, root_cert: Some(root) };
    let address = format!("rediss://localhost:{}/", named(TLS_PORT)?);
    open(Client::build_with_tls(address, certificates).map_err(said)?)
}

fn open(client: Client) -> Done<Box<dyn Server>> {
    let mut connection = client.get_connection().map_err(said)?;
    cmd("FLUSHALL").query::<()>(&mut connection).map_err(said)?;
    let about: String = cmd("INFO").arg("server").query(&mut connection).map_err(said)?;
    let field = |name: &str| {
        let mut lines = about.lines();
        lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
    };
    let version = format!("Redis {}", field("redis_version").unwrap_or("of no version"));
    let process = field("process_id").and_then(|id| id.parse().ok());
    let process = process.ok_or_else(|| said("INFO does not name its process"))?;
    Ok(Box::new(Redis { client, version, process }))
}

impl Drop for Redis {
    fn drop(&mut self) {
        if let Ok(mut connection) = self.client.get_connection() {
            cmd("FLUSHALL").query::<()>(&mut connection).ok();
        }
    }
}

impl Server for Redis {
    fn version(&self) -> &str {
        &self.version
    }

    fn process(&self) -> u32 {
        self.process
    }

    fn connect(&self, documents: &Arc<Documents>) -> Done<Box<dyn Peer>> {
        let connection = self.client.get_connection().map_err(said)?;
        Ok(Box::new(Connected { connection, documents: Arc::clone(documents) }))
    }
}

struct Connected {
    connection: Connection,
    documents: Arc<Documents>,
}

/// Keys are scattered, as those of the others are.
fn key(n: u64) -> [u8; 16] {
    (u128::from(shared::mix(n)) << 64 | u128::from(n)).to_be_bytes()
}

fn scan_from(cursor: u64) -> Cmd {
    let mut scan = cmd("SCAN");
    scan.arg(cursor).arg("COUNT").arg(STEP);
    scan
}

/// The answer to a SET with NX.
fn inserted(n: u64, answer: Option<&str>) -> Done {
    match answer {
        Some("OK") => Ok(()),
        other => Err(wrong(format!("the insert of document {n} was answered {other:?}"))),
    }
}

impl Peer for Connected {
    fn get(&mut self, n: u64) -> Done {
        let get = cmd("GET").arg(&key(n)[..]).query::<Vec<u8>>(&mut self.connection);
        self.documents.check(n, &get.map_err(said)?)
    }

    fn get_many(&mut self, numbers: &[u64]) -> Done {
        let mut all = pipe();
        for n in numbers {
            all.cmd("GET").arg(&key(*n)[..]);
        }
        let answers: Vec<Vec<u8>> = all.query(&mut self.connection).map_err(said)?;
        if answers.len() != numbers.len() {
            return Err(wrong(format!("{} GETs gave {} answers", numbers.len(), answers.len())));
        }
        numbers.iter().zip(&answers).try_for_each(|(n, answer)| self.documents.check(*n, answer))
    }

    fn put(&mut self, n: u64) -> Done {
        let mut set = cmd("SET");
        set.arg(&key(n)[..]).arg(self.documents.bytes(n)).arg("NX");
        let answer: Option<String> = set.query(&mut self.connection).map_err(said)?;
        inserted(n, answer.as_deref())
    }

    fn put_many(&mut self, numbers: &[u64]) -> Done {
        let mut all = pipe();
        for n in numbers {
            all.cmd("SET").arg(&key(*n)[..]).arg(self.documents.bytes(*n)).arg("NX");
        }
        let answers: Vec<Option<String>> = all.query(&mut self.connection).map_err(said)?;
        if answers.len() != numbers.len() {
            return Err(wrong(format!("{} SETs gave {} answers", numbers.len(), answers.len())));
        }
        numbers.iter().zip(&answers).try_for_each(|(n, answer)| inserted(*n, answer.as_deref()))
    }

    fn scan(&mut self, found: &mut Found<'_>) -> Done {
        let connection = &mut self.connection;
        // SCAN may name a key twice; who scans has to see to that.
        let mut take = |documents: Vec<Vec<u8>>| {
            documents.iter().try_for_each(|document| found.take(document).map(drop))
        };
        let mut step: Step = scan_from(0).query(connection).map_err(said)?;
        loop {
            let (next, keys) = step;
            let mut get = cmd("MGET");
            get.arg(&keys);
            step = match (next, keys.is_empty()) {
                (0, true) => return Ok(()),
                (0, false) => return take(get.query(connection).map_err(said)?),
                (_, true) => scan_from(next).query(connection).map_err(said)?,
                (_, false) => {
                    let mut both = pipe();
                    both.add_command(get).add_command(scan_from(next));
                    let (documents, step) = both.query(connection).map_err(said)?;
                    take(documents)?;
                    step
                }
            };
        }
    }
}
