//! Those who want to know when more frames are durable.
//!
//! Must stay true: a watcher is called with LSNs that only rise, on a thread that
//! made them durable or appends behind them, with no lock of the log held but that
//! of this list, and one call at a time; after its [`Watch`] is dropped it is not
//! called again. So the log tells after it has let go of its own locks (`log.rs`).

use crate::Lsn;
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

type Call = Box<dyn FnMut(Lsn) + Send>;

#[derive(Default)]
pub(crate) struct Watchers {
    list: Arc<Mutex<List>>,
    /// So that nobody pays where nobody watches,
    count: Arc<AtomicUsize>,
    /// or where there is no news. Written under the list's lock.
    told: AtomicU64,
}

#[derive(Default)]
struct List {
    next: u64,
    calls: Vec<(u64, Call)>,
}

/// A watcher's stay; it ends when this is dropped.
pub struct Watch {
    list: Arc<Mutex<List>>,
    count: Arc<AtomicUsize>,
    id: u64,
}

impl std::fmt::Debug for Watch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watch").finish_non_exhaustive()
    }
}

impl Watchers {
    pub(crate) fn add(&self, call: Call) -> Watch {
        let mut list = self.list.lock();
        let id = list.next;
        list.next += 1;
        list.calls.push((id, call));
        self.count.store(list.calls.len(), Ordering::Release);
        Watch { list: Arc::clone(&self.list), count: Arc::clone(&self.count), id }
    }

    /// Calls everybody, if `durable` is news.
    pub(crate) fn tell(&self, durable: Lsn) {
        if self.count.load(Ordering::Acquire) == 0 || durable <= self.told.load(Ordering::Acquire) {
            return;
        }
        let mut list = self.list.lock();
        if durable > self.told.load(Ordering::Relaxed) {
            self.told.store(durable, Ordering::Release);
            list.calls.iter_mut().for_each(|(_, call)| call(durable));
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let mut list = self.list.lock();
        let gone = list.calls.iter().position(|(id, _)| *id == self.id);
        let gone = gone.map(|at| list.calls.remove(at));
        self.count.store(list.calls.len(), Ordering::Release);
        drop(list);
        // What the closure holds is dropped outside the lock.
        drop(gone);
    }
}
