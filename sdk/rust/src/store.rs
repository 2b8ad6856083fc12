//! The service's own stores, as function calls.
//!
//! Invariant: every operation is one `host_request`, run on the very dispatch
//! path that wire clients use; nothing is cached in the guest.

use crate::host::call;
use crate::{Error, Result};
use proto::bridge::{from_doc, to_doc};
use proto::doc::Doc;
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

/// A document and its version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Versioned<T> {
    /// The number of the commit that wrote it; 0: this very call has.
    pub version: u64,
    /// The document.
    pub value: T,
}

impl<T> Deref for Versioned<T> {
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

    pub(crate) fn name(&self) -> &'static str {
        self.name
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

    /// The document under `key` with its version, if there is one. Every write gives it a
    /// larger one, so it serves as an entity tag, or for a [`Batch`](crate::Batch) that is only
    /// to be done if it is still that one.
    ///
    /// # Errors
    /// As [`Store::get`].
    pub fn get_versioned(&self, key: Key) -> Result<Option<Versioned<T>>> {
        let found = call(&Request::ReadVersion { store: self.name, key }, |reply| match reply {
            Reply::Versioned { version, document } => {
                Ok(Some(Versioned { version, value: decode(key, document)? }))
            }
            _ => Err(unexpected()),
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

    /// The last `limit` documents from key `from` to key `to`, both included, the
    /// last one first; 0 for as many as fit a reply.
    ///
    /// # Errors
    /// As [`Store::range`].
    pub fn last(&self, from: Key, to: Key, limit: u32) -> Result<Page<T>> {
        let request = Request::Range { store: self.name, from, to, limit, reverse: true };
        call(&request, page)
    }

    /// Shows `each` every document from key `from` to key `to`, both included, in
    /// place: for a handler that looks at many and needs a few fields of each.
    /// [`Store::decode`] reads one whole.
    ///
    /// # Errors
    /// What the engine refused, and the first error of `each`, which ends it.
    pub fn visit(
        &self,
        mut from: Key,
        to: Key,
        mut each: impl FnMut(Key, Doc<'_>) -> Result<()>,
    ) -> Result<()> {
        loop {
            let request = Request::Range { store: self.name, from, to, limit: 0, reverse: false };
            let next = call(&request, |reply| {
                let found = rows(reply)?;
                for (key, bytes) in found.iter() {
                    each(key.ok_or_else(unexpected)?, Doc::trusted(bytes))?;
                }
                Ok(found.next)
            })?;
            match next.and_then(Key::next) {
                Some(next) if next <= to => from = next,
                _ => return Ok(()),
            }
        }
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

    /// The document under `key`, out of its bytes.
    ///
    /// # Errors
    /// A document that is no `T`.
    pub fn decode(&self, key: Key, document: Doc<'_>) -> Result<T> {
        decode(key, document.as_bytes())
    }

    /// Up to `limit` documents after key `after`; 0 for as many as fit a reply.
    ///
    /// # Errors
    /// As [`Store::range`].
    pub fn scan(&self, after: Option<Key>, limit: u32) -> Result<Page<T>> {
        call(&Request::Scan { store: self.name, after, limit, reverse: false }, page)
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

pub(crate) fn rows(reply: Reply<'_>) -> Result<Rows<'_>> {
    match reply {
        Reply::Rows(rows) => Ok(rows),
        _ => Err(unexpected()),
    }
}

pub(crate) fn decode<T: DeserializeOwned>(key: Key, bytes: &[u8]) -> Result<T> {
    from_doc(Doc::trusted(bytes)).map_err(|e| {
        Error::new(Status::Internal, format!("document {key} is not of the type expected: {e}"))
    })
}

pub(crate) fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>> {
    to_doc(value).map_err(|e| Error::new(Status::BadDocument, e.to_string()))
}

pub(crate) fn unexpected() -> Error {
    Error::new(Status::Internal, "the engine gave another kind of reply than the one due")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Memory, set_host};
    use crate::{Batch, Condition};
    use proto::ReplyWriter;
    use serde::Deserialize;

    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    struct Item {
        name: String,
        size: Option<u32>,
    }

    const ITEMS: Store<Item> = Store::open("items");

    fn item(n: u128) -> Item {
        Item { name: format!("item {n}"), size: (n % 2 == 0).then_some(7) }
    }

    /// A store of the items under keys 1 to `n`.
    fn items(n: u128) {
        Memory::new().install();
        ITEMS.create().unwrap();
        for key in 1..=n {
            ITEMS.insert_with_key(Key(key), &item(key)).unwrap();
        }
    }

    fn keys<T>(rows: &[Row<T>]) -> Vec<u128> {
        rows.iter().map(|row| row.key.0).collect()
    }

    #[test]
    fn a_document_comes_back_until_it_is_deleted() {
        items(2);
        assert_eq!(ITEMS.get(Key(1)), Ok(Some(item(1))));
        ITEMS.update(Key(1), &item(8)).unwrap();
        assert_eq!(ITEMS.get(Key(1)), Ok(Some(item(8))));
        ITEMS.put(Key(9), &item(9)).unwrap();
        let made = ITEMS.insert(&item(3)).unwrap();
        assert_eq!(ITEMS.get(made), Ok(Some(item(3))));
        ITEMS.delete(Key(1)).unwrap();
        assert_eq!(ITEMS.get(Key(1)), Ok(None));
        assert_eq!(ITEMS.get(Key(9)), Ok(Some(item(9))));
    }

    #[test]
    fn steps_are_done_under_their_conditions_all_or_none() {
        items(2);
        let version = |key| ITEMS.get_versioned(Key(key)).unwrap().map(|found| found.version);
        assert_eq!(ITEMS.get_versioned(Key(2)).unwrap().unwrap().value, item(2));
        let (one, two) = (version(1).unwrap(), version(2).unwrap());
        assert!(two > one);
        let mut batch = Batch::new();
        batch.update(&ITEMS, Key(1), &item(5), Condition::Version(one)).unwrap();
        batch.delete(&ITEMS, Key(2), None).insert(&ITEMS, None, &item(7)).unwrap();
        batch.check(&ITEMS, Key(3), Condition::Absent);
        let applied = batch.apply().unwrap();
        assert_eq!((applied.keys[0], applied.keys.len()), (Key(1), 4));
        assert_eq!((version(1), version(2)), (Some(applied.version), None));
        assert_eq!(ITEMS.get(applied.keys[2]), Ok(Some(item(7))));
        // A second time the first condition does not hold, and nothing is done.
        assert_eq!(batch.apply().unwrap_err().status, Status::ConditionFailed);
        assert_eq!(version(1), Some(applied.version));
        let mut batch = Batch::new();
        batch.put(&ITEMS, Key(9), &item(9), Condition::Absent).unwrap();
        batch.update(&ITEMS, Key(8), &item(8), None).unwrap();
        assert_eq!(batch.apply().unwrap_err().status, Status::NotFound);
        assert_eq!(ITEMS.get(Key(9)), Ok(None));
    }

    #[test]
    fn what_the_engine_refuses_keeps_its_status() {
        items(1);
        let status = |result: Result<()>| result.unwrap_err().status;
        assert_eq!(status(ITEMS.insert_with_key(Key(1), &item(1))), Status::KeyExists);
        assert_eq!(status(ITEMS.update(Key(2), &item(2))), Status::NotFound);
        assert_eq!(status(ITEMS.delete(Key(2))), Status::NotFound);
        let none: Store<Item> = Store::open("none");
        assert_eq!(none.get(Key(1)).unwrap_err().status, Status::UnknownStore);
        assert_eq!(none.visit(Key::MIN, Key::MAX, |_, _| Ok(())).unwrap_err().status.http(), 404);
    }

    #[test]
    fn ranges_are_paged_forward_and_back() {
        items(250);
        let page = ITEMS.range(Key(3), Key(9), 2).unwrap();
        assert_eq!((keys(&page.rows), page.next), (vec![3, 4], Some(Key(4))));
        let page = ITEMS.last(Key(3), Key(9), 2).unwrap();
        assert_eq!((keys(&page.rows), page.next), (vec![9, 8], Some(Key(8))));
        let page = ITEMS.scan(Some(Key(248)), 9).unwrap();
        assert_eq!((keys(&page.rows), page.next), (vec![249, 250], None));
        // More than one reply holds.
        let all = ITEMS.range_all(Key(2), Key(249)).unwrap();
        assert_eq!(keys(&all), (2..=249).collect::<Vec<_>>());
        assert_eq!(all[247].name, "item 249");
        let mut seen = Vec::new();
        ITEMS
            .visit(Key(2), Key(249), |key, doc| {
                assert_eq!(
                    doc.get("name").and_then(|v| v.as_str()),
                    Some(&*format!("item {}", key.0))
                );
                seen.push(key.0);
                Ok(())
            })
            .unwrap();
        assert_eq!(seen, (2..=249).collect::<Vec<_>>());
    }

    #[test]
    fn a_reply_larger_than_the_buffer_is_fetched_and_the_operation_run_once() {
        let large = Item { name: "x".repeat(1 << 20), size: None };
        items(0);
        ITEMS.insert_with_key(Key(1), &large).unwrap();
        assert_eq!(ITEMS.get(Key(1)), Ok(Some(large.clone())));
        // A short reply after a long one is read to its own end.
        ITEMS.insert_with_key(Key(2), &item(2)).unwrap();
        assert_eq!(ITEMS.get(Key(2)), Ok(Some(item(2))));

        let calls = std::rc::Rc::new(std::cell::Cell::new(0));
        let counted = calls.clone();
        set_host(move |packet, reply| {
            counted.set(counted.get() + 1);
            let (id, _) = Request::decode(packet).unwrap();
            ReplyWriter::new(id, reply).error(Status::Busy, &"x".repeat(2 << 20));
        });
        assert_eq!(ITEMS.insert(&item(1)).unwrap_err().message.len(), 2 << 20);
        assert_eq!(calls.get(), 1);
    }

    #[test]
    fn a_document_of_another_type_is_an_error_that_names_it() {
        items(1);
        let other: Store<std::collections::BTreeMap<String, u32>> = Store::open("items");
        let error = other.get(Key(1)).unwrap_err();
        assert_eq!(error.status, Status::Internal);
        assert!(error.message.contains("name"), "{error}");
    }

    #[test]
    fn a_reply_that_is_none_is_an_error() {
        set_host(|_, reply| reply.extend_from_slice(b"no packet"));
        assert_eq!(ITEMS.get(Key(1)).unwrap_err().status, Status::Internal);
    }
}
