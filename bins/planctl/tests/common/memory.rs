//! An engine small enough for tests: stores in memory, the answers of the real one.
#![allow(clippy::unwrap_used)] // Helpers of tests.
#![allow(dead_code)] // Each user takes a part.

use proto::doc::{Doc, DocBuf};
use proto::{Key, ReplyWriter, Request, Status};
use std::collections::BTreeMap;
use std::time::Duration;

/// Rows of a page of Scan, whatever is asked for.
pub(crate) const PAGE: usize = 70;
/// The users there are, and how many a page of them has.
const USERS: [&str; 5] = ["ann", "bob", "cid", "dan", "eve"];
const USERS_PAGE: usize = 2;
/// Bytes of the text in a row of the store `endless`.
pub(crate) const CELL: usize = 60 << 10;
/// The error this engine's one bad query gets.
pub(crate) const CARET: &str = "line 1, column 9: expected a step, found `nonsense`\n  \
                                flights.nonsense()\n          ^^^^^^^^";

/// Stores and their documents.
#[derive(Default)]
pub(crate) struct Memory {
    pub(crate) stores: BTreeMap<String, BTreeMap<Key, Vec<u8>>>,
    /// How many documents each batch had, in order.
    pub(crate) batches: Vec<usize>,
    pub(crate) max_batch: Option<usize>,
    /// The definitions of indexes.
    pub(crate) indexes: Vec<String>,
    /// How long a batch, or a page, takes.
    pub(crate) slow: Duration,
    /// Whether documents are counted in `batches` and forgotten.
    pub(crate) forgets: bool,
    /// How many rows of [`CELL`] bytes the store `endless` has; they are nowhere.
    pub(crate) endless: u128,
    /// What was asked of indexes and stores, in order.
    pub(crate) asked: Vec<String>,
    next: u128,
}

type Refusal = (Status, String);

fn refuse<T>(status: Status, message: &str) -> Result<T, Refusal> {
    Err((status, message.to_owned()))
}

impl Memory {
    /// Answers one packet.
    pub(crate) fn handle(&mut self, packet: &[u8], out: &mut Vec<u8>) {
        let start = out.len();
        let (id, request) = Request::decode(packet).expect("planctl sends well-formed packets");
        if let Err((status, message)) = self.answer(&request, ReplyWriter::new(id, out)) {
            out.truncate(start);
            ReplyWriter::new(id, out).error(status, &message);
        }
    }

    fn store(&mut self, name: &str) -> Result<&mut BTreeMap<Key, Vec<u8>>, Refusal> {
        let message = format!("there is no store {name}; create it first");
        self.stores.get_mut(name).ok_or((Status::UnknownStore, message))
    }

    fn check(document: &[u8]) -> Result<(), Refusal> {
        let doc = Doc::parse(document).expect("planctl sends well-formed documents");
        match doc.contains("reject") {
            true => refuse(Status::BadDocument, "the document has a field `reject`"),
            false => Ok(()),
        }
    }

    fn insert(&mut self, store: &str, items: &[(Option<Key>, &[u8])]) -> Result<Vec<Key>, Refusal> {
        let mut next = self.next;
        let docs = self.store(store)?;
        let mut new = BTreeMap::new();
        let mut keys = Vec::new();
        for (key, document) in items {
            Self::check(document)?;
            let key = key.unwrap_or_else(|| {
                next += 1;
                Key(next)
            });
            if docs.contains_key(&key) || new.insert(key, document.to_vec()).is_some() {
                let message = format!("there is a document under key {key} already");
                return Err((Status::KeyExists, message));
            }
            keys.push(key);
        }
        docs.append(&mut new);
        self.next = next;
        Ok(keys)
    }

