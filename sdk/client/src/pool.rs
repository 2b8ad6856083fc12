//! The connections of a client: made when they are needed, kept for the next call.
//!
//! What must stay true: connections in use and idle are never more than
//! [`PoolOptions::connections`]; a call takes an idle one before it makes a new one.
//! Who waits for one is bounded in number and time. A connection that is not as good
//! as new is never kept, and one that was idle is looked at before it is used. Over QUIC
//! what is called a connection here is a place for one call on one (`line.rs`).

use crate::line::{Line, Lines};
use crate::options::{Config, PoolOptions};
use crate::{Error, Result};
use proto::{Reply, Request};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, TryAcquireError};
use tokio::task::yield_now;
use tokio::time::{Instant, sleep_until, timeout};

#[derive(Debug)]
pub(crate) struct Pool {
    config: Config,
    /// Of connections in use.
    places: Arc<Semaphore>,
    waiting: AtomicUsize,
    lines: Lines,
    idle: Mutex<Idle>,
}

#[derive(Debug, Default)]
struct Idle {
    /// The one used last at the end, with the moment since which it is idle.
    connections: Vec<(Line, Instant)>,
    /// Whether a task closes those that are idle for too long.
    swept: bool,
}

/// A connection in use. Dropped, it is kept for the next call, if it is as good as new.
#[derive(Debug)]
pub(crate) struct Pooled {
    /// `None` once it was discarded.
    connection: Option<Line>,
    pool: Arc<Pool>,
    /// After which an answer is not wanted any more; zero: it always is.
    patience: Duration,
    /// Given back behind the connection: fields are dropped after [`Drop::drop`].
    _place: OwnedSemaphorePermit,
}

impl Pool {
    pub(crate) fn new(config: Config) -> Result<Pool> {
        config.check()?;
        let places = config.pool.connections.min(Semaphore::MAX_PERMITS);
        Ok(Pool {
            places: Arc::new(Semaphore::new(places)),
            waiting: AtomicUsize::new(0),
            lines: Lines::default(),
            idle: Mutex::default(),
            config,
        })
    }

    pub(crate) fn config(&self) -> &Config {
        &self.config
    }

    fn idle(&self) -> MutexGuard<'_, Idle> {
        // Nothing is left half-done in it if a holder panicked.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection that works, as far as can be known.
    pub(crate) async fn take(self: &Arc<Self>, patience: Duration) -> Result<Pooled> {
        let place = self.place().await?;
        let connection = match self.kept().await {
            Some(connection) => connection,
            None => self.lines.open(&self.config).await?,
        };
        Ok(Pooled { connection: Some(connection), pool: self.clone(), patience, _place: place })
    }

    /// The right to have a connection.
    async fn place(&self) -> Result<OwnedSemaphorePermit> {
        match self.places.clone().try_acquire_owned() {
            Ok(place) => return Ok(place),
            Err(TryAcquireError::Closed) => return Err(closed()),
            Err(TryAcquireError::NoPermits) => {}
        }
        let PoolOptions { connections, waiting, wait_timeout, .. } = self.config.pool;
        let exhausted = |why| Error::Exhausted { connections, why };
        let _queued = Queued::enter(&self.waiting, waiting)
            .ok_or_else(|| exhausted(format!("{waiting} calls wait for one already")))?;
        match timeout(wait_timeout, self.places.clone().acquire_owned()).await {
            Ok(Ok(place)) => Ok(place),
            Ok(Err(_)) => Err(closed()),
            Err(_) => Err(exhausted(format!("none became free within {wait_timeout:?}"))),
        }
    }

