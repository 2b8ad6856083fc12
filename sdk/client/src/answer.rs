//! A reply of the server, and what it says as Rust types.
//!
//! Invariant: an [`Answer`] is a whole reply that is no refusal.

use crate::{Error, Result};
use proto::bridge::from_doc;
use proto::doc::Doc;
use proto::{Key, Reply, Rows};
use serde::de::DeserializeOwned;
use std::ops::Deref;

/// What the server answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer(Vec<u8>);

/// A document of a store and its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row<T> {
    /// Its primary key.
    pub key: Key,
    /// The document.
    pub value: T,
}

/// A row of a query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found<T> {
    /// The key of the document it is; `pluck` and groups give rows without.
    pub key: Option<Key>,
    /// The document.
    pub value: T,
}

/// A document of a store and its version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Versioned<T> {
    /// The number of the commit that wrote it: every write gives it a larger one. 0: the
    /// transaction that it was read in has written it.
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

impl<T> Deref for Row<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T> Deref for Found<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl Answer {
    /// Of a whole reply packet.
    ///
    /// # Errors
    /// It is a refusal, or no reply.
    pub fn of(packet: Vec<u8>) -> Result<Answer> {
        match Reply::decode(&packet)?.1 {
            Reply::Error { status, message } => {
                Err(Error::Refused { status, message: message.to_owned() })
            }
            _ => Ok(Answer(packet)),
        }
    }

    /// What it says, borrowed.
    ///
    /// # Errors
    /// None, of an answer that was made by [`Answer::of`].
    pub fn reply(&self) -> Result<Reply<'_>> {
        Ok(Reply::decode(&self.0)?.1)
    }

    /// The whole packet.
    pub fn packet(&self) -> &[u8] {
        &self.0
    }

    /// The key of a document that was added or replaced.
    ///
    /// # Errors
    /// It says something else.
    pub fn key(&self) -> Result<Key> {
        match self.reply()? {
            Reply::Key(key) => Ok(key),
            _ => Err(wrong("key", "only what adds or replaces one document gives a key")),
        }
    }

    /// The keys of documents that were added.
    ///
    /// # Errors
    /// It says something else.
    pub fn keys(&self) -> Result<Vec<Key>> {
        match self.reply()? {
            Reply::Keys(keys) => Ok(keys.iter().collect()),
            _ => Err(wrong("list of keys", "only what adds many documents gives their keys")),
        }
    }

    /// A number: of documents counted, changed or removed.
    ///
    /// # Errors
    /// It says something else.
    pub fn count(&self) -> Result<u64> {
        match self.reply()? {
            Reply::Count(count) => Ok(count),
            _ => Err(wrong("number", "a query gives one that ends with count() or a change")),
        }
    }

    /// A document that is no stored one, such as figures.
    ///
    /// # Errors
    /// It says something else, or is no `T`.
    pub fn document<T: DeserializeOwned>(&self) -> Result<T> {
        match self.reply()? {
            Reply::Document(bytes) => decode(None, bytes),
            _ => Err(wrong("document", "a query gives one that ends with explain()")),
        }
    }

    /// A stored document with its version.
    ///
    /// # Errors
    /// It says something else, or is no `T`.
    pub fn versioned<T: DeserializeOwned>(&self) -> Result<Versioned<T>> {
        match self.reply()? {
            Reply::Versioned { version, document } => {
                Ok(Versioned { version, value: decode(None, document)? })
            }
            _ => Err(wrong("document and its version", "only ReadVersion gives them")),
        }
    }

    /// All rows of this reply: of stores, users, a page.
    ///
    /// # Errors
    /// It says something else, or a row is no `T`.
    pub fn rows<T: DeserializeOwned>(&self) -> Result<Vec<Found<T>>> {
        let found = rows(self.reply()?)?;
        found.iter().map(|(key, bytes)| Ok(Found { key, value: decode(key, bytes)? })).collect()
    }
}

