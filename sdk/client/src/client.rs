//! Many callers, a few connections, and what goes wrong between them.
//!
//! What must stay true: what is tried again is decided by [`crate::retry`] alone. A
//! request of one session is refused here: the next call may be made in another. A call
//! that is dropped half-way costs its connection, never somebody else's answer.

mod admin;

use crate::answer::Answer;
use crate::options::{Config, RetryOptions};
use crate::pool::{Pool, Pooled};
use crate::query::Query;
use crate::retry::{self, Attempts, Kind};
use crate::store::Store;
use crate::transaction::{Bound, Carrier};
use crate::{Error, Result};
use proto::{Request, Status};
use serde::Serialize;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// A user of a server. Cheap to clone; clones share their connections.
///
/// Nothing happens before the first call, which connects. A lost connection is made
/// anew when it is needed. Dropping the future of a call gives the call up: wrap it in
/// [`tokio::time::timeout`] for a deadline of its own.
#[derive(Clone)]
pub struct Client {
    pool: Arc<Pool>,
    retry: RetryOptions,
    repeat: bool,
    patience: Duration,
    /// The transaction that all its calls are part of.
    within: Option<Arc<Bound>>,
}

impl Client {
    /// A client of that server. It does not connect yet; [`Client::ping`] does.
    ///
    /// # Errors
    /// An address or a bound that cannot be.
    pub fn new(config: Config) -> Result<Client> {
        let retry = config.retry;
        Ok(Client {
            pool: Arc::new(Pool::new(config)?),
            retry,
            repeat: false,
            patience: Duration::ZERO,
            within: None,
        })
    }

    /// The same client, for writes that may be carried out twice: what is repeatable by
    /// nature (see the table of the crate) is then asked again even if it is not known
    /// what became of it. The answer is that of the last time: an insert with a key that
    /// was carried out and is repeated says [`Status::KeyExists`].
    #[must_use]
    pub fn repeating(&self) -> Client {
        Client { repeat: true, ..self.clone() }
    }

    /// The same client, for answers that are not wanted any more after so much time: the
    /// server gives the request up then, for good, and says [`Status::Timeout`]. Of rows
    /// it is the time of a page. Zero: as long as the server's own limits allow.
    #[must_use]
    pub fn within(&self, patience: Duration) -> Client {
        Client { patience, ..self.clone() }
    }

    /// Asks anything that one reply answers in full. Stores and queries have shorter ways.
    ///
    /// # Errors
    /// What the server refused, and what kept it from answering. What is of one session
    /// (Auth and cursors) is not asked through a pool: see [`crate::Connection`].
    pub async fn request(&self, request: &Request<'_>) -> Result<Answer> {
        if retry::kind(request) == Kind::Session {
            return Err(Error::invalid(
                "it is of one session: ask it on a Connection, of which you know what it has \
                 open",
            ));
        }
        if matches!(request, Request::Query { .. } | Request::Stream { .. }) {
            return Err(Error::invalid(
                "a query may have more rows than fit one reply: ask it with Client::query",
            ));
        }
        Ok(self.ask(request).await?.1)
    }

    /// The answer, and what it came by. As part of a transaction nothing is tried again but
    /// all of that.
    pub(crate) async fn ask(&self, request: &Request<'_>) -> Result<(Carrier, Answer)> {
        if let Some(bound) = &self.within {
            let mut carrier = bound.carrier().await?;
            let answer = carrier.ask(request).await?;
            return Ok((carrier, answer));
        }
        let kind = retry::kind(request);
        let mut attempts = Attempts::first(self.retry);
        loop {
            let error = match self.attempt(request).await {
                Ok((session, answer)) => return Ok((Carrier::Own(session), answer)),
                Err(error) => error,
            };
            if !retry::again(kind, self.repeat, &error) || attempts.next().await.is_none() {
                return Err(error);
            }
        }
    }

    async fn attempt(&self, request: &Request<'_>) -> Result<(Pooled, Answer)> {
        let mut connection = self.session().await?;
        let answer = connection.ask(request).await?;
        Ok((connection, answer))
    }

    /// A session of its own.
    pub(crate) async fn session(&self) -> Result<Pooled> {
        self.pool.take(self.patience).await
    }

    /// The same client, all of whose calls are part of a transaction.
    pub(crate) fn bound_to(&self, bound: &Arc<Bound>) -> Client {
        Client { within: Some(Arc::clone(bound)), ..self.clone() }
    }

    /// Whether they are.
    pub(crate) fn is_bound(&self) -> bool {
        self.within.is_some()
    }

    pub(crate) fn retry_options(&self) -> RetryOptions {
        self.retry
    }

    /// The documents of a store, as `T`. Nothing is asked yet.
    pub fn store<T>(&self, name: impl Into<Arc<str>>) -> Store<T> {
        Store::new(self.clone(), name.into())
    }

    /// A query, such as `flights.filter(origin = $1).limit(10)`, with the values of `$1`,
    /// `$2`, ... as a tuple, a list, or `()`. Nothing is asked yet.
    pub fn query<'q>(&self, text: &'q str, parameters: impl Serialize) -> Query<'q> {
        Query::new(self.clone(), text, &parameters)
    }

    /// A query with parameters as the wire has them.
    pub(crate) fn query_with<'q>(&self, text: &'q str, parameters: Option<&[u8]>) -> Query<'q> {
        Query::with(self.clone(), text, parameters.map(<[u8]>::to_vec))
    }

    /// Connections that are open and not in use.
    pub fn idle_connections(&self) -> usize {
        self.pool.resting()
    }

    /// Closes the connections; calls made later, by any clone, are refused. Dropping all
    /// clones is as good.
    pub fn close(&self) {
        self.pool.close();
    }

    pub(crate) fn config(&self) -> &Config {
        self.pool.config()
    }
}

impl Pooled {
    /// The answer to a request; a refusal is an error. The connection is not kept if the
    /// server is about to close it.
    pub(crate) async fn ask(&mut self, request: &Request<'_>) -> Result<Answer> {
        let answer = Answer::of(self.call(request).await?);
        if answer.as_ref().is_err_and(ends_the_session) {
            self.discard();
        }
        answer
    }
}

/// Whether the server closes the connection behind such an answer, or nobody knows what
/// comes behind it.
fn ends_the_session(error: &Error) -> bool {
    error.status().is_none_or(|status| {
        matches!(
            status,
            Status::BadPacket
                | Status::UnknownVersion
                | Status::MessageTooLarge
                | Status::NotAuthenticated
                | Status::Internal
        )
    })
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Config { address, user, .. } = self.config();
        f.debug_struct("Client")
            .field("address", address)
            .field("user", user)
            .field("idle_connections", &self.idle_connections())
            .finish_non_exhaustive()
    }
}

const _: fn() = || {
    fn may_be_shared<T: Send + Sync + Clone>() {}
    may_be_shared::<Client>();
};
