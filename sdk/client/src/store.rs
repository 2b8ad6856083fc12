//! The documents of one store, as Rust values.
//!
//! What must stay true: a call here is one request, but for [`Scan`], which is one for
//! each page, each of its own moment.

mod scan;

pub use scan::Scan;

use crate::answer::{Versioned, decode, rows};
use crate::client::Client;
use crate::{Error, Result};
use proto::bridge::to_doc;
use proto::request::BatchBuf;
use proto::{Key, Request, Status};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt;
use std::marker::PhantomData;
use std::ops::{Bound, RangeBounds};
use std::sync::Arc;

/// A store of documents that are `T`: see [`Client::store`]. Cheap to clone.
pub struct Store<T> {
    client: Client,
    name: Arc<str>,
    documents: PhantomData<fn() -> T>,
}

impl<T> Clone for Store<T> {
    fn clone(&self) -> Self {
        Store::new(self.client.clone(), self.name.clone())
    }
}

impl<T> fmt::Debug for Store<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("name", &self.name).finish_non_exhaustive()
    }
}

impl<T> Store<T> {
    pub(crate) fn new(client: Client, name: Arc<str>) -> Store<T> {
        Store { client, name, documents: PhantomData }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Makes the store unless it exists.
    ///
    /// # Errors
    /// What the server refused.
    pub async fn create(&self) -> Result<()> {
        self.client.create_store(&self.name).await
    }

    /// The same store, for writes that may be carried out twice: see
    /// [`Client::repeating`].
    #[must_use]
    pub fn repeating(&self) -> Store<T> {
        Store::new(self.client.repeating(), self.name.clone())
    }

    /// Removes the document under `key`.
    ///
    /// # Errors
    /// What the server refused; [`Status::NotFound`] if there is none.
    pub async fn delete(&self, key: Key) -> Result<()> {
        let request = Request::Delete { store: &self.name, key };
        self.client.request(&request).await.map(drop)
    }
}

impl<T: DeserializeOwned> Store<T> {
    /// The document under `key`, if there is one.
    ///
    /// # Errors
    /// What the server refused, or a document that is no `T`.
    pub async fn get(&self, key: Key) -> Result<Option<T>> {
        let answer = match self.client.request(&Request::Read { store: &self.name, key }).await {
            Ok(answer) => answer,
            Err(error) if error.status() == Some(Status::NotFound) => return Ok(None),
            Err(error) => return Err(error),
        };
        let found = rows(answer.reply()?)?;
        found.iter().next().map(|(_, bytes)| decode(Some(key), bytes)).transpose()
    }

