//! The calls that are not about documents, and jobs. What is not here is asked by
//! [`Client::request`].

use super::Client;
use crate::{Error, Result};
use proto::bridge::to_doc;
use proto::{Key, NewJob, Request};
use serde::Serialize;
use serde::de::DeserializeOwned;

impl Client {
    /// Asks whether the server is there and lets this user in.
    ///
    /// # Errors
    /// It does not.
    pub async fn ping(&self) -> Result<()> {
        self.request(&Request::Ping).await.map(drop)
    }

    /// The figures of the engine, or those that `T` names.
    ///
    /// # Errors
    /// What the server refused, or figures that are no `T`.
    pub async fn stats<T: DeserializeOwned>(&self) -> Result<T> {
        self.request(&Request::Stats).await?.document()
    }

    /// The stores with their figures and indexes, or what `T` names of them.
    ///
    /// # Errors
    /// What the server refused, or a row that is no `T`.
    pub async fn stores<T: DeserializeOwned>(&self) -> Result<Vec<T>> {
        let rows = self.request(&Request::List).await?.rows()?;
        Ok(rows.into_iter().map(|row| row.value).collect())
    }

    /// Makes a store unless it exists.
    ///
    /// # Errors
    /// What the server refused.
    pub async fn create_store(&self, store: &str) -> Result<()> {
        let request = Request::CreateStore { store, if_not_exists: true };
        self.request(&request).await.map(drop)
    }

    /// Removes a store with all its documents, if it exists.
    ///
    /// # Errors
    /// What the server refused.
    pub async fn drop_store(&self, store: &str) -> Result<()> {
        let request = Request::DropStore { store, if_exists: true };
        self.request(&request).await.map(drop)
    }

    /// Makes an index unless the same exists: `{name?, fields: ["a.b", "-c"], unique?,
    /// sparse?, filter?: "a > 1"}`. It is built while writes go on.
    ///
    /// # Errors
    /// What the server refused, or a definition that is no document.
    pub async fn create_index(&self, store: &str, definition: &impl Serialize) -> Result<()> {
        let definition = to_doc(definition).map_err(Error::NoDocument)?;
        let request = Request::CreateIndex { store, if_not_exists: true, definition: &definition };
        self.request(&request).await.map(drop)
    }

    /// Removes an index, if it exists.
    ///
    /// # Errors
    /// What the server refused.
    pub async fn drop_index(&self, store: &str, index: &str) -> Result<()> {
        let request = Request::DropIndex { store, index, if_exists: true };
        self.request(&request).await.map(drop)
    }

    /// Has a job run when it is due; gives its key. Needs an admin, or a grant of
    /// `read_write` for the store `_jobs`.
    ///
    /// # Errors
    /// What the server refused, or a job that cannot be written. Whether a job whose answer
    /// was lost is there, only the store `_jobs` says.
    pub async fn schedule(&self, job: &NewJob) -> Result<Key> {
        let job = job.encode().map_err(|e| Error::invalid(format!("the job: {e}")))?;
        self.request(&Request::Schedule { job: &job }).await?.key()
    }

    /// Puts a job that was given up back among those that wait, by its key in the store
    /// `_dead_jobs`.
    ///
    /// # Errors
    /// What the server refused.
    pub async fn retry_job(&self, job: Key) -> Result<()> {
        self.request(&Request::RetryJob { job }).await.map(drop)
    }
}
