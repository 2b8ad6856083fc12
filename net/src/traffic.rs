//! What a listener counts of its connections, and of what lasts in them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use tokio::sync::OwnedSemaphorePermit;

/// Connections of one listener, since it began.
#[derive(Debug, Default)]
pub struct Traffic {
    accepted: AtomicU64,
    ended: AtomicU64,
    refused: AtomicU64,
    lasting: [AtomicU64; Lasting::ALL.len()],
    heard: AtomicU64,
    told: AtomicU64,
}

/// What goes on until somebody ends it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lasting {
    /// Event streams whose guest is called again.
    Events,
    /// WebSockets.
    Sockets,
}

impl Lasting {
    /// All of them.
    pub const ALL: [Lasting; 2] = [Lasting::Events, Lasting::Sockets];

    /// As figures name it.
    pub const fn name(self) -> &'static str {
        match self {
            Lasting::Events => "events",
            Lasting::Sockets => "websockets",
        }
    }
}

impl Traffic {
    /// Connections that were accepted, those that are refused later included.
    pub fn accepted(&self) -> u64 {
        self.accepted.load(Relaxed)
    }

    /// Connections that there are.
    pub fn open(&self) -> u64 {
        // One that ends in between must not make it less than none.
        let ended = self.ended.load(Relaxed);
        self.accepted.load(Relaxed).saturating_sub(ended)
    }

    /// Connections that were refused for a reason worth a line of the log, whether or not
    /// there was room for it, and attempts to authenticate that failed.
    pub fn refused(&self) -> u64 {
        self.refused.load(Relaxed)
    }

    pub(crate) fn refuse(&self) {
        self.refused.fetch_add(1, Relaxed);
    }

    /// As many are open.
    pub fn lasting(&self, what: Lasting) -> u64 {
        self.lasting[what as usize].load(Relaxed)
    }

    /// Messages of WebSockets: received, and sent.
    pub fn messages(&self) -> (u64, u64) {
        (self.heard.load(Relaxed), self.told.load(Relaxed))
    }

    /// A message was received.
    pub(crate) fn heard(&self) {
        self.heard.fetch_add(1, Relaxed);
    }

    /// A message was sent.
    pub(crate) fn told(&self) {
        self.told.fetch_add(1, Relaxed);
    }

    /// One more is open in that place, until the answer is dropped.
    pub(crate) fn lasts(self: &Arc<Self>, what: Lasting, place: OwnedSemaphorePermit) -> Live {
        self.lasting[what as usize].fetch_add(1, Relaxed);
        Live { traffic: Arc::clone(self), what, _place: place }
    }

    /// A connection, until the answer is dropped.
    pub(crate) fn begin(self: &Arc<Self>) -> Open {
        self.accepted.fetch_add(1, Relaxed);
        Open(Arc::clone(self))
    }
}

/// A connection that there is.
#[derive(Debug)]
pub(crate) struct Open(Arc<Traffic>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.ended.fetch_add(1, Relaxed);
    }
}

/// Something that lasts, and its place.
#[derive(Debug)]
pub(crate) struct Live {
    traffic: Arc<Traffic>,
    what: Lasting,
    _place: OwnedSemaphorePermit,
}

impl Drop for Live {
    fn drop(&mut self) {
        self.traffic.lasting[self.what as usize].fetch_sub(1, Relaxed);
    }
}
