//! The servers behind one small trait.
//!
//! What must stay true: each is asked as its own users would ask it, with its usual
//! driver and prepared statements where there are any; every answer is compared with
//! what was written; a failure is given back, and leaves the server out of the table.

mod planck;
mod postgres;
mod quic;
mod redis;
mod tcp;

use crate::documents::{Documents, Form, Found};
use std::path::Path;
use std::sync::Arc;

/// Why a server's turn ended.
#[derive(Debug)]
pub enum Trouble {
    /// It could not go on: it is left out.
    Server(String),
    /// It answered something wrong: then there is no table.
    Answer(String),
}

/// What a server did, or why it could not.
pub type Done<T = ()> = Result<T, Trouble>;

impl From<String> for Trouble {
    fn from(why: String) -> Trouble {
        Trouble::Server(why)
    }
}

/// What a turn starts with.
pub struct Terms<'a> {
    /// An empty directory for the data of a server that is started for the turn.
    pub dir: &'a Path,
    /// Our program.
    pub planck: &'a Path,
}

/// A server with an empty store, for one turn. Dropped, it holds nothing any more.
pub trait Server {
    /// Its version.
    fn version(&self) -> &str;

    /// Its process; those that belong to it are that one's descendants.
    fn process(&self) -> u32;

    /// A connection.
    fn connect(&self, documents: &Arc<Documents>) -> Done<Box<dyn Peer>>;
}

/// One connection. It looks at each answer itself.
pub trait Peer: Send {
    /// Reads a document.
    fn get(&mut self, n: u64) -> Done;

    /// Reads these, all asked for before the first answer is waited for.
    fn get_many(&mut self, numbers: &[u64]) -> Done;

    /// Inserts a document that is not there.
    fn put(&mut self, n: u64) -> Done;

    /// Inserts these, each with a request of its own, none waiting for another's answer.
    fn put_many(&mut self, numbers: &[u64]) -> Done;

    /// Reads all documents, as they come.
    fn scan(&mut self, found: &mut Found<'_>) -> Done;

    /// What its users would have done after a load; nothing, for most.
    fn settle(&mut self) -> Done {
        Ok(())
    }
}

/// A server that can be compared.
#[derive(Clone, Copy)]
pub struct Engine {
    pub name: &'static str,
    pub form: Form,
    /// Whether what it sends is encrypted: it is compared with those that do the same.
    pub secure: bool,
    /// Starts it or finds it, or says why it is not here.
    pub open: fn(&Terms<'_>) -> Done<Box<dyn Server>>,
    /// What stands in the head of the table.
    pub note: &'static str,
}

impl Engine {
    /// Whether it is ours: then the run does not go on without it.
    pub fn is_ours(&self) -> bool {
        self.name.starts_with("planck")
    }
}

/// All of them; of ours, those that are compared with peers come first.
pub const ALL: &[Engine] = &[
    Engine { name: "planck", form: Form::Bson, secure: true, open: planck::tls, note: PLANCK },
    Engine {
        name: "planck-quic",
        form: Form::Bson,
        secure: true,
        open: planck::quic,
        note: "the same over QUIC, a stream for each request (quinn)",
    },
    Engine {
        name: "planck-plain",
        form: Form::Bson,
        secure: false,
        open: planck::plain,
        note: PLANCK,
    },
    Engine {
        name: "postgres-tls",
        form: Form::Json,
        secure: true,
        open: postgres::tls,
        note: POSTGRES,
    },
    Engine {
        name: "postgres",
        form: Form::Json,
        secure: false,
        open: postgres::plain,
        note: POSTGRES,
    },
    Engine { name: "redis-tls", form: Form::Json, secure: true, open: redis::tls, note: REDIS },
    Engine { name: "redis", form: Form::Json, secure: false, open: redis::plain, note: REDIS },
];

const PLANCK: &str = "BSON; flush_interval_in_ms 1000: the log is in the kernel when a write is \
    acknowledged; a page of a scan is asked for before the one before it is looked at \
    (planck-client)";
const POSTGRES: &str = "a process for each connection; a column of jsonb, prepared statements, \
    VACUUM ANALYZE after the load; synchronous_commit=on with fsync=off: the log is in the kernel \
    when a write is acknowledged; a scan is one statement whose rows are read as they come \
    (tokio-postgres)";
const REDIS: &str = "a string for each document, all in memory; appendonly with appendfsync \
    everysec: its log is in the kernel when a write is acknowledged, but for writes made while it \
    syncs, which wait in its memory for up to two seconds and a kill would lose; a scan is SCAN \
    and MGET, the next SCAN sent with the MGET; its driver blocks its thread, which spares it a \
    call to the kernel for each answer (redis)";

/// What an error says.
fn said(error: impl std::fmt::Display) -> Trouble {
    Trouble::Server(error.to_string())
}

/// An answer that is not the one due.
fn wrong(what: impl Into<String>) -> Trouble {
    Trouble::Answer(what.into())
}

/// One of the names by which `scripts/peers` says where a server is that it has started.
fn named(variable: &str) -> Done<String> {
    let missing = |_| format!("no server is running ({variable} is not set): use scripts/peers");
    Ok(std::env::var(variable).map_err(missing)?)
}

/// A runtime on the thread that asks.
fn runtime() -> Done<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(said)
}

/// TLS 1.3 as our client speaks it, with the server that has this certificate.
fn trusting(certificate: &Path) -> Done<rustls::ClientConfig> {
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject;
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(certificate).map_err(said)?).map_err(said)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(said)?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}