    /// The document under `key` with its version, if there is one: for a
    /// [`Batch`](crate::Batch) that is only to be done if it is still that one.
    ///
    /// # Errors
    /// As [`Store::get`].
    pub async fn get_versioned(&self, key: Key) -> Result<Option<Versioned<T>>> {
        let request = Request::ReadVersion { store: &self.name, key };
        match self.client.request(&request).await {
            Ok(answer) => answer.versioned().map(Some),
            Err(error) if error.status() == Some(Status::NotFound) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// All documents in the order of their keys, a page at a time.
    pub fn scan(&self) -> Scan<T> {
        self.range(..)
    }

    /// The documents whose keys lie in a range, in the order of their keys, a page at a
    /// time.
    pub fn range(&self, keys: impl RangeBounds<Key>) -> Scan<T> {
        let from = match keys.start_bound() {
            Bound::Unbounded => Some(Key::MIN),
            Bound::Included(from) => Some(*from),
            Bound::Excluded(before) => before.next(),
        };
        let to = match keys.end_bound() {
            Bound::Unbounded => Some(Key::MAX),
            Bound::Included(to) => Some(*to),
            Bound::Excluded(behind) => behind.previous(),
        };
        Scan::new(self.clone(), from.zip(to).filter(|(from, to)| from <= to))
    }

    async fn page(
        &self,
        (from, to): (Key, Key),
        limit: u32,
        reverse: bool,
    ) -> Result<crate::Answer> {
        let request = Request::Range { store: &self.name, from, to, limit, reverse };
        self.client.request(&request).await
    }
}

impl<T: Serialize> Store<T> {
    /// Adds a document under a new key that sorts after those made before.
    ///
    /// # Errors
    /// What the server refused, or a value that is no document.
    pub async fn insert(&self, value: &T) -> Result<Key> {
        self.insert_at(None, value).await
    }

    /// Adds a document under `key`.
    ///
    /// # Errors
    /// As [`Store::insert`]; [`Status::KeyExists`] if the key is taken.
    pub async fn insert_with_key(&self, key: Key, value: &T) -> Result<()> {
        self.insert_at(Some(key), value).await.map(drop)
    }

    async fn insert_at(&self, key: Option<Key>, value: &T) -> Result<Key> {
        let document = encode(value)?;
        let request = Request::Insert { store: &self.name, key, document: &document };
        self.client.request(&request).await?.key()
    }

    /// Adds documents under new keys, all or none; gives their keys in the same order.
    ///
    /// # Errors
    /// As [`Store::insert`]; [`Status::BatchTooLarge`].
    pub async fn insert_many<'v>(&self, values: impl IntoIterator<Item = &'v T>) -> Result<Vec<Key>>
    where
        T: 'v,
    {
        self.insert_batch(values.into_iter().map(|value| (None, value))).await
    }

    /// Adds documents under keys of their own, all or none.
    ///
    /// # Errors
    /// As [`Store::insert_many`]; [`Status::KeyExists`] if one of the keys is taken.
    pub async fn insert_many_with_keys<'v>(
        &self,
        values: impl IntoIterator<Item = (Key, &'v T)>,
    ) -> Result<()>
    where
        T: 'v,
    {
        let values = values.into_iter().map(|(key, value)| (Some(key), value));
        self.insert_batch(values).await.map(drop)
    }

    async fn insert_batch<'v>(
        &self,
        values: impl Iterator<Item = (Option<Key>, &'v T)>,
    ) -> Result<Vec<Key>>
    where
        T: 'v,
    {
        let batch = self.batch(values)?;
        if batch.is_empty() {
            return Ok(Vec::new());
        }
        let request = Request::BatchInsert { store: &self.name, batch: batch.as_batch() };
        self.client.request(&request).await?.keys()
    }

    /// What is sent of them, within the bound of a message.
    fn batch<'v>(&self, values: impl Iterator<Item = (Option<Key>, &'v T)>) -> Result<BatchBuf>
    where
        T: 'v,
    {
        let limit = self.client.config().connect.max_message_size;
        let mut batch = BatchBuf::new();
        for (key, value) in values {
            batch.push(key, &encode(value)?);
            if batch.bytes() > limit {
                return Err(Error::Invalid(format!(
                    "the first {} documents of the batch have {} bytes, connect.max_message_size \
                     is {limit}: insert fewer at a time",
                    batch.len(),
                    batch.bytes()
                )));
            }
        }
        Ok(batch)
    }

    /// Replaces the document under `key`.
    ///
    /// # Errors
    /// As [`Store::insert`]; [`Status::NotFound`] if there is none.
    pub async fn replace(&self, key: Key, value: &T) -> Result<()> {
        self.put(key, value, false).await
    }

    /// Puts a document under `key`, whether there was one or not.
    ///
    /// # Errors
    /// As [`Store::insert`].
    pub async fn upsert(&self, key: Key, value: &T) -> Result<()> {
        self.put(key, value, true).await
    }

    async fn put(&self, key: Key, value: &T, upsert: bool) -> Result<()> {
        let document = encode(value)?;
        let request = Request::Update { store: &self.name, key, document: &document, upsert };
        self.client.request(&request).await.map(drop)
    }
}

pub(crate) fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>> {
    to_doc(value).map_err(Error::NoDocument)
}
