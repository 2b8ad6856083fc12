//! Documents in memory behind the wire: the few operations that the tests ask for.

use net::wire::{Call, WireHandler};
use proto::doc::DocBuf;
use proto::{Key, ReplyWriter, Request, Status};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

pub(super) const KEY: &str = "the right key";

/// Longer than tests wait: one that has failed ends all the same.
const HELD: Duration = Duration::from_secs(25);

/// Rows of a page of a scan if no other number is asked for.
const PAGE: usize = 10;

/// One store, and what was asked of queries.
#[derive(Default)]
pub(super) struct Memory {
    documents: Mutex<BTreeMap<Key, Vec<u8>>>,
    made: AtomicU64,
    /// Sessions so far.
    pub(super) sessions: AtomicUsize,
    /// Queries `hold()` that came, and that were given up.
    pub(super) held: AtomicUsize,
    pub(super) given_up: AtomicUsize,
    /// Cursors that are open, with their session.
    pub(super) cursors: Mutex<BTreeSet<(usize, u64)>>,
    /// Pages that were asked for.
    pub(super) pages: AtomicUsize,
    /// Stores and indexes that were made and dropped.
    pub(super) definitions: AtomicUsize,
}

pub(super) struct Handler(pub(super) std::sync::Arc<Memory>);

/// The number of a session; its cursors go with it.
pub(super) struct Session(usize, std::sync::Arc<Memory>);

impl Drop for Session {
    fn drop(&mut self) {
        self.1.cursors.lock().unwrap().retain(|(session, _)| *session != self.0);
    }
}

impl WireHandler for Handler {
    type Session = Session;

    fn authenticate(
        &self,
        user: &str,
        key: &str,
        _: SocketAddr,
    ) -> Result<Session, (Status, String)> {
        match (user, key) {
            ("ann", KEY) => {
                Ok(Session(self.0.sessions.fetch_add(1, Ordering::SeqCst), self.0.clone()))
            }
            _ => Err((Status::BadCredentials, "the user or key is wrong".to_owned())),
        }
    }

    fn handle(&self, session: &Session, packet: &[u8], call: &Call, out: &mut Vec<u8>) {
        let (id, request) = Request::decode(packet).unwrap();
        if let Request::Stream { text: "hold()", .. } = request {
            // Until its answer is not wanted any more.
            self.0.held.fetch_add(1, Ordering::SeqCst);
            let cancelled = call.cancelled.clone().unwrap();
            let began = Instant::now();
            while !cancelled.load(Ordering::SeqCst) && began.elapsed() < HELD {
                std::thread::sleep(Duration::from_millis(1));
            }
            self.0.given_up.fetch_add(1, Ordering::SeqCst);
            return ReplyWriter::new(id, out).error(Status::Cancelled, "it was held");
        }
        self.0.answer(session.0, &request, ReplyWriter::new(id, out));
    }
}

