//! What the tests share: an engine in memory, and requests without ceremony.

use std::sync::Arc;

use platform::sim::{SimClock, SimDisk, SimEntropy};
use proto::doc::Doc;
use proto::request::BatchBuf;
use proto::{Key, Reply, Request, Status, json};

use crate::audit::Deed;
use crate::auth::HashedKey;
use crate::{
    BackupTarget, Call, Engine, Limits, Modules, Options, Principal, Refusal, Reloaded, Role,
    SyncMode,
};

/// 2023-11-14, in microseconds.
pub(super) const NOW: u64 = 1_700_000_000_000_000;

pub(super) fn options() -> Options {
    Options::default()
}

pub(super) fn open_on(disk: Arc<SimDisk>, options: Options) -> Engine {
    open_at(Arc::new(SimClock::new(NOW)), disk, options)
}

/// With a clock of the test's.
pub(super) fn open_at(clock: Arc<SimClock>, disk: Arc<SimDisk>, options: Options) -> Engine {
    Engine::open(disk, clock, Arc::new(SimEntropy::new(1)), options).unwrap()
}

pub(super) fn open() -> Engine {
    open_on(SimDisk::new(1), options())
}

/// With the store `s`.
pub(super) fn open_with(limits: Limits) -> Engine {
    let engine = open_on(SimDisk::new(1), Options { limits, ..options() });
    done(&engine, create("s"));
    engine
}

/// With the store `s`.
pub(super) fn with_store() -> Engine {
    open_with(Limits::default())
}

/// A guest whose module stays as it is.
struct Unchanged;

impl Modules for Unchanged {
    fn reload(&self) -> Result<Reloaded, Refusal> {
        let module = "00".repeat(32);
        Ok(Reloaded { before: module.clone(), module, took_micros: 1 })
    }
}

/// With the store `s`, a place for backups, and a guest.
pub(super) fn with_backups() -> Engine {
    let target = BackupTarget { disk: SimDisk::new(2), path: "/backups".into(), keep: 2 };
    let engine = open_on(SimDisk::new(1), Options { backup: Some(target), ..options() });
    done(&engine, create("s"));
    engine.reloads(Arc::new(Unchanged));
    engine
}

pub(super) fn synced() -> Options {
    let mut options = options();
    options.storage.sync = SyncMode::Sync;
    options
}

pub(super) fn admin() -> Principal {
    Principal::new("root", Role::Admin)
}

/// Makes a user whom no key lets in, without the time a hash takes.
pub(super) fn put_user(engine: &Engine, name: &str, role: Role) {
    let made = |draft: &mut crate::catalog::Draft| {
        let key = HashedKey { id: None, hash: "no hash".to_owned(), made: None };
        draft.create_user(name, role, &[], key, false, 0)
    };
    assert_eq!(engine.catalogs.change(&engine.lsm, &Deed::unseen(), made), Ok(true));
}

/// What a reply said, owned.
#[derive(Debug, PartialEq)]
pub(super) enum Said {
    Empty,
    Key(Key),
    Keys(Vec<Key>),
    Count(u64),
    Document(String),
    /// Rows as `key json` or `json`, and the key to go on after.
    Rows(Vec<String>, Option<u128>),
    /// A document, and its version.
    Versioned(u64, String),
    /// Rows, and the cursor of what is left.
    Page(Vec<String>, u64),
    Refused(Status, String),
}

pub(super) fn text_of(bson: &[u8]) -> String {
    json::to_json(Doc::parse(bson).unwrap())
}

pub(super) fn said(packet: &[u8]) -> Said {
    let (id, reply) = Reply::decode(packet).unwrap();
    assert_eq!(id, 77, "a reply carries the id of its request");
    match reply {
        Reply::Error { status, message } => Said::Refused(status, message.to_owned()),
        Reply::Empty => Said::Empty,
        Reply::Key(key) => Said::Key(key),
        Reply::Keys(keys) => Said::Keys(keys.iter().collect()),
        Reply::Count(n) => Said::Count(n),
        Reply::Document(doc) => Said::Document(text_of(doc)),
        Reply::Versioned { version, document } => Said::Versioned(version, text_of(document)),
        Reply::Rows(rows) => {
            let line = |(key, doc): (Option<Key>, &[u8])| match key {
                Some(key) => format!("{} {}", key.0, text_of(doc)),
                None => text_of(doc),
            };
            let lines = rows.iter().map(line).collect();
            match rows.cursor {
                Some(cursor) => Said::Page(lines, cursor),
                None => Said::Rows(lines, rows.next.map(|key| key.0)),
            }
        }
    }
}

