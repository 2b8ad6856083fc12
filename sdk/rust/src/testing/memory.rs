//! Stores in memory, for the tests of guests.
//!
//! What must stay true: every operation but Query gives the reply that the engine
//! gives, or the engine's status; a query is refused, since a second query
//! language would only test itself.

use proto::doc::{Binary, DocBuf, Value};
use proto::request::{Act, Condition, Step};
use proto::{Key, Reply, ReplyWriter, Request, Status};
use std::collections::BTreeMap;

/// Rows of a reply at most, where the request names no limit: small, so that tests
/// go through more than one page.
const PAGE_ROWS: usize = 100;

/// Each with its version.
type Documents = BTreeMap<Key, (u64, Vec<u8>)>;

type Refused = (Status, String);

/// Stores in memory: give it to [`super::set_host`].
///
/// ```
/// use planck_sdk::{Key, Store, testing};
///
/// testing::Memory::new().install();
/// let names: Store<String> = Store::open("names");
/// assert!(names.create().is_ok());
/// assert_eq!(names.get(Key(7)), Ok(None));
/// ```
#[derive(Clone, Debug, Default)]
pub struct Memory {
    stores: BTreeMap<String, Documents>,
    made: u64,
    /// Changes so far.
    commits: u64,
}

impl Memory {
    /// No stores.
    pub fn new() -> Memory {
        Memory::default()
    }

    /// Answers this thread's calls from now on.
    pub fn install(mut self) {
        super::set_host(move |packet, reply| self.handle(packet, reply));
    }

    /// Answers one request packet.
    ///
    /// # Panics
    /// If the packet is malformed.
    pub fn handle(&mut self, packet: &[u8], out: &mut Vec<u8>) {
        let (id, request) = Request::decode(packet).expect("the SDK writes well-formed packets");
        if let Err((status, message)) = self.run(id, &request, out) {
            ReplyWriter::new(id, out).error(status, &message);
        }
        debug_assert!(Reply::decode(out).is_ok(), "a reply is well formed");
    }

    fn run(&mut self, id: u64, request: &Request<'_>, out: &mut Vec<u8>) -> Result<(), Refused> {
        let reply = ReplyWriter::new(id, out);
        match *request {
            Request::Ping | Request::Flush => reply.empty(),
            Request::CreateStore { store, if_not_exists } => {
                if self.stores.contains_key(store) && !if_not_exists {
                    return Err((Status::StoreExists, format!("there is a store {store:?}")));
                }
                self.stores.entry(store.to_owned()).or_default();
                reply.empty();
            }
            Request::Insert { store, key, document } => {
                let act = Act::Insert(key, document);
                reply.key(self.one(Step { store, act, condition: None })?);
            }
            Request::Read { store, key } => {
                let (_, document) = self.store(store)?.get(&key).ok_or_else(|| missing(key))?;
                let mut rows = reply.rows(true);
                rows.push(key, document);
                rows.finish(None);
            }
            Request::ReadVersion { store, key } => {
                let (version, document) =
                    self.store(store)?.get(&key).ok_or_else(|| missing(key))?;
                reply.versioned(*version, document);
            }
            Request::Update { store, key, document, upsert } => {
                let act =
                    if upsert { Act::Put(key, document) } else { Act::Replace(key, document) };
                reply.key(self.one(Step { store, act, condition: None })?);
            }
            Request::Delete { store, key } => {
                self.one(Step { store, act: Act::Delete(key), condition: None })?;
                reply.empty();
            }
            Request::Apply { steps } => {
                let mut all = self.clone();
                let mut keys = Vec::new();
                all.commits += 1;
                for step in steps.iter() {
                    keys.extend(all.step(step)?.to_bytes());
                }
                let mut told = DocBuf::new();
                told.push("version", all.commits.cast_signed());
                told.push("keys", Value::Binary(Binary { subtype: 0, bytes: &keys }));
                *self = all;
                reply.document(&told.finish().expect("two fields"));
            }
            Request::Scan { store, after, limit, reverse } => {
                let (from, to) = match (after, reverse) {
                    (None, _) => (Some(Key::MIN), Some(Key::MAX)),
                    (Some(key), false) => (key.next(), Some(Key::MAX)),
                    (Some(key), true) => (Some(Key::MIN), key.previous()),
                };
                let bounds = from.zip(to);
                page(self.store(store)?, bounds, limit, reverse, reply);
            }
            Request::Range { store, from, to, limit, reverse } => {
                page(self.store(store)?, Some((from, to)), limit, reverse, reply);
            }
            _ => {
                let message = "stores in memory answer no such request: test it on a server";
                return Err((Status::UnknownOpcode, message.to_owned()));
            }
        }
        Ok(())
    }

    fn store(&mut self, name: &str) -> Result<&mut Documents, Refused> {
        let unknown = || (Status::UnknownStore, format!("there is no store {name:?}"));
        self.stores.get_mut(name).ok_or_else(unknown)
    }

    /// A step by itself.
    fn one(&mut self, step: Step<'_>) -> Result<Key, Refused> {
        self.commits += 1;
        self.step(step)
    }

    /// A step as part of the commit that is being made.
    fn step(&mut self, step: Step<'_>) -> Result<Key, Refused> {
        self.made += 1;
        let (made, version) = (Key::time_ordered(self.made, 0, 0), self.commits);
        let key = step.act.key().unwrap_or(made);
        let documents = self.store(step.store)?;
        let found = documents.get(&key).map(|(version, _)| *version);
        let holds = match step.condition {
            None => true,
            Some(Condition::Absent) => found.is_none(),
            Some(Condition::Present) => found.is_some(),
            Some(Condition::Version(wanted)) => found == Some(wanted),
        };
        if !holds {
            let message = format!("document {key} of {:?} has version {found:?}", step.store);
            return Err((Status::ConditionFailed, message));
        }
        match (step.act, found) {
            (Act::Insert(..), Some(_)) => {
                return Err((Status::KeyExists, format!("{key} is taken")));
            }
            (Act::Replace(..) | Act::Delete(_), None) => return Err(missing(key)),
            (Act::Delete(_), Some(_)) => drop(documents.remove(&key)),
            (act, _) => {
                let document = act.document().map(|document| (version, document.to_vec()));
                documents.extend(document.map(|document| (key, document)));
            }
        }
        Ok(key)
    }
}

fn missing(key: Key) -> Refused {
    (Status::NotFound, format!("there is no document under {key}"))
}

fn page(
    documents: &Documents,
    bounds: Option<(Key, Key)>,
    limit: u32,
    reverse: bool,
    reply: ReplyWriter<'_>,
) {
    let limit = if limit == 0 { PAGE_ROWS } else { limit as usize };
    let mut found: Vec<_> = match bounds {
        Some((from, to)) if from <= to => documents.range(from..=to).collect(),
        _ => Vec::new(),
    };
    if reverse {
        found.reverse();
    }
    let mut rows = reply.rows(true);
    for (key, document) in found.iter().take(limit) {
        rows.push(**key, &document.1);
    }
    let more = found.len() > limit;
    rows.finish(found.get(limit.saturating_sub(1)).filter(|_| more).map(|(key, _)| **key));
}
