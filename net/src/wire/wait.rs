//! Requests that wait for something to come to pass.
//!
//! What must stay true: one that waits holds no thread, no place at work and no share of
//! the memory for replies. It is asked again when there is news, few at a time
//! ([`Waiters`]), and answered in any case when its time is over, its client has gone or
//! cancelled it, or the server drains.

use super::carry::{self, Asked, Outcome};
use super::{Shared, WireHandler};
use proto::Status;
use proto::packet::Header;
use std::future::poll_fn;
use std::ops::ControlFlow;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::task::Poll;
use std::thread::available_parallelism;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

/// What a request that cannot be answered yet waits for.
pub struct Wait {
    /// Ends when there may be more. What it holds is let go of when it is dropped.
    pub news: Pin<Box<dyn Future<Output = ()> + Send>>,
    /// How long at most, from when the request came.
    pub time: Duration,
    /// The handler is told this number when it is asked again.
    pub place: u64,
}

impl std::fmt::Debug for Wait {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Wait").field("time", &self.time).field("place", &self.place).finish()
    }
}

/// How many that waited are asked again at once.
pub(super) struct Waiters(Arc<Semaphore>);

impl Waiters {
    pub(super) fn new() -> Waiters {
        let few = available_parallelism().map_or(2, |n| n.get() * 2);
        Waiters(Arc::new(Semaphore::new(few)))
    }

    pub(super) async fn turn(&self) -> OwnedSemaphorePermit {
        self.0.clone().acquire_owned().await.expect("the semaphore is never closed")
    }
}

/// A request that waits, taken out of its batch.
pub(super) struct Waiting {
    pub(super) header: Header,
    pub(super) packet: Vec<u8>,
    pub(super) arrived: u64,
    pub(super) cancelled: Arc<AtomicBool>,
    pub(super) wait: Wait,
    since: Instant,
}

impl Waiting {
    pub(super) fn new(asked: &Asked<'_>, wait: Wait) -> Waiting {
        Waiting {
            header: asked.header,
            packet: asked.packet.to_vec(),
            arrived: asked.arrived,
            cancelled: asked.cancelled.clone().unwrap_or_default(),
            wait,
            since: Instant::now(),
        }
    }

    /// When it is answered in any case.
    pub(super) fn until(&self) -> Instant {
        let patience = match self.header.patience {
            0 => Duration::MAX,
            millis => Duration::from_millis(millis.into()),
        };
        let time = self.wait.time.min(patience);
        self.since.checked_add(time).unwrap_or(self.since)
    }

    /// Waits for news; `false`: its time is over.
    pub(super) async fn news(&mut self) -> bool {
        let mut over = std::pin::pin!(tokio::time::sleep_until(self.until()));
        poll_fn(|cx| match self.wait.news.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(true),
            Poll::Pending => over.as_mut().poll(cx).map(|()| false),
        })
        .await
    }

    /// Asks again; `is_last`: it is answered whatever there is. Goes on waiting, or breaks
    /// with what an answered request says of its session.
    pub(super) fn ask<H: WireHandler>(
        &mut self,
        shared: &Shared<H>,
        session: &H::Session,
        is_last: bool,
        out: &mut Vec<u8>,
    ) -> ControlFlow<Option<Status>> {
        let asked = Asked {
            header: self.header,
            packet: &self.packet,
            arrived: self.arrived,
            cancelled: Some(self.cancelled.clone()),
        };
        let place = Some(self.wait.place);
        match carry::attempt(shared, session, &asked, (place, !is_last), out) {
            Outcome::Waits(wait) => {
                self.wait = wait;
                ControlFlow::Continue(())
            }
            Outcome::Answered(over) => ControlFlow::Break(over),
        }
    }
}
