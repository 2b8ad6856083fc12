//! Calls that take effect together, or not at all.
//!
//! What must stay true: all calls of a transaction go by the one session it is of, one
//! after the other. It is begun again by itself only if it was certainly not committed: a
//! commit of which nobody knows what became is an error. A session with a transaction that
//! was not ended, whatever broke off, is given up, which ends it.

use crate::answer::Answer;
use crate::client::Client;
use crate::pool::Pooled;
use crate::query::Query;
use crate::retry::{self, Attempts, Kind};
use crate::store::Store;
use crate::{Error, Result};
use proto::request::Part;
use proto::{Request, Status};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::{Mutex, OwnedMutexGuard};
use tokio::time::timeout;

/// How long a transaction that is given up may take to be ended. A new session takes less.
const ENDING: Duration = Duration::from_secs(1);

/// A transaction: see [`Client::transaction`]. What is asked through it sees one moment of
/// the database, and what it has written itself.
pub struct Transaction {
    pub(crate) client: Client,
    bound: Arc<Bound>,
}

/// A place in a transaction to come back to: see [`Transaction::savepoint`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Savepoint(u64);

/// What the calls of one transaction share.
#[derive(Debug)]
pub(crate) struct Bound {
    number: u64,
    session: Arc<Mutex<Held>>,
    /// It was disturbed, or its session was lost: nothing of it is done, and it may be
    /// begun again.
    disturbed: AtomicBool,
    /// How long a call waits for the one before.
    wait: Duration,
}

/// A session with a transaction; `None`: that has ended.
#[derive(Debug)]
pub(crate) struct Held(Option<Pooled>);

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(mut session) = self.0.take() {
            session.discard();
        }
    }
}

/// What one call goes by.
#[derive(Debug)]
pub(crate) enum Carrier {
    /// A session of its own.
    Own(Pooled),
    /// That of a transaction.
    Bound(OwnedMutexGuard<Held>, Arc<Bound>),
}

impl Carrier {
    /// The answer to a request; a refusal is an error.
    pub(crate) async fn ask(&mut self, request: &Request<'_>) -> Result<Answer> {
        let (held, bound) = match self {
            Carrier::Own(session) => return session.ask(request).await,
            Carrier::Bound(held, bound) => (held, bound),
        };
        let Some(session) = &mut held.0 else { return Err(ended()) };
        let mut room = Vec::new();
        let (transaction, part) = (bound.number, Part::of(request, &mut room));
        let answer = session.ask(&Request::Within { transaction, part }).await;
        if let Err(error) = &answer {
            bound.note(error);
        }
        answer
    }

    /// Closes the session rather than keep it.
    pub(crate) fn discard(&mut self) {
        match self {
            Carrier::Own(session) => session.discard(),
            Carrier::Bound(held, _) => {
                if let Some(mut session) = held.0.take() {
                    session.discard();
                }
            }
        }
    }
}

fn ended() -> Error {
    Error::invalid("this transaction has ended: begin another one")
}

impl Bound {
    /// What the next call goes by, once the one before is done.
    pub(crate) async fn carrier(self: &Arc<Self>) -> Result<Carrier> {
        let held = timeout(self.wait, Arc::clone(&self.session).lock_owned()).await;
        let held = held.map_err(|_| {
            Error::invalid(
                "rows of this transaction are still being read: read them to their end, or drop \
                 them, before anything else is asked in it",
            )
        })?;
        Ok(Carrier::Bound(held, Arc::clone(self)))
    }

    fn note(&self, error: &Error) {
        let lost = matches!(error, Error::Lost { .. });
        if lost || error.status() == Some(Status::TransactionConflict) {
            self.disturbed.store(true, Ordering::Relaxed);
        }
    }

    /// Asks about the transaction itself.
    async fn about(self: &Arc<Self>, request: &Request<'_>) -> Result<Answer> {
        let Carrier::Bound(mut held, _) = self.carrier().await? else { return Err(ended()) };
        let Some(session) = &mut held.0 else { return Err(ended()) };
        let answer = session.ask(request).await;
        if let Err(error) = &answer {
            self.note(error);
        }
        answer
    }

    /// Lets go of it.
    pub(crate) async fn abort(self: &Arc<Self>) -> Result<()> {
        let abort = Request::Abort { transaction: self.number };
        // In vain, its session is given up, and it with that.
        timeout(ENDING, self.end(&abort)).await.unwrap_or(Ok(()))
    }

    /// Ends it by a Commit or Abort; its session is free then, or gone.
    async fn end(self: &Arc<Self>, request: &Request<'_>) -> Result<()> {
        let Carrier::Bound(mut held, _) = self.carrier().await? else { return Err(ended()) };
        let Some(mut session) = held.0.take() else { return Err(ended()) };
        let answer = session.ask(request).await;
        // The server has let go of it, but where it did not answer.
        if answer.as_ref().is_err_and(|error| error.status().is_none()) {
            session.discard();
        }
        answer.map(drop)
    }
}

impl Transaction {
    /// The documents of a store, as `T`, as this transaction sees them.
    pub fn store<T>(&self, name: impl Into<Arc<str>>) -> Store<T> {
        self.client.store(name)
    }

