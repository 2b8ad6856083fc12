//! The service's own stores, as function calls.
//!
//! Invariant: every operation is one `host_request`, run on the very dispatch
//! path that wire clients use; nothing is cached in the guest.

use crate::host::call;
use crate::{Error, Result};
use proto::bridge::{from_doc, to_doc};
use proto::doc::{Doc, DocBuf, Value};
use proto::{Key, Reply, Request, Rows, Status};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::marker::PhantomData;
use std::ops::Deref;

/// A store of documents that are `T`.
#[derive(Clone, Copy, Debug)]
pub struct Store<T> {
    name: &'static str,
    documents: PhantomData<fn() -> T>,
}

/// A document and its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row<T> {
    /// Its primary key.
    pub key: Key,
    /// The document.
    pub value: T,
}

impl<T> Deref for Row<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

/// Some rows, and where to go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page<T> {
    /// In key order.
    pub rows: Vec<Row<T>>,
    /// If there is more: the key of the last row here.
    pub next: Option<Key>,
}

impl<T: Serialize + DeserializeOwned> Store<T> {
    /// The store of that name. Nothing is checked before the first operation.
    pub const fn open(name: &'static str) -> Store<T> {
        Store { name, documents: PhantomData }
    }

    /// Makes the store unless it exists.
    ///
    /// # Errors
    /// What the engine refused.
    pub fn create(&self) -> Result<()> {
        call(&Request::CreateStore { store: self.name, if_not_exists: true }, |_| Ok(()))
    }

    /// The document under `key`, if there is one.
    ///
    /// # Errors
    /// What the engine refused, or a document that is no `T`.
    pub fn get(&self, key: Key) -> Result<Option<T>> {
        let found = call(&Request::Read { store: self.name, key }, |reply| {
            let (_, bytes) = rows(reply)?.iter().next().ok_or_else(unexpected)?;
            decode(key, bytes).map(Some)
        });
        match found {
            Err(error) if error.status == Status::NotFound => Ok(None),
            other => other,
        }
    }

    /// Adds a document under a new key that sorts after those made before.
    ///
    /// # Errors
    /// What the engine refused, or a value that is no document.
    pub fn insert(&self, value: &T) -> Result<Key> {
        self.insert_at(None, value)
    }

    /// Adds a document under `key`.
    ///
    /// # Errors
    /// As [`Store::insert`]; [`Status::KeyExists`] if the key is taken.
    pub fn insert_with_key(&self, key: Key, value: &T) -> Result<()> {
        self.insert_at(Some(key), value).map(|_| ())
    }

    fn insert_at(&self, key: Option<Key>, value: &T) -> Result<Key> {
        let document = encode(value)?;
        call(&Request::Insert { store: self.name, key, document: &document }, |reply| match reply {
            Reply::Key(key) => Ok(key),
            _ => Err(unexpected()),
        })
    }

    /// Replaces the document under `key`.
    ///
    /// # Errors
    /// As [`Store::insert`]; [`Status::NotFound`] if there is none.
    pub fn update(&self, key: Key, value: &T) -> Result<()> {
        let document = encode(value)?;
        let request = Request::Update { store: self.name, key, document: &document, upsert: false };
        call(&request, |_| Ok(()))
    }

    /// Puts a document under `key`, whether there was one or not.
    ///
    /// # Errors
    /// As [`Store::insert`].
    pub fn put(&self, key: Key, value: &T) -> Result<()> {
        let document = encode(value)?;
        let request = Request::Update { store: self.name, key, document: &document, upsert: true };
        call(&request, |_| Ok(()))
    }

    /// Removes the document under `key`.
    ///
    /// # Errors
    /// What the engine refused; [`Status::NotFound`] if there is none.
    pub fn delete(&self, key: Key) -> Result<()> {
        call(&Request::Delete { store: self.name, key }, |_| Ok(()))
    }