    /// The connection used last that still works.
    async fn kept(&self) -> Option<Line> {
        let PoolOptions { idle_timeout, check_after, check_timeout, .. } = self.config.pool;
        loop {
            let (mut connection, since) = self.idle().connections.pop()?;
            // So that the runtime has looked whether the server closed it.
            yield_now().await;
            let rested = since.elapsed();
            // What the server is about to close is no use: a request could cross that.
            let servers = Duration::from_millis(connection.greeting().idle_timeout_ms / 2);
            let tired = rested >= idle_timeout || (!servers.is_zero() && rested >= servers);
            if tired || connection.has_ended() {
                continue;
            }
            if rested < check_after {
                return Some(connection);
            }
            let ping = connection.call_within(&Request::Ping, Duration::ZERO);
            let asked = timeout(check_timeout, ping).await;
            if let Ok(Ok(reply)) = asked
                && let Ok((_, Reply::Empty)) = Reply::decode(&reply)
            {
                return Some(connection);
            }
            connection.discard();
        }
    }

    /// Keeps a connection that was used.
    fn keep(self: &Arc<Self>, connection: Line) {
        let mut idle = self.idle();
        if self.places.is_closed() {
            return;
        }
        idle.connections.push((connection, Instant::now()));
        if !idle.swept
            && let Ok(runtime) = Handle::try_current()
        {
            idle.swept = true;
            runtime.spawn(sweep(Arc::downgrade(self), self.config.pool.idle_timeout));
        }
    }

    /// Takes out what was idle for too long; says when the next one will have been.
    fn expired(&self) -> (Vec<(Line, Instant)>, Option<Instant>) {
        let limit = self.config.pool.idle_timeout;
        let mut idle = self.idle();
        let old = idle.connections.iter().take_while(|(_, since)| since.elapsed() >= limit).count();
        let gone = idle.connections.drain(..old).collect();
        let next = idle.connections.first().map(|(_, since)| *since + limit);
        idle.swept = next.is_some();
        (gone, next)
    }

    /// Closes what is idle; what is in use is closed when it is given back.
    pub(crate) fn close(&self) {
        self.places.close();
        let gone = std::mem::take(&mut self.idle().connections);
        drop(gone);
    }

    /// Connections that nobody uses.
    pub(crate) fn resting(&self) -> usize {
        self.idle().connections.len()
    }
}

/// Closes connections that are idle for too long, until there is none.
async fn sweep(pool: Weak<Pool>, first: Duration) {
    let mut next = Instant::now() + first;
    loop {
        sleep_until(next).await;
        let Some(pool) = pool.upgrade() else { return };
        let (gone, later) = pool.expired();
        drop(gone);
        match later {
            Some(later) => next = later,
            None => return,
        }
    }
}

fn closed() -> Error {
    Error::invalid("this client was closed: make another one")
}

/// A call that waits, one of a bounded number.
struct Queued<'a>(&'a AtomicUsize);

impl<'a> Queued<'a> {
    fn enter(waiting: &'a AtomicUsize, most: usize) -> Option<Queued<'a>> {
        let more = |n: usize| (n < most).then_some(n + 1);
        waiting.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).ok()?;
        Some(Queued(waiting))
    }
}

impl Drop for Queued<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Pooled {
    /// Asks on this connection. One that failed is not used again.
    pub(crate) async fn call(&mut self, request: &Request<'_>) -> Result<Vec<u8>> {
        let Some(connection) = &mut self.connection else { return Err(Error::Broken) };
        let result = connection.call_within(request, self.patience).await;
        if result.is_err() && !connection.is_idle() {
            self.discard();
        }
        result
    }

    /// Closes the connection rather than keep it.
    pub(crate) fn discard(&mut self) {
        if let Some(connection) = self.connection.take() {
            connection.discard();
        }
    }
}

impl Drop for Pooled {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.take()
            && connection.is_idle()
        {
            self.pool.keep(connection);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_waits_is_counted_up_to_the_bound_and_no_more() {
        let waiting = AtomicUsize::new(0);
        let first = Queued::enter(&waiting, 2);
        let second = Queued::enter(&waiting, 2);
        assert!(first.is_some() && second.is_some() && Queued::enter(&waiting, 2).is_none());
        drop(first);
        assert!(Queued::enter(&waiting, 2).is_some());
        drop(second);
        assert_eq!(waiting.load(Ordering::Relaxed), 0);
    }
}