pub(crate) fn wrong(expected: &'static str, advice: &'static str) -> Error {
    Error::WrongAnswer { expected, advice }
}

pub(crate) fn rows(reply: Reply<'_>) -> Result<Rows<'_>> {
    match reply {
        Reply::Rows(rows) => Ok(rows),
        _ => {
            Err(wrong("list of rows", "a query gives rows unless it ends with count() or a change"))
        }
    }
}

/// A document as a `T`. The bytes are a stranger's.
pub(crate) fn decode<T: DeserializeOwned>(key: Option<Key>, bytes: &[u8]) -> Result<T> {
    let document = Doc::parse(bytes).map_err(proto::bridge::Error::from);
    document.and_then(from_doc).map_err(|source| Error::WrongType { key, source })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::bridge::to_doc;
    use proto::{ReplyWriter, Status};
    use std::collections::BTreeMap;

    type Document = BTreeMap<String, i32>;

    fn packet(write: impl FnOnce(ReplyWriter<'_>)) -> Vec<u8> {
        let mut out = Vec::new();
        write(ReplyWriter::new(1, &mut out));
        out
    }

    fn document(n: i32) -> Document {
        [("n".to_owned(), n)].into()
    }

    #[test]
    fn each_kind_of_answer_is_read_as_itself_and_as_nothing_else() {
        let bytes = to_doc(&document(5)).unwrap();
        let of = |packet| Answer::of(packet).unwrap();
        let answers = [
            of(packet(|reply| reply.key(Key(7)))),
            of(packet(|reply| reply.keys(&[Key(7), Key(8)]))),
            of(packet(|reply| reply.count(9))),
            of(packet(|reply| reply.document(&bytes))),
            of(packet(|reply| {
                let mut rows = reply.rows(true);
                rows.push(Key(3), &bytes);
                rows.finish(None);
            })),
            of(packet(|reply| reply.versioned(4, &bytes))),
        ];
        assert_eq!(answers[0].key().unwrap(), Key(7));
        assert_eq!(answers[1].keys().unwrap(), [Key(7), Key(8)]);
        assert_eq!(answers[2].count().unwrap(), 9);
        assert_eq!(answers[3].document::<Document>().unwrap(), document(5));
        let rows = answers[4].rows::<Document>().unwrap();
        assert_eq!(rows, [Found { key: Some(Key(3)), value: document(5) }]);
        assert_eq!(rows[0]["n"], 5);
        let versioned = answers[5].versioned::<Document>().unwrap();
        assert_eq!((versioned.version, versioned["n"]), (4, 5));
        for (at, answer) in answers.iter().enumerate() {
            let read = [
                answer.key().is_ok(),
                answer.keys().is_ok(),
                answer.count().is_ok(),
                answer.document::<Document>().is_ok(),
                answer.rows::<Document>().is_ok(),
                answer.versioned::<Document>().is_ok(),
            ];
            assert_eq!(read, std::array::from_fn(|n| n == at));
        }
    }

    #[test]
    fn a_refusal_is_an_error_and_so_is_what_is_no_reply() {
        let refused = Answer::of(packet(|reply| reply.error(Status::KeyExists, "taken")));
        assert_eq!(refused.unwrap_err().status(), Some(Status::KeyExists));
        assert!(matches!(Answer::of(vec![1, 2, 3]), Err(Error::Protocol(_))));
    }

    #[test]
    fn a_document_of_another_type_names_its_key_and_field() {
        let bytes = to_doc(&BTreeMap::from([("n", "no number")])).unwrap();
        let error = decode::<Document>(Some(Key(7)), &bytes).unwrap_err().to_string();
        assert!(error.contains(&Key(7).to_string()) && error.contains("\"n\""), "{error}");
        assert!(decode::<Document>(None, &[5, 0, 0, 0, 1]).is_err(), "it is no document");
    }
}