    /// Up to `limit` documents from key `from` to key `to`, both included; 0 for as
    /// many as fit a reply.
    ///
    /// # Errors
    /// What the engine refused, or a document that is no `T`.
    pub fn range(&self, from: Key, to: Key, limit: u32) -> Result<Page<T>> {
        let request = Request::Range { store: self.name, from, to, limit, reverse: false };
        call(&request, page)
    }

    /// [`Store::range`], all of it, page after page.
    ///
    /// # Errors
    /// As [`Store::range`].
    pub fn range_all(&self, mut from: Key, to: Key) -> Result<Vec<Row<T>>> {
        let mut all = Vec::new();
        loop {
            let page = self.range(from, to, 0)?;
            all.extend(page.rows);
            match page.next.and_then(Key::next) {
                Some(next) if next <= to => from = next,
                _ => return Ok(all),
            }
        }
    }

    /// Up to `limit` documents after key `after`; 0 for as many as fit a reply.
    ///
    /// # Errors
    /// As [`Store::range`].
    pub fn scan(&self, after: Option<Key>, limit: u32) -> Result<Page<T>> {
        call(&Request::Scan { store: self.name, after, limit, reverse: false }, page)
    }
}

/// A PQL query with parameters.
pub struct Query<'q> {
    text: &'q str,
    parameters: DocBuf,
    given: usize,
}

impl<'q> Query<'q> {
    /// A query, such as `flights.filter(origin = $1).limit(10)`.
    pub fn new(text: &'q str) -> Query<'q> {
        Query { text, parameters: DocBuf::new(), given: 0 }
    }

    /// The value of the next parameter: `$1`, then `$2`, ...
    #[must_use]
    pub fn param<'v>(mut self, value: impl Into<Value<'v>>) -> Query<'q> {
        self.given += 1;
        self.parameters.push(&self.given.to_string(), value);
        self
    }

    fn run<R>(self, read: impl FnOnce(Reply<'_>) -> Result<R>) -> Result<R> {
        let bad = |e: proto::doc::DocError| Error::new(Status::BadParameter, e.to_string());
        let given = self.given;
        let parameters = self.parameters.finish().map_err(bad)?;
        let parameters = (given > 0).then_some(&parameters[..]);
        call(&Request::Query { text: self.text, parameters }, read)
    }

    /// The rows, each read as a `T`.
    ///
    /// # Errors
    /// What the engine refused, or a row that is no `T`.
    pub fn rows<T: DeserializeOwned>(self) -> Result<Vec<T>> {
        self.run(|reply| {
            let read = |(key, bytes): (Option<Key>, _)| decode(key.unwrap_or_default(), bytes);
            rows(reply)?.iter().map(read).collect()
        })
    }

    /// The number a `count()`, `set()` or `delete()` gives.
    ///
    /// # Errors
    /// What the engine refused.
    pub fn count(self) -> Result<u64> {
        self.run(|reply| match reply {
            Reply::Count(n) => Ok(n),
            _ => Err(Error::new(Status::BadQuery, "the query gives rows: end it with .count()")),
        })
    }
}

fn page<T: DeserializeOwned>(reply: Reply<'_>) -> Result<Page<T>> {
    let found = rows(reply)?;
    let read = |(key, bytes): (Option<Key>, _)| {
        let key = key.ok_or_else(unexpected)?;
        decode(key, bytes).map(|value| Row { key, value })
    };
    Ok(Page { rows: found.iter().map(read).collect::<Result<_>>()?, next: found.next })
}

fn rows(reply: Reply<'_>) -> Result<Rows<'_>> {
    match reply {
        Reply::Rows(rows) => Ok(rows),
        _ => Err(unexpected()),
    }
}

fn decode<T: DeserializeOwned>(key: Key, bytes: &[u8]) -> Result<T> {
    from_doc(Doc::trusted(bytes)).map_err(|e| {
        Error::new(Status::Internal, format!("document {key} is not of the type expected: {e}"))
    })
}

fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>> {
    to_doc(value).map_err(|e| Error::new(Status::BadDocument, e.to_string()))
}

fn unexpected() -> Error {
    Error::new(Status::Internal, "the engine gave another kind of reply than the one due")
}