pub(super) fn ask_as(engine: &Engine, who: &Principal, request: Request<'_>) -> Said {
    ask_within(engine, who, request, 0, &Call::default())
}

/// Asks with so many milliseconds of patience.
pub(super) fn ask_within(
    engine: &Engine,
    who: &Principal,
    request: Request<'_>,
    patience: u32,
    call: &Call,
) -> Said {
    let mut packet = Vec::new();
    request.encode_with_patience(77, patience, &mut packet);
    let mut out = b"before".to_vec();
    engine.dispatch_call(who, &packet, call, &mut out);
    assert_eq!(&out[..6], b"before", "a reply is appended");
    said(&out[6..])
}

pub(super) fn ask(engine: &Engine, request: Request<'_>) -> Said {
    ask_as(engine, &admin(), request)
}

/// Asks for what must not be refused.
pub(super) fn done(engine: &Engine, request: Request<'_>) -> Said {
    let said = ask(engine, request);
    assert!(!matches!(said, Said::Refused(..)), "{said:?}");
    said
}

/// Asks for what must be refused: with this status, in words with these in them,
/// and with nothing changed.
pub(super) fn refused(engine: &Engine, request: Request<'_>, status: Status, words: &[&str]) {
    refused_as(engine, &admin(), request, status, words);
}

pub(super) fn refused_as(
    engine: &Engine,
    who: &Principal,
    request: Request<'_>,
    status: Status,
    words: &[&str],
) {
    let lsn = engine.lsm.last_lsn();
    match ask_as(engine, who, request) {
        Said::Refused(found, message) => {
            assert_eq!(found, status, "{message}");
            for word in words {
                assert!(message.contains(word), "{word:?} is not in {message:?}");
            }
        }
        other => panic!("{request:?} was carried out: {other:?}"),
    }
    assert_eq!(engine.lsm.last_lsn(), lsn, "{request:?} was refused and changed something");
}

pub(super) fn create(store: &str) -> Request<'_> {
    Request::CreateStore { store, if_not_exists: false }
}

pub(super) fn drop_store(store: &str) -> Request<'_> {
    Request::DropStore { store, if_exists: false }
}

pub(super) fn doc(text: &str) -> Vec<u8> {
    json::parse_json(text).unwrap()
}

/// A document of exactly so many bytes: `{"b": <binary>}`.
pub(super) fn doc_of(bytes: usize) -> Vec<u8> {
    let body = vec![7; bytes - 13];
    let mut doc = proto::doc::DocBuf::new();
    doc.push("b", proto::doc::Binary { subtype: 0, bytes: &body });
    let doc = doc.finish().unwrap();
    assert_eq!(doc.len(), bytes);
    doc
}

pub(super) fn insert(engine: &Engine, key: u128, text: &str) {
    let document = doc(text);
    let request = Request::Insert { store: "s", key: Some(Key(key)), document: &document };
    assert_eq!(done(engine, request), Said::Key(Key(key)));
}

pub(super) fn read(key: u128) -> Request<'static> {
    Request::Read { store: "s", key: Key(key) }
}

pub(super) fn query(text: &str) -> Request<'_> {
    Request::Query { text, parameters: None }
}

/// All of store `s`, as lines.
pub(super) fn all(engine: &Engine) -> Vec<String> {
    let scan = Request::Scan { store: "s", after: None, limit: 0, reverse: false };
    match done(engine, scan) {
        Said::Rows(rows, None) => rows,
        other => panic!("{other:?}"),
    }
}

pub(super) fn batch(items: &[(Option<u128>, &str)]) -> BatchBuf {
    let mut batch = BatchBuf::new();
    for (key, text) in items {
        batch.push(key.map(Key), &doc(text));
    }
    batch
}
