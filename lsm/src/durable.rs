//! What is durable: to wait for it, and to be told of it.
//!
//! What must stay true: who is told of an LSN finds it durable and visible: a
//! snapshot taken after shows it, and no power cut undoes it. LSNs told only grow;
//! each sync that gets further is told, whoever made it: a commit, the timer, a
//! flush, the end of a log segment (told by the commit that met it).

use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use std::sync::{Arc, Weak};

use crate::prims::{AtomicU64, Mutex};
use crate::{Error, Lsm, Lsn};

type Told = dyn Fn(Lsn) + Send + Sync;

/// Who is told.
#[derive(Default)]
pub(crate) struct Watchers {
    /// The last LSN they know of.
    told: AtomicU64,
    all: Mutex<Vec<Weak<Told>>>,
}

/// Ends a watch when it is dropped. See [`Lsm::watch_durable`].
#[must_use = "the watch ends when this is dropped"]
pub struct DurableWatch(#[allow(dead_code)] Arc<Told>);

impl Watchers {
    pub(crate) fn new(lsn: Lsn) -> Self {
        Watchers { told: AtomicU64::new(lsn), all: Mutex::default() }
    }
}

impl Lsm {
    /// Makes commit `lsn` durable and returns when it is, in either mode. Threads
    /// that wait at once share a sync.
    ///
    /// # Errors
    /// The log failed: writes are refused from now on, reads go on. There is no
    /// such commit yet.
    pub fn wait_durable(&self, lsn: Lsn) -> Result<(), Error> {
        let outcome = self.wal.wait_durable(lsn);
        self.tell_durable();
        Ok(outcome?)
    }

    /// Calls `f` with the newest commit that is durable and visible, now and
    /// whenever that is a newer one, until what this returns is dropped. `f` is
    /// called by the thread that synced, in the middle of its commit: it wakes
    /// somebody, and does not use the store. It may be called late with an LSN that
    /// is not the newest any more, and twice with the same one.
    pub fn watch_durable(&self, f: impl Fn(Lsn) + Send + Sync + 'static) -> DurableWatch {
        let f: Arc<Told> = Arc::new(f);
        let mut all = self.watchers.all.lock();
        all.retain(|watch| watch.strong_count() > 0);
        all.push(Arc::downgrade(&f));
        drop(all);
        self.tell_durable();
        f(self.watchers.told.load(Acquire));
        DurableWatch(f)
    }

    /// After whatever may have synced: two loads if nothing is new.
    pub(crate) fn tell_durable(&self) {
        let watchers = &self.watchers;
        let durable = self.wal.durable_lsn();
        if durable <= watchers.told.load(Relaxed) {
            return;
        }
        // A frame may be durable before its commit is in the memtables.
        let lsn = durable.min(self.applied.load(Acquire));
        self.visible.fetch_max(lsn, Release);
        if watchers.told.fetch_max(lsn, AcqRel) >= lsn {
            return;
        }
        let all: Vec<_> = watchers.all.lock().iter().filter_map(Weak::upgrade).collect();
        for watch in all {
            watch(lsn);
        }
    }
}