impl Memory {
    fn answer(&self, session: usize, request: &Request<'_>, reply: ReplyWriter<'_>) {
        let mut documents = self.documents.lock().unwrap();
        let fresh = |key: Option<Key>| {
            let made = || u128::from(self.made.fetch_add(1, Ordering::SeqCst));
            key.unwrap_or_else(|| Key((1 << 100) + made()))
        };
        match *request {
            Request::Insert { key, document, .. } => {
                let key = fresh(key);
                if documents.contains_key(&key) {
                    return reply.error(Status::KeyExists, "there is one");
                }
                documents.insert(key, document.to_vec());
                reply.key(key);
            }
            Request::BatchInsert { batch, .. } => {
                let all: Vec<_> = batch.iter().map(|(key, doc)| (fresh(key), doc)).collect();
                if all.iter().any(|(key, _)| documents.contains_key(key)) {
                    return reply.error(Status::KeyExists, "there is one");
                }
                let keys: Vec<Key> = all.iter().map(|(key, _)| *key).collect();
                documents.extend(all.into_iter().map(|(key, doc)| (key, doc.to_vec())));
                reply.keys(&keys);
            }
            Request::Read { key, .. } => match documents.get(&key) {
                None => reply.error(Status::NotFound, "there is none"),
                Some(document) => {
                    let mut rows = reply.rows(true);
                    rows.push(key, document);
                    rows.finish(None);
                }
            },
            Request::Update { key, document, upsert, .. } => {
                if !upsert && !documents.contains_key(&key) {
                    return reply.error(Status::NotFound, "there is none");
                }
                documents.insert(key, document.to_vec());
                reply.key(key);
            }
            Request::Delete { key, .. } => match documents.remove(&key) {
                None => reply.error(Status::NotFound, "there is none"),
                Some(_) => reply.count(1),
            },
            Request::Range { from, to, limit, reverse, .. } => {
                let limit = if limit == 0 { PAGE } else { limit as usize };
                let mut found: Vec<_> = documents.range(from..=to).collect();
                if reverse {
                    found.reverse();
                }
                let mut rows = reply.rows(true);
                let mut last = None;
                for &(&key, document) in found.iter().take(limit) {
                    rows.push(key, document);
                    last = Some(key);
                }
                rows.finish(last.filter(|_| found.len() > limit));
            }
            Request::Stats => {
                let mut figures = DocBuf::new();
                figures.push("documents", documents.len() as i64).push("more", "than asked for");
                reply.document(&figures.finish().unwrap());
            }
            Request::List => {
                let mut store = DocBuf::new();
                store.push("name", "items");
                let mut rows = reply.rows(false);
                rows.push(Key::MIN, &store.finish().unwrap());
                rows.finish(None);
            }
            Request::CreateStore { .. }
            | Request::DropStore { .. }
            | Request::CreateIndex { .. }
            | Request::DropIndex { .. } => {
                self.definitions.fetch_add(1, Ordering::SeqCst);
                reply.empty();
            }
            Request::Stream { text, parameters, rows, .. } => {
                self.stream(session, text, parameters, rows, reply);
            }
            Request::Fetch { cursor } => self.page(session, cursor, reply),
            Request::CloseCursor { cursor } => {
                self.cursors.lock().unwrap().remove(&(session, cursor));
                reply.empty();
            }
            _ => reply.empty(),
        }
    }

    /// `numbers(n)` gives the numbers below n, `count()` their number, `echo()` its
    /// parameters, `broken(n)` pages of which the second is refused.
    fn stream(
        &self,
        session: usize,
        text: &str,
        parameters: Option<&[u8]>,
        rows: u32,
        reply: ReplyWriter<'_>,
    ) {
        let number = |text: &str| text.trim_end_matches(')').parse::<u64>().unwrap();
        match text.split_once('(').unwrap() {
            ("numbers", n) => self.numbers(session, 0, number(n), u64::from(rows), reply),
            ("broken", n) => {
                let cursor = u64::MAX;
                self.cursors.lock().unwrap().insert((session, cursor));
                let mut rows = reply.rows(false);
                rows.push(Key::MIN, &row(number(n)));
                rows.finish_with_cursor(cursor);
            }
            ("count", _) => reply.count(7),
            ("insert", _) => reply.key(Key(5)),
            ("echo", _) => reply.document(parameters.unwrap_or(&proto::doc::EMPTY)),
            _ => reply.error(Status::BadQuery, "no such query"),
        }
    }

    /// A cursor says where its page begins, where all ends, and how many rows it has.
    fn page(&self, session: usize, cursor: u64, reply: ReplyWriter<'_>) {
        self.pages.fetch_add(1, Ordering::SeqCst);
        let there = self.cursors.lock().unwrap().remove(&(session, cursor));
        if !there || cursor == u64::MAX {
            return reply.error(Status::UnknownCursor, "there is no such cursor");
        }
        self.numbers(session, cursor >> 40, (cursor >> 20) & 0xf_ffff, cursor & 0xf_ffff, reply);
    }

    fn numbers(&self, session: usize, from: u64, to: u64, page: u64, reply: ReplyWriter<'_>) {
        let until = to.min(from + page);
        let mut rows = reply.rows(false);
        for n in from..until {
            rows.push(Key::MIN, &row(n));
        }
        if until == to {
            return rows.finish(None);
        }
        let cursor = (until << 40) | (to << 20) | page;
        self.cursors.lock().unwrap().insert((session, cursor));
        rows.finish_with_cursor(cursor);
    }
}

fn row(n: u64) -> Vec<u8> {
    let mut row = DocBuf::new();
    row.push("n", n as i64);
    row.finish().unwrap()
}
