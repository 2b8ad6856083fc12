//! Writes in any stores that take effect together, each under a condition.
//!
//! What must stay true: what is sent is what was added, in its order; a batch that has one
//! value that is no document is refused as a whole, before anything is sent.

use crate::client::Client;
use crate::store::{Store, encode};
use crate::transaction::Transaction;
use crate::{Error, Result};
use proto::doc::{Doc, Value};
use proto::packet::HEADER_BYTES;
use proto::request::{Act, Condition, Step, StepsBuf};
use proto::{Key, Reply, Request};
use serde::Serialize;

/// Steps of one request: all are done in one commit, or none. See [`Client::apply`].
///
/// Each step may have a [`Condition`], of its document as it is before any step. If one does
/// not hold, nothing is written, and the error's status is
/// [`Status::ConditionFailed`](crate::Status::ConditionFailed). That is never tried again by
/// itself: read, decide anew.
///
/// ```no_run
/// # async fn example(client: planck_client::Client) -> planck_client::Result<()> {
/// # let key = planck_client::Key(1);
/// use planck_client::{Batch, Condition};
///
/// let (accounts, log) = (client.store::<u64>("accounts"), client.store::<String>("log"));
/// let Some(found) = accounts.get_versioned(key).await? else { return Ok(()) };
/// let mut batch = Batch::new();
/// batch.replace(&accounts, key, &(found.value - 1), Condition::Version(found.version))?;
/// batch.insert(&log, None, &"one less".to_owned(), None)?;
/// client.apply(&batch).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Batch(StepsBuf);

/// What a batch came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// The version that all documents written have now; 0 within a transaction, whose commit
    /// is still to come.
    pub version: u64,
    /// The key of each step.
    pub keys: Vec<Key>,
}

impl Batch {
    /// No step yet.
    pub fn new() -> Batch {
        Batch::default()
    }

    /// Adds a document under `key`, which must have none, or under one that is made. Of one
    /// that is made no condition can be asked but that there is none.
    ///
    /// # Errors
    /// A value that is no document.
    pub fn insert<T: Serialize>(
        &mut self,
        store: &Store<T>,
        key: Option<Key>,
        value: &T,
        condition: impl Into<Option<Condition>>,
    ) -> Result<&mut Batch> {
        let document = encode(value)?;
        Ok(self.push(store.name(), Act::Insert(key, &document), condition.into()))
    }

    /// Puts a document under `key`, whether there is one or not.
    ///
    /// # Errors
    /// A value that is no document.
    pub fn put<T: Serialize>(
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
    pub fn replace<T: Serialize>(
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
    pub fn delete<T>(
        &mut self,
        store: &Store<T>,
        key: Key,
        condition: impl Into<Option<Condition>>,
    ) -> &mut Batch {
        self.push(store.name(), Act::Delete(key), condition.into())
    }

    /// Writes nothing: the condition must hold for the other steps to be done.
    pub fn check<T>(&mut self, store: &Store<T>, key: Key, condition: Condition) -> &mut Batch {
        self.push(store.name(), Act::Check(key), Some(condition))
    }

    fn push(&mut self, store: &str, act: Act<'_>, condition: Option<Condition>) -> &mut Batch {
        self.0.push(Step { store, act, condition });
        self
    }

    /// Steps so far.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none so far.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Client {
    /// Does all steps of a batch as one commit, or nothing.
    ///
    /// # Errors
    /// What the server refused: [`Status::ConditionFailed`](crate::Status::ConditionFailed) if a
    /// condition does not hold, what the operations by themselves say else; a batch that no
    /// message holds.
    pub async fn apply(&self, batch: &Batch) -> Result<Applied> {
        let limit = self.config().connect.max_message_size;
        let bytes = HEADER_BYTES + size_of::<u32>() + batch.0.bytes();
        if bytes > limit {
            return Err(Error::Invalid(format!(
                "the batch has {bytes} bytes, connect.max_message_size is {limit}: do less at once, \
                 or do it in a transaction"
            )));
        }
        let answer = self.request(&Request::Apply { steps: batch.0.as_steps() }).await?;
        let wrong = || crate::answer::wrong("version and keys", "only a batch gives them");
        let Reply::Document(bytes) = answer.reply()? else { return Err(wrong()) };
        let told = Doc::parse(bytes).map_err(|_| wrong())?;
        let version = told.get("version").and_then(|version| version.as_i64());
        let (Some(version), Some(Value::Binary(keys))) = (version, told.get("keys")) else {
            return Err(wrong());
        };
        let (keys, []) = keys.bytes.as_chunks::<16>() else { return Err(wrong()) };
        let keys: Vec<Key> = keys.iter().map(|key| Key::from_bytes(*key)).collect();
        if keys.len() != batch.len() {
            return Err(wrong());
        }
        Ok(Applied { version: u64::try_from(version).map_err(|_| wrong())?, keys })
    }
}

impl Transaction {
    /// Does all steps of a batch as one operation of this transaction, or nothing. Conditions
    /// are of what it sees, and count as reads.
    ///
    /// # Errors
    /// As [`Client::apply`].
    pub async fn apply(&self, batch: &Batch) -> Result<Applied> {
        self.client.apply(batch).await
    }
}
