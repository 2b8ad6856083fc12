//! Writes in any stores that take effect together, each under a condition.
//!
//! Invariant: what is asked is what was added, in its order, by one `host_request`.

use crate::Result;
use crate::host::call;
use crate::store::{Store, encode, unexpected};
use proto::doc::{Doc, Value};
use proto::request::{Act, Condition, Step, StepsBuf};
use proto::{Key, Reply, Request};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Steps of one request: all are done, or none. Each may have a [`Condition`], of its
/// document as it is before any step; if one does not hold, nothing is written, and the
/// error's status is [`Status::ConditionFailed`](crate::Status::ConditionFailed).
#[derive(Clone, Debug, Default)]
pub struct Batch(StepsBuf);

/// What a batch came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// The version that all documents written have now; 0 where a call is one transaction,
    /// whose commit is still to come.
    pub version: u64,
    /// The key of each step.
    pub keys: Vec<Key>,
}

impl Batch {
    /// No step yet.
    pub fn new() -> Batch {
        Batch::default()
    }

    /// Adds a document under `key`, which must have none, or under one that is made.
    ///
    /// # Errors
    /// A value that is no document.
    pub fn insert<T: Serialize + DeserializeOwned>(
        &mut self,
        store: &Store<T>,
        key: Option<Key>,
        value: &T,
    ) -> Result<&mut Batch> {
        let document = encode(value)?;
        Ok(self.push(store.name(), Act::Insert(key, &document), None))
    }

    /// Puts a document under `key`, whether there is one or not.
    ///
    /// # Errors
    /// A value that is no document.
    pub fn put<T: Serialize + DeserializeOwned>(
        &mut self,
        store: &Store<T>,
        key: Key,
        value: &T,
        condition: impl Into<Option<Condition>>,
    ) -> Result<&mut Batch> {
        let document = encode(value)?;
        Ok(self.push(store.name(), Act::Put(key, &document), condition.into()))
    }

    /// Replaces the document under `key`, which must be there.
    ///
    /// # Errors
    /// A value that is no document.
    pub fn update<T: Serialize + DeserializeOwned>(
        &mut self,
        store: &Store<T>,
        key: Key,
        value: &T,
        condition: impl Into<Option<Condition>>,
    ) -> Result<&mut Batch> {
        let document = encode(value)?;
        Ok(self.push(store.name(), Act::Replace(key, &document), condition.into()))
    }

    /// Removes the document under `key`, which must be there.
    pub fn delete<T: Serialize + DeserializeOwned>(
        &mut self,
        store: &Store<T>,
        key: Key,
        condition: impl Into<Option<Condition>>,
    ) -> &mut Batch {
        self.push(store.name(), Act::Delete(key), condition.into())
    }

    /// Writes nothing: the condition must hold for the other steps to be done.
    pub fn check<T: Serialize + DeserializeOwned>(
        &mut self,
        store: &Store<T>,
        key: Key,
        condition: Condition,
    ) -> &mut Batch {
        self.push(store.name(), Act::Check(key), Some(condition))
    }

    fn push(&mut self, store: &str, act: Act<'_>, condition: Option<Condition>) -> &mut Batch {
        self.0.push(Step { store, act, condition });
        self
    }

    /// Does all steps, or none.
    ///
    /// # Errors
    /// What the engine refused; nothing was written then.
    pub fn apply(&self) -> Result<Applied> {
        call(&Request::Apply { steps: self.0.as_steps() }, |reply| {
            let Reply::Document(bytes) = reply else { return Err(unexpected()) };
            let told = Doc::trusted(bytes);
            let version = told.get("version").and_then(|version| version.as_i64());
            let (Some(version), Some(Value::Binary(keys))) = (version, told.get("keys")) else {
                return Err(unexpected());
            };
            let (keys, _) = keys.bytes.as_chunks::<16>();
            let keys = keys.iter().map(|key| Key::from_bytes(*key)).collect();
            Ok(Applied { version: version.cast_unsigned(), keys })
        })
    }
}