    /// A query, as [`Client::query`], of what this transaction sees. Its rows are to be read
    /// to their end, or dropped, before anything else is asked in it.
    pub fn query<'q>(&self, text: &'q str, parameters: impl Serialize) -> Query<'q> {
        self.client.query(text, parameters)
    }

    /// Asks for anything that can be part of a transaction and that one reply answers in
    /// full.
    ///
    /// # Errors
    /// As [`Client::request`].
    pub async fn request(&self, request: &Request<'_>) -> Result<Answer> {
        self.client.request(request).await
    }

    /// Has a job run when it is due, if this transaction takes effect; gives its key.
    ///
    /// # Errors
    /// As [`Client::schedule`].
    pub async fn schedule(&self, job: &proto::NewJob) -> Result<proto::Key> {
        self.client.schedule(job).await
    }

    /// A place to come back to.
    ///
    /// # Errors
    /// What the server refused, and what kept it from answering.
    pub async fn savepoint(&self) -> Result<Savepoint> {
        let transaction = self.bound.number;
        let answer = self.bound.about(&Request::Savepoint { transaction }).await?;
        Ok(Savepoint(answer.count()?))
    }

    /// Undoes what was written since a savepoint, which stays; later ones are gone.
    ///
    /// # Errors
    /// As [`Transaction::savepoint`].
    pub async fn rollback(&self, to: Savepoint) -> Result<()> {
        let (transaction, savepoint) = (self.bound.number, to.0);
        self.bound.about(&Request::Rollback { transaction, savepoint }).await.map(drop)
    }
}

impl fmt::Debug for Transaction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transaction").field("number", &self.bound.number).finish_non_exhaustive()
    }
}

/// What Begin answers, as far as it matters.
#[derive(Deserialize)]
struct Begun {
    transaction: u64,
    lsn: u64,
}

/// An attempt that failed, and whether another one may be made.
struct Missed<E> {
    again: bool,
    error: E,
}

impl Client {
    /// Runs `work` as a transaction: what it reads is of one moment, what it writes takes
    /// effect when it returns `Ok`, all of it or nothing, and as if nobody else had been
    /// there meanwhile. On `Err` nothing of it is done.
    ///
    /// If another commit changed what it rests on, `work` is run again from the beginning,
    /// after pauses that grow ([`crate::RetryOptions`]): so it should do nothing but ask
    /// through the transaction, and decide.
    ///
    /// ```no_run
    /// # async fn example(client: planck_client::Client) -> planck_client::Result<()> {
    /// # let (from, to) = (planck_client::Key(1), planck_client::Key(2));
    /// client
    ///     .transaction(async |tx| {
    ///         let accounts = tx.store::<u64>("accounts");
    ///         let balance = accounts.get(from).await?.unwrap_or(0);
    ///         accounts.upsert(from, &(balance - 1)).await?;
    ///         let other = accounts.get(to).await?.unwrap_or(0);
    ///         accounts.upsert(to, &(other + 1)).await
    ///     })
    ///     .await
    /// # }
    /// ```
    ///
    /// # Errors
    /// `work`'s own; what kept the transaction from being begun or committed: with
    /// [`Status::TransactionConflict`] it was disturbed each time. Of a commit that was not
    /// answered [`Error::fate`] says that it may have been done.
    pub async fn transaction<T, E: From<Error>>(
        &self,
        work: impl AsyncFn(&Transaction) -> Result<T, E>,
    ) -> Result<T, E> {
        self.run(false, work).await
    }

    /// As [`Client::transaction`], for work that only reads: all of it is of one moment, and
    /// nobody disturbs it.
    ///
    /// # Errors
    /// As [`Client::transaction`].
    pub async fn snapshot<T, E: From<Error>>(
        &self,
        work: impl AsyncFn(&Transaction) -> Result<T, E>,
    ) -> Result<T, E> {
        self.run(true, work).await
    }

    async fn run<T, E: From<Error>>(
        &self,
        read_only: bool,
        work: impl AsyncFn(&Transaction) -> Result<T, E>,
    ) -> Result<T, E> {
        if self.is_bound() {
            return Err(Error::invalid("a transaction within a transaction").into());
        }
        let mut attempts = Attempts::first(self.retry_options());
        loop {
            let missed = match self.run_once(read_only, &work).await {
                Ok(done) => return Ok(done),
                Err(missed) => missed,
            };
            if !missed.again || attempts.next().await.is_none() {
                return Err(missed.error);
            }
        }
    }

    async fn run_once<T, E: From<Error>>(
        &self,
        read_only: bool,
        work: &impl AsyncFn(&Transaction) -> Result<T, E>,
    ) -> Result<T, Missed<E>> {
        let missed = |error: Error| Missed {
            again: retry::again(Kind::Once, false, &error)
                || error.status() == Some(Status::TransactionConflict),
            error: error.into(),
        };
        let (bound, _) = self.begin(read_only).await.map_err(missed)?;
        let transaction = Transaction { client: self.bound_to(&bound), bound };
        let bound = &transaction.bound;
        let number = bound.number;
        match work(&transaction).await {
            Ok(done) => {
                let commit = Request::Commit { transaction: number };
                bound.end(&commit).await.map_err(missed)?;
                Ok(done)
            }
            Err(error) => {
                let _ended = bound.abort().await;
                Err(Missed { again: bound.disturbed.load(Ordering::Relaxed), error })
            }
        }
    }

    /// One of a session of its own, and the commit whose state it sees.
    pub(crate) async fn begin(&self, read_only: bool) -> Result<(Arc<Bound>, u64)> {
        let mut session = self.session().await?;
        let answer = session.ask(&Request::Begin { read_only, millis: 0 }).await;
        let begun = answer.and_then(|answer| answer.document::<Begun>());
        // Begun, perhaps, and nobody knows its number.
        if begun.as_ref().is_err_and(|error| error.status().is_none()) {
            session.discard();
        }
        let Begun { transaction: number, lsn } = begun?;
        let bound = Bound {
            number,
            session: Arc::new(Mutex::new(Held(Some(session)))),
            disturbed: AtomicBool::new(false),
            wait: self.config().pool.wait_timeout,
        };
        Ok((Arc::new(bound), lsn))
    }
}