    fn answer(&mut self, request: &Request<'_>, reply: ReplyWriter<'_>) -> Result<(), Refusal> {
        match *request {
            Request::Ping => reply.empty(),
            Request::Stats => {
                let mut doc = DocBuf::new();
                doc.push("lsn", 7).doc("wal", |wal| {
                    wal.push("bytes", 4096);
                });
                reply.document(&doc.finish().unwrap());
            }
            Request::List => {
                let mut rows = reply.rows(false);
                for name in self.stores.keys() {
                    let mut doc = DocBuf::new();
                    doc.push("store", name);
                    rows.push(Key::MIN, &doc.finish().unwrap());
                }
                rows.finish(None);
            }
            Request::ListUsers { after } => {
                let left: Vec<&str> = USERS
                    .into_iter()
                    .filter(|name| after.is_none_or(|after| after < *name))
                    .collect();
                let mut rows = reply.rows(false);
                for name in left.iter().take(USERS_PAGE) {
                    let mut doc = DocBuf::new();
                    doc.push("name", *name);
                    rows.push(Key::MIN, &doc.finish().unwrap());
                }
                rows.finish((left.len() > USERS_PAGE).then_some(Key::MIN));
            }
            Request::CreateIndex { store, if_not_exists, definition } => {
                self.store(store)?;
                let definition = proto::json::to_json(Doc::parse(definition).unwrap());
                self.asked.push(format!("{store} {if_not_exists} {definition}"));
                self.indexes.push(definition);
                let mut doc = DocBuf::new();
                doc.push("name", "made").push("created", true);
                reply.document(&doc.finish().unwrap());
            }
            Request::DropIndex { store, index, if_exists } => {
                self.asked.push(format!("{store} {index} {if_exists}"));
                reply.empty();
            }
            Request::AlterStore { store, change } => {
                let change = proto::json::to_json(Doc::parse(change).unwrap());
                self.asked.push(format!("{store} {change}"));
                reply.empty();
            }
            Request::CheckIndexes { store, index } => {
                self.store(store)?;
                let mut rows = reply.rows(false);
                let mut doc = DocBuf::new();
                doc.push("indexes", 1).push("differences", i32::from(index == Some("bad")));
                rows.push(Key::MIN, &doc.finish().unwrap());
                rows.finish(None);
            }
            Request::CreateStore { store, if_not_exists } => {
                if self.stores.contains_key(store) && !if_not_exists {
                    return refuse(Status::StoreExists, "there is a store of that name");
                }
                self.stores.entry(store.to_owned()).or_default();
                reply.empty();
            }
            Request::DropStore { store, if_exists } => {
                if self.stores.remove(store).is_none() && !if_exists {
                    return refuse(Status::UnknownStore, "there is no store of that name");
                }
                reply.empty();
            }
            Request::Insert { store, key, document } => {
                reply.key(self.insert(store, &[(key, document)])?[0]);
            }
            Request::Read { store, key } => match self.store(store)?.get(&key) {
                Some(document) => {
                    // As the engine answers: a row.
                    let mut rows = reply.rows(true);
                    rows.push(key, document);
                    rows.finish(None);
                }
                None => return refuse(Status::NotFound, "there is no document under this key"),
            },
            Request::BatchInsert { store, batch } => {
                std::thread::sleep(self.slow);
                if self.max_batch.is_some_and(|most| batch.len() > most) {
                    return refuse(Status::BatchTooLarge, "the batch passes the limit");
                }
                let items: Vec<_> = batch.iter().collect();
                self.batches.push(items.len());
                if self.forgets {
                    reply.keys(&vec![Key::MIN; items.len()]);
                    return Ok(());
                }
                reply.keys(&self.insert(store, &items)?);
            }
            Request::Update { store, key, document, upsert: true } => {
                Self::check(document)?;
                self.store(store)?.insert(key, document.to_vec());
                reply.key(key);
            }
            Request::Scan { store: "endless", after, limit, reverse: false } => {
                let first = after.map_or(1, |after| after.0 + 1);
                let last = (first + PAGE.min(limit as usize) as u128 - 1).min(self.endless);
                let mut rows = reply.rows(true);
                for key in first..=last {
                    let mut doc = DocBuf::new();
                    doc.push("n", key as i64).push("t", "x".repeat(CELL).as_str());
                    rows.push(Key(key), &doc.finish().unwrap());
                }
                rows.finish((last < self.endless).then_some(Key(last)));
            }
            Request::Scan { store, after, limit, reverse: false } => {
                std::thread::sleep(self.slow);
                let docs = self.store(store)?;
                let from = after.map_or(Some(Key::MIN), Key::next);
                let mut left = from.map(|from| docs.range(from..)).into_iter().flatten().peekable();
                let mut rows = reply.rows(true);
                let mut last = None;
                for (key, document) in left.by_ref().take(PAGE.min(limit as usize)) {
                    rows.push(*key, document);
                    last = Some(*key);
                }
                rows.finish(last.filter(|_| left.peek().is_some()));
            }
            Request::Stream { text, parameters, .. } => self.query(text, parameters, reply)?,
            Request::ReloadModule | Request::RetryJob { .. } => {
                return refuse(Status::NotSetUp, "this service has no guest");
            }
            _ => return refuse(Status::Internal, "the tests do not need this"),
        }
        Ok(())
    }

    /// `STORE.count()`, `STORE`, and `parameters`, which gives them back.
    fn query(
        &mut self,
        text: &str,
        parameters: Option<&[u8]>,
        reply: ReplyWriter<'_>,
    ) -> Result<(), Refusal> {
        if text == "parameters" {
            let mut rows = reply.rows(false);
            rows.push(Key::MIN, parameters.unwrap_or(&proto::doc::EMPTY));
            rows.finish(None);
        } else if text.contains("nonsense") {
            return refuse(Status::BadQuery, CARET);
        } else if let Some(store) = text.strip_suffix(".count()") {
            reply.count(self.store(store)?.len() as u64);
        } else {
            let mut rows = reply.rows(true);
            for (key, document) in self.store(text)? {
                rows.push(*key, document);
            }
            rows.finish(None);
        }
        Ok(())
    }
}
